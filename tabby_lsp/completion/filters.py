"""The clean-up of what a model wrote: pure functions `(text, context) -> text`, in one ordered tuple.

An empty text means that there is nothing worth showing. Knows nothing of models or editors.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher

from tabby_lsp.completion.brackets import Nesting, first_surplus, inside, left_to_close, open_quote, opens_again
from tabby_lsp.completion.overtype import CLOSERS
from tabby_lsp.completion.parsing import is_right, judge
from tabby_lsp.completion.prompt import is_closing
from tabby_lsp.completion.scanner import TRIPLES
from tabby_lsp.completion.stops import indentation
from tabby_lsp.data import CompletionContext
from tabby_lsp.languages import language as facts_of
from tabby_lsp.text import begin_alike

Filter = Callable[[str, CompletionContext], str]

# What these are worth: `tests/eval/constants.py`, the starter in 300 holes of click, httpx and jsonschema. Values on
# either side change no first line that is right. A shorter `FEWEST` shows 1.3 % more, none of it right. A longer
# `SHORT_LINE` lets one line through that stands there already. The others change nothing here, and stay for the texts
# of their golden cases.

# Lines that are so much alike say the same (Tabby's limits are 5 and 10 % of a line that may differ).
NEARLY, ALIKE = 0.95, 0.9
SHORT_LINE = 10  # characters of a line that has to be the very same
MOST_COMPARED = 256  # characters, as many as most suggestions have: matching takes the square of them
MOST_ALIKE = 5  # lines in a row, as in a table; more are a model that turns in a circle
MOST_CLOSED = 64  # brackets; each may take a line with as much indentation as the text has
WIDEST_INDENT = 100  # columns of one step: wider ones are tables
FEWEST = 2  # characters: accepting takes a key, too
MOST_HEADS = 64  # that are tried: a suggestion has no more tokens unless the settings say so
# What says something, however short: no row of a table, and not one word, as what closes a block may be.
_STATED = re.compile(r"\w\W+\w.*(?<!,)\Z")
BEGINNINGS = ("{", "(", "[", ",", ":", "=>", "\\")


_IMPORT = re.compile(r"(?:import|from|using|use|#?include|#import|require|require_relative|@import)\b[^\n]*\w")


def clean(text: str, context: CompletionContext, filters: Sequence[Filter] | None = None) -> str:
    """The text after all filters, or "" if one of them dropped it."""
    for each in FILTERS if filters is None else filters:
        text = each(text, context)
        if not text:
            return ""
    return text


def drop_fence(text: str, context: CompletionContext) -> str:
    """Of code in a Markdown fence, the code; what stands behind a fence's end is talk."""
    if "```" not in text or facts_of(context.language).has_sentences or "```" in context.prefix:
        return text
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith("```")]
    if not fences:
        return text
    kept = lines[: fences[0]]
    if not any(line.strip() for line in kept):
        kept = lines[fences[0] + 1 : fences[1] if len(fences) > 1 else None]
    return "\n".join(kept)


def cut_circles(text: str, context: CompletionContext) -> str:
    """No line over and over, no more lines alike than in any table, no block again right behind itself.

    A model that turns in a circle does so to the end: two lines alike, and then another one, are meant.
    """
    lines = text.split("\n")
    for share in (1.0, ALIKE):
        for first, last in _runs(lines, share):
            if _is_circle(lines, first, last, share):
                return closed_brackets("\n".join(lines[: first + 1]), context)
    blocks = re.split(r"\n[ \t]*\n", text)
    for number, (one, other) in enumerate(itertools.pairwise(blocks)):
        if "\n" in one.strip() and alike(one, other, ALIKE):
            return "\n\n".join(blocks[: number + 1])
    return text


def _runs(lines: Sequence[str], share: float) -> Iterator[tuple[int, int]]:
    """The first and the last of lines in a row that are alike by so much."""
    first = 0
    for number in range(1, len(lines) + 1):
        if number == len(lines) or not alike(lines[number - 1], lines[number], share):
            if number - first > 1 and re.search(r"\w", lines[first]):
                yield first, number - 1
            first = number


