"""Figures on the held-out packages, through llama.cpp with the exported file: what the server would see.

Owns the choice of holes (by a fixed seed), of related code, and the measures; the same are taken of the model
that is being replaced and of the 5-gram yardstick. Does not know the trainer's tensors.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from tabby_lsp.models.training.corpus import Source, load_split
from tabby_lsp.models.training.export import NAME, read_gguf, shipped_file
from tabby_lsp.models.training.ngrams import ORDER, NGrams, count_ngrams
from tabby_lsp.models.training.samples import (
    Cut,
    Hole,
    fim_ids,
    is_prose,
    line_end,
    open_hole,
    pick_start,
    repository_ids,
)
from tabby_lsp.models.training.tokenizer import FIRST_CONTROL, VOCABULARY, Tokenizer

SEED = 20
HOLES = 300
CHARS_BEFORE, CHARS_AFTER = 1200, 500
MOST_BEFORE, MOST_AFTER = 1400, 500  # tokens, where a file has few characters for each
SHORTEST_REST = 3  # characters, blanks at the ends not counted
MOST_TOKENS = 64
TEXT_WINDOWS, WINDOW_TOKENS = 40, 512  # of each package
LONG_WINDOWS, LONG_WINDOW_TOKENS = 10, 2048
CHUNK_LINES, CHUNKS = 16, 2
NEAR_LINES = 12  # before and after the cursor, whose identifiers the related code is searched with
IDENTIFIER = re.compile(r"[A-Za-z_]\w{3,}")
PROMPTS = {
    "suffix first": (True, False),
    "suffix first, related files": (True, True),
    "prefix first": (False, False),
    "prefix first, related files": (False, True),
}  # (suffix first, with related code)


@dataclass(frozen=True)
class Place:
    """A hole to fill: the file around it, and whether it is in code, not in a comment or a docstring."""

    source: Source
    hole: Hole
    code: bool
    related: tuple[tuple[str, str], ...]  # path and text of chunks of other files of the package


@dataclass(frozen=True)
class Completion:
    text: str
    ended: bool  # by the end token, within MOST_TOKENS

    @property
    def line(self) -> str:
        return self.text.split("\n")[0].rstrip()


class Chunks:
    """The files of a package in chunks of lines, searched by the identifiers they share with a place."""

    def __init__(self, sources: list[Source]) -> None:
        self._chunks: list[tuple[str, str, frozenset[str]]] = []
        seen: Counter[str] = Counter()
        for source in sources:
            lines = source.text.split("\n")
            for first in range(0, len(lines), CHUNK_LINES):
                text = "\n".join(lines[first : first + CHUNK_LINES])
                names = frozenset(IDENTIFIER.findall(text))
                seen.update(names)
                self._chunks.append((source.path, text, names))
        self._weights = {name: math.log(len(self._chunks) / count) for name, count in seen.items()}

    def related(self, source: Source, hole: Hole) -> tuple[tuple[str, str], ...]:
        """The best chunks of other files, one of each file, the best last (nearest the prompt)."""
        near = hole.prefix.split("\n")[-NEAR_LINES:] + hole.suffix.split("\n")[:NEAR_LINES]
        wanted = frozenset(IDENTIFIER.findall("\n".join(near)))
        best: dict[str, tuple[float, str]] = defaultdict(lambda: (0.0, ""))
        for path, text, names in self._chunks:
            if path != source.path:
                score = sum(self._weights[name] for name in wanted & names)
                best[path] = max(best[path], (score, text))
        ranked = sorted(((score, path, text) for path, (score, text) in best.items() if score > 0), reverse=True)
        return tuple((path, text) for _, path, text in reversed(ranked[:CHUNKS]))


def choose_places(sources: list[Source], count: int, seed: int) -> list[Place]:
    """Cursors within lines, as in training; the middle is what stands right of the cursor on its line.

    Each package gives equally many, or the largest would be most of the figure.
    """
    rng = random.Random(seed)
    packages = sorted({source.package for source in sources})
    chunks = {package: Chunks([source for source in sources if source.package == package]) for package in packages}
    places: list[Place] = []
    while len(places) < count:
        package = packages[len(places) % len(packages)]
        files = [source for source in sources if source.package == package]
        source = rng.choices(files, [len(file.text) for file in files])[0]
        start = pick_start(source.text, rng)
        cut = Cut(start, line_end(source.text, start))
        if len(source.text[cut.start : cut.end].strip()) >= SHORTEST_REST:
            hole = open_hole(source.text, cut, CHARS_BEFORE, CHARS_AFTER)
            code = not is_prose(source.text, start)
            places.append(Place(source, hole, code, chunks[package].related(source, hole)))
    return places


def prompt_ids(tokenizer: Tokenizer, place: Place, suffix_first: bool, with_related: bool) -> list[int]:
    prefix = tokenizer.encode(place.hole.prefix)[-MOST_BEFORE:]
    suffix = tokenizer.encode(place.hole.suffix)[:MOST_AFTER]
    source, related = place.source, list(place.related) if with_related else []
    head = repository_ids(source.package, related, source.path, tokenizer.encode) if related else []
    return [*head, *fim_ids(prefix, suffix, suffix_first)]


def complete(llm: Any, tokenizer: Tokenizer, prompt: list[int]) -> Completion:
    """The greedy completion, until the end token or MOST_TOKENS."""
    ids: list[int] = []
    for token in llm.generate(prompt, top_k=1, temp=0.0, repeat_penalty=1.0):
        if token >= FIRST_CONTROL or len(ids) == MOST_TOKENS:
            break
        ids.append(token)
    return Completion(tokenizer.decode(ids), len(ids) < MOST_TOKENS)


def complete_by_ngrams(ngrams: NGrams, tokenizer: Tokenizer, place: Place) -> Completion:
    """The likeliest token after the last four, again and again, until a line ends; it sees no suffix."""
    ids = tokenizer.encode(place.hole.prefix)
    begin = len(ids)
    while len(ids) < begin + MOST_TOKENS:
        ids.append(int(ngrams.probabilities(ids[-(ORDER - 1) :]).argmax()))
        if "\n" in tokenizer.decode(ids[-1:]):
            break
    text = tokenizer.decode(ids[begin:])
    return Completion(text.split("\n")[0], "\n" in text)


def line_figures(places: list[Place], completions: list[Completion]) -> dict[str, float]:
    """Of the first line: exact matches, edit similarity, empty ones; of the end token: where it came."""

    def share(what: Callable[[str, Completion], float], code: bool = False) -> float:
        found = [
            what(place.hole.middle.rstrip(), completion)
            for place, completion in zip(places, completions, strict=True)
            if place.code or not code
        ]
        return round(sum(found) / max(1, len(found)), 4)

    return {
        "exact_match": share(lambda wanted, c: c.line == wanted),
        "exact_match_in_code": share(lambda wanted, c: c.line == wanted, code=True),
        "edit_similarity": share(lambda wanted, c: SequenceMatcher(None, c.line, wanted, autojunk=False).ratio()),
        "empty": share(lambda wanted, c: not c.line.strip()),
        "ended": share(lambda wanted, c: c.ended),
        "ended_on_the_line": share(lambda wanted, c: c.ended and "\n" not in c.text),
    }


def text_windows(tokenizer: Tokenizer, files: list[Source], count: int, length: int) -> list[list[int]]:
    """Windows of so many tokens, each from a line's start of one file."""
    rng = random.Random(SEED)
    windows = []
    for source in rng.choices(files, [len(file.text) for file in files], k=count):
        begin = source.text.rfind("\n", 0, rng.randrange(len(source.text))) + 1
        windows.append(tokenizer.encode(source.text[begin : begin + 8 * length])[:length])
    return [window for window in windows if len(window) > 1]


