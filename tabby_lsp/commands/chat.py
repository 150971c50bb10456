"""`tabby-lsp chat`: a conversation about a folder, in a terminal. At the lowest priority.

Questions are read in the main thread, which Ctrl-C interrupts; answers come from a loop in another one. So Ctrl-C stops
an answer, and the program goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tabby_lsp import config
from tabby_lsp.assistant import Assistant, Request
from tabby_lsp.chat.conversation import ChatError, Message, Parameters
from tabby_lsp.chat.references import KINDS
from tabby_lsp.chat.sources import Attached
from tabby_lsp.chat.template import ASSISTANT, USER
from tabby_lsp.chat.thoughts import TEXT, Piece
from tabby_lsp.commands.options import UsageError, settings_of, tell
from tabby_lsp.commands.talking import Status, attached, parameters_of, sources_of, talk_arguments, talking
from tabby_lsp.commands.terminal import say, writing
from tabby_lsp.processes import machine

PROMPT = "> "
STOPPED = "*(stopped here)*"
HELP = """\
/file FILE[:10-20]   what the questions are about from now on; without a name, nothing any more
/clear               begins another conversation
/save [FILE]         writes the conversation into a file
/help                this
/quit                ends it, as Ctrl-D does
Ctrl-C stops an answer. A line that ends in \\ goes on in the next one. In a question:"""

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    talk_arguments(parser)


def run(options: argparse.Namespace) -> int:
    machine.lowest_priority()
    settings = settings_of(options)
    if "-" in options.file:
        raise UsageError("Standard input is where the questions come from: name a file.")
    talk, parameters = Talk(options.folder, list(attached(options.file))), parameters_of(options)
    loop = Loop()
    stack = contextlib.AsyncExitStack()
    try:
        entered = stack.enter_async_context(talking(options.folder, settings, talk.status.tell, tell))
        assistant = loop.run(entered)
        if sys.stdin.isatty():
            tell("ask what you want to know; /help says what else there is.")
            with contextlib.suppress(ImportError):  # which lines are edited with, where it is there
                import readline  # noqa: F401
        while (line := read_line()) is not None and not is_end(line):
            if line.startswith("/"):
                command(talk, line)
            elif line:
                answer(talk, loop, assistant, line, parameters)
    finally:
        loop.run(stack.aclose())
        loop.close()
    return 0


@dataclass
class Talk:
    """What was said, what it is about, and where what was said stands: the sources of each answer by its place."""

    folder: str
    files: list[Attached]
    messages: list[Message] = field(default_factory=list)
    sources: dict[int, list[str]] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)  # that were told
    status: Status = field(default_factory=Status)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tabby-lsp-answers")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for some work. Ctrl-C cancels it, and is raised."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while True:
                with contextlib.suppress(concurrent.futures.TimeoutError):
                    return future.result(0.2)  # Windows does not interrupt who waits without an end
                if future.done():
                    return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def read_line() -> str | None:
    """What the user says; None when there is nothing more to come."""
    parts: list[str] = []
    while True:
        try:
            line = input(PROMPT if sys.stdin.isatty() else "")
        except KeyboardInterrupt:  # of what was being typed
            say()
            parts.clear()
            continue
        except EOFError:
            return "\n".join(parts).strip() if parts else None
        if not line.endswith("\\"):
            return "\n".join([*parts, line]).strip()
        parts.append(line[:-1])


def is_end(line: str) -> bool:
    return line in ("/quit", "/exit")


def command(talk: Talk, line: str) -> None:
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    try:
        if name == "/file":
            talk.files[:] = attached([rest]) if rest and rest != "-" else []
        elif name == "/clear":
            talk.messages.clear()
            talk.sources.clear()
        elif name == "/save":
            tell(f"written into {save(talk, rest)}.")
        elif name == "/help":
            say(HELP)
            for kind, what in KINDS.items():
                say(f"@{kind:<19} {what}")
        else:
            tell(f"there is no command {name}: /help shows those that there are.")
    except UsageError as error:
        tell(str(error))


def answer(talk: Talk, loop: Loop, assistant: Assistant, question: str, parameters: Parameters) -> None:
    """Answers a question, and keeps what was said. One that cannot be answered, or has no answer, is forgotten."""
    talk.messages.append(Message(USER, question))
    request = Request(tuple(talk.messages), tuple(talk.files), parameters)
    text: list[str] = []
    try:
        with writing() as page:
            talk.status.show = page.wait
            reply = loop.run(assistant.answer(request, told(text, page.add)))
    except ChatError as error:
        talk.messages.pop()
        tell(str(error))
        return
    except KeyboardInterrupt:
        tell("stopped.")
        if not text:
            talk.messages.pop()
            return
        talk.messages.append(Message(ASSISTANT, f"{''.join(text)} {STOPPED}"))
        return
    if not reply.text.strip():
        talk.messages.pop()
    else:
        sources = sources_of(reply, talk.folder)
        talk.sources[len(talk.messages)] = sources
        talk.messages.append(Message(ASSISTANT, reply.text))
        for line in sources:
            say(line)
    for note in reply.notes:
        if note not in talk.notes:  # many hold for every answer
            talk.notes.add(note)
            tell(note)


def told(text: list[str], show: Callable[[Piece], None]) -> Callable[[Piece], None]:
    """Shows the pieces of an answer, and keeps its text."""

    def tell_piece(piece: Piece) -> None:
        if piece.kind == TEXT:
            text.append(piece.text)
        show(piece)

    return tell_piece


def save(talk: Talk, name: str) -> Path:
    """Writes a conversation into a file that is not there yet. Raises UsageError."""
    if not talk.messages:
        raise UsageError("There is nothing to save yet.")
    parts = []
    for number, each in enumerate(talk.messages):
        parts += [f"## {'Question' if each.role == USER else 'Answer'}", each.content]
        parts += ["  \n".join(talk.sources[number])] if talk.sources.get(number) else []  # a line each
    path = Path(name).expanduser() if name else config.data_folder() / "chats" / time.strftime("%Y-%m-%d-%H%M%S.md")
    try:
        if not name:
            machine.private_folder(path.parent)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write("\n\n".join(parts) + "\n")
    except FileExistsError:
        raise UsageError(f"{path} is there already: name another file.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
    return path
