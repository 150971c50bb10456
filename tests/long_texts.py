"""Texts that a walk with a square in it does not survive, and every walk over text on the way of a completion.

Each shape stands in one of the places that a completion reads. `tests/test_linear.py` walks over all of
them, `tests/bench/walks.py` measures how the time grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from tabby_lsp.completion import brackets, filters
from tabby_lsp.completion.blocks import begins_block, leaves_open
from tabby_lsp.completion.confidence import before_doubt, by_line, of_first
from tabby_lsp.completion.context import surround
from tabby_lsp.completion.filters import clean
from tabby_lsp.completion.overtype import before_overtyped, overtyped
from tabby_lsp.completion.prose import prose_at
from tabby_lsp.completion.stops import Stops, stop_rules
from tabby_lsp.completion.triggers import lengthens_full_name
from tabby_lsp.data import Completion, CompletionContext, Sampling, Timing
from tabby_lsp.suggest.answers import Answers
from tabby_lsp.text import split_lines

UNITS = (
    '{"key": [1, null, {"a": "b"}]}, ',  # JSON on one line
    *"()[]{}\"'`\\;,:.#a",
    *('"""', "'''", "``", "```\n", "/*", "*/", "//", "<!--", "{-", "(*", "--[["),
    *('\\"', "\\'", "\\`", "'\\", '"\\', "\\\n", '\\""', "'\"`"),
    *("a ", "\n", " ", "\t", "\t \n", "a\n", "  a\n", "ab\n\n", "a b c,\n"),
    *("(\n", " (\n", ")\n", "{\n}\n", "x = f(a,\n", "if x:\n  y\n", '"""\n', '"""a\n"""\n', "'a\n", "/* a\n"),
    *("'a' * ", '"it\'s" ', 'f"{', "${", "\\(", "{{", "$#", "don't ", "= if ", "do |", "<a ", "REM ", "é", "a1"),
)
LANGUAGES = ("python", "javascript", "rust", "shellscript", "html", "lua", "json", "nothing known")
PLACES = ("prefix", "line_suffix", "suffix", "text")
SHORT = {"prefix": "x = 1\n    f(", "line_suffix": ")]", "suffix": "\ny = 2\n", "text": "a, b)\n    return c"}

Shape = Callable[[int], str]
Walk = Callable[[str, CompletionContext], object]


def _again(unit: str) -> Shape:
    return lambda size: (unit * (size // len(unit) + 1))[:size]


SHAPES: Mapping[str, Shape] = {
    **{repr(unit): _again(unit) for unit in UNITS},
    "two lines alike": lambda size: "ab" * (size // 4) + "\n" + "ba" * (size // 4),
    "lines alike": lambda size: f"{'ab' * 125}\n{'ba' * 125}\n" * (size // 502),
    "blocks alike": lambda size: f"{'ab' * 25}\n{'ba' * 25}\n\n{'ba' * 25}\n{'ab' * 25}\n\n" * (size // 206),
    "far right": lambda size: "x\n" + " " * (size // 2) + "(" * (size // 2) + "\ny",
    "a wide step": lambda size: "x\n" + " " * (size // 2) + "y\n" + "\t" * (size // 2) + "z",
    "no name twice": lambda size: " ".join(f"v{number}(" for number in range(size // 6)),
}


def contexts(size: int, language: str, places: Sequence[str] = PLACES) -> Iterator[tuple[str, str, CompletionContext]]:
    """What it is, a text and its context: each shape in each place, so many characters of it."""
    for name, shape in SHAPES.items():
        for place in places:
            values = dict.fromkeys(PLACES, shape(size)) if place == "everywhere" else {**SHORT, place: shape(size)}
            text = values.pop("text")
            values["line_suffix"] = values["line_suffix"].replace("\n", "")
            values["suffix"] = "\n" + values["suffix"]
            yield f"{name} as {place} in {language}", text, CompletionContext(**values, language=language)


def _stops(text: str, context: CompletionContext) -> object:
    """As a model is followed that writes four characters at a time."""
    stops = Stops(stop_rules(context, ("STOP",)))
    return next((stop for end in range(4, len(text) + 4, 4) if (stop := stops.find(text[:end]))), None)


def _answers(text: str, context: CompletionContext) -> object:
    answers = Answers()
    completion = Completion(text, min(1, len(context.line_suffix)), "", "", 0, 0, 0, Timing(), ())
    answers.remember("file", context, Sampling(), completion)
    typed = len(text) // 2
    return answers.find("file", replace(context, prefix=context.prefix + text[:typed]), Sampling())


def _surround(text: str, context: CompletionContext) -> object:
    lines = split_lines(context.prefix + context.line_suffix + context.suffix)
    return surround(lines, context.prefix.count("\n"), len(context.prefix.rpartition("\n")[2]))


def _confidence(text: str, context: CompletionContext) -> object:
    lines = by_line([(number, 0.5) for number in range(text.count("\n") + 1)], text.count("\n") + 1)
    return of_first(text, lines), before_doubt(text, lines, 0.1)


WALKS: Mapping[str, Walk] = {
    **{each.__name__: each for each in filters.FILTERS},
    "clean": clean,
    "stops": _stops,
    "overtyped": overtyped,
    "before_overtyped": before_overtyped,
    "prose_at": lambda text, context: prose_at(context),
    "lengthens_full_name": lengthens_full_name,
    "begins_block": lambda text, context: begins_block(text, context.language),
    "leaves_open": lambda text, context: leaves_open(text, context.language),
    "left_to_close": lambda text, context: brackets.left_to_close(
        context.prefix, text, context.line_suffix + context.suffix, context.language
    ),
    "open_quote": lambda text, context: brackets.open_quote(context.prefix, text, context.language),
    "string_around": lambda text, context: brackets.string_around(
        context.prefix, text, context.line_suffix, context.language
    ),
    "answers": _answers,
    "surround": _surround,
    "confidence": _confidence,
}
