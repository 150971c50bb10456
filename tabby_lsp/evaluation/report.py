"""The figures of an evaluation as rows, as a table, and as data. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabby_lsp.evaluation.measures import Filled, Mean, mean

Measure = Callable[[Sequence[Filled]], Mean | None]


def _share(get: Callable[[Filled], float | bool | None]) -> Measure:
    return lambda filled: mean([float(value) for each in filled if (value := get(each)) is not None])


# Name and measure. Of all holes but where the name says otherwise.
MEASURES: Mapping[str, Measure] = {
    "shown, %": _share(lambda each: 100.0 * each.shown),
    "first line exact, %": _share(lambda each: 100.0 * each.exact),
    "  … names from other files": _share(lambda each: 100.0 * each.exact if each.hole.foreign else None),
    "  … of what is shown": _share(lambda each: 100.0 * each.exact if each.shown else None),
    "edit similarity, %": _share(lambda each: 100.0 * each.similarity),
    "identifiers, F1 in %": _share(lambda each: 100.0 * each.identifiers),
    "still parses, % of shown": _share(lambda each: None if each.parses is None else 100.0 * each.parses),
    "duplicated text, % of shown": _share(lambda each: 100.0 * each.duplicated if each.shown else None),
    "keys saved, %": lambda filled: _ratio([each.saved for each in filled], [each.keys for each in filled]),
}


def _ratio(saved: Sequence[int], keys: Sequence[int]) -> Mean | None:
    whole = sum(keys)
    return mean([100.0 * each * len(keys) / whole for each in saved]) if whole else None


def figures(variants: Mapping[str, Sequence[Filled]]) -> dict[str, dict[str, Mean | None]]:
    """By measure, then by variant."""
    return {
        name: {variant: measure(filled) for variant, filled in variants.items()} for name, measure in MEASURES.items()
    }


def table(found: Mapping[str, Mapping[str, Mean | None]]) -> str:
    """Aligned columns, one for each variant, each figure with its interval."""
    variants = list(next(iter(found.values())))
    rows = [["", *variants]]
    rows += [[name, *(_cell(means[variant]) for variant in variants)] for name, means in found.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(variants) + 1)]
    return "\n".join(
        row[0].ljust(widths[0])
        + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def _cell(figure: Mean | None) -> str:
    return "–" if figure is None else f"{figure.value:.1f} ({figure.low:.1f}–{figure.high:.1f})"


def as_data(found: Mapping[str, Mapping[str, Mean | None]]) -> dict[str, Any]:
    return {
        name.strip(" …"): {
            variant: None
            if figure is None
            else {"value": figure.value, "low": figure.low, "high": figure.high, "count": figure.count}
            for variant, figure in means.items()
        }
        for name, means in found.items()
    }
