"""`tabby-lsp ask`: one question about a folder, and its answer with where it stands. At the lowest priority."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from tabby_lsp.assistant import Manner, Reply, Request
from tabby_lsp.chat.conversation import ChatError, Message
from tabby_lsp.chat.template import USER
from tabby_lsp.chat.thoughts import TEXT, Piece
from tabby_lsp.commands.options import UsageError, settings_of, tell
from tabby_lsp.commands.talking import (
    Status,
    attached,
    in_json,
    parameters_of,
    sources_of,
    standard_input,
    talk_arguments,
    talking,
)
from tabby_lsp.processes import machine
from tabby_lsp.settings import Settings


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument(
        "question",
        nargs="*",
        metavar="QUESTION",
        help="what you want to know (without one it is read from stdin); @file, @symbol, @changes and @workspace in it "
        "bring more in",
    )
    talk_arguments(parser)
    parser.add_argument("--json", action="store_true", help="the answer, what it cites and was given, token counts")


def run(options: argparse.Namespace) -> int:
    machine.lowest_priority()
    settings = settings_of(options)
    files = attached(options.file)
    question = " ".join(options.question).strip()
    if not question and "-" not in options.file:
        question = standard_input().strip()
    if not question:
        raise UsageError('There is no question: tabby-lsp ask "where is the total worked out?"')
    request = Request((Message(USER, question),), files, parameters_of(options))
    try:
        reply = asyncio.run(_asked(options, settings, request))
    except ChatError as error:
        tell(str(error))
        return 1
    if options.json:
        print(json.dumps(in_json(reply, question), ensure_ascii=False, indent=2))
        return 0
    for line in sources_of(reply, options.folder):
        print(line)
    for note in reply.notes:
        tell(note)
    return 0


async def _asked(options: argparse.Namespace, settings: Settings, request: Request) -> Reply:
    """The answer, which is shown while it is written but for scripts."""
    status = Status()
    async with talking(options.folder, settings, status.tell, tell) as assistant:
        if options.json:
            return await assistant.answer(request, manner=Manner(markdown=False))
        if not sys.stdout.isatty():
            reply = await assistant.answer(request, _print, Manner(markdown=False))
            print("\n")
            return reply
        from tabby_lsp.commands.terminal import writing

        with writing() as page:
            status.show = page.wait
            return await assistant.answer(request, page.add)


def _print(piece: Piece) -> None:
    if piece.kind == TEXT:
        print(piece.text, end="", flush=True)
