"""pygls' JSON-RPC with what it lacks (2.1.1): every request is answered once, whatever it is, and what a client got
wrong is one line in the log, without a traceback.

Each override names what it mends; `tests/test_protocol.py` shows each one. Knows nothing of what a method does.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInternalError
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.json_rpc import JsonRPCNotification, JsonRPCRequestMessage, JsonRPCResponseMessage

from tabby_lsp.lsp.messages import bound, extensions, fault_of, id_of, no_constant

log = logging.getLogger(__name__)


class Misfit(Exception):
    """A message that does not fit its type; the text says where."""


class JsonRpc(LanguageServerProtocol):
    """The messages of one connection, and the requests that are under way in it."""

    def __init__(self, server: Any, converter: Any) -> None:
        super().__init__(server, converter)
        self.extensions: Mapping[str, Any] = {}  # what the client announces that is Tabby's and not LSP's
        self._initialized = False
        self._commands: dict[int | str | None, asyncio.Task[Any]] = {}  # pygls knows them by no id

    # --- messages in

    def receive(self, body: bytes) -> None:
        """Handles the body of one frame."""
        try:
            data = json.loads(body, parse_constant=no_constant)
        except (ValueError, RecursionError) as error:
            log.warning("a message of %d bytes is not JSON: %s", len(body), error)
            self._refuse(None, lsp.ErrorCodes.ParseError, f"The message is not JSON: {error}")
            return
        if isinstance(data, list):
            self._refuse_batch(data)
        else:
            self._take(data)

    def _refuse_batch(self, batch: list[Any]) -> None:
        """LSP has no batches. Each request in one is answered, so that nobody waits."""
        requests = [each for each in batch if isinstance(each, dict) and "method" in each and "id" in each]
        for each in requests or [{}]:
            message = "LSP has no batches: send each message by itself."
            self._refuse(id_of(each), lsp.ErrorCodes.InvalidRequest, message)

    def _take(self, data: Any) -> None:
        if fault := fault_of(data):
            if isinstance(data, dict) and "id" in data and "method" not in data:  # an answer is not answered
                log.warning("a response is dropped: %s", fault)
            else:
                self._refuse(id_of(data), lsp.ErrorCodes.InvalidRequest, fault)
            return
        if "id" in data:
            data["id"] = id_of(data)  # 1.0 is answered as 1
        if not self._in_order(data):
            return
        try:
            message = self.structure_message(data)
        except Misfit as misfit:
            self._misfit(data, str(misfit))
            return
        try:
            self.handle_message(message)
        except Exception:  # pygls catches what handlers raise; what its own steps raise must not end the server
            log.exception("%s could not be handled", data.get("method"))

    def _in_order(self, data: dict[str, Any]) -> bool:
        """Whether a message may come now: nothing before initialize, no requests after shutdown (LSP 3.17)."""
        method, id = data.get("method"), data.get("id")
        if method is None:
            # pygls would take a response for one to any request that is under way, the client's own included.
            known = id in self._result_types
            if not known:
                log.warning("a response to %.100r answers no request", id)
            return known and not self._shutdown
        if method == lsp.EXIT:
            return True
        if not self._initialized and not (method == lsp.INITIALIZE and id is not None):
            if id is not None:
                self._refuse(id, lsp.ErrorCodes.ServerNotInitialized, "Send initialize first.")
            return False
        if self._initialized and id is not None and (method == lsp.INITIALIZE or self._shutdown):
            self._refuse(id, lsp.ErrorCodes.InvalidRequest, f"{method:.100} cannot be sent now.")
            return False
        if method != lsp.CANCEL_REQUEST and not self._is_known(method):
            log.debug("there is no method %.100r", method)
            if id is not None:
                self._refuse(id, lsp.ErrorCodes.MethodNotFound, f"There is no method {method!r:.100}.")
            return False
        return not self._shutdown

    def structure_message(self, data: dict[str, Any]) -> Any:
        """The message in its own type. pygls logs a traceback for each that does not fit. Raises Misfit."""
        method = data.get("method")
        kind: Any
        if method is None:
            kind = self._result_types.pop(data["id"]) or JsonRPCResponseMessage
            if data.get("error") is not None:
                kind = lsp.ResponseErrorMessage
        else:
            kind = self.get_message_type(method) or (JsonRPCRequestMessage if "id" in data else JsonRPCNotification)
            if kind in (JsonRPCRequestMessage, JsonRPCNotification):
                data.setdefault("params", None)  # JSON-RPC lets them be left out
            elif method == lsp.INITIALIZED and data.get("params") is None:
                data["params"] = {}
            elif method == lsp.INITIALIZE:
                self.extensions = extensions(data.get("params"))
            elif method.startswith("textDocument/"):
                bound(data.get("params"))
        try:
            return self._converter.structure(data, kind)
        except Exception as error:  # whatever cattrs and the validators of lsprotocol raise
            raise Misfit("; ".join(map(str, _leaves(error)))) from error

    def _misfit(self, data: dict[str, Any], detail: str) -> None:
        method, id = data.get("method"), data.get("id")
        log.warning("%.100s does not fit its type: %.300s", method or "a response", detail)
        if method is None:
            error = lsp.ResponseError(
                lsp.ErrorCodes.InvalidRequest.value, f"The client's answer does not fit: {detail}"
            )
            self._handle_response(data["id"], error=error)
        elif id is not None:
            self._refuse(id, lsp.ErrorCodes.InvalidParams, f"The params of {method} do not fit: {detail:.1000}")

    def _is_known(self, method: str) -> bool:
        return method in self.fm.builtin_features or method in self.fm.features

    # --- messages out

    def _refuse(self, id: int | str | None, code: lsp.ErrorCodes | lsp.LSPErrorCodes, message: str) -> None:
        log.debug("refused: %s", message)
        # A plain dict: pygls' own response leaves out an id that is null, which JSON-RPC 2.0 asks for.
        self._send_data({"jsonrpc": "2.0", "id": id, "error": {"code": code.value, "message": message}})

    def _send_data(self, data: Any) -> None:
        """pygls writes Infinity and NaN, which no JSON parser need take, and logs bodies at INFO. An answer that cannot
        be written becomes one that says so."""
        if self.writer is None:
            return
        try:
            body = json.dumps(data, default=self._serialize_message, allow_nan=False).encode("ascii")
        except Exception as error:  # of whatever a value's own type raises
            log.exception("a message could not be written")
            if isinstance(data, JsonRPCResponseMessage):
                self._refuse(data.id, lsp.ErrorCodes.InternalError, f"The answer could not be written: {error}")
            return
        log.debug("sent: %s", body.decode("ascii"))
        header = f"Content-Length: {len(body)}\r\nContent-Type: {self.CONTENT_TYPE}; charset={self.CHARSET}\r\n\r\n"
        self.writer.write(header.encode("ascii") + body)

    # --- requests under way

    def _execute_handler(
        self,
        msg_id: int | str,
        handler: Callable[..., Any],
        callback: Callable[[Any], None],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """pygls keeps what the steps of a generator and the handlers of notifications have returned, for ever."""

        def done(future: Any) -> None:
            if self._request_futures.get(msg_id) is future:
                del self._request_futures[msg_id]
            callback(future)

        super()._execute_handler(msg_id, handler, done, args, kwargs)

    def _run_generator(self, future: Any, *, gen: Generator[Any, Any, Any], result_future: Future[Any]) -> None:
        """pygls raises out of the callback when a step was cancelled, and its request is then never answered."""
        if future is not None and future.cancelled():
            gen.close()
            result_future.cancel()
            return
        super()._run_generator(future, gen=gen, result_future=result_future)

    def _send_handler_result(self, future: Any, *, msg_id: int | str) -> None:
        """pygls logs a traceback also where a client has asked for what is not there."""
        if future.cancelled():
            self._refuse(msg_id, lsp.LSPErrorCodes.RequestCancelled, "The request was cancelled.")
        elif (error := future.exception()) is None:
            self._send_response(msg_id, result=future.result())
        elif isinstance(error, JsonRpcException) and not isinstance(error, JsonRpcInternalError):
            log.warning("request %.100r is refused: %.300s", msg_id, error.message)
            self._send_response(msg_id, error=error.to_response_error())
        else:
            log.error("request %.100r failed", msg_id, exc_info=error)
            self._refuse(msg_id, lsp.ErrorCodes.InternalError, f"{type(error).__name__}: {error}")

    def _handle_response(self, msg_id: int | str, result: Any = None, error: lsp.ResponseError | None = None) -> None:
        """pygls fails at an answer for which nobody waits any more (its issue 621)."""
        future = self._request_futures.get(msg_id)
        if future is not None and future.done():
            del self._request_futures[msg_id]
        else:
            super()._handle_response(msg_id, result, error)

    def _end_requests(self, but: int | str | None = None) -> None:
        """Cancels the client's requests that are under way: each is answered so."""
        for task in list(self._commands.values()):
            task.cancel()
        for id, future in list(self._request_futures.items()):
            if id != but:
                future.cancel()

    async def settle(self, seconds: float) -> None:
        """Ends what is under way, and waits until all of it is answered, but no longer than so many seconds."""
        if not self._shutdown:
            self._end_requests()
        futures: tuple[Any, ...] = (*self._request_futures.values(),)  # asyncio's among them, whatever pygls' type says
        if steps := [each for each in futures if asyncio.isfuture(each)]:
            await asyncio.wait(steps, timeout=seconds)

    def _handle_cancel_notification(self, msg_id: int | str) -> None:
        """pygls answers a cancelled command, and lets it run on."""
        if not isinstance(msg_id, int | float | str):
            log.warning("a cancel of %.100r means no request", msg_id)
            return
        task = self._commands.get(msg_id)
        # Else it has been answered, and a late cancel is no mistake; or it is a request of ours to the client.
        if msg_id in self._request_futures and msg_id not in self._result_types:
            super()._handle_cancel_notification(msg_id)
        if task is not None:
            task.cancel()


def _leaves(error: Exception) -> list[Exception]:
    """What has really failed: cattrs wraps it once for each level of the message."""
    inner = getattr(error, "exceptions", ())
    return [leaf for each in inner for leaf in _leaves(each)] or [error]
