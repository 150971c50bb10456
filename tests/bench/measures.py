"""What a replay measured, and what is made of it: numbers, a table, a picture. Pure but for the picture's file.

Two rules. What was not shown is no suggestion, however fast it came: empty answers are counted apart and are in no
quantile. And an answer from a cache is not one of the model's: while typing the two are never in one number.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEYS_PER_MINUTE = 200  # forty words: what "a minute of typing" means for sides that answer at different speeds


@dataclass(frozen=True, slots=True)
class Answer:
    """What a side gave. `text` is put at the cursor in the place of the `replace` characters right of it."""

    text: str
    milliseconds: float
    from_model: bool  # not from a cache
    replace: int = 0
    evaluated: int = 0  # tokens of the prompt that were computed
    generated: int = 0
    prompt: int = 0  # tokens of the prompt, the cached ones included


@dataclass(frozen=True, slots=True)
class Key:
    """One place at which a suggestion was asked for, and what came."""

    script: str
    run: int
    after: str
    wanted: str
    line_suffix: str
    answer: Answer

    @property
    def shown(self) -> bool:
        return bool(self.answer.text.strip())

    @property
    def written(self) -> str:
        """What stands from the cursor on if the suggestion is accepted."""
        return self.answer.text + self.line_suffix[self.answer.replace :]

    @property
    def acceptable(self) -> int:
        """Characters that are right and were not there before."""
        return min(acceptable(self.written, self.wanted), len(self.answer.text)) if self.shown else 0

    @property
    def right(self) -> bool:
        return self.shown and first_line_right(self.written, self.wanted)


# --- quality


def has_next(wanted: str) -> bool:
    """Whether there was anything to suggest."""
    return bool(wanted.strip())


def first_line_right(written: str, wanted: str) -> bool:
    """Whether the first line is what the user was about to write.

    At the end of a line it is the line below that counts; blanks at line ends do not.
    """
    if wanted.split("\n")[0].strip():
        return written.split("\n")[0].rstrip() == wanted.split("\n")[0].rstrip()
    if written.split("\n")[0].strip():
        return False
    return _first_filled(written) == _first_filled(wanted) != ""


def _first_filled(text: str) -> str:
    return next((line.rstrip() for line in text.split("\n") if line.strip()), "")


def acceptable(written: str, wanted: str) -> int:
    """Characters at the start of a suggestion that a user could accept, word by word.

    A word that goes on otherwise than it should is not one of them; one that the suggestion ends in is.
    """
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(written, wanted, strict=False)))
    goes_on = alike < len(written) and (re.match(r"\w", written[alike:]) or re.match(r"\w", wanted[alike:]))
    if goes_on:
        alike -= len(re.findall(r"\w*$", written[:alike])[0])
    return alike if wanted[:alike].strip() else 0


def saved_keys(keys: Sequence[Key]) -> int:
    """Keys that a user who accepts whatever is right would not have pressed. To accept is a key, too."""
    saved = 0
    for _, run in itertools.groupby(keys, lambda key: (key.script, key.run)):
        left = math.inf  # how much of what is wanted is still to be written
        skipped = 0
        for key in run:
            if len(key.wanted) < left:
                saved += max(0, skipped - 1)
                left, skipped = len(key.wanted) - key.acceptable, 0
            else:
                skipped += 1
        saved += max(0, skipped - 1)
    return saved


# --- numbers


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, 95th percentile and maximum; None of nothing."""
    if not values:
        return None
    return {
        "count": len(values),
        "median": statistics.median(values),
        "p95": quantile(values, 0.95),
        "max": max(values),
    }


def mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return statistics.fmean(values) if values else None


@dataclass(frozen=True, slots=True)
class Measured:
    """One side's replay. `stops`: milliseconds from a supersession to the end of its computing."""

    side: str
    keys: tuple[Key, ...]
    cpu_seconds: float
    stops: tuple[float, ...]
    fixed_tokens: int = 0  # of a replay in which every answer has so many, shown or not

    def counts(self, key: Key) -> bool:
        """Whether a key's time is one of a suggestion."""
        return key.answer.generated == self.fixed_tokens if self.fixed_tokens else key.shown


