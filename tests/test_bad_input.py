"""What no proper client sends: each is answered or dropped, the server stays, and the next good request works."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from typing import Any

import pytest
from editor import INVOKED, URI, Editor, Json, Refused, position
from test_server import end_of, something

from tabby_lsp.processes import machine


def works(editor: Editor) -> None:
    assert editor.process.poll() is None
    something(editor)


BROKEN_FRAMES = {
    "not JSON": b"Content-Length: 5\r\n\r\n{nope",
    "not UTF-8": b'Content-Length: 11\r\n\r\n{"a": "\xff\xfe"}',
    "half a message": b'Content-Length: 10\r\n\r\n{"jsonrpc"',
    "a length too small": b'Content-Length: 4\r\n\r\n{"jsonrpc": "2.0", "id": 7, "method": "x"}',
    "no length": b"Content-Type: text/plain\r\n\r\nhello",
    "a length that is no number": b"Content-Length: abc\r\n\r\n{}",
    "a length beyond reason": b"Content-Length: 999999999999\r\n\r\n{}",
    "bytes": bytes(range(256)) * 20,
    "very deep": b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000,
    "a method that is none": b'Content-Length: 40\r\n\r\n{"jsonrpc": "2.0", "id": 7, "method": []}',
    "another": b'Content-Length: 40\r\n\r\n{"jsonrpc": "2.0", "id": 7, "method": {}}',
    "an array": b"Content-Length: 2\r\n\r\n[]",
    "a number": b"Content-Length: 2\r\n\r\n42",
    "another protocol": b'Content-Length: 17\r\n\r\n{"jsonrpc":"1.0"}',
    "nothing": b"Content-Length: 0\r\n\r\n",
}


def test_broken_frames() -> None:
    with Editor() as editor:
        editor.start()
        for what, data in BROKEN_FRAMES.items():
            editor.send_bytes(data)
            status = editor.request("tabby/status", {})
            assert status["status"] == "readyForAutoTrigger", what
        works(editor)


def test_a_message_that_is_no_json_is_answered_without_an_id() -> None:
    with Editor() as editor:
        editor.start()
        editor.send_bytes(b"Content-Length: 5\r\n\r\n{nope")
        with pytest.raises(Refused) as refused:
            editor.answer(None)
        assert refused.value.code == -32700


def test_a_length_that_swallows_the_next_message() -> None:
    """That one is lost, and those behind it are not."""
    with Editor() as editor:
        editor.start()
        body = json.dumps({"jsonrpc": "2.0", "id": 4_000_000, "method": "tabby/status", "params": {}}).encode()
        editor.send_bytes(b"Content-Length: 40\r\n\r\n{}" + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        works(editor)


@pytest.mark.parametrize(
    "params",
    [
        None,
        [],
        {},
        {"textDocument": 3, "position": {"line": 0, "character": 0}, "context": {"triggerKind": 2}},
        {"textDocument": {"uri": URI}, "position": {"line": "x", "character": []}, "context": {"triggerKind": 2}},
        {"textDocument": {"uri": URI}, "position": None, "context": {"triggerKind": 2}},
        {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}},
    ],
)
def test_params_that_do_not_fit_are_refused(params: Any) -> None:
    with Editor() as editor:
        editor.start()
        with pytest.raises(Refused) as refused:
            editor.request("textDocument/inlineCompletion", params)
        assert refused.value.code == -32602
        assert "textDocument/inlineCompletion" in str(refused.value)
        works(editor)


def test_notifications_that_do_not_fit_are_dropped() -> None:
    with Editor() as editor:
        editor.start()
        for method in ("textDocument/didOpen", "textDocument/didChange", "textDocument/didClose", "$/cancelRequest"):
            for params in (None, [], {"textDocument": {}}, {"id": {}}):
                editor.notify(method, params)
        editor.notify("no/such/thing", {"x": 1})
        works(editor)


def test_unknown_methods_are_refused() -> None:
    with Editor() as editor:
        editor.start()
        for method in ("no/such/thing", "textDocument/hover", ""):
            with pytest.raises(Refused) as refused:
                editor.request(method, {})
            assert refused.value.code == -32601
        with pytest.raises(Refused):
            editor.request("workspace/executeCommand", {"command": "no.such.command", "arguments": []})
        works(editor)


def test_nothing_but_initialize_comes_first() -> None:
    with Editor() as editor:
        editor.notify("textDocument/didOpen", {"textDocument": {}})
        with pytest.raises(Refused) as refused:
            editor.request("tabby/status", {})
        assert refused.value.code == -32002
        with pytest.raises(Refused):
            editor.request("initialize", {"capabilities": 3})
        editor.start()
        with pytest.raises(Refused) as refused:
            editor.request("initialize", {"capabilities": {}, "processId": None, "rootUri": None})
        assert refused.value.code == -32600
        works(editor)


AWKWARD_TEXTS = {
    "empty": "",
    "CRLF": "a = 1\r\nb = 2\r\n",
    "CR": "a = 1\rb = 2\r",
    "all line ends": "a\r\n\r\r\n\n\rb",
    "NUL": "a = '\x00'\nb",
    "form feeds": "a = 1\n\f\nb = 2\v\n",
    "U+2028": "a = '\u2028\u2029\x85'\nb = 2\n",
    "lone surrogates": "a = '\ud83d'\nb = '\udc00'\n",
    "astral": "𝒂 = '😀😀😀'\n𝒃 = 2\n",
    "BOM": "\ufeffa = 1\n",
    "control tokens": "<|fim_middle|><|fim_suffix|><|endoftext|>\nx = 1\n",
    "only blanks": " " * 5000,
    "only line ends": "\n" * 5000,
}


def editors_lines(text: str) -> list[str]:
    """The lines of a text as LSP has them, without their ends."""
    return re.split("\r\n|\r|\n", text)


def utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def assert_it_can_be_applied(item: Json, lines: list[str], line: int, character: int) -> None:
    """A suggestion's range lies on the cursor's line, around the cursor, and in the text."""
    start, end = item["range"]["start"], item["range"]["end"]
    if line >= len(lines):  # the end of the text
        line, character = len(lines) - 1, 9999
    column = min(character, utf16_units(lines[line]))
    assert start["line"] == end["line"] == line
    # A position within a pair of surrogates is before it.
    assert column - 1 <= start["character"] <= column <= end["character"] + 1 <= utf16_units(lines[line]) + 1
    assert item["insertText"].strip() and "\r" not in item["insertText"]


@pytest.mark.parametrize("what", AWKWARD_TEXTS)
def test_awkward_documents(what: str) -> None:
    """What is suggested at any place can be applied there, and what is typed next is where the editor has it."""
    text = AWKWARD_TEXTS[what]
    lines = editors_lines(text)
    with Editor() as editor:
        editor.start()
        editor.open(text)
        for line in (0, 1, 3):
            for character in (0, 5, 9999):
                item = editor.inline((line, character), kind=INVOKED)
                if item:
                    assert_it_can_be_applied(item, lines, line, character)
        # At the end of whatever stands there a line is begun that has a suggestion.
        last = len(lines) - 1
        editor.change(2, (last, utf16_units(lines[last])), "\r\n\r\nimport os\rimport ")
        alone = editor.inline((last + 3, 7), kind=INVOKED)
        assert alone is not None and alone["range"]["start"] == position((last + 3, 7))
        # Half a character, and its other half: the line is as long as the editor's.
        editor.change(3, (last + 3, 7), "\ud83d")
        editor.change(4, (last + 3, 8), "\ude00")
        editor.change(5, (last + 3, 7), "", end=(last + 3, 9))
        assert editor.inline((last + 3, 7), kind=INVOKED) == alone
        works(editor)


def test_positions_beyond_the_end() -> None:
    """They mean the end of the line, or of the text: what is suggested there is."""
    with Editor() as editor:
        editor.start()
        editor.open("import os\nimport ")
        for end, places in {
            (0, 9): ((0, 9), (0, 10_000), (0, 2**31 - 1), (0, 2**31), (0, 2**53)),
            (1, 7): ((1, 7), (1, 2**31 - 1), (10_000, 0), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**53, 2**53)),
        }.items():
            items = [editor.inline(place, kind=INVOKED) for place in places]
            assert all(each == items[0] for each in items[1:])
            assert items[0] is None or items[0]["range"]["start"] == position(end)
        assert items[0] is not None, "the model has something to say there"
        editor.change(2, (2**31, 0), "sys", end=(2**40, 2**40))
        editor.change(3, (1, 2**33), "\nimport ")
        item = editor.inline((2, 7), kind=INVOKED)
        assert item is not None and item["range"]["start"] == position((2, 7)), "both changes are there"
        works(editor)


def test_changes_of_what_was_never_opened_and_versions_that_go_back() -> None:
    with Editor() as editor:
        editor.start()
        editor.change(1, (0, 0), "x", uri="file:///never.py")
        editor.notify("textDocument/didClose", {"textDocument": {"uri": "file:///never.py"}})
        assert editor.inline((0, 0), uri="file:///never.py") is None
        editor.open("ab", version=9)
        editor.change(3, (0, 2), "c")
        editor.change(3, (9, 9), "d")
        assert len([line for line in editor.log if "never.py" in line]) <= 3
        works(editor)


URIS = (
    "untitled:Untitled-1",
    "file:///a%20b/c%C3%A9.py",
    "",
    "no uri",
    "git:/x?{}",
    "file://host/share/a.py",
    "file://[::1",
    "file:///a%00b.py",
    "file:///%ff%fe.py",
    "\ud83d",
)


def test_uris_of_all_kinds() -> None:
    """Each is the name of a document of its own: what is suggested in one is not of another."""
    with Editor() as editor:
        editor.start()
        for number, uri in enumerate(URIS):
            editor.open("# \n" * number + "import os\nimport ", uri=uri)
        for number, uri in enumerate(URIS):
            item = editor.inline((number + 1, 7), uri=uri, kind=INVOKED)
            assert item is not None and item["range"]["start"] == position((number + 1, 7)), uri
        for uri in URIS:
            editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
            assert editor.inline((1, 7), uri=uri) is None
        works(editor)
    assert not [each for each in editor.log if "Traceback" in each or "ERROR" in each], editor.log


@pytest.mark.parametrize("root_uri", ["file://[::1", "no uri", "", "file:///a%00b"])
def test_a_root_that_makes_no_sense_is_none(root_uri: str) -> None:
    with Editor() as editor:
        folders = [{"uri": root_uri, "name": "odd"}]
        editor.start(rootUri=root_uri, workspaceFolders=folders)
        works(editor)
    assert not [each for each in editor.log if "Traceback" in each or "ERROR" in each], editor.log


def test_a_million_lines() -> None:
    with Editor() as editor:
        editor.start()
        editor.open("x = 1\n" * 1_000_000)
        editor.change(2, (500_000, 5), "0")
        editor.inline((500_000, 6))
        editor.change(3, (999_999, 5), "\nimport ")
        editor.inline((1_000_000, 7))
        works(editor)


def test_a_line_of_five_megabytes() -> None:
    with Editor() as editor:
        editor.start()
        line = "var a=function(b){return b+1};" * 170_000
        editor.open(line, language="javascript")
        for place in (0, 1000, len(line) // 2, len(line)):
            editor.inline((0, place))
        editor.change(2, (0, len(line) // 2), "é")
        editor.inline((0, len(line) // 2 + 1))
        works(editor)


def test_a_document_that_is_closed_while_it_is_completed() -> None:
    with Editor("--set", "completion.max_decoding_tokens=2000") as editor:
        editor.start()
        editor.open("import os\n" * 500 + "x = \n")
        id = editor.ask_inline((500, 4))
        editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        assert editor.answer(id) is None
        works(editor)


def test_a_storm_of_requests_and_cancels() -> None:
    with Editor() as editor:
        editor.start()
        text = "import os\n" * 100 + "x = "
        editor.open(text)
        ids = []
        for i in range(300):
            ids.append(editor.ask_inline((100, i % 5)))
            if i % 3 == 0:
                editor.notify("$/cancelRequest", {"id": ids[-1]})
            if i % 7 == 0:
                editor.change(2 + i, (0, 0), "#")
        codes = set()
        for id in ids:
            try:
                editor.answer(id)
            except Refused as refused:
                codes.add(refused.code)
        assert codes <= {-32800}
        works(editor)


def test_a_thousand_superseded_requests_leave_nothing_behind() -> None:
    """Each key asks and takes the answer to the one before; the next answer is as it would have been without them."""
    with Editor() as editor:
        editor.start()
        head = "import os\n\n\ndef read(path, mode):\n" + "    path = os.path.join(path, mode)\n" * 40
        editor.open(head + "    \n")
        place = (head.count("\n"), 4)
        first = editor.inline(place)
        before = resident(editor)
        ids = []
        for number in range(1000):
            column = 4 + number % 20
            if number % 20 == 0 and number:
                editor.change(2 * number, (place[0], 4), "", end=(place[0], 24))
            editor.change(2 * number + 1, (place[0], column), "return_path_as_it_is"[number % 20])
            ids.append(editor.ask_inline((place[0], column + 1)))
            time.sleep(0.003)
        answers = [editor.answer(id) for id in ids]
        assert any(each is None for each in answers), "superseded"
        editor.change(3000, (place[0], 4), "", end=(place[0], 24))
        assert editor.inline(place) == first
        editor.change(3001, place, "x")
        editor.inline((place[0], 5))
        assert editor.request("tabby/status", {})["lastCompletion"]["evaluated"] < 16, "the prompt is still known"
        assert resident(editor) < before + 60 * 2**20, "nothing is kept of what nobody saw"
        works(editor)


def resident(editor: Editor) -> int:
    sizes = (machine.resident_memory(pid) for pid in (editor.process.pid, editor.engine_pid()))
    return sum(size or 0 for size in sizes)


def test_a_storm_while_the_engine_restarts() -> None:
    with Editor() as editor:
        editor.start()
        editor.open("import os\n" * 100 + "x = ")
        ids, restarts = [], []
        for number in range(200):
            if number == 20:
                os.kill(editor.engine_pid(), signal.SIGKILL)
            if number in (60, 61, 120):
                restarts.append(editor.ask("workspace/executeCommand", {"command": "tabby.restart", "arguments": []}))
            ids.append(editor.ask_inline((100, number % 5)))
            editor.notify("$/cancelRequest", {"id": ids[-1 - number % 2]})
            time.sleep(0.005)
        for id in [*ids, *restarts]:
            with contextlib.suppress(Refused):
                editor.answer(id)
        works(editor)


def test_a_context_that_is_smaller_than_a_line() -> None:
    with Editor("--set", "model.completion.local.context_size=128") as editor:
        editor.start()
        line = "value = " + " + ".join(f"first_{i}" for i in range(600))
        editor.open(f"{line}\n{line}\n")
        for column in (0, 5, 2000, len(line)):
            editor.inline((0, column))
            editor.inline((1, column), kind=INVOKED)
        works(editor)


@pytest.mark.parametrize("which", ["engine", "server"])
def test_a_machine_that_sleeps_in_the_middle_of_a_suggestion(which: str) -> None:
    """Stopped and continued, as far as a program can tell: its answer comes late, and the next one as always."""
    with Editor() as editor:
        editor.start()
        editor.open("import os\n" * 300 + "def f(path):\n    return ")
        pid = editor.engine_pid() if which == "engine" else editor.process.pid
        begun = editor.ask_inline((301, 11))
        os.kill(pid, signal.SIGSTOP)
        try:
            asleep = editor.ask_inline((301, 4))
            later = editor.ask_inline((301, 11))
            time.sleep(1.0)
        finally:
            os.kill(pid, signal.SIGCONT)
        editor.answer(begun)
        assert editor.answer(asleep) is None, "superseded"
        editor.answer(later)
        works(editor)


@pytest.mark.parametrize("options", [3, "x", [1], {"a": 1}, {"completion": []}, None])
def test_initialization_options_of_all_kinds(options: Any) -> None:
    with Editor() as editor:
        editor.start(initializationOptions=options)
        works(editor)


@pytest.mark.parametrize("answer", [3, [], "x", {"completion": {"trigger": None}}, {"completion": 1}])
def test_answers_to_workspace_configuration_of_all_kinds(answer: Any) -> None:
    with Editor() as editor:
        editor.configuration = answer
        capabilities: Json = {"textDocument": {"inlineCompletion": {}}, "workspace": {"configuration": True}}
        editor.start(capabilities)
        works(editor)


def test_a_selected_item_that_makes_no_sense() -> None:
    with Editor() as editor:
        editor.start()
        text = "import os\nimport "
        editor.open(text)
        line, column = end_of(text)
        for start, end in (((0, 0), (1, 2)), ((1, 9), (1, 99)), ((9, 9), (9, 9)), ((1, 7), (0, 0))):
            place = {"start": position(start), "end": position(end)}
            editor.inline((line, column), selected={"range": place, "text": "\n\ud83d" * 3})
        works(editor)
