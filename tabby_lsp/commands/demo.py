"""`tabby-lsp demo`: the real server, started over stdio, completes a real file as an editor would have it do.

Deletes the second half of some lines of a file (in memory only), types them again key by key, and shows what the
server suggests at each key. The client is pygls' own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

from tabby_lsp import config
from tabby_lsp.commands.options import start_logging, tell
from tabby_lsp.languages import language_of_path
from tabby_lsp.lsp.protocol import plain
from tabby_lsp.processes.start import python
from tabby_lsp.text import content_length, split_lines

SHORTEST_LINE, LONGEST_LINE = 24, 72  # characters: something to type, but not for minutes
WAIT_SECONDS = 120.0  # for the model to be loaded

DIM, GREEN, PLAIN = "\x1b[2m", "\x1b[32m", "\x1b[0m"


class DemoError(Exception):
    """The demo cannot be shown; the text says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: how long the answer took, what it was, and whether its first line is what stood there."""

    first: bool  # after a jump to another line
    milliseconds: float
    suggestion: str
    right: bool
    evaluated: int
    generated: int


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="a source file of yours (it is only read)")
    parser.add_argument("--lines", type=int, default=3, metavar="N", help="how many of its lines are typed")


def run(options: argparse.Namespace) -> int:
    start_logging(options, to_file=False)
    arguments = ["--model", options.model] if options.model else []
    for assignment in options.set:
        arguments += ["--set", assignment]
    try:
        asyncio.run(show_demo(options.file, options.lines, arguments, print))
    except DemoError as error:
        tell(str(error))
        return 1
    return 0


async def show_demo(
    file: str | None, line_count: int, server_arguments: list[str], show: Callable[[str], None]
) -> None:
    """Runs the demo. Without a file it uses one of this program's own modules. Raises DemoError."""
    path = Path(file) if file else Path(config.__file__)
    try:
        lines = split_lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DemoError(f"{path} cannot be read: {error}") from None
    chosen = _choose(lines, line_count)
    if not chosen:
        raise DemoError(f"{path} has no line of {SHORTEST_LINE} to {LONGEST_LINE} characters to type.")
    client = LanguageClient("tabby-lsp-demo", "1")
    statuses: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    client.feature("tabby/status/didChange")(lambda params: statuses.put_nowait(plain(params)))
    client.feature(lsp.WINDOW_SHOW_MESSAGE)(lambda params: show(params.message))
    client.feature(lsp.WINDOW_LOG_MESSAGE)(lambda params: None)
    started = time.perf_counter()
    await client.start_io(*python("tabby_lsp.__main__", *server_arguments))
    try:
        await _type_lines(client, path, lines, chosen, statuses, started, show)
    finally:
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()  # type: ignore[no-untyped-call]


async def _type_lines(
    client: LanguageClient,
    path: Path,
    lines: list[str],
    chosen: list[int],
    statuses: asyncio.Queue[dict[str, object]],
    started: float,
    show: Callable[[str], None],
) -> None:
    uri = path.absolute().as_uri()
    inline = lsp.InlineCompletionClientCapabilities()
    folder = lsp.WorkspaceFolder(uri=path.absolute().parent.as_uri(), name=path.absolute().parent.name)
    await client.initialize_async(
        lsp.InitializeParams(
            capabilities=lsp.ClientCapabilities(
                general=lsp.GeneralClientCapabilities(position_encodings=[lsp.PositionEncodingKind.Utf32]),
                text_document=lsp.TextDocumentClientCapabilities(inline_completion=inline),
                experimental={"tabby": {"statusDidChangeListener": True}},
            ),
            workspace_folders=[folder],
        )
    )
    initialized = (time.perf_counter() - started) * 1000
    client.initialized(lsp.InitializedParams())
    status = await _ready(statuses)
    ready = (time.perf_counter() - started) * 1000
    show(f"The server answered initialize after {initialized:.0f} ms; the model was ready after {ready:.0f} ms.")
    show(f"{status.get('tooltip')} ({status.get('layout')}, {status.get('device')}, {path.name})\n")
    item = lsp.TextDocumentItem(uri=uri, language_id=language_of_path(path.name), version=0, text="".join(lines))
    client.text_document_did_open(lsp.DidOpenTextDocumentParams(text_document=item))
    keys: list[Key] = []
    version = 0
    for number in chosen:
        line = lines[number]
        end = content_length(line)
        start = _half(line[:end])
        version = _edit(client, uri, version, number, start, end, "")
        for column in range(start, end + 1):
            if column > start:
                version = _edit(client, uri, version, number, column - 1, column - 1, line[column - 1])
            key = await _ask(client, uri, number, column, line[column:end], column == start)
            keys.append(key)
            show(_row(line[:column], key))
        show("")
    _summary(keys, show)


