"""The engine on the real model: what is reused, what a cancel leaves behind, which models are refused and how."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import itertools
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
from alone import Alone, Stopped
from conftest import MODEL
from editor import gone

from tabby_lsp import __version__
from tabby_lsp.completion import pipeline
from tabby_lsp.completion.layout import choose_layout
from tabby_lsp.completion.pipeline import Token
from tabby_lsp.completion.prompt import build
from tabby_lsp.data import (
    Completion,
    CompletionContext,
    CompletionRequest,
    CompletionSettings,
    ModelInfo,
    ModelSettings,
    Sampling,
    Segment,
    Snippet,
)
from tabby_lsp.engine import messages
from tabby_lsp.engine import model as model_module
from tabby_lsp.engine.client import STEP_TOKENS, Engine, EngineError, EngineState
from tabby_lsp.engine.decode import choose
from tabby_lsp.engine.draft import LONGEST_DRAFT, Draft, Speculation, look_up
from tabby_lsp.engine.messages import Cancelled, Complete, Completed, Message, Piece, Refused, Write, Written
from tabby_lsp.engine.model import SMALLEST_BATCH, Model
from tabby_lsp.engine.scheduler import AHEAD, BACKGROUND, CHAT, COMPLETION, NOTHING, Scheduler
from tabby_lsp.engine.slots import common_prefix
from tabby_lsp.engine.threads import RETRY_SECONDS, TRIALS, Threads
from tabby_lsp.engine.watch import Watch
from tabby_lsp.engine.work import PLAIN_KERNELS, Worker, quick_budget
from tabby_lsp.processes import child, wire
from tabby_lsp.processes.start import python

SETTINGS = ModelSettings(str(MODEL), threads=1, context_size=1024)
COMPLETING = CompletionSettings(max_prompt_tokens=800)
TEXT = Path(asyncio.__file__).with_name("queues.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shared() -> Model:
    return Model(SETTINGS)


@pytest.fixture
def writer(shared: Model) -> Alone:
    return Alone(shared)


def write(writer: Alone, prompt: list[int], count: int = 24) -> list[Token]:
    writer.prefill(prompt)
    return list(writer.decode(Sampling(count)))


def logits(writer: Alone, prompt: list[int]) -> npt.NDArray[np.float32]:
    writer.prefill(prompt)
    slot = writer._writer._slot
    assert slot and slot.tokens == prompt and slot.logits is not None
    return slot.logits.copy()


def same(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> bool:
    """Equal but for the rounding of batches of another size, which is under 0.1 here; another text's are far off."""
    return bool(np.abs(left - right).max() < 0.3)


def ids(tokens: list[Token]) -> list[int]:
    return [token.id for token in tokens]


# --- the KV cache


def test_a_prompt_is_read_from_where_it_differs(writer: Alone) -> None:
    tokens = writer.vocabulary.tokenize(TEXT)[:300]
    first = writer.prefill(tokens)
    assert (first.evaluated, first.reused) == (300, 0)
    again = writer.prefill(tokens)
    assert (again.evaluated, again.reused) == (0, 300), "its logits are still known"
    shorter = writer.prefill(tokens[:250])
    assert (shorter.evaluated, shorter.reused) == (1, 249), "the last token is evaluated for its logits"
    longer = writer.prefill([*tokens, 5, 6])
    assert (longer.evaluated, longer.reused) == (52, 250)
    changed = writer.prefill([*tokens[:200], 7, *tokens[201:]])
    assert (changed.evaluated, changed.reused) == (100, 200)
    assert writer.unread([*tokens[:200], 7, 8]) == 1 and writer.unread(tokens[:100]) == 0


def test_a_prompt_needs_nothing_read_again_when_what_may_follow_it_was_read(writer: Alone) -> None:
    """As happens when the suggestion after the one that is shown is worked out, and another one is typed."""
    prompt = writer.vocabulary.tokenize(TEXT)[:200]
    fresh = ids(write(writer, prompt))
    writer.prefill([*prompt, 5, 6, 7])
    assert writer.prefill(prompt).evaluated == 0
    assert ids(list(writer.decode(Sampling(24)))) == fresh
    writer.prefill([*prompt[:150], 9])
    assert writer.prefill(prompt).evaluated == 50, "what it held behind that is gone, and so is what was known of it"


def test_what_was_written_is_reused_when_it_is_accepted(writer: Alone) -> None:
    prompt = writer.vocabulary.tokenize(TEXT)[:100]
    written = ids(write(writer, prompt, 10))
    assert writer.prefill([*prompt, *written]).evaluated == 1


def test_reuse_does_not_change_what_is_written(writer: Alone) -> None:
    tokens = writer.vocabulary.tokenize(TEXT)
    fresh = logits(writer, tokens[:250])
    for end in (50, 120, 249, 260):
        write(writer, tokens[:end], 3)
    assert same(logits(writer, tokens[:250]), fresh)
    assert not same(logits(writer, tokens[:249]), fresh)


def test_each_text_has_its_own_sequence_and_the_oldest_gives_way(writer: Alone) -> None:
    tokens = writer.vocabulary.tokenize(TEXT * 2)
    texts = [tokens[begin : begin + 100] for begin in range(0, 100 * (writer.model.sequences + 1), 100)]
    for text in texts[:-1]:
        assert writer.prefill(text).reused == 0
    for text in texts[:-1]:
        assert writer.prefill(text).reused == 100, "reading another text left this one's alone"
    assert writer.prefill(texts[-1]).reused == 0
    for text in texts[1:]:
        assert writer.prefill(text).reused == 100
    assert writer.prefill(texts[0]).reused == 0, "it was used least recently"


def test_a_text_that_begins_alike_for_a_while_does_not_take_the_place(writer: Alone) -> None:
    """Two places of a file may share the head of their prompts: jumping back finds the first one as it was."""
    tokens = writer.vocabulary.tokenize(TEXT)
    one, other = tokens[:300], [*tokens[:100], *tokens[500:700]]
    writer.prefill(one)
    assert writer.prefill(other).reused == 0
    assert writer.prefill(one).evaluated == 0
    most = [*tokens[:200], *tokens[500:600]]
    assert writer.prefill(most).reused == 200, "most of it is there: it is read on from"


