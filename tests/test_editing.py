"""Edits by a chat model: worked out, shown, made in one step where nothing has changed, and never otherwise."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from test_assistant import Talker, assistant
from test_conversations import Server

from tabby_lsp.chat.sources import Sources
from tabby_lsp.data import OwnAction
from tabby_lsp.index.disabled import Disabled
from tabby_lsp.lsp import editing
from tabby_lsp.lsp.conversations import Conversations

CART = '''class Cart:
    """What is bought."""

    def total(self):
        result = 0
        for item in self.items:
            result += item.price
        return result

    def clear(self):
        self.items = []
'''
BETTER = "```python\ndef total(self):\n    return sum(item.price for item in self.items)\n```\n"
EDITED = CART.replace(
    "        result = 0\n        for item in self.items:\n            result += item.price\n        return result\n",
    "        return sum(item.price for item in self.items)\n",
)


class EditServer(Server):
    def __init__(self, talker: Talker | None, confirms: bool = False) -> None:
        super().__init__()
        self.notified: list[Any] = []
        self.protocol = SimpleNamespace(
            documents=self.documents, notify=lambda name, params: self.notified.append(params)
        )
        workspace = self.client_capabilities.workspace.workspace_edit
        workspace.change_annotation_support = SimpleNamespace() if confirms else None
        self.client_capabilities.window = None
        self.edits: Any = OrderedDict()
        self.made: list[lsp.ApplyWorkspaceEditParams] = []
        self.disabled = Disabled()  # type: ignore[assignment]
        self.talker = talker
        if talker is not None:
            local = replace(self.settings.model.chat.local, model_id="talker")
            model = replace(self.settings.model, chat=replace(self.settings.model.chat, local=local))
            self.settings = replace(self.settings, model=model)
        self.conversations = Conversations(self)  # type: ignore[arg-type]

    async def workspace_apply_edit_async(self, params: lsp.ApplyWorkspaceEditParams) -> lsp.ApplyWorkspaceEditResult:
        self.made.append(params)
        [change] = params.edit.document_changes or ()
        assert isinstance(change, lsp.TextDocumentEdit)
        opened = self.documents.get(change.text_document.uri)
        if self.refuses or opened is None or opened.version != change.text_document.version:
            return lsp.ApplyWorkspaceEditResult(applied=False)
        for edit in sorted(change.edits, key=lambda each: each.range.start.line, reverse=True):
            assert not isinstance(edit, lsp.SnippetTextEdit)
            self.change(opened.uri, edit.new_text, edit.range)
        return lsp.ApplyWorkspaceEditResult(applied=True)


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TABBY_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(editing.chat, "assistant", lambda ls: assistant(ls.talker, Sources()))
    monkeypatch.setattr(editing.chat, "sources", lambda ls: Sources(disabled=ls.disabled))
    path = tmp_path / "cart.py"
    path.write_text(CART, encoding="utf-8")
    return path.as_uri()


def opened(talker: Talker | None, uri: str, text: str = CART, **extra: Any) -> Any:
    server = EditServer(talker, **extra)
    server.documents.open(uri, "python", 1, text)
    return server


def span(first: int, last: int, column: int = 0) -> dict[str, Any]:
    return {"start": {"line": first, "character": 0}, "end": {"line": last, "character": column}}


def asked(uri: str, first: int, last: int, **extra: Any) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "range": span(first, last), "instruction": "use sum", **extra}


async def test_an_edit_is_worked_out_and_made_when_it_is_accepted(uri: str) -> None:
    server = opened(Talker(*BETTER), uri)
    answer = await editing.on_edit(server, asked(uri, 3, 8, partialResultToken="t"))
    assert server.text(uri) == CART and answer["version"] == 1
    assert [(each["range"]["start"]["line"], each["range"]["end"]["line"]) for each in answer["hunks"]] == [(4, 8)]
    for each in server.notified:
        assert each.token == "t" and each.value["hunks"] == answer["hunks"][: len(each.value["hunks"])]
    assert await editing.on_accept(server, {"id": answer["id"]}) == {"applied": True}
    assert server.text(uri) == EDITED and len(server.made) == 1, "one step of undo"
    with pytest.raises(JsonRpcInvalidParams, match="no such edit"):
        await editing.on_accept(server, {"id": answer["id"]})


async def test_an_edit_that_is_discarded_or_too_old_is_not_made(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = opened(Talker(BETTER), uri)
    answer = await editing.on_edit(server, asked(uri, 3, 8))
    assert editing.on_discard(server, {"id": answer["id"]}) == {"discarded": True}
    assert editing.on_discard(server, {"id": answer["id"]}) == {"discarded": False}
    monkeypatch.setattr(editing, "MOST_KEPT", 2)
    first, *_ = [(await editing.on_edit(server, asked(uri, 3, 8)))["id"] for _ in range(3)]
    with pytest.raises(JsonRpcInvalidParams, match="no such edit"):
        await editing.on_accept(server, {"id": first})
    for wrong in (None, {}, {"id": 3}, [1]):
        with pytest.raises(JsonRpcInvalidParams):
            await editing.on_accept(server, wrong)


async def test_a_text_that_has_changed_meanwhile_is_not_touched(uri: str) -> None:
    server = opened(Talker(BETTER), uri)
    answer = await editing.on_edit(server, asked(uri, 3, 8))
    server.type_at_end(uri, "# more\n")
    with pytest.raises(JsonRpcException, match="has changed"):
        await editing.on_accept(server, {"id": answer["id"]})
    assert server.text(uri) == CART + "# more\n" and not server.made


@pytest.mark.parametrize("confirms", [True, False])
async def test_a_command_edits_what_is_around_the_cursor(uri: str, confirms: bool) -> None:
    server = opened(Talker(BETTER), uri, confirms=confirms)
    assert await editing.edit_command(server, {"uri": uri, "range": span(5, 5), "task": "simplify"}) == {}
    await asyncio.gather(*server.tasks)
    assert server.text(uri) == EDITED and "Edited in 1 place." in server.messages[-1]
    annotations = server.made[0].edit.change_annotations
    assert bool(annotations and annotations["tabby"].needs_confirmation) == confirms


async def test_line_ends_stay_as_they_are(uri: str) -> None:
    server = opened(Talker(BETTER), uri, CART.replace("\n", "\r\n"))
    await editing.edit_command(server, {"uri": uri, "range": span(5, 5), "task": "simplify"})
    await asyncio.gather(*server.tasks)
    assert server.text(uri) == EDITED.replace("\n", "\r\n")


async def test_a_comment_says_what_to_do(uri: str) -> None:
    text = CART.replace("    def total", "    # tabby: use sum\n    def total")
    talker = Talker(BETTER)
    server = opened(talker, uri, text)
    here = lsp.Range(lsp.Position(3, 0), lsp.Position(3, 0))
    context = lsp.CodeActionContext(diagnostics=[])
    actions = editing.on_code_action(server, lsp.CodeActionParams(lsp.TextDocumentIdentifier(uri), here, context))
    assert actions[0].title == "Tabby: Do what the comment says: use sum"
    command = actions[0].command
    assert command is not None and command.arguments is not None
    await editing.edit_command(server, *command.arguments)
    await asyncio.gather(*server.tasks)
    assert "use sum" in talker.prompt and server.text(uri) == EDITED


async def test_a_diagnostic_is_fixed_and_kinds_are_kept_apart(uri: str) -> None:
    server = opened(Talker(BETTER), uri)
    here = lsp.Range(lsp.Position(5, 0), lsp.Position(5, 0))
    problem = lsp.Diagnostic(here, "name 'x' is not defined")
    where = lsp.TextDocumentIdentifier(uri)

    def titles(*only: str) -> list[str]:
        context = lsp.CodeActionContext(diagnostics=[problem], only=list(only) or None)
        return [each.title for each in editing.on_code_action(server, lsp.CodeActionParams(where, here, context))]

    assert titles("quickfix") == ["Tabby: Fix: name 'x' is not defined"]
    assert "Tabby: Explain" in titles() and "Tabby: Fix" not in titles()
    assert titles("refactor") == ["Tabby: Document", "Tabby: Simplify"]
    assert titles("source.organizeImports") == []
    without = opened(None, uri)
    assert editing.on_code_action(without, lsp.CodeActionParams(where, here, lsp.CodeActionContext([]))) == []
    server.disabled = Disabled(("**/cart.py", "cart.py"))
    assert titles() == [], "a file that no model reads has none"


async def test_actions_of_the_users_own(uri: str) -> None:
    talker = Talker(BETTER)
    server = opened(talker, uri)
    shout = OwnAction("Use sum()", "Use the function sum.", ("python",), edits=True)
    tell = OwnAction("How slow?", "Say how slow this is.")
    other = OwnAction("In Go", "Write it in Go.", ("go",))
    server.settings = replace(server.settings, actions=(shout, tell, other))
    here = lsp.Range(lsp.Position(5, 0), lsp.Position(5, 0))
    context = lsp.CodeActionContext(diagnostics=[])
    offered = editing.on_code_action(server, lsp.CodeActionParams(lsp.TextDocumentIdentifier(uri), here, context))
    commands = {each.title: each.command for each in offered}
    assert "Tabby: In Go" not in commands and commands["Tabby: How slow?"].command == editing.ASK  # type: ignore[union-attr]
    command = commands["Tabby: Use sum()"]
    assert command is not None and command.arguments is not None
    await editing.edit_command(server, *command.arguments)
    await asyncio.gather(*server.tasks)
    assert "Use the function sum." in talker.prompt and server.text(uri) == EDITED


async def test_a_question_about_a_passage_is_sent_in_a_conversation(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    talker = Talker("It adds up.")
    server = opened(talker, uri)
    server.client_capabilities.window = SimpleNamespace(show_document=SimpleNamespace(support=True))
    monkeypatch.setattr(server.conversations, "_assistant", lambda text: assistant(talker, Sources()))
    monkeypatch.setattr(EditServer, "workspace_apply_edit_async", Server.workspace_apply_edit_async)
    await editing.ask_command(server, {"uri": uri, "range": span(3, 8), "task": "explain"})
    await asyncio.gather(*server.tasks)
    assert "Explain this code" in talker.prompt and "lines 4-8" in talker.prompt and "def total" in talker.prompt
    assert "def clear" not in talker.prompt and "It adds up." in server.text(server.shown[0])


@pytest.mark.parametrize(
    ("talker", "said"),
    [
        (Talker("I cannot."), "without code"),
        (Talker("```python\n# ... existing code ...\n```"), "left code out"),
        (Talker(f"```python\n{CART[:80]}", end="length"), "cut off"),
        (Talker("Half", end="", dies="The engine died."), "The engine died."),
    ],
)
async def test_what_is_no_edit_is_said_and_nothing_is_touched(uri: str, talker: Talker, said: str) -> None:
    server = opened(talker, uri)
    with pytest.raises(JsonRpcException, match=said):
        await editing.on_edit(server, asked(uri, 3, 8))
    await editing.edit_command(server, {"uri": uri, "range": span(3, 8), "task": "simplify"})
    await asyncio.gather(*server.tasks)
    assert said in server.messages[-1] and server.text(uri) == CART and not server.made


async def test_bad_params_are_answered_with_what_to_do(uri: str) -> None:
    server = opened(Talker(BETTER), uri)
    for wrong in (
        None,
        {},
        {"textDocument": {"uri": "file:///nowhere.py"}},
        {"textDocument": {"uri": uri}},
        {"textDocument": {"uri": uri}, "range": {"start": 1}},
        asked(uri, 3, 8, instruction=3),
        asked(uri, 3, 8, task="dance"),
    ):
        with pytest.raises(JsonRpcInvalidParams):
            await editing.on_edit(server, wrong)
    with pytest.raises(JsonRpcException, match="Say what should change"):
        await editing.on_edit(server, asked(uri, 3, 8, instruction=""))
    assert "as a code action" in (await editing.edit_command(server))["message"]
    assert (
        "no comment"
        in (await editing.edit_command(server, {"uri": uri, "range": span(3, 3), "task": "comment"}))["message"]
    )
    long = opened(Talker(BETTER), uri, "x = 1\n" * 50_000)
    with pytest.raises(JsonRpcException, match="too many for one edit"):
        await editing.on_edit(long, asked(uri, 0, 49_999))


async def test_a_secret_is_not_given_to_a_model(tmp_path: Path, uri: str) -> None:
    secret = tmp_path / ".env"
    secret.write_text("PASSWORD=hunter2\n", encoding="utf-8")
    talker = Talker(BETTER)
    server = opened(talker, secret.as_uri(), "PASSWORD=hunter2\n")
    with pytest.raises(JsonRpcException, match="not given to a model"):
        await editing.on_edit(server, asked(secret.as_uri(), 0, 1))
    assert (
        "not given"
        in (await editing.ask_command(server, {"uri": secret.as_uri(), "range": span(0, 1), "task": "explain"}))[
            "message"
        ]
    )
    assert not talker.asked
