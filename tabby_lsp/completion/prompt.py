"""A prompt as token ids: a layout filled with what surrounds the cursor, within a budget of tokens.

Promises. Only the template's own control tokens become control tokens: a buffer that contains `<|fim_middle|>` is
text like any other. What is cut to fit is always text, far from the cursor first, never a control token. And
typing only appends, so that next to nothing has to be read again at a key:

- Suffix first, the prefix is last anyway. Prefix first, the text before the cursor is cut in two at a line's start:
  the frozen prefix, and behind the middle token what was typed since (the form of EFIM, arXiv 2505.21889). The
  place stays while one types on, and moves where suffix or window change, when all is read again anyway.
- Pieces of other files stand first, and stay while what follows them does: others would have all of it read anew.
- The word under the cursor is left out, and is `Prompt.pending`: the model writes it again and goes on. It then
  writes it in the tokens it knows it in ("token healing"), and a prompt stays the same while one types a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tabby_lsp.completion.context import anchored
from tabby_lsp.completion.layout import Control, Layout, PlainText, Slot, Template, newline_split
from tabby_lsp.data import CompletionContext, Snippet
from tabby_lsp.languages import language

# The suffix gets this share of a full prompt. Qwen2.5-Coder's and StarCoder's evaluations give it a quarter to
# a half; the text before the cursor says more about what comes next. Of the starter in 240 holes of click, httpx and
# jsonschema (`tests/eval/constants.py --prompts`) an eighth changes no right first line, and a half 0.8 % (0.0 to 2.1).
SUFFIX_SHARE = 0.25
# Text of other files gets at most this share.
SNIPPET_SHARE = 0.5
# Typing must not move what is cut: that would have the model read everything anew. So the cursor's line counts as if
# it had the next multiple of this many tokens, and the text above it for how much room it leaves to the suffix.
LINE_STEP, ROOM_STEP = 64, 256
LINE_GRID = 128  # characters
# A window begins at a multiple of this many lines for every so many tokens of the budget, rounded down to a power of
# two: about a quarter of the window.
TOKENS_PER_ANCHOR_LINE, LARGEST_ANCHOR = 48, 6
# What was typed behind a frozen prefix stays a middle as models know them from training: a few lines.
MOST_TYPED_TOKENS = 384
BEGINNING = 80  # characters by which the beginning of a window is known

# What a tokenizer may join with what is typed next: a word and the character before it, blanks, a run of signs.
# The pre-tokenizers of the families here (GPT-2's, Qwen2's, Llama 3's) cut no finer than this.
# A line's indentation stays in the prompt: a middle that begins with it is one that models see seldom in training. On
# the starter and held-out lines, where it did not, 27 % of what was suggested there was empty; now nothing is.
_UNFINISHED = re.compile(r"(?:(?:[^\w\n]|_)?[^\W\d_]+|\d{1,3}|(?<=\S)[^\S\n]+|[^\S\n]?[^\w\s]{1,8})\Z")
# Each may cost a step of decoding, where the model takes another way through the word. With one alone the starter shows
# 0.8 % less (2.9 less to 1.7 more, in the same holes) and as much that is right.
MOST_PENDING_TOKENS = 4


class _Cursor:
    """The place in a template's pieces where the text before the cursor ends."""


_CURSOR = _Cursor()
Piece = Control | Slot | str | _Cursor


@dataclass(frozen=True, slots=True)
class Prompt:
    tokens: tuple[int, ...]
    text: str  # the same to read: control tokens by their names
    layout: str
    prefix: str  # what of the context's prefix is in it, the pending text included
    suffix: str = ""
    frozen: int = 0  # characters of `prefix` that stand before the suffix, where that comes second
    pending: bytes = b""  # the end of `prefix`, which is not in it: the model writes it again
    snippets: tuple[Snippet, ...] = field(default=(), compare=False)  # those it was made with, fitting or not


def build(layout: Layout, context: CompletionContext, budget: int, before: Prompt | None = None) -> Prompt:
    """The prompt for a context, of at most `budget` tokens. `budget` must hold the template itself.

    `before` is the prompt that was read last for this document: its pieces of other files, and a frozen prefix, stay
    where they are if they can.
    """
    if before is not None and before.snippets != context.snippets:
        kept = _build(layout, replace(context, snippets=before.snippets), budget, before)
        if kept.suffix == before.suffix and _begin_alike(kept.prefix, before.prefix):
            return kept
    return _build(layout, context, budget, before)


def _begin_alike(one: str, other: str) -> bool:
    """Whether two windows of a document begin at the same place."""
    return one.startswith(other[:BEGINNING]) or other.startswith(one[:BEGINNING])


