"""A prompt as token ids: a family's template filled with what surrounds the cursor, within a budget of tokens.

Two promises. Only the template's own control tokens become control tokens: a buffer that contains
`<|fim_middle|>` is text like any other. And what is cut to fit is always text, far from the cursor first, never
a control token. Does not know models: a `Vocabulary` turns text into tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Protocol

from tabby_lsp.completion.context import anchored
from tabby_lsp.completion.fim import PREFIX_ONLY, Family, recognise
from tabby_lsp.data import CompletionContext, Snippet
from tabby_lsp.languages import language

# The suffix gets this share of a full prompt. Qwen2.5-Coder's and StarCoder's evaluations give it a quarter to
# a half; the text before the cursor says more about what comes next.
SUFFIX_SHARE = 0.25
# Text of other files gets at most this share.
SNIPPET_SHARE = 0.5
# The room that a short prefix leaves to the suffix is counted in steps of this many tokens, so that the suffix
# does not change, and need not be read again, at every key.
ROOM_STEP = 256


class Vocabulary(Protocol):
    """What a prompt needs of a model."""

    @property
    def name(self) -> str: ...

    @property
    def architecture(self) -> str: ...

    @property
    def bos(self) -> int | None:
        """The token that begins every prompt, if the vocabulary asks for one or has one."""

    @property
    def adds_bos(self) -> bool: ...

    def token(self, text: str) -> int | None:
        """The token with exactly this text."""

    def tokenize(self, text: str) -> list[int]:
        """Text as tokens. Texts of user-defined tokens may still be found in it: see `plain`."""

    def tokenize_template(self, text: str) -> list[int]:
        """Trusted text as tokens, the texts of control tokens among them."""

    def count(self, text: str) -> int:
        """Number of tokens of a line; may remember the answer."""

    def is_end(self, token: int) -> bool:
        """Whether the vocabulary itself says that generation ends at this token."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A family settled for one model: its control tokens as ids, its templates chosen."""

    family: Family
    name: str  # prefix-first or suffix-first, or "template" for a user's own
    controls: Mapping[str, int]
    stop_tokens: frozenset[int]
    bos: tuple[int, ...]
    body: str
    snippet: str = ""
    repository_body: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    tokens: tuple[int, ...]
    text: str  # the same to read: control tokens by their names
    layout: str
    prefix: str  # what of the context's prefix is in it


def choose_layout(vocabulary: Vocabulary, wanted: str = "auto", template: str = "") -> Layout:
    """The layout for a model. `template`, if any, takes the place of the family's own (raises ValueError)."""
    if template:
        return _user_layout(vocabulary, template)
    family = recognise(vocabulary.name, vocabulary.architecture, vocabulary.token)
    name, notes = next(iter(family.body)), list(family.notes)
    if wanted in family.body:
        name = wanted
    elif wanted != "auto":
        notes.append(f"The model ({family.name}) was not trained {wanted}: it is asked {name}.")
    controls = {role: _first_token(vocabulary, texts) for role, texts in family.tokens.items()}
    stops = {vocabulary.token(text) for text in family.stop} | set(controls.values())
    bos = vocabulary.adds_bos if family.bos is None else family.bos
    form = family.repository
    has_form = form is not None and name in form.body
    return Layout(
        family,
        name,
        controls,
        frozenset(each for each in stops if each is not None),
        (vocabulary.bos,) if bos and vocabulary.bos is not None else (),
        family.body[name],
        form.snippet if form and has_form else "",
        form.body[name] if form and has_form else "",
        tuple(notes),
    )


def _first_token(vocabulary: Vocabulary, texts: Iterable[str]) -> int:
    return next(token for token in map(vocabulary.token, texts) if token is not None)


def _user_layout(vocabulary: Vocabulary, template: str) -> Layout:
    fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    if sorted(set(fields)) not in (["prefix"], ["prefix", "suffix"]) or len(fields) != len(set(fields)):
        raise ValueError(
            f"prompt_template {template!r} must hold {{prefix}} once, {{suffix}} at most once, and no other field"
        )
    bos = (vocabulary.bos,) if vocabulary.adds_bos and vocabulary.bos is not None else ()
    return Layout(PREFIX_ONLY, "template", {}, frozenset(), bos, template)


