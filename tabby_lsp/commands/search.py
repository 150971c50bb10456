"""`tabby-lsp search`: what the index of a folder has of a name, or of words."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from tabby_lsp.commands.listing import NoIndex, show_hits
from tabby_lsp.commands.options import UsageError, settings_of, show_progress, tell


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument("query", metavar="QUERY", help="a name, or words; definitions come first")
    parser.add_argument("--in", dest="folder", default=".", metavar="DIR", help="the folder (default: where you are)")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many lines are shown at most")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    if options.limit < 1:
        raise UsageError("--limit must be at least 1.")
    if not options.query.strip():
        raise UsageError("There is nothing to search for: give a name, or words.")
    try:
        found = asyncio.run(show_hits(options.query, options.folder, settings, options.limit, show_progress, print))
    except NoIndex as error:
        raise UsageError(str(error)) from None
    if not found:
        tell("nothing like that is in the index; `tabby-lsp index` brings it up to date.")
    return 0 if found else 1
