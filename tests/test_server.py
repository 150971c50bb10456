"""The server as an editor meets it: a real process, the real engine, the real model."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import MODEL
from editor import AUTOMATIC, INLINE, INVOKED, MENU, URI, Editor, Json, Refused, gone, only_item, position
from scripted import write_scripted

# Places where any model of Python says something. Which words they are is the model's business.
TALKATIVE = (
    "import os\nimport sys\n\n\ndef read(path):\n    with open(path",
    "class Cart:\n    def __init__(self",
    "import os\nimport ",
    "def add(a, b):\n    return ",
    "for i in range(",
)


def end_of(text: str) -> tuple[int, int]:
    lines = text.split("\n")
    return len(lines) - 1, len(lines[-1])


def something(editor: Editor, after: str = "\n\n\nx = 1\n") -> tuple[str, Json]:
    """A text and the suggestion at its end: the first of several texts to which the model has one."""
    for version, text in enumerate(TALKATIVE):
        editor.open(text + after, version=version)
        item = editor.inline(end_of(text))
        if item:
            return text, item
    raise AssertionError("the model has nothing to say")


# --- a session


def test_a_suggestion_has_a_range_on_the_cursors_line() -> None:
    with Editor() as editor:
        result = editor.start()
        assert result["serverInfo"]["name"] == "tabby-lsp"
        assert result["capabilities"]["inlineCompletionProvider"] is not None
        assert "completionProvider" not in result["capabilities"], "a client with both would show the text twice"
        text, item = something(editor)
        assert item["insertText"].strip()
        assert only_item(editor.answer(editor.ask_inline(end_of(text)))) == item, "to choose from several takes a key"
        assert item["range"] == {"start": position(end_of(text)), "end": position(end_of(text))}


def test_initialize_is_answered_before_a_model_is_opened() -> None:
    with Editor() as editor:
        params = {"processId": None, "rootUri": None, "capabilities": INLINE}
        editor.request("initialize", params)
        pid = editor.process.pid
        assert Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split() == []
        assert editor.request("tabby/status", {})["status"] == "connecting"
        editor.notify("initialized", {})
        editor.wait_status("readyForAutoTrigger")
        assert editor.engine_pid() > 0


def test_the_same_place_gives_the_same_suggestion_from_the_cache_or_the_model(tmp_path: Path) -> None:
    model = write_scripted(tmp_path / "scripted.gguf", "value", "items", "names")
    with Editor(model=model) as editor:
        editor.start()
        text, item = something(editor)
        assert editor.request("tabby/status", {})["lastCompletion"]["cached"] is False
        assert editor.inline(end_of(text)) == item
        assert editor.request("tabby/status", {})["lastCompletion"]["cached"] is True
        line, column = end_of(text)
        editor.change(100, (line, column), "q")
        editor.inline((line, column + 1))
        last = editor.request("tabby/status", {})["lastCompletion"]
        assert last["cached"] is False and last["reused"] > 0, "the prompt was still in the KV cache"
        editor.open(text + "\n\n\nx = 1\n", version=101)  # without the q; where it is deleted nothing is shown
        assert editor.inline(end_of(text)) == item
        last = editor.request("tabby/status", {})["lastCompletion"]
        assert last["cached"] is True and last["evaluated"] == last["generated"] == 0
        items = editor.answer(editor.ask_inline(end_of(text), kind=INVOKED))["items"]
        # A busy machine may have had no time for the second line of one of them.
        first = item["insertText"].partition("\n")[0]
        assert items[0]["insertText"].partition("\n")[0] == first
        assert len({each["insertText"] for each in items}) == len(items) == 3
        assert editor.request("tabby/status", {})["lastCompletion"]["cached"] is False, "only one was known"
        assert editor.answer(editor.ask_inline(end_of(text), kind=INVOKED))["items"] == items
        assert editor.request("tabby/status", {})["lastCompletion"]["cached"] is True, "it could say nothing else"
        editor.request("workspace/executeCommand", {"command": "tabby.restart", "arguments": []})
        again = editor.inline(end_of(text))
        assert again is not None and again["insertText"].partition("\n")[0] == first
        assert editor.request("tabby/status", {})["lastCompletion"]["cached"] is False, "another engine"


def test_who_asks_on_a_key_is_not_answered_from_the_cache_where_the_model_may_say_something_else() -> None:
    with Editor("--set", "completion.temperature=0.5") as editor:
        editor.start()
        text, item = something(editor)
        assert editor.inline(end_of(text), kind=AUTOMATIC) == item
        assert editor.request("tabby/status", {})["lastCompletion"]["cached"] is True
        others = []
        for _ in range(6):
            others.append(editor.inline(end_of(text), kind=INVOKED))
            assert editor.request("tabby/status", {})["lastCompletion"]["cached"] is False
        assert len({str(other) for other in others}) > 1, "each with another seed"
        assert editor.inline(end_of(text), kind=AUTOMATIC) == others[-1], "what was seen last stays"


def test_typing_through_any_of_several_suggestions_shows_the_rest_of_it() -> None:
    with Editor() as editor:
        editor.start()
        text, _ = something(editor)
        line, column = end_of(text)
        items = editor.answer(editor.ask_inline((line, column), kind=INVOKED))["items"]
        for number, item in enumerate(items):
            first, rest = item["insertText"][0], item["insertText"][1:]
            editor.change(100 + 2 * number, (line, column), first)
            shown = editor.inline((line, column + 1))
            assert shown is not None
            agreeing = [each["insertText"][1:] for each in items if each["insertText"].startswith(first)]
            assert shown["insertText"] == agreeing[0] and rest in agreeing
            assert editor.request("tabby/status", {})["lastCompletion"]["cached"] is True
            editor.change(101 + 2 * number, (line, column), "", end=(line, column + 1))


def test_what_the_model_is_not_sure_of_is_shown_to_who_asks_or_types_it() -> None:
    with Editor("--set", "completion.confidence=1") as editor:
        editor.start()
        text = TALKATIVE[0]
        for version, each in enumerate(TALKATIVE):
            text = each
            editor.open(text, version=version)
            assert editor.inline(end_of(text), kind=AUTOMATIC) is None
            asked = editor.inline(end_of(text), kind=INVOKED)
            if asked is not None and len(asked["insertText"].partition("\n")[0]) > 4:
                break
        assert asked is not None, "who asks gets what there is"
        assert editor.inline(end_of(text), kind=AUTOMATIC) is None
        line, column = end_of(text)
        for typed in range(1, 5):
            editor.change(100 + typed, (line, column + typed - 1), asked["insertText"][typed - 1])
            shown = editor.inline((line, column + typed), kind=AUTOMATIC)
            if typed < 3:
                assert shown is None
        assert shown is not None and shown["insertText"] == asked["insertText"][4:], "what was typed agrees with it"


def test_typing_through_a_suggestion_shows_the_rest_of_it() -> None:
    with Editor() as editor:
        editor.start()
        text, item = something(editor)
        line, column = end_of(text)
        whole = item["insertText"]
        for typed in range(1, len(whole.rstrip())):
            if whole[typed - 1] == "\n" or not whole[typed:].strip():
                break
            editor.change(100 + typed, (line, column + typed - 1), whole[typed - 1])
            rest = editor.inline((line, column + typed))
            assert rest is not None and rest["insertText"] == whole[typed:]
            assert editor.request("tabby/status", {})["lastCompletion"]["generated"] == 0


@pytest.mark.parametrize("encoding, columns", [("utf-8", 9), ("utf-16", 6), ("utf-32", 5)])
def test_positions_are_counted_as_agreed(encoding: str, columns: int) -> None:
    with Editor() as editor:
        result = editor.start(encodings=[encoding])
        assert result["capabilities"]["positionEncoding"] == encoding
        # Before the cursor stands `x="é😀`: 3 + 2 + 4 bytes, 3 + 1 + 2 UTF-16 units, 5 characters.
        for version, text in enumerate(TALKATIVE):
            editor.open(f'{text}\nx="é😀', version=version)
            line = text.count("\n") + 1
            editor.change(version + 1, (line, columns), 'a"')
            item = editor.inline((line, columns + 2))
            if item:
                assert item["range"]["start"] == position((line, columns + 2))
                return
        pytest.fail("the model has nothing to say")


def test_a_suggestion_extends_the_menus_item_in_its_own_range() -> None:
    with Editor() as editor:
        editor.start()
        for version, (before, word, full) in enumerate(
            [("import os\n", "imp", "import "), ("def f(self):\n    ", "ret", "return "), ("", "fr", "from ")]
        ):
            text = before + word
            editor.open(text + "\n\n", version=version)
            line, column = end_of(text)
            word_range = {"start": position((line, column - len(word))), "end": position((line, column))}
            item = editor.inline((line, column), selected={"range": word_range, "text": full})
            if item:
                assert item["insertText"].startswith(full) and len(item["insertText"]) > len(full)
                assert item["range"] == word_range
                return
        pytest.fail("the model has nothing to say")


# --- the completion menu


def menu_item(editor: Editor) -> tuple[str, Json]:
    for version, text in enumerate(("import os\nimport sy", *TALKATIVE)):
        editor.open(text + "\n\nx = 1\n", version=version)
        params = {"textDocument": {"uri": URI}, "position": position(end_of(text)), "context": {"triggerKind": 1}}
        result = editor.request("textDocument/completion", params)
        assert result["isIncomplete"] is True
        if result["items"]:
            return text, only_item(result) or {}
    raise AssertionError("the model has nothing to say")


def test_a_client_without_inline_completion_gets_an_item_of_its_menu() -> None:
    with Editor() as editor:
        result = editor.start(MENU)
        assert "inlineCompletionProvider" not in result["capabilities"]
        assert "." in result["capabilities"]["completionProvider"]["triggerCharacters"]
        text, item = menu_item(editor)
        line, column = end_of(text)
        start = item["textEdit"]["range"]["start"]
        typed = text.split("\n")[-1][start["character"] :]
        assert item["textEdit"]["range"]["end"] == position((line, column))
        assert item["textEdit"]["newText"].startswith(typed)
        assert item["filterText"].startswith(typed), "the client filters by what stands before the cursor"
        assert item["label"] and "\n" not in item["label"]
        assert item["documentation"]["value"].startswith("```python\n")
        assert item["textEdit"]["newText"] in item["documentation"]["value"]
        assert item["insertTextFormat"] == 1, "no snippet: a $ is a $"


def test_a_document_with_crlf_gets_crlf_from_the_menu(tmp_path: Path) -> None:
    model = write_scripted(tmp_path / "scripted.gguf", "first(x)\n    second(y")
    with Editor("--set", "completion.max_decoding_tokens=200", model=model) as editor:
        editor.start(MENU)
        starts = (
            "for name in names:\r\n    ",
            "try:\r\n    import json\r\n",
            "def f(x):\r\n    ",
            "class A:\r\n    ",
            "def main():\r\n    ",
        )
        for version, start in enumerate(starts):
            editor.open(f"{start}\r\n\r\nx = 1\r\n", version=version)
            cursor = position((start.count("\n"), len(start) - start.rindex("\n") - 1))
            params = {"textDocument": {"uri": URI}, "position": cursor, "context": {"triggerKind": 1}}
            for item in editor.request("textDocument/completion", params)["items"]:
                written = item["textEdit"]["newText"]
                if "\n" in written:
                    assert written.count("\r\n") == written.count("\n")
                    return
        pytest.fail("the model wrote no second line")


@pytest.mark.parametrize("method, capabilities", [("menu", INLINE), ("inline", MENU)])
def test_a_setting_forces_either(method: str, capabilities: Json) -> None:
    with Editor("--set", f"completion.method={method}") as editor:
        announced = editor.initialize(capabilities)["capabilities"]
        assert ("completionProvider" in announced) is (method == "menu")
        assert ("inlineCompletionProvider" in announced) is (method == "inline")


def test_on_request_only() -> None:
    with Editor("--set", "completion.trigger=manual") as editor:
        editor.initialize()
        editor.wait_status("readyForManualTrigger")
        for version, text in enumerate(TALKATIVE):
            editor.open(text + "\n", version=version)
            assert editor.inline(end_of(text), kind=AUTOMATIC) is None
            if editor.inline(end_of(text), kind=INVOKED):
                return
        pytest.fail("the model has nothing to say")


# --- where nothing comes unasked


def withheld(editor: Editor) -> str:
    return str(editor.request("tabby/status", {})["withheld"])


def test_nothing_is_suggested_in_a_word_that_is_being_deleted(tmp_path: Path) -> None:
    with Editor(model=write_scripted(tmp_path / "scripted.gguf", "value")) as editor:
        editor.start()
        text = TALKATIVE[0]
        editor.open(text + "s\n")
        line, column = end_of(text)
        editor.change(2, (line, column), "", end=(line, column + 1))
        assert editor.answer(editor.ask_inline((line, column))) == {"items": []}, "what is shown is to go"
        assert withheld(editor) == "the word is being deleted"
        assert "lastCompletion" not in editor.request("tabby/status", {}), "no model was asked"
        assert editor.inline((line, column), kind=INVOKED) is not None
        assert withheld(editor) == ""
        editor.change(3, (line, column), ",")
        assert editor.inline((line, column + 1)) is not None


def test_languages_comments_and_strings_are_switched_off_for_who_has_not_asked() -> None:
    off = ["languages.ruby=false", "comments=false", "strings=false"]
    with Editor(*(each for name in off for each in ("--set", f"completion.{name}"))) as editor:
        editor.start()
        cases = [("# The sum of ", "python"), ('print("hello ', "python"), (TALKATIVE[1], "ruby")]
        reasons = set()
        for version, (text, language) in enumerate(cases):
            editor.open(text + "\n", language=language, version=version)
            assert editor.answer(editor.ask_inline(end_of(text))) == {"items": []}
            reasons.add(withheld(editor))
            editor.answer(editor.ask_inline(end_of(text), kind=INVOKED))
            assert withheld(editor) == "" and editor.request("tabby/status", {})["lastCompletion"]["generated"] > 0
        assert len(reasons) == 3 and "" not in reasons
        something(editor)


@pytest.mark.parametrize("capabilities", [INLINE, MENU], ids=["inline", "menu"])
def test_a_file_that_no_model_is_to_read_is_left_alone_also_on_a_key(capabilities: Json) -> None:
    patterns = ["--set", 'completion.disable=["/private/", "*.env", "!cart.env", "a[b"]']
    folder = "file:///home/me/shop"
    with Editor(*patterns, "--log-level", "debug") as editor:
        editor.start(capabilities)
        assert len(editor.shown()) == 1 and "'a[b' names nothing" in editor.shown()[0]
        text = TALKATIVE[0]
        place = {"position": position(end_of(text)), "context": {"triggerKind": INVOKED}}
        method = f"textDocument/{'completion' if capabilities is MENU else 'inlineCompletion'}"
        answered = {}
        for name in ("private/a/b.py", "shop%20.env", "cart.env", "a/private/b.py"):
            editor.open(text + "\n", uri=f"{folder}/{name}")
            result = editor.request(method, {"textDocument": {"uri": f"{folder}/{name}"}, **place})
            answered[name] = bool(result["items"])
            assert (withheld(editor) == "") == answered[name]
        assert list(answered.values()) == [False, False, True, True]
        assert any("nothing is suggested: completion.disable" in line for line in editor.log)


# --- superseding


def test_every_one_of_many_superseded_requests_is_answered() -> None:
    with Editor() as editor:
        editor.start()
        text = "import os\n" * 300 + "def f(x):\n    "
        editor.open(text + "\n")
        line, column = end_of(text)
        ids = []
        for typed in range(40):
            editor.change(2 + typed, (line, column + typed), "x")
            ids.append(editor.ask_inline((line, column + typed + 1)))
        answers = [editor.answer(id) for id in ids]
        assert all(answer is None for answer in answers[:-1])


def test_a_cancelled_request_is_answered_as_cancelled_and_the_next_one_works() -> None:
    with Editor("--set", "completion.max_decoding_tokens=2000") as editor:
        editor.start()
        editor.open("import os\n" * 400 + "x = \n")
        id = editor.ask_inline((400, 4))
        editor.notify("$/cancelRequest", {"id": id})
        with pytest.raises(Refused) as refused:
            editor.answer(id)
        assert refused.value.code == -32800
        something(editor)


def test_a_cancel_that_comes_too_late_is_no_trouble() -> None:
    with Editor() as editor:
        editor.start()
        text, item = something(editor)
        for id in (1, 2, 3, 99_999, "what"):
            editor.notify("$/cancelRequest", {"id": id})
        assert editor.inline(end_of(text)) == item


# --- status and progress


def test_status_tells_what_runs() -> None:
    with Editor() as editor:
        editor.start()
        status = editor.request("tabby/status", None)
        assert status["status"] == "readyForAutoTrigger"
        assert status["model"] and status["model"] in status["tooltip"]
        assert status["device"] == "cpu"
        something(editor)
        last = editor.request("tabby/status", {})["lastCompletion"]
        assert last["evaluated"] > 0 and last["generated"] > 0


def test_loading_is_not_told_faster_than_one_reads() -> None:
    with Editor() as editor:
        editor.start()
        loading = [each for each in statuses(editor) if each["status"] == "connecting"]

        assert len({each["tooltip"] for each in loading}) == len(loading), "nothing is said twice"
        reports = [each for each in editor.messages if each.get("method") == "$/progress"]
        percents = [each["params"]["value"].get("percentage") for each in reports[:-1]]
        assert len(set(percents)) == len(percents)


def test_loading_shows_progress() -> None:
    with Editor() as editor:
        editor.start()
        editor.wait(lambda m: m.get("method") == "$/progress" and m["params"]["value"]["kind"] == "end")
        created = editor.wait(lambda m: m.get("method") == "window/workDoneProgress/create")
        token = created["params"]["token"]
        kinds = [m["params"]["value"]["kind"] for m in editor.messages if m.get("method") == "$/progress"]
        assert kinds[0] == "begin" and kinds[-1] == "end"
        assert all(m["params"]["token"] == token for m in editor.messages if m.get("method") == "$/progress")


def test_a_client_that_cannot_show_progress_is_not_asked_to() -> None:
    with Editor() as editor:
        editor.start({"textDocument": {"inlineCompletion": {}}})
        something(editor)
        assert not any("rogress" in each.get("method", "") for each in editor.messages)


def statuses(editor: Editor) -> list[Json]:
    return [each["params"] for each in editor.messages if each.get("method") == "tabby/status/didChange"]


def test_a_client_that_has_not_asked_is_told_no_status() -> None:
    with Editor() as editor:
        editor.start({**INLINE, "tabby": {}}, waits=False)
        something(editor)
        assert statuses(editor) == []
        assert editor.request("tabby/status", {})["status"] == "readyForAutoTrigger"
        editor.open("import re\nimport ", version=50)
        editor.inline((1, 7), kind=INVOKED)
        editor.request("tabby/status", {})
        assert {each["status"] for each in statuses(editor)} >= {"fetching", "readyForAutoTrigger"}, "it has asked now"


@pytest.mark.parametrize("holder", [{}, {"tabby": {}, "experimental": {"tabby": {"statusDidChangeListener": True}}}])
def test_a_client_that_has_asked_is_told_what_is_new(holder: Json) -> None:
    with Editor() as editor:
        editor.start({**INLINE, **holder})
        whole = editor.request("tabby/status", {})
        before = len(statuses(editor))
        text, _ = something(editor)
        known = whole
        for each in statuses(editor)[before:]:
            assert each["status"] and each["tooltip"], "one line for a status bar"
            assert known | each != known, "nothing is said twice"
            assert not {"model", "notes", "index"} & each.keys(), "they are as they were"
            known = known | each
        assert known == editor.request("tabby/status", {})
        before = len(statuses(editor))
        editor.inline(end_of(text))
        editor.inline(end_of(text))
        assert all(set(each) <= {"status", "tooltip", "lastCompletion"} for each in statuses(editor)[before:])


# --- settings


def test_settings_that_come_late_still_come() -> None:
    """Nobody waits for them: an editor may ask its user first."""
    with Editor(answers=False) as editor:
        editor.start({**INLINE, "workspace": {"configuration": True}})
        asked = editor.wait(lambda each: each.get("method") == "workspace/configuration")
        time.sleep(2.5)
        something(editor)
        editor.reply(asked, [{"completion": {"trigger": "manual"}}])
        editor.wait_status("readyForManualTrigger")
        assert not [each for each in editor.log if "workspace/configuration" in each]


def test_of_two_answers_about_settings_the_newer_question_counts() -> None:
    with Editor(answers=False) as editor:
        editor.start({**INLINE, "workspace": {"configuration": True}})
        asked = [editor.wait(lambda each: each.get("method") == "workspace/configuration")]
        since = len(editor.messages)
        editor.notify("workspace/didChangeConfiguration", {"settings": None})
        asked.append(editor.wait(lambda each: each.get("method") == "workspace/configuration", since))
        editor.reply(asked[1], [{"completion": {"trigger": "manual"}}])
        editor.wait_status("readyForManualTrigger")
        editor.reply(asked[0], [{"completion": {"trigger": "auto"}}])
        for _ in range(10):
            editor.request("tabby/status", {})
        assert editor.request("tabby/status", {})["status"] == "readyForManualTrigger"


def test_changes_of_settings_are_asked_for_where_an_editor_wants_that() -> None:
    with Editor() as editor:
        editor.start({**INLINE, "workspace": {"didChangeConfiguration": {"dynamicRegistration": True}}})
        asked = editor.wait(lambda each: each.get("method") == "client/registerCapability")["params"]["registrations"]
        method, options = "workspace/didChangeConfiguration", {"section": "tabby-lsp"}
        assert asked == [{"id": f"tabby-lsp/{method}", "method": method, "registerOptions": options}]
    with Editor() as editor:
        editor.start({**INLINE, "workspace": {"didChangeConfiguration": {"dynamicRegistration": False}}})
        assert not [each for each in editor.messages if each.get("method") == "client/registerCapability"]


def test_what_a_menu_cannot_keep_is_said() -> None:
    with Editor("--set", "completion.trigger=manual") as editor:
        editor.start(MENU)
        assert len(editor.shown()) == 1 and "`completion.trigger` is `manual`" in editor.shown()[0]
    with Editor() as editor:
        editor.start(MENU)
        assert editor.shown() == []
        manual = {"tabby-lsp": {"completion": {"trigger": "manual"}}}
        editor.notify("workspace/didChangeConfiguration", {"settings": manual})
        editor.notify("workspace/didChangeConfiguration", {"settings": manual})
        editor.wait_status("readyForManualTrigger")
        assert len(editor.shown()) == 1, "once"


def test_a_restart_reads_the_settings_again(root: Path) -> None:
    path = root / "config.toml"
    path.write_text("[completion]\ntrigger = 3\n", encoding="utf-8")
    restart = {"command": "tabby.restart", "arguments": []}
    with Editor() as editor:
        editor.start()
        path.write_text('[completion]\ntrigger = "manual"\nmax_prompt_tokens = 600\n', encoding="utf-8")
        pid = editor.engine_pid()
        status = editor.request("workspace/executeCommand", restart)
        assert (status["status"], status["maxPromptTokens"]) == ("readyForManualTrigger", 600)
        assert gone(pid) and editor.engine_pid(), "one engine, not two"
        path.write_text("[completion]\ntrigger = 3\n", encoding="utf-8")
        status = editor.request("workspace/executeCommand", restart)
        assert status["status"] == "readyForAutoTrigger"
        assert len([each for each in editor.shown() if "`completion.trigger` must be" in each]) == 2, (
            "it is wrong again"
        )


def test_mistakes_in_the_settings_are_shown_and_the_server_works(root: Path) -> None:
    (root / "config.toml").write_text("[completion]\nmax_decoding_token = 3\n", encoding="utf-8")
    with Editor() as editor:
        editor.start(initializationOptions={"completion": {"trigger": "never"}})
        shown = editor.shown()
        assert len(shown) == 1, "one message"
        assert "max_decoding_tokens" in shown[0] and "'never'" in shown[0]
        something(editor)


def test_settings_of_the_workspace_cannot_choose_a_file(tmp_path: Path) -> None:
    with Editor() as editor:
        editor.configuration = {"model": {"completion": {"local": {"model_id": str(tmp_path)}}}}
        editor.start({**INLINE, "workspace": {"configuration": True}})
        editor.wait(lambda m: m.get("method") == "window/showMessage" and "refused" in m["params"]["message"])
        something(editor)


def test_settings_may_change_while_the_server_runs() -> None:
    with Editor() as editor:
        editor.start()
        text, _ = something(editor)
        editor.notify(
            "workspace/didChangeConfiguration", {"settings": {"tabby-lsp": {"completion": {"trigger": "manual"}}}}
        )
        assert editor.inline(end_of(text)) is None
        assert editor.request("tabby/status", {})["status"] == "readyForManualTrigger"
        since = len(editor.messages)
        pid = editor.engine_pid()
        changed = {"completion": {"max_prompt_tokens": 300}}
        editor.notify("workspace/didChangeConfiguration", {"settings": {"tabby-lsp": changed}})
        editor.wait(lambda each: each.get("params", {}).get("maxPromptTokens") == 300, since)
        assert editor.engine_pid() == pid, "the model stays as it is"
        something(editor)


# --- the engine


def test_a_model_that_cannot_be_used_is_said_once_and_requests_are_answered(tmp_path: Path) -> None:
    with Editor(model=tmp_path / "none.gguf") as editor:
        editor.initialize()
        status = editor.wait_status("codeCompletionNotAvailable")
        assert "does not exist" in status["helpMessage"]
        editor.open("x = \n")
        assert editor.inline((0, 4)) is None
        assert editor.inline((0, 3)) is None
        assert len([each for each in editor.shown() if "does not exist" in each]) == 1
        for column in range(4):
            editor.inline((0, column))
        assert len([each for each in editor.log if "no suggestion" in each]) <= 1, "once, and not at every key"


def test_a_model_without_fim_tokens_completes_from_the_prefix_and_says_so_once(tmp_path: Path) -> None:
    path = tmp_path / "left-to-right.gguf"
    # Neither the texts of the tokens nor what the file says of their ids.
    path.write_bytes(MODEL.read_bytes().replace(b"<|fim_", b"<|fam_").replace(b"ggml.fim_", b"ggml.fam_"))
    with Editor(model=path) as editor:
        assert editor.start()
        something(editor)
        something(editor)
        assert editor.request("tabby/status", {})["family"] == "none"
        assert len([each for each in editor.shown() if "may be for the middle (<|fam_" in each]) == 1


def test_an_engine_that_is_killed_costs_one_answer() -> None:
    with Editor("--set", "completion.max_decoding_tokens=2000") as editor:
        editor.start()
        editor.open("import os\n" * 500 + "x = \n")
        pid = editor.engine_pid()
        id = editor.ask_inline((500, 4))
        editor.wait_status("fetching")
        since = len(editor.messages)
        os.kill(pid, signal.SIGKILL)
        assert editor.answer(id) is None
        editor.wait_status("readyForAutoTrigger", since=since)
        assert editor.engine_pid() != pid
        something(editor)


def test_an_engine_that_keeps_dying_stays_down_until_it_is_asked_for() -> None:
    with Editor() as editor:
        editor.start()
        for _ in range(5):
            since = len(editor.messages)
            os.kill(editor.engine_pid(), signal.SIGKILL)
            status = editor.wait_status("readyForAutoTrigger", "codeCompletionNotAvailable", since=since)
        assert status["status"] == "codeCompletionNotAvailable"
        assert "5 times" in status["helpMessage"]
        editor.open("x = \n")
        assert editor.inline((0, 4)) is None
        status = editor.request("workspace/executeCommand", {"command": "tabby.restart", "arguments": []})
        assert status["status"] == "readyForAutoTrigger"
        something(editor)


# --- the end


def test_shutdown_and_exit_end_everything() -> None:
    with Editor() as editor:
        editor.start()
        engine = editor.engine_pid()
        assert editor.request("shutdown", None) is None
        assert gone(engine)
        with pytest.raises(Refused) as refused:
            editor.request("tabby/status", {})
        assert refused.value.code == -32600
        editor.notify("exit", None)
        assert editor.process.wait(60) == 0


def test_exit_without_shutdown_is_an_error() -> None:
    with Editor() as editor:
        editor.start()
        engine = editor.engine_pid()
        editor.notify("exit", None)
        assert editor.process.wait(60) == 1
        assert gone(engine)


@pytest.mark.parametrize("ending", ["exit", "end of input", "exit and end of input"])
def test_an_editor_may_quit_while_shutdown_is_under_way(ending: str) -> None:
    with Editor() as editor:
        editor.start()
        engine = editor.engine_pid()
        waiting = editor.ask("workspace/executeCommand", {"command": "tabby.restart", "arguments": []})
        id = editor.ask("shutdown", None)
        if "exit" in ending:
            editor.notify("exit", None)
        if "end of input" in ending:
            assert editor.process.stdin is not None
            editor.process.stdin.close()
        assert editor.process.wait(60) == 0
        assert editor.answer(id) is None
        with pytest.raises(Refused) as refused:
            editor.answer(waiting)
        assert refused.value.code == -32800
        assert gone(engine)
    assert not [each for each in editor.log if "Traceback" in each or "ERROR" in each], editor.log


@pytest.mark.parametrize("busy", [False, True])
def test_a_closed_stdin_ends_everything(busy: bool) -> None:
    with Editor("--set", "completion.max_decoding_tokens=2000") as editor:
        editor.start()
        engine = editor.engine_pid()
        if busy:
            editor.open("import os\n" * 500 + "x = \n")
            editor.ask_inline((500, 4))
            editor.wait_status("fetching")
        assert editor.process.stdin is not None
        editor.process.stdin.close()
        editor.process.wait(60)
        assert gone(engine)


def test_a_server_that_is_killed_takes_its_engine_along() -> None:
    with Editor("--set", "completion.max_decoding_tokens=2000") as editor:
        editor.start()
        engine = editor.engine_pid()
        editor.open("import os\n" * 500 + "x = \n")
        editor.ask_inline((500, 4))
        editor.wait_status("fetching")
        editor.process.kill()
        editor.process.wait(60)
        assert gone(engine)


def test_two_servers_at_once() -> None:
    with Editor() as one, Editor() as two:
        one.start()
        two.start()
        (text, item), (same, other) = something(one), something(two)
        # A busy machine may have had no time for the second line of one of them.
        first, second = (each["insertText"].partition("\n")[0] for each in (item, other))
        assert text == same and first == second


# --- the disk


def test_a_folder_that_cannot_be_written_costs_a_line_in_the_log(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder", encoding="utf-8")
    with Editor(env={"TABBY_ROOT": str(file / "root")}) as editor:
        editor.start()
        something(editor)
        assert len([line for line in editor.log if "no log file" in line]) == 1


def test_a_full_disk_is_no_trouble() -> None:
    with Editor("--log-file", "/dev/full", "--log-level", "debug") as editor:
        editor.start()
        something(editor)


def test_what_is_written_lies_in_one_folder(root: Path) -> None:
    with Editor() as editor:
        editor.start()
        something(editor)
    assert {each.name for each in root.iterdir()} == {"lsp"}
    assert [each.parent.name for each in root.rglob("*.log")] == ["logs"]


def test_the_users_code_is_not_logged(root: Path) -> None:
    with Editor("--log-level", "info") as editor:
        editor.start()
        editor.open("password_of_the_bank = 'x'\nimport \n")
        editor.inline((1, 7))
        time.sleep(0.1)
        log = "\n".join(editor.log) + "".join(each.read_text(encoding="utf-8") for each in root.rglob("*.log"))
    assert "password_of_the_bank" not in log


def test_the_status_command_takes_whatever_an_editor_sends() -> None:
    with Editor() as editor:
        editor.start()
        sent: list[Any]
        for sent in ([], ["a string"], [{"an": "object"}], ["three", "of", "them"]):
            result = editor.request("workspace/executeCommand", {"command": "tabby.status", "arguments": sent})
            assert result["status"] == "readyForAutoTrigger"
        assert editor.request("workspace/executeCommand", {"command": "tabby.status"})["model"]
