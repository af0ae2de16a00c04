"""Show what the voice has not learnt of what it is to say, and which sentences to record next.

Compares the training texts with the prompts, word by word and sound by sound, and with the balanced sentences of
presets/sentences.txt. English sounds come from the CMU Pronouncing Dictionary; in other languages, letters stand for
them. Sentences are proposed that fill the gaps first; what the voice is evaluated with is never among them.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from timbre.commands.options import add_count, add_json
from timbre.commands.place import given_path
from timbre.core.content import read_text, write_atomic
from timbre.core.records import Example, read_jsonl
from timbre.core.safe_text import print_json, visible
from timbre.core.text import words
from timbre.project import prompts, transcripts
from timbre.project.coverage import Coverage, Proposal, Units, Wanted, coverage, pairs, propose, text_words
from timbre.report.columns import columns

EXAMPLES = [
    ("timbre coverage", "what is missing, and ten sentences that fill it"),
    ("timbre coverage -n 40 --out next.txt", "for `timbre review --record ID --prompts next.txt`"),
    ("timbre coverage --candidates novel.txt", "choose among sentences of your own, one per line"),
]
TRAIN, HELD_OUT = Path("data/dataset/train.jsonl"), Path("data/dataset/eval.jsonl")
TRANSCRIPTS, BALANCED = Path("data/transcripts"), Path("presets/sentences.txt")
SHOWN = 12  # missing units in a line
HEAD = ("", "wanted", "learnt", "three times", "of all that is said")


@dataclasses.dataclass(frozen=True)
class NextSentences:
    coverage: list[Coverage]
    proposals: list[Proposal]
    unfilled: list[str]  # words of the prompts that no candidate holds


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--candidates", type=given_path, metavar="FILE", help=f"sentences to choose from, one per line ({BALANCED})"
    )
    parser.add_argument("--out", type=given_path, metavar="FILE", help="write the sentences to a file")
    add_count(parser, "sentences", 10)
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    chosen = next_sentences(args.candidates or BALANCED, args.n)
    if args.out:
        write_atomic(args.out, "".join(f"{proposal.text}\n" for proposal in chosen.proposals))
        print(f"{args.out}: {len(chosen.proposals)} sentences; timbre review --record ID --prompts {args.out}")
    elif args.json:
        print_json(dataclasses.asdict(chosen))
    else:
        print("\n".join(lines(chosen)))
    return 0


def lines(chosen: NextSentences) -> list[str]:
    rows = [
        (one.name, str(one.wanted), str(one.learnt), str(one.well), f"{100 * one.share:.1f}%")
        for one in chosen.coverage
    ]
    text = columns([HEAD, *rows], numbers=True)
    for one in chosen.coverage:
        if one.missing:
            more = f" and {len(one.missing) - SHOWN} more" if len(one.missing) > SHOWN else ""
            text.append(f"missing {one.name}: {visible(', '.join(one.missing[:SHOWN]))}{more}")
    if chosen.proposals:
        text += ["", "record next:", *(f"  {visible(proposal.text)}" for proposal in chosen.proposals)]
    if chosen.unfilled:
        text += ["", f"write sentences with: {visible(', '.join(chosen.unfilled))}"]
    return text


def next_sentences(candidates: Path, count: int) -> NextSentences:
    learnt_texts = training_texts()
    asked = [prompt.text for prompt in prompts.read_prompts(prompts.PATH)]
    balanced = sentences_of(BALANCED) if BALANCED.exists() else []
    learnt = units(learnt_texts)
    wanted = [
        Wanted("words of the prompts", text_words(asked), 3.0),
        Wanted("sounds of the prompts", sounds(asked), 2.0),
        Wanted("sounds of balanced sentences", sounds(balanced), 1.0),
    ]
    known = {tuple(words(text)) for text in [*asked, *learnt_texts, *held_out_texts()]}
    offered = [text for text in dict.fromkeys(sentences_of(candidates)) if tuple(words(text)) not in known]
    proposals = propose([(text, units([text])) for text in offered], wanted, learnt, count)
    held = text_words(offered)
    covered = [coverage(one, learnt) for one in wanted]
    return NextSentences(covered, proposals, [word for word in covered[0].missing if word not in held])


def training_texts() -> list[str]:
    """Of the clips that the voice learns from; before they are cut, of all transcripts."""
    if TRAIN.exists():
        return [row.text for row in read_jsonl(TRAIN, Example)]
    paths = transcripts.files(TRANSCRIPTS)
    return [
        line.text
        for path in paths
        for line in transcripts.readable_lines(path.read_bytes()) or ()
        if line.flag != "drop"
    ]


def held_out_texts() -> list[str]:
    """Of the clips that the voice is evaluated with; `dataset` leaves out what says the same."""
    return [row.text for row in read_jsonl(HELD_OUT, Example)] if HELD_OUT.exists() else []


def units(texts: Sequence[str]) -> Units:
    """Words and pairs of sounds; the latter have a space, which no word has."""
    return text_words(texts) + sounds(texts)


def sounds(texts: Sequence[str]) -> Units:
    return Counter(pair for text in texts for pair in pairs(said(text)))


def said(text: str) -> list[str]:
    """Its sounds, without stress; the letters of a word that the dictionary lacks."""
    from timbre.families.sovits.text import known, written

    sounds: list[str] = []
    for word in words(written(text)):
        sounds += [sound.rstrip("012") for sound in known(word)] or list(word)
    return sounds


def sentences_of(path: Path) -> list[str]:
    rows = read_text(path).splitlines()
    return [row.strip() for row in rows if row.strip() and not row.startswith("#")]
