"""Conversations as documents: answers are written into what the user has, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from editor import INLINE, Editor
from lsprotocol import types as lsp
from test_assistant import Talker, assistant

from tabby_lsp.chat import document
from tabby_lsp.chat.sources import Sources
from tabby_lsp.lsp import conversations
from tabby_lsp.lsp.conversations import Conversations
from tabby_lsp.lsp.documents import Documents
from tabby_lsp.lsp.indexing import Indexing
from tabby_lsp.settings import Settings

WORKSPACE = "file:///home/me/shop"


class Server:
    """An editor and the server as a conversation knows them: edits change the open documents."""

    def __init__(self, versioned: bool = True, shows: bool = True) -> None:
        self.documents = Documents()
        self.protocol = SimpleNamespace(documents=self.documents)
        edits = SimpleNamespace(document_changes=versioned)
        window = SimpleNamespace(show_document=SimpleNamespace(support=shows))
        workspace = SimpleNamespace(workspace_edit=edits)
        self.client_capabilities = SimpleNamespace(window=window, workspace=workspace)
        self.index = Indexing(lambda: None)
        self.settings, self.disabled = Settings(), None
        self.shown: list[str] = []
        self.messages: list[str] = []
        self.edited = 0
        self.refuses = 0  # so many of the next edits
        self.between: Callable[[], None] = lambda: None  # what the user does before the next edit
        self.tasks: list[asyncio.Task[Any]] = []

    def workspace_uris(self) -> list[str]:
        return [WORKSPACE]

    def spawn(self, work: Any) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def window_show_message(self, params: lsp.ShowMessageParams) -> None:
        self.messages.append(params.message)

    async def window_show_document_async(self, params: lsp.ShowDocumentParams) -> lsp.ShowDocumentResult:
        self.shown.append(params.uri)
        path = Path(params.uri.removeprefix("file://"))
        self.documents.open(params.uri, "markdown", 1, path.read_text(encoding="utf-8"))
        return lsp.ShowDocumentResult(success=True)

    async def workspace_apply_edit_async(self, params: lsp.ApplyWorkspaceEditParams) -> lsp.ApplyWorkspaceEditResult:
        await asyncio.sleep(0)
        between, self.between = self.between, lambda: None
        between()
        if params.edit.document_changes:
            [change] = params.edit.document_changes
            assert isinstance(change, lsp.TextDocumentEdit)
            uri, version, [edit] = change.text_document.uri, change.text_document.version, change.edits
        else:
            assert params.edit.changes
            [(uri, [edit])] = params.edit.changes.items()
            version = None
        opened = self.documents.get(uri)
        if self.refuses or opened is None or version not in (None, opened.version):
            self.refuses = max(0, self.refuses - 1)
            return lsp.ApplyWorkspaceEditResult(applied=False)
        self.edited += 1
        assert isinstance(edit, lsp.TextEdit)
        self.change(uri, edit.new_text, edit.range)
        return lsp.ApplyWorkspaceEditResult(applied=True)

    def change(self, uri: str, text: str, span: lsp.Range) -> None:
        opened = self.documents.get(uri)
        assert opened is not None
        start, end = span.start, span.end
        opened.replace(opened.place(start.line, start.character), opened.place(end.line, end.character), text)
        opened.version += 1

    def type_at_end(self, uri: str, text: str) -> None:
        opened = self.documents.get(uri)
        assert opened is not None
        end = lsp.Position(len(opened.lines) - 1, len(opened.lines[-1]))
        self.change(uri, text, lsp.Range(end, end))

    def text(self, uri: str) -> str:
        opened = self.documents.get(uri)
        assert opened is not None
        return opened.text()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TABBY_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(conversations, "WRITE_SECONDS", 0.01)


def talks(server: Server, talker: Talker, monkeypatch: pytest.MonkeyPatch) -> Conversations:
    made = Conversations(server)  # type: ignore[arg-type]
    monkeypatch.setattr(made, "_assistant", lambda text: assistant(talker, Sources()))
    return made


async def answered(server: Server) -> None:
    while server.tasks:
        await asyncio.wait_for(server.tasks.pop(), 20)


async def test_a_question_is_written_sent_and_answered_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    server, talker = Server(), Talker("One ", "line.\n\n```py\nx", " = 1\n```\n", "## You\n", "End.")
    talk = talks(server, talker, monkeypatch)
    uri = (await talk.open())["uri"]
    assert server.shown == [uri] and document.workspace_of(server.text(uri)) == WORKSPACE
    assert "Write a question" in (await talk.send())["message"]
    server.type_at_end(uri, "Why?")
    assert [each.title for each in talk.actions(uri)] == ["Tabby: send this question"]
    await talk.send(uri)
    assert [each.title for each in talk.actions(uri)] == ["Tabby: stop this answer"]
    assert "is being written" in (await talk.send())["message"]
    await answered(server)
    text = server.text(uri)
    said = document.messages(text)
    assert [each.role for each in said] == ["user", "assistant"] and said[0].content == "Why?"
    assert said[1].content.startswith("One line.\n\n```py\nx = 1\n```\n\\## You\nEnd.")
    assert text.endswith("## You\n\n") and document.WRITING not in text and server.edited >= 3
    server.type_at_end(uri, "And then?\n")
    await talk.send()
    await answered(server)
    assert "Why?" in talker.prompt and "One line." in talker.prompt and "And then?" in talker.prompt


@pytest.mark.parametrize("versioned", [True, False])
async def test_what_the_user_changes_meanwhile_stays(monkeypatch: pytest.MonkeyPatch, versioned: bool) -> None:
    server, talker = Server(versioned), Talker(*[f"Sentence {n}. " for n in range(40)])
    talk = talks(server, talker, monkeypatch)
    uri = (await talk.open("What is this?"))["uri"]
    title = lsp.Range(lsp.Position(1, 0), lsp.Position(1, 0))
    server.between = lambda: server.change(uri, "<!-- mine -->\n", title) if versioned else None
    await talk.send()
    while server.edited < 2:
        await asyncio.sleep(0.001)
    server.change(uri, "<!-- and mine -->\n", title)
    await answered(server)
    text = server.text(uri)
    assert "<!-- and mine -->" in text and ("<!-- mine -->" in text) == versioned
    assert "".join(f"Sentence {n}. " for n in range(40)).strip() in text


async def test_who_deletes_the_mark_stops_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    server, talker = Server(), Talker("Once upon", end="")
    talk = talks(server, talker, monkeypatch)
    uri = (await talk.open("A story?"))["uri"]
    await talk.send()
    while "Once upon" not in server.text(uri):
        await asyncio.sleep(0.001)
    at = document.writing_at(server.text(uri))
    assert at is not None
    server.change(uri, "", lsp.Range(lsp.Position(at, 0), lsp.Position(at + 1, 0)))
    talk.stop(uri)
    await answered(server)
    assert talker.cancelled and "Once upon" in server.text(uri)


async def test_an_answer_is_stopped_by_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    server, talker = Server(), Talker("Once upon", end="")
    talk = talks(server, talker, monkeypatch)
    uri = (await talk.open("A story?"))["uri"]
    await talk.send()
    while "Once upon" not in server.text(uri):
        await asyncio.sleep(0.001)
    assert talk.stop() == {"stopped": 1}
    await answered(server)
    assert server.text(uri).endswith(f"Once upon\n\n*{conversations.STOPPED}*\n\n## You\n\n")
    assert len(talker.cancelled) == 1 and talk.stop() == {"stopped": 0}


async def test_a_refused_edit_is_tried_again_and_a_deaf_editor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    server, talker = Server(), Talker("Yes.")
    talk = talks(server, talker, monkeypatch)
    uri = (await talk.open("Well?"))["uri"]
    server.refuses = 3
    await talk.send()
    await answered(server)
    assert "Yes." in server.text(uri)
    server.type_at_end(uri, "Again?")
    server.refuses = 10**6
    before = server.text(uri)
    await talk.send()
    await answered(server)
    assert server.text(uri) == before and "does not take the answer" in server.messages[-1]
    assert not talk.stop()["stopped"]


async def test_a_mistake_of_the_model_ends_in_a_sentence_and_room(monkeypatch: pytest.MonkeyPatch) -> None:
    server, talker = Server(), Talker("Half", end="", dies="The engine died.")
    talk = talks(server, talker, monkeypatch)
    uri = (await talk.open("Well?"))["uri"]
    await talk.send()
    await answered(server)
    assert "*The engine died.*" in server.text(uri) and server.text(uri).endswith("## You\n\n")


async def test_a_conversation_that_no_editor_has_open_is_answered_in_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(shows=False)
    talk = talks(server, Talker("Yes."), monkeypatch)
    opened = await talk.open("Well?")
    path = Path(opened["uri"].removeprefix("file://"))
    assert str(path) in opened["message"]
    await talk.send()
    await answered(server)
    assert "Yes." in path.read_text(encoding="utf-8")
    if sys.platform != "win32":
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


async def test_what_is_closed_without_saving_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    talk = talks(server, Talker("Yes."), monkeypatch)
    uri = (await talk.open("Well?"))["uri"]
    await talk.send()
    await answered(server)
    path = Path(uri.removeprefix("file://"))
    opened = server.documents.get(uri)
    assert opened is not None and "Yes." not in path.read_text(encoding="utf-8")
    talk.closed(opened)
    await answered(server)
    assert path.read_text(encoding="utf-8") == opened.text()
    path.unlink()
    elsewhere = path.with_name("elsewhere.md")
    elsewhere.write_text("mine", encoding="utf-8")
    path.symlink_to(elsewhere)
    talk.closed(opened)
    await answered(server)
    assert elsewhere.read_text(encoding="utf-8") == "mine", "a link in its place is left alone"


async def test_other_documents_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    talk = talks(server, Talker("x"), monkeypatch)
    server.documents.open("file:///a.py", "python", 1, "# see [1] and @\n[1]: file:///b.py\n")
    assert talk.actions("file:///a.py") == talk.lenses("file:///a.py") == talk.links("file:///a.py") == []
    assert talk.definition("file:///a.py", lsp.Position(0, 8)) is None
    assert talk.names("file:///a.py", lsp.Position(0, 15)) is None
    # A file of a repository that names another folder is none, whatever its first line says.
    foreign = document.begun("file:///home/me/private", "Chat", "What is here?")
    server.documents.open("file:///shop/README.md", "markdown", 1, foreign)
    assert talk.actions("file:///shop/README.md") == []
    for uri in ("", "file:///a.py", "file:///etc/passwd", "none", "file:///shop/README.md"):
        assert "no conversation" in (await talk.send(uri))["message"]


async def test_numbers_jump_and_names_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    talk = talks(server, Talker("x"), monkeypatch)
    text = document.begun(WORKSPACE, "Chat", "Why @w") + "\n## Tabby\n\nSee 😀 [7].\n\n"
    text += document.reference_line(document.Reference(7, f"{WORKSPACE}/a.py", 3, 5, "total"))
    uri = (conversations.folder() / "chat.md").as_uri()
    server.documents.open(uri, "markdown", 1, text)
    lines = text.split("\n")
    said = next(n for n, line in enumerate(lines) if "😀" in line)
    column = len("See 😀 [".encode("utf-16-le")) // 2
    found = talk.definition(uri, lsp.Position(said, column))
    assert found is not None and found.uri == f"{WORKSPACE}/a.py"
    assert (found.range.start.line, found.range.end.line) == (2, 5)
    assert talk.definition(uri, lsp.Position(said, 0)) is None
    [first, _] = talk.links(uri)
    assert first.target == f"{WORKSPACE}/a.py#L3" and first.range.start == lsp.Position(said, column - 1)
    asked = lines.index("Why @w")
    names = talk.names(uri, lsp.Position(asked, 6))
    assert names is not None and [each.label for each in names.items] == ["@workspace"]
    assert talk.names(uri, lsp.Position(asked, 3)) is None


class ChatEditor(Editor):
    """Shows documents and makes edits, as an editor does."""

    def __init__(self, **extra: Any) -> None:
        super().__init__(**extra)
        self.documents = Documents()
        self.ready = threading.Event()

    def _reply_to(self, request: dict[str, Any]) -> Any:
        params = request["params"]
        if request["method"] == "window/showDocument":
            text = Path(params["uri"].removeprefix("file://")).read_text(encoding="utf-8")
            self.documents.open(params["uri"], "markdown", 1, text)
            self.open(text, params["uri"], "markdown")
            return {"success": True}
        if request["method"] == "workspace/applyEdit":
            [change] = params["edit"]["documentChanges"]
            opened = self.documents.get(change["textDocument"]["uri"])
            assert opened is not None
            [edit] = change["edits"]
            start, end = ((edit["range"][each]["line"], edit["range"][each]["character"]) for each in ("start", "end"))
            opened.replace(opened.place(*start), opened.place(*end), edit["newText"])
            opened.version += 1
            self.change(opened.version, start, edit["newText"], end, opened.uri)
            if opened.text().endswith("## You\n\n"):
                self.ready.set()
            return {"applied": True}
        return super()._reply_to(request)


def test_an_editor_without_code_of_ours_holds_a_conversation(tmp_path: Path) -> None:
    """Through the protocol, from the index alone: the answer is written, its number jumps into the file."""
    shop = tmp_path / "shop"
    shop.mkdir()
    code = 'def escape(text):\n    """Makes a text safe for HTML."""\n    return text\n'
    (shop / "text.py").write_text(code, encoding="utf-8")
    folders = [{"uri": shop.as_uri(), "name": "shop"}]
    capabilities = {
        **INLINE,
        "window": {"showDocument": {"support": True}},
        "workspace": {"workspaceEdit": {"documentChanges": True}, "applyEdit": True},
    }
    with ChatEditor(env={"TABBY_ROOT": str(tmp_path / "root")}) as editor:
        editor.start(capabilities, workspaceFolders=folders)
        while editor.request("tabby/status", {})["index"].get("files") != 1:
            time.sleep(0.05)
        begun = editor.request(
            "workspace/executeCommand", {"command": "tabby.chat", "arguments": ["Explain the function escape"]}
        )
        uri = begun["uri"]
        at = {"textDocument": {"uri": uri}}
        lenses = editor.request("textDocument/codeLens", at)
        assert [each["command"]["title"] for each in lenses] == ["Tabby: send this question"]
        command = lenses[0]["command"]
        editor.request("workspace/executeCommand", {"command": command["command"], "arguments": command["arguments"]})
        assert editor.ready.wait(60)
        opened = editor.documents.get(uri)
        assert opened is not None
        text = opened.text()
        assert "Makes a text safe for HTML." in text
        line = next(n for n, each in enumerate(text.split("\n")) if "[1]" in each)
        column = text.split("\n")[line].index("[1]") + 1
        found = editor.request("textDocument/definition", {**at, "position": {"line": line, "character": column}})
        assert found["uri"] == (shop / "text.py").as_uri() and found["range"]["start"]["line"] == 0
        assert editor.request("textDocument/documentLink", at)