def bits_of(llm: Any, ids: list[int]) -> float:
    """Of the ids after the first, the first being given; left to right, no fill-in-the-middle."""
    llm.reset()
    llm.eval(ids)
    scores = np.array(llm.scores[: len(ids) - 1], dtype=np.float32)
    top = scores.max(axis=1)
    normal = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return float((normal - scores[np.arange(len(ids) - 1), ids[1:]]).sum()) / math.log(2)


def bits_per_char(bits: Callable[[list[int]], float], tokenizer: Tokenizer, windows: list[list[int]]) -> float:
    return round(sum(map(bits, windows)) / sum(len(tokenizer.decode(window[1:])) for window in windows), 4)


def text_figures(
    bits: Callable[[list[int]], float], tokenizer: Tokenizer, sources: list[Source], long: bool
) -> dict[str, Any]:
    """Bits per character: the mean of the packages in short windows, each of them, and in `long` windows if asked."""

    def of_package(package: str, count: int, length: int) -> float:
        files = [source for source in sources if source.package == package]
        return bits_per_char(bits, tokenizer, text_windows(tokenizer, files, count, length))

    packages = sorted({source.package for source in sources})
    short = {package: of_package(package, TEXT_WINDOWS, WINDOW_TOKENS) for package in packages}
    figures: dict[str, Any] = {
        "bits_per_char": round(sum(short.values()) / len(short), 4),
        "bits_per_char_by_package": short,
    }
    if long:
        windows = [of_package(package, LONG_WINDOWS, LONG_WINDOW_TOKENS) for package in packages]
        figures["bits_per_char_long"] = round(sum(windows) / len(windows), 4)
    return figures


