"""`tabby-lsp search`: what the index of a folder has of a name, of words, a phrase or a pattern."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence

from tabby_lsp.commands.listing import NoIndex, find, in_json, in_lines
from tabby_lsp.commands.options import UsageError, settings_of, show_progress, tell
from tabby_lsp.index.question import BadQuestion


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument(
        "query",
        metavar="QUERY",
        help='words, a name like Cart.total, a "phrase", or a /regular expression/; with lang:go, path:src/ or '
        "kind:class only there",
    )
    parser.add_argument("--in", dest="folder", default=".", metavar="DIR", help="the folder (default: where you are)")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many lines are shown at most")
    parser.add_argument("--json", action="store_true", help="places, lines (from 1), names, texts and files' hashes")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    if options.limit < 1:
        raise UsageError("--limit must be at least 1.")
    try:
        found = asyncio.run(find(options.query, options.folder, settings, options.limit, show_progress))
    except (BadQuestion, NoIndex) as error:
        raise UsageError(str(error)) from None
    if options.json:
        print(json.dumps(in_json(found, options.query), ensure_ascii=False, indent=2))
    else:
        for line in in_lines(found, options.folder, _coloured()):
            print(line)
        for note in found.notes:
            tell(note)
    if not found.answer.citations and not options.json:
        tell("nothing like that was found.")
    return 0 if found.answer.citations else 1


def _coloured() -> bool:
    """Only for a person who looks on, and has not said no (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
