"""JSON-RPC line by line: every request is answered once, and nothing that comes in ends the connection."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tabby_lsp.acp import connection
from tabby_lsp.acp.connection import Connection, Lines, RpcError


class Client:
    """The other end of a connection, over real pipes."""

    def __init__(self, agent: Connection) -> None:
        read_from, self._to = os.pipe()
        self._from, write_to = os.pipe()
        self._ends = (read_from, write_to)
        self._lines = os.fdopen(self._from, "rb")
        self.served = asyncio.get_running_loop().create_task(agent.serve(read_from, write_to))

    def send(self, message: Any) -> None:
        self.write(json.dumps(message).encode() + b"\n")

    def write(self, data: bytes) -> None:
        os.write(self._to, data)

    async def receive(self) -> dict[str, Any]:
        line = await asyncio.wait_for(asyncio.to_thread(self._lines.readline), 20)
        found: dict[str, Any] = json.loads(line)
        return found

    async def ask(self, id: Any, method: str, params: Any = None) -> dict[str, Any]:
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        return await self.receive()

    async def close(self) -> None:
        os.close(self._to)
        await asyncio.wait_for(self.served, 20)
        for end in self._ends:
            os.close(end)
        self._lines.close()


async def echo(params: Mapping[str, Any]) -> Any:
    if "code" in params:
        raise RpcError(params["code"], "as was asked")
    if "wrong" in params:
        raise ValueError("what is `wrong`?")
    if "broken" in params:
        raise KeyError("broken")
    return dict(params)


async def forever(params: Mapping[str, Any]) -> Any:
    await asyncio.Event().wait()


def talk(scene: Callable[[Client, Connection], Awaitable[None]], **notifications: Any) -> None:
    async def run() -> None:
        agent = Connection({"echo": echo, "forever": forever}, notifications)
        client = Client(agent)
        await scene(client, agent)
        await client.close()

    asyncio.run(run())


def test_each_request_is_answered_once_and_by_its_id() -> None:
    async def scene(client: Client, agent: Connection) -> None:
        client.send({"id": 1, "method": "forever"})
        assert await client.ask("two", "echo", {"a": [1, "ü\ud800"]}) == {
            "jsonrpc": "2.0",
            "id": "two",
            "result": {"a": [1, "ü\ud800"]},
        }
        client.send({"method": "$/cancel_request", "params": {"requestId": 1}})
        cancelled = await client.receive()
        assert cancelled["id"] == 1 and cancelled["error"]["code"] == connection.REQUEST_CANCELLED

    talk(scene)


@pytest.mark.parametrize(
    ("line", "id", "code"),
    [
        (b"{", None, connection.PARSE_ERROR),
        (b"\xff\xfe", None, connection.PARSE_ERROR),
        (b"[" * 20_000, None, connection.PARSE_ERROR),
        (b"[]", None, connection.INVALID_REQUEST),
        (b"1", None, connection.INVALID_REQUEST),
        (b"{}", None, connection.INVALID_REQUEST),
        (b'{"id": 3}', 3, connection.INVALID_REQUEST),
        (b'{"id": [], "method": "echo"}', None, connection.INVALID_REQUEST),
        (b'{"id": 3, "method": 4}', 3, connection.INVALID_REQUEST),
        (b'{"id": 3, "method": "other"}', 3, connection.METHOD_NOT_FOUND),
        (b'{"id": 3, "method": "echo", "params": [1]}', 3, connection.INVALID_PARAMS),
        (b'{"id": 3, "method": "echo", "params": {"wrong": 1}}', 3, connection.INVALID_PARAMS),
        (b'{"id": 3, "method": "echo", "params": {"broken": 1}}', 3, connection.INTERNAL_ERROR),
        (b'{"id": 3, "method": "echo", "params": {"code": -5}}', 3, -5),
    ],
)
def test_what_is_wrong_is_said_and_the_next_request_is_answered(line: bytes, id: Any, code: int) -> None:
    async def scene(client: Client, agent: Connection) -> None:
        client.write(line + b"\n\n")
        answer = await client.receive()
        assert answer["id"] == id and answer["error"]["code"] == code and answer["error"]["message"]
        assert (await client.ask(9, "echo", {}))["result"] == {}

    talk(scene)


def test_an_id_that_is_in_use_is_refused() -> None:
    async def scene(client: Client, agent: Connection) -> None:
        client.send({"id": 1, "method": "forever"})
        assert (await client.ask(1, "echo"))["error"]["code"] == connection.INVALID_REQUEST

    talk(scene)


def test_answers_of_the_client_reach_who_asked() -> None:
    async def scene(client: Client, agent: Connection) -> None:
        asked = asyncio.ensure_future(agent.call("read", path="/a"))
        message = await client.receive()
        assert message["method"] == "read" and message["params"] == {"path": "/a"}
        for stray in ({"id": 77, "result": 1}, {"id": "x", "result": 1}, {"id": None, "error": {}}):
            client.send(stray)
        client.send({"id": message["id"], "result": {"content": "x"}})
        assert await asyncio.wait_for(asked, 20) == {"content": "x"}
        asked = asyncio.ensure_future(agent.call("read", path="/b"))
        message = await client.receive()
        client.send({"id": message["id"], "error": {"code": -3, "message": "no such file"}})
        with pytest.raises(RpcError, match="no such file"):
            await asyncio.wait_for(asked, 20)
        client.send({"id": message["id"], "error": "late"})

    talk(scene)


def test_a_client_that_is_gone_ends_what_was_asked_of_it() -> None:
    async def run() -> None:
        agent = Connection({"forever": forever}, {})
        client = Client(agent)
        asked = asyncio.ensure_future(agent.call("read"))
        await client.receive()
        client.send({"id": 1, "method": "forever"})
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(run())


def test_a_notification_that_fails_or_is_unknown_costs_nothing() -> None:
    heard = []

    async def note(params: Mapping[str, Any]) -> None:
        heard.append(params)
        raise KeyError("broken")

    async def scene(client: Client, agent: Connection) -> None:
        client.send({"method": "note", "params": {"a": 1}})
        client.send({"method": "note", "params": []})
        client.send({"method": "unknown"})
        assert (await client.ask(1, "echo", {}))["result"] == {}

    talk(scene, note=note)
    assert heard == [{"a": 1}, {}]


def test_lines_are_cut_wherever_the_bytes_come_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b'{"a":1}\r\n\n{"b":"\xc3\xbc"}\n'
    whole = Lines().feed(data)
    assert whole == [b'{"a":1}\r', b"", b'{"b":"\xc3\xbc"}']
    one_by_one = Lines()
    assert [line for byte in data for line in one_by_one.feed(bytes([byte]))] == whole
    monkeypatch.setattr(connection, "LARGEST_LINE", 10)
    lines = Lines()
    assert [lines.feed(part) for part in (b"x" * 8, b"x" * 8, b"x" * 80, b"x\nab\n")] == [[], [None], [], [b"ab"]]