def build(layout: Layout, vocabulary: Vocabulary, context: CompletionContext, budget: int) -> Prompt:
    """The prompt for a context, of at most `budget` tokens. `budget` must hold the template itself."""
    snippets = _fitting_snippets(layout, vocabulary, context, int(budget * SNIPPET_SHARE))
    template = layout.repository_body if layout.repository_body and snippets else layout.body
    with_suffix = "{suffix}" in template
    after = suffix_text(context) if with_suffix else ""
    comments = "" if layout.repository_body else snippets
    empty = _fill(layout, vocabulary, template, context, "", "", snippets, comments)
    room = max(1, budget - len(empty[0]))
    prefix_need = _count_lines(vocabulary, context.prefix)
    shared = max(int(room * SUFFIX_SHARE), room - -(-prefix_need // ROOM_STEP) * ROOM_STEP) if with_suffix else 0
    suffix = head_of(after, shared, vocabulary)
    prefix = tail_of(context.prefix, room - _count_lines(vocabulary, suffix), context.first_line, vocabulary)
    tokens, text = _fill(layout, vocabulary, template, context, prefix, suffix, snippets, comments)
    while len(tokens) > budget and prefix:  # joined text can cost a few tokens more than its lines did
        prefix = prefix[max(1, (len(tokens) - budget) * 2) :]
        tokens, text = _fill(layout, vocabulary, template, context, prefix, suffix, snippets, comments)
    return Prompt(tuple(tokens), text, layout.name, prefix)


def suffix_text(context: CompletionContext) -> str:
    """The suffix as it stands in a prompt.

    Blanks and closers right of the cursor stay out: editors write them by themselves as one types, and the model
    had better write them again than read its whole suffix anew. Words there are part of the suffix.
    """
    return context.suffix if is_closing(context.line_suffix) else context.line_suffix + context.suffix


def is_closing(line_suffix: str) -> bool:
    """Whether nothing but blanks and closing characters stands right of the cursor."""
    return not re.search(r"[^\s)\]}>\"'`;,:]", line_suffix)


def tail_of(text: str, budget: int, first_line: int, vocabulary: Vocabulary) -> str:
    """The end of a text, in whole lines, of at most about `budget` tokens; begins at an anchor line if cut.

    `first_line` is the document's number of the text's first line. A last line that is too long by itself is
    cut in its middle: the cursor stands at its end.
    """
    lines = split_lines(text)
    if not text.endswith("\n") and lines:
        last_cost = vocabulary.count(lines[-1]) if len(lines[-1]) < 4 * budget else budget + 1
        if last_cost > budget:
            return _tail_of_line(lines[-1], budget, vocabulary)
    start, used = len(lines), 0
    while start > 0 and used + vocabulary.count(lines[start - 1]) <= budget:
        start -= 1
        used += vocabulary.count(lines[start])
    if start == 0:
        return text
    last = len(lines) - (not text.endswith("\n"))
    return "".join(lines[anchored(first_line + start, first_line + last) - first_line :])


def _tail_of_line(line: str, budget: int, vocabulary: Vocabulary) -> str:
    line = line[-8 * budget :]
    while line and vocabulary.count(line) > budget:
        line = line[len(line) // 8 + 1 :]
    return line


def head_of(text: str, budget: int, vocabulary: Vocabulary) -> str:
    """The beginning of a text, in whole lines, of at most about `budget` tokens."""
    taken: list[str] = []
    for line in split_lines(text):
        cost = vocabulary.count(line) if len(line) < 8 * budget else budget + 1
        if cost > budget:
            break
        budget -= cost
        taken.append(line)
    return "".join(taken)


def _count_lines(vocabulary: Vocabulary, text: str) -> int:
    return sum(map(vocabulary.count, split_lines(text)))


def split_lines(text: str) -> list[str]:
    """The lines with their "\\n"; nothing else ends a line here, whatever `str.splitlines` thinks of form feeds."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _fitting_snippets(
    layout: Layout, vocabulary: Vocabulary, context: CompletionContext, budget: int
) -> str | Sequence[Snippet]:
    """The snippets that fit, in their order; as comments, in one text, where the family has no form for them."""
    taken: list[Snippet] = []
    for snippet in context.snippets:
        cost = _count_lines(vocabulary, snippet.text) + vocabulary.count(snippet.path) + 4
        if cost <= budget:
            budget -= cost
            taken.append(snippet)
    if layout.repository_body:
        return taken
    return as_comments(taken, language(context.language).comment)


def as_comments(snippets: Sequence[Snippet], marker: str) -> str:
    """Snippets as line comments, for models that know no form for other files; nothing without a marker."""
    if not marker:
        return ""
    blocks = [
        "".join(f"{marker} {line}".rstrip() + "\n" for line in (f"Path: {each.path}", *each.text.splitlines()))
        for each in snippets
    ]
    return f"{marker}\n".join(blocks)


def _fill(
    layout: Layout,
    vocabulary: Vocabulary,
    template: str,
    context: CompletionContext,
    prefix: str,
    suffix: str,
    snippets: str | Sequence[Snippet],
    comments: str | Sequence[Snippet],
) -> tuple[list[int], str]:
    """Tokens and readable text of a template. Text between two control tokens is tokenised in one piece."""
    values = {
        "prefix": (comments if isinstance(comments, str) else "") + prefix,
        "suffix": suffix,
        "path": context.path,
        "repository": context.repository or "repository",
        "language": language(context.language).name,
    }
    tokens, shown = list(layout.bos), []
    run = ""
    for literal, name in _expand(layout, template, snippets):
        if layout.name == "template" and literal:
            tokens += plain(vocabulary, layout, run) + vocabulary.tokenize_template(literal)
            run = ""
            shown.append(literal)
            literal = ""
        if name is not None and name.isupper():
            tokens += [*plain(vocabulary, layout, run + literal), layout.controls[name]]
            run = ""
            shown.append(literal + layout.family.tokens[name][0])
        else:
            value = "" if name is None else values.get(name, name[1:])
            run += literal + value
            shown.append(literal + value)
    return tokens + plain(vocabulary, layout, run), "".join(shown)


def _expand(layout: Layout, template: str, snippets: str | Sequence[Snippet]) -> Iterable[tuple[str, str | None]]:
    """The template's `(literal, field)` pairs, with `{snippets}` replaced by each snippet's own pairs.

    Text that belongs to a snippet is passed as a field that begins with "=".
    """
    for literal, name, _, _ in Formatter().parse(template):
        if name != "snippets":
            yield literal, name
            continue
        yield literal, "="
        for each in snippets if not isinstance(snippets, str) else ():
            for inner, inner_name, _, _ in Formatter().parse(layout.snippet):
                own = {"path": "=" + each.path, "code": "=" + each.text}
                yield inner, own.get(inner_name or "", inner_name)


def plain(vocabulary: Vocabulary, layout: Layout, text: str) -> list[int]:
    """Text as tokens, none of which is one of the layout's control tokens.

    A tokenizer asked not to parse control tokens still finds those that a model file marks as "user defined"
    (CodeQwen's `<fim_*>` are). Where that happened the text is cut inside each control text.
    """
    if not text:
        return []
    tokens = vocabulary.tokenize(text)
    controls = layout.stop_tokens | set(layout.controls.values())
    if controls.isdisjoint(tokens):
        return tokens
    texts = [each.lstrip("▁") for texts in layout.family.tokens.values() for each in texts]
    texts += [each.lstrip("▁") for each in layout.family.stop]
    inside = "|".join(f"(?<={re.escape(each[0])})(?={re.escape(each[1:])})" for each in texts if len(each) > 1)
    return [token for piece in re.split(inside, text) for token in vocabulary.tokenize(piece)]