def summary(measured: Measured) -> dict[str, Any]:
    """All numbers of a side, by name. `typing` is of keys alone; `after` is of everything else, by what it was."""
    keys = measured.keys
    typing = [key for key in keys if key.after == "key"]
    counts = measured.counts

    def milliseconds(among: Iterable[Key], wanted: Callable[[Key], bool]) -> dict[str, float] | None:
        return spread([key.answer.milliseconds for key in among if wanted(key)])

    asked = [key for key in keys if has_next(key.wanted)]
    result: dict[str, Any] = {
        "asked": len(keys),
        "fixed_tokens": measured.fixed_tokens,
        "by_model": milliseconds(typing, lambda key: counts(key) and key.answer.from_model),
        "without_model": milliseconds(typing, lambda key: counts(key) and not key.answer.from_model),
        "not_shown": milliseconds(typing, lambda key: not counts(key)),
        "longest": max((key.answer.milliseconds for key in keys), default=None),
        "after": {
            after: milliseconds((key for key in keys if key.after == after), counts)
            for after in sorted({key.after for key in keys} - {"key", "resume"})
        },
        "evaluated_per_key": mean(key.answer.evaluated for key in typing),
        "generated_per_key": mean(key.answer.generated for key in typing),
        "prompt_tokens": mean(key.answer.prompt for key in typing if key.answer.prompt),
        "cpu_seconds": measured.cpu_seconds,
        "cpu_seconds_per_minute": measured.cpu_seconds / len(keys) * KEYS_PER_MINUTE if keys else None,
        "stop": spread(measured.stops),
    }
    if not measured.fixed_tokens and asked:
        right = sum(key.right for key in asked)
        result |= {
            "first_line_right": right / len(asked),
            "first_line_right_of_shown": right / max(1, sum(key.shown for key in asked)),
            "acceptable_characters_per_key": sum(key.acceptable for key in asked) / len(asked),
            "keys_saved": saved_keys(keys) / len(keys),
        }
    return result


# --- table

_SPREADS = (("median", "median"), ("95 %", "p95"), ("highest", "max"))
EVENTS = ("open", "jump", "window", "undo", "paste", "rename")


def rows(results: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The table's rows: what, and a cell for each side."""
    sides = list(results.values())
    found: list[tuple[str, list[str]]] = [("asked", [str(side["asked"]) for side in sides])]

    def add_spread(title: str, get: Callable[[Mapping[str, Any]], Any]) -> None:
        values = [get(side) or {} for side in sides]
        found.append((f"{title}: count", [_cell(each.get("count"), "{:.0f}") for each in values]))
        for name, key in _SPREADS:
            found.append((f"  {name}, ms", [_cell(each.get(key), "{:.1f}") for each in values]))

    def add(title: str, key: str, form: str = "{:.1f}", factor: float = 1.0) -> None:
        values = [side.get(key) for side in sides]
        found.append((title, [_cell(None if value is None else value * factor, form) for value in values]))

    add_spread("keys answered by the model", lambda side: side["by_model"])
    first = (sides[0]["by_model"] or {}).get("median")
    ratios = [(side["by_model"] or {}).get("median") for side in sides]
    found.append(
        ("  median over the first side's", [_cell(each and first and each / first, "{:.2f}") for each in ratios])
    )
    add_spread("keys answered without it", lambda side: side["without_model"])
    fixed = any(side["fixed_tokens"] for side in sides)
    add_spread(f"keys with {'other numbers of tokens' if fixed else 'nothing shown'}", lambda side: side["not_shown"])
    for event in EVENTS:
        if any(side["after"].get(event) for side in sides):
            medians = [side["after"].get(event) or {} for side in sides]
            cells = [f"{_cell(each.get('median'))} / {_cell(each.get('max'))}" for each in medians]
            found.append((f"first after {event}: median / highest, ms", cells))
    add("longest wait of all, ms", "longest")
    add("tokens of the prompt", "prompt_tokens")
    add("tokens evaluated per key", "evaluated_per_key", "{:.2f}")
    add("tokens generated per key", "generated_per_key", "{:.2f}")
    add(f"CPU-seconds per minute ({KEYS_PER_MINUTE} keys)", "cpu_seconds_per_minute")
    stops = [side["stop"] or {} for side in sides]
    cells = [f"{_cell(each.get('median'))} / {_cell(each.get('max'))}" for each in stops]
    found.append(("supersession to stopped: median / highest, ms", cells))
    if any("first_line_right" in side for side in sides):
        add("right first line, % of keys", "first_line_right", factor=100)
        add("right first line, % of what was shown", "first_line_right_of_shown", factor=100)
        add("acceptable characters per key", "acceptable_characters_per_key", "{:.2f}")
        add("keys saved by accepting what is right, %", "keys_saved", factor=100)
    return found


def _cell(value: float | None, form: str = "{:.1f}") -> str:
    return "–" if value is None else form.format(value)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Aligned columns, one for each side."""
    lines = [("", list(results)), *rows(results)]
    first = max(len(title) for title, _ in lines)
    widths = [max(len(cells[i]) for _, cells in lines) for i in range(len(results))]
    return "\n".join(
        f"{title:<{first}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for title, cells in lines
    )


# --- picture


def draw(measured: Sequence[Measured], title: str, path: Path) -> None:
    """The share of suggestions that were there after a time, on a logarithmic axis: by the model, and without it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5))
    for number, side in enumerate(measured):
        for from_model, style in ((True, "-"), (False, ":")):
            values = sorted(
                max(0.1, key.answer.milliseconds)
                for key in side.keys
                if side.counts(key) and key.answer.from_model == from_model
            )
            if values:
                name = side.side if from_model else f"{side.side}, without the model"
                shares = [(i + 1) / len(values) for i in range(len(values))]
                axes.step(values, shares, style, color=f"C{number}", where="post", label=f"{name} ({len(values)})")
    axes.set(xscale="log", xlabel="milliseconds from key to suggestion", ylabel="share of suggestions", ylim=(0, 1))
    axes.set_title(title)
    axes.grid(which="both", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
