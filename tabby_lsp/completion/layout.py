"""How a model is asked: a family's templates with the model's own tokens, and text that stays text.

A template that was chosen for a model is a `Layout`; `prompt` fills it. Does not know models: a `Vocabulary` turns text
into tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import Formatter
from typing import Protocol

from tabby_lsp.completion.fim import PREFIX_ONLY, Family, doubts, recognise, unfamiliar


class Vocabulary(Protocol):
    """What a prompt needs of a model."""

    @property
    def name(self) -> str: ...

    @property
    def architecture(self) -> str: ...

    @property
    def bos(self) -> int | None:
        """The token that begins every prompt, if there is one."""

    @property
    def adds_bos(self) -> bool: ...

    def token(self, text: str) -> int | None:
        """The token with exactly this text."""

    def controls(self) -> Mapping[str, int]:
        """The tokens that no text must turn into, by their texts."""

    def fim(self) -> Mapping[str, str]:
        """Which tokens are PRE, SUF and MID, as the model file or llama.cpp says: their texts, of each that is said."""

    def tokenize(self, text: str) -> list[int]:
        """Text as tokens. Controls that the model file calls "user defined" are found in it: see `PlainText`."""

    def is_end(self, token: int) -> bool:
        """Whether the vocabulary itself says that generation ends at this token."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token writes; a control token writes none."""


class PlainText:
    """Text to tokens, none of which is a control token.

    A tokenizer asked not to parse control tokens still finds those that a model file marks as "user defined"
    (Qwen's `<tool_call>`, DeepSeek's `<|EOT|>`). Where that happened the text is cut inside each of their texts.
    """

    def __init__(self, vocabulary: Vocabulary, controls: Mapping[str, int]) -> None:
        self._vocabulary = vocabulary
        self._ids = frozenset(controls.values())
        # SentencePiece writes a blank as "▁": in text the token `▁<PRE>` is " <PRE>".
        self._texts = sorted({text.lstrip("▁") for text in controls} - {""})
        self.count = lru_cache(maxsize=20_000)(self._count)

    def tokens(self, text: str) -> list[int]:
        if not text:
            return []
        tokens = self._vocabulary.tokenize(text)
        if self._ids.isdisjoint(tokens):
            return tokens
        found = [each for each in self._texts if len(each) > 1 and each in text]
        inside = "|".join(f"(?<={re.escape(each[0])})(?={re.escape(each[1:])})" for each in found)
        pieces = re.split(inside, text) if inside else [text]
        tokens = [token for piece in pieces for token in self._vocabulary.tokenize(piece)]
        # A control token of a single character has no inside: it is left out.
        return [token for token in tokens if token not in self._ids]

    def bytes(self, tokens: Sequence[int]) -> bytes:
        return b"".join(map(self._vocabulary.piece, tokens))

    def _count(self, line: str) -> int:
        return len(self.tokens(line))

    def count_lines(self, text: str) -> int:
        return sum(map(self.count, newline_split(text)))


@dataclass(frozen=True, slots=True)
class Control:
    """A control token of a template."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a template for text: prefix, suffix, path, repository, language, code or all snippets."""

    name: str


