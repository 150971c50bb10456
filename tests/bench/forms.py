"""What two forms of the prompt cost or gain in quality: token healing, and the frozen prefix of prefix-first models.

    python tests/bench/forms.py DIR [--model FILE] [--lines N] [--only healing|frozen]

DIR holds Python files that the model was not trained on.

**healing**: the model writes a line of its own from the line's indentation on. Then it is asked at cuts within that
line: does it go on with its own line? Cuts inside a word are counted apart from those behind one.

**frozen**: the rest of a real line is asked for, prefix first; the prefix stands whole before the suffix, or is frozen
at the line's start, 4, 16 or 32 lines above, the rest of it behind the middle token. The share of lines that come out
right, and the bits that the model needs for each character of the real rest; with the intervals of a bootstrap.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from alone import Alone

from tabby_lsp.completion.fim import PREFIX_FIRST
from tabby_lsp.completion.layout import Layout, choose_layout
from tabby_lsp.completion.pipeline import Budget
from tabby_lsp.completion.prompt import Prompt, build
from tabby_lsp.data import CompletionContext, CompletionRequest, ModelSettings, Sampling
from tabby_lsp.engine.model import Model
from tabby_lsp.models import starter

SEED = 7
CHARS_BEFORE, CHARS_AFTER = 2400, 800
BUDGET = 1200
TYPED_LINES = (0, 4, 16, 32)
ROUNDS = 2000


def places(files: Sequence[str], count: int, random_numbers: random.Random) -> Iterator[tuple[str, int, int]]:
    """Text, and start and end of a code line's content."""
    for _ in range(count):
        text = random_numbers.choice(files)
        lines = [match for match in re.finditer(r"^[ \t]*(?P<code>[^\s#\"'].{8,})$", text, re.MULTILINE)]
        if lines:
            chosen = random_numbers.choice(lines)
            yield text, chosen.start("code"), chosen.end()


def context_at(text: str, cursor: int, end: int) -> CompletionContext:
    first = text.rfind("\n", 0, max(0, cursor - CHARS_BEFORE)) + 1
    return CompletionContext(text[first:cursor], "", text[end : end + CHARS_AFTER], path="a.py", language="python")


def first_line(
    writer: Alone, layout: Layout, context: CompletionContext, before: Prompt | None = None, tokens: int = 40
) -> str:
    earlier = {("", BUDGET): before} if before else {}
    done = writer.complete(layout, CompletionRequest("", context, Sampling(tokens)), Budget((BUDGET,)), earlier)
    return done.candidates[0].text.split("\n")[0].rstrip()


def bits(writer: Alone, layout: Layout, context: CompletionContext, before: Prompt | None, wanted: str) -> float:
    """Bits per character of a text at the cursor."""
    prompt = build(layout, context, BUDGET, before)
    writer.prefill(prompt.tokens)
    slot = writer.slot(prompt.tokens)
    assert slot.logits is not None
    logits, total = slot.logits, 0.0
    for token in layout.plain.tokens(prompt.pending.decode() + wanted):
        total += math.log(float(np.exp(logits - logits.max()).sum())) + float(logits.max() - logits[token])
        writer.extend(slot, token)
        logits = writer.model.logits()
    return total / math.log(2) / len(wanted)


def interval(values: Sequence[float], form: str) -> str:
    chance = random.Random(SEED)
    means = sorted(statistics.fmean(chance.choices(values, k=len(values))) for _ in range(ROUNDS))
    low, high = means[ROUNDS // 40], means[-ROUNDS // 40]
    return f"{statistics.fmean(values):{form}} ({low:{form}} to {high:{form}})"


def healing(writer: Alone, files: Sequence[str], count: int) -> None:
    chance = random.Random(SEED)
    heals = choose_layout(writer.vocabulary)
    layouts = {"with healing": heals, "without": replace(heals, healing=False)}
    found: dict[tuple[str, str], list[bool]] = {}
    for text, start, end in places(files, count, chance):
        own = first_line(writer, heals, context_at(text, start, end))
        if len(own) < 4:
            continue
        for cut in sorted(chance.sample(range(1, len(own) - 1), min(4, len(own) - 2))):
            kind = "inside a word" if re.search(r"\w$", own[:cut]) and re.match(r"\w", own[cut:]) else "elsewhere"
            typed = text[:start] + own[:cut]
            for name, layout in layouts.items():
                written = first_line(writer, layout, context_at(typed + text[end:], len(typed), len(typed)))
                found.setdefault((kind, name), []).append(written == own[cut:].rstrip())
    for (kind, name), values in sorted(found.items()):
        print(f"its own line goes on, cut {kind:<14} {name:<13} {interval(values, '.1%')} of {len(values)}")


def frozen(writer: Alone, files: Sequence[str], count: int) -> None:
    chance = random.Random(SEED)
    freezes = replace(choose_layout(writer.vocabulary, PREFIX_FIRST), healing=False)
    if not freezes.freezes:
        print("this model's prompts are not prefix first")
        return
    found: dict[str, list[tuple[bool, float]]] = {}
    for text, start, end in places(files, count, chance):
        cursor = chance.randrange(start, end - 3)
        context = context_at(text, cursor, end)
        wanted = text[cursor:end].rstrip()
        whole = replace(freezes, freezing=False)
        needed = bits(writer, whole, context, None, wanted)
        found.setdefault("prefix whole", []).append((first_line(writer, whole, context) == wanted, needed))
        for typed in TYPED_LINES:
            lines = context.prefix.split("\n")
            kept = "\n".join(lines[: max(0, len(lines) - 1 - typed)])
            before = Prompt((), "", "", kept + "\n" if kept else "", context.suffix, len(kept) + bool(kept))
            needed = bits(writer, freezes, context, before, wanted)
            right = first_line(writer, freezes, context, before) == wanted
            found.setdefault(f"frozen {typed} lines above", []).append((right, needed))
    print(f"{'prefix first':<24}{'right first lines':<26}bits per character")
    for name, values in found.items():
        rights, costs = zip(*values, strict=True)
        print(f"{name:<24}{interval(rights, '.1%'):<26}{interval(costs, '.3f')} of {len(values)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=starter.MODEL)
    parser.add_argument("--lines", type=int, default=300)
    parser.add_argument("--only", choices=("healing", "frozen"))
    options = parser.parse_args()
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(options.folder.rglob("*.py"))]
    model_writer = Alone(Model(ModelSettings(str(options.model), context_size=2048)))
    print(f"{options.model.name}, {len(texts)} files")
    if options.only != "frozen":
        healing(model_writer, texts, options.lines)
    if options.only != "healing":
        frozen(model_writer, texts, options.lines)