def open_model(path: Path, logits: bool) -> Any:
    import llama_cpp

    context = LONG_WINDOW_TOKENS
    return contextlib.closing(
        llama_cpp.Llama(
            str(path), n_ctx=context, n_batch=context, n_threads=1, n_threads_batch=1, logits_all=logits, verbose=False
        )
    )


def tokenizer_of(path: Path) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        read_gguf(path, Path(folder) / "tokenizer.json")
        return Tokenizer(Path(folder) / "tokenizer.json")


def read_text(path: Path, sources: list[Source], long: bool) -> dict[str, Any]:
    """What a model's file makes of the held-out text."""
    tokenizer = tokenizer_of(path)
    with open_model(path, logits=True) as llm:
        figures = text_figures(lambda ids: bits_of(llm, ids), tokenizer, sources, long)
    _say(f"evaluate: {path.name}: {figures}")
    return figures


def fill_holes(path: Path, form: str, places: list[Place]) -> tuple[dict[str, float], list[Completion]]:
    """What it makes of the holes, asked in one form of the prompt."""
    tokenizer = tokenizer_of(path)
    with open_model(path, logits=False) as llm:
        completions = [complete(llm, tokenizer, prompt_ids(tokenizer, place, *PROMPTS[form])) for place in places]
    figures = line_figures(places, completions)
    _say(f"evaluate: {path.name}: {form}: {figures}")
    return figures, completions


def ngram_figures(work: Path, held_out: list[Source], places: list[Place]) -> dict[str, Any]:
    tokenizer = Tokenizer(work / "tokenizer.json")
    files = [np.array(tokenizer.encode(source.text)) for source in load_split(work, "train")]
    ngrams = count_ngrams(files, VOCABULARY)
    figures = text_figures(ngrams.bits, tokenizer, held_out, False)
    figures["prefix only"] = line_figures(places, [complete_by_ngrams(ngrams, tokenizer, place) for place in places])
    _say(f"evaluate: {ORDER}-gram: {figures}")
    return figures


def evaluate(work: Path, replaced: Path | None) -> dict[str, Any]:
    """Writes `figures.json` and `completions.json` beside the model; `replaced` is the model shipped so far.

    Of that one only the default form is looked at, and of the F16 file only the text.
    """
    sources = load_split(work, "held-out")
    places = choose_places(sources, HOLES, SEED)
    figures: dict[str, Any] = {"holes": len(places), "holes_in_code": sum(place.code for place in places)}
    shipped, default = shipped_file(work), next(iter(PROMPTS))
    # Each computes on one core: the same figures on every machine. Spawned: llama.cpp does not survive a fork.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        ngrams = pool.submit(ngram_figures, work, sources, places)
        filled = {form: pool.submit(fill_holes, shipped, form, places) for form in PROMPTS}
        text = pool.submit(read_text, shipped, sources, True)
        f16 = pool.submit(read_text, work / f"{NAME}-f16.gguf", sources, False)
        if replaced is not None:
            before = pool.submit(read_text, replaced, sources, False)
            filled_before = pool.submit(fill_holes, replaced, default, places)
            figures["replaced"] = {**before.result(), default: filled_before.result()[0]}
        figures["ngrams"], figures["f16"] = ngrams.result(), f16.result()
        figures["model"] = {**text.result(), **{form: done.result()[0] for form, done in filled.items()}}
        completions = {form: done.result()[1] for form, done in filled.items()}
    (work / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    held = [
        {
            "path": place.source.path,
            "hole": asdict(place.hole),
            **{name: asdict(completions[name][at]) for name in PROMPTS},
        }
        for at, place in enumerate(places)
    ]
    (work / "completions.json").write_text(json.dumps(held, indent=1))
    return figures


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