def _build(layout: Layout, context: CompletionContext, budget: int, before: Prompt | None) -> Prompt:
    snippets = _fitting_snippets(layout, context, int(budget * SNIPPET_SHARE))
    above, newline, line = context.prefix.rpartition("\n")
    suffix = suffix_text(context)
    filled = _fill(layout, context, "", "", 0, snippets)
    while snippets and len(filled.tokens) > budget * (1 - SNIPPET_SHARE / 2):  # a long template, or a long path
        snippets = snippets[:-1]
        filled = _fill(layout, context, "", "", 0, snippets)
    room = max(1, budget - len(filled.tokens))
    prefix, suffix = _fit(layout, context, above + newline, line, suffix, room, anchor_step(budget))
    frozen = _frozen(layout, prefix, suffix, before)
    filled = _fill(layout, context, prefix, suffix, frozen, snippets)
    while len(filled.tokens) > budget and (prefix or suffix or snippets):
        # Texts that are joined can cost more tokens than their lines did apart.
        excess = len(filled.tokens) - budget
        if "\n" in prefix:
            prefix = _without_first_lines(prefix, excess, layout.plain)
        elif suffix:
            suffix = head_of(suffix, layout.plain.count_lines(suffix) - excess, layout.plain)
        elif snippets:
            snippets = snippets[:-1]
        else:
            prefix = prefix[len(prefix) // 8 + 1 :]
        frozen = _frozen(layout, prefix, suffix, before)
        filled = _fill(layout, context, prefix, suffix, frozen, snippets)
    tokens = tuple(filled.tokens)
    return Prompt(tokens, filled.text, layout.name, prefix, suffix, frozen, filled.pending, context.snippets)


def _frozen(layout: Layout, prefix: str, suffix: str, before: Prompt | None) -> int:
    """How much of the prefix stands before the suffix: as much as last time, or all but the cursor's line."""
    if not layout.freezes:
        return len(prefix)
    if before and before.suffix == suffix and prefix.startswith(before.prefix[: before.frozen]):
        if layout.plain.count_lines(prefix[before.frozen :]) <= MOST_TYPED_TOKENS:
            return before.frozen
    return prefix.rfind("\n") + 1


def _fit(
    layout: Layout, context: CompletionContext, above: str, line: str, suffix: str, room: int, step: int
) -> tuple[str, str]:
    """What of prefix and suffix goes into `room` tokens. Stays the same while one types on the cursor's line."""
    plain = layout.plain
    has_suffix = Slot("suffix") in layout.body
    line_step = max(1, min(LINE_STEP, room // 8))
    line_cost = plain.count(line) if len(line) < 8 * room else 2 * room
    reserved = -(-max(1, line_cost) // line_step) * line_step
    above_steps = -(-plain.count_lines(above) // ROOM_STEP) * ROOM_STEP
    shared = max(int(room * SUFFIX_SHARE), room - reserved - above_steps) if has_suffix else 0
    suffix = head_of(suffix, shared, plain)
    room -= plain.count_lines(suffix)
    if line_cost > room:
        return _tail_of_line(line, room, plain), suffix
    return tail_of(above, room - reserved, context.first_line, step, plain) + line, suffix


def suffix_text(context: CompletionContext) -> str:
    """The suffix as it stands in a prompt.

    Blanks and closers right of the cursor stay out: editors write them by themselves as one types, and the model
    had better write them again than read its whole suffix anew. Words there are part of the suffix.
    """
    return context.suffix if is_closing(context.line_suffix) else context.line_suffix + context.suffix


def is_closing(line_suffix: str) -> bool:
    """Whether nothing but blanks and closing characters stands right of the cursor."""
    return not re.search(r"[^\s)\]}>\"'`;,:]", line_suffix)


def anchor_step(budget: int) -> int:
    """Lines between two places at which a window of so many tokens may begin."""
    return int(1 << max(0, min(LARGEST_ANCHOR, (budget // TOKENS_PER_ANCHOR_LINE).bit_length() - 1)))


def tail_of(text: str, budget: int, first_line: int, step: int, plain: PlainText) -> str:
    """The end of a text of whole lines, of at most `budget` tokens; begins at an anchor line if it is cut.

    `first_line` is the document's number of the text's first line.
    """
    lines = newline_split(text)
    start = len(lines)
    while start > 0 and plain.count(lines[start - 1]) <= budget:
        start -= 1
        budget -= plain.count(lines[start])
    if start > 0:
        start = anchored(first_line + start, first_line + len(lines), step) - first_line
    return "".join(lines[start:])


def _tail_of_line(line: str, budget: int, plain: PlainText) -> str:
    """The end of a line that is too long as a whole: the cursor stands behind it. Cut at a fixed grid, if possible."""
    start = max(0, -(-(len(line) - 8 * budget) // LINE_GRID)) * LINE_GRID
    while start < len(line) and plain.count(line[start:]) > budget:
        start += max(1, (len(line) - start) // 8 // LINE_GRID) * LINE_GRID
    if start < len(line):
        return line[start:]
    line = line[-LINE_GRID:]
    while line and plain.count(line) > budget:
        line = line[len(line) // 8 + 1 :]
    return line


def _without_first_lines(text: str, excess: int, plain: PlainText) -> str:
    """A text without as many of its first lines as have `excess` tokens, but with its last line."""
    *above, line = newline_split(text)
    start = 0
    while start < len(above) and excess > 0:
        excess -= max(1, plain.count(above[start]))
        start += 1
    return "".join(above[start:]) + (line if start < len(above) or not line.endswith("\n") else "")


def head_of(text: str, budget: int, plain: PlainText) -> str:
    """The beginning of a text, in whole lines, of at most `budget` tokens."""
    taken: list[str] = []
    for line in newline_split(text):
        cost = plain.count(line) if len(line) < 8 * budget else budget + 1
        if cost > budget:
            break
        budget -= cost
        taken.append(line)
    return "".join(taken)


def _fitting_snippets(layout: Layout, context: CompletionContext, budget: int) -> tuple[Snippet, ...]:
    """The pieces of other files that fit, each whole, in their order."""
    taken: list[Snippet] = []
    for snippet in context.snippets:
        cost = len(_tokens(layout, _with_snippets(layout, context, (snippet,))).tokens)
        if cost <= budget:
            budget -= cost
            taken.append(snippet)
    return tuple(taken)


def _with_snippets(
    layout: Layout, context: CompletionContext, snippets: Sequence[Snippet]
) -> list[Control | Slot | str]:
    if not layout.repository_body:
        return [as_comments(snippets, language(context.language).comment)]
    pieces: list[Control | Slot | str] = []
    for each in snippets:
        pieces += _render(layout.snippet, {"path": each.path, "code": each.text})
    return pieces


def as_comments(snippets: Sequence[Snippet], marker: str) -> str:
    """Snippets as line comments, for models that know no form for other files; nothing without a marker.

    Split at everything that any language takes for the end of a line: no text must fall out of its comment.
    """
    if not marker:
        return ""
    blocks = [
        "".join(f"{marker} {line}".rstrip() + "\n" for line in (f"Path: {each.path}", *each.text.splitlines()))
        for each in snippets
    ]
    return f"{marker}\n".join(blocks)


@dataclass(frozen=True, slots=True)
class _Filled:
    tokens: list[int]
    text: str
    pending: bytes = b""


def _fill(
    layout: Layout, context: CompletionContext, prefix: str, suffix: str, frozen: int, snippets: Sequence[Snippet]
) -> _Filled:
    """Tokens and readable text of the whole prompt; of the prefix `frozen` characters stand in their own place."""
    body = layout.repository_body if layout.repository_body and snippets else layout.body
    others = _with_snippets(layout, context, snippets)
    prefix, typed = prefix[:frozen], prefix[frozen:]
    if not layout.repository_body:
        prefix = "".join(map(str, others)) + prefix
    values = {
        "prefix": prefix,
        "suffix": suffix,
        "path": context.path,
        "repository": context.repository or "repository",
        "language": language(context.language).name,
    }
    pieces: list[Piece] = []
    for piece in body:
        pieces += others if piece == Slot("snippets") else _render((piece,), values)
        if piece == Slot("prefix") and not layout.freezes:
            pieces.append(_CURSOR)
    if layout.freezes:
        pieces += [typed, _CURSOR]
    filled = _tokens(layout, pieces)
    return _Filled([*layout.bos, *filled.tokens], filled.text, filled.pending)


def _render(template: Template, values: Mapping[str, str]) -> list[Control | Slot | str]:
    return [values[piece.name] if isinstance(piece, Slot) else piece for piece in template]


def _tokens(layout: Layout, pieces: Sequence[Piece]) -> _Filled:
    """Text between two control tokens is tokenised as one, but for what is pending where it ends at the cursor."""
    tokens: list[int] = []
    pending = b""
    shown = run = ""
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        if isinstance(piece, str):
            run += piece
        elif isinstance(piece, _Cursor):
            if layout.healing and not isinstance(following, str):
                kept, pending = without_unfinished(run, layout.plain)
                if not tokens and not kept and not layout.bos and following is None:
                    kept, pending = layout.plain.tokens(run), b""  # a model must be given something
                tokens += kept
                shown += run.encode("utf-8", "replace").removesuffix(pending).decode("utf-8", "replace")
                run = ""
        elif isinstance(piece, Control):
            tokens += [*layout.plain.tokens(run), piece.id]
            shown += run + piece.text
            run = ""
    return _Filled(tokens + layout.plain.tokens(run), shown + run, pending)


def without_unfinished(text: str, plain: PlainText) -> tuple[list[int], bytes]:
    """The tokens of a text without those that what is typed next may change, and the bytes of these."""
    tokens = plain.tokens(text)
    unfinished = _UNFINISHED.search(text[-LINE_GRID:])
    if not unfinished:
        return tokens, b""
    wanted = len(unfinished[0].encode("utf-8", "replace"))
    kept = len(tokens)
    pending = b""
    while kept > 0 and len(pending) < wanted and len(tokens) - kept < MOST_PENDING_TOKENS:
        kept -= 1
        pending = plain.bytes(tokens[kept : kept + 1]) + pending
    # A tokenizer that does not give back what it was given (one that normalises, say) is left alone.
    if not text.encode("utf-8", "replace").endswith(pending):
        return tokens, b""
    return tokens[:kept], pending
