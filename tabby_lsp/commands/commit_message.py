"""`tabby-lsp commit-message`: a message for what would be committed, to stdout. At the lowest priority."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from tabby_lsp.chat.commit import branch_of
from tabby_lsp.chat.conversation import ChatError
from tabby_lsp.commands.options import UsageError, settings_of, show_progress, tell
from tabby_lsp.commands.talking import committing
from tabby_lsp.engines import NO_CHAT_MODEL
from tabby_lsp.processes import machine


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument(
        "folder", nargs="?", default=".", metavar="DIR", help="of the repository (default: where you are)"
    )
    parser.add_argument("--branch", action="store_true", help="the name of a branch for it instead")


def run(options: argparse.Namespace) -> int:
    machine.lowest_priority()
    settings = settings_of(options)
    if not settings.model.chat.local.model_id:
        raise UsageError(NO_CHAT_MODEL)
    try:
        message, notes = asyncio.run(committing(options.folder, settings, show_progress))
    except ChatError as error:
        tell(str(error))
        return 1
    for note in notes:
        tell(note)
    print(branch_of(message) if options.branch else message)
    return 0
