"""JSON-RPC 2.0 on stdio, one message a line, as the Agent Client Protocol has it. Knows no method.

Whatever comes in, the connection stays up: what is no message is answered with an error, or passed over where it asks
for no answer.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tabby_lsp.processes import streams
from tabby_lsp.processes.streams import Writer

log = logging.getLogger(__name__)

LARGEST_LINE = 64 << 20  # bytes: a prompt may hold a large file, but not this
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
REQUEST_CANCELLED = -32800  # as in LSP, which the protocol takes `$/cancel_request` from

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]


class RpcError(Exception):
    """A request that cannot be answered otherwise: the message is for people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Lines:
    """Cuts a stream of bytes into lines. One that is too long is given as None, and its rest is passed over."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._passing = False

    def feed(self, data: bytes) -> list[bytes | None]:
        found: list[bytes | None] = []
        start = len(self._buffer)
        self._buffer += data
        while (end := self._buffer.find(b"\n", start)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            start = 0
            if not self._passing:
                found.append(line)
            self._passing = False
        if len(self._buffer) > LARGEST_LINE:
            self._buffer.clear()
            if not self._passing:
                found.append(None)
            self._passing = True
        return found


class Connection:
    """One client. Each request is answered once, by its handler's result or an error; handlers run side by side.

    A handler that raises RpcError, or ValueError for parameters that mean nothing, says so in its answer.
    """

    def __init__(self, requests: Mapping[str, Handler], notifications: Mapping[str, Handler]) -> None:
        self._requests, self._notifications = requests, notifications
        self._writer: Writer | None = None
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._running: dict[Any, asyncio.Task[None]] = {}  # requests of the client, by their id
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, read_from: int, write_to: int) -> None:
        """Until the client closes its end. What was asked by then is cancelled."""
        self._writer = Writer(write_to)
        lines = Lines()
        async for data in streams.read(read_from):
            for line in lines.feed(data):
                if line is None:
                    self._fail(None, INVALID_REQUEST, f"A message is longer than {LARGEST_LINE >> 20} MiB.")
                elif line.strip():
                    self._take(line)
                    await asyncio.sleep(0)  # a handler begins before the next message is looked at
        for asked in self._asked.values():
            asked.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()

    def notify(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    async def call(self, method: str, **params: Any) -> Any:
        """Asks the client. Raises RpcError with what it says, CancelledError if it is gone."""
        id = next(self._ids)
        answer = self._asked[id] = asyncio.get_running_loop().create_future()
        self._send({"id": id, "method": method, "params": params})
        try:
            return await answer
        finally:
            del self._asked[id]

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._writer is not None:
            # ASCII escapes carry lone surrogates, and no line end.
            self._writer.write(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n")

    def _fail(self, id: Any, code: int, message: str) -> None:
        self._send({"id": id, "error": {"code": code, "message": message}})

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            self._fail(None, PARSE_ERROR, f"A line is no JSON: {error}")
            return
        if not isinstance(message, dict):
            self._fail(None, INVALID_REQUEST, "A message is an object.")
            return
        id, method, params = message.get("id"), message.get("method"), message.get("params")
        if method is None and ("result" in message or "error" in message):
            self._answered(message)
        elif not isinstance(method, str) or (id is not None and not isinstance(id, int | str)):
            self._fail(id if isinstance(id, int | str) else None, INVALID_REQUEST, "A message has a method and an id.")
        elif "id" not in message:
            self._notified(method, params if isinstance(params, dict) else {})
        elif id in self._running:
            self._fail(id, INVALID_REQUEST, f"The id {id!r} is that of a request that is not answered yet.")
        else:
            self._running[id] = self._spawn(self._answer(id, method, params))

    def _answered(self, message: Mapping[str, Any]) -> None:
        id = message.get("id")
        answer = self._asked.get(id) if isinstance(id, int) else None
        if answer is None or answer.done():
            log.warning("an answer to nothing that was asked: %r", id)
            return
        error = message.get("error")
        if error is None:
            answer.set_result(message.get("result"))
            return
        said = error if isinstance(error, dict) else {}
        code = said.get("code")
        answer.set_exception(
            RpcError(code if isinstance(code, int) else INTERNAL_ERROR, str(said.get("message", error)))
        )

    def _notified(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "$/cancel_request":
            id = params.get("requestId", params.get("id"))
            task = self._running.get(id) if isinstance(id, int | str) else None
            if task is not None:
                task.cancel()
        elif (handler := self._notifications.get(method)) is not None:
            self._spawn(self._carry_out(handler, method, params))
        else:
            log.debug("passed over: %s", method)

    async def _carry_out(self, handler: Handler, method: str, params: Mapping[str, Any]) -> None:
        try:
            await handler(params)
        except Exception:  # whatever it is: a notification has no answer to say it in
            log.exception("%s", method)

    async def _answer(self, id: Any, method: str, params: Any) -> None:
        try:
            handler = self._requests.get(method)
            if handler is None:
                raise RpcError(METHOD_NOT_FOUND, f"There is no method {method!r:.80} here.")
            if not isinstance(params, dict | None):
                raise RpcError(INVALID_PARAMS, "Parameters have names.")
            self._send({"id": id, "result": await handler(params or {})})
        except asyncio.CancelledError:
            self._fail(id, REQUEST_CANCELLED, "cancelled")
        except RpcError as error:
            self._fail(id, error.code, str(error))
        except ValueError as error:
            self._fail(id, INVALID_PARAMS, str(error))
        except Exception as error:  # a fault of ours is an answer, too
            log.exception("%s", method)
            self._fail(id, INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        finally:
            self._running.pop(id, None)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
