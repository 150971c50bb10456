"""What each constant that decides what a user sees is worth: every one tried at two other values.

    python tests/eval/constants.py FOLDER …            the starter, 100 holes in each folder

The model fills the holes once. What it wrote then goes through the filters again, with one constant changed at a time,
so a row costs no tokens. With `--prompts` the constants of prompts and stops follow, for each of which the model writes
all of it again. A change is beside the value that counts, hole by hole: first lines right, shown text that still
parses, shown text that says again what stands there, and what is shown, each with the bounds of 95 % of a bootstrap of
the differences. "=" is no difference in any hole. Last come the doubtful suggestions whose first characters somebody
who writes the right text would type: how many there are, and how many of them are right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tabby_lsp.completion import confidence, filters, parsing, prompt, stops
from tabby_lsp.completion.layout import choose_layout
from tabby_lsp.completion.overtype import overtyped
from tabby_lsp.completion.pipeline import Budget, cleaned
from tabby_lsp.data import Completion, CompletionContext, CompletionRequest, ModelSettings, Sampling
from tabby_lsp.engine.model import Model
from tabby_lsp.evaluation.holes import Hole, choose
from tabby_lsp.evaluation.measures import Filled, Mean, difference
from tabby_lsp.evaluation.run import files_in
from tabby_lsp.models import starter
from tabby_lsp.settings import Settings

sys.path.insert(0, str(Path(__file__).parent.parent))
from alone import Alone

Written = tuple[Hole, CompletionContext, Completion]
Constant = tuple[ModuleType, str, tuple[float, float]]

# Each with a smaller and a larger value than the one that counts.
TRIED: tuple[Constant, ...] = (
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
TRIED_BY_WRITING: tuple[Constant, ...] = (
    (prompt, "SUFFIX_SHARE", (0.125, 0.5)),
    (prompt, "MOST_PENDING_TOKENS", (1, 16)),
    (stops, "_LONG_UNIT", (6, 20)),
    (stops, "_LONGEST_UNIT", (40, 240)),
)
TYPED = (1, 2, 3, 5, 8)  # characters
MEASURES = {
    "right": lambda each: 100.0 * each.exact,
    "parses": lambda each: 100.0 * (each.parses is not False),
    "says again": lambda each: 100.0 * each.duplicated,
    "shown": lambda each: 100.0 * each.shown,
}


def write(holes: Sequence[tuple[Hole, CompletionContext]], model: Model, tokens: int) -> list[Written]:
    """What the model writes in the holes, with prompts of so many tokens."""
    writer = Alone(model)
    layout = choose_layout(writer.vocabulary)
    budget, sampling = Budget((tokens,)), Sampling(Settings().completion.max_decoding_tokens)
    written = []
    for hole, context in holes:
        written.append((hole, context, writer.complete(layout, CompletionRequest("", context, sampling), budget)))
        sys.stderr.write(f"\r{len(written)} holes")
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


def typed_row(written: Sequence[Written], typed: int) -> str:
    """What is gained by showing doubtful suggestions whose beginning somebody types who writes the right text."""
    kept = confidence.CAUTIOUS
    confidence.CAUTIOUS = 0.0
    doubtful = [
        each
        for each, (_, _, completion) in zip(shown(written), written, strict=True)
        if completion.confidence < kept and len(each.text) > typed and each.hole.wanted.startswith(each.text[:typed])
    ]
    confidence.CAUTIOUS = kept
    right = sum(each.exact for each in doubtful)
    return f"{typed:>2} typed: {len(doubtful)} more are shown, {right} of them are right"


def _cell(change: Mean | None) -> str:
    if change is None or change.value == change.low == change.high == 0:
        return "="
    return f"{change.value:+.1f} ({change.low:+.1f} to {change.high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--holes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--model", type=Path, default=starter.MODEL)
    parser.add_argument("--tokens", type=int, default=1600, help="of a prompt (default: 1600)")
    parser.add_argument("--prompts", action="store_true", help="constants of prompts and stops, too")
    options = parser.parse_args()
    holes = [
        (hole, hole.context(folder.resolve().name))
        for folder in options.folders
        for hole in choose(files_in(folder), options.holes, options.seed)
    ]
    model = Model(ModelSettings(str(options.model), context_size=max(2048, options.tokens + 256)))
    written = write(holes, model, options.tokens)
    before = shown(written)
    print(f"\n{len(written)} holes; points of 100, against the value that counts")
    print(f"{'':<32}" + "".join(f"{name:>24}" for name in MEASURES))
    for module, name, values in (*TRIED, *(TRIED_BY_WRITING if options.prompts else ())):
        counts = getattr(module, name)
        for value in values:
            setattr(module, name, value)
            again = write(holes, model, options.tokens) if module in (prompt, stops) else written
            cells = row(before, shown(again))
            print(f"{name:<20}{counts:>5} → {value:<6}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
        setattr(module, name, counts)
    print("\n".join(typed_row(written, typed) for typed in TYPED))


if __name__ == "__main__":
    main()
