"""What an editor may ask of conversations: commands, code lenses, links and definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsprotocol import types as lsp

from tabby_lsp.lsp.conversations import OPEN, SEND, STOP, folder
from tabby_lsp.lsp.dialogue import Result
from tabby_lsp.lsp.protocol import plain
from tabby_lsp.lsp.server import TabbyServer
from tabby_lsp.lsp.watching import register_later


def register(server: TabbyServer) -> None:
    server.command(OPEN)(_open)
    server.command(SEND)(_send)
    server.command(STOP)(_stop)
    server.feature(lsp.TEXT_DOCUMENT_CODE_LENS)(_on_code_lens)
    server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_LINK)(_on_document_link)


async def register_definitions(server: TabbyServer) -> None:
    """For conversations alone, where the client can be asked that: some take the first server that has definitions."""
    capability = server.client_capabilities.text_document
    if capability and capability.definition and capability.definition.dynamic_registration:
        only = [lsp.TextDocumentFilterPattern(scheme="file", pattern=f"**/{folder().parent.name}/{folder().name}/*.md")]
        await register_later(
            server, lsp.TEXT_DOCUMENT_DEFINITION, lsp.DefinitionRegistrationOptions(document_selector=only)
        )


async def _open(ls: TabbyServer, *arguments: Any) -> Result:
    asked = _argument(arguments)
    return await ls.conversations.open(_string(asked, "question"), _string(asked, "uri"))


async def _send(ls: TabbyServer, *arguments: Any) -> Result:
    return await ls.conversations.send(_string(_argument(arguments), "uri"))


def _stop(ls: TabbyServer, *arguments: Any) -> Result:
    return ls.conversations.stop(_string(_argument(arguments), "uri"))


def _argument(arguments: Sequence[Any]) -> Mapping[str, Any]:
    """A command's one argument: an object, or a question as it is."""
    first = plain(arguments[0]) if arguments else {}
    return first if isinstance(first, Mapping) else {"question": first}


def _string(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    return value if isinstance(value, str) else ""


def _on_code_lens(ls: TabbyServer, params: lsp.CodeLensParams) -> list[lsp.CodeLens]:
    return ls.conversations.lenses(params.text_document.uri)


def _on_document_link(ls: TabbyServer, params: lsp.DocumentLinkParams) -> list[lsp.DocumentLink]:
    return ls.conversations.links(params.text_document.uri)


def on_definition(ls: TabbyServer, params: lsp.DefinitionParams) -> lsp.Location | None:
    return ls.conversations.definition(params.text_document.uri, params.position)
