"""Figures on the held-out packages, through llama.cpp with the exported file: what the server would see.

Owns the choice of holes (by a fixed seed) and the measures. Does not know the trainer's tensors.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from tabby_lsp.models.training.corpus import Source, load_split
from tabby_lsp.models.training.export import NAME
from tabby_lsp.models.training.samples import Cut, Hole, fim_ids, line_end, open_hole, pick_start
from tabby_lsp.models.training.tokenizer import FIRST_CONTROL, Tokenizer

SEED = 20
HOLES = 300
CHARS_BEFORE, CHARS_AFTER = 1200, 500
MOST_BEFORE, MOST_AFTER = 1400, 500  # tokens, where a file has few characters for each
SHORTEST_REST = 3  # characters, blanks at the ends not counted
MOST_TOKENS = 64
TEXT_WINDOWS, WINDOW_TOKENS = 40, 512
ORDERS = {"suffix first": True, "prefix first": False}


@dataclass(frozen=True)
class Completion:
    package: str
    path: str
    hole: Hole
    text: str
    ended: bool  # by the end token, within MOST_TOKENS

    @property
    def line(self) -> str:
        return self.text.split("\n")[0].rstrip()

    @property
    def wanted(self) -> str:
        return self.hole.middle.rstrip()


def choose_holes(sources: list[Source], count: int, seed: int) -> list[tuple[Source, Hole]]:
    """Cursors within lines, as in training; the middle is what stands right of the cursor on its line.

    Each package gives equally many, or the largest would be most of the figure.
    """
    rng = random.Random(seed)
    packages = sorted({source.package for source in sources})
    holes: list[tuple[Source, Hole]] = []
    while len(holes) < count:
        package = packages[len(holes) % len(packages)]
        files = [source for source in sources if source.package == package]
        source = rng.choices(files, [len(file.text) for file in files])[0]
        start = pick_start(source.text, rng)
        cut = Cut(start, line_end(source.text, start))
        if len(source.text[cut.start : cut.end].strip()) >= SHORTEST_REST:
            holes.append((source, open_hole(source.text, cut, CHARS_BEFORE, CHARS_AFTER)))
    return holes


def complete(llm: Any, tokenizer: Tokenizer, source: Source, hole: Hole, suffix_first: bool) -> Completion:
    """The greedy completion, until the end token or MOST_TOKENS."""
    prefix, suffix = tokenizer.encode(hole.prefix)[-MOST_BEFORE:], tokenizer.encode(hole.suffix)[:MOST_AFTER]
    prompt = fim_ids(prefix, suffix, suffix_first)
    ids: list[int] = []
    for token in llm.generate(prompt, top_k=1, temp=0.0, repeat_penalty=1.0):
        if token >= FIRST_CONTROL or len(ids) == MOST_TOKENS:
            break
        ids.append(token)
    return Completion(source.package, source.path, hole, tokenizer.decode(ids), len(ids) < MOST_TOKENS)


def line_figures(completions: list[Completion]) -> dict[str, float]:
    """Of the first line: exact matches, edit similarity, empty ones; of the end token: where it came."""

    def share(what: Callable[[Completion], float]) -> float:
        return round(sum(map(what, completions)) / len(completions), 4)

    return {
        "holes": len(completions),
        "exact_match": share(lambda c: c.line == c.wanted),
        "edit_similarity": share(lambda c: SequenceMatcher(None, c.line, c.wanted, autojunk=False).ratio()),
        "empty": share(lambda c: not c.line.strip()),
        "ended": share(lambda c: c.ended),
        "ended_on_the_line": share(lambda c: c.ended and "\n" not in c.text),
    }


def bits_per_char(llm: Any, tokenizer: Tokenizer, sources: list[Source], windows: int) -> float:
    """Plain left to right, over windows of one file each; a window's first token is given, not predicted."""
    rng = random.Random(SEED)
    bits, chars = 0.0, 0
    for source in rng.choices(sources, [len(source.text) for source in sources], k=windows):
        begin = source.text.rfind("\n", 0, rng.randrange(len(source.text))) + 1
        ids = tokenizer.encode(source.text[begin : begin + 8 * WINDOW_TOKENS])[:WINDOW_TOKENS]
        if len(ids) < 2:
            continue
        llm.reset()
        llm.eval(ids)
        scores = np.array(llm.scores[: len(ids) - 1], dtype=np.float32)
        top = scores.max(axis=1)
        normal = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
        bits += float((normal - scores[np.arange(len(ids) - 1), ids[1:]]).sum()) / math.log(2)
        chars += len(tokenizer.decode(ids[1:]))
    return bits / chars


def evaluate(work: Path) -> dict[str, Any]:
    """Writes `figures.json` and `completions.json` beside the model."""
    import llama_cpp

    tokenizer = Tokenizer(work / "tokenizer.json")
    sources = load_split(work, "held-out")
    path = str(work / f"{NAME}-q8_0.gguf")
    llm: Any = llama_cpp.Llama(path, n_ctx=2048, n_batch=2048, n_threads=1, logits_all=True, verbose=False)
    packages = sorted({source.package for source in sources})
    by_package = {}
    for package in packages:
        files = [source for source in sources if source.package == package]
        by_package[package] = round(bits_per_char(llm, tokenizer, files, TEXT_WINDOWS), 4)
        _say(f"evaluate: {package}: {by_package[package]} bits per character")
    llm.close()
    figures: dict[str, Any] = {
        "bits_per_char": round(sum(by_package.values()) / len(by_package), 4),
        "bits_per_char_by_package": by_package,
    }
    llm = llama_cpp.Llama(path, n_ctx=2048, n_batch=2048, n_threads=1, verbose=False)
    holes = choose_holes(sources, HOLES, SEED)
    shown = {}
    for order, suffix_first in ORDERS.items():
        completions = [complete(llm, tokenizer, source, hole, suffix_first) for source, hole in holes]
        figures[order] = line_figures(completions)
        _say(f"evaluate: {order}: {figures[order]}")
        shown[order] = [asdict(completion) for completion in completions]
    llm.close()
    (work / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (work / "completions.json").write_text(json.dumps(shown, indent=1))
    return figures


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
