"""How a stage or command ends: one line for what a person can mend, nothing for a reader that has enough."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def ends(code: str, *, shell: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """What `code`, as the body of a command, leaves on the terminal."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    program = f"from timbre.core.running import run\ndef main():\n{body}\nrun(main)\n"
    command: list[str] = [sys.executable, "-c", program]
    if shell:
        command = ["bash", "-c", f'"$0" -c "$1" {shell}', sys.executable, program]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_reader_that_has_enough_ends_a_command_without_a_word() -> None:
    done = ends("for n in range(100_000): print(n)", shell="| head -1; exit ${PIPESTATUS[0]}")
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 141)


def test_a_full_disk_under_the_output_is_one_line() -> None:
    done = ends("print('a' * 10)", shell="> /dev/full")
    assert done.stderr == "error: No space left on device; make room on the disk, then run again\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("with open('/dev/full', 'w') as f: f.write('a')", "error: No space left on device; make room on the disk"),
        ("open('/nowhere/else')", "error: /nowhere/else: No such file or directory"),
        (
            "raise OSError(30, 'Read-only file system', 'data/x.tsv')",
            "error: data/x.tsv: Read-only file system; the disk",
        ),
        (
            "raise PermissionError(13, 'Permission denied', 'a\\x1b[2Jb')",
            "error: a⟨U+001B⟩[2Jb: Permission denied; you",
        ),
        ("raise MemoryError", "error: there is not enough memory"),
        ("def f(): f()\nf()", "error: a file nests too deeply to be read"),
        ("'\\udcff'.encode()", "error: a text is not UTF-8"),
        ("open('a\\0b')", "Traceback"),
    ],
)
def test_what_a_system_refuses_is_one_line_and_a_bug_a_traceback(code: str, told: str) -> None:
    done = ends(code)
    assert done.returncode == 1
    assert done.stderr.startswith(told)
    assert told == "Traceback" or done.stderr.count("\n") == 1


def test_the_traceback_of_a_mistake_can_be_asked_for() -> None:
    assert "Traceback" in ends("open('/nowhere/else')", TIMBRE_TRACEBACK="1").stderr


def test_no_print_passes_a_character_that_a_terminal_obeys() -> None:
    done = ends("print('a\\x1b]0;title\\x07\\x1b[31mred\\x9b2J\\r\\u202eb\\tc\\ud800')", PYTHONIOENCODING="utf-8")
    assert done.stdout == ("a⟨U+001B⟩]0;title⟨U+0007⟩⟨U+001B⟩[31mred⟨U+009B⟩2J⟨U+000D⟩⟨U+202E⟩b\tc⟨U+D800⟩\n")


def test_a_character_that_the_terminal_cannot_write_is_its_number() -> None:
    done = ends("print('é→')", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.stdout, done.stderr) == ("\\xe9\\u2192\n", "")


def test_an_error_of_a_million_characters_is_cut() -> None:
    done = ends("from timbre.core.errors import DataError\nraise DataError('a' * 1_000_000)")
    assert len(done.stderr) < 2100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another libc has other ways")
def test_a_stage_asks_the_system_once_for_the_memory_of_its_arrays() -> None:
    program = """\
import resource, sys
import numpy as np
from timbre.core.running import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    np.ones(1 << 20), np.ones(1 << 20), np.ones(1 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    ask = [sys.executable, "-c", program]
    kept, given_back = (
        int(subprocess.run([*ask, how], env=environment, capture_output=True, check=True).stdout)
        for how in ("kept", "given back")
    )
    assert kept * 10 < given_back