def test_what_was_read_ahead_in_part_is_gone_on_from(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = writer.vocabulary.tokenize(TEXT)[:400]
    steps = drafts(writer, monkeypatch)
    monkeypatch.setattr(type(writer.model), "batch_within", lambda self, milliseconds, now: 16)
    evaluate = writer.model.evaluate

    def stop_after_five(*what: Any) -> float:
        if len(steps) == 5:
            writer.model.flag.set()
        return evaluate(*what)

    monkeypatch.setattr(writer.model, "evaluate", stop_after_five)
    with pytest.raises(Stopped):
        writer.read_ahead(tokens)
    writer.model.flag.clear()
    monkeypatch.setattr(writer.model, "evaluate", evaluate)
    assert writer.unread(tokens) == 400 - 5 * 16
    assert writer.prefill(tokens).reused == 5 * 16


def test_after_a_stop_a_prompt_is_read_in_short_steps(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one types into a place that has to be read anew, each key loses the step it stops: no more than that."""
    tokens = writer.vocabulary.tokenize(TEXT)[:700]
    steps = drafts(writer, monkeypatch)
    monkeypatch.setattr(type(writer.model), "batch_size", lambda self, now: 256)
    monkeypatch.setattr(type(writer.model), "batch_within", lambda self, milliseconds, now: 32)
    evaluate = writer.model.evaluate

    def stop(*what: Any) -> float:
        writer.model.flag.set()
        return evaluate(*what)

    def read(stopped: bool) -> list[int]:
        steps.clear()
        monkeypatch.setattr(writer.model, "evaluate", stop if stopped and len(steps) == 0 else evaluate)
        if stopped:
            with pytest.raises(Stopped):
                writer.prefill(tokens)
        else:
            writer.prefill(tokens)
        writer.model.flag.clear()
        return list(steps)

    assert read(stopped=True) == [256] and writer.unread(tokens) == 700
    assert set(read(stopped=False)) == {32, 700 % 32}, "keys come: the next one may be near"
    writer.clear()
    assert read(stopped=False) == [256, 256, 188], "it was read to its end: nobody is typing"


def test_common_prefix() -> None:
    chance = random.Random(0)
    for _ in range(300):
        alike = list(range(chance.choice((0, 1, 2, 127, 128, 129, 256, 300))))
        left, right = ([*alike, *chance.choices((-1, -2), k=chance.randrange(3))] for _ in range(2))
        pairs = zip(left, right, strict=False)
        expected = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        assert common_prefix(left, tuple(right)) == expected


# --- cancelling


def test_a_cancel_in_a_prompt_keeps_what_was_read(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    model = writer.model
    tokens = writer.vocabulary.tokenize(TEXT)[:600]
    expected = logits(writer, tokens)
    writer.clear()
    evaluate, calls = model.evaluate, []

    def abort_in_the_fourth(batch: Any, *place: int) -> float:
        calls.append(len(batch))
        if len(calls) == 4:
            model.flag.set()
        return evaluate(batch, *place)

    monkeypatch.setattr(type(model), "batch_size", lambda self, now: 32)
    monkeypatch.setattr(model, "evaluate", abort_in_the_fourth)
    with pytest.raises(Stopped):
        writer.prefill(tokens)
    assert calls == [32] * 4, "nothing was computed after the cancel"
    model.flag.clear()
    assert writer.prefill(tokens).reused == 96
    assert same(logits(writer, tokens), expected)


def test_a_cancel_inside_a_batch_leaves_the_cache_in_order(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is set by another thread while llama.cpp computes, at a moment that nobody chooses."""
    model = writer.model
    tokens = writer.vocabulary.tokenize(TEXT)[:600]
    expected = logits(writer, tokens)
    writer.clear()
    monkeypatch.setattr(type(model), "batch_size", lambda self, now: 512)
    cancelled = 0
    for delay in (0.0, 0.002, 0.01, 0.03):
        writer.prefill(tokens[:1])
        timer = threading.Timer(delay, model.flag.set)
        timer.start()
        try:
            writer.prefill(tokens)
        except Stopped:
            cancelled += 1
            slot = writer.slot(tokens)
            assert model.held(slot.sequence) == len(slot.tokens)
            assert slot.tokens == tokens[: len(slot.tokens)]
        timer.join()
        model.flag.clear()
        assert same(logits(writer, tokens), expected)
        writer.clear()
    assert cancelled > 0


def test_a_cancel_while_writing(writer: Alone) -> None:
    prompt = writer.vocabulary.tokenize(TEXT)[:100]
    writer.prefill(prompt)
    expected = ids(write(writer, prompt, 30))  # like the others: all but the last token from the cache
    writer.prefill(prompt)
    written = []
    with pytest.raises(Stopped):
        for token in writer.decode(Sampling(30)):
            written.append(token.id)
            if len(written) == 5:
                writer.model.flag.set()
    assert written == expected[:5]
    writer.model.flag.clear()
    assert ids(write(writer, prompt, 30)) == expected


def scheduler_that_says(said: list[str]) -> Scheduler:
    scheduler = Scheduler()
    scheduler.abort = lambda: said.append("abort")
    scheduler.preempt = lambda: said.append("preempt")
    scheduler.allow = lambda: said.append("allow")
    return scheduler


def begin(scheduler: Scheduler) -> int:
    """The id of the job whose turn it is, which has begun from then on."""
    job = scheduler.next()
    job.steps = job.steps or (None for _ in ())
    return job.id


def end(scheduler: Scheduler) -> int:
    """Ends the job whose turn it is."""
    job = scheduler.next()
    scheduler.ended(job)
    return job.id


def test_a_late_cancel_does_not_hit_the_next_job() -> None:
    said: list[str] = []
    scheduler = scheduler_that_says(said)
    for id in (1, 2, 3):
        scheduler.put(id, COMPLETION, None)
    assert end(scheduler) == 1
    assert scheduler.cancel(1) is False
    assert begin(scheduler) == 2
    assert scheduler.cancel(1) is False
    assert set(said) == {"allow"}
    assert scheduler.cancel(3) is True, "it had not begun: it is answered by the one who cancels"
    assert scheduler.cancel(2) is False
    assert said[-1] == "abort"
    assert scheduler.next().cancelled, "it is closed by who computes"
    assert said[-1] == "allow"
    assert end(scheduler) == 2 and scheduler.idle


def test_more_urgent_jobs_go_first() -> None:
    scheduler = Scheduler()
    for id, priority in ((1, CHAT), (2, COMPLETION), (3, CHAT), (4, COMPLETION)):
        scheduler.put(id, priority, None)
    assert [end(scheduler) for _ in range(4)] == [2, 4, 1, 3]


def test_a_more_urgent_job_stops_a_less_urgent_one_which_then_goes_on() -> None:
    said: list[str] = []
    scheduler = scheduler_that_says(said)
    scheduler.put(1, CHAT, None)
    assert begin(scheduler) == 1
    scheduler.put(2, BACKGROUND, None)
    scheduler.put(3, AHEAD, None)
    assert "preempt" not in said
    scheduler.put(4, COMPLETION, None)
    assert said[-1] == "preempt"
    assert begin(scheduler) == 4 and said[-1] == "allow"
    scheduler.put(5, COMPLETION, None)
    assert said[-1] == "allow", "one completion does not stop another"
    assert [end(scheduler) for _ in range(5)] == [4, 5, 1, 3, 2]


def test_long_answers_take_turns_and_completions_do_not() -> None:
    scheduler = Scheduler()
    scheduler.most_long = 3
    for id, priority in ((1, CHAT), (2, CHAT), (3, CHAT)):
        scheduler.put(id, priority, None)
    assert [begin(scheduler) for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    scheduler.put(4, COMPLETION, None)
    scheduler.put(5, COMPLETION, None)
    assert [begin(scheduler) for _ in range(3)] == [4, 4, 4]
    assert end(scheduler) == 4 and end(scheduler) == 5
    assert [begin(scheduler) for _ in range(4)] == [2, 3, 1, 2]


def test_a_job_that_comes_between_two_steps_goes_first() -> None:
    """No moment is too early or too late for it: whoever computes asks before each step."""
    for steps_before in range(4):
        scheduler = Scheduler()
        scheduler.put(1, CHAT, None)
        for _ in range(steps_before):
            assert begin(scheduler) == 1
        scheduler.put(2, COMPLETION, None)
        assert end(scheduler) == 2
        assert begin(scheduler) == 1


def test_a_job_may_be_cancelled_while_more_urgent_ones_are_done() -> None:
    scheduler = Scheduler()
    scheduler.put(1, CHAT, None)
    assert begin(scheduler) == 1
    scheduler.put(2, COMPLETION, None)
    assert begin(scheduler) == 2
    assert scheduler.cancel(1) is False, "it will answer by itself"
    job = scheduler.next()
    assert job.id == 1 and job.cancelled, "what it holds is free at once"
    scheduler.ended(job)
    assert end(scheduler) == 2 and scheduler.idle


def test_the_jobs_of_a_class_can_be_dropped() -> None:
    scheduler = Scheduler()
    scheduler.put(1, BACKGROUND, None)
    assert begin(scheduler) == 1
    for id, priority in ((2, COMPLETION), (3, BACKGROUND), (4, AHEAD)):
        scheduler.put(id, priority, None)
    assert begin(scheduler) == 2
    assert [job.id for job in scheduler.drop(BACKGROUND, AHEAD)] == [1, 3, 4], "whether they have begun or not"
    assert end(scheduler) == 2 and scheduler.idle
    assert scheduler.cancel(1) is False and scheduler.cancel(3) is False


def test_what_is_less_urgent_than_another_engines_work_waits_for_it() -> None:
    said: list[str] = []
    scheduler = scheduler_that_says(said)
    for id, priority in ((1, CHAT), (2, BACKGROUND), (3, AHEAD)):
        scheduler.put(id, priority, None)
    assert begin(scheduler) == 1
    scheduler.hold(CHAT)
    assert "preempt" not in said, "it is not less urgent"
    assert begin(scheduler) == 1
    scheduler.hold(COMPLETION)
    assert said[-1] == "preempt"
    turns: queue.Queue[int] = queue.Queue()
    waiting = threading.Thread(target=lambda: [turns.put(end(scheduler)) for _ in range(5)])
    waiting.start()
    steps = scheduler.steps
    scheduler.put(4, COMPLETION, None)
    assert turns.get(timeout=60) == 4, "a completion of its own is not held"
    with pytest.raises(queue.Empty):
        turns.get(timeout=0.05)
    assert scheduler.steps == steps + 1, "nothing else was done"
    assert scheduler.cancel(1) is False
    assert turns.get(timeout=60) == 1, "what is cancelled is closed all the same"
    scheduler.hold(AHEAD)
    assert turns.get(timeout=60) == 3
    with pytest.raises(queue.Empty):
        turns.get(timeout=0.05)
    scheduler.put(5, CHAT, None)
    assert turns.get(timeout=60) == 5
    scheduler.hold(NOTHING)
    assert turns.get(timeout=60) == 2
    waiting.join()
    assert scheduler.idle


# --- threads


def test_a_prompt_is_read_with_more_threads_only_after_a_step_with_them(
    writer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of a prompt that is given up costs a second on a slow machine, a step of one token next to nothing."""
    monkeypatch.setattr("tabby_lsp.engine.threads.GRACE_MILLISECONDS", 1e6)  # whatever else runs here
    model = writer.model
    kept, speed = model._threads, model._milliseconds_per_token
    try:
        model._threads, model._milliseconds_per_token = Threads((2, 1)), {False: 0.05, True: 0.05}
        model._threads.give_up(2, False, time.perf_counter() - 2 * RETRY_SECONDS)
        model.spares_core = True
        assert model.batch_size(time.perf_counter()) > 64, "work ahead tries nothing"
        model.spares_core = False
        assert model.batch_size(time.perf_counter()) == 1
        tokens = writer.vocabulary.tokenize(TEXT)
        model.evaluate(tokens[:64], 0, 0)
        assert model.threads == 1
        for place in range(64, 64 + TRIALS - 1):
            assert model.batch_size(time.perf_counter()) == 1, "one step that goes well may be luck"
            model.evaluate(tokens[place : place + 1], place, 0)
        assert model.threads == 2 and model.batch_size(time.perf_counter()) == 64
        place += 1
        model.evaluate(tokens[place : place + 64], place, 0)
        assert model._threads.trials == 0
    finally:
        model._threads, model._milliseconds_per_token = kept, speed
        model.truncate(0, 0)


def test_a_step_that_takes_too_long_is_done_again_with_fewer_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(replace(SETTINGS, threads=0))
    tokens = model.vocab.tokenize(TEXT)[:300]
    model._threads = Threads((2, 1))
    model.evaluate(tokens[:200], 0, 0)
    expected = model.logits().copy()
    model.truncate(0, 0)
    model._threads.usual[64, 2] = 1e-9  # whatever it takes is too long
    monkeypatch.setattr("tabby_lsp.engine.threads.GRACE_MILLISECONDS", 0.0)
    for _ in range(20):
        model.evaluate(tokens[:200], 0, 0)
        assert model.held(0) == 200 and not model.flag.aborted
        assert same(model.logits(), expected)
        model.truncate(0, 0)
        if model.threads == 1:
            break
    assert model.threads == 1
    model.flag.set()
    assert model.evaluate(tokens[:200], 0, 0) is None


def test_a_cancel_wins_over_a_step_that_takes_too_long() -> None:
    model = Model(SETTINGS)
    model.flag.redo()
    assert not model.flag.aborted and model.flag.redone() and not model.flag.redone()
    model.flag.redo()
    model.flag.set()
    assert model.flag.aborted and not model.flag.redone()
    model.flag.redo()
    assert model.flag.aborted and not model.flag.redone()


def test_the_watch_calls_once_for_each_limit_that_is_exceeded() -> None:
    calls: queue.Queue[int] = queue.Queue()
    watch = Watch(lambda: calls.put(1))
    watch.begin(0.0)
    calls.get(timeout=60)
    watch.end()
    watch.begin(60_000)
    watch.end()
    watch.begin(1.0)
    calls.get(timeout=60)
    assert calls.empty()


# --- jobs


class Office:
    """A worker in a thread, and what it says."""

    def __init__(self, model: Model) -> None:
        self.scheduler = Scheduler()
        self.said: queue.Queue[tuple[Message, int]] = queue.Queue()
        self.worker = Worker(self.scheduler, model, lambda message, id: self.said.put((message, id)))
        self._ends = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends:
            self.worker.run()

    def close(self) -> None:
        self._ends = True
        self.write(0, "x", priority=COMPLETION)
        self._thread.join()

    def write(self, id: int, text: str, *sampling: Any, priority: int = CHAT) -> None:
        self.scheduler.put(id, priority, Write((Segment(text),), Sampling(*(sampling or (1,)))))

    def complete(self, id: int, context: CompletionContext, priority: int = COMPLETION, **extra: Any) -> None:
        settings = CompletionSettings(max_prompt_tokens=700)
        request = CompletionRequest("a", context, Sampling(8), settings, reads_ahead=True)
        self.scheduler.put(id, priority, Complete(replace(request, **extra)))

    def until(self, id: int, *kinds: type[Message]) -> Any:
        """The next message of a job that is of one of these kinds; the others are passed over."""
        while True:
            message, of = self.said.get(timeout=60)
            if of == id and isinstance(message, kinds):
                return message

    def completion(self, id: int) -> Completion:
        found: Completion = self.until(id, Completed).completion
        return found

    def ends(self, *jobs: int) -> dict[int, type]:
        """How each of these jobs ends."""
        found: dict[int, type] = {}
        while set(found) != set(jobs):
            message, id = self.said.get(timeout=60)
            if not isinstance(message, Piece):
                found[id] = type(message)
        return found

    def read_ahead(self) -> None:
        """Waits until everything that is read ahead has been read: what is put now comes behind it."""
        self.write(99, "x", priority=BACKGROUND)
        self.until(99, Written)


@pytest.fixture
def office(shared: Model, writer: Alone) -> Iterator[Office]:
    office = Office(shared)
    yield office
    office.close()
    shared.flag.clear()


def context_in(text: str, place: int, typed: str = "") -> CompletionContext:
    end = text.index("\n", place)
    return CompletionContext(text[:end] + typed, "", text[end:], path="queues.py", language="python")


def test_after_a_jump_a_small_prompt_is_read_and_the_full_one_ahead(
    office: Office, writer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that reads 300 tokens in a second."""
    monkeypatch.setattr(type(writer.model), "prefill_rate", property(lambda self: 300.0))
    first = context_in(TEXT, 4000)
    office.complete(1, first)
    jumped = office.completion(1)
    assert 100 < jumped.evaluated <= 256 and jumped.reused == 0
    assert len(build(choose_layout(writer.vocabulary), first, 700).tokens) > 400
    office.read_ahead()
    office.complete(2, context_in(TEXT, 4000, " x"))
    typed = office.completion(2)
    assert typed.evaluated < 16 and typed.reused > 400, "it was read in the meantime"
    office.complete(3, context_in(TEXT, 2000), unhurried=True)
    assert office.completion(3).evaluated > 300, "who has time gets the full one at once"


def test_what_is_read_in_a_hurry_is_the_text_around_the_cursor(
    office: Office, writer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of other files come with the larger prompt, which is read ahead."""
    monkeypatch.setattr(type(writer.model), "prefill_rate", property(lambda self: 200.0))
    context = replace(context_in(TEXT, 4000), snippets=(Snippet("other.py", "def elsewhere():\n    return 1"),))
    office.complete(1, context, show_prompt=True)
    assert "elsewhere" not in office.completion(1).prompt
    assert "elsewhere" in build(choose_layout(writer.vocabulary), context, 700).text
    office.read_ahead()
    office.complete(2, replace(context, prefix=context.prefix + " x"), show_prompt=True)
    assert "elsewhere" in office.completion(2).prompt


def test_one_request_has_all_sizes_read_and_costs_no_other_document_its_own(
    office: Office, writer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody need press another key. A small prompt gives its slot to the one after the next."""
    office.complete(1, context_in(TEXT, 2000), document="b", unhurried=True)
    office.completion(1)
    monkeypatch.setattr(type(writer.model), "prefill_rate", property(lambda self: 150.0))
    context, layout = context_in(TEXT, 4000), choose_layout(writer.vocabulary)
    other, *sizes = [
        build(layout, each, size)
        for each, size in ((context_in(TEXT, 2000), 700), (context, 128), (context, 512), (context, 700))
    ]
    steps = drafts(writer, monkeypatch)
    office.complete(2, context)
    assert office.completion(2).evaluated == len(sizes[0].tokens) <= 128
    office.read_ahead()
    assert sum(steps) > 0.95 * sum(len(size.tokens) for size in sizes), "all three were read"
    assert office.worker.slots.unread(sizes[2].tokens) == 0
    assert office.worker.slots.unread(other.tokens) == 0, "the other document has its own"


def test_nothing_is_read_ahead_for_who_does_not_want_it(
    office: Office, writer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(writer.model), "prefill_rate", property(lambda self: 300.0))
    steps = drafts(writer, monkeypatch)
    office.complete(1, context_in(TEXT, 4000), reads_ahead=False)
    office.completion(1)
    read = len(steps)
    office.read_ahead()
    assert len(steps) == read + 1, "the text that was waited for"


def test_reading_ahead_gives_way_to_the_next_request(
    office: Office, writer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(writer.model), "prefill_rate", property(lambda self: 300.0))
    evaluate = writer.model.evaluate

    def slowly(tokens: Any, *place: int) -> float | None:
        threading.Event().wait(0.02)
        return evaluate(tokens, *place)

    monkeypatch.setattr(writer.model, "evaluate", slowly)
    monkeypatch.setattr(type(writer.model), "batch_within", lambda self, milliseconds, now: 4)
    for id, place in enumerate((4000, 1000, 6000, 2500), 1):
        office.complete(id, context_in(TEXT, place))
        assert office.completion(id).evaluated <= 256
    assert len(office.scheduler._jobs) <= 1, "only the last place is read ahead"


def test_what_is_completed_ahead_gives_way_and_says_so(office: Office) -> None:
    """To the next request, whether it has begun or not."""
    for id, place in ((1, 500), (2, 900)):
        office.complete(id, context_in(TEXT, place), AHEAD, sampling=Sampling(300, 1.5, 3), unhurried=True)
    office.complete(3, context_in(TEXT, 3000))
    assert office.ends(1, 2, 3) == {1: Cancelled, 2: Cancelled, 3: Completed}
    office.complete(4, context_in(TEXT, 900), AHEAD, sampling=Sampling(4))
    assert office.ends(4) == {4: Completed}, "alone it is done"


def test_the_quick_budget_stays_until_the_speed_is_clearly_another() -> None:
    assert quick_budget(50) == 128 and quick_budget(1000) == 512 and quick_budget(1100) == 1024
    assert quick_budget(900, 1024) == 1024 and quick_budget(1900, 1024) == 1024
    assert quick_budget(600, 1024) == 512 and quick_budget(4000, 1024) == 2048
    assert quick_budget(140, 256) == 128 and quick_budget(260, 128) == 256, "busy for a while"


LONG = ("import os\n\n\ndef walk(top):\n", 120, 1.0, 7)


def test_a_long_answer_goes_on_below_completions(office: Office) -> None:
    """It is stopped by each, and writes what it would have written alone."""
    office.write(1, *LONG)
    alone = office.until(1, Written)
    assert alone.generated > 40
    office.write(2, *LONG)
    done = 0
    for id in range(3, 13):
        if isinstance(office.until(2, Piece, Written), Written):
            break
        office.complete(id, context_in(TEXT, 500 * (id - 2)))
        assert office.completion(id).generated > 0
        done += 1
    assert done >= 5
    assert office.until(2, Written).text == alone.text


def test_two_long_answers_side_by_side_with_completions_between_them(office: Office) -> None:
    """Both go on, each writes what it would have written alone, and no completion waits for their end."""
    texts = {1: LONG, 2: ("class Reader:\n    def __init__(self", 120, 1.0, 3)}
    alone = {}
    for id, text in texts.items():
        office.write(id, *text)
        alone[id] = office.until(id, Written).text
    for id, text in texts.items():
        office.write(10 + id, *text)
    written: dict[int, str] = {}
    order: list[int] = []
    completions = iter(range(100, 200))
    open_one = 0
    while len(written) < 2:
        message, id = office.said.get(timeout=60)
        if isinstance(message, Piece) and id in (11, 12):
            order.append(id)
            if not open_one and len(order) % 8 == 0:
                open_one = next(completions)
                office.complete(open_one, context_in(TEXT, 300 + 400 * (open_one % 10)))
        elif isinstance(message, Completed):
            assert id == open_one and message.completion.generated > 0
            open_one = 0
        elif isinstance(message, Written):
            written[id] = message.text
        else:
            assert not isinstance(message, Refused), message
    assert written == {11: alone[1], 12: alone[2]}
    both = order[: min(order.index(11), order.index(12)) + 40]
    assert both.count(11) >= 10 and both.count(12) >= 10, "they take turns"


def test_long_answers_that_are_cancelled_at_any_moment_cost_nothing(office: Office, shared: Model) -> None:
    """Also while their prompt is read: their slots are free for others at once."""
    for id in range(1, 31):
        office.write(id, TEXT[: 200 * (id % 10 + 1)], 400, 1.0, id)
        if id % 3:
            office.complete(100 + id, context_in(TEXT, 100 * id))
        threading.Event().wait(0.002 * (id % 7))
        if office.scheduler.cancel(id):
            office.said.put((Cancelled(), id))  # as the thread that reads the pipe says it
    ends = office.ends(*range(1, 31), *(100 + id for id in range(1, 31) if id % 3))
    assert {end for id, end in ends.items() if id > 100} == {Completed}
    assert all(slot.holder is None for slot in office.worker.slots._slots)
    for slot in office.worker.slots._slots:
        assert shared.held(slot.sequence) == len(slot.tokens)


def test_a_completion_comes_between_any_two_steps_of_a_long_answer(
    office: Office, shared: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It arrives at each moment of the worker's turn: before, while and after a step is computed."""
    ask = office.scheduler.next
    moments = iter(range(200, 260))
    put: list[int] = []

    def next_and_put() -> Any:
        job = ask()
        if isinstance(job.request, Write) and len(put) < 20:  # the long answer has just been chosen
            put.append(next(moments))
            office.complete(put[-1], context_in(TEXT, 700))
        return job

    monkeypatch.setattr(office.scheduler, "next", next_and_put)
    office.write(1, *LONG)
    for _ in range(20):
        message, _ = next(
            (m, i) for m, i in iter(lambda: office.said.get(timeout=60), None) if isinstance(m, Completed)
        )
        assert message.completion.generated > 0
    assert office.until(1, Written).generated > 40


def test_more_long_answers_than_slots_all_end(office: Office, shared: Model) -> None:
    """One whose slot another has taken reads its text again."""
    ids = range(1, 2 * shared.sequences + 1)
    for id in ids:
        office.write(id, TEXT[1000 * id : 1000 * id + 300], 12, 1.0, id)
    together = {}
    while len(together) < len(ids):
        message, id = office.said.get(timeout=60)
        assert not isinstance(message, Refused), message
        if isinstance(message, Written):
            together[id] = message
    assert all(each.generated > 0 for each in together.values())
    assert all(slot.holder is None for slot in office.worker.slots._slots)


def test_a_step_that_raises_costs_its_job_alone(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises: a fault in a filter must not end the model."""
    broken: list[Exception] = [
        KeyError("x"),
        IndexError("list index"),
        RecursionError(),
        MemoryError(),
        OSError(),
    ]

    def fail(*what: Any) -> str:
        raise broken[0]

    office.write(1, *LONG)
    office.until(1, Piece)
    kept = pipeline.clean
    for id in range(2, 2 + len(broken)):
        monkeypatch.setattr(pipeline, "clean", fail)
        office.complete(id, context_in(TEXT, 3000))
        assert office.until(id, Refused, Completed) == Refused(str(broken[0]) or type(broken[0]).__name__)
        broken.pop(0)
        broken.append(ValueError())
        monkeypatch.setattr(pipeline, "clean", kept)
        office.complete(100 + id, context_in(TEXT, 3000))
        assert office.completion(100 + id).generated > 0
    assert office.until(1, Written).generated > 40


def test_a_step_that_llama_cpp_refuses_leaves_the_cache_in_order(
    office: Office, shared: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, failures = model_module.llama_cpp.llama_decode, [1]

    def fail(context: Any, batch: Any) -> int:
        result: int = decode(context, batch)
        return failures.pop() if failures else result

    monkeypatch.setattr(model_module.llama_cpp, "llama_decode", fail)
    office.complete(1, context_in(TEXT, 3000))
    assert "could not decode" in office.until(1, Refused, Completed).reason
    for slot in office.worker.slots._slots:
        assert shared.held(slot.sequence) == len(slot.tokens)
    office.complete(2, context_in(TEXT, 3000))
    assert office.completion(2).generated > 0


def test_a_text_that_leaves_no_room_is_refused_and_the_worker_goes_on(office: Office) -> None:
    office.write(1, TEXT * 3, 4)
    assert "cannot be gone on from" in office.until(1, Refused).reason
    office.write(2, "x", 4)
    office.until(2, Written)


def test_settings_travel_with_each_completion(office: Office) -> None:
    context = context_in(TEXT, 3000)
    for id, layout in ((1, "suffix-first"), (2, "prefix-first"), (3, "suffix-first")):
        office.complete(id, context, settings=CompletionSettings(layout=layout))
        assert office.completion(id).layout == layout
    office.complete(4, context, settings=CompletionSettings(prompt_template="{suffix} only"))
    assert "{prefix}" in office.until(4, Refused).reason
    office.complete(5, context)
    office.completion(5)


# --- writing


def test_greedy_is_the_likeliest_and_probabilities_are_the_models(writer: Alone) -> None:
    writer.prefill(writer.vocabulary.tokenize("import os\nimport "))
    logits = writer.model.logits().astype(np.float64)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    token, probability = choose(writer.model.logits(), Sampling(), np.random.default_rng(0))
    assert token == int(np.argmax(logits))
    assert probability == pytest.approx(chances[token], rel=1e-4)
    narrow, any_seed = Sampling(temperature=5.0, top_p=0.01), np.random.default_rng(1)
    assert choose(writer.model.logits(), narrow, any_seed)[0] == token, "of so small a share it is the only one"
    wide = replace(narrow, top_p=1.0)
    assert len({choose(writer.model.logits(), wide, any_seed)[0] for _ in range(20)}) > 1


def drafts(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of tokens of the steps that are made from now on."""
    evaluate, steps = writer.model.evaluate, []

    def counted(tokens: Any, *place: int) -> float:
        steps.append(len(tokens))
        return evaluate(tokens, *place)

    monkeypatch.setattr(writer.model, "evaluate", counted)
    return steps


REPEATED = "def first(self):\n    return self._items[0]\n\n\ndef second(self):\n    return self._items[1]\n\n\n" * 4


class Eager(Speculation):
    """Tries every draft, at full length."""

    def length(self, matched: int, per_token: float) -> int:
        return LONGEST_DRAFT


@pytest.mark.parametrize("place", range(8))
def test_speculation_writes_what_plain_greedy_decoding_writes(writer: Alone, place: int) -> None:
    """Token for token, whatever is drafted, also where every draft is tried at full length."""
    tokens = writer.vocabulary.tokenize(TEXT if place % 2 else REPEATED)
    prompt = tokens[: min(len(tokens), 800) - 30 * place]
    writer.speculates = False
    plain = write(writer, prompt, 48)
    writer.speculates = True
    for eager in (False, True):
        if eager:
            writer.speculation = Eager()
        tried = write(writer, prompt, 48)
        assert ids(tried) == ids(plain)
        assert [token.text for token in tried] == [token.text for token in plain]
        assert [token.probability for token in tried] == pytest.approx([p.probability for p in plain], abs=0.02)


def test_what_stood_before_is_written_in_fewer_steps(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = writer.vocabulary.tokenize(REPEATED)
    steps = drafts(writer, monkeypatch)
    writer.prefill(prompt)
    steps.clear()
    written = list(writer.decode(Sampling(48)))
    assert len(written) == 48 and len(steps) < 30
    writer.speculates = False
    writer.clear()
    writer.prefill(prompt)
    steps.clear()
    assert ids(list(writer.decode(Sampling(48)))) == ids(written) and len(steps) == 47


def test_writing_may_end_in_the_middle_of_a_draft(writer: Alone) -> None:
    """The one who reads the tokens stops, or the number asked for is reached: the cache is in order."""
    prompt = writer.vocabulary.tokenize(REPEATED)
    writer.speculation = Eager()
    expected = write(writer, prompt, 40)
    for count in range(1, 12):
        assert ids(write(writer, prompt, count)) == ids(expected[:count])
        slot = writer.slot(prompt)
        assert writer.model.held(slot.sequence) == len(slot.tokens)
        writer.prefill(prompt)
        assert ids([token for token, _ in zip(writer.decode(Sampling(40)), range(count), strict=False)]) == ids(
            expected[:count]
        )
        assert writer.model.held(slot.sequence) == len(slot.tokens)


def test_a_draft_follows_the_longest_ending_that_stood_before() -> None:
    text = [1, 2, 3, 4, 5, 9, 2, 3, 4, 6, 9, 3, 4, 7, 9, 2, 3, 4]
    assert look_up(text, 2) == Draft((6, 9), 4), "9 2 3 4 stood before 6"
    assert look_up([*text[1:4], 8], 2) is None
    assert look_up([1, 2, 3, 1, 2], 7) == Draft((3, 1, 2, 3, 1, 2, 3), 2), "a text that repeats goes on repeating"
    assert look_up([5, 1, 1, 1], 4) == Draft((1, 1, 1, 1), 2)
    assert look_up([1, 2, 3, 1, 2], 8, barred={1}) == Draft((3,), 2)
    assert look_up([1, 2, 3, 1, 2], 8, barred={3}) is None
    assert look_up([], 8) is None and look_up([1], 8) is None and look_up([1, 1], 8) is None


def test_drafts_are_as_long_as_they_pay() -> None:
    cheap, dear = Speculation(), Speculation()
    for count in range(1, LONGEST_DRAFT + 2):
        cheap.measured(count, 20.0)
        dear.measured(count, 20.0 * count)
    assert cheap.length(3, 1.0) == LONGEST_DRAFT, "where more tokens take no longer"
    assert dear.length(3, 1.0) == 0, "where two tokens take twice as long as one"
    unknown = Speculation(milliseconds={1: 20.0})
    assert unknown.length(3, 4.0) == 0, "nothing is risked before it is known to come true"
    unknown.measured(4, 22.0)
    assert unknown.length(3, 1.0) > 0
    middling = Speculation(milliseconds={1: 20.0, 2: 21.0, 4: 30.0})
    assert 0 < middling.length(3, 4.0) < LONGEST_DRAFT
    for _ in range(200):  # nothing ever comes true
        middling.learn(Draft((1, 2, 3), 3), [9])
    assert middling.length(3, 4.0) == 0
    for _ in range(200):  # learned of drafts that are not tried any more
        middling.learn(Draft((1, 2, 3), 3), [1, 2, 3])
    assert middling.length(3, 4.0) == LONGEST_DRAFT


def test_hours_of_sleep_in_a_step_hardly_count(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that was closed while it computed is not a slow machine afterwards."""
    hour = 3_600_000.0
    speculation = Speculation(milliseconds={1: 20.0, 4: 40.0})
    speculation.measured(1, hour)
    assert speculation.milliseconds[1] < 40
    model = writer.model
    rate = model.prefill_rate
    decode = model._decode
    monkeypatch.setattr(model, "_decode", lambda tokens: decode(tokens) and hour)
    writer.prefill(writer.vocabulary.tokenize(TEXT)[: model.batch_size(time.perf_counter())])
    assert model.prefill_rate > rate / 3
    monkeypatch.setattr(model, "_decode", decode)
    for _ in range(6):
        writer.clear()
        writer.prefill(writer.vocabulary.tokenize(TEXT)[:300])
    assert model.prefill_rate > rate / 3


PENDING_TEXTS = {
    "a word": "import os\n\n\ndef read(path):\n    with open(path) as file:\n        ret",
    "a long name": "class Parser:\n    def next_token(self):\n        self.current_tok",
    "blanks": "def f(x):\n    if x:\n        return  ",
    "a blank": "import os\nfrom ",
    "a quote": 'print("',
    "an operator": "x = 1\ny = x +",
    "letters beyond ASCII": "# Die größte Länge in Zü",
    "an emoji": "s = '😀",
    "half of a word": "naïv",
    "digits": "x = 12",
}


@pytest.mark.parametrize("title", PENDING_TEXTS)
def test_what_is_pending_is_written_first_and_is_not_in_the_text(title: str, writer: Alone) -> None:
    """No typed byte is lost, none is doubled, whatever the model would rather write."""
    text = PENDING_TEXTS[title]
    layout = choose_layout(writer.vocabulary)
    prompt = build(layout, CompletionContext(text), 2000)
    assert prompt.pending and text.encode().endswith(prompt.pending)
    for sampling in (Sampling(12), Sampling(12, 2.0, 1), Sampling(12, 2.0, 2)):
        writer.prefill(prompt.tokens)
        written = list(writer.decode(sampling, prompt.pending))
        data = b"".join(writer.vocabulary.piece(token.id) for token in written)
        assert data.startswith(prompt.pending)
        assert "".join(token.text for token in written) == text_of(data[len(prompt.pending) :])


@pytest.mark.parametrize("title", ["a blank", "a quote", "blanks", "a long name", "an emoji"])
def test_several_texts_begin_differently_and_the_first_is_the_one_alone(title: str, writer: Alone) -> None:
    text = PENDING_TEXTS[title]
    layout = choose_layout(writer.vocabulary)
    prompt = build(layout, CompletionContext(text), 2000)
    writer.prefill(prompt.tokens)
    alone = list(writer.decode(Sampling(10), prompt.pending))
    assert writer.prefill(prompt.tokens).evaluated <= 1
    count = min(3, writer.model.sequences)
    texts: dict[int, list[Token]] = {}
    for number, token in writer.decode_together(Sampling(10), prompt.pending, set(range(count))):
        texts.setdefault(number, []).append(token)
    assert ids(texts[0]) == ids(alone)
    assert set(texts) == set(range(count))
    repeated = texts[0][: len(texts[0]) - len(texts[1])]  # together, as long as there is nothing to choose
    firsts = set()
    for number, each in texts.items():
        whole = each if number == 0 else [*repeated, *each]
        data = b"".join(writer.vocabulary.piece(token.id) for token in whole)
        assert len(whole) == 10 and data.startswith(prompt.pending)
        assert "".join(token.text for token in each) == text_of(data[len(prompt.pending) :])
        firsts.add(b"".join(writer.vocabulary.piece(token.id) for token in whole[: len(repeated) + 1]))
    assert len(firsts) == count
    assert writer.prefill(prompt.tokens).evaluated <= 1, "the prompt is still there"
    again = list(writer.decode(Sampling(10), prompt.pending))
    assert ids(again) == ids(alone), "the others left it alone"


def test_a_text_that_is_not_wanted_any_more_costs_nothing(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    evaluate = writer.model.evaluate_together

    def count(places: Any) -> bool:
        sizes.append(len(places))
        return evaluate(places)

    monkeypatch.setattr(writer.model, "evaluate_together", count)
    writer.prefill(writer.vocabulary.tokenize(TEXT)[:100])
    wanted = {0, 1, 2}
    for number, _ in writer.decode_together(Sampling(9), b"", wanted):
        if number == 0:
            wanted.discard(0)
        if len(sizes) == 4:
            wanted.discard(2)
    assert sizes == [2, 2, 2, 2, 1, 1, 1, 1]


def test_what_several_texts_hold_is_known_after_a_cancel(writer: Alone) -> None:
    tokens = writer.vocabulary.tokenize(TEXT)[:100]
    fresh = logits(writer, tokens)
    with pytest.raises(Stopped):
        for count, _ in enumerate(writer.decode_together(Sampling(20), b"", {0, 1, 2})):
            if count == 7:
                writer.model.flag.set()
    writer.model.flag.clear()
    for slot in writer.slots._slots:
        assert writer.model.held(slot.sequence) == len(slot.tokens)
    assert writer.prefill(tokens).evaluated <= 1
    assert same(logits(writer, tokens), fresh)


def text_of(data: bytes) -> str:
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


def test_tokens_that_agree_with_a_text() -> None:
    vocab = Model(ModelSettings(str(MODEL), parallelism=1)).vocab
    pieces = {token: vocab.piece(token) for token in range(vocab.size)}
    controls = set(vocab.controls().values())
    for text in (b"re", b" self", b"\xc3", "ü".encode(), b"        ", b"zqxj", b"\xff"):
        expected = {
            token
            for token, piece in pieces.items()
            if piece and token not in controls and (piece.startswith(text) or text.startswith(piece))
        }
        assert set(vocab.agreeing(text).tolist()) == expected


def test_a_seed_gives_the_same_text_again(writer: Alone) -> None:
    prompt = writer.vocabulary.tokenize(TEXT)[:100]

    def text(seed: int) -> list[int]:
        writer.prefill(prompt)
        return ids(list(writer.decode(Sampling(20, 1.5, seed))))

    writer.prefill(prompt)
    assert text(1) == text(1)
    assert len({tuple(text(seed)) for seed in range(6)}) > 1


def test_writing_ends_with_the_context(shared: Model, writer: Alone) -> None:
    tokens = (writer.vocabulary.tokenize(TEXT) * 4)[: shared.context_size - 3]
    assert len(write(writer, tokens, 50)) == 4


def test_a_character_may_be_spread_over_tokens(writer: Alone) -> None:
    """What the vocabulary gives back for any text is that text, decoded piece by piece as it is written."""
    vocab = writer.vocabulary
    for text in ("x = '漢字 😀'\n", "\x00\x01\t\r\n", "ÿ\u2028\u0301"):
        data = b"".join(vocab.piece(token) for token in vocab.tokenize(text))
        assert data.decode("utf-8") == text
    assert vocab.tokenize("a\ud83db") == vocab.tokenize("a?b"), "a lone surrogate has no UTF-8 form"


def test_batches_are_sized_so_that_a_cancel_is_quick(shared: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "spares_core", False)  # whatever was done with it before
    monkeypatch.setattr(shared, "_milliseconds_per_token", {False: 0.01})
    assert shared.batch_size(time.perf_counter()) == 512
    monkeypatch.setattr(shared, "_milliseconds_per_token", {False: 7.2})
    monkeypatch.setattr(shared, "layers", 24)  # Qwen2.5-Coder-0.5B on one core
    assert 64 <= shared.batch_size(time.perf_counter()) <= 128
    monkeypatch.setattr(shared, "_milliseconds_per_token", {False: 1000.0})
    assert shared.batch_size(time.perf_counter()) == 16


# --- models that cannot be used


async def state_of(settings: ModelSettings, completion: CompletionSettings = COMPLETING) -> str:
    """Why an engine with these settings has no model."""
    engine = Engine(settings, completion)
    engine.start()
    try:
        with pytest.raises(EngineError) as failure:
            await engine.ready()
        assert engine.state.phase == "failed"
        job = engine.complete(request("x = "))
        with pytest.raises(EngineError, match=r".+"):
            await job.result
        return str(failure.value)
    finally:
        await engine.close()


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    reason = await state_of(ModelSettings(str(tmp_path / "no.gguf")))
    assert "does not exist" in reason and "model_id" in reason


@pytest.mark.parametrize("size", [4, 30, 1000, 200_000, -1])
async def test_a_file_that_was_cut_off(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(MODEL.read_bytes()[:size])
    reason = await state_of(ModelSettings(str(path)))
    assert "cut.gguf" in reason and "ownload" in reason


async def test_random_bytes(tmp_path: Path) -> None:
    path = tmp_path / "noise.gguf"
    path.write_bytes(bytes(i * 167 % 251 for i in range(100_000)))
    assert "not a GGUF file" in await state_of(ModelSettings(str(path)))
    path.write_bytes(b"GGUF" + path.read_bytes())
    assert "is GGUF version" in await state_of(ModelSettings(str(path)))


async def test_an_architecture_that_llama_cpp_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    data = MODEL.read_bytes()
    assert b"qwen2" in data
    path.write_bytes(data.replace(b"qwen2", b"qwenZ"))
    reason = await state_of(ModelSettings(str(path)))
    assert "'qwenZ'" in reason and f"llama-cpp-python {llama_cpp.__version__}" in reason
    assert f"{sys.executable} -m pip install --upgrade llama-cpp-python" in reason, "how to get a newer one"


def write_gguf(path: Path, architecture: str, pre: str = "qwen2") -> None:
    """As much of a model as is needed to be refused. Without `pre` it has no tokenizer."""
    writer = gguf.GGUFWriter(path, architecture)
    for add in (writer.add_context_length, writer.add_embedding_length, writer.add_feed_forward_length):
        add(64)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-6)
    if pre:
        fields = gguf.GGUFReader(MODEL).fields
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(fields["tokenizer.ggml.tokens"].contents())
        writer.add_token_types(fields["tokenizer.ggml.token_type"].contents())
        writer.add_token_merges(fields["tokenizer.ggml.merges"].contents())
    writer.add_tensor("token_embd.weight", np.zeros((8192, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("architecture", "pre", "words"),
    [
        ("qwen2", "", "holds no tokenizer"),
        ("qwen2", "martian", "unknown pre-tokenizer type: 'martian'. A newer llama-cpp-python"),
        ("qwen2", "qwen2", "'output_norm.weight' not found"),
        ("clip", "qwen2", "mmproj"),
    ],
)
async def test_a_refusal_gives_llama_cpps_own_reason(tmp_path: Path, architecture: str, pre: str, words: str) -> None:
    """And not advice to download a file again that is whole."""
    path = tmp_path / "model.gguf"
    write_gguf(path, architecture, pre)
    reason = await state_of(ModelSettings(str(path)))
    assert words in reason and "ownload" not in reason, reason


async def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A pipe without a writer is never opened: that would wait for ever."""
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "no regular file" in await state_of(ModelSettings(str(tmp_path / "pipe.gguf")))
    assert "folder" in await state_of(ModelSettings(str(tmp_path)))
    assert "too long" in await state_of(ModelSettings(str(tmp_path / f"{'x' * 300}.gguf")))
    assert "null byte" in await state_of(ModelSettings(str(tmp_path / "a\0b.gguf")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_folder_that_may_not_be_looked_into(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    try:
        assert "ermission" in await state_of(ModelSettings(str(folder / "model.gguf")))
    finally:
        folder.chmod(0o700)


async def test_a_fault_in_loading_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is: a process that died of it would be started again and again."""
    (tmp_path / "llama_cpp.py").write_text("__version__ = '0'\n", encoding="utf-8")  # without all that is used
    monkeypatch.syspath_prepend(tmp_path)
    reason = await state_of(SETTINGS)
    assert "cannot be loaded" in reason and "AttributeError" in reason


async def test_a_template_that_makes_no_sense() -> None:
    assert "{prefix}" in await state_of(SETTINGS, CompletionSettings(prompt_template="{suffix} only"))


def test_the_estimate_of_memory_holds() -> None:
    """What a model and its context take, in a process of their own, is what was said, give or take."""
    script = (
        "import os, sys; from tabby_lsp.processes import machine; from tabby_lsp.data import ModelSettings;"
        "from tabby_lsp.engine.model import Model;"
        "m = Model(ModelSettings(sys.argv[1], threads=1, parallelism=47)); n = m.context_size;"
        "[m.evaluate([5] * 256, i, s) for s in range(m.sequences) for i in range(0, n - 256, 256)];"
        "print(machine.resident_memory(os.getpid()), m.memory_needed)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(MODEL)], capture_output=True, text=True, check=True)
    held, said = map(int, result.stdout.split())
    assert said > 200_000_000, "48 sequences of 2,048 tokens"
    assert 0.85 < said / held < 1.2


# --- the process


def start_engine() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(python("tabby_lsp.engine.process"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    say(process, packed(messages.Load(__version__, SETTINGS)))
    return process


def packed(message: Message, id: int = 0) -> bytes:
    return wire.pack(messages.pack(message, id))


def job(id: int, text: str, **sampling: Any) -> bytes:
    return packed(Complete(CompletionRequest("a", CompletionContext(text), Sampling(**sampling), COMPLETING)), id)


def say(process: subprocess.Popen[bytes], *messages: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(messages))
    process.stdin.flush()


def hear(process: subprocess.Popen[bytes]) -> tuple[Message, int]:
    assert process.stdout is not None
    message = wire.read(process.stdout.read)
    assert message is not None
    return messages.unpack(message)


def answers(process: subprocess.Popen[bytes], count: int) -> list[tuple[int, type]]:
    """The next final answers, as they come."""
    found: list[tuple[int, type]] = []
    while len(found) < count:
        message, id = hear(process)
        if isinstance(message, (Completed, Cancelled, Refused)):
            found.append((id, type(message)))
    return found


def finish(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    assert gone(process.pid) or process.wait(60) is not None
    process.wait(60)
    process.stdout.close()


def test_jobs_wait_for_the_model_and_every_one_is_answered() -> None:
    process = start_engine()
    say(process, job(1, "x = "), job(2, "y = "), packed(messages.Cancel(), 2))
    say(process, packed(messages.Cancel(), 77), job(3, "z = "))
    assert dict(answers(process, 3)) == {1: Completed, 2: Cancelled, 3: Completed}
    finish(process)


def test_a_message_that_makes_no_sense_costs_its_job_alone() -> None:
    process = start_engine()
    good = messages.pack(Complete(CompletionRequest("a", CompletionContext("x"), Sampling(4), COMPLETING)), 1)
    broken: list[dict[str, Any]] = [
        {**good, "body": {"request": {**good["body"]["request"], "context": {"no": 1}}}},
        {**good, "kind": "conquer"},
        {**good, "body": {}},
        {**good, "body": [1]},
        {**good, "body": {**good["body"], "of another version": 1}},
        {"kind": "ready", "id": 1, "body": {}},
    ]
    for number, message in enumerate(broken, 1):
        say(process, wire.pack({**message, "id": number}), job(100 + number, "x = ", max_tokens=2))
        assert dict(answers(process, 2)) == {number: Refused, 100 + number: Completed}
    say(process, packed(messages.Ping()))
    assert isinstance(hear(process)[0], messages.Alive)
    finish(process)


@pytest.mark.parametrize("noise", [b"\xff\xff\xff\xff", b"\x02\x00\x00\x00{]", b"\x02\x00\x00\x00[]"])
def test_a_pipe_that_carries_noise_ends_the_process(noise: bytes) -> None:
    """Nothing behind it could be understood; a process that hears nothing any more must not stay."""
    process = start_engine()
    say(process, noise)
    assert process.wait(60) == 0
    assert process.stdout is not None and process.stdin is not None
    process.stdin.close()
    process.stdout.close()


def test_an_engine_of_another_version_says_so() -> None:
    process = subprocess.Popen(python("tabby_lsp.engine.process"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    say(process, packed(messages.Load("0.0.0", SETTINGS)), job(1, "x = "))
    message, _ = hear(process)
    assert isinstance(message, messages.Failed) and "Restart the language server" in message.reason
    assert answers(process, 1) == [(1, Refused)]
    finish(process)


def test_a_ping_is_answered_with_what_was_done_since() -> None:
    """Also while the model computes. The number stands still where nothing is done."""

    def work() -> int:
        say(process, packed(messages.Ping()))
        while not isinstance(message := hear(process)[0], messages.Alive):
            pass
        return message.work

    process = start_engine()
    say(process, job(1, "x = ", max_tokens=2))
    assert answers(process, 1) == [(1, Completed)]
    while work() != -1:  # it has nothing to do, soon after it has answered
        pass
    assert work() == -1
    say(process, packed(Write((Segment("import os\n"),), Sampling(900, 1.0, 3)), 2))
    found = {work() for _ in range(5) if not time.sleep(0.1)}
    assert len(found) > 1 and -1 not in found
    finish(process)


def steps_done(process: subprocess.Popen[bytes]) -> int:
    """The number of steps so far, asked of a process that has work. What it has said before that is passed over."""
    say(process, packed(messages.Ping()))
    while not isinstance(message := hear(process)[0], messages.Alive):
        pass
    return message.work


def test_a_process_that_is_held_does_no_step_and_then_goes_on_where_it_was() -> None:
    text, sampling = (Segment("import os\n"),), Sampling(400, 1.0, 3)
    process = start_engine()
    say(process, packed(Write(text, sampling), 1))
    free = hear_written(process, 1)
    assert free.generated > 40
    say(process, packed(Write(text, sampling), 2))
    while not isinstance(hear(process)[0], Piece):
        pass
    say(process, packed(messages.Hold(COMPLETION)))
    held = steps_done(process)
    time.sleep(0.2)
    assert steps_done(process) == held
    say(process, packed(messages.Cancel(), 3), packed(messages.Hold(CHAT)))
    while steps_done(process) == held:
        pass
    say(process, packed(messages.Hold(COMPLETION)), packed(messages.Hold(NOTHING)))
    assert hear_written(process, 2).text == free.text
    finish(process)


def test_a_process_may_be_held_while_it_loads_and_ends_with_its_server_all_the_same() -> None:
    process = subprocess.Popen(python("tabby_lsp.engine.process"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    say(
        process,
        packed(messages.Load(__version__, SETTINGS, held=COMPLETION)),
        packed(Write((Segment("x"),), Sampling(1)), 1),
    )
    time.sleep(1)
    say(process, packed(messages.Ping()))
    while not isinstance(message := hear(process)[0], messages.Alive):
        assert not isinstance(message, messages.Ready), "it is loaded behind what is more urgent"
    finish(process)


def hear_written(process: subprocess.Popen[bytes], id: int) -> Written:
    while True:
        message, of = hear(process)
        assert not isinstance(message, Refused), message.reason
        if isinstance(message, Written) and of == id:
            return message


def test_a_closed_pipe_ends_the_process_at_its_work() -> None:
    process = start_engine()
    say(process, job(1, TEXT, max_tokens=500))
    finish(process)


def request(text: str, *sampling: Any) -> CompletionRequest:
    return CompletionRequest("a", CompletionContext(text), Sampling(*sampling))


async def test_pieces_add_up_to_the_text() -> None:
    engine = Engine(SETTINGS, COMPLETING)
    engine.start()
    try:
        info, completing = await engine.ready_to_complete()
        assert isinstance(info, ModelInfo) and completing.family == "tabby-starter"
        pieces = []
        for text in ("import os\nimport ", "def f(self, ", "with open(path"):
            job = engine.complete(request(text, 16))
            job.on_piece = lambda: pieces.append(1)
            completion = await job.result
            candidate = completion.candidates[0]
            assert len(candidate.probabilities) == completion.generated
            assert all(0 < each <= 1 for each in candidate.probabilities)
            assert candidate.text.startswith(job.text) or job.text.startswith(candidate.text)
        assert pieces
        written = engine.write(Write((Segment("import os\n"),), Sampling(5)))
        assert (await written.result).text == written.text != ""
    finally:
        await engine.close()


async def test_a_generation_may_be_asked_for_before_there_is_a_process() -> None:
    engine = Engine(SETTINGS, COMPLETING)
    engine.start()
    try:
        early = engine.complete(request("import os\nimport ", 4))
        dropped = engine.complete(request("x = ", 4))
        engine.cancel(dropped)
        assert engine.pid is None
        assert (await early.result).generated > 0
    finally:
        await engine.close()


async def test_other_settings_of_completion_need_no_other_process() -> None:
    engine = Engine(SETTINGS, COMPLETING)
    engine.start()
    try:
        engine.settle(replace(COMPLETING, confidence=0.3))  # while the model is loaded
        await engine.ready()
        pid = engine.pid
        while (completing := (await engine.ready_to_complete())[1]).confidence != 0.3:
            await asyncio.sleep(0.01)
        engine.settle(replace(COMPLETING, layout="prefix-first"))
        assert (await engine.complete(request("x = ", 4)).result).layout == "prefix-first"
        assert engine.state.completion and engine.state.completion.layout == "prefix-first" != completing.layout
        engine.settle(replace(COMPLETING, prompt_template="{suffix} only"))
        while engine.state.phase != "failed":
            await asyncio.sleep(0.01)
        assert "{prefix}" in engine.state.reason
        with pytest.raises(EngineError, match="prefix"):
            await engine.complete(request("x = ", 4)).result
        engine.settle(COMPLETING)
        while engine.state.phase != "ready":
            await asyncio.sleep(0.01)
        assert (await engine.complete(request("x = ", 4)).result).generated > 0
        assert engine.pid == pid
    finally:
        await engine.close()


async def test_an_engine_that_dies_while_it_loads_is_started_with_plain_kernels() -> None:
    """llama.cpp built for AMX by GCC 12.2 crashes in its first batch, and in no other kernels."""

    def kill_the_first(state: EngineState) -> None:
        if state.phase == "loading" and engine.model.repacked:
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)

    engine = Engine(SETTINGS, COMPLETING, kill_the_first)
    engine.start()
    try:
        assert PLAIN_KERNELS in (await engine.ready()).notes
        completion = await engine.complete(request("import os\nimport ", 4)).result
        assert completion.generated > 0
    finally:
        await engine.close()


@pytest.mark.parametrize("stop", [signal.SIGSTOP, signal.SIGKILL])
async def test_an_engine_that_is_stopped_or_killed_at_its_work_is_replaced(
    stop: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every job is answered, and the next process works as the one before."""
    monkeypatch.setattr(child, "FIRST_PAUSE", 0.01)
    states: list[EngineState] = []
    engine = Engine(SETTINGS, COMPLETING, states.append)
    engine.start()
    try:
        await engine.ready()
        assert engine.pid is not None
        jobs = [
            engine.complete(request("x = ", 4)),
            engine.write(Write((Segment(TEXT[:2000]),), Sampling(500, 1.0, 1))),
        ]
        monkeypatch.setattr(child, "PING_SECONDS", 0.02)  # what a stopped one leaves unanswered takes 0.2 s
        os.kill(engine.pid, stop)
        while engine.state.phase != "restarting":
            await asyncio.sleep(0.001)
        monkeypatch.setattr(child, "PING_SECONDS", 1.0)
        for job in jobs:
            with pytest.raises(EngineError, match=r"no sign of life|SIGKILL"):
                await job.result
        await engine.ready()
        assert (await engine.complete(request("import os\nimport ", 4)).result).generated > 0
        assert [state.phase for state in states if state.phase != "loading"] == ["ready", "restarting", "ready"]
    finally:
        await engine.close()


async def test_a_slow_model_is_given_time() -> None:
    """Sixteen tokens of a prompt are one step, which takes sixteen seconds where a token takes one."""
    engine = Engine(SETTINGS, COMPLETING)
    info = ModelInfo("m", "m.gguf", "", "cpu", 0, 1, 1024, 2, 0, 0.0)
    assert engine._patience() == 0
    for rate, pings in ((0.0, child.SILENT_PINGS), (500.0, child.SILENT_PINGS), (1.0, 64)):
        engine.state = EngineState("ready", 100, replace(info, prefill_rate=rate))
        assert engine._patience() == 0, "nothing is asked of it"
        job = engine.complete(request("x = "))
        assert engine._patience() == pings
        engine.cancel(job)
    assert SMALLEST_BATCH == STEP_TOKENS


async def test_an_engine_killed_again_and_again_is_always_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In mid-work, at moments that nobody chooses. TABBY_LSP_KILLS=100 for the long run."""
    monkeypatch.setattr(child, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(child, "DEATHS_SECONDS", 0.0)
    chance = random.Random(0)
    engine = Engine(SETTINGS, COMPLETING)
    engine.start()
    answered = 0
    try:
        for number in range(int(os.environ.get("TABBY_LSP_KILLS", "5"))):
            await engine.ready()
            begin = chance.randrange(3000)
            jobs = [
                engine.complete(request(TEXT[: begin + 300], 64)),
                engine.write(Write((Segment("import os\n"),), Sampling(99))),
            ]
            await asyncio.sleep(chance.random() * 0.3)
            assert engine.pid is not None
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine.pid, signal.SIGKILL)
            for job in jobs:
                with contextlib.suppress(EngineError):
                    await job.result
                answered += 1
            while engine.state.phase == "ready":  # its death is told in a moment
                await asyncio.sleep(0.001)
            assert not engine._jobs, number
        await engine.ready()
        assert (await engine.complete(request("import os\nimport ", 4)).result).generated > 0
        assert answered == 2 * (number + 1)
    finally:
        await engine.close()


async def test_a_cancelled_generation_frees_the_engine_for_the_next() -> None:
    engine = Engine(replace(SETTINGS, context_size=2048), COMPLETING)
    engine.start()
    try:
        await engine.ready()
        for _ in range(20):
            running = engine.complete(request(TEXT, 400))
            await asyncio.sleep(0.001)
            engine.cancel(running)
            assert running.result.cancelled()
        completion = await engine.complete(request("import os\nimport ", 4)).result
        assert completion.generated > 0
    finally:
        await engine.close()


async def test_a_llama_cpp_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a build for another processor or with a library missing."""
    (tmp_path / "llama_cpp.py").write_text("raise RuntimeError('libllama.so is not here')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    reason = await state_of(SETTINGS)
    assert "libllama.so is not here" in reason and "Reinstall llama-cpp-python" in reason


async def test_a_process_that_cannot_be_started_leaves_no_job_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    engine = Engine(SETTINGS, COMPLETING)
    engine.start()
    job = engine.complete(request("x = "))
    with pytest.raises(EngineError, match="cannot be started"):
        await job.result
    await engine.close()
