"""Edits by a chat model, and questions about a passage: `tabby/edit`, commands, and the code actions that name them.

    tabby/edit {textDocument: {uri}, range, instruction | task, partialResultToken?, workDoneToken?}
    → $/progress {token: partialResultToken, value: {hunks: [{range, newText}]}}
    → {id, version, hunks, notes}
    tabby/edit/accept {id} → {applied}      tabby/edit/discard {id} → {discarded}

An edit is made of the text as it was asked for: where that has changed, it is refused and nothing is touched. Made by a
command it asks for confirmation if the client can, and is one step of undo otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from tabby_lsp.chat import edits, tasks
from tabby_lsp.chat.conversation import ChatError
from tabby_lsp.chat.edits import Hunk, NoEdit
from tabby_lsp.chat.markdown import fenced
from tabby_lsp.lsp import chat, convert, progress
from tabby_lsp.lsp.dialogue import Result, refuse, tell
from tabby_lsp.lsp.documents import Document
from tabby_lsp.lsp.protocol import plain
from tabby_lsp.lsp.server import TabbyServer
from tabby_lsp.processes.machine import path_of_url

log = logging.getLogger(__name__)

EDIT, ASK = "tabby.edit", "tabby.ask"
MOST_KEPT = 16  # edits that nobody has accepted or discarded
COMMENT = "comment"  # the task of a comment that says what to do
_COMMENT = re.compile(
    r"^[ \t]*(?:#|//|--|/\*|<!--|;+|%|\"|')[ \t]*tabby:[ \t]*(.+?)[ \t]*(?:\*/|-->)?[ \t]*$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Edit:
    """Hunks of whole lines for a text as it was."""

    uri: str
    text: str
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be edited or asked about: lines `first` up to `end` of a text, and what is asked."""

    uri: str
    language: str
    text: str  # with "\\n" at the ends of lines
    ending: str
    first: int
    end: int
    instruction: str


def register(server: TabbyServer) -> None:
    server.feature("tabby/edit")(on_edit)
    server.feature("tabby/edit/accept")(on_accept)
    server.feature("tabby/edit/discard")(on_discard)
    server.command(EDIT)(edit_command)
    server.command(ASK)(ask_command)
    server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION)(on_code_action)


# --- requests


async def on_edit(ls: TabbyServer, params: Any) -> dict[str, Any]:
    """Works an edit out; nothing is changed yet."""
    asked = plain(params)
    if not isinstance(asked, Mapping):
        raise JsonRpcInvalidParams("tabby/edit takes an object with `textDocument`, `range` and `instruction`.")
    document = ls.protocol.documents.get(_uri(asked))
    if document is None:
        raise JsonRpcInvalidParams("tabby/edit is for open documents.")
    version, token, work = document.version, asked.get("partialResultToken"), asked.get("workDoneToken")

    def show(hunks: Sequence[Hunk]) -> None:
        if token is not None:
            value = {"hunks": [_as_edit(each) for each in hunks]}
            ls.protocol.notify("$/progress", lsp.ProgressParams(token=token, value=value))

    shown = await progress.begin(ls, "edit", "Tabby: editing", work) if work is not None else None
    end = "stopped"
    try:
        target = await _target(ls, document, asked)
        edit, notes = await _worked_out(ls, target, show)
        end = f"{len(edit.hunks)} places"
    except (ChatError, NoEdit) as error:
        end = str(error)
        raise JsonRpcException(str(error), lsp.LSPErrorCodes.RequestFailed.value) from None
    finally:
        if shown is not None:
            with contextlib.suppress(Exception):  # the client may be gone
                shown.end(end)
    id = secrets.token_hex(8)
    kept = _kept(ls)
    kept[id] = edit
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
    return {"id": id, "version": version, "hunks": [_as_edit(each) for each in edit.hunks], "notes": list(notes)}


async def on_accept(ls: TabbyServer, params: Any) -> dict[str, Any]:
    """Makes an edit that was worked out."""
    edit = _kept(ls).pop(_id(params), None)
    if edit is None:
        raise JsonRpcInvalidParams("There is no such edit: it was accepted or discarded, or asked for too long ago.")
    if why := await _applied(ls, edit, confirm=False):
        raise JsonRpcException(why, lsp.LSPErrorCodes.ContentModified.value)
    return {"applied": True}


