"""Options that several commands have, so that they are spelt and explained alike."""

from __future__ import annotations

import argparse


def add_json(parser: argparse.ArgumentParser, remark: str = "") -> None:
    parser.add_argument("--json", action="store_true", help="print JSON" + remark)


def add_count(parser: argparse.ArgumentParser, what: str, count: int) -> None:
    parser.add_argument("-n", type=int, default=count, metavar="N", help=f"number of {what} ({count})")


def add_local(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--local", action="store_true", help="do not ask a DVC remote or MLflow")


def add_rights(parser: argparse.ArgumentParser) -> None:
    """What data/sources.yaml asks of each recording; no command guesses a licence or a consent."""
    parser.add_argument("--licence", help="licence of the recording, such as CC-BY-4.0")
    parser.add_argument("--consent", help="who consented, and how or when")
    parser.add_argument("--language", help="language as two or three letters, such as en")
