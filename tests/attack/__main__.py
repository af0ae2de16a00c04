"""`make attack`: thousands of hostile inputs over all entrances, and what they did that no input may do."""

from __future__ import annotations

import os

os.environ["TQDM_DISABLE"] = "1"  # bars write carriage returns, which are no finding

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

from tests.attack import entrances, harness


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000, help="how many (5000)")
    parser.add_argument("--seed", type=int, default=13, help="of the first; each next one has the next (13)")
    parser.add_argument("--entrance", help="only this one")
    args = parser.parse_args()
    began = time.monotonic()
    out = sys.stdout
    with tempfile.TemporaryDirectory() as folder:
        chosen = [one for one in entrances.entrances(Path(folder)) if args.entrance in (None, one.name)]
        count = collections.Counter(one.name for one, _ in harness.plan(chosen, args.inputs, args.seed))

        def each(number: int, finding: harness.Finding | None) -> None:
            if finding:
                print(harness.described([finding]), file=out, flush=True)
            elif number % 500 == 0:
                print(f"{number} of {args.inputs} inputs, {time.monotonic() - began:.0f} s", file=out, flush=True)

        findings = harness.run(chosen, args.inputs, args.seed, each)
        os.chdir("/")
    kinds = collections.Counter(finding.kind for finding in findings)
    print(
        f"\n{args.inputs} inputs in {time.monotonic() - began:.0f} s:",
        ", ".join(f"{n} {name}" for name, n in count.items()),
    )
    hangs = f"{kinds['hang']} hangs over {harness.SECONDS:g} s"
    print(f"{kinds['traceback']} tracebacks, {hangs}, {kinds['raw']} raw control characters")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
