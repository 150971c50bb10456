"""What is said to the person at the editor, and what they are asked.

A command's outcome is said by a message, since many editors drop its result; the result says the same.
"""

from __future__ import annotations

import logging
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

log = logging.getLogger(__name__)

Result = dict[str, Any]


def tell(server: LanguageServer, text: str, kind: lsp.MessageType = lsp.MessageType.Info) -> Result:
    """Shows a message. Returns it as the result of a command."""
    log.info("%s", text)
    server.window_show_message(lsp.ShowMessageParams(type=kind, message=f"tabby-lsp: {text}"))
    return {"message": text}


def refuse(server: LanguageServer, text: str) -> Result:
    """Shows why something is not done."""
    return {**tell(server, text, lsp.MessageType.Error), "failed": True}


async def ask(server: LanguageServer, text: str, *actions: str) -> str | None:
    """What a person chooses, empty if nothing; None where the client cannot ask."""
    window = server.client_capabilities.window
    if not (window and window.show_message):
        return None
    choices = [lsp.MessageActionItem(title=each) for each in actions]
    params = lsp.ShowMessageRequestParams(type=lsp.MessageType.Info, message=f"tabby-lsp: {text}", actions=choices)
    try:
        answer = await server.window_show_message_request_async(params)
    except JsonRpcException as error:  # it said that it could
        log.warning("window/showMessageRequest: %.300s", error)
        return None
    return answer.title if answer else ""
