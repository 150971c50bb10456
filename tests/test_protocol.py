"""What is mended in pygls 2.1.1, shown on the protocol itself: messages in, messages out, no process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from lsprotocol import types as lsp

from tabby_lsp.lsp.handlers import create_server
from tabby_lsp.lsp.protocol import COMMAND, plain
from tabby_lsp.lsp.server import TabbyServer

Json = dict[str, Any]


class Line:
    """A server whose messages are kept, as if a client were at the other end."""

    def __init__(self) -> None:
        self.server = create_server()
        self.sent: list[Json] = []
        self.server.protocol.set_writer(self)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        self.sent.append(json.loads(data.split(b"\r\n\r\n", 1)[1]))

    def close(self) -> None:
        pass

    async def say(self, method: str, params: Any, id: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({"id": id} if id is not None else {})
        self.server.protocol.receive(json.dumps(message).encode())
        await asyncio.sleep(0)

    async def initialize(self) -> None:
        capabilities = {"textDocument": {"inlineCompletion": {}}}
        await self.say("initialize", {"processId": None, "rootUri": None, "capabilities": capabilities}, 0)

    def answers(self, id: int) -> list[Json]:
        return [each for each in self.sent if each.get("id") == id and "method" not in each]


def slow_command(server: TabbyServer) -> list[str]:
    """A command that reports progress for ever; what happens to it is in the list."""
    happened: list[str] = []

    async def slow(ls: TabbyServer, *arguments: Any) -> str:
        params = COMMAND.get()
        assert params is not None
        happened.append(f"began with {plain(list(arguments))} under {params.work_done_token}")
        try:
            while True:
                await asyncio.sleep(0.001)
                happened.append("went on")
        except asyncio.CancelledError:
            happened.append("was cancelled")
            raise

    server.command("test.slow")(slow)
    return happened


async def test_a_command_knows_the_token_of_its_client() -> None:
    line = Line()
    happened = slow_command(line.server)
    await line.initialize()
    params = {"command": "test.slow", "arguments": [1, {"a": 2}], "workDoneToken": "mine"}
    await line.say("workspace/executeCommand", params, 1)
    while not happened:
        await asyncio.sleep(0)
    assert happened[0] == "began with [1, {'a': 2}] under mine"


async def test_a_cancelled_command_is_answered_once_and_really_ends() -> None:
    line = Line()
    happened = slow_command(line.server)
    await line.initialize()
    await line.say("workspace/executeCommand", {"command": "test.slow"}, 1)
    while "went on" not in happened:
        await asyncio.sleep(0.001)
    await line.say("$/cancelRequest", {"id": 1})
    while "was cancelled" not in happened:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert happened[-1] == "was cancelled", "and nothing came after that"
    assert [each["error"]["code"] for each in line.answers(1)] == [-32800]


async def test_two_commands_at_once_are_cancelled_apart() -> None:
    line = Line()
    happened = slow_command(line.server)
    await line.initialize()
    for id in (1, 2):
        await line.say("workspace/executeCommand", {"command": "test.slow"}, id)
    while len([each for each in happened if each.startswith("began")]) < 2:
        await asyncio.sleep(0)
    for cancelled in (1, 2):
        await line.say("$/cancelRequest", {"id": cancelled})
        while happened.count("was cancelled") < cancelled:
            await asyncio.sleep(0.001)
        assert happened.count("was cancelled") == cancelled
        assert [len(line.answers(id)) for id in (1, 2)] == [1, cancelled - 1]


async def test_a_request_that_does_not_fit_is_answered() -> None:
    line = Line()
    await line.initialize()
    await line.say("textDocument/inlineCompletion", {"textDocument": 1}, 1)
    assert [each["error"]["code"] for each in line.answers(1)] == [-32602]
    assert not [each for each in line.sent if each.get("method") == "window/showMessage"], "no box pops up"


async def test_lines_end_where_lsp_says() -> None:
    """With pygls' own documents the edit would hit the line behind the form feed."""
    line = Line()
    await line.initialize()
    item = {"uri": "file:///a", "languageId": "c", "version": 1, "text": "a\n\f\nb\u2028b\nc\n"}
    await line.say("textDocument/didOpen", {"textDocument": item})
    place = {"line": 3, "character": 1}
    change = {"range": {"start": place, "end": place}, "text": "!"}
    versioned = {"uri": "file:///a", "version": 2}
    await line.say("textDocument/didChange", {"textDocument": versioned, "contentChanges": [change]})
    document = line.server.protocol.documents.get("file:///a")
    assert document is not None and document.text() == "a\n\f\nb\u2028b\nc!\n"


async def test_inline_completion_is_announced() -> None:
    line = Line()
    await line.initialize()
    assert line.answers(0)[0]["result"]["capabilities"]["inlineCompletionProvider"] == {}


def test_nested_params_of_custom_methods_become_dicts() -> None:
    line = Line()
    message = {"jsonrpc": "2.0", "method": "tabby/x", "params": {"a": [{"b": 1}], "c": {"d": None}}}
    structured = line.server.protocol.structure_message(json.loads(json.dumps(message)))
    assert plain(structured.params) == {"a": [{"b": 1}], "c": {"d": None}}
    assert plain(lsp.Position(1, 2)) == {"line": 1, "character": 2}
