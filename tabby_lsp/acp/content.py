"""The content blocks of a prompt: what is said, and the files and texts that go with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabby_lsp.acp.connection import INVALID_PARAMS, RpcError
from tabby_lsp.chat.sources import Attached
from tabby_lsp.processes import machine
from tabby_lsp.text import split_lines

_LINES = re.compile(r"L?(\d+)(?:(?:[-:]|:L|-L)(\d+))?(?::\d+)?")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a user has sent: the words, and what goes with them."""

    text: str
    attached: tuple[Attached, ...]


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def read(blocks: Any) -> Prompt:
    """The blocks of a prompt. Raises RpcError."""
    if not isinstance(blocks, list) or not all(isinstance(each, Mapping) for each in blocks):
        raise RpcError(INVALID_PARAMS, "`prompt` is a list of content blocks.")
    texts: list[str] = []
    attached: list[Attached] = []
    for block in blocks:
        if block.get("type") == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif block.get("type") == "resource_link" and isinstance(block.get("uri"), str):
            place = _place(block["uri"])
            texts.append(f"`{block.get('name') or block['uri']}`")
            if place is not None:
                attached.append(Attached(*place))
        elif block.get("type") == "resource":
            resource = mapping(block.get("resource"))
            uri, text = resource.get("uri"), resource.get("text")
            if isinstance(uri, str) and isinstance(text, str):
                path, first, _ = _place(uri) or (None, 0, None)
                last = first + len(split_lines(text)) - 1
                attached.append(Attached(path, first, last, text, "" if path else uri))
    text = "".join(texts).strip()
    if not text and not attached:
        raise RpcError(INVALID_PARAMS, "The prompt is empty: an agent reads text, links to files and texts of files.")
    return Prompt(text, tuple(attached))


def _place(uri: str) -> tuple[Path, int, int | None] | None:
    """The file of a URI and its lines, from 0; None of what is no file."""
    uri, _, fragment = uri.partition("#")
    path = machine.path_of_url(uri)
    if path is None:
        return None
    lines = _LINES.fullmatch(fragment)
    if lines is None:
        return path, 0, None
    first = max(1, int(lines[1]))
    return path, first - 1, max(first, int(lines[2] or first)) - 1
