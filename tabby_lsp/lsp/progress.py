"""Work-done progress: what an editor shows of work that takes a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    server: LanguageServer
    token: int | str

    def report(self, percentage: int, message: str | None = None) -> None:
        report = lsp.WorkDoneProgressReport(message=message, percentage=percentage)
        self.server.work_done_progress.report(self.token, report)

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Calls back when a person stops the work, if the client has a way for that."""
        token = self.server.protocol.progress.tokens.get(self.token)
        if token is not None:
            token.add_done_callback(lambda _: callback())

    def end(self, message: str) -> None:
        self.server.work_done_progress.end(self.token, lsp.WorkDoneProgressEnd(message=message))
        self.server.protocol.progress.tokens.pop(self.token, None)  # pygls keeps it for ever


async def begin(
    server: LanguageServer, what: str, title: str, token: int | str | None = None, cancellable: bool = False
) -> Progress | None:
    """Shows progress under the client's token, or under one of our own. None if the client shows none."""
    if token is None:
        window = server.client_capabilities.window
        if not (window and window.work_done_progress):
            return None
        token = f"tabby-lsp/{what}/{time.monotonic_ns()}"
        try:
            await server.work_done_progress.create_async(token)
        except JsonRpcException as error:  # it said that it would
            log.warning("progress is not shown: %.300s", error)
            return None
    begun = lsp.WorkDoneProgressBegin(title=title, percentage=0, cancellable=cancellable)
    server.work_done_progress.begin(token, begun)
    return Progress(server, token)
