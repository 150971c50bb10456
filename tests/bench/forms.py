"""What two forms of the prompt cost or gain in quality: token healing, and the frozen prefix of prefix-first models.

    python tests/bench/forms.py DIR [--model FILE] [--lines N] [--only healing|frozen]

DIR holds Python files that the model was not trained on.

**healing**: the model writes a line of its own from the line's indentation on. Then it is asked at cuts within that
line: does it go on with its own line? Cuts inside a word are counted apart from those behind one.

**frozen**: the rest of a real line is asked for, prefix first; the prefix stands whole before the suffix, or is frozen
at the line's start, 4, 16 or 32 lines above, the rest of it behind the middle token. The share of lines that come out
right, with the intervals of a bootstrap.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tabby_lsp.completion.fim import PREFIX_FIRST
from tabby_lsp.completion.layout import Layout, choose_layout
from tabby_lsp.completion.pipeline import Budget, complete
from tabby_lsp.completion.prompt import Prompt
from tabby_lsp.data import CompletionContext, EngineSettings, Sampling
from tabby_lsp.engine.decode import ModelWriter
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
    writer: ModelWriter, layout: Layout, context: CompletionContext, before: Prompt | None = None, tokens: int = 40
) -> str:
    earlier = {("", BUDGET): before} if before else {}
    done = complete(
        writer, layout, "", context, Sampling(tokens), (), Budget(BUDGET, BUDGET), lambda text: None, earlier=earlier
    )
    return done.candidates[0].text.split("\n")[0].rstrip()


def interval(values: Sequence[bool]) -> str:
    chance = random.Random(SEED)
    means = sorted(statistics.mean(chance.choices(values, k=len(values))) for _ in range(ROUNDS))
    low, high = means[ROUNDS // 40], means[-ROUNDS // 40]
    return f"{statistics.mean(values):6.1%}  ({low:.1%} to {high:.1%})  of {len(values)}"


def healing(writer: ModelWriter, files: Sequence[str], count: int) -> None:
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
        print(f"its own line goes on, cut {kind:<14} {name:<13} {interval(values)}")


def frozen(writer: ModelWriter, files: Sequence[str], count: int) -> None:
    chance = random.Random(SEED)
    freezes = replace(choose_layout(writer.vocabulary, PREFIX_FIRST), healing=False)
    if not freezes.freezes:
        print("this model's prompts are not prefix first")
        return
    found: dict[str, list[bool]] = {}
    for text, start, end in places(files, count, chance):
        cursor = chance.randrange(start, end - 3)
        context = context_at(text, cursor, end)
        wanted = text[cursor:end].rstrip()
        plain = first_line(writer, replace(freezes, freezing=False), context)
        found.setdefault("prefix whole", []).append(plain == wanted)
        for typed in TYPED_LINES:
            lines = context.prefix.split("\n")
            kept = "\n".join(lines[: max(0, len(lines) - 1 - typed)])
            before = Prompt((), "", "", kept + "\n" if kept else "", context.suffix, len(kept) + bool(kept))
            written = first_line(writer, freezes, context, before)
            found.setdefault(f"frozen {typed} lines above", []).append(written == wanted)
    for name, values in found.items():
        print(f"right first lines, {name:<22} {interval(values)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=starter.MODEL)
    parser.add_argument("--lines", type=int, default=300)
    parser.add_argument("--only", choices=("healing", "frozen"))
    options = parser.parse_args()
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(options.folder.rglob("*.py"))]
    model_writer = ModelWriter(Model(EngineSettings(str(options.model), context_size=2048)))
    print(f"{options.model.name}, {len(texts)} files")
    if options.only != "frozen":
        healing(model_writer, texts, options.lines)
    if options.only != "healing":
        frozen(model_writer, texts, options.lines)
