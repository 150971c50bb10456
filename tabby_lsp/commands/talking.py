"""What `tabby-lsp ask` and `tabby-lsp chat` share: an assistant for a folder, files on the command line, sources."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabby_lsp.assistant import Assistant, Reply
from tabby_lsp.chat.conversation import Excerpt, Parameters
from tabby_lsp.chat.sources import Attached, Sources
from tabby_lsp.commands.listing import NoIndex, refreshed
from tabby_lsp.commands.options import UsageError, show_progress
from tabby_lsp.engine.client import EngineState
from tabby_lsp.engines import CHAT, Engines
from tabby_lsp.index.disabled import Disabled
from tabby_lsp.index.plan import plan
from tabby_lsp.settings import Settings

Tell = Callable[[str], None]

GIVEN = "The answer names none of what the model was given:"
STANDARD_INPUT = "standard input"


def talk_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--in", dest="folder", default=".", metavar="DIR", help="the folder (default: where you are)")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="FILE[:10-20]",
        help="a file, or lines of it, that it is about; repeatable",
    )
    parser.add_argument("--max-tokens", type=int, default=0, metavar="N", help="tokens of an answer at most")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token every time")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for temperatures above 0")


def parameters_of(options: argparse.Namespace) -> Parameters:
    """Raises UsageError."""
    usual = Parameters()
    temperature = usual.temperature if options.temperature is None else options.temperature
    if options.max_tokens < 0 or temperature < 0 or options.seed < 0:
        raise UsageError("--max-tokens, --temperature and --seed must be at least 0.")
    return Parameters(options.max_tokens, temperature, usual.top_p, options.seed)


@dataclass
class Status:
    """Where it is shown what is waited for: on a line of stderr, or on the page of the answer that waits for it."""

    show: Tell = show_progress

    def tell(self, what: str) -> None:
        self.show(what)


@asynccontextmanager
async def workspace(folder: Path, settings: Settings, progress: Tell, tell: Tell) -> AsyncIterator[Sources]:
    """What a folder has to answer questions with. Its index is brought up to date first, and kept so.

    Where there can be no index, that is told, and it goes without.
    """
    indexing = True

    def show(what: str) -> None:
        if indexing:
            progress(what)

    wanted, note = plan([folder], settings.index, languages=settings.additional_languages)
    async with AsyncExitStack() as stack:
        if wanted is not None:
            try:
                if late := await stack.enter_async_context(refreshed(wanted, show)):
                    tell(late)
            except NoIndex as error:
                wanted, note = None, str(error)
        indexing = False  # what changes later is read without a word
        if note:
            tell(note)
        yield Sources(wanted, note, Disabled(settings.completion.disable))


@asynccontextmanager
async def model(settings: Settings, progress: Tell) -> AsyncIterator[Engines]:
    """The engine of chat, whose model is loaded at the first question."""
    engines = Engines(lambda role, state: progress(_loading(state)))
    try:
        await engines.restart(settings, (CHAT,))
        yield engines
    finally:
        await engines.close()


@asynccontextmanager
async def talking(folder: str, settings: Settings, progress: Tell, tell: Tell) -> AsyncIterator[Assistant]:
    """An assistant for a folder."""
    path = Path(os.path.abspath(folder))
    if not path.is_dir():
        raise UsageError(f"{folder} is not a folder: name one.")
    async with model(settings, progress) as engines, workspace(path, settings, progress, tell) as sources:
        yield Assistant(engines, lambda: settings, lambda: sources)


async def committing(folder: str, settings: Settings, progress: Tell) -> tuple[str, tuple[str, ...]]:
    """A commit message for a folder, and what one should know of it. Raises ChatError."""
    sources = Sources(disabled=Disabled(settings.completion.disable))
    async with model(settings, progress) as engines:
        return await Assistant(engines, lambda: settings, lambda: sources).commit_message(Path(os.path.abspath(folder)))


def _loading(state: EngineState) -> str:
    return f"loading the model: {state.percent} %" if state.phase == "loading" else ""


def attached(names: Sequence[str]) -> tuple[Attached, ...]:
    """Files with their lines, as in `cart.py:10-20`; `-` is standard input. Raises UsageError."""
    return tuple(map(_attached, names))


def _attached(name: str) -> Attached:
    if name == "-":
        return Attached(None, text=standard_input(), name=STANDARD_INPUT)
    lines = re.fullmatch(r"(.+?):(\d+)(?:-(\d+))?", name)
    if lines is None or os.path.lexists(name):
        path, first, last = name, 1, None
    else:
        path, first = lines[1], int(lines[2])
        last = int(lines[3] or first)
        if not 1 <= first <= last:
            raise UsageError(f"{name}: lines are counted from 1, as in {path}:10-20.")
    file = Path(os.path.abspath(path))
    if not file.is_file():
        raise UsageError(f"{path} is not a file that can be read.")
    return Attached(file, first - 1, None if last is None else last - 1)


def standard_input() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def place(excerpt: Excerpt, folder: str) -> str:
    """`[1] shop/cart.py:15` as one would name it from the folder."""
    base = Path(os.path.realpath(folder))
    path = os.path.normpath(os.path.join(folder, excerpt.path)) if Path(excerpt.root) == base else excerpt.path
    return f"[{excerpt.number}] {path}:{excerpt.first + 1}"


def sources_of(reply: Reply, folder: str) -> list[str]:
    """Where what an answer cites stands; of an answer that cites nothing, what it was given."""
    if reply.citations:
        return [place(each, folder) for each in sorted(reply.citations, key=lambda each: each.number)]
    given = [place(each, folder) for each in reply.given if each.cited]
    return [GIVEN, *given] if given else []


def in_json(reply: Reply, question: str) -> dict[str, Any]:
    """For scripts. Lines are counted from 1."""
    return {
        "question": question,
        "answer": reply.text,
        "thoughts": reply.thoughts,
        "finish_reason": reply.finish_reason,
        "model": reply.model,
        "usage": asdict(reply.usage),
        "citations": [_row(each) for each in reply.citations],
        "given": [_row(each) for each in reply.given],
        "notes": list(reply.notes),
    }


def _row(excerpt: Excerpt) -> dict[str, Any]:
    row = {name: getattr(excerpt, name) for name in ("number", "title", "root", "path", "text")}
    return row | {"first": excerpt.first + 1, "last": excerpt.last + 1} if excerpt.cited else row
