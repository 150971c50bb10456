"""`tabby-lsp ask` and `tabby-lsp chat` as a person runs them, and what a terminal is shown."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_assistant import Talker, assistant

from tabby_lsp import cli
from tabby_lsp.chat.conversation import Message, Parameters
from tabby_lsp.chat.sources import Sources
from tabby_lsp.chat.thoughts import TEXT, THOUGHT, Piece
from tabby_lsp.commands import chat, talking, terminal
from tabby_lsp.commands.options import UsageError
from tabby_lsp.engines import NO_CHAT_MODEL

SHOP = '''\
def escape(text):
    """Makes a text safe for HTML."""
    return text.replace("<", "&lt;")


def page(body):
    return escape(body)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "shop"
    place.mkdir()
    (place / "text.py").write_text(SHOP, encoding="utf-8", newline="")
    (place / ".env").write_text("PASSWORD=hunter2\n", encoding="utf-8")
    monkeypatch.chdir(place)
    # A process cannot take it back, and the other tests run in this one.
    monkeypatch.setattr("tabby_lsp.processes.machine.lowest_priority", lambda: None)
    return place


def command(*arguments: str, cwd: Path, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tabby_lsp", *arguments],
        capture_output=True,
        input=said,
        cwd=cwd,
        encoding="utf-8",
    )


class OneTalker:
    """In the place of `Engines`: it has one engine."""

    talker: Talker
    restarts: list[Any]

    def __init__(self, on_state: Any) -> None:
        pass

    async def restart(self, settings: Any, roles: Any) -> None:
        self.restarts.append(settings.model.chat.local.model_id)

    async def wanted(self, role: str) -> Talker:
        return self.talker

    async def close(self) -> None:
        pass


def with_talker(monkeypatch: pytest.MonkeyPatch, *pieces: str, end: str = "stop") -> type[OneTalker]:
    class Talking(OneTalker):
        talker = Talker(*pieces, end=end)
        restarts: list[Any] = []  # noqa: RUF012

    monkeypatch.setattr(talking, "Engines", Talking)
    return Talking


# --- ask


def test_a_question_is_answered_without_a_model(folder: Path) -> None:
    for arguments, said in ((("ask", "Explain", "the", "function", "escape"), ""), (("ask",), "Explain escape\n")):
        result = command(*arguments, cwd=folder, said=said)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(
            "`escape` is a function in `text.py` [1]:\n\n```python\ndef escape(text):\n```\n"
        )
        assert "> Makes a text safe for HTML." in result.stdout and NO_CHAT_MODEL in result.stdout
        assert result.stdout.endswith("[1] text.py:1\n[2] text.py:7\n")


def test_a_script_gets_json(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = with_talker(monkeypatch, "<think>hm</think>", "It escapes", " <b> [1], [8].")
    assert (
        cli.main(["ask", "--model", "small", "--json", "--file", "text.py:6-7", "--file", ".env", "what is it?"]) == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert (answer["answer"], answer["thoughts"], answer["model"]) == ("It escapes <b> [1],.", "hm", "Talker")
    assert (answer["question"], answer["finish_reason"]) == ("what is it?", "stop")
    (cited,) = answer["citations"]
    assert (cited["path"], cited["first"], cited["last"], cited["number"]) == ("text.py", 6, 7, 1)
    assert cited["text"] == "def page(body):\n    return escape(body)"
    assert any(".env is not given" in each for each in answer["notes"])
    assert answer["usage"] == {"prompt_tokens": 100, "cached_tokens": 30, "completion_tokens": 3}
    assert said.restarts == ["small"] and "hunter2" not in said.talker.prompt


def test_an_answer_is_shown_with_its_sources(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_talker(monkeypatch, "It makes ", "texts safe [1].\x1b[2J")
    assert cli.main(["ask", "--model", "small", "what does escape do?"]) == 0
    assert capsys.readouterr().out == "It makes texts safe [1].�[2J\n\n[1] text.py:1\n"
    with_talker(monkeypatch, "I do not know.")
    assert cli.main(["ask", "--model", "small", "what does escape do?"]) == 0
    assert talking.GIVEN in capsys.readouterr().out


def test_what_is_piped_in_can_be_asked_about(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = with_talker(monkeypatch, "Yes.")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Traceback: KeyError\n")))
    assert cli.main(["ask", "--model", "small", "--file", "-", "why?"]) == 0
    assert "standard input\n```\nTraceback: KeyError" in said.talker.prompt


@pytest.mark.parametrize(
    "arguments, why",
    [
        (("ask",), "no question"),
        (("ask", "--file", "nowhere.py", "what?"), "nowhere.py is not a file"),
        (("ask", "--file", "text.py:7-2", "what?"), "counted from 1"),
        (("ask", "--in", "nowhere", "what?"), "not a folder"),
        (("ask", "--temperature", "-1", "what?"), "at least 0"),
        (("chat", "--file", "-"), "Standard input"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments: tuple[str, ...], why: str, folder: Path) -> None:
    result = command(*arguments, cwd=folder)
    assert result.returncode == 2 and why in result.stderr and result.stdout == ""


def test_an_error_of_the_model_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talking_ = with_talker(monkeypatch, "It")
    talking_.talker.end, talking_.talker.dies = "", "The engine died."
    assert cli.main(["ask", "--model", "small", "what?"]) == 1
    assert "The engine died." in capsys.readouterr().err


def test_it_runs_at_the_lowest_priority(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[str] = []
    monkeypatch.setattr("tabby_lsp.processes.machine.lowest_priority", lambda: lowered.append("now"))
    with_talker(monkeypatch, "Yes.")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    cli.main(["ask", "--model", "small", "what?"])
    cli.main(["chat", "--model", "small"])
    assert lowered == ["now", "now"]


# --- chat


def chatted(monkeypatch: pytest.MonkeyPatch, *lines: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return cli.main(["chat", "--model", "small"])


def test_a_conversation_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = with_talker(monkeypatch, "It makes texts safe [1].")
    assert chatted(monkeypatch, "what does escape do?", "", "and \\", "page?", "/quit", "never asked") == 0
    shown = capsys.readouterr()
    assert shown.out.count("It makes texts safe [1].\n[1] text.py:") == 2
    assert shown.err.count("ChatML") == 1, "what holds for all answers is said once"
    assert len(said.talker.asked) == 2
    assert "It makes texts safe." in said.talker.prompt and "and \npage?" in said.talker.prompt


def test_a_conversation_has_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = with_talker(monkeypatch, "It makes texts safe [1].")
    asked = ["/save", "escape?", "/save talk.md", "/save talk.md", "/save", "/clear", "/file text.py:6-7", "and this?"]
    assert chatted(monkeypatch, *asked, "/file", "then?", "/file nowhere.py", "/dance", "/help") == 0
    first, second, third = said.talker.asked
    prompts = ["".join(each.text for each in request.prompt) for request in (first, second, third)]
    assert "[1] text.py, lines 6-7\n" not in prompts[0] + prompts[2] and "[1] text.py, lines 6-7\n" in prompts[1]
    assert "escape?" not in prompts[1] and "and this?" in prompts[2]
    saved = (folder / "talk.md").read_text(encoding="utf-8")
    assert saved.startswith("## Question\n\nescape?\n\n## Answer\n\nIt makes texts safe") and "text.py:1" in saved
    (own,) = (tmp_path / "tabby-root/lsp/chats").glob("*.md")
    assert own.read_text(encoding="utf-8") == saved
    shown = capsys.readouterr()
    assert "nothing to save" in shown.err and "there already" in shown.err and "no command /dance" in shown.err
    assert "nowhere.py is not a file" in shown.err and "@workspace" in shown.out


def test_ctrl_c_stops_the_answer_and_not_the_program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = with_talker(monkeypatch, "It goes", " on", end="")
    loop, talk = chat.Loop(), chat.Talk(".", [])

    class Pressing:
        """A page at which somebody presses Ctrl-C when the second piece has come."""

        pieces: list[str] = []  # noqa: RUF012

        def wait(self, what: str) -> None:
            pass

        def add(self, piece: Piece) -> None:
            self.pieces.append(piece.text)

    waits = chat.concurrent.futures.Future.result

    def pressed(future: Any, timeout: float | None = None) -> Any:
        if len(Pressing.pieces) == 2:
            Pressing.pieces.append("")
            raise KeyboardInterrupt
        return waits(future, 0.01)

    monkeypatch.setattr(chat, "writing", lambda: contextlib.nullcontext(Pressing()))
    monkeypatch.setattr(chat.concurrent.futures.Future, "result", pressed)

    async def begin() -> Any:
        return assistant(said.talker, Sources())

    try:
        chat.answer(talk, loop, loop.run(begin()), "what?", Parameters())
        assert [each.content for each in talk.messages] == ["what?", f"It goes on {chat.STOPPED}"]
        until = time.monotonic() + 30
        while not said.talker.cancelled and time.monotonic() < until:
            time.sleep(0.01)
        assert len(said.talker.cancelled) == 1, "its computing is stopped"
    finally:
        monkeypatch.undo()
        loop.close()


def test_a_conversation_that_cannot_be_saved_is_not_lost(folder: Path) -> None:
    talk = chat.Talk(".", [], [Message("user", "a")])
    with pytest.raises(UsageError, match="cannot be written"):
        chat.save(talk, "nowhere/talk.md")
    assert talk.messages


# --- a terminal


def test_blocks_that_are_complete_stand() -> None:
    for text, end in (
        ("a\n", 0),
        ("a\n\n", 3),
        ("a\n\nb", 3),
        ("```py\nx\n\ny\n", 0),
        ("```py\nx\n\ny\n```\n\nz", 16),
        ("````\n```\n\n````\n\n", 16),
        ("~~~\n```\n\n", 0),
    ):
        assert terminal._complete(text) == end, text


def test_markdown_is_shown_while_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    screen = io.StringIO()
    monkeypatch.setattr(terminal, "Console", lambda **extra: Console(file=screen, force_terminal=True, width=60))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with terminal.writing() as page:
        page.add(Piece(THOUGHT, "hm"))
        for piece in ("# He", "ad\n\nThis is **bo", "ld** and [1].\n\n```python\nx = 1\n", "\ny = 2\n```\n"):
            page.add(Piece(TEXT, piece))
    shown = screen.getvalue()
    assert "Head" in shown and "bold" in shown and "**" not in shown.rpartition("bold")[2] and "[1]" in shown
    assert "hm" not in shown


# --- commit-message


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_commit_message_and_a_branch_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("add", "text.py"), (*identity, "commit", "-q", "-m", "Begin")):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    (folder / "text.py").write_text(SHOP + "\n# more\n", encoding="utf-8")
    talking_engines = with_talker(monkeypatch, "Here it is:\n\nSay more about ", "escaping.")
    command = ["commit-message", "--model", "small"]
    assert cli.main([*command, str(folder)]) == 0
    assert capsys.readouterr().out == "Say more about escaping\n"
    assert "+# more" in talking_engines.talker.prompt and "Begin" in talking_engines.talker.prompt
    assert cli.main([*command, "--branch", str(folder)]) == 0
    assert capsys.readouterr().out == "say-more-about-escaping\n"
    (folder / "text.py").write_text(SHOP, encoding="utf-8")
    subprocess.run(["git", "add", "-f", "."], cwd=folder, check=True)
    subprocess.run(["git", *identity, "commit", "-q", "-m", "x"], cwd=folder, capture_output=True)
    assert cli.main([*command, str(folder)]) == 1
    assert "Nothing has changed" in capsys.readouterr().err
    assert cli.main(["commit-message", str(folder)]) == 2
    assert NO_CHAT_MODEL in capsys.readouterr().err
