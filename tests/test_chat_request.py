"""`tabby/chat` as a client meets it: a real server, a real engine, a real index."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MODEL
from editor import INLINE, Editor, Json, Refused
from scripted import write_scripted

SAYS = "It makes a text safe [1]."
SHOP = '''\
def escape(text):
    """Makes a text safe for HTML."""
    return text.replace("<", "&lt;")


def page(body):
    return escape(body)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("workspace") / "shop"
    place.mkdir()
    (place / "text.py").write_text(SHOP, encoding="utf-8", newline="")
    (place / ".env").write_text("PASSWORD=hunter2\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def says(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scripted(tmp_path_factory.mktemp("models") / "says.gguf", SAYS)


def started(editor: Editor, folder: Path) -> None:
    editor.start(INLINE, workspaceFolders=[{"uri": folder.as_uri(), "name": "shop"}])
    until = time.monotonic() + 60
    while editor.request("tabby/status", {})["index"]["files"] < 1 and time.monotonic() < until:
        time.sleep(0.05)


@pytest.fixture
def editor(folder: Path, says: Path) -> Iterator[Editor]:
    with Editor("--set", f"model.chat.local.model_id={says}", model=says) as editor:
        started(editor, folder)
        yield editor


def user(text: str, **extra: Any) -> Json:
    return {"messages": [{"role": "user", "content": text}], **extra}


def pieces(editor: Editor, token: str) -> list[Json]:
    progress = [each["params"] for each in editor.messages if each.get("method") == "$/progress"]
    return [each["value"] for each in progress if each["token"] == token]


def test_an_answer_comes_in_pieces_and_whole(editor: Editor, folder: Path) -> None:
    asked = user("what does escape do?", partialResultToken="pieces", workDoneToken="work", max_tokens=40)
    result = editor.request("tabby/chat", asked)
    assert result["message"] == {"role": "assistant", "content": SAYS}
    assert result["finish_reason"] == "stop" and result["model"]
    told = pieces(editor, "pieces")
    assert "".join(each["text"] for each in told) == SAYS and len(told) > 1
    assert {each["kind"] for each in told} == {"text"}
    assert [each["kind"] for each in pieces(editor, "work")] == ["begin", "end"]
    (cited,) = result["citations"]
    assert (cited["number"], cited["uri"]) == (1, (folder / "text.py").as_uri())
    assert cited["range"] == {"start": {"line": 0, "character": 0}, "end": {"line": 3, "character": 0}}
    assert cited in result["given"] and "escape" in cited["title"]
    usage = result["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 50
    # The next turn need not read again what it begins with.
    talk = [*asked["messages"], result["message"], {"role": "user", "content": "and page?"}]
    again = editor.request("tabby/chat", {"messages": talk})
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 20
    short = editor.request("tabby/chat", user("what does escape do?", max_tokens=2, stop=["never"], seed=3, top_p=0.5))
    assert short["finish_reason"] == "length" and SAYS.startswith(short["message"]["content"])


def test_what_is_open_counts_and_what_must_not_be_given_is_named(editor: Editor, folder: Path) -> None:
    uri = (folder / "text.py").as_uri()
    editor.open("x = 1\n# unsaved\n" + SHOP, uri)
    span = {"start": {"line": 1, "character": 3}, "end": {"line": 3, "character": 0}}
    context = [{"uri": uri, "range": span}, {"uri": (folder / ".env").as_uri()}, {"uri": "untitled:1"}]
    editor.open("loose = 1\n", "untitled:1")
    whole = editor.request("tabby/chat", user("what is it?", context=[{"uri": uri}]))
    assert whole["given"][0]["title"] == "text.py, lines 1-9" and whole["given"][0]["range"]["start"]["line"] == 0
    result = editor.request("tabby/chat", user("explain @selection", context=context))
    titles = [each["title"] for each in result["given"]]
    assert titles[0] == "text.py, lines 2-3, selected" and "untitled:1" in titles
    assert result["given"][0]["range"]["start"] == {"line": 1, "character": 0}
    assert any(".env is not given" in each for each in result["notes"])


@pytest.mark.parametrize(
    "params, why",
    [
        (None, "object"),
        ([1], "object"),
        ({}, "no question"),
        ({"messages": 3}, "`messages` must be a list"),
        ({"messages": [{"role": "user"}]}, "role, content"),
        ({"messages": [{"role": "robot", "content": "x"}, {"role": "user", "content": "y"}]}, "robot"),
        (user("x", temperature="hot"), "temperature"),
        (user("x", max_tokens=0), "max_tokens"),
        (user("x", top_p=2), "top_p"),
        (user("x", stop=[1]), "stop"),
        (user("x", context=[{"uri": "untitled:nowhere"}]), "context"),
        (user("x", context=[{"uri": "untitled:nowhere", "range": 3}]), "range"),
        (user("x", model="/etc/passwd"), "no chat model"),
        (user("x", model=3), "model"),
        (user("word " * 5000), "too long"),
    ],
)
def test_what_cannot_be_asked_is_an_error_that_says_why(params: Any, why: str, shared: Editor) -> None:
    with pytest.raises(Refused, match=why) as refused:
        shared.request("tabby/chat", params)
    assert refused.value.code in (-32602, -32803)


@pytest.fixture(scope="module")
def shared(folder: Path, says: Path) -> Iterator[Editor]:
    """One server for all that is refused."""
    with Editor("--set", f"model.chat.local.model_id={says}", model=says) as editor:
        started(editor, folder)
        yield editor


def test_cancelling_stops_an_answer(folder: Path) -> None:
    """Of a model that goes on for long."""
    with Editor("--set", f"model.chat.local.model_id={MODEL}") as editor:
        started(editor, folder)
        id = editor.ask("tabby/chat", user("what?", partialResultToken="p", max_tokens=1500, temperature=2.0, top_p=1))
        editor.wait(lambda each: each.get("method") == "$/progress" and each["params"]["token"] == "p")
        editor.notify("$/cancelRequest", {"id": id})
        with pytest.raises(Refused) as refused:
            editor.answer(id)
        assert refused.value.code == -32800
        told = len(pieces(editor, "p"))
        short = editor.request("tabby/chat", user("what?", max_tokens=1))
        assert short["usage"]["completion_tokens"] == 1
        assert len(pieces(editor, "p")) <= told + 2, "nothing more of it is written"


def test_without_a_chat_model_the_index_answers(folder: Path) -> None:
    with Editor() as editor:
        started(editor, folder)
        result = editor.request("tabby/chat", user("Explain the function escape", partialResultToken="p"))
        assert "`escape` is a function in `text.py` [1]" in result["message"]["content"]
        assert "tabby-lsp models" in result["message"]["content"] and result["model"] == ""
        assert result["citations"][0]["uri"] == (folder / "text.py").as_uri()
        assert "".join(each["text"] for each in pieces(editor, "p")) == result["message"]["content"]
        with pytest.raises(Refused):
            editor.request("tabby/chat", user("  "))
