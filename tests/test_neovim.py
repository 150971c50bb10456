"""Ghost text in a real Neovim, from the real server with the real model.

What a model says differs from model to model. So these tests compare: what is shown with what is inserted, what the
server has with what Neovim has. One that needs a certain kind of suggestion has a model that says it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import REPOSITORY, Hub, running
from neovim import MESSAGES, PATIENCE, Answer, Ghost, Neovim, Screen, program, promises
from scripted import write_scripted

from tabby_lsp.models import starter

Start = Callable[..., Neovim]

# "|" is the cursor. A model that says nothing at one of these says something at the next.
CONTEXTS = (
    "import |\n",
    "def add(a, b):\n    return |\n",
    "class Point:\n    def __init__(self, x, y):\n        self.|\n",
    "import os\n\n\ndef main():\n    for |\n",
)
LINES = (
    "class Point:\n    def __init__(self, x, y):\n        |\n",
    "import os\n\n\ndef main():\n    |\n",
    "class Node:\n    def __init__(self, value, parent=None):|\n",
    "def read(path):\n    with open(path) as file:|\n",
    "def maximum(values):\n    |\n",
    "import os\n|\n",
    "def maximum(values):\n    for |\n",
    "def each(self, items):\n    for |\n",
    "import os\n\n\ndef read(path):\n    with open(path|\n",
)
CLOSED = (
    "def show(value):\n    print(|)\n",
    "def count(items):\n    for i in range(|):\n        pass\n",
    "class A(B):\n    def __init__(self, name):\n        super().__init__(|)\n",
    "def load(path):\n    return open(|)\n",
    "def names(items):\n    return len(|)\n",
)
NESTED = (
    "def show(items):\n    print(sorted(|))\n",
    "names = [f(|)]\n",
    "def load(path):\n    return json.loads(open(|))\n",
    "def load(path):\n    return [os.path.join(|)]\n",
    "def check(t):\n    assert (isinstance(|))\n",
    "def show(values):\n    print(len(|))\n",
)
MIDDLE = (
    "def add(a|, b):\n    return a + b\n",
    "def add(|a, b):\n    return a + b\n",
    "def area(width, height):\n    return | * height\n",
    "def show(value):\n    print(|value)\n",
    "import os, |sys\n",
    "names = [|name]\n",
)
TWO_LINES = "self.reset(x)\n        yield y"
STATUS = "return vim.lsp.get_clients({ name = 'tabby_lsp' })[1]:request_sync('tabby/status', {}, 60000, 0).result"
MANUAL = ("--set", "completion.trigger=manual")


@pytest.fixture(scope="session")
def nvim_program() -> str:
    found = program()
    if found is None:
        pytest.skip("Neovim 0.12 is not installed: .ci/neovim installs it")
    return found


@pytest.fixture
def start(nvim_program: str, tmp_path: Path) -> Iterator[Start]:
    """Opens Neovim, with a model that `says` something if that is given; it ends with the test."""
    pytest.importorskip("pynvim")
    with contextlib.ExitStack() as stack:

        def begin(*arguments: Any, says: tuple[str, ...] = (), **named: Any) -> Neovim:
            model = write_scripted(tmp_path / "scripted.gguf", *says) if says else None
            return stack.enter_context(Neovim(tmp_path, *arguments, model=model, **named))

        yield begin


def shown(screen: Screen) -> Ghost:
    assert screen.ghost is not None
    return screen.ghost


def accept(nvim: Neovim, screen: Screen) -> Answer:
    """<Tab>: the buffer becomes what the ghost text showed, the cursor stands behind it, and the server knows."""
    kept = promises(screen, nvim.answers())
    assert kept, f"{screen} shows what no answer says"
    nvim.keys("<Tab>")
    after: Screen = nvim.until("<Tab> has an effect", lambda: (now := nvim.screen()).text != screen.text and now)
    assert (after.text, after.place) in [(each.makes, each.ends) for each in kept]
    assert after.mode == "i"
    assert_nothing_stale(nvim)
    assert nvim.server_text() == nvim.own_text()
    return next(each for each in kept if each.makes == after.text)


def assert_nothing_stale(nvim: Neovim) -> Screen:
    """What is shown at this moment, if anything, stands at the cursor and fits the text as it is."""
    screen = nvim.screen()
    if screen.ghost is not None:
        assert screen.mode == "i"
        assert (screen.ghost.row, screen.ghost.column) == screen.place
        assert promises(screen, nvim.answers()), f"{screen} shows what no answer says"
    return screen


def watch(nvim: Neovim, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert_nothing_stale(nvim)


def other_than(text: str) -> str:
    return next(each for each in "zqx" if not text.startswith(each))


def test_ghost_text_is_accepted_as_it_is_shown(start: Start) -> None:
    nvim = start()
    nvim.put("def add(a, b):\n|\n")
    nvim.type("    return ")  # Neovim's own indentation and keys, not an API
    nvim.settle()
    screen = nvim.suggestion(CONTEXTS)
    assert screen.mode == "i"
    assert (shown(screen).row, shown(screen).column) == screen.place
    assert shown(screen).text.strip()
    accept(nvim, screen)


def test_several_lines_are_shown_and_accepted(start: Start) -> None:
    nvim = start(says=(TWO_LINES,))
    screen = nvim.suggestion(LINES, lambda answer: "\n" in (answer.insert or ""))
    assert "\n" in shown(screen).text
    accept(nvim, screen)


@pytest.mark.parametrize("pause", [0.0, 0.5], ids=["at once", "with a pause"])
def test_typing_through_leaves_the_suggestion_once(start: Start, pause: float) -> None:
    nvim = start()
    screen = nvim.suggestion(CONTEXTS, lambda answer: len((answer.insert or "").split("\n")[0]) >= 3)
    first = shown(screen).text
    whole = promises(screen, nvim.answers())[0]
    nvim.type(first[0])
    assert_nothing_stale(nvim)
    time.sleep(pause)
    nvim.type(first[1])
    now = assert_nothing_stale(nvim)
    assert shown(now).text == first[2:]
    nvim.keys("<Tab>")
    after: Screen = nvim.until("<Tab> has an effect", lambda: (new := nvim.screen()).text != now.text and new)
    assert (after.text, after.place) == (whole.makes, whole.ends)
    assert nvim.server_text() == nvim.own_text()


def test_all_of_it_typed_leaves_nothing_to_accept(start: Start) -> None:
    nvim = start("", name="example.txt")
    screen = nvim.suggestion(CONTEXTS, lambda answer: "\n" not in (answer.insert or ""))
    whole = promises(screen, nvim.answers())[0]
    nvim.type(shown(screen).text)
    nvim.keys("<Tab>")
    lines, (row, column) = whole.makes.split("\n"), whole.ends
    lines[row] = (lines[row].encode()[:column] + b"\t" + lines[row].encode()[column:]).decode()
    nvim.until("it is a tab", lambda: nvim.screen().text == "\n".join(lines))


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.21, 0.3])
def test_typing_something_else_never_shows_stale_text(start: Start, pause: float) -> None:
    nvim = start()
    screen = nvim.suggestion(CONTEXTS)
    typed = other_than(shown(screen).text)
    nvim.type(typed)
    assert_nothing_stale(nvim)
    # Keys that come before, while and after the questions of the keys before them are answered.
    for key in "yzxw":
        nvim.type(key)
        typed += key
        watch(nvim, pause)
    nvim.settle()
    last = assert_nothing_stale(nvim)
    line = screen.lines[screen.row].encode()
    kept = [line[: screen.column].decode(), typed, line[screen.column :].decode()]
    assert last.lines == [*screen.lines[: screen.row], "".join(kept), *screen.lines[screen.row + 1 :]]
    assert nvim.server_text() == nvim.own_text()


def test_other_keys_after_typing_something_else_are_not_swallowed(start: Start) -> None:
    nvim = start("", name="example.txt")
    screen = nvim.suggestion(CONTEXTS)
    typed = other_than(shown(screen).text)
    nvim.keys(typed + "<Tab>")
    line = screen.lines[screen.row].encode()
    kept = (line[: screen.column] + typed.encode() + b"\t" + line[screen.column :]).decode()
    nvim.until("both are typed", lambda: nvim.screen().lines[screen.row] == kept)


def test_moving_away_clears_it(start: Start) -> None:
    nvim = start()
    screen = nvim.suggestion(CONTEXTS[1:])
    for key in ("<Left>", "<Up>"):
        nvim.keys(key)
        assert assert_nothing_stale(nvim).place != screen.place
    nvim.settle()
    assert_nothing_stale(nvim)
    assert nvim.screen().text == screen.text


def test_leaving_insert_mode_clears_it(start: Start) -> None:
    nvim = start()
    nvim.suggestion(CONTEXTS)
    nvim.keys("<Esc>")
    assert nvim.screen().ghost is None
    # Also while the answer to a question is on its way.
    asked = len(nvim.record()["questions"])
    nvim.put(CONTEXTS[1])
    nvim.until("the server is asked", lambda: len(nvim.record()["questions"]) > asked)
    nvim.keys("<Esc>")
    nvim.until("the server has answered", lambda: nvim.record()["questions"][-1]["answered"])
    watch(nvim, 0.3)
    now = nvim.screen()
    assert (now.ghost, now.mode) == (None, "n")
    nvim.keys("<Tab>")
    assert nvim.screen().text == now.text


def test_undo_takes_back_the_suggestion_and_all_goes_on(start: Start) -> None:
    nvim = start(says=(TWO_LINES,))
    first = nvim.suggestion(LINES, lambda answer: (answer.insert or "").find("\n") > 0)
    nvim.type("qq")
    nvim.settle()
    nvim.keys("<BS><BS>")
    nvim.type(shown(first).text[0])
    screen = nvim.settle()
    assert screen.text != first.text
    accept(nvim, screen)
    nvim.type("z")
    nvim.keys("<Esc>u")
    assert nvim.screen().text == screen.text
    assert nvim.screen().ghost is None
    assert nvim.server_text() == nvim.own_text()
    nvim.keys("<C-r>")
    assert nvim.screen().text != screen.text
    assert nvim.server_text() == nvim.own_text()
    nvim.keys("u")
    assert nvim.server_text() == nvim.own_text()
    # The same question again: answered as if nothing had been.
    nvim.command(f"call cursor({screen.row + 1}, {screen.column + 1})")
    nvim.keys("A")
    again = nvim.settle()
    assert again.place == screen.place
    accept(nvim, again)
    nvim.keys("<Esc>u")
    assert nvim.screen().text == screen.text
    assert nvim.server_text() == nvim.own_text()


def test_nothing_is_shown_while_a_word_is_being_deleted(start: Start) -> None:
    nvim = start()
    text = "import os\n\n\ndef read(path):\n    with open(path"
    nvim.put(text + "|\n")
    nvim.type("sss")  # the last of the same letters is what Neovim says is gone
    for _ in range(3):
        nvim.keys("<BS>")
        assert nvim.settle().ghost is None
        assert nvim.lua(STATUS)["withheld"] == "the word is being deleted"
    assert nvim.screen().text == text + "\n"
    nvim.type(",")
    nvim.settle()
    assert nvim.lua(STATUS)["withheld"] != "the word is being deleted"


def closed(answer: Answer) -> bool:
    return ")" in answer.replaced


def balanced(answer: Answer) -> bool:
    """It writes brackets that stand right of the cursor, and no others that it did not open."""
    insert = answer.insert or ""
    return closed(answer) and insert.count(")") == insert.count("(") + answer.replaced.count(")")


def partly(answer: Answer) -> bool:
    """It writes the first of several brackets that stand right of the cursor."""
    return closed(answer) and answer.text.split("\n")[answer.row].encode()[answer.column :] != answer.replaced.encode()


def test_an_auto_closed_bracket_is_not_doubled(start: Start) -> None:
    nvim = start(says=("value)",))
    screen = nvim.suggestion(CLOSED, balanced)
    assert screen.text.count(")") == screen.text.count("(")
    accept(nvim, screen)
    made = nvim.screen().text
    assert made.count(")") == made.count("(")


def test_what_stands_right_of_an_auto_closed_bracket_stays(start: Start) -> None:
    nvim = start(says=("value)",))
    accept(nvim, nvim.suggestion(NESTED, partly))


def test_what_stands_right_of_the_cursor_stays(start: Start) -> None:
    nvim = start(says=("first",))
    screen = nvim.suggestion(MIDDLE)
    right = screen.lines[screen.row].encode()[screen.column :].decode()
    assert right
    assert accept(nvim, screen).makes.split("\n")[screen.row].endswith(right)


def test_an_auto_closed_bracket_is_not_doubled_after_typing_through(start: Start) -> None:
    nvim = start(says=("value)",))
    screen = nvim.suggestion(CLOSED, lambda answer: closed(answer) and len(answer.insert or "") > 2)
    whole = [each for each in promises(screen, nvim.answers()) if closed(each)]
    nvim.type(shown(screen).text[0])
    now = assert_nothing_stale(nvim)
    assert shown(now).text == shown(screen).text[1:]
    nvim.keys("<Tab>")
    after: Screen = nvim.until("<Tab> has an effect", lambda: (new := nvim.screen()).text != now.text and new)
    assert (after.text, after.place) in [(each.makes, each.ends) for each in whole]
    assert nvim.server_text() == nvim.own_text()


def test_wide_characters_left_of_the_cursor(start: Start) -> None:
    nvim = start(says=("value)",))
    # With something right of the cursor: a column too large would else be taken for the line's end.
    screen = nvim.suggestion(('print("äöü😀", |)\n', 'show(["äöü", "😀"], len(|))\n', 's = "äöü😀" + str(|)\n'))
    assert not screen.lines[0].isascii()
    first = shown(screen).text
    nvim.type(first[0])
    accept(nvim, nvim.settle())


@pytest.mark.parametrize("name", ["example.py", "example.txt"])
def test_a_file_with_crlf_keeps_its_line_ends(start: Start, name: str) -> None:
    nvim = start(b"import os\r\n\r\n\r\ndef main():\r\n    pass\r\n", name=name, says=(TWO_LINES,))
    assert nvim.lua("return vim.bo.fileformat") == "dos"
    screen = nvim.suggestion(LINES, lambda answer: "\n" in (answer.insert or ""))
    assert "\r\n" in nvim.server_text()
    assert "\r" not in shown(screen).text
    accept(nvim, screen)
    nvim.keys("<Esc>")
    nvim.command("write")
    written = nvim.file.read_bytes()
    assert written == (nvim.screen().text + "\n").encode().replace(b"\n", b"\r\n")
    assert written.count(b"\r") == written.count(b"\n")


def test_where_nothing_is_suggested_tab_is_what_it_was(start: Start) -> None:
    nvim = start("", name="example.txt", settings=MANUAL)
    nvim.put("a|\n")
    nvim.keys("<Tab>")
    nvim.until("it is typed", lambda: nvim.screen().lines[0] == "a\t")
    nvim.put("|\n")
    nvim.lua("vim.snippet.expand('f(${1:a}, ${2:b})')")
    for keys in ("x<Tab>", "y"):
        nvim.until("a place of the snippet is selected", lambda: nvim.screen().mode == "s")
        nvim.keys(keys)
    nvim.until("they are filled", lambda: nvim.screen().lines[0] == "f(x, y)")


def ask(nvim: Neovim) -> Screen:
    """A suggestion, where there are none without a key."""
    for context in CONTEXTS:
        nvim.put(context)
        assert nvim.settle().ghost is None
        nvim.keys("<M-]>")
        nvim.until("the server has answered", lambda: all(each["answered"] for each in nvim.record()["questions"]))
        if nvim.answers()[-1].insert is not None:
            screen: Screen = nvim.until("it is shown", lambda: (now := nvim.screen()).ghost and now)
            return screen
    raise AssertionError("the model says nothing")


def test_a_suggestion_can_be_asked_for(start: Start) -> None:
    nvim = start(settings=MANUAL, says=("value", "items", "names"))
    screen = ask(nvim)
    texts = [shown(screen).text]
    for key in ("<M-]>", "<M-]>", "<M-]>", "<M-[>"):  # there are three
        nvim.keys(key)
        texts.append(shown(assert_nothing_stale(nvim)).text)
    assert len(set(texts)) == 3 and texts[3] == texts[0] and texts[4] == texts[2]
    accept(nvim, nvim.screen())


def test_the_key_for_the_next_suggestion_finds_others_than_the_one_that_came_by_itself(start: Start) -> None:
    nvim = start()
    screen = nvim.suggestion(CONTEXTS)
    nvim.keys("<M-]>")
    second: Screen = nvim.until(
        "another is shown", lambda: (now := nvim.screen()).ghost and shown(now).text != shown(screen).text and now
    )
    nvim.keys("<M-[>")
    assert shown(nvim.screen()).text == shown(screen).text
    nvim.keys("<M-]>")
    assert shown(nvim.screen()).text == shown(second).text
    accept(nvim, nvim.screen())


def test_an_answer_that_comes_too_late_is_not_shown(start: Start) -> None:
    # Neovim holds changes back for a while: the server cannot know yet that its answer is of no use.
    nvim = start(settings=MANUAL, flags="{ debounce_text_changes = 1000000 }")
    ask(nvim)
    for changed in (False, True):
        nvim.keys("<Esc>", "A")
        nvim.settle()
        screen = nvim.screen(
            """local changed, patience = ...
            local client = vim.lsp.get_clients()[1]
            local row, column = unpack(vim.api.nvim_win_get_cursor(0))
            require('tabby_lsp').cycle(1)
            if changed then
              vim.api.nvim_buf_set_text(0, row - 1, column - 1, row - 1, column, { 'z' })
            end
            assert(vim.wait(patience, function() return vim.tbl_isempty(client.requests) end))
            vim.wait(300, function() end)
            """,
            changed,
            PATIENCE * 1000,
        )
        assert (screen.ghost is None) == changed


def test_the_status_line_says_what_the_server_does(start: Start) -> None:
    nvim = start()
    nvim.command("set laststatus=2 statusline=%{v:lua.require'tabby_lsp'.status()}")
    said = nvim.lua("return vim.api.nvim_eval_statusline(vim.o.statusline, {}).str")
    assert said
    assert said == nvim.lua(
        "return vim.lsp.get_clients()[1]:request_sync('tabby/status', {}, ..., 0).result.tooltip", 60000
    )
    nvim.command("new")
    assert nvim.lua("return require('tabby_lsp').status()") == ""


CHOOSES = """
_G.asked = {}
vim.ui.select = function(items, options, choose)
  table.insert(_G.asked, { options.prompt, vim.tbl_map(options.format_item, items), vim.api.nvim_get_mode().mode })
  choose(options.kind == 'lsp_message' and items[1] or items[#items]) -- the first action, the last model
end
_G.seen = {}
vim.api.nvim_create_autocmd('LspProgress', { callback = function()
  table.insert(_G.seen, require('tabby_lsp').status())
end })
"""


@pytest.fixture
def offering(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the starter under the names of the models that are recommended, and a server that soon asks."""
    names = ("Qwen2.5-Coder-0.5B", "Qwen2.5-Coder-1.5B")
    own = "".join(f'[[models]]\nname = "{name}"\nsource = "{REPOSITORY}"\nlicence = "apache-2.0"\n' for name in names)
    (root / "config.toml").write_text(own, encoding="utf-8")
    for name in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "LLAMA_CACHE", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TABBY_LSP_TEST_QUIET", "0.5")
    with running(Hub({"small-q8_0.gguf": starter.MODEL.read_bytes()})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


@pytest.mark.skipif("TABBY_LSP_TEST_MODEL" in os.environ, reason="is about the starter")
def test_a_model_is_offered_after_insert_mode_and_fetched(start: Start, offering: Hub) -> None:
    offering.faults = ["stall"]
    nvim = start()
    nvim.show()
    nvim.keys("iimport ")  # asked while one types, the question waits
    nvim.lua(CHOOSES)
    nvim.until("the server asks", lambda: (Path(os.environ["TABBY_ROOT"]) / "lsp" / "offer.json").exists())
    time.sleep(0.5)
    assert nvim.lua("return { #_G.asked, vim.api.nvim_get_mode().mode }") == [0, "i"]
    nvim.keys("<Esc>")
    ((question, choices, mode),) = nvim.until("the question comes", lambda: nvim.lua("return _G.asked"))
    assert "small starter model" in question and "would suit this machine" in question and mode == "n"
    assert choices == ["Download", "Not now", "Never"]
    status = "return require('tabby_lsp').status()"
    far = nvim.until("the statusline says how far it is", lambda: " of 4.46 MB, " in (now := nvim.lua(status)) and now)
    assert far.startswith("Tabby: fetching Qwen2.5-Coder-") and " left" in far
    offering.ended.set()
    nvim.until("it is loaded", lambda: "completes from now on" in nvim.lua(MESSAGES))
    assert nvim.lua(STATUS)["modelPath"].startswith(os.environ["HF_HUB_CACHE"])
    nvim.until("the statusline is what it was", lambda: nvim.lua(status).endswith(" is ready"))


@pytest.mark.skipif("TABBY_LSP_TEST_MODEL" in os.environ, reason="is about the starter")
def test_models_are_chosen_from_a_list(start: Start, offering: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TABBY_LSP_TEST_QUIET")
    nvim = start()
    nvim.show()
    nvim.lua(CHOOSES)
    nvim.command("Tabby models")
    nvim.until("the model is chosen", lambda: "completes from now on" in nvim.lua(MESSAGES))
    (prompt, lines, _), (question, choices, _) = nvim.lua("return _G.asked")
    assert prompt == "The model that completes:"
    assert "tabby-starter: 4 MB, apache-2.0, bundled, in use for completion" in lines
    assert "licence: apache-2.0" in question and choices == ["Download", "Not now"]
    nvim.command("Tabby stop")
    nvim.until("there is nothing to stop", lambda: "No model is being fetched" in nvim.lua(MESSAGES))
    nvim.command("Tabby model")
    assert "there is no :Tabby model, but models, restart, stop" in nvim.lua(MESSAGES)


def test_where_nobody_looks_nothing_is_asked(start: Start, offering: Hub) -> None:
    nvim = start()
    nvim.lua(CHOOSES)
    nvim.until("the server asks", lambda: (Path(os.environ["TABBY_ROOT"]) / "lsp" / "offer.json").exists())
    time.sleep(0.5)
    assert nvim.lua("return _G.asked") == [] and not offering.requests


@pytest.mark.parametrize("end", ["qa!", "SIGKILL"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_nothing_is_left_behind(start: Start, end: str, busy: bool) -> None:
    nvim = start()
    nvim.suggestion(CONTEXTS)
    record = nvim.record()
    processes = {"nvim": nvim.pid, "server": record["server"], "engine": record["engine"]}
    assert all(map(alive, processes.values()))
    assert b"tabby_lsp.engine.process" in Path(f"/proc/{record['engine']}/cmdline").read_bytes()
    if busy:
        asked = len(record["questions"])
        nvim.put(CONTEXTS[1])
        nvim.until("the server is asked", lambda: len(nvim.record()["questions"]) > asked)
    if end == "qa!":
        nvim.quit()
    else:
        os.kill(processes["nvim"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (left := [name for name, pid in processes.items() if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