def on_discard(ls: TabbyServer, params: Any) -> dict[str, Any]:
    return {"discarded": _kept(ls).pop(_id(params), None) is not None}


async def edit_command(ls: TabbyServer, *arguments: Any) -> Result:
    """Edits a passage, for an editor without code of ours. Answered at once: the edit comes when it is there."""
    asked = _argument(arguments)
    document = ls.protocol.documents.get(_uri(asked))
    if document is None:
        return refuse(ls, "Choose the edit in an open document, as a code action: a command alone does not say where.")
    try:
        target = await _target(ls, document, asked)
    except (NoEdit, JsonRpcException) as error:
        return refuse(ls, str(error))
    ls.spawn(_edited(ls, target))
    return {}


async def _edited(ls: TabbyServer, target: Target) -> None:
    shown = await progress.begin(ls, "edit", "Tabby: editing", cancellable=True)
    task = asyncio.create_task(_worked_out(ls, target))
    if shown is not None:
        shown.on_cancel(task.cancel)
    end = "stopped"
    try:
        await asyncio.wait({task})
        if task.cancelled():
            return
        edit, notes = task.result()
        count = len(edit.hunks)
        if why := await _applied(ls, edit, confirm=True):
            end = why
            refuse(ls, why)
        else:
            end = f"Edited in {count} place{'s' if count > 1 else ''}."
            tell(ls, " ".join([end, *notes]))
    except (ChatError, NoEdit) as error:
        end = str(error)
        refuse(ls, str(error))
    finally:
        if shown is not None:
            shown.end(end)


async def ask_command(ls: TabbyServer, *arguments: Any) -> Result:
    """Asks about a passage, in a conversation that is shown."""
    asked = _argument(arguments)
    document = ls.protocol.documents.get(_uri(asked))
    if document is None:
        return refuse(ls, "Choose it in an open document, as a code action: a command alone does not say where.")
    try:
        target = await _target(ls, document, asked)
    except (NoEdit, JsonRpcException) as error:
        return refuse(ls, str(error))
    path = path_of_url(target.uri)
    lines = "".join(target.text.splitlines(keepends=True)[target.first : target.end])
    where = f"`{path.name if path else target.uri}`, lines {target.first + 1}-{target.end}"
    question = f"{target.instruction}\n\n{where}:\n\n{fenced(lines.rstrip(), target.language)}"
    if why := await asyncio.to_thread(_why_withheld, ls, target.uri):
        return refuse(ls, f"{where} is not given to a model: it is {why}.")
    opened = await ls.conversations.open(question)
    return await ls.conversations.send(opened["uri"]) if "uri" in opened else opened


# --- code actions


