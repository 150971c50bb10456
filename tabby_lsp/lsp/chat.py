"""`tabby/chat`: a conversation by one request. Its pieces come as partial results, `$/cancelRequest` stops it.

    {messages: [{role, content}], context?: [{uri, range?}], model?, max_tokens?, temperature?, top_p?, stop?, seed?,
     partialResultToken?, workDoneToken?}
    → $/progress {token: partialResultToken, value: {kind: "text" | "thought", text}}
    → {message: {role, content}, finish_reason, usage, citations: [{number, uri, range, title}], given, notes, thoughts,
       model}

Parameters have OpenAI's names and meanings. What drives a conversation is loaded with the first one: it needs SQLite.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from tabby_lsp.chat.conversation import ChatError, Excerpt, Message, Parameters
from tabby_lsp.chat.thoughts import Piece
from tabby_lsp.index.plan import Plan
from tabby_lsp.lsp import progress
from tabby_lsp.lsp.protocol import plain
from tabby_lsp.processes.machine import path_of_url

if TYPE_CHECKING:
    from tabby_lsp.assistant import Assistant, Reply, Request
    from tabby_lsp.chat.sources import Attached, Sources
    from tabby_lsp.lsp.server import TabbyServer

MOST_STOPS = 16


async def on_chat(ls: TabbyServer, params: Any) -> dict[str, Any]:
    """Answers the last message of a conversation."""
    asked = plain(params)
    if not isinstance(asked, Mapping):
        raise JsonRpcInvalidParams("tabby/chat takes an object with `messages`.")
    # The text of a selection is that of this moment: what is loaded may take a while.
    chosen = [(_lines(ls, each), each) for each in _list(asked, "context")]
    await asyncio.to_thread(importlib.import_module, "tabby_lsp.assistant")
    request = _request(asked, chosen)
    token, work = asked.get("partialResultToken"), asked.get("workDoneToken")

    def tell(piece: Piece) -> None:
        if token is not None:
            value = {"kind": piece.kind, "text": piece.text}
            ls.protocol.notify("$/progress", lsp.ProgressParams(token=token, value=value))

    shown = await progress.begin(ls, "chat", "Tabby: answering", work) if work is not None else None
    end = "stopped"
    try:
        reply = await assistant(ls).answer(request, tell)
        end = reply.finish_reason
    except ChatError as error:
        end = str(error)
        raise JsonRpcException(str(error), lsp.LSPErrorCodes.RequestFailed.value) from None
    finally:
        if shown is not None:
            with contextlib.suppress(Exception):  # the client may be gone
                shown.end(end)
    return _result(reply, ls.index.plan)


def assistant(ls: TabbyServer) -> Assistant:
    """Answers about the workspace as it is now."""
    from tabby_lsp.assistant import Assistant

    return Assistant(ls.engines, lambda: ls.settings, lambda: sources(ls))


def sources(ls: TabbyServer) -> Sources:
    """The workspace, with the texts that are open at this moment."""
    from tabby_lsp.chat.sources import Sources

    plan = ls.index.plan
    # Asked in another thread, in which documents must not be read: they change in this one.
    texts: dict[Path, str] = {}
    for document in ls.protocol.documents:
        if (path := path_of_url(document.uri)) is not None:
            texts[plan.real(path) if plan else path] = document.text()
    return Sources(plan, str(ls.index.status()["note"]), ls.disabled, lambda path: texts.get(path))


# --- params


def _request(asked: Mapping[str, Any], chosen: list[tuple[Attached | None, Any]]) -> Request:
    """What is asked for. Raises JsonRpcInvalidParams."""
    from tabby_lsp.assistant import Request

    messages = []
    for each in _list(asked, "messages"):
        role, content = (each.get("role"), each.get("content")) if isinstance(each, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise JsonRpcInvalidParams("Each of `messages` must be {role, content}, both strings.")
        messages.append(Message(role, content))
    missing = [str(each)[:200] for attached, each in chosen if attached is None]
    if missing:
        raise JsonRpcInvalidParams(f"`context` must hold {{uri, range?}} of open or saved files, not {missing[0]}.")
    model = asked.get("model") or ""
    if not isinstance(model, str):
        raise JsonRpcInvalidParams("`model` must be the name of one.")
    attached = tuple(each for each, _ in chosen if each is not None)
    return Request(tuple(messages), attached, _parameters(asked), model)


def _parameters(asked: Mapping[str, Any]) -> Parameters:
    usual = Parameters()
    stop = asked.get("stop") or ()
    stops = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list | tuple) else (None,)
    if len(stops) > MOST_STOPS or not all(isinstance(each, str) for each in stops):
        raise JsonRpcInvalidParams(f"`stop` must be a string or at most {MOST_STOPS} of them.")
    return Parameters(
        int(_number(asked, "max_tokens", usual.max_tokens, 1, 1 << 20)),
        _number(asked, "temperature", usual.temperature, 0, 2),
        _number(asked, "top_p", usual.top_p, 0, 1),
        int(_number(asked, "seed", usual.seed, 0, (1 << 63) - 1)),
        stops,
    )


def _number(asked: Mapping[str, Any], name: str, usual: float, least: float, most: float) -> float:
    value = asked.get(name)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise JsonRpcInvalidParams(f"`{name}` must be a number from {least} to {most}, not {value!r:.80}.")
    return value


def _list(asked: Mapping[str, Any], name: str) -> list[Any]:
    value = asked.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise JsonRpcInvalidParams(f"`{name}` must be a list, not {value!r:.80}.")
    return value


def _lines(ls: TabbyServer, context: Any) -> Attached | None:
    """The lines that a client points at, as they are open or saved; None if there are none."""
    from tabby_lsp.chat.sources import Attached

    uri, range_ = (context.get("uri"), context.get("range")) if isinstance(context, Mapping) else (None, None)
    if not isinstance(uri, str):
        return None
    document, path = ls.protocol.documents.get(uri), path_of_url(uri)
    plan = ls.index.plan
    real = plan.real(path) if path is not None and plan is not None else path
    first, last = (0, None) if range_ is None else _span(range_)
    if document is None and real is None:
        return None
    if document is None or (real is not None and range_ is None):
        return Attached(real, first, last)
    lines = document.lines[first : None if last is None else last + 1]
    return Attached(real, first, text="".join(lines), name=uri)


def _span(range_: Any) -> tuple[int, int]:
    """The first and the last line of a range, whole. Raises JsonRpcInvalidParams."""
    try:
        start, end = range_["start"], range_["end"]
        first, last, units = int(start["line"]), int(end["line"]), int(end["character"])
        if first < 0 or last < first:
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise JsonRpcInvalidParams(f"`range` must be one of LSP, not {range_!r:.200}.") from None
    return first, max(first, last - (units == 0))


# --- the result


def _result(reply: Reply, plan: Plan | None) -> dict[str, Any]:
    return {
        "message": {"role": "assistant", "content": reply.text},
        "finish_reason": reply.finish_reason,
        "usage": {
            "prompt_tokens": reply.usage.prompt_tokens,
            "completion_tokens": reply.usage.completion_tokens,
            "total_tokens": reply.usage.prompt_tokens + reply.usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": reply.usage.cached_tokens},
        },
        "citations": [_citation(each, plan) for each in reply.citations],
        "given": [_citation(each, plan) for each in reply.given],
        "notes": list(reply.notes),
        "thoughts": reply.thoughts,
        "model": reply.model,
    }


def _citation(excerpt: Excerpt, plan: Plan | None) -> dict[str, Any]:
    """Lines of a file, for who jumps there; a text that lies in none has a title only."""
    if not (uri := uri_of(excerpt, plan)):
        return {"number": None, "title": excerpt.title}
    start, end = {"line": excerpt.first, "character": 0}, {"line": excerpt.last + 1, "character": 0}
    return {"number": excerpt.number, "uri": uri, "range": {"start": start, "end": end}, "title": excerpt.title}


def uri_of(excerpt: Excerpt, plan: Plan | None) -> str:
    """Where an excerpt lies, as the editor names the folder; "" of one that lies in no file."""
    if not excerpt.cited:
        return ""
    named = {real: link for link, real in plan.links} if plan else {}
    path = Path(named.get(excerpt.root, excerpt.root), excerpt.path)
    return path.as_uri() if path.is_absolute() else ""
