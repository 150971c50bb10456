"""Fills holes through the engine process, in each of several ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tabby_lsp.completion.filters import FILTERS
from tabby_lsp.completion.overtype import overtyped
from tabby_lsp.completion.pipeline import cleaned
from tabby_lsp.data import Completion, CompletionContext, CompletionRequest, Sampling, Snippet
from tabby_lsp.engine.client import Engine
from tabby_lsp.evaluation.holes import File, Hole, read_files
from tabby_lsp.evaluation.measures import Filled
from tabby_lsp.index.entry import prepare
from tabby_lsp.index.search import Search
from tabby_lsp.index.store import Store
from tabby_lsp.index.walk import Found, Rules, read, walk
from tabby_lsp.languages import language_of_path

# What is written before anything is done to it, what is left of that, what of that is shown unasked, and the same with
# text of other files.
RAW, PLAIN, SURE, CONTEXT = "no filters", "filtered", "shown", "shown, with context"

Retrieve = Callable[[Hole, int], Sequence[Snippet]]  # for a hole, so many characters


def index_of(folder: Path, database: Path) -> Search:
    """An index of a folder, made for the evaluation."""
    with Store.open(database) as store:
        found = [entry for entry in walk(folder, Rules()) if isinstance(entry, Found)]
        texts = ((entry, read(folder / entry.path)) for entry in found)
        store.put_all(
            folder,
            [prepare(entry.path, language_of_path(entry.path), text, entry.stamp) for entry, text in texts if text],
        )
    return Search(database)


def files_in(folder: Path) -> list[File]:
    """What of a folder the index would hold."""
    return read_files(_sources(folder))


def _sources(folder: Path) -> Iterable[tuple[str, str, str]]:
    for entry in walk(folder, Rules()):
        if isinstance(entry, Found) and (text := read(folder / entry.path)) is not None:
            yield entry.path, language_of_path(entry.path), text


async def fill(
    holes: Sequence[Hole],
    repository: str,
    make_engine: Callable[[], Engine],
    sampling: Sampling,
    retrieve: Retrieve | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, list[Filled]]:
    """What is suggested in each hole: by variant, in the order of the holes. With `retrieve` all is asked twice.

    Raises EngineError.
    """
    contexts = [hole.context(repository) for hole in holes]
    variants: dict[str, list[Filled]] = {}
    engine = make_engine()
    engine.start()
    try:
        _, info = await engine.ready_to_complete()
        confidence = info.confidence
        done = [await _ask(engine, context, sampling, progress, number) for number, context in enumerate(contexts)]
        variants |= _variants(holes, contexts, done, confidence)
        if retrieve is not None:
            contexts = [
                dataclasses.replace(context, snippets=tuple(retrieve(hole, info.context_room)))
                for hole, context in zip(holes, contexts, strict=True)
            ]
            done = [
                await _ask(engine, context, sampling, progress, len(holes) + number)
                for number, context in enumerate(contexts)
            ]
            variants[CONTEXT] = [_shown(hole, each, confidence) for hole, each in zip(holes, done, strict=True)]
    finally:
        await engine.close()
    return variants


async def _ask(
    engine: Engine, context: CompletionContext, sampling: Sampling, progress: Callable[[int], None], number: int
) -> Completion:
    completion = await engine.complete(CompletionRequest("", context, sampling, unhurried=True)).result
    progress(number + 1)
    return completion


def _variants(
    holes: Sequence[Hole], contexts: Sequence[CompletionContext], done: Sequence[Completion], confidence: float
) -> Mapping[str, list[Filled]]:
    """What is written, and what is left of it by all filters and by all but each."""
    answers = list(zip(holes, contexts, done, strict=True))
    variants = {
        RAW: [Filled(hole, each.candidates[0].text) for hole, _, each in answers],
        PLAIN: [Filled(hole, each.text, each.replace) for hole, _, each in answers],
        SURE: [_shown(hole, each, confidence) for hole, _, each in answers],
    }
    for left_out in FILTERS:
        others = tuple(each for each in FILTERS if each is not left_out)
        filled = []
        for hole, context, each in answers:
            text = cleaned(each.candidates[0], confidence, context, others)
            filled.append(Filled(hole, text, overtyped(text, context)))
        variants[f"without {left_out.__name__}"] = filled
    return variants


def _shown(hole: Hole, completion: Completion, confidence: float) -> Filled:
    sure = completion.confidence >= confidence
    return Filled(hole, completion.text if sure else "", completion.replace if sure else 0)