def on_code_action(ls: TabbyServer, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    """What can be done here: in a conversation to send it, elsewhere what a model can do with the passage."""
    uri = params.text_document.uri
    found = ls.conversations.actions(uri)
    document = ls.protocol.documents.get(uri)
    if found or document is None or not ls.settings.model.chat.local.model_id:
        return found
    if ls.disabled.names(convert.path_for_patterns(uri, ls.workspace_uris())):
        return []
    span = {"start": _as_dict(params.range.start), "end": _as_dict(params.range.end)}
    line, _ = document.place(params.range.start.line, params.range.start.character)
    about = [each.message for each in params.context.diagnostics if isinstance(each.message, str)]
    chosen: list[tuple[str, str, str, Mapping[str, Any]]] = []
    if said := _comment_at(document, line):
        chosen.append((f"Do what the comment says: {said[1][:40]}", EDIT, "refactor.rewrite", {"task": COMMENT}))
    for message in about[:3]:
        chosen.append(
            (f"Fix: {message.splitlines()[0][:60]}", EDIT, "quickfix", {"task": "fix", "instruction": message})
        )
    for task in tasks.TASKS:
        if task.wants_words or (task.name == "fix" and about):
            continue
        command, kind = (EDIT, "refactor.rewrite") if task.kind == tasks.EDITS else (ASK, "empty")
        chosen.append((task.title, command, kind, {"task": task.name}))
    for own in ls.settings.actions:
        if not own.languages or document.language_id in own.languages:
            command, kind = (EDIT, "refactor.rewrite") if own.edits else (ASK, "empty")
            chosen.append((own.title, command, kind, {"action": own.title}))
    return [
        lsp.CodeAction(
            title=f"Tabby: {title}",
            kind=None if kind == "empty" else kind,
            command=lsp.Command(title=title, command=command, arguments=[{"uri": uri, "range": span, **extra}]),
        )
        for title, command, kind, extra in chosen
        if _is_wanted(kind, params.context.only)
    ]


def _is_wanted(kind: str, only: Sequence[str | lsp.CodeActionKind] | None) -> bool:
    return not only or any(kind == str(each) or kind.startswith(f"{each}.") for each in only)


def _comment_at(document: Document, line: int) -> tuple[int, str] | None:
    """A comment that says what to do, on a line or the one above it: its line, and what it says."""
    for at in (line, line - 1):
        if 0 <= at < len(document.lines) and (found := _COMMENT.match(document.lines[at].rstrip("\r\n"))):
            return at, found[1]
    return None


# --- what is edited


async def _target(ls: TabbyServer, document: Document, asked: Mapping[str, Any]) -> Target:
    """The passage and the instruction. Raises NoEdit, JsonRpcInvalidParams."""
    task, words = asked.get("task"), asked.get("instruction") or ""
    if not isinstance(words, str) or not (task is None or task == COMMENT or task in tasks.BY_NAME):
        raise JsonRpcInvalidParams(f"`task` must be one of {', '.join(tasks.BY_NAME)}, and `instruction` a string.")
    text, ending = document.text().replace("\r\n", "\n"), document.line_end()
    first, last = _lines(document, asked.get("range"))
    own = next((each for each in ls.settings.actions if each.title == asked.get("action")), None)
    if own is not None:
        task, words = "edit", own.prompt
    if task == COMMENT:
        said = _comment_at(document, first)
        if said is None:
            raise NoEdit("There is no comment that begins with `tabby:` here.")
        at, words = said
        instruction = f"{words}. Leave out the comment that asks for this."
        if first == last:  # of what stands below the comment
            first, last = await _around(text, document.language_id, min(at + 1, len(document.lines) - 1))
            first = min(first, at)
    else:
        chosen = tasks.BY_NAME[task or "edit"]
        instruction = tasks.instruction_of(chosen, words)
        if first == last:
            first, last = await _around(text, document.language_id, first)
    return Target(document.uri, document.language_id, text, ending, first, last + 1, instruction)


async def _around(text: str, language: str, line: int) -> tuple[int, int]:
    """The first and last line of the smallest definition around a line, or else of its paragraph."""
    symbols = await asyncio.to_thread(importlib.import_module, "tabby_lsp.index.symbols")
    outline = await asyncio.to_thread(symbols.outline, text, language)
    around = [each for each in outline.symbols if each.first <= line <= each.last and each.last > each.first]
    if around:
        smallest = min(around, key=lambda each: each.last - each.first)
        return smallest.first, smallest.last
    lines = text.split("\n")
    first = last = line
    while first > 0 and lines[first - 1].strip():
        first -= 1
    while last + 1 < len(lines) and lines[last + 1].strip():
        last += 1
    return first, last


def _lines(document: Document, range_: Any) -> tuple[int, int]:
    """The first and the last line of a range. Raises JsonRpcInvalidParams."""
    try:
        points = [(int(range_[each]["line"]), int(range_[each]["character"])) for each in ("start", "end")]
    except (TypeError, KeyError, ValueError):
        raise JsonRpcInvalidParams(f"`range` must be one of LSP, not {range_!r:.200}.") from None
    start, end = sorted(document.place(*point) for point in points)
    return start[0], max(start[0], end[0] - (end[1] == 0 and end[0] > start[0]))


async def _worked_out(
    ls: TabbyServer, target: Target, show: Callable[[Sequence[Hunk]], None] = lambda hunks: None
) -> tuple[Edit, tuple[str, ...]]:
    """The edit of a passage, and what one should know of it. Raises ChatError, NoEdit."""
    await asyncio.to_thread(importlib.import_module, "tabby_lsp.assistant")
    path = path_of_url(target.uri)
    name = path.name if path else target.uri.rpartition("/")[2]
    if why := await asyncio.to_thread(_why_withheld, ls, target.uri):
        raise NoEdit(f"{name} is not given to a model: it is {why}.")
    passage = tasks.passage_of(name, target.language, target.text, target.first, target.end)
    asked, parameters = tasks.edit(passage, target.instruction)
    told: tuple[Hunk, ...] = ()

    def follow(answer: str) -> None:
        nonlocal told
        hunks = _moved(edits.hunks_so_far(passage.text, edits.written_so_far(answer, passage.text)), target)
        if len(hunks) > len(told):
            told = hunks
            show(hunks)

    draft = await chat.assistant(ls).write(asked, parameters, follow)
    new = edits.rewritten(draft.text, passage.text, draft.ended)
    return Edit(target.uri, target.text, _moved(edits.hunks(passage.text, new), target)), draft.notes


def _moved(hunks: Sequence[Hunk], target: Target) -> tuple[Hunk, ...]:
    """Hunks of a passage as those of its text, in its own line ends."""
    return tuple(
        Hunk(
            each.first + target.first,
            each.end + target.first,
            tuple(line.replace("\n", target.ending) for line in each.lines),
        )
        for each in hunks
    )


def _why_withheld(ls: TabbyServer, uri: str) -> str:
    from tabby_lsp.chat.sources import why_withheld

    path = path_of_url(uri)
    return why_withheld(chat.sources(ls), path) if path is not None else ""


async def _applied(ls: TabbyServer, edit: Edit, confirm: bool) -> str:
    """Makes an edit; why it could not be made, or "". Not to be cancelled (pygls issue 621)."""
    document = ls.protocol.documents.get(edit.uri)
    if document is None or document.text().replace("\r\n", "\n") != edit.text:
        return "The text has changed since the edit was asked for: nothing was touched. Ask again."
    workspace = ls.client_capabilities.workspace
    can = workspace.workspace_edit if workspace else None
    if can and can.document_changes:
        at = lsp.OptionalVersionedTextDocumentIdentifier(uri=edit.uri, version=document.version)
        asks = confirm and can.change_annotation_support is not None
        made = [
            lsp.AnnotatedTextEdit(annotation_id="tabby", range=span, new_text=new) if asks else lsp.TextEdit(span, new)
            for span, new in map(_edit_of, edit.hunks)
        ]
        notes = {"tabby": lsp.ChangeAnnotation(label="Tabby", needs_confirmation=True)} if asks else None
        change = lsp.WorkspaceEdit(
            document_changes=[lsp.TextDocumentEdit(text_document=at, edits=made)], change_annotations=notes
        )
    else:
        change = lsp.WorkspaceEdit(changes={edit.uri: [lsp.TextEdit(*_edit_of(each)) for each in edit.hunks]})
    try:
        answer = await ls.workspace_apply_edit_async(lsp.ApplyWorkspaceEditParams(edit=change, label="Tabby"))
    except JsonRpcException as error:
        return f"The editor did not make the edit: {error}"
    return "" if answer.applied else f"The edit was not made: {answer.failure_reason or 'the editor refused it'}."


def _edit_of(hunk: Hunk) -> tuple[lsp.Range, str]:
    return lsp.Range(lsp.Position(hunk.first, 0), lsp.Position(hunk.end, 0)), "".join(hunk.lines)


def _as_edit(hunk: Hunk) -> dict[str, Any]:
    span, new = _edit_of(hunk)
    return {"range": {"start": _as_dict(span.start), "end": _as_dict(span.end)}, "newText": new}


def _as_dict(position: lsp.Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}


# --- params


def _kept(ls: TabbyServer) -> OrderedDict[str, Edit]:
    return ls.edits


def _argument(arguments: Sequence[Any]) -> Mapping[str, Any]:
    first = plain(arguments[0]) if arguments else {}
    return first if isinstance(first, Mapping) else {}


def _uri(asked: Mapping[str, Any]) -> str:
    document = asked.get("textDocument")
    uri = document.get("uri") if isinstance(document, Mapping) else asked.get("uri")
    return uri if isinstance(uri, str) else ""


def _id(params: Any) -> str:
    asked = plain(params)
    id = asked.get("id") if isinstance(asked, Mapping) else None
    return id if isinstance(id, str) else ""
