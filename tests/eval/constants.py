"""What each constant that decides what a user sees is worth: every one tried at two other values.

    python tests/eval/constants.py FOLDER …            the starter, 100 holes in each folder

The model fills the holes once. What it wrote then goes through the filters again, with one constant changed at a time,
so a row costs no tokens. A change is beside the value that counts, hole by hole: first lines right, shown text
that still parses, shown text that says again what stands there, and what is shown, each with the bounds of 95 % of a
bootstrap of the differences. "=" is no difference in any hole.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tabby_lsp.completion import confidence, filters, parsing
from tabby_lsp.completion.overtype import overtyped
from tabby_lsp.completion.pipeline import cleaned
from tabby_lsp.config import Layer, merge, parse_assignment
from tabby_lsp.data import Completion, CompletionContext, CompletionRequest, Sampling
from tabby_lsp.engines import completing
from tabby_lsp.evaluation.holes import Hole, choose
from tabby_lsp.evaluation.measures import Filled, Mean, difference
from tabby_lsp.evaluation.run import files_in
from tabby_lsp.settings import Settings

Written = tuple[Hole, CompletionContext, Completion]

# Each with a smaller and a larger value than the one that counts.
TRIED: tuple[tuple[ModuleType, str, tuple[float, float]], ...] = (
    (confidence, "CAUTIOUS", (0.05, 0.2)),
    (filters, "NEARLY", (0.9, 1.0)),
    (filters, "ALIKE", (0.8, 1.0)),
    (filters, "SHORT_LINE", (5, 20)),
    (filters, "MOST_ALIKE", (3, 8)),
    (filters, "FEWEST", (1, 4)),
    (parsing, "PARSED_BEFORE", (1000, 16000)),
    (parsing, "PARSED_AFTER", (400, 6000)),
    (parsing, "MOST_FAULTS", (1, 20)),
)
MEASURES = {
    "right": lambda each: 100.0 * each.exact,
    "parses": lambda each: 100.0 * (each.parses is not False),
    "says again": lambda each: 100.0 * each.duplicated,
    "shown": lambda each: 100.0 * each.shown,
}


async def write(folders: Sequence[Path], holes: int, seed: int, settings: Settings) -> list[Written]:
    """What the model writes in the holes."""
    engine = completing(settings)
    engine.start()
    written = []
    try:
        sampling = Sampling(settings.completion.max_decoding_tokens)
        for folder in folders:
            for hole in choose(files_in(folder), holes, seed):
                context = hole.context(folder.resolve().name)
                job = engine.complete(CompletionRequest("", context, sampling, unhurried=True))
                written.append((hole, context, await job.result))
                sys.stderr.write(f"\r{len(written)} holes")
    finally:
        await engine.close()
    return written


def shown(written: Sequence[Written]) -> list[Filled]:
    """What is shown of it unasked, as the constants are now."""
    filled = []
    for hole, context, completion in written:
        text = cleaned(completion.candidates[0], confidence.CAUTIOUS, context)
        sure = completion.confidence >= confidence.CAUTIOUS
        filled.append(Filled(hole, text if sure else "", overtyped(text, context) if sure else 0))
    return filled


def row(before: Sequence[Filled], after: Sequence[Filled]) -> list[str]:
    return [
        _cell(difference([get(each) for each in before], [get(each) for each in after])) for get in MEASURES.values()
    ]


def _cell(change: Mean | None) -> str:
    if change is None or change.value == change.low == change.high == 0:
        return "="
    return f"{change.value:+.1f} ({change.low:+.1f} to {change.high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--holes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--set", action="append", default=["completion.max_prompt_tokens=1600"], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings, problems = merge([Layer("--set", parse_assignment(each)) for each in options.set])
    if problems:
        raise SystemExit("\n".join(problems))
    written = asyncio.run(write(options.folders, options.holes, options.seed, settings))
    before = shown(written)
    print(f"\n{len(written)} holes; points of 100, against the value that counts")
    print(f"{'':<28}" + "".join(f"{name:>24}" for name in MEASURES))
    for module, name, values in TRIED:
        counts = getattr(module, name)
        for value in values:
            setattr(module, name, value)
            cells = row(before, shown(written))
            print(f"{name:<16}{counts:>5} → {value:<6}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
        setattr(module, name, counts)


if __name__ == "__main__":
    main()
