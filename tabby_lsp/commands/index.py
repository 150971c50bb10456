"""`tabby-lsp index`: brings the index of a folder up to date, and shows what is in it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from tabby_lsp.commands.listing import NoIndex, show_index
from tabby_lsp.commands.options import UsageError, settings_of, show_progress


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument("folder", nargs="?", default=".", metavar="DIR", help="(default: where you are)")
    parser.add_argument("--verbose", action="store_true", help="three examples of what was skipped, for each reason")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    try:
        asyncio.run(show_index(options.folder, settings, options.verbose, show_progress, print))
    except NoIndex as error:
        raise UsageError(str(error)) from None
    return 0
