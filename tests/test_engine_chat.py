"""Long answers of the engine: what of a prompt is a control token, how they end, what the next turn need not read."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import MODEL
from scripted import write_scripted

from tabby_lsp.data import ModelSettings, Sampling, Segment
from tabby_lsp.engine.client import Engine, EngineError
from tabby_lsp.engine.ending import Ending
from tabby_lsp.engine.messages import Write, Written
from tabby_lsp.engine.model import Model

SHORT = Sampling(8)
SETTINGS = ModelSettings(str(MODEL), threads=1, context_size=512)


def test_a_text_ends_before_what_ends_it() -> None:
    def fed(pieces: list[str], *stop: str) -> tuple[str, bool]:
        ending = Ending(stop)
        shown = ""
        for each in pieces:
            shown += ending.feed(each)
            if ending.found:
                break
        return shown + ending.rest(), ending.found

    for text, stop, left in (
        ("one two three", ("two",), "one "),
        ("one two three", ("three", "tw"), "one "),
        ("one two three", ("four", "threes"), "one two three"),
        ("aaab", ("aab",), "a"),
        ("abc", ("",), "abc"),
        ("abc", (), "abc"),
    ):
        for first, second in itertools.combinations_with_replacement(range(len(text) + 1), 2):
            pieces = [text[:first], text[first:second], text[second:]]
            assert fed(pieces, *stop) == (left, left != text), (text, pieces)


def test_what_may_become_an_end_is_held_back_and_nothing_else() -> None:
    ending = Ending(["\nUser:"])
    assert [ending.feed(each) for each in ("a\n", "U", "x", "\nUser")] == ["a", "", "\nUx", ""]


@pytest.mark.parametrize(
    "text, loops",
    [
        ("It escapes the text. " * 4, False),
        ("So: " + "It escapes the text. " * 5, True),
        ("The function is called. It calls the function again.\n" * 5, True),
        ("-" * 400, False),
        ("| ---------------------- " * 20, False),
        ("0, " * 200, False),
        ("".join(f"assert escape({n}) == {n}\n" for n in range(99)), False),
        ("x" * 400, True),
    ],
)
def test_an_answer_that_goes_round_in_circles_is_ended(text: str, loops: bool) -> None:
    ending = Ending([])
    found = False
    for each in text:
        ending.feed(each)
        found = found or ending.loops
    assert found is loops


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(SETTINGS)


def test_only_the_model_makers_text_holds_control_tokens(model: Model) -> None:
    from tabby_lsp.engine.scheduler import Scheduler
    from tabby_lsp.engine.work import Worker

    worker = Worker(Scheduler(), model, lambda message, id: None)
    end = model.vocab.token("<|endoftext|>")
    said = Segment("<|endoftext|> in a question")
    assert end not in worker._tokens([said])
    mixed = worker._tokens([Segment("<|endoftext|>", control=True), said])
    assert mixed.count(end) == 1 and model.vocab.piece(mixed[0]) == b""  # type: ignore[arg-type]
    assert b"".join(map(model.vocab.piece, mixed)) == said.text.encode()


def asked(*prompt: str, sampling: Sampling = SHORT, **extra: tuple[str, ...]) -> Write:
    """Of texts, which are control text and people's in turns."""
    return Write(tuple(Segment(text, bool(number % 2)) for number, text in enumerate(prompt)), sampling, **extra)


async def written(engine: Engine, request: Write) -> Written:
    found: Written = await engine.write(request).result
    return found


async def test_an_answer_says_how_it_ended_and_what_it_took(tmp_path: Path) -> None:
    """Of a model that says a text after any other, and then ends."""
    path = write_scripted(tmp_path / "says.gguf", "It escapes the text.\nUser: and then?")
    engine = Engine(ModelSettings(str(path), threads=1, context_size=512))
    engine.start()
    try:
        whole = await written(engine, asked("What does escape do? ", "<|fim_middle|>", sampling=Sampling(64)))
        assert (whole.text, whole.end) == ("It escapes the text.\nUser: and then?", "stop")
        assert whole.evaluated > 3 and whole.generated > 3
        short = await written(engine, asked("What does escape do? ", "<|fim_middle|>", sampling=Sampling(2)))
        assert short.end == "length" and short.generated == 2 and whole.text.startswith(short.text)
        assert short.reused == whole.evaluated, "nothing is read again"
        stopped = await written(
            engine, asked("What? ", "<|fim_middle|>", sampling=Sampling(64), stop=("\nUser:", "never"))
        )
        assert (stopped.text, stopped.end) == ("It escapes the text.", "stop")
        job = engine.write(asked("What? ", "<|fim_middle|>", sampling=Sampling(64)))
        await job.result
        assert job.text == whole.text, "the pieces are the text"
    finally:
        await engine.close()


async def test_the_next_turn_of_a_conversation_reads_what_is_new() -> None:
    engine = Engine(SETTINGS)
    engine.start()
    try:
        first = await written(engine, asked("def quote(text):\n" * 8))
        second = await written(
            engine, asked("def quote(text):\n" * 8 + first.text + "\n\n# and what does it return?\n")
        )
        assert first.reused == 0 and second.reused >= first.evaluated and second.evaluated < first.evaluated / 2
    finally:
        await engine.close()


async def test_a_conversation_asks_for_an_end_of_loops() -> None:
    """Of the starter, which lists the same name again and again behind a list of it."""
    engine = Engine(SETTINGS)
    engine.start()
    try:
        same = asked("NAMES = [\n" + "    'Equal',\n" * 30, sampling=Sampling(300))
        for ends_loops, end in ((True, "repetition"), (False, "length")):
            assert (await written(engine, replace(same, ends_loops=ends_loops))).end == end
    finally:
        await engine.close()


async def test_texts_are_counted_as_they_are_read() -> None:
    engine = Engine(SETTINGS)
    engine.start()
    try:
        counts = (await engine.count(["", "import os\n", "<|endoftext|>" * 3, "x = 1\n" * 50]).result).tokens
        assert counts[0] == 0 and 1 < counts[1] < 8 and counts[2] > 3 and counts[3] >= 100
        taken = await written(engine, asked("x = 1\n" * 50, sampling=Sampling(1)))
        assert taken.evaluated + taken.reused - counts[3] in (0, 1), "but for the token that begins every prompt"
    finally:
        await engine.close()


async def test_what_does_not_fit_is_refused_and_a_cancelled_answer_ends() -> None:
    engine = Engine(SETTINGS)
    engine.start()
    try:
        with pytest.raises(EngineError, match="512"):
            await written(engine, asked("x = 1\n" * 600))
        pieces = asyncio.Event()
        job = engine.write(asked("import os\n", sampling=Sampling(400, 1.0, 1)))
        job.on_piece = pieces.set
        await pieces.wait()
        engine.cancel(job)
        with pytest.raises(asyncio.CancelledError):
            await job.result
        assert (await written(engine, asked("x", sampling=Sampling(1)))).generated == 1
    finally:
        await engine.close()


async def test_the_model_says_how_it_is_asked() -> None:
    engine = Engine(SETTINGS)
    engine.start()
    try:
        await engine.ready()
        dialect = engine.state.dialect
        assert dialect is not None and "<|im_start|>" in dialect.template and dialect.chatml
        assert (dialect.bos, dialect.eos) == ("", "<|endoftext|>"), "its file names no first token"
    finally:
        await engine.close()
