"""What is mended in pygls 2.1.1, shown on the protocol itself: messages in, messages out, no process."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException

from tabby_lsp.lsp import progress
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
        self.sent.append(json.loads(data.split(b"\r\n\r\n", 1)[1], parse_constant=self._no_constant))

    @staticmethod
    def _no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    def close(self) -> None:
        pass

    async def say(self, method: str, params: Any, id: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({"id": id} if id is not None else {})
        await self.say_bytes(json.dumps(message).encode())

    async def say_bytes(self, body: bytes) -> None:
        self.server.protocol.receive(body)
        await asyncio.sleep(0)

    async def initialize(self) -> None:
        capabilities = {"textDocument": {"inlineCompletion": {}}}
        await self.say("initialize", {"processId": None, "rootUri": None, "capabilities": capabilities}, 0)

    def answers(self, id: int | str | None) -> list[Json]:
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


# --- what is no message, or none that fits


@pytest.mark.parametrize("method", [[], {}, 3, None, True])
async def test_a_method_that_is_no_string_is_refused(method: Any) -> None:
    line = Line()
    await line.initialize()
    await line.say(method, {}, 7)
    assert [each["error"]["code"] for each in line.answers(7)] == [-32600]
    await line.say("tabby/status", {}, 8)
    assert line.answers(8)[0]["result"]["status"]


@pytest.mark.parametrize("id", ["1e999", "-1e999", "true", "null", "1.5", "[]", '{"a": 1}'])
async def test_an_id_that_is_none_is_answered_with_null(id: str) -> None:
    line = Line()
    await line.initialize()
    before = len(line.sent)
    await line.say_bytes(b'{"jsonrpc": "2.0", "id": %s, "method": "tabby/status", "params": {}}' % id.encode())
    assert [(each["id"], each["error"]["code"]) for each in line.sent[before:]] == [(None, -32600)]


@pytest.mark.parametrize("id", ["5", '"5"', "5.0", "12345678901234567890"])
async def test_an_id_is_given_back(id: str) -> None:
    line = Line()
    await line.initialize()
    await line.say_bytes(b'{"jsonrpc": "2.0", "id": %s, "method": "tabby/status", "params": {}}' % id.encode())
    answers = line.answers(json.loads(id))
    assert len(answers) == 1 and "result" in answers[0]


@pytest.mark.parametrize("params", ["NaN", "Infinity", '{"a": -Infinity}'])
async def test_what_json_has_no_number_for_is_no_json(params: str) -> None:
    line = Line()
    await line.initialize()
    await line.say_bytes(b'{"jsonrpc": "2.0", "id": 1, "method": "tabby/status", "params": %s}' % params.encode())
    assert [each["error"]["code"] for each in line.answers(None)] == [-32700]
    assert line.answers(1) == []


@pytest.mark.parametrize("result", [float("inf"), float("nan"), object()])
async def test_an_answer_that_cannot_be_written_is_one_that_says_so(result: Any) -> None:
    line = Line()
    line.server.feature("test/odd")(lambda params: {"number": result})
    await line.initialize()
    await line.say("test/odd", {}, 1)
    assert [each["error"]["code"] for each in line.answers(1)] == [-32603]


async def test_each_request_of_a_batch_is_answered() -> None:
    line = Line()
    await line.initialize()
    before = len(line.sent)
    request = {"jsonrpc": "2.0", "method": "tabby/status", "params": {}}
    batch = [request | {"id": 1}, request, 3, request | {"id": "b"}, {"jsonrpc": "2.0", "id": 9, "result": None}]
    await line.say_bytes(json.dumps(batch).encode())
    assert [each["id"] for each in line.sent[before:]] == [1, "b"]
    assert all("no batches" in each["error"]["message"] for each in line.sent[before:])
    for body in (b"[]", b"[1, 2]"):
        await line.say_bytes(body)
    assert len(line.answers(None)) == 2


async def test_params_may_be_left_out() -> None:
    line = Line()
    await line.initialize()
    await line.say_bytes(b'{"jsonrpc": "2.0", "id": 1, "method": "tabby/status"}')
    assert line.answers(1)[0]["result"]["status"] == "connecting"


async def test_what_does_not_fit_is_one_short_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    await line.initialize()
    with caplog.at_level(logging.WARNING):
        await line.say("textDocument/didOpen", {"textDocument": {"uri": ["x" * 10_000]}})
        await line.say("textDocument/inlineCompletion", {"textDocument": 1}, 1)
        await line.say("workspace/executeCommand", {"command": "no.such.command" * 1000}, 2)
        await line.say("initialize", None, 3)
    assert [len(line.answers(id)) for id in (1, 2, 3)] == [1, 1, 1]
    assert len(caplog.records) == 3, caplog.text
    assert all(len(each.getMessage()) < 500 and not each.exc_info for each in caplog.records)


async def test_a_response_answers_our_requests_only() -> None:
    """To pygls any request under way would do: the client would answer its own."""
    line = Line()
    happened = slow_command(line.server)
    await line.initialize()
    await line.say("workspace/executeCommand", {"command": "test.slow"}, 1)
    for answer in ({"result": "mine"}, {"error": {"code": 1, "message": "no"}}):
        await line.say_bytes(json.dumps({"jsonrpc": "2.0", "id": 1, **answer}).encode())
    assert line.answers(1) == []
    await line.say("$/cancelRequest", {"id": 1})
    while "was cancelled" not in happened:
        await asyncio.sleep(0.001)
    assert [each["error"]["code"] for each in line.answers(1)] == [-32800]


@pytest.mark.parametrize("answer", [{"result": 3}, {"error": {"code": "x"}}, {"error": {"code": -1, "message": "no"}}])
async def test_an_answer_that_does_not_fit_is_one_all_the_same(answer: Json) -> None:
    line = Line()
    await line.initialize()
    asked = asyncio.ensure_future(line.server.workspace_configuration_async(lsp.ConfigurationParams(items=[])))
    await asyncio.sleep(0)
    id = line.sent[-1]["id"]
    await line.say_bytes(json.dumps({"jsonrpc": "2.0", "id": id, **answer}).encode())
    with pytest.raises(JsonRpcException):
        await asyncio.wait_for(asked, 10)


async def test_an_answer_that_nobody_waits_for_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    await line.initialize()
    asked = asyncio.ensure_future(line.server.workspace_configuration_async(lsp.ConfigurationParams(items=[])))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.sleep(0)
    await line.say_bytes(json.dumps({"jsonrpc": "2.0", "id": line.sent[-1]["id"], "result": []}).encode())
    assert not caplog.records


async def test_a_client_that_refuses_progress_gets_none() -> None:
    line = Line()
    capabilities = {"window": {"workDoneProgress": True}}
    await line.say("initialize", {"processId": None, "rootUri": None, "capabilities": capabilities}, 0)
    begun = asyncio.ensure_future(progress.begin(line.server, "load", "Tabby: loading"))
    await asyncio.sleep(0)
    refusal = {"jsonrpc": "2.0", "id": line.sent[-1]["id"], "error": {"code": -32601, "message": "no"}}
    await line.say_bytes(json.dumps(refusal).encode())
    assert await asyncio.wait_for(begun, 10) is None


async def test_nothing_is_kept_of_what_is_done() -> None:
    line = Line()

    async def quick(ls: TabbyServer, *arguments: Any) -> str:
        await asyncio.sleep(0)
        return "done"

    line.server.command("test.quick")(quick)
    await line.initialize()
    for id in range(1, 51):
        await line.say("workspace/executeCommand", {"command": "test.quick"}, id)
        await line.say("$/setTrace", {"value": "off"})
        await line.say("workspace/didChangeWorkspaceFolders", {"event": {"added": [], "removed": []}})
    while not line.answers(50):
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert line.server.protocol._request_futures == {} and line.server.protocol._result_types == {}


@pytest.mark.parametrize("params", [{"capabilities": 3}, None])
async def test_an_initialize_that_failed_may_come_again(params: Any) -> None:
    line = Line()
    await line.say("initialize", params)
    await line.say("initialize", params, 1)
    assert [each["error"]["code"] for each in line.answers(1)] == [-32602]
    await line.initialize()
    assert "result" in line.answers(0)[0]


# --- the end


async def test_a_shutdown_ends_what_is_under_way(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    happened = slow_command(line.server)
    await line.initialize()
    for id in (1, 2):
        await line.say("workspace/executeCommand", {"command": "test.slow"}, id)
    while "went on" not in happened:
        await asyncio.sleep(0.001)
    await line.say("shutdown", None, 3)
    await line.say("tabby/status", {}, 4)
    while not line.answers(3):
        await asyncio.sleep(0.001)
    assert line.answers(3)[0]["result"] is None
    assert [each["error"]["code"] for id in (1, 2, 4) for each in line.answers(id)] == [-32800, -32800, -32600]
    assert happened.count("was cancelled") == 2
    with pytest.raises(SystemExit) as ended:
        await line.say("exit", None)
    assert ended.value.code == 0 and not caplog.records


# --- what is mended besides


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
