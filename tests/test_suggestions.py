"""Which generation serves which request, with an engine that writes only what it is told to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tabby_lsp.completion.overtype import overtyped
from tabby_lsp.data import (
    Alternative,
    Candidate,
    Completion,
    CompletionContext,
    CompletionRequest,
    Sampling,
    Snippet,
    Timing,
)
from tabby_lsp.engine.client import EngineError, Job
from tabby_lsp.engine.scheduler import COMPLETION
from tabby_lsp.lsp import convert
from tabby_lsp.lsp.documents import Document
from tabby_lsp.suggest import answers
from tabby_lsp.suggest.answers import Answers
from tabby_lsp.suggest.pace import Pace
from tabby_lsp.suggest.suggestions import Suggestion, Suggestions
from tabby_lsp.text import Change, Point, split_lines

URI, OTHER = "file:///a.py", "file:///b.py"


def completion(text: str, replace: int = 0) -> Completion:
    candidate = Candidate(text, (0.5,), "end token")
    return Completion(text, replace, "fake", "suffix-first", 10, 0, 1, Timing(), (candidate,))


class FakeEngine:
    """Records what it is asked; a test writes pieces and ends jobs by hand."""

    def __init__(self) -> None:
        self.jobs: list[Job[Completion]] = []
        self.ahead: list[tuple[Job[Completion], CompletionContext]] = []
        self.cancelled: list[int] = []
        self.candidates: list[int] = []
        self.contexts: list[CompletionContext] = []
        self.reads_ahead = False  # in the last request

    def complete(self, request: CompletionRequest) -> Job[Completion]:
        self.candidates.append(request.candidates)
        self.reads_ahead = request.reads_ahead
        id, result = len(self.jobs) + len(self.ahead), asyncio.get_running_loop().create_future()
        job: Job[Completion] = Job(id, COMPLETION, result)
        if request.ahead:
            self.ahead.append((job, request.context))
        else:
            self.jobs.append(job)
            self.contexts.append(request.context)
        return job

    def stop_reading_ahead(self) -> None:
        self.cancelled.append(-1)

    def cancel(self, job: Job[Completion]) -> None:
        self.cancelled.append(job.id)
        job.result.cancel()

    def write(self, text: str, job: int = -1) -> None:
        generation = self.jobs[job]
        generation.text += text
        if generation.on_piece:
            generation.on_piece()


class Desk:
    """An engine, its suggestions, requests as tasks, and two documents with a cursor, drawn as `|`, in the first."""

    def __init__(self, drawing: str = "x = |") -> None:
        self.engine = FakeEngine()
        self.busy: list[bool] = []
        self.suggestions = Suggestions(self.engine, self.busy.append)  # type: ignore[arg-type]
        before, _, after = drawing.partition("|")
        self.documents = {
            uri: Document(uri, "python", 1, "utf-32", split_lines(before + after)) for uri in (URI, OTHER)
        }
        self.cursor = end_of(before)
        self.sampling = Sampling()

    async def ask(
        self,
        place: Point | int | None = None,
        uri: str = URI,
        selected: tuple[str, Point] | None = None,
        anew: bool = False,
        **rest: Any,
    ) -> asyncio.Task[Suggestion | None]:
        """A request at a place, a column of the first line, or the cursor."""
        at = self.cursor if place is None else (0, place) if isinstance(place, int) else place
        context = convert.context_at(self.documents[uri], at, [], selected)
        task = asyncio.create_task(self.suggestions.suggest(uri, at, context, self.sampling, anew, **rest))
        await asyncio.sleep(0)
        return task

    def type(self, column: int, text: str) -> None:
        self.edit((0, column), (0, column), text)

    def edit(self, start: Point, end: Point, text: str, uri: str = URI) -> None:
        change = self.documents[uri].replace(start, end, text)
        self.suggestions.changed(uri, change)

    # --- an editor

    def text(self) -> str:
        return self.documents[URI].text()

    def write(self, text: str, closers: str = "") -> None:
        """Types or accepts a text, with closers that come with it behind the cursor."""
        line, column = self.cursor
        self.edit(self.cursor, self.cursor, text + closers)
        down, right = end_of(text)
        self.cursor = (line + down, right + (column if down == 0 else 0))

    def backspace(self, count: int = 1) -> None:
        line, column = self.cursor
        self.edit((line, column - count), self.cursor, "")
        self.cursor = (line, column - count)

    async def shown(self, place: Point | None = None, uri: str = URI, **rest: Any) -> str:
        """What is shown without asking the engine."""
        jobs = len(self.engine.jobs)
        request = await self.ask(place, uri, **rest)
        assert len(self.engine.jobs) == jobs, "this needs no model"
        assert request.done(), "this needs no waiting"
        suggestion = request.result()
        assert suggestion is not None and suggestion.from_cache
        return suggestion.text

    async def answer(
        self, text: str, replace: int = 0, place: Point | None = None, uri: str = URI, **rest: Any
    ) -> Suggestion:
        """What is shown when the engine is asked, which it must be, and answers with a text."""
        jobs = len(self.engine.jobs)
        request = await self.ask(place, uri, **rest)
        assert len(self.engine.jobs) == jobs + 1, "this needs the model"
        self.engine.jobs[-1].result.set_result(completion(text, replace))
        suggestion = await request
        assert suggestion is not None and not suggestion.from_cache and suggestion.text == text
        return suggestion

    async def unknown(self, place: Point | None = None, uri: str = URI, **rest: Any) -> None:
        """Nothing is known here: the engine is asked. It does not answer."""
        jobs = len(self.engine.jobs)
        request = await self.ask(place, uri, **rest)
        assert len(self.engine.jobs) == jobs + 1, "this needs the model"
        request.cancel()
        await asyncio.wait([request])


def end_of(text: str) -> Point:
    return text.count("\n"), len(text.rpartition("\n")[2])


async def test_an_answer() -> None:
    desk = Desk()
    request = await desk.ask(4)
    desk.engine.jobs[0].result.set_result(completion("foo()", 1))
    answer = await request
    assert answer is not None
    assert (answer.text, answer.replace, answer.from_cache) == ("foo()", 1, False)
    assert desk.busy == [True, False]


async def test_what_is_doubtful_is_not_shown_unasked_and_nothing_is_made_behind_it() -> None:
    desk = Desk()
    desk.suggestions.ahead, desk.suggestions.confidence = True, 0.5
    doubtful = replace(completion("value"), confidence=0.4)
    task = await desk.ask(typing=True)
    desk.engine.jobs[0].result.set_result(doubtful)
    assert (unasked := await task) is not None and unasked.text == ""
    assert desk.engine.ahead == []
    asked = await (await desk.ask())
    assert asked is not None and asked.text == "value" and asked.from_cache
    assert len(desk.engine.ahead) == 1


async def test_a_full_name_is_made_no_longer_one_unless_that_was_on_its_way() -> None:
    for drawing, text, is_shown in (
        ("total = 1\nprint(total|)", "_price", False),
        ("total = 1\nprint(total|)", "(1)", True),
        ("total = 1\nprint(tota|)", "l_price", True),
    ):
        desk = Desk(drawing)
        task = await desk.ask(typing=True)
        desk.engine.jobs[0].result.set_result(completion(text))
        unasked = await task
        assert unasked is not None and (unasked.text, bool(unasked.withheld)) == (
            text if is_shown else "",
            not is_shown,
        )
        asked = await (await desk.ask())
        assert asked is not None and asked.text == text, "who asks gets it"
    line, column = desk.cursor
    desk.edit((line, column), (line, column), "l")
    typed = await (await desk.ask((line, column + 1), typing=True))
    assert typed is not None and typed.text == "_price", "it was there before the name was full"


async def test_other_files_are_looked_into_where_the_model_is_asked_and_nowhere_else() -> None:
    desk, asked = Desk(), []

    async def related() -> tuple[Snippet, ...]:
        asked.append(1)
        return (Snippet("b.py", "y = 1"),)

    task = await desk.ask(related=related)
    await asyncio.sleep(0)
    assert desk.engine.contexts[0].snippets == (Snippet("b.py", "y = 1"),)
    desk.engine.write("12")
    desk.engine.jobs[0].result.set_result(completion("12"))
    assert (suggestion := await task) is not None and suggestion.text == "12"
    again = await (await desk.ask(related=related))
    assert again is not None and again.from_cache and len(asked) == 1


async def test_a_request_that_is_superseded_while_other_files_are_looked_into_asks_nothing() -> None:
    desk, found = Desk(), asyncio.Event()

    async def related() -> tuple[Snippet, ...]:
        await found.wait()
        return ()

    first = await desk.ask(related=related)
    second = await desk.ask()
    found.set()
    await asyncio.sleep(0.01)
    assert await first is None
    assert len(desk.engine.jobs) == 1
    desk.engine.jobs[0].result.set_result(completion("12"))
    assert (await second) is not None


async def test_who_wants_to_choose_is_not_answered_with_the_one_that_is_known() -> None:
    desk = Desk()
    await desk.answer("foo()", candidates=1)
    request = await desk.ask(candidates=3)
    assert desk.engine.candidates == [1, 3]
    several = replace(completion("foo()"), alternatives=(Alternative("bar()", 0), Alternative("far", 0)))
    desk.engine.jobs[-1].result.set_result(several)
    answer = await request
    assert answer is not None and [each.text for each in answer.completion.alternatives] == ["bar()", "far"]
    assert await desk.shown(candidates=3) == await desk.shown() == "foo()"
    desk.write("f")
    assert await desk.shown() == "oo()"
    desk.write("a")
    assert await desk.shown() == "r", "typed through another one than the first"
    desk.backspace(2)
    assert await desk.shown() == "foo()"
    desk.write("b")
    assert await desk.shown() == "ar()"


async def test_a_generation_of_one_text_does_not_serve_who_wants_to_choose() -> None:
    desk = Desk()
    await desk.ask()
    await desk.ask(candidates=2)
    assert desk.engine.candidates == [1, 2] and desk.engine.cancelled == [0]
    await desk.ask(candidates=2)
    assert desk.engine.candidates == [1, 2], "that one is still being written"


async def test_a_wait_before_the_model_is_asked_ends_with_the_next_key() -> None:
    desk = Desk()
    desk.suggestions.pace.fixed = 20
    older = await desk.ask(typing=True)
    desk.write("q")
    newer = await desk.ask(typing=True)
    assert await older is None and not desk.engine.jobs
    while not desk.engine.jobs:
        await asyncio.sleep(0.001)
    await desk.ask(typing=False)
    assert len(desk.engine.jobs) == 1, "the one that is being written serves this one, too"
    assert await newer is None
    desk.engine.write("fo")
    desk.write("f")
    through = await desk.ask(typing=True)
    desk.engine.jobs[0].result.set_result(completion("foo"))
    answer = await through
    assert answer is not None and answer.text == "oo"


async def test_a_failure_is_not_taken_for_a_fast_answer() -> None:
    desk = Desk()
    request = await desk.ask(typing=True)
    desk.engine.jobs[0].result.set_exception(EngineError("gone"))
    with pytest.raises(EngineError):
        await request
    assert not desk.suggestions.pace._waits
    await desk.answer("foo()", typing=True)
    assert len(desk.suggestions.pace._waits) == 1


def test_there_is_no_wait_but_on_slow_machines() -> None:
    pace, now = Pace(), 0.0

    def type_for(keys: int, gap: float, answer: float) -> None:
        nonlocal now
        for _ in range(keys):
            now += gap
            pace.asked(now)
        pace.answered(answer)

    assert pace.delay() == 0, "nothing is known yet"
    for _ in range(8):
        type_for(5, 0.15, 0.3)
        now += 3  # a pause is no gap of a burst
    assert pace.delay() == 0
    for _ in range(16):
        type_for(5, 0.15, 2.0)
        now += 3
    assert pace.delay() == pytest.approx(0.225)
    type_for(5, 0.15, 0.5)
    assert pace.delay() == 0, "the machine has recovered"
    for _ in range(15):
        type_for(5, 0.15, 3.0)
    assert pace.delay() == 0, "these may have been jumps"
    assert Pace(fixed=80).delay() == 0.08 and Pace(fixed=0).delay() == 0


async def test_a_newer_request_answers_the_older_with_nothing_and_stops_it() -> None:
    desk = Desk()
    older, newer = await desk.ask(4), await desk.ask(2)
    assert await older is None
    assert desk.engine.cancelled == [0]
    desk.engine.jobs[1].result.set_result(completion("new"))
    answer = await newer
    assert answer is not None and answer.text == "new"


async def test_another_document_is_not_in_the_way() -> None:
    desk = Desk()
    first, second = await desk.ask(4), await desk.ask(4, uri=OTHER)
    desk.engine.jobs[1].result.set_result(completion("b"))
    desk.engine.jobs[0].result.set_result(completion("a"))
    answers = await asyncio.gather(first, second)
    assert [answer.text for answer in answers if answer] == ["a", "b"]
    assert desk.engine.cancelled == []


async def test_a_change_answers_the_request_and_stops_it() -> None:
    desk = Desk()
    request = await desk.ask(4)
    desk.type(4, "q")
    assert await request is None
    assert desk.engine.cancelled == [0], "nothing was written yet: what it would have been is not known"


async def test_typing_what_is_being_written_lets_it_go_on() -> None:
    desk = Desk()
    older = await desk.ask(4)
    desk.engine.write("fo")
    desk.type(4, "f")
    assert await older is None
    newer = await desk.ask(5)
    assert len(desk.engine.jobs) == 1 and desk.engine.cancelled == []
    desk.engine.write("o()")
    desk.engine.jobs[0].result.set_result(completion("foo()"))
    answer = await newer
    assert answer is not None
    assert (answer.text, answer.from_cache) == ("oo()", True)


async def test_typing_ahead_of_what_is_written_waits_for_it() -> None:
    desk = Desk()
    await desk.ask(4)
    desk.engine.write("f")
    desk.type(4, "foo")
    assert desk.engine.cancelled == []
    desk.engine.write("oo")
    assert desk.engine.cancelled == []
    desk.engine.write("_")
    request = await desk.ask(7)
    desk.engine.jobs[0].result.set_result(completion("foo_bar"))
    answer = await request
    assert answer is not None and answer.text == "_bar"


async def test_typing_ahead_stops_it_when_it_writes_something_else() -> None:
    desk = Desk()
    await desk.ask(4)
    desk.engine.write("f")
    desk.type(4, "foo")
    desk.engine.write("ill")
    assert desk.engine.cancelled == [0]


async def test_who_waits_ahead_of_what_is_written_gets_an_answer_when_it_writes_something_else() -> None:
    desk = Desk()
    await desk.ask(4)
    desk.engine.write("f")
    desk.type(4, "foo")
    request = await desk.ask(7)
    desk.engine.write("ill")
    while len(desk.engine.jobs) < 2:
        await asyncio.sleep(0)
    desk.engine.jobs[1].result.set_result(completion("()"))
    answer = await request
    assert answer is not None and (answer.text, answer.from_cache) == ("()", False)


async def test_backspacing_into_what_is_being_written_lets_it_go_on() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("fo")
    desk.write("fo")
    desk.backspace()
    request = await desk.ask()
    desk.engine.write("o()")
    desk.engine.jobs[0].result.set_result(completion("foo()"))
    answer = await request
    assert answer is not None and answer.text == "oo()"
    assert len(desk.engine.jobs) == 1 and desk.engine.cancelled == []


async def test_a_newline_lets_it_go_on_as_well() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("[\n    1,")
    desk.write("[", "]")
    desk.write("\n    ")
    await desk.ask()
    desk.write("1")
    await desk.ask()
    assert len(desk.engine.jobs) == 1 and desk.engine.cancelled == []


async def test_backspacing_between_brackets_lets_it_go_on() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("foo(ab")
    desk.write("foo(", ")")
    desk.write("a")
    await desk.ask()
    desk.backspace()
    await desk.ask()
    assert len(desk.engine.jobs) == 1 and desk.engine.cancelled == []


async def test_asking_again_where_nothing_was_typed_goes_on_reading_the_prompt() -> None:
    desk = Desk()
    older, newer = await desk.ask(), await desk.ask()
    assert await older is None
    desk.engine.jobs[0].result.set_result(completion("foo"))
    answer = await newer
    assert answer is not None and answer.text == "foo"
    assert len(desk.engine.jobs) == 1


@pytest.mark.parametrize("changes", [["()"], ["(", ")"]])
async def test_a_bracket_that_the_editor_closes_lets_it_go_on(changes: list[str]) -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("foo(a")
    desk.write("foo")
    for column, text in enumerate(changes, start=7):
        desk.type(column, text)
    desk.cursor = (0, 8)
    request = await desk.ask()
    desk.engine.write(", b)")
    desk.write("a")
    assert await request is None
    request = await desk.ask()
    desk.engine.jobs[0].result.set_result(completion("foo(a, b)"))
    answer = await request
    assert answer is not None and (answer.text, answer.replace) == (", b)", 1)
    assert len(desk.engine.jobs) == 1 and desk.engine.cancelled == []


async def test_a_bracket_that_is_typed_is_no_agreement() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("foo(a")
    desk.write("foo(", ")")
    desk.cursor = (0, 9)
    await desk.unknown()
    assert desk.engine.cancelled[0] == 0
    desk = Desk()
    await desk.ask()
    desk.engine.write("foo")
    desk.write(")")
    assert desk.engine.cancelled == [0], "nothing was opened that an editor could have closed"


async def test_words_right_of_the_cursor_are_no_agreement() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("foo, bar")
    desk.write("foo, ")
    await desk.unknown((0, 7))
    assert desk.engine.cancelled[0] == 0


async def test_typing_something_else_stops_it() -> None:
    desk = Desk()
    await desk.ask(4)
    desk.engine.write("foo")
    desk.type(4, "g")
    assert desk.engine.cancelled == [0]


async def test_typing_through_a_finished_suggestion_needs_no_model() -> None:
    desk = Desk("g(|)")
    await desk.answer("foo(\n    a,\n))", 1)
    for column, character, rest in ((2, "f", "oo(\n    a,\n))"), (3, "o", "o(\n    a,\n))")):
        desk.type(column, character)
        answer = await (await desk.ask(column + 1))
        assert answer is not None
        assert (answer.text, answer.replace, answer.from_cache) == (rest, 1, True)
    assert len(desk.engine.jobs) == 1


async def test_a_newline_is_typed_through_as_well() -> None:
    desk = Desk("x = |\r\n")
    await desk.answer("[\n    1,\n]")
    desk.write("[")
    desk.edit((0, 5), (0, 5), "\r\n    ")
    assert await desk.shown((1, 4)) == "1,\n]"


async def test_the_end_of_a_suggestion_begins_a_new_one() -> None:
    desk = Desk()
    request = await desk.ask(4)
    desk.engine.jobs[0].result.set_result(completion("foo"))
    await request
    desk.type(4, "foo")
    request = await desk.ask(7)
    while len(desk.engine.jobs) < 2:
        await asyncio.sleep(0)
    desk.engine.jobs[1].result.set_result(completion("()"))
    answer = await request
    assert answer is not None and answer.text == "()"


async def test_a_followed_generation_that_is_filtered_away_is_asked_again() -> None:
    desk = Desk()
    await desk.ask(4)
    desk.engine.write("fo")
    desk.type(4, "f")
    request = await desk.ask(5)
    desk.engine.jobs[0].result.set_result(completion(""))
    while len(desk.engine.jobs) < 2:
        await asyncio.sleep(0)
    desk.engine.jobs[1].result.set_result(completion("oo"))
    answer = await request
    assert answer is not None and (answer.text, answer.from_cache) == ("oo", False)


@pytest.mark.parametrize(
    "change",
    [
        Change((0, 2), (0, 2), "f"),
        Change((0, 4), (0, 5), "f"),
        Change((3, 0), (3, 0), "f"),
        Change((0, 3), (0, 4), ""),
    ],
)
async def test_a_change_elsewhere_ends_a_generation(change: Change) -> None:
    desk = Desk()
    await desk.ask(4)
    desk.engine.write("foo")
    desk.suggestions.changed(URI, change)
    assert desk.engine.cancelled == [0]


async def test_another_item_of_the_menu_needs_another_generation() -> None:
    desk = Desk("i|")
    request = await desk.ask(selected=("import", (0, 0)))
    desk.engine.write(" os")
    other = await desk.ask(selected=("if", (0, 0)))
    assert await request is None
    assert len(desk.engine.jobs) == 2 and desk.engine.cancelled == [0]
    desk.engine.jobs[1].result.set_result(completion(" x:"))
    assert await other is not None
    await desk.unknown(selected=("import", (0, 0)))


async def test_a_cancelled_request_stops_its_generation() -> None:
    desk = Desk()
    request = await desk.ask(4)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert desk.engine.cancelled == [0]
    assert desk.busy[-1] is False


async def test_a_late_cancel_of_an_older_request_leaves_the_newer_alone() -> None:
    desk = Desk()
    older = await desk.ask(4)
    desk.engine.write("foo")
    desk.type(4, "f")
    newer = await desk.ask(5)
    older.cancel()
    await asyncio.sleep(0)
    assert desk.engine.cancelled == []
    desk.engine.jobs[0].result.set_result(completion("foo"))
    answer = await newer
    assert answer is not None and answer.text == "oo"


async def test_an_engine_that_fails_says_so_to_the_one_who_asked() -> None:
    desk = Desk()
    request = await desk.ask(4)
    desk.engine.jobs[0].result.set_exception(EngineError("it died"))
    with pytest.raises(EngineError, match="it died"):
        await request
    again = await desk.ask(4)
    assert len(desk.engine.jobs) == 2, "a failure is not an answer to keep"
    desk.engine.jobs[1].result.set_result(completion("x"))
    answer: Any = await again
    assert answer.text == "x"


async def test_a_closed_document_leaves_nothing_behind() -> None:
    desk = Desk()
    request = await desk.ask(4)
    desk.suggestions.closed(URI)
    assert await request is None
    assert desk.engine.cancelled == [0, -1], "nor is anything read ahead for it"
    assert not desk.suggestions._live and not desk.suggestions._waiting


# --- answers that need no model


async def test_type_backspace_type() -> None:
    desk = Desk()
    await desk.answer("foo()")
    desk.write("f")
    assert await desk.shown() == "oo()"
    desk.backspace()
    assert await desk.shown() == "foo()"
    desk.write("x")
    await desk.answer("yz")
    desk.backspace()
    assert await desk.shown() == "foo()", "an earlier one"
    desk.write("x")
    assert await desk.shown() == "yz"
    desk.write("y")
    assert await desk.shown() == "z"
    desk.backspace(2)
    desk.write("foo(")
    assert await desk.shown() == ")"


async def test_accepting_word_by_word_shows_all_of_the_rest() -> None:
    desk = Desk("class A:\n    def f(self):|\n\n    x = 1\n")
    parts = [
        "\n        return",
        " Foo",
        "(",
        "\n            self",
        ".a",
        ",\n",
        "            self.b,",
        "\n        ",
        ")",
    ]
    await desk.answer("".join(parts))
    for i, part in enumerate(parts[:-1], start=1):
        desk.write(part)
        assert await desk.shown() == "".join(parts[i:])
    desk.write(parts[-1])
    await desk.unknown()


async def test_accepting_line_by_line_and_undoing_it_again() -> None:
    desk = Desk("def f(x):|\n\n\ny = 1\n")
    await desk.answer("\n    if x:\n        return 1\n    return 2")
    desk.write("\n    if x:")
    assert await desk.shown() == "\n        return 1\n    return 2"
    desk.write("\n        return 1")
    assert await desk.shown() == "\n    return 2"
    desk.edit((1, 9), desk.cursor, "")
    assert await desk.shown((1, 9)) == "\n        return 1\n    return 2"
    desk.edit((0, 9), (1, 9), "")
    assert await desk.shown((0, 9)) == "\n    if x:\n        return 1\n    return 2"


async def test_undoing_something_else() -> None:
    desk = Desk("a = 1\nx = |\n")
    await desk.answer("foo")
    desk.edit((0, 4), (0, 5), "2")
    desk.write("bar")
    await desk.unknown()
    desk.backspace(3)
    await desk.unknown()
    desk.edit((0, 4), (0, 5), "1")
    assert await desk.shown() == "foo"


async def test_returning_to_a_place() -> None:
    desk = Desk("import os\nx = |\n\n\ny = \n")
    await desk.answer("foo(1)")
    await desk.answer("bar", place=(4, 4))
    assert await desk.shown() == "foo(1)"
    assert await desk.shown((4, 4)) == "bar"


async def test_an_edit_of_another_document_is_not_in_the_way() -> None:
    desk = Desk()
    await desk.answer("foo")
    desk.edit((0, 0), (0, 0), "import os\n", uri=OTHER)
    await desk.answer("bar", place=(1, 4), uri=OTHER)
    assert await desk.shown() == "foo"


async def test_another_document_with_the_same_text_has_other_answers() -> None:
    desk = Desk()
    await desk.answer("foo")
    await desk.unknown(uri=OTHER)


FAR_ABOVE, FAR_BELOW = "a = 1\n" * answers.ABOVE, "\nb = 2" * answers.BELOW


async def test_an_edit_far_away_is_not_in_the_way() -> None:
    desk = Desk(f"{FAR_ABOVE}x = |{FAR_BELOW}\n")
    await desk.answer("foo(\n    1,\n)")
    line, column = desk.cursor
    desk.edit((line + answers.BELOW, 0), (line + answers.BELOW, 0), "new\n")
    assert await desk.shown() == "foo(\n    1,\n)"
    desk.edit((0, 0), (0, 0), "import os\n" * 3)
    desk.cursor = (line + 3, column)
    assert await desk.shown() == "foo(\n    1,\n)"
    desk.write("foo(\n   ")
    assert await desk.shown() == " 1,\n)"


@pytest.mark.parametrize("line", [-1, -answers.ABOVE // 7, 1, answers.BELOW // 7])
async def test_an_edit_that_is_near_needs_another_answer(line: int) -> None:
    desk = Desk(f"{FAR_ABOVE}x = |{FAR_BELOW}\n")
    await desk.answer("foo")
    at = desk.cursor[0] + line
    desk.edit((at, 0), (at, 1), "c")
    await desk.unknown()
    desk.edit((at, 0), (at, 1), "a" if line < 0 else "b")
    assert await desk.shown() == "foo"


async def test_a_line_more_at_the_top_of_a_short_document_needs_another_answer() -> None:
    desk = Desk("y = 1\nx = |")
    await desk.answer("foo")
    desk.edit((0, 0), (0, 0), "\n")
    await desk.unknown((2, 4))


async def test_words_right_of_the_cursor_need_another_answer() -> None:
    desk = Desk("f(|)\n")
    await desk.answer("a)", 1)
    desk.type(2, ", b")
    await desk.unknown()


async def test_other_sampling_and_another_language_need_another_answer() -> None:
    desk = Desk()
    await desk.answer("foo")
    desk.sampling = Sampling(max_tokens=8)
    await desk.unknown()
    desk.sampling = Sampling()
    desk.documents[URI].language_id = "ruby"
    await desk.unknown()


async def test_nothing_worth_showing_is_remembered() -> None:
    desk = Desk()
    await desk.answer("")
    assert await desk.shown() == ""
    desk.write("f")
    await desk.answer("oo")
    desk.backspace()
    assert await desk.shown() == ""
    desk.type(4, ")")
    await desk.unknown()


async def test_blanks_that_are_left_are_nothing_to_show() -> None:
    desk = Desk()
    request = await desk.ask()
    desk.engine.jobs[0].result.set_result(completion(" \n "))
    answer = await request
    assert answer is not None and answer.text == ""
    assert await desk.shown() == ""
    desk = Desk()
    await desk.answer("foo \n  ")
    desk.write("foo")
    await desk.unknown()


async def test_what_is_cut_off_is_the_start_and_nothing_is_filtered_again() -> None:
    desk = Desk("if x:|\n    return 1\n")
    text = "\n    y()\n    return 1\n  "  # no filter would have left this
    await desk.answer(text)
    desk.write("\n    y()")
    assert await desk.shown() == "\n    return 1\n  "


async def test_a_generation_that_ends_when_nobody_waits_is_an_answer() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("fo")
    desk.write("f")
    desk.engine.jobs[0].result.set_result(completion("foo()"))
    assert await desk.shown() == "oo()"
    desk.write("x")
    await desk.unknown()
    desk.backspace(2)
    assert await desk.shown() == "foo()"


async def test_a_generation_that_ends_just_before_a_change_is_an_answer() -> None:
    desk = Desk()
    request = await desk.ask()
    desk.engine.jobs[0].result.set_result(completion("foo()"))
    desk.write("x")
    desk.backspace()
    assert await request is None
    assert await desk.shown() == "foo()"


async def test_a_generation_that_fails_when_nobody_waits_is_none() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("fo")
    desk.write("f")
    desk.engine.jobs[0].result.set_exception(EngineError("it died"))
    desk.write("o")
    await desk.answer("bar")


async def test_a_generation_that_was_stopped_is_none() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("fo")
    desk.write("x")
    desk.backspace()
    await desk.unknown()


async def test_what_is_known_stops_a_generation_that_runs() -> None:
    desk = Desk("x = |\ny = \n")
    await desk.answer("foo")
    request = await desk.ask((1, 4))
    assert await desk.shown() == "foo"
    assert await request is None
    assert desk.engine.cancelled == [1]
    assert desk.busy[-1] is False


async def test_the_answer_made_nearest_to_the_cursor_comes_first() -> None:
    desk = Desk()
    await desk.answer("foo(1)")
    desk.write("foo(")
    await desk.answer("2)", anew=True)
    assert await desk.shown() == "2)"
    desk.backspace()
    assert await desk.shown() == "(1)"


async def test_the_menus_item_may_be_typed_on() -> None:
    desk = Desk("i|")
    await desk.answer(" os", selected=("import", (0, 0)))
    desk.write("m")
    assert await desk.shown(selected=("import", (0, 0))) == " os"
    desk.write("port")
    assert await desk.shown() == " os"


async def test_asking_anew_asks_the_model_and_the_newest_answer_stays() -> None:
    desk = Desk()
    await desk.answer("foo")
    await desk.answer("bar", anew=True)
    assert await desk.shown() == "bar"


async def test_asking_anew_while_it_is_written_is_asking_once() -> None:
    desk = Desk()
    await desk.ask()
    desk.engine.write("f")
    request = await desk.ask(anew=True)
    desk.engine.jobs[0].result.set_result(completion("foo"))
    answer = await request
    assert answer is not None and answer.text == "foo"
    assert len(desk.engine.jobs) == 1


async def test_another_engine_or_other_settings_forget_everything() -> None:
    desk = Desk("x = |\ny = \n")
    for forget in (desk.suggestions.reset, lambda: desk.suggestions.use(desk.engine)):  # type: ignore[arg-type]
        await desk.answer("foo")
        request = await desk.ask((1, 4))
        desk.engine.jobs[-1].result.set_result(completion("of the old engine"))
        forget()
        assert await request is None
        await desk.unknown()
        await desk.unknown((1, 4))


async def test_a_document_that_is_opened_again_has_its_answers() -> None:
    desk = Desk()
    await desk.answer("foo")
    desk.suggestions.closed(URI)
    assert await desk.shown() == "foo"


# --- closers that editors write


def accepted(desk: Desk, suggestion: Suggestion | Completion) -> str:
    """The document as it is after a suggestion was accepted."""
    line, column = desk.cursor
    document = Document(URI, "python", 1, "utf-32", list(desk.documents[URI].lines))
    document.replace((line, column), (line, column + suggestion.replace), suggestion.text)
    return document.text()


@pytest.mark.parametrize("pairs", ["", "()", "()[]{}", '()[]{}""', "()[]{}\"\"''"])
@pytest.mark.parametrize("types_over", [True, False])
@pytest.mark.parametrize(
    "drawing, text",
    [
        ("x = |\n", "foo(a, [b(c)])"),
        ("x = |\n", 'foo("a", bar("b)"))  # (done)'),
        ("x = |\n", 'print("don\'t (stop)", end="")'),
        ("print(|)\n", "f(x)"),
        ("print(|)\n", "f(x))"),
        ("print(|)\n", "f(x), g(y)) + h(z)"),
        ("print(f(|))\n", "x))"),
        ("print(f(|))\n", "x)"),
        ('print("|")\n', 'do (stop)", end="")'),
        ('print("|")\n', "hello"),
        ('print("|")\n', 'a) b")'),
        ('print("|")\n', "it's (so)\")"),
        ('print("|")\n', 'don\'t", file=log("it\'s"))'),
        ("x = f\"{d['|']}\"\n", "key']}\""),
        ("foo(|)\n", "f'{a(b)}' + c[d])"),
        ("foo(|  )\n", "a[0])"),
        ("foo(|);\n", "a(b));"),
        ("x = | + bar\n", "foo(1)"),
        ("x = [|]\n", "{'a': (1, 2)}, {}]"),
        ("x = |\n", "print(\"don't (it's)\")"),
        ("foo(|)\n", "':)', a)"),
    ],
)
async def test_typing_with_pairs_always_leads_to_the_same_text(
    drawing: str, text: str, types_over: bool, pairs: str
) -> None:
    """In an editor that closes the pairs it knows: at each key the rest, accepted, is what the whole was."""
    desk = Desk(drawing)
    document = desk.documents[URI]
    context = convert.context_at(document, desk.cursor, [])
    whole = completion(text, overtyped(text, context))
    known, meant, shown = Answers(), accepted(desk, whole), 0
    known.remember(URI, context, desk.sampling, whole)
    closed: list[str] = []  # what the editor has written by itself and not yet typed over
    around = context.line_suffix[:1].strip(")]}; ")  # the quote of a string that is typed into
    for typed, character in enumerate(text[:-1], start=1):
        line, column = desk.cursor
        if types_over and character in ")]}\"'" and document.lines[line][column] == character:
            desk.cursor = (line, column + 1)
            if closed and character == closed[-1]:
                closed.pop()
            elif character == around:
                around = ""
        elif character in pairs[::2] and not (closed and closed[-1] in "\"'") and not (around and character in "\"'"):
            closed.append(pairs[pairs.index(character) + 1])
            desk.write(character, closed[-1])
        else:
            desk.write(character)
        found = known.find(URI, convert.context_at(document, desk.cursor, []), desk.sampling)
        if found is not None:
            shown += 1
            assert found.text == text[typed:]
            assert accepted(desk, found) == meant
            replaced = document.lines[desk.cursor[0]][desk.cursor[1] :][: found.replace]
            assert all(each in found.text for each in replaced.replace(" ", "")), "what goes is written again"
    closers = [i for i, each in enumerate(text) if each in ")]}\"'"]
    assert shown >= (len(text) - 1 if types_over else min(closers, default=len(text) - 1))


async def test_a_bracket_in_a_string_that_is_never_closed() -> None:
    desk = Desk("|\n")
    await desk.answer("f('[', [a])")
    desk.write("f(", ")")
    desk.write("'[', ")
    assert await desk.shown() == "[a])"
    desk.write("[", "]")
    assert await desk.shown() == "a])"


async def test_a_closer_that_is_deleted_needs_another_answer_unless_the_suggestion_wrote_it() -> None:
    desk = Desk("print(|)\n")
    await desk.answer("f(x)")
    desk.edit((0, 6), (0, 7), "")
    await desk.answer("f(x))")
    desk.edit((0, 6), (0, 6), "]")
    await desk.unknown()
    desk.edit((0, 6), (0, 7), ")")
    assert await desk.shown() == "f(x)", "made for this very place"
    desk.edit((0, 6), (0, 7), "")
    desk.write("f(")
    assert await desk.shown() == "x))"


async def test_an_answer_with_other_closers_behind_it_comes_second() -> None:
    desk = Desk("f(|\n")
    await desk.answer("a)")
    desk.type(2, ")")
    assert await desk.shown() == "a)"
    await desk.answer("b)", 1, anew=True)
    assert await desk.shown() == "b)"
    desk.edit((0, 2), (0, 3), "")
    assert await desk.shown() == "a)"


@pytest.mark.parametrize("text", ["g(f(x),", "g(':)',"])
async def test_a_closer_is_lost_neither(text: str) -> None:
    desk = Desk()
    await desk.answer(text)  # the model was cut short, or goes on below
    desk.write("g(", ")")
    await desk.unknown()


async def test_a_closer_that_the_editor_did_not_type_over_is_not_taken_away() -> None:
    desk = Desk("foo(|)\n")
    await desk.answer("a)  # done", 1)
    desk.write("a)")
    await desk.unknown()


async def test_a_closer_that_the_editor_moved_to_a_line_of_its_own() -> None:
    desk = Desk("x = |\n")
    await desk.answer("foo(\n    a,\n)")
    desk.write("foo(", ")")
    assert await desk.shown() == "\n    a,\n)"
    desk.write("\n    ", "\n")
    assert desk.text() == "x = foo(\n    \n)\n"
    await desk.unknown()


async def test_typing_a_closer_that_was_not_suggested() -> None:
    desk = Desk("x = |\n")
    await desk.answer("foo(a)")
    desk.write("foo()")
    await desk.unknown()


async def test_a_bracket_in_a_string_closes_nothing_behind_it() -> None:
    desk = Desk('print("|")\n')
    await desk.answer(':( he said")', replace=2)
    for character, rest in ((":", '( he said")'), ("(", ' he said")')):
        desk.write(character)
        assert await desk.shown() == rest


async def test_an_item_that_extends_the_menus_ends_where_the_editor_ends_the_string() -> None:
    desk = Desk("|\n")
    await desk.answer('print("don\'t")')
    desk.write('print("do', '")')
    selected = ("do", (0, 7))
    suggestion = await (await desk.ask(selected=selected))
    assert suggestion is not None and (suggestion.text, suggestion.replace) == ("n't\")", 2)
    items = convert.inline_list(convert.Asked(desk.documents[URI], desk.cursor, selected), suggestion)
    assert items is not None and [each.insert_text for each in items.items] == ["don't"]


async def test_the_menus_item_cannot_replace_what_is_right_of_the_cursor() -> None:
    desk = Desk("|\n")
    await desk.answer("tell(`Yes,\nit's so`)")
    desk.write("tell(`Yes,\nit", "`)")
    selected = ("it", (1, 0))
    suggestion = await (await desk.ask(selected=selected))
    assert suggestion is not None and (suggestion.text, suggestion.replace) == ("'s so`)", 2)
    items = convert.inline_list(convert.Asked(desk.documents[URI], desk.cursor, selected), suggestion)
    assert items is not None and not items.items, "the closers would be there twice"


# --- room


def remember(known: Answers, *lines: str, text: str = "foo") -> None:
    for line in lines:
        known.remember(URI, CompletionContext(line), Sampling(), completion(text))


def knows(known: Answers, line: str) -> bool:
    return known.find(URI, CompletionContext(line), Sampling()) is not None


def test_answers_are_bounded_in_number_and_the_least_recently_used_goes_first() -> None:
    known = Answers(entries=3)
    remember(known, "a = ", "b = ", "c = ")
    assert knows(known, "a = f")
    remember(known, "a = ", "d = ")
    assert [knows(known, line) for line in ("a = ", "b = ", "c = ", "d = ")] == [True, False, True, True]
    assert knows(known, "a = ")
    remember(known, "e = ", "f = ")
    assert [knows(known, line) for line in ("a = ", "c = ", "d = ", "e = ", "f = ")] == [True, False, False, True, True]


def test_answers_are_bounded_in_bytes() -> None:
    known = Answers(size=100_000)
    remember(known, "a = ", "b = ", "c = ", text="x" * 20_000)  # each twice: the text and the candidate's
    assert [knows(known, line) for line in ("a = ", "b = ", "c = ")] == [False, True, True]
    remember(known, "c = " + "y" * 70_000)
    assert not knows(known, "b = ")
    for _ in range(10):
        remember(known, "d = ")
    assert knows(known, "c = " + "y" * 70_000), "the same one again takes no more room"
    remember(known, "e = ", text="x" * 200_000)
    assert not known._weights and not known._lines and known._weight == 0, "nothing is left behind"


def test_answers_of_several_lines_are_found_in_long_texts() -> None:
    known = Answers()
    above = "".join(f"line {i}\n" for i in range(2_000))
    lines = [f"    call_{i}(x)" for i in range(60)]
    known.remember(URI, CompletionContext(above + "def f():"), Sampling(), completion("\n" + "\n".join(lines)))
    typed = "\n" + "\n".join(lines[:50]) + "\n    ca"
    found = known.find(URI, CompletionContext(above + "def f():" + typed), Sampling())
    assert found is not None and found.text == "\n".join(lines[50:])[6:]
    assert knows(known, "def f():") is False


# --- ahead of the request


def desk_ahead(drawing: str) -> Desk:
    desk = Desk(drawing)
    desk.suggestions.ahead = True
    return desk


async def test_what_follows_an_accepted_suggestion_needs_no_waiting() -> None:
    desk = desk_ahead("def f(x):\n    return |)\nf(1)\n")
    await desk.answer("g(x)", replace=1)
    ((made, context),) = desk.engine.ahead
    assert context.prefix == "def f(x):\n    return g(x)" and context.line_suffix == ""
    made.result.set_result(completion("\n\n\nprint(f(2))"))
    await asyncio.sleep(0)
    desk.edit(desk.cursor, (desk.cursor[0], desk.cursor[1] + 1), "")
    desk.write("g(x)")
    assert await desk.shown() == "\n\n\nprint(f(2))"
    assert len(desk.engine.ahead) == 2, "and what follows that one is made ahead"


async def test_one_piece_of_work_is_done_ahead_and_no_more() -> None:
    desk = desk_ahead("a|")
    await desk.answer("bcd")
    for text in ("b", "c"):
        desk.write(text)
        await desk.shown()
    ((made, context),) = desk.engine.ahead
    assert context.prefix == "abcd"
    made.result.set_result(completion("e"))
    await asyncio.sleep(0)
    desk.backspace()
    assert await desk.shown() == "cd"
    assert len(desk.engine.ahead) == 1, "it is known"


async def test_a_request_ends_what_is_made_ahead() -> None:
    desk = desk_ahead("a|")
    await desk.answer("bcd")
    ((made, _),) = desk.engine.ahead
    desk.write("x")
    request = await desk.ask()
    assert made.result.cancelled() and made.id in desk.engine.cancelled
    desk.engine.jobs[-1].result.set_result(completion(""))
    await request
    assert len(desk.engine.ahead) == 1, "nothing follows nothing"


async def test_what_the_engine_drops_or_cannot_do_is_no_answer() -> None:
    desk = desk_ahead("a|")
    await desk.answer("bcd")
    desk.engine.ahead[0][0].result.cancel()
    await asyncio.sleep(0)
    desk.write("bcd")
    await desk.answer("e")
    desk.engine.ahead[1][0].result.set_exception(EngineError("gone"))
    await asyncio.sleep(0)
    desk.write("e")
    await desk.answer("f")


async def test_nothing_is_made_ahead_where_that_is_switched_off_or_another_waits() -> None:
    desk = Desk("a|")
    await desk.answer("bcd")
    assert desk.engine.ahead == [] and not desk.engine.reads_ahead
    desk.suggestions.ahead = True
    waiting = await desk.ask((0, 0), OTHER)
    assert desk.engine.reads_ahead
    desk.write("b")
    await desk.shown()
    assert desk.engine.ahead == []
    waiting.cancel()


async def test_other_settings_end_what_is_made_ahead() -> None:
    desk = desk_ahead("a|")
    await desk.answer("bcd")
    desk.suggestions.reset()
    assert desk.engine.ahead[0][0].result.cancelled()
