"""`tabby-lsp index`: brings the index of a folder up to date and shows what is in it; lists and forgets indexes."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from tabby_lsp.commands.listing import NoIndex, forget_index, show_index, show_indexes
from tabby_lsp.commands.options import UsageError, settings_of, show_progress


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument("folder", nargs="?", default=".", metavar="DIR", help="(default: where you are)")
    parser.add_argument("--list", action="store_true", help="show the indexes that there are, and do no more")
    parser.add_argument("--forget", metavar="DIR", help="delete the index of a folder, and do no more")
    parser.add_argument("--verbose", action="store_true", help="three examples of what was skipped, for each reason")


def run(options: argparse.Namespace) -> int:
    if options.list:
        show_indexes(print)
        return 0
    settings = settings_of(options)
    try:
        if options.forget is not None:
            forget_index(options.forget, print)
            return 0
        asyncio.run(show_index(options.folder, settings, options.verbose, show_progress, print))
    except NoIndex as error:
        raise UsageError(str(error)) from None
    return 0
