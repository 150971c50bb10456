"""`tabby-lsp map`: a repository by its files and definitions, those that the rest uses most first."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from tabby_lsp.commands.listing import NoIndex, show_map
from tabby_lsp.commands.options import UsageError, settings_of, show_progress, tell


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument("folder", nargs="?", default=".", metavar="DIR", help="(default: where you are)")
    parser.add_argument("--tokens", type=int, default=2_000, metavar="N", help="how long it may be (default: 2000)")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    if options.tokens < 1:
        raise UsageError("--tokens must be at least 1.")
    try:
        note = asyncio.run(show_map(options.folder, settings, options.tokens, show_progress, print))
    except NoIndex as error:
        raise UsageError(str(error)) from None
    if note:
        tell(note)
    return 0
