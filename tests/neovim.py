"""A real Neovim without a screen, driven through its RPC, and the real server behind it.

Run as a program this file is that server: `tabby_lsp.cli` with its arguments, and one request more, `test/record`,
by which a test learns what the server has: the text of each document, each question with its answer, the processes.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# How long anything may take before a test gives up: other programs may use all cores. No test is about speed.
PATIENCE = 120.0

INIT = """
vim.opt.rtp:append({plugin})
vim.lsp.config('tabby_lsp', {{ cmd = vim.json.decode({command}), flags = {flags} }})
require('tabby_lsp').setup()
"""

# All of it in one call: nothing happens in between.
SCREEN = """
local namespace = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
local marks = namespace and vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true }) or {}
local function text(mark, wanted)
  local lines = {}
  for _, chunks in ipairs({ mark.virt_text, unpack(mark.virt_lines or {}) }) do
    local line = vim.tbl_filter(function(chunk) return wanted[chunk[2]] end, chunks)
    lines[#lines + 1] = vim.iter(line):map(function(chunk) return chunk[1] end):join('')
  end
  return table.concat(lines, '\\n')
end
local ghosts = {}
for _, mark in ipairs(marks) do
  ghosts[#ghosts + 1] = {
    row = mark[2],
    column = mark[3],
    text = text(mark[4], { ComplHint = true }),
    drawn = text(mark[4], { ComplHint = true, Normal = true }),
    over = mark[4].virt_text_pos == 'overlay',
  }
end
local cursor = vim.api.nvim_win_get_cursor(0)
return {
  lines = vim.api.nvim_buf_get_lines(0, 0, -1, false),
  row = cursor[1] - 1,
  column = cursor[2],
  ghosts = ghosts,
  mode = vim.api.nvim_get_mode().mode,
}
"""


def program() -> str | None:
    """A Neovim that is new enough, if this machine has one."""
    found = os.environ.get("TABBY_LSP_NVIM") or shutil.which("nvim")
    if not found:
        return None
    check = [found, "--clean", "--headless", "-c", 'execute has("nvim-0.12") ? "qall!" : "cquit!"']
    try:
        ended = subprocess.run(check, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    except OSError:
        return None
    return found if ended.returncode == 0 else None


@dataclass(frozen=True)
class Ghost:
    """Text that is shown, but not there: over what stands in its place, or moving that to the right."""

    row: int
    column: int  # in bytes, as all of Neovim's columns
    text: str
    drawn: str  # also what is there, and drawn anew
    over: bool


@dataclass(frozen=True)
class Screen:
    lines: list[str]
    row: int
    column: int
    ghost: Ghost | None
    mode: str

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def place(self) -> tuple[int, int]:
        return self.row, self.column


@dataclass(frozen=True)
class Answer:
    """What the server said to one question: the text and cursor it was asked about, and the text it would make."""

    text: str
    row: int
    column: int
    insert: str | None  # None: no suggestion
    replaced: str = ""
    makes: str = ""
    ends: tuple[int, int] = (0, 0)  # the cursor after it


def promises(screen: Screen, answers: list[Answer]) -> list[Answer]:
    """The answers that the ghost text can be: accepting them makes the text that is seen now."""
    ghost = screen.ghost
    assert ghost is not None
    line = screen.lines[ghost.row].encode()
    left, right = line[: ghost.column].decode(), line[ghost.column :].decode()
    if ghost.over:
        right = right[len(ghost.drawn.partition("\n")[0]) :]
    seen = "\n".join([*screen.lines[: ghost.row], left + ghost.drawn + right, *screen.lines[ghost.row + 1 :]])
    return [each for each in answers if each.insert is not None and _visible(each.makes) == _visible(seen)]


def _visible(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n")]


class Neovim:
    """One Neovim with one file, from `with` to its end."""

    def __init__(
        self,
        folder: Path,
        text: str | bytes = "",
        name: str = "example.py",
        settings: tuple[str, ...] = (),
        flags: str = "{}",
        model: Path | None = None,
    ) -> None:
        self.file = folder / name
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        command = [sys.executable, str(ROOT / "tests/neovim.py"), *settings]
        if chosen := model or os.environ.get("TABBY_LSP_TEST_MODEL"):
            command += ["--model", str(chosen)]
        init = folder / "init.lua"
        plugin = _lua_string(str(ROOT / "editors/nvim"))
        init.write_text(INIT.format(plugin=plugin, command=_lua_string(json.dumps(command)), flags=flags))
        self._environment = {f"XDG_{each}_HOME": str(folder / each) for each in ("CONFIG", "DATA", "STATE", "CACHE")}
        self._init = init
        self._nvim: Any = None

    def __enter__(self) -> Neovim:
        import pynvim

        nvim = program()
        assert nvim is not None
        before = dict(os.environ)
        os.environ.update(self._environment)  # pynvim hands its own environment on
        try:
            arguments = [nvim, "--embed", "--headless", "-n", "--clean", "-u", str(self._init), str(self.file)]
            with warnings.catch_warnings():
                # pynvim 0.6 asks asyncio for it from Python 3.12 on as well, where one does no longer.
                warnings.filterwarnings("ignore", "'get_child_watcher' is deprecated", DeprecationWarning)
                self._nvim = pynvim.attach("child", argv=arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.until("the server is attached", lambda: self.lua("return next(vim.lsp.get_clients({ bufnr = 0 })) ~= nil"))
        self.until("ghost text is on", lambda: self.lua("return vim.lsp.inline_completion.is_enabled({ bufnr = 0 })"))
        self.until("there is a model", lambda: self.lua(STATUS).startswith("ready"))
        return self

    def __exit__(self, *_: object) -> None:
        if self._nvim is not None:
            self.quit()
            self._nvim.close()

    def quit(self) -> None:
        try:
            self._nvim.command("qa!")
        except (OSError, EOFError):  # it has gone before it could answer
            pass

    @property
    def pid(self) -> int:
        return int(self.lua("return vim.fn.getpid()"))

    def lua(self, code: str, *arguments: Any) -> Any:
        return self._nvim.exec_lua(code, *arguments)

    def show(self) -> None:
        """Has somebody look at it: without a screen nobody is asked anything."""
        self._nvim.ui_attach(120, 40)

    def command(self, command: str) -> None:
        self._nvim.command(command)

    def keys(self, *keys: str) -> None:
        """Types, in Neovim's notation, and waits until that is done (but not what follows from it)."""
        for each in keys:
            rest = each
            while rest:
                rest = rest.encode()[self._nvim.input(rest) :].decode()
        self.lua("return true")

    def type(self, text: str) -> None:
        self.keys(text.replace("<", "<lt>").replace("\n", "<CR>"))

    def until(self, what: str, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if value := condition():
                return value
            messages = self.lua(MESSAGES)
            assert "quit with exit code" not in messages, messages
            time.sleep(0.02)
        raise AssertionError(f"waited in vain until {what}: {self.screen()}, {messages}")

    def screen(self, first: str = "", *arguments: Any) -> Screen:
        """What there is to see now, or at the end of some Lua, before anything else can happen."""
        seen = self.lua(first + SCREEN, *arguments)
        ghosts = [Ghost(**each) for each in seen.pop("ghosts")]
        assert len(ghosts) <= 1
        return Screen(**seen, ghost=ghosts[0] if ghosts else None)

    def put(self, text: str) -> None:
        """Makes this the buffer's text, with the cursor in insert mode where "|" stands."""
        before, _, after = text.partition("|")
        self.keys("<Esc>")
        self.lua(
            """local lines, row, column = ...
            vim.api.nvim_buf_set_lines(0, 0, -1, false, lines)
            vim.api.nvim_win_set_cursor(0, { row, column })""",
            (before + after).split("\n"),
            before.count("\n") + 1,
            len(before.rpartition("\n")[2].encode()),
        )
        self.keys("i" if after.partition("\n")[0] else "A")

    def record(self) -> dict[str, Any]:
        answer = self.lua(
            """local client = vim.lsp.get_clients({ name = 'tabby_lsp' })[1]
            local buffer = vim.api.nvim_get_current_buf()
            local answer = client:request_sync('test/record', { uri = vim.uri_from_bufnr(buffer) }, ..., buffer)
            return answer and answer.result""",
            PATIENCE * 1000,
        )
        assert answer, "the server does not answer"
        return dict(answer)

    def server_text(self) -> str:
        return str(self.record()["text"])

    def own_text(self) -> str:
        """The buffer as it would be written to its file."""
        return str(self.lua("return vim.lsp._buf_get_full_text(0)"))

    def answers(self) -> list[Answer]:
        answered = (each for each in self.record()["questions"] if each["answered"])
        return [answer for each in answered for answer in _answers(each)]

    def settle(self) -> Screen:
        """Waits until the server has answered for the text and cursor as they are, and Neovim shows the outcome."""

        def answered() -> Screen | None:
            questions = self.record()["questions"]
            screen = self.screen()
            if not questions or not questions[-1]["answered"]:
                return None
            last = _answers(questions[-1])[0]
            here = (last.text, last.row, last.column) == (screen.text, *screen.place)
            return screen if here and (last.insert is None or screen.ghost is not None) else None

        screen: Screen = self.until("the server has answered", answered)
        return screen

    def suggestion(self, contexts: tuple[str, ...], wanted: Callable[[Answer], bool] = lambda _: True) -> Screen:
        """Goes from context to context until the model has something to say that is wanted."""
        for context in contexts:
            self.put(context)
            screen = self.settle()
            if screen.ghost is not None and any(map(wanted, promises(screen, self.answers()))):
                return screen
        raise AssertionError(f"the model says nothing of use in any of {contexts}")


STATUS = """
local client = vim.lsp.get_clients({ name = 'tabby_lsp' })[1]
local answer = client:request_sync('tabby/status', {}, 10000, 0)
return answer and answer.result.status or ''
"""
MESSAGES = "return vim.fn.execute('messages')"


def _lua_string(text: str) -> str:
    return "[==[" + text + "]==]"


def _answers(recorded: dict[str, Any]) -> list[Answer]:
    """An answer's items as an editor understands them: columns are bytes, lines of the buffer end in nothing."""
    text = recorded["text"].replace("\r\n", "\n")
    if not recorded["items"]:
        return [Answer(text.removesuffix("\n"), recorded["row"], recorded["column"], None)]
    return [_answer(recorded, text, **item) for item in recorded["items"]]


def _answer(recorded: dict[str, Any], text: str, insert: str, range: list[list[int]]) -> Answer:
    insert = insert.replace("\r\n", "\n")
    lines = text.encode().split(b"\n")
    (row, first), (last_row, last) = range
    assert row == last_row == recorded["row"]
    line = lines[row]
    lines[row] = line[:first] + insert.encode() + line[last:]
    end = insert.rpartition("\n")[2].encode()
    return Answer(
        text=text.removesuffix("\n"),
        row=recorded["row"],
        column=recorded["column"],
        insert=insert,
        replaced=line[first:last].decode(),
        makes=b"\n".join(lines).decode().removesuffix("\n"),
        ends=(row + insert.count("\n"), len(end) if "\n" in insert else first + len(end)),
    )


# --- the server


def serve() -> int:
    """The server's own command line, and the record."""
    from lsprotocol import types as lsp

    from tabby_lsp import cli
    from tabby_lsp.lsp import handlers, models

    questions: list[dict[str, Any]] = []
    create, inline = handlers.create_server, handlers.on_inline_completion

    @functools.wraps(inline)
    async def on_inline_completion(ls: Any, params: Any) -> Any:
        text = ls.protocol.documents.get(params.text_document.uri).text()
        entry: dict[str, Any] = {"text": text, "row": params.position.line, "column": params.position.character}
        questions.append(entry | {"answered": False})
        index = len(questions) - 1
        answer = None
        try:
            answer = await inline(ls, params)
            return answer
        finally:  # a cancelled one is answered, too
            items = answer.items if isinstance(answer, lsp.InlineCompletionList) else []
            entry["items"] = [
                {
                    "insert": each.insert_text,
                    "range": [[end.line, end.character] for end in (each.range.start, each.range.end)],
                }
                for each in items
            ]
            questions[index] = entry | {"answered": True}

    def create_server(*arguments: Any) -> Any:
        made = create(*arguments)

        @made.feature("test/record")
        def on_record(ls: Any, params: Any) -> dict[str, Any]:
            engine = ls.engines.get("completion")
            return {
                "text": ls.protocol.documents.get(params.uri).text(),
                "questions": questions,
                "server": os.getpid(),
                "engine": engine and engine.pid,
            }

        return made

    models.QUIET_SECONDS = float(os.environ.get("TABBY_LSP_TEST_QUIET", "1e6"))  # before a model is offered
    handlers.on_inline_completion = on_inline_completion
    handlers.create_server = create_server
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(serve())