Template = tuple[Control | Slot | str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A family settled for one model: its templates with the model's own tokens."""

    family: Family
    name: str  # prefix-first or suffix-first, or "template" for a user's own
    plain: PlainText = field(compare=False)
    stop_tokens: frozenset[int]
    bos: tuple[int, ...]
    body: Template
    snippet: Template = ()
    repository_body: Template = ()  # empty: pieces of other files become comments before the prefix
    notes: tuple[str, ...] = ()
    healing: bool = True  # whether the word under the cursor is left to the model to write again
    freezing: bool = True  # whether what is typed may be appended behind the suffix, where the template allows it

    @property
    def freezes(self) -> bool:
        """Whether the middle may begin before the cursor: prefix first, then the suffix, a control token last."""
        if not self.freezing:
            return False
        order = [piece.name for piece in self.body if isinstance(piece, Slot) and piece.name in ("prefix", "suffix")]
        return order == ["prefix", "suffix"] and isinstance(self.body[-1], Control)


def choose_layout(vocabulary: Vocabulary, wanted: str = "auto", template: str = "") -> Layout:
    """The layout for a model. `template`, if any, takes the place of the family's own (raises ValueError)."""
    family = recognise(vocabulary.name, vocabulary.architecture, vocabulary.token)
    if family is PREFIX_ONLY:
        family = unfamiliar(vocabulary.fim(), vocabulary.controls())
    roles = {role: _first_known(vocabulary, texts) for role, texts in family.tokens.items()}
    stops = [vocabulary.token(text) for text in family.stop] + [control.id for control in roles.values()]
    controls = {**vocabulary.controls(), **{control.text: control.id for control in roles.values()}}
    controls |= {text: token for text, token in zip(family.stop, stops, strict=False) if token is not None}
    bos = vocabulary.adds_bos if family.bos is None or template else family.bos
    first = (vocabulary.bos,) if bos and vocabulary.bos is not None else ()
    plain = PlainText(vocabulary, controls)
    if template:
        body = _compile_users(template, controls)
        if body and isinstance(body[0], Control) and body[0].id == vocabulary.bos:
            first = ()
        stops += [piece.id for piece in body if isinstance(piece, Control)]
        return Layout(family, "template", plain, _known(stops), first, body)
    name, notes = next(iter(family.body)), [*family.notes, *doubts(family, vocabulary.name)]
    if wanted in family.body:
        name = wanted
    elif wanted != "auto":
        notes.append(f"The model ({family.name}) was not trained {wanted}: it is asked {name}.")
    form = family.repository if family.repository and name in family.repository.body else None
    return Layout(
        family,
        name,
        plain,
        _known(stops),
        first,
        _compile(family.body[name], roles),
        _compile(form.snippet, roles) if form else (),
        _compile(form.body[name], roles) if form else (),
        tuple(notes),
    )


def _first_known(vocabulary: Vocabulary, texts: Iterable[str]) -> Control:
    known = ((vocabulary.token(text), text) for text in texts)
    return next(Control(token, text) for token, text in known if token is not None)


def _known(tokens: Iterable[int | None]) -> frozenset[int]:
    return frozenset(token for token in tokens if token is not None)


def _compile(template: str, roles: Mapping[str, Control]) -> Template:
    pieces: list[Control | Slot | str] = []
    for literal, name, _, _ in Formatter().parse(template):
        if literal:
            pieces.append(literal)
        if name is not None:
            pieces.append(roles[name] if name.isupper() else Slot(name))
    return tuple(pieces)


def _compile_users(template: str, controls: Mapping[str, int]) -> Template:
    """A template of the settings: texts of control tokens in it are control tokens. Raises ValueError."""
    advice = f"prompt_template {template!r} must hold {{prefix}} once, {{suffix}} at most once, and no other field"
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{advice} ({error})") from None
    names = [name for _, name, _, _ in parsed if name is not None]
    plainly = all(not form and not conversion for _, name, form, conversion in parsed if name is not None)
    if not plainly or "prefix" not in names or len(names) != len(set(names)) or set(names) - {"prefix", "suffix"}:
        raise ValueError(advice)
    pieces: list[Control | Slot | str] = []
    for literal, name, _, _ in parsed:
        pieces += _find_controls(literal, controls)
        if name is not None:
            pieces.append(Slot(name))
    return tuple(pieces)


def _find_controls(text: str, controls: Mapping[str, int]) -> Iterator[Control | str]:
    """A text cut into control tokens and what lies between them."""
    spellings = {
        form: control for control in controls for form in (control.lstrip("▁"), control.replace("▁", " "), control)
    }
    spellings.pop("", None)
    longest_first = sorted((each for each in spellings if each in text), key=len, reverse=True)
    pattern = "(" + "|".join(map(re.escape, longest_first)) + ")"
    for piece in re.split(pattern, text) if longest_first else [text]:
        if piece in spellings:
            yield Control(controls[spellings[piece]], spellings[piece])
        elif piece:
            yield piece


def newline_split(text: str) -> list[str]:
    """The lines with their "\\n"; nothing else ends a line here, whatever `str.splitlines` thinks of form feeds."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