async def _ready(statuses: asyncio.Queue[dict[str, object]]) -> dict[str, object]:
    while True:
        status = await asyncio.wait_for(statuses.get(), WAIT_SECONDS)
        if status["status"] == "codeCompletionNotAvailable":
            raise DemoError(str(status.get("helpMessage")))
        if str(status["status"]).startswith("ready"):
            return status


def _choose(lines: list[str], count: int) -> list[int]:
    """Lines spread over the file that are long enough and no comment or documentation."""
    quotes = 0
    possible = []
    for number, line in enumerate(lines):
        text = line.strip()
        inside = quotes % 2 == 1 or '"""' in text or text.startswith(("#", "//", "--", "*", "|", '"', "'"))
        quotes += text.count('"""')
        if SHORTEST_LINE <= len(text) <= LONGEST_LINE and not inside:
            possible.append(number)
    step = max(1, len(possible) // max(1, count))
    return possible[step // 2 :: step][:count]


def _half(line: str) -> int:
    """Where the typing begins: behind the first word after a third of the line."""
    indent = len(line) - len(line.lstrip())
    start = indent + (len(line) - indent) // 3
    while start < len(line) - 1 and (line[start - 1].isalnum() or line[start - 1] == "_"):
        start += 1
    return start


def _edit(client: LanguageClient, uri: str, version: int, line: int, start: int, end: int, text: str) -> int:
    change = lsp.TextDocumentContentChangePartial(
        range=lsp.Range(lsp.Position(line, start), lsp.Position(line, end)), text=text
    )
    document = lsp.VersionedTextDocumentIdentifier(version=version + 1, uri=uri)
    client.text_document_did_change(lsp.DidChangeTextDocumentParams(text_document=document, content_changes=[change]))
    return version + 1


async def _ask(client: LanguageClient, uri: str, line: int, column: int, expected: str, first: bool) -> Key:
    params = lsp.InlineCompletionParams(
        context=lsp.InlineCompletionContext(trigger_kind=lsp.InlineCompletionTriggerKind.Automatic),
        text_document=lsp.TextDocumentIdentifier(uri=uri),
        position=lsp.Position(line, column),
    )
    start = time.perf_counter()
    answer = await client.text_document_inline_completion_async(params)
    elapsed = (time.perf_counter() - start) * 1000
    items = answer.items if isinstance(answer, lsp.InlineCompletionList) else answer or []
    text = str(items[0].insert_text) if items else ""
    last = plain(await client.protocol.send_request_async("tabby/status", {})).get("lastCompletion", {})
    right = text.split("\n")[0] == expected != ""
    return Key(first, elapsed, text, right, last.get("evaluated", 0), last.get("generated", 0))


def _row(typed: str, key: Key) -> str:
    first, *rest = key.suggestion.split("\n")
    more = f" (+{len(rest)} lines)" if rest else ""
    colour = (GREEN if key.right else DIM) if sys.stdout.isatty() else ""
    mark = "✓" if key.right else " "
    ghost = f"{colour}{first}{more}{PLAIN if colour else ''}" if key.suggestion else ""
    return (
        f"{key.milliseconds:6.1f} ms {key.evaluated:5d} read {key.generated:3d} written {mark} {typed.strip()}▏{ghost}"
    )


def _summary(keys: list[Key], show: Callable[[str], None]) -> None:
    times = [key.milliseconds for key in keys]
    shown = [key for key in keys if key.suggestion]
    typed = [key for key in keys if not key.first] or keys
    show(
        f"{len(keys)} keys: suggestions at {len(shown)}, their first line right at {sum(key.right for key in keys)}. "
        f"Median {statistics.median(times):.1f} ms, slowest {max(times):.1f} ms; "
        f"{statistics.mean(key.evaluated for key in typed):.1f} tokens read per key on a line."
    )