def _is_circle(lines: Sequence[str], first: int, last: int, share: float) -> bool:
    line, is_end = lines[first].strip(), last == len(lines) - 1
    if share < 1:
        return is_end and last - first >= MOST_ALIKE
    if line.endswith(","):  # a row
        return last - first >= MOST_ALIKE
    says = len(line) >= SHORT_LINE or _STATED.search(line)
    return bool(says) and last - first >= (1 if is_end else 2)


def alike(one: str, other: str, share: float) -> bool:
    """Whether two texts say the same but for a share of their characters; short ones must be the same."""
    one, other = one.strip(), other.strip()
    if one == other or min(len(one), len(other)) < SHORT_LINE:
        return one == other
    if max(len(one), len(other)) > MOST_COMPARED:  # they may differ in one place
        begin = begin_alike(one, other)
        end = begin_alike(one[begin:][::-1], other[begin:][::-1])
        return 2 * (begin + end) >= share * (len(one) + len(other))
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return matcher.real_quick_ratio() >= share and matcher.quick_ratio() >= share and matcher.ratio() >= share


def match_indentation(text: str, context: CompletionContext) -> str:
    """Tabs where the document has tabs, and blanks where it has those; its own number of them."""
    unit = _unit(context.prefix + context.suffix)
    begins_line = not context.prefix.rpartition("\n")[2].strip()
    if not unit:
        return text
    lines = text.split("\n")
    first = 0 if begins_line else 1
    if any("\t" in _indent(line) for line in lines[first:]) and unit != "\t":
        return "\n".join(lines[:first] + [_indent(line).replace("\t", unit) + line.lstrip() for line in lines[first:]])
    own = _unit("_\n" + text)  # its lines are deeper than none at least
    if unit == "\t" and own and own != "\t":
        lines[first:] = ["\t" * (indentation(line) // len(own)) + line.lstrip() for line in lines[first:]]
        return "\n".join(lines)
    if (
        begins_line
        and unit != "\t"
        and (odd := indentation(context.prefix.rpartition("\n")[2] + _indent(text)) % len(unit))
    ):
        return text[odd:] if _indent(text).endswith(" " * odd) else text
    return text


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """What a text is indented with: a tab, or so many blanks. Empty if it has neither, or both."""
    indents = [_indent(line) for line in text.split("\n") if line.strip()]
    tabs = sum(indent.startswith("\t") for indent in indents)
    blanks = [len(indent) for indent in indents if "\t" not in indent]
    steps = Counter(
        after - before for before, after in itertools.pairwise(blanks) if 1 < after - before <= WIDEST_INDENT
    )
    if tabs and not any(size > 1 for size in blanks):
        return "\t"
    return " " * steps.most_common(1)[0][0] if steps and not tabs else ""


def balance_brackets(text: str, context: CompletionContext) -> str:
    """No closer that neither the text, the open brackets before it nor those right of the cursor account for.

    One that a grammar has nothing against stays, and so does one behind which as many are opened again, as in
    `} else {` between two lines that are there, or one in the middle of sentences, as in `a) the first`.
    """
    left = left_to_close(context.prefix, "", context.line_suffix + context.suffix, context.language)
    if left is None:
        return text
    over = re.sub(r"[^)\]}]", "", context.line_suffix) if is_closing(context.line_suffix) else ""
    surplus = first_surplus(context.prefix, text, left + over, context.language)
    if surplus is None or opens_again(context.prefix, text, context.language):
        return text
    if facts_of(context.language).has_sentences:  # to a grammar of these a bracket is a sign like any other
        right = bool(text[surplus:].strip(CLOSERS + " \t"))
    else:
        right = bool(is_right(context)(text))
    return text if right else text[:surplus].rstrip()


def end_string(text: str, context: CompletionContext) -> str:
    """The text with an end to the string that it began last, where nothing behind the cursor ends it.

    A docstring that breaks off ends with its last whole sentence, if it has one. One that only begins is left out.
    """
    line_prefix = context.prefix.rpartition("\n")[2]
    quote = open_quote(line_prefix, text, context.language, inside(context.prefix, context.language))
    behind = context.line_suffix
    if len(quote) == 3:  # which may end on a line of its own
        behind += next((line for line in context.suffix.split("\n") if line.strip()), "")
    if not quote or behind.count(quote) % 2 or is_right(context)(text):
        return text
    text = text.rstrip()
    head, _, said = text.rpartition(quote)
    above, newline, indent = (line_prefix + head).rpartition("\n")
    if not said:  # what is in it is still to come
        return head[: -len(indent) - 1] if newline and not indent.strip() and above.strip() else text
    if quote not in TRIPLES or indent.strip():
        return text + quote
    sentences = re.match(r"(?s).*[^\W_.]{2}[^\w\s.]*[.!?](?=\s|$)", said)  # not "e.g."
    said = sentences[0] if sentences else said
    return head + quote + said + (f"\n{indent}{quote}" if "\n" in said else quote)


def close_brackets(text: str, context: CompletionContext) -> str:
    """The text with the closers of what it opened, where nothing behind the cursor closes it: unless it is right to a
    grammar without them, or still wrong with them."""
    closed = closed_brackets(text, context)
    if closed == text:
        return text
    right = is_right(context)
    return text if right(text) or right(closed) is False else closed


def closed_brackets(text: str, context: CompletionContext) -> str:
    """The text with the closers of what it opened, where nothing behind the cursor closes it.

    What was opened on an earlier line is closed on a line of its own, indented as that one. What the line below is
    indented deeper than goes on there.
    """
    if facts_of(context.language).has_sentences:
        return text
    opened = Nesting(context.language).read(text).openers
    if not opened or len(opened) > MOST_CLOSED or text.rstrip().endswith(("{", ":")):
        return text
    left = left_to_close(context.prefix, text, context.line_suffix + context.suffix, context.language)
    lines = (context.prefix.rpartition("\n")[2] + text).rstrip().split("\n")
    closed = text.rstrip()
    line, end = text.count("\n"), len(text)
    below = next((each for each in context.suffix.split("\n")[1:] if each.strip()), "")
    for closer, place in zip(left or "", (place for _, place in reversed(opened)), strict=False):
        line, end = line - text.count("\n", place, end), place
        if indentation(below) > indentation(lines[line]):
            break
        closed += closer if line == len(lines) - 1 else f"\n{_indent(lines[line])}{closer}"
    return closed


def keep_parsing(text: str, context: CompletionContext) -> str:
    """As many of the lines as the text around the cursor parses with as well as it does without.

    If there are none: what parses once its brackets are closed was not ended for want of time, and is gone on from. So
    is a string of several lines, and a line that begins something.
    """
    line_prefix = context.prefix.rpartition("\n")[2]
    if len(open_quote(line_prefix, text, context.language)) == 3:
        return text
    parses = judge(context)
    if parses(text) is None:
        return text
    heads = _heads(text)
    for head in heads:
        if parses(head) is not False:  # where there is no telling it stays
            return head
    for head in heads:
        closed = closed_brackets(head, context)
        if closed != head and parses(closed):
            return text if head == text else closed
    if not is_closing(context.line_suffix):
        return ""
    return next((head for head in heads if head.rstrip().endswith(BEGINNINGS)), "")


def _heads(text: str) -> list[str]:
    """The text, and without its last lines. Of one with very many lines, only the whole and the first ones."""
    lines = text.split("\n", MOST_HEADS)
    heads = [head for count in range(min(len(lines), MOST_HEADS), 0, -1) if (head := "\n".join(lines[:count])).strip()]
    return [text, *heads] if len(lines) > MOST_HEADS else heads


def drop_trivial(text: str, context: CompletionContext) -> str:
    """Nothing blank, nothing that saves no key (who accepts it presses one), and no string without a word."""
    if text.strip() in TRIPLES and Nesting(context.language).read(context.prefix + text).inside:
        return ""
    return text if len(re.sub(r"\s", "", text)) >= FEWEST else ""


def trim_end(text: str, context: CompletionContext) -> str:
    """No white space at the end, except where text follows on the line and may need it."""
    return text.rstrip() if is_closing(context.line_suffix) else text.rstrip("\n")


def respect_line_suffix(text: str, context: CompletionContext) -> str:
    """With words right of the cursor: one line, which ends where those words begin to be repeated."""
    if is_closing(context.line_suffix):
        return text
    line = text.partition("\n")[0]
    rest = context.line_suffix.rstrip()
    if begin_alike(line.strip(), rest.strip()) >= 3 or _first_word(line) == _first_word(rest) != "":
        return ""  # it begins with what stands there already
    repeated = overlap(line, rest)
    if repeated >= min(3, len(rest)):
        return line[: len(line) - repeated]
    found = line.find(rest)
    return line[:found] if found >= 0 and len(rest) >= 3 else line


def _first_word(text: str) -> str:
    return re.split(r"\W", text.strip(), maxsplit=1)[0]


def drop_repeated_suffix(text: str, context: CompletionContext) -> str:
    """Nothing that merely says what already stands below, and no last lines that do."""
    below = [line.rstrip() for line in context.suffix.split("\n")[1:]]
    below = list(itertools.dropwhile(lambda line: not line, below))
    lines = text.split("\n")
    stripped = [line.rstrip() for line in lines]
    line_prefix = context.prefix.rpartition("\n")[2]
    written = [line_prefix + stripped[0], *stripped[1:]]
    filled = [line for line in written if line]
    if filled and not line_prefix.strip() and _say_the_same(filled, below):
        return ""
    if len(filled) == 1 and len(filled[0].strip()) >= SHORT_LINE and filled[0] + context.line_suffix in below[:1]:
        return ""
    if len(filled) > 1 and not stripped[0] and _say_the_same(filled[1:], below):
        return ""
    size = overlap(written[1:], below)
    if any(len(line.strip()) > 1 for line in below[:size]):
        return "\n".join(lines[:-size]).rstrip("\n")
    return text


def drop_known_imports(text: str, context: CompletionContext) -> str:
    """No line that imports what the text around the cursor imports already, and nothing from there on. What is indented
    imports for a part of a file, which may be another one."""
    if not facts_of(context.language).has_statements:
        return text
    line_prefix = context.prefix.rpartition("\n")[2]
    lines = (line_prefix + text).split("\n")
    if not any(map(_IMPORT.match, lines)):
        return text
    there = {
        each.rstrip()
        for each in (context.prefix[: len(context.prefix) - len(line_prefix)] + context.suffix).split("\n")
    }
    for number, line in enumerate(lines):
        if _IMPORT.match(line) and line.rstrip() in there:
            return "\n".join(lines[:number])[len(line_prefix) :].rstrip("\n") if number else ""
    return text


def overlap(written: Sequence[str], below: Sequence[str]) -> int:
    """How long the longest end of `written` is that `below` begins with (the search of Knuth, Morris and Pratt)."""
    borders = [0]  # for each beginning of `below`, the longest one that it ends with
    size = 0
    for each in (*below[1:], None, *written):
        while size and (size == len(below) or each != below[size]):
            size = borders[size - 1]
        size += bool(below) and each == below[size]
        if len(borders) < len(below):
            borders.append(size)
    return size


def _say_the_same(written: Sequence[str], below: Sequence[str]) -> bool:
    return len(written) <= len(below) and all(map(_nearly, written, below))


def _nearly(one: str, other: str) -> bool:
    return _indent(one) == _indent(other) and alike(one, other, NEARLY)


# What ends what was begun; not for a text that is to be gone on with.
ENDING: tuple[Filter, ...] = (end_string, close_brackets)
FILTERS: tuple[Filter, ...] = (
    *ENDING,
    drop_fence,
    respect_line_suffix,
    cut_circles,
    match_indentation,
    balance_brackets,
    trim_end,
    drop_repeated_suffix,
    drop_known_imports,
    keep_parsing,
    drop_trivial,
)
