"""The agent of the Agent Client Protocol, version 1 (agentclientprotocol.com): sessions, prompts and edits.

It answers `initialize` and `session/new` before a model or an index is there. A session belongs to a folder; all of
them share one engine. Files are read and written through the client, which shows what is not saved and asks its user.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabby_lsp import __version__
from tabby_lsp.acp.connection import INTERNAL_ERROR, INVALID_PARAMS, Connection, RpcError
from tabby_lsp.acp.content import Prompt, mapping, read
from tabby_lsp.assistant import LENGTH, Assistant, Manner, Request, file_of
from tabby_lsp.chat import edits, tasks
from tabby_lsp.chat.conversation import ChatError, Excerpt, Message
from tabby_lsp.chat.edits import NoEdit
from tabby_lsp.chat.markdown import fenced
from tabby_lsp.chat.sources import Attached, Sources, why_withheld
from tabby_lsp.chat.template import ASSISTANT, USER
from tabby_lsp.chat.thoughts import TEXT, THOUGHT, Piece
from tabby_lsp.engines import Engines
from tabby_lsp.languages import language_of_path
from tabby_lsp.settings import Settings
from tabby_lsp.text import split_lines

VERSION = 1
COMMIT = "commit"
_COMMANDS = [
    {"name": task.name, "description": task.title, "input": {"hint": "a file, and what matters about it"}}
    for task in tasks.TASKS
] + [{"name": COMMIT, "description": "Write a commit message for what is staged"}]
_SLASH = re.compile(r"\s*/(\w+)\b[ \t]*(.*)", re.DOTALL)

Workspace = Callable[[Path], AbstractAsyncContextManager[Sources]]


@dataclass(slots=True)
class Session:
    """A conversation about a folder."""

    folder: Path
    said: list[Message] = field(default_factory=list)
    noted: set[str] = field(default_factory=set)  # what one need not be told twice
    prompt: asyncio.Task[str] | None = None


class Agent:
    """`workspace` opens the index of a folder, for as long as the agent runs."""

    def __init__(self, engines: Engines, settings: Settings, workspace: Workspace) -> None:
        self._engines, self._settings, self._workspace = engines, settings, workspace
        self._sessions: dict[str, Session] = {}
        self._sources: dict[Path, Sources] = {}  # of the folders that somebody has asked about
        self._open = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._reads = self._writes = False  # what the client offers
        self._connection = Connection(
            {
                "initialize": self._initialize,
                "authenticate": self._authenticate,
                "session/new": self._new_session,
                "session/prompt": self._prompt,
            },
            {"session/cancel": self._cancel},
        )

    async def serve(self, read_from: int, write_to: int) -> None:
        """Until the client closes its end."""
        async with self._open:
            await self._connection.serve(read_from, write_to)

    # --- the protocol's methods

    async def _initialize(self, params: Mapping[str, Any]) -> dict[str, Any]:
        files = mapping(mapping(params.get("clientCapabilities")).get("fs"))
        self._reads, self._writes = files.get("readTextFile") is True, files.get("writeTextFile") is True
        return {
            "protocolVersion": VERSION,
            "agentInfo": {"name": "tabby-lsp", "title": "Tabby", "version": __version__},
            "agentCapabilities": {"loadSession": False, "promptCapabilities": {"embeddedContext": True}},
            "authMethods": [],
        }

    async def _authenticate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {}  # nobody has to

    async def _new_session(self, params: Mapping[str, Any]) -> dict[str, Any]:
        folder = params.get("cwd")
        if not isinstance(folder, str) or not Path(folder).is_absolute() or not Path(folder).is_dir():
            raise RpcError(INVALID_PARAMS, f"`cwd` is the absolute path of a folder, not {folder!r:.200}.")
        id = secrets.token_hex(8)
        self._sessions[id] = Session(Path(folder))
        # Behind the answer, which tells the client of the session.
        asyncio.get_running_loop().call_soon(
            lambda: self._update(id, "available_commands_update", availableCommands=_COMMANDS)
        )
        return {"sessionId": id}

    async def _prompt(self, params: Mapping[str, Any]) -> dict[str, Any]:
        id = params.get("sessionId")
        session = self._sessions.get(id) if isinstance(id, str) else None
        if session is None or not isinstance(id, str):
            raise RpcError(INVALID_PARAMS, f"There is no session {id!r:.80}: session/new begins one.")
        if session.prompt is not None:
            raise RpcError(INVALID_PARAMS, "This session is answering: cancel that, or wait for its end.")
        prompt = read(params.get("prompt"))
        session.prompt = asyncio.get_running_loop().create_task(self._answer(id, session, prompt))
        try:
            return {"stopReason": await session.prompt}
        except asyncio.CancelledError:
            if session.prompt.cancelled():  # by session/cancel
                return {"stopReason": "cancelled"}
            session.prompt.cancel()
            raise
        except (ChatError, NoEdit) as error:
            raise RpcError(INTERNAL_ERROR, str(error)) from None
        finally:
            session.prompt = None

    async def _cancel(self, params: Mapping[str, Any]) -> None:
        id = params.get("sessionId")
        session = self._sessions.get(id) if isinstance(id, str) else None
        if session is not None and session.prompt is not None:
            session.prompt.cancel()

    # --- what is sent

    def _update(self, id: str, what: str, **content: Any) -> None:
        self._connection.notify("session/update", sessionId=id, update={"sessionUpdate": what, **content})

    def _say(self, id: str, text: str, kind: str = TEXT) -> None:
        chunk = "agent_thought_chunk" if kind == THOUGHT else "agent_message_chunk"
        self._update(id, chunk, content={"type": "text", "text": text})

    # --- answers

    async def _sources_of(self, folder: Path) -> Sources:
        """What a folder has to answer questions with: opened with the first prompt about it, for all its sessions."""
        async with self._opening:
            if folder not in self._sources:
                self._sources[folder] = await self._open.enter_async_context(self._workspace(folder))
            return self._sources[folder]

    async def _answer(self, id: str, session: Session, prompt: Prompt) -> str:
        """Answers a prompt. Returns the protocol's reason why that has ended."""
        sources = await self._sources_of(session.folder)
        assistant = Assistant(self._engines, lambda: self._settings, lambda: sources)
        slash = _SLASH.fullmatch(prompt.text)
        if slash and slash[1] == COMMIT:
            return await self._commit(id, session, assistant)
        task = tasks.BY_NAME.get(slash[1]) if slash else None
        if task is None or slash is None:
            return await self._talk(id, session, assistant, prompt)
        words = tasks.instruction_of(task, slash[2])
        if task.kind == tasks.ANSWERS:
            return await self._talk(id, session, assistant, Prompt(words, prompt.attached))
        return await self._edit(id, session, assistant, words, prompt.attached)

    async def _talk(self, id: str, session: Session, assistant: Assistant, prompt: Prompt) -> str:
        asked = Message(USER, prompt.text)
        attached = tuple([await self._fresh(id, each) for each in prompt.attached])
        said: list[str] = []

        def tell(piece: Piece) -> None:
            if piece.kind == TEXT:
                said.append(piece.text)
            self._say(id, piece.text, piece.kind)

        request = Request((*session.said, asked), attached)
        try:
            reply = await assistant.answer(request, tell, Manner(link=_link))
        except asyncio.CancelledError:
            if said:  # what was said before it was stopped belongs to the conversation
                session.said += [asked, Message(ASSISTANT, "".join(said))]
            raise
        session.said += [asked, Message(ASSISTANT, reply.text)]
        if reply.given:
            self._given(id, reply.given)
        for note in reply.notes:
            if note not in session.noted:
                session.noted.add(note)
                self._say(id, f"\n\n*{note}*")
        return "max_tokens" if reply.finish_reason == LENGTH else "end_turn"

    def _given(self, id: str, given: Sequence[Excerpt]) -> None:
        """What the model was given, as places that a client can open."""
        places = [(file_of(each), each) for each in given]
        self._update(
            id,
            "tool_call",
            toolCallId=secrets.token_hex(8),
            title="Read in the repository",
            kind="search",
            status="completed",
            content=[
                {"type": "content", "content": {"type": "text", "text": f"[{each.number}] {each.title}"}}
                for each in given
            ],
            locations=[{"path": str(file), "line": each.first + 1} for file, each in places if file is not None],
        )

    async def _commit(self, id: str, session: Session, assistant: Assistant) -> str:
        message, notes = await assistant.commit_message(session.folder)
        self._say(id, fenced(message, "text") + "\n")
        for note in notes:
            self._say(id, f"\n*{note}*\n")
        return "end_turn"

    # --- edits

    async def _edit(
        self, id: str, session: Session, assistant: Assistant, words: str, attached: tuple[Attached, ...]
    ) -> str:
        if not attached or attached[0].path is None:
            raise NoEdit("Which file? Mention it in the prompt, with the lines where that is not all of it.")
        target = attached[0]
        path = target.path
        assert path is not None
        if why := await asyncio.to_thread(why_withheld, await self._sources_of(session.folder), path):
            raise NoEdit(f"{path.name} is not given to a model: it is {why}.")
        text = await self._text(id, path)
        lines = text.splitlines(keepends=True)
        first, end = target.first, len(lines) if target.last is None else min(target.last + 1, len(lines))
        call = secrets.token_hex(8)
        place = {"path": str(path), "line": first + 1}
        self._update(id, "tool_call", toolCallId=call, title=f"Edit {path.name}", kind="edit", status="pending",
                     locations=[place])  # fmt: skip
        try:
            new = await self._written(assistant, path, text, first, end, words)
            diff = {"type": "diff", "path": str(path), "oldText": text, "newText": new}
            self._update(id, "tool_call_update", toolCallId=call, content=[diff], status="pending")
            if not await self._allowed(id, call, path):
                self._update(id, "tool_call_update", toolCallId=call, status="failed")
                self._say(id, "The edit was not made.")
                return "end_turn"
            if await self._text(id, path) != text:
                raise NoEdit(f"{path.name} has changed since the edit was asked for. Ask again.")
            await self._connection.call("fs/write_text_file", sessionId=id, path=str(path), content=new)
        except (ChatError, NoEdit, RpcError):
            self._update(id, "tool_call_update", toolCallId=call, status="failed")
            raise
        self._update(id, "tool_call_update", toolCallId=call, status="completed")
        count = len(edits.hunks(text, new))
        self._say(id, f"{path.name} is edited, in {count} place{'s' if count != 1 else ''}.")
        return "end_turn"

    async def _written(self, assistant: Assistant, path: Path, text: str, first: int, end: int, words: str) -> str:
        """The text of a file with the passage as the model has edited it. Raises ChatError, NoEdit."""
        ending = "\r\n" if "\r\n" in text else "\n"
        language = language_of_path(path.name)
        passage = tasks.passage_of(path.name, language, text.replace("\r\n", "\n"), first, end)
        asked, parameters = tasks.edit(passage, words)
        draft = await assistant.write(asked, parameters)
        edited = edits.rewritten(draft.text, passage.text, draft.ended).replace("\n", ending)
        lines = text.splitlines(keepends=True)
        return "".join([*lines[:first], edited, *lines[end:]])

    async def _allowed(self, id: str, call: str, path: Path) -> bool:
        if not self._writes:
            self._say(id, "This client does not let an agent write files: take the edit from the difference above.")
            return False
        options = [
            {"optionId": "allow", "name": "Make this edit", "kind": "allow_once"},
            {"optionId": "reject", "name": "Leave the file as it is", "kind": "reject_once"},
        ]
        call_of = {"toolCallId": call, "title": f"Edit {path.name}", "kind": "edit"}
        answer = await self._connection.call(
            "session/request_permission", sessionId=id, toolCall=call_of, options=options
        )
        outcome = mapping(mapping(answer).get("outcome"))
        return outcome.get("outcome") == "selected" and outcome.get("optionId") == "allow"

    # --- files

    async def _fresh(self, id: str, attached: Attached) -> Attached:
        """A file as the client has it, unsaved changes included; as it is on disk where it cannot say."""
        if attached.path is None or attached.text is not None or not self._reads:
            return attached
        with contextlib.suppress(RpcError, NoEdit):
            lines = split_lines(await self._text(id, attached.path))
            end = len(lines) if attached.last is None else attached.last + 1
            return Attached(attached.path, attached.first, attached.last, "".join(lines[attached.first : end]))
        return attached

    async def _text(self, id: str, path: Path) -> str:
        """Raises NoEdit, RpcError."""
        if self._reads:
            answer = mapping(await self._connection.call("fs/read_text_file", sessionId=id, path=str(path)))
            text = answer.get("content")
            if isinstance(text, str):
                return text
        try:
            return (await asyncio.to_thread(path.read_bytes)).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NoEdit(f"{path} cannot be read: {error}") from None


def _link(excerpt: Excerpt) -> str:
    """The number of an excerpt as a link that a client opens at its first line."""
    file = file_of(excerpt)
    return f"[{excerpt.number}]({file.as_uri()}#L{excerpt.first + 1})" if file else f"[{excerpt.number}]"
