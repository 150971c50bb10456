"""Which generation serves which request, with an engine that writes only what it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tabby_lsp.data import Candidate, Completion, CompletionContext, Sampling, Timing
from tabby_lsp.engine.client import EngineError, Generation
from tabby_lsp.lsp.documents import Change
from tabby_lsp.lsp.suggestions import Suggestion, Suggestions

URI = "file:///a.py"
CONTEXT = CompletionContext("x = ")


def completion(text: str, replace: int = 0) -> Completion:
    candidate = Candidate(text, (0.5,), "end token")
    return Completion(text, replace, "fake", "suffix-first", 10, 0, 1, Timing(), (candidate,))


class FakeEngine:
    """Records what it is asked; a test writes pieces and ends jobs by hand."""

    def __init__(self) -> None:
        self.jobs: list[Generation] = []
        self.cancelled: list[int] = []

    def generate(self, document: str, context: CompletionContext, sampling: Sampling) -> Generation:
        job = Generation(len(self.jobs), asyncio.get_running_loop().create_future())
        self.jobs.append(job)
        return job

    def cancel(self, job: Generation) -> None:
        self.cancelled.append(job.id)
        job.result.cancel()

    def write(self, text: str, job: int = -1) -> None:
        generation = self.jobs[job]
        generation.text += text
        if generation.on_piece:
            generation.on_piece()


class Desk:
    """An engine, its suggestions, and requests as tasks."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.busy: list[bool] = []
        self.suggestions = Suggestions(self.engine, self.busy.append)  # type: ignore[arg-type]

    async def ask(self, column: int, key: object = None, uri: str = URI) -> asyncio.Task[Suggestion | None]:
        task = asyncio.create_task(self.suggestions.suggest(uri, (0, column), CONTEXT, Sampling(), key))
        await asyncio.sleep(0)
        return task

    def type(self, column: int, text: str) -> None:
        self.suggestions.changed(URI, Change((0, column), (0, column), text))


async def test_an_answer() -> None:
    desk = Desk()
    request = await desk.ask(4)
    desk.engine.jobs[0].result.set_result(completion("foo()", 1))
    answer = await request
    assert answer is not None
    assert (answer.text, answer.replace, answer.from_cache) == ("foo()", 1, False)
    assert desk.busy == [True, False]


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
    first, second = await desk.ask(4), await desk.ask(4, uri="file:///b.py")
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


async def test_typing_something_else_stops_it() -> None:
    desk = Desk()
    await desk.ask(4)
    desk.engine.write("foo")
    desk.type(4, "g")
    assert desk.engine.cancelled == [0]


async def test_typing_through_a_finished_suggestion_needs_no_model() -> None:
    desk = Desk()
    request = await desk.ask(4)
    desk.engine.jobs[0].result.set_result(completion("foo(\n    a,\n)", 1))
    await request
    for column, character, rest in ((4, "f", "oo(\n    a,\n)"), (5, "o", "o(\n    a,\n)")):
        desk.type(column, character)
        answer = await (await desk.ask(column + 1))
        assert answer is not None
        assert (answer.text, answer.replace, answer.from_cache) == (rest, 1, True)
    assert len(desk.engine.jobs) == 1


async def test_a_newline_is_typed_through_as_well() -> None:
    desk = Desk()
    request = await desk.ask(4)
    desk.engine.jobs[0].result.set_result(completion("[\n    1,\n]"))
    await request
    desk.type(4, "[")
    desk.suggestions.changed(URI, Change((0, 5), (0, 5), "\r\n    "))
    place = (1, 4)
    answer = await desk.suggestions.suggest(URI, place, CONTEXT, Sampling())
    assert answer is not None and answer.text == "1,\n]"


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
        Change((0, 4), (0, 4), ""),
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
    desk = Desk()
    request = await desk.ask(4, key="import")
    desk.engine.jobs[0].result.set_result(completion("foo"))
    await request
    await desk.ask(4, key="from")
    assert len(desk.engine.jobs) == 2


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
    desk.suggestions.forget(URI)
    assert await request is None
    assert desk.engine.cancelled == [0]
    assert not desk.suggestions._live and not desk.suggestions._waiting
