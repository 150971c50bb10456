"""Prompts of every fill-in-the-middle family, compared token by token with what the family was trained on.

A row spells its prompt as control tokens and text in turn: what is a control token's text and stands alone is that
token, all other text is tokenised as text, in one piece between two control tokens. The vocabularies are the
families' own as far as prompts depend on them: see `vocabularies.py`.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import random
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from vocabularies import NAMES, control_texts, vocabulary

from tabby_lsp.completion.context import surround
from tabby_lsp.completion.fim import FAMILIES, PREFIX_FIRST, SUFFIX_FIRST, recognise
from tabby_lsp.completion.layout import Layout, choose_layout
from tabby_lsp.completion.prompt import Prompt, build
from tabby_lsp.data import CompletionContext, Snippet
from tabby_lsp.engine.vocab import Vocab
from tabby_lsp.text import split_lines

PLENTY = 1_000_000

Load = Callable[[str], Vocab]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Vocabularies by name, each loaded once."""
    folder: Path = tmp_path_factory.mktemp("vocabularies")
    loaded: dict[str, Vocab] = {}

    def load(name: str) -> Vocab:
        if name not in loaded:
            loaded[name] = vocabulary(name, folder)
        return loaded[name]

    return load


@cache
def default_layout(vocab: Vocab) -> Layout:
    """As in the engine, where a model's layout is chosen once and lives as long as the model."""
    return plain_layout(vocab)


def plain_layout(vocab: Vocab, wanted: str = "auto", template: str = "") -> Layout:
    """The family's form itself: all of the prefix in its place, the word under the cursor included."""
    return replace(choose_layout(vocab, wanted, template), healing=False, freezing=False)


# --- the table


@dataclass(frozen=True)
class At:
    """What a prompt is filled with, as it stands in the row."""

    prefix: str
    suffix: str
    path: str = "src/shapes.py"
    repository: str = "geometry"
    language: str = "Python"
    snippets: tuple[Snippet, ...] = ()


Form = Callable[[At], Iterable[str]]


@dataclass(frozen=True)
class Row:
    vocabulary: str
    family: str
    layout: str
    prompt: Form
    repository: Form | None = None
    bos: str = ""
    stops: str = ""
    other_layout: Form | None = None  # the layout that is not the default, if the family was trained on it

    def form(self, snippets: Sequence[Snippet] = ()) -> Form:
        return self.repository if self.repository and snippets else self.prompt


def _psm(prefix: str, suffix: str, middle: str) -> Form:
    return lambda at: (prefix, at.prefix, suffix, at.suffix, middle)


def _spm(prefix: str, suffix: str, middle: str) -> Form:
    return lambda at: (suffix, at.suffix, prefix, at.prefix, middle)


def _spm_joint(prefix: str, suffix: str, middle: str) -> Form:
    return lambda at: (prefix, suffix, at.suffix, middle, at.prefix)


UNDERSCORE = "<fim_prefix>", "<fim_suffix>", "<fim_middle>"
HYPHEN = "<fim-prefix>", "<fim-suffix>", "<fim-middle>"
BAR = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"
SEED = "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"
CODE = "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"
CODE_LLAMA = "▁<PRE>", "▁<SUF>", "▁<MID>"
DEEPSEEK = "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"


def _qwen_repository(form: Form) -> Form:
    def spell(at: At) -> Iterable[str]:
        yield from ("<|repo_name|>", at.repository + "\n")
        for each in at.snippets:
            yield from ("<|file_sep|>", f"{each.path}\n{each.text}\n")
        yield from ("<|file_sep|>", at.path + "\n")
        yield from form(at)

    return spell


def _starcoder2_repository(at: At) -> Iterable[str]:
    yield from ("<repo_name>", at.repository)
    for each in at.snippets:
        yield from ("<file_sep>", f"{each.path}\n{each.text}")
    yield from ("<file_sep>", "<fim_prefix>", f"{at.path}\n{at.prefix}", "<fim_suffix>", at.suffix, "<fim_middle>")


def _mellum(at: At) -> Iterable[str]:
    for each in at.snippets:
        yield from ("<filename>", f"{each.path}\n{each.text}\n")
    yield from ("<filename>", at.path + "\n", "<fim_suffix>", at.suffix, "<fim_prefix>", at.prefix, "<fim_middle>")


def _codestral_repository(at: At) -> Iterable[str]:
    others = "".join(f"+++++ {each.path}\n{each.text}\n\n" for each in at.snippets)
    return "[SUFFIX]", at.suffix, "[PREFIX]", f" {others}+++++ {at.path}\n{at.prefix}"


def _codegeex(at: At) -> Iterable[str]:
    others = "".join(f"###REFERENCE:\n###PATH:{each.path}\n{each.text}\n" for each in at.snippets)
    yield from ("<|user|>", f"\n{others}###PATH:{at.path}\n###LANGUAGE:{at.language}\n###MODE:BLOCK\n")
    yield from ("<|code_suffix|>", at.suffix, "<|code_prefix|>", at.prefix, "<|code_middle|>", "<|assistant|>", "\n")


QWEN_STOPS = (
    "<|endoftext|> <|im_end|> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
)
ROWS = (
    Row("santacoder", "santacoder", PREFIX_FIRST, _psm(*HYPHEN), stops="<|endoftext|>"),
    Row(
        "starcoder",
        "starcoder",
        PREFIX_FIRST,
        _psm(*UNDERSCORE),
        stops="<|endoftext|> <fim_prefix> <fim_suffix> <fim_middle>",
        other_layout=_spm_joint(*UNDERSCORE),
    ),
    Row(
        "codeqwen",
        "starcoder",
        PREFIX_FIRST,
        _psm(*UNDERSCORE),
        stops="<|endoftext|> <file_sep> <fim_prefix> <fim_suffix> <fim_middle> <fim_pad>",
        other_layout=_spm_joint(*UNDERSCORE),
    ),
    Row(
        "stable-code",
        "starcoder",
        PREFIX_FIRST,
        _psm(*UNDERSCORE),
        stops="<|endoftext|> <fim_prefix> <fim_suffix> <fim_middle>",
        other_layout=_spm_joint(*UNDERSCORE),
    ),
    Row(
        "starcoder2",
        "starcoder2",
        PREFIX_FIRST,
        _psm(*UNDERSCORE),
        _starcoder2_repository,  # the path stands inside the prefix
        stops="<|endoftext|> <file_sep> <repo_name> <fim_prefix> <fim_suffix> <fim_middle>",
        other_layout=_spm_joint(*UNDERSCORE),
    ),
    Row("refact", "refact", PREFIX_FIRST, _psm(*UNDERSCORE), stops="<|endoftext|>"),
    Row("granite-3", "granite", PREFIX_FIRST, _psm(*UNDERSCORE), stops="<|end_of_text|>"),
    Row(
        "granite-4",
        "granite-4",
        PREFIX_FIRST,
        _psm(*BAR),
        stops="<|end_of_text|> <|fim_prefix|> <|fim_suffix|> <|fim_middle|> <|fim_pad|>",
    ),
    Row(  # "<PRE> P <SUF>S <MID>": the blanks before SUF and MID belong to their tokens, the other one to the text
        "codellama",
        "codellama",
        PREFIX_FIRST,
        lambda at: ("▁<PRE>", " " + at.prefix, "▁<SUF>", at.suffix, "▁<MID>"),
        bos="<s>",
        stops="▁<EOT> </s>",
        other_layout=lambda at: ("▁<PRE>", "▁<SUF>", at.suffix, "▁<MID>", " " + at.prefix),
    ),
    Row(
        "deepseek-coder",
        "deepseek-coder",
        PREFIX_FIRST,
        _psm(*DEEPSEEK),
        bos="<｜begin▁of▁sentence｜>",
        stops="<｜end▁of▁sentence｜> <｜fim▁begin｜> <｜fim▁hole｜> <｜fim▁end｜>",
    ),
    Row("qwen2.5-coder", "qwen-coder", PREFIX_FIRST, _psm(*BAR), _qwen_repository(_psm(*BAR)), stops=QWEN_STOPS),
    Row("qwen3-coder", "qwen-coder", PREFIX_FIRST, _psm(*BAR), _qwen_repository(_psm(*BAR)), stops=QWEN_STOPS),
    Row(
        "codegemma",
        "codegemma",
        PREFIX_FIRST,
        _psm(*BAR),
        bos="<bos>",
        stops="<|file_separator|> <end_of_turn> <eos>",
    ),
    Row(  # the blank is the one that SentencePiece put before every prefix: "<s>[SUFFIX]suffix[PREFIX] prefix"
        "codestral",
        "codestral",
        SUFFIX_FIRST,
        lambda at: ("[SUFFIX]", at.suffix, "[PREFIX]", " " + at.prefix),
        _codestral_repository,
        bos="<s>",
        stops="</s> [PREFIX] [SUFFIX]",
    ),
    Row(
        "seed-coder",
        "seed-coder",
        SUFFIX_FIRST,
        _spm(*SEED),
        stops="<[end▁of▁sentence]> <[fim-prefix]> <[fim-suffix]> <[fim-middle]>",
    ),
    Row("mellum", "mellum", SUFFIX_FIRST, _mellum, _mellum, stops="<|endoftext|> <filename>"),
    Row("codegeex4", "codegeex4", SUFFIX_FIRST, _codegeex, _codegeex, stops="<|user|> <|endoftext|>"),
    Row(
        "tabby-starter",
        "tabby-starter",
        SUFFIX_FIRST,
        _spm(*BAR),
        _qwen_repository(_spm(*BAR)),
        stops=QWEN_STOPS,
        other_layout=_psm(*BAR),
    ),
    Row("glm-4.5", "unknown", PREFIX_FIRST, _psm(*CODE), stops="<|endoftext|>", other_layout=_spm(*CODE)),
    Row("unheard-of", "none", PREFIX_FIRST, lambda at: (at.prefix,), stops="<|endoftext|>"),
    Row("codellama-34b", "none", PREFIX_FIRST, lambda at: (at.prefix,), bos="<s>", stops="</s>"),
    Row("gpt-2", "none", PREFIX_FIRST, lambda at: (at.prefix,), stops="<|endoftext|>"),
)
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.vocabulary)
trained_both_ways = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.other_layout], ids=lambda row: row.vocabulary
)


def row_of(vocabulary: str) -> Row:
    return next(row for row in ROWS if row.vocabulary == vocabulary)


PREFIX = 'def area(r):\n    """Of a circle."""\n    return '
SUFFIX = "\n\n\nprint(area(2))\n"
SNIPPETS = (
    Snippet("src/units.py", "def inch():\n    return 0.0254"),
    Snippet("src/pi.py", "from math import pi\n\nassert pi"),
)


def context_of(at: At) -> CompletionContext:
    """The context for what is spelled."""
    return CompletionContext(
        at.prefix, "", at.suffix, 0, at.path, at.repository, at.language.lower(), snippets=at.snippets
    )


def turns(parts: Iterable[str], controls: Iterable[str]) -> list[str]:
    """Text, control token, text, …, text: texts that follow each other are one."""
    found = [""]
    for part in parts:
        if part in controls:
            found += [part, ""]
        else:
            found[-1] += part
    return found


def expect(row: Row, at: At, form: Form | None = None) -> list[str]:
    parts = (form or row.form(at.snippets))(at)
    return turns([row.bos, *parts] if row.bos else parts, control_texts(row.vocabulary))


def as_tokens(vocab: Vocab, expected: Sequence[str]) -> list[int]:
    """Control tokens by their texts, texts by the tokenizer, which must find no control token in them."""
    tokens: list[int] = []
    for i, part in enumerate(expected):
        tokens += [token_of(vocab, part)] if i % 2 else vocab.tokenize(part)
    return tokens


def token_of(vocab: Vocab, text: str) -> int:
    token = vocab.token(text)
    assert token is not None, text
    return token


def read(name: str, vocab: Vocab, tokens: Iterable[int]) -> list[str]:
    """Tokens as text, control token, text, …: whatever is a control token shows, wherever it comes from."""
    controls = {vocab.token(text): text for text in control_texts(name)}
    found, run = [], b""
    for token in tokens:
        if token in controls:
            found += [run.decode("utf-8"), controls[token]]
            run = b""
        else:
            run += vocab.piece(token)
    return [*found, run.decode("utf-8")]


# --- rows


@every_row
def test_the_family_is_recognised_and_asked_as_it_was_trained(row: Row, load: Load) -> None:
    layout = choose_layout(load(row.vocabulary))
    assert (layout.family.name, layout.name) == (row.family, row.layout)
    assert bool(layout.notes) == (row.family in ("none", "unknown"))


def test_every_family_and_every_vocabulary_stands_in_the_table() -> None:
    assert {family.name for family in FAMILIES} == {row.family for row in ROWS} - {"none", "unknown"}
    assert {row.vocabulary for row in ROWS} == set(NAMES) - {"codestral-early"}


@every_row
def test_the_prompt_of_one_file(row: Row, load: Load) -> None:
    vocab, at = load(row.vocabulary), At(PREFIX, SUFFIX)
    prompt = build(plain_layout(vocab), context_of(at), PLENTY)
    expected = expect(row, at)
    assert read(row.vocabulary, vocab, prompt.tokens) == expected
    assert list(prompt.tokens) == as_tokens(vocab, expected)
    assert prompt.text == "".join(expected).removeprefix(row.bos)
    assert (prompt.prefix, prompt.layout) == (PREFIX, row.layout)


@pytest.mark.parametrize("row", [row for row in ROWS if row.repository], ids=lambda row: row.vocabulary)
def test_the_prompt_with_pieces_of_two_other_files(row: Row, load: Load) -> None:
    vocab, at = load(row.vocabulary), At(PREFIX, SUFFIX, snippets=SNIPPETS)
    prompt = build(plain_layout(vocab), context_of(at), PLENTY)
    expected = expect(row, at)
    assert read(row.vocabulary, vocab, prompt.tokens) == expected
    assert list(prompt.tokens) == as_tokens(vocab, expected)
    assert prompt.text == "".join(expected).removeprefix(row.bos)


@trained_both_ways
def test_a_layout_asked_for_that_the_family_knows(row: Row, load: Load) -> None:
    vocab, at = load(row.vocabulary), At(PREFIX, SUFFIX)
    wanted = PREFIX_FIRST if row.layout == SUFFIX_FIRST else SUFFIX_FIRST
    layout = plain_layout(vocab, wanted)
    prompt = build(layout, context_of(at), PLENTY)
    assert (layout.name, layout.notes) == (wanted, layout.family.notes)
    assert list(prompt.tokens) == as_tokens(vocab, expect(row, at, row.other_layout))


@pytest.mark.parametrize("row", [row for row in ROWS if not row.other_layout], ids=lambda row: row.vocabulary)
def test_a_layout_that_the_family_was_not_trained_on_is_refused_with_a_note(row: Row, load: Load) -> None:
    wanted = PREFIX_FIRST if row.layout == SUFFIX_FIRST else SUFFIX_FIRST
    vocab = load(row.vocabulary)
    layout, default = choose_layout(vocab, wanted), choose_layout(vocab)
    assert replace(layout, notes=()) == replace(default, notes=())
    (note,) = set(layout.notes) - set(default.notes)
    assert wanted in note and row.layout in note


@every_row
def test_what_ends_the_middle(row: Row, load: Load) -> None:
    vocab = load(row.vocabulary)
    layout = plain_layout(vocab)
    missing = [
        text
        for text in row.stops.split()
        if (token := token_of(vocab, text)) not in layout.stop_tokens and not vocab.is_end(token)
    ]
    assert missing == []
    assert layout.family.stop_text == (("\n+++++ ",) if row.family == "codestral" else ())


@every_row
def test_a_prompt_begins_with_bos_where_the_family_has_one_and_holds_no_other(row: Row, load: Load) -> None:
    vocab = load(row.vocabulary)
    layout = plain_layout(vocab)
    assert layout.bos == ((token_of(vocab, row.bos),) if row.bos else ())
    tokens = build(layout, context_of(At(PREFIX, SUFFIX)), PLENTY).tokens
    assert tokens.count(vocab.bos) == len(row.bos and [row.bos])


@pytest.mark.parametrize(
    ("name", "architecture", "vocabulary", "family"),
    [
        ("Granite 20b Code Base 8k", "starcoder", "granite-3", "granite"),
        ("Granite 3b Code Base", "llama", "granite-3", "granite"),
        ("Granite 3.3 2b Instruct", "granite", "granite-3", "granite"),
        ("Granite 4.0 Micro", "granite", "granite-4", "granite-4"),
        ("Qwen3 Coder Next", "qwen3next", "qwen3-coder", "qwen-coder"),
        ("GLM 4.5 Air", "glm4moe", "codegeex4", "none"),
        ("DeepSeek Coder V2 Lite Base", "deepseek2", "deepseek-coder", "deepseek-coder"),
        ("starcoder2-3b", "starcoder2", "starcoder2", "starcoder2"),
        ("CodeLlama 13b Instruct", "llama", "codellama", "codellama"),
        ("Mellum 4b Sft Python", "llama", "mellum", "mellum"),
        ("Codestral 22B", "llama", "codestral-early", "none"),  # files made before the tokens had their texts
        ("Mistral 7B Instruct v0.3", "llama", "codestral", "none"),  # the same vocabulary, never trained on it
        ("Mellum 4b Base", "llama", "gpt-2", "none"),  # a name alone is not enough
        ("tabby-starter", "qwen2", "gpt-2", "none"),
        ("", "", "gpt-2", "none"),
    ],
)
def test_families_by_name_architecture_and_vocabulary(
    name: str, architecture: str, vocabulary: str, family: str, load: Load
) -> None:
    assert recognise(name, architecture, load(vocabulary).token).name == family


def test_a_model_without_tokens_for_the_middle_says_so_once_and_reads_the_prefix_alone(load: Load) -> None:
    vocab = load("gpt-2")
    layout = plain_layout(vocab)
    assert len(layout.notes) == 1 and "before the cursor" in layout.notes[0]
    prompt = build(layout, context_of(At(PREFIX, SUFFIX)), PLENTY)
    assert (list(prompt.tokens), prompt.text) == (vocab.tokenize(PREFIX), PREFIX)


@pytest.mark.parametrize(
    ("name", "vocabulary", "doubted"),
    [
        ("Qwen2.5 Coder 7B Instruct", "qwen2.5-coder", False),
        ("Qwen3-Coder-30B-A3B", "qwen3-coder", False),
        ("Sweep next edit, from Qwen2.5 Coder 1.5B", "qwen2.5-coder", False),
        ("Qwen2.5 7B Instruct", "qwen2.5-coder", True),
        ("Qwen3 8B", "qwen3-coder", True),
        ("DeepSeek R1 Distill Qwen 7B", "qwen2.5-coder", True),
        ("DeepSeek Coder 6.7b Base", "deepseek-coder", False),
        ("DeepSeek V2 Lite Chat", "deepseek-coder", True),
    ],
)
def test_who_only_shares_a_coder_s_vocabulary_is_told_of(name: str, vocabulary: str, doubted: bool, load: Load) -> None:
    vocab = copy(load(vocabulary))
    vocab.name = name
    notes = choose_layout(vocab).notes
    assert len(notes) == doubted and all("prompt_template = '{prefix}'" in note for note in notes)
    assert choose_layout(vocab, template="{prefix}").notes == (), "who has chosen a form knows"


def test_tokens_for_the_middle_under_unfamiliar_names_are_named(load: Load) -> None:
    (note,) = choose_layout(load("glm-4.5")).notes
    assert "<|code_prefix|> <|code_suffix|> <|code_middle|>" in note and "suffix-first" in note
    (note,) = choose_layout(load("unheard-of")).notes
    assert "<hole_before> <hole_after> <hole>" in note and "prompt_template" in note
    (note,) = choose_layout(load("codestral-early")).notes
    assert "no fill-in-the-middle tokens" in note


# --- text stays text


def spelled_in_a_buffer(texts: Iterable[str]) -> str:
    """Control texts as a source file may hold them: alone, after a blank, after a letter, nested, in a row."""
    spelled = [re.sub("^▁", "", text) for text in texts]
    lines = [f'{text}\n {text}\nx{text}y = "{text}{text}"\n{text[:3]}{text}{text[3:]}\n' for text in spelled]
    return "".join(lines) + "".join(spelled)


def check_hostile(row: Row, load: Load, texts: Iterable[str], snippets: bool = False) -> None:
    """A prompt full of control texts holds the template's own control tokens and the same text."""
    vocab, hostile = load(row.vocabulary), spelled_in_a_buffer(texts)
    one_line = hostile.replace("\n", " ")
    others = (Snippet(f"a/{one_line}", hostile), Snippet("b", f"{hostile}\n{hostile}")) if snippets else ()
    at = At(hostile, f"\n{hostile}", f"src/{one_line}", f"the {one_line}", snippets=others)
    prompt = build(plain_layout(vocab), context_of(at), PLENTY)
    assert read(row.vocabulary, vocab, prompt.tokens) == expect(row, at)


def family_texts(row: Row, load: Load) -> list[str]:
    family = choose_layout(load(row.vocabulary)).family
    return [text for texts in (*family.tokens.values(), family.stop) for text in texts]


@every_row
def test_the_texts_of_the_family_s_control_tokens_stay_text(row: Row, load: Load) -> None:
    check_hostile(row, load, family_texts(row, load))


@pytest.mark.parametrize("row", [row for row in ROWS if row.repository], ids=lambda row: row.vocabulary)
def test_the_texts_of_the_family_s_control_tokens_stay_text_in_other_files(row: Row, load: Load) -> None:
    check_hostile(row, load, family_texts(row, load), snippets=True)


@every_row
def test_the_texts_of_all_control_tokens_of_the_vocabulary_stay_text(row: Row, load: Load) -> None:
    check_hostile(row, load, control_texts(row.vocabulary), snippets=bool(row.repository))


@every_row
def test_the_texts_of_other_families_control_tokens_stay_text(row: Row, load: Load) -> None:
    texts = sorted({text for name in NAMES for text in control_texts(name)} - set(control_texts(row.vocabulary)))
    # SentencePiece writes a blank as "▁": a text that holds one is read as a blank there, by every tokenizer.
    check_hostile(row, load, [text for text in texts if "▁" not in text], snippets=bool(row.repository))


@every_row
def test_any_character_goes_through_unchanged(row: Row, load: Load) -> None:
    odd = "\0\x0b\x0c\x1f\x7f\x85\u2028\u2029\ufeff\u200bäß中文😀🏳️‍🌈\U0010ffff\t\xa0{prefix}{0}%s\\n"
    at = At(f"{odd}\n{odd}", f"\n{odd}\n", path=f"{odd}.py")
    vocab = load(row.vocabulary)
    prompt = build(plain_layout(vocab), context_of(at), PLENTY)
    assert read(row.vocabulary, vocab, prompt.tokens) == expect(row, at)
    assert prompt.text == "".join(expect(row, at)).removeprefix(row.bos)


@pytest.mark.parametrize("row", [row for row in ROWS if row.repository], ids=lambda row: row.vocabulary)
@pytest.mark.parametrize(
    "snippet",
    [
        Snippet("MAKEFILE", "all: test"),
        Snippet("a.py", "LIMIT = 10\nDEBUG = 0"),
        Snippet("PRE", "SUF"),
        Snippet("{path}", "{code} {PRE} {snippets} {suffix"),
        Snippet("prefix", "suffix"),
        Snippet("", ""),
    ],
    ids=lambda snippet: snippet.path or "empty",
)
def test_a_piece_of_another_file_is_never_taken_for_a_part_of_the_template(
    row: Row, snippet: Snippet, load: Load
) -> None:
    vocab, at = load(row.vocabulary), At(PREFIX, SUFFIX, snippets=(snippet,))
    prompt = build(plain_layout(vocab), context_of(at), PLENTY)
    assert read(row.vocabulary, vocab, prompt.tokens) == expect(row, at)


# --- budgets

SOURCE = inspect.getsource(textwrap)
LINES = SOURCE.splitlines(keepends=True)
MIDDLE = len(LINES) // 2
CLOSERS = set(")]}>\"'`;,:")
LONG_LINE = "".join(f"item_{i}, " for i in range(3000))[:20_000]


def cut_at(text: str, place: int) -> CompletionContext:
    """A context as `surround` makes it: the suffix begins with the line end."""
    line_suffix, newline, suffix = text[place:].partition("\n")
    return CompletionContext(text[:place], line_suffix, newline + suffix, path="src/a.py", language="python")


CONTEXTS = {
    "large": cut_at(SOURCE, SOURCE.index("\n", len(SOURCE) // 2)),
    "words behind the cursor": cut_at(SOURCE, SOURCE.index("self.", len(SOURCE) // 2)),
    "late in the file": replace(cut_at(SOURCE, len(SOURCE) - 200), first_line=100),
    "early in the file": cut_at(SOURCE, 200),
    "tiny": cut_at("x = (\n)\n", 5),
    "empty": CompletionContext("", language="python"),
    "no prefix": cut_at(SOURCE, 0),
    "no suffix": CompletionContext(SOURCE, language="python"),
    "a long line": cut_at(f"{SOURCE[:3000]}\nx = [{LONG_LINE}\n]\n{SOURCE[3000:6000]}", 3000 + 5 + len(LONG_LINE)),
    "long lines around": cut_at(f"{LONG_LINE}\nx = 1\n{LONG_LINE}\n", len(LONG_LINE) + 6),
    "one letter": cut_at("x" * 20_000 + "\n" + "y" * 6000, 20_000),
    "blank": cut_at(" " * 3000 + "\n" * 4000 + " " * 9000, 6000),
    "short lines": cut_at("{\n}\n" * 5000, 12_000),
    "astral": cut_at("smile = '😀🏳️‍🌈'\n" * 800, 8000),
    "odd ends": cut_at("a\x0c\nb\x0b\x1c = '\u2028\x85'\n\0\0\n" * 500, 5000),
    "lone surrogates": cut_at("s = '\ud800\udfff\udc00'\n" * 600, 4800),
}


@dataclass(frozen=True)
class Kept:
    """What of the text is in a prompt."""

    prefix: str
    suffix: str


def kept(row: Row, vocab: Vocab, prompt: Prompt, context: CompletionContext) -> Kept:
    """Reads a prompt's tokens back; asserts that everything in it but prefix and suffix is the template's."""
    found = read(row.vocabulary, vocab, prompt.tokens)
    marked = expect(row, At("⟦P⟧", "⟦S⟧", context.path, context.repository or "repository"))
    assert found[1::2] == marked[1::2], "the control tokens of the template, in order"
    slots = {"P": "", "S": ""}
    for text, shape in zip(found[::2], marked[::2], strict=True):
        before, slot, after = re.fullmatch("([^⟦]*)⟦?([PS]?)⟧?(.*)", shape, re.DOTALL).groups()  # type: ignore[union-attr]
        assert text.startswith(before) and text[len(before) :].endswith(after)
        inner = text[len(before) : len(text) - len(after)]
        if slot:
            slots[slot] = inner
        else:
            assert inner == ""
    return Kept(slots["P"], slots["S"])


def as_read(text: str) -> str:
    """A lone surrogate has no UTF-8 form: a tokenizer never sees it."""
    return text.encode("utf-8", "replace").decode("utf-8")


def template_size(row: Row, vocab: Vocab, context: CompletionContext) -> int:
    return len(as_tokens(vocab, expect(row, At("", "", context.path, context.repository or "repository"))))


def check_budget(row: Row, vocab: Vocab, context: CompletionContext, budget: int) -> None:
    layout = default_layout(vocab)
    prompt = build(layout, context, budget)
    assert len(prompt.tokens) <= budget
    got = kept(row, vocab, prompt, context)
    prefix, suffix = as_read(context.prefix), as_read(context.suffix)
    if not CLOSERS.issuperset(context.line_suffix.strip()):
        suffix = as_read(context.line_suffix) + suffix
    assert context.prefix.endswith(prompt.prefix) and as_read(prompt.prefix) == got.prefix
    assert suffix.startswith(got.suffix)
    if got.suffix != suffix:
        assert got.suffix == "" or got.suffix.endswith("\n"), "the suffix is cut after a line"
    cut = len(prefix) - len(got.prefix)
    if cut and prefix[cut - 1] != "\n":
        last_line = prefix[prefix.rfind("\n") + 1 :]
        assert last_line.endswith(got.prefix), "a prefix is cut before a line, or in the cursor's own"
        room = (budget - template_size(row, vocab, context)) * 0.7
        cost = layout.plain.count(last_line)
        assert cost > room or len(last_line) > 4 * room, "the cursor's own line is cut if it is too long"


@every_row
def test_a_prompt_keeps_to_any_budget(row: Row, load: Load) -> None:
    """Control tokens are never what is cut, and text is cut in whole lines, far from the cursor first."""
    vocab = load(row.vocabulary)
    failures = []
    for (title, context), budget in itertools.product(CONTEXTS.items(), (0, 9, 33, 100, 257, 512, 777, 1500, 2000)):
        whole = max(budget, template_size(row, vocab, context) + 8)
        try:
            check_budget(row, vocab, context, whole)
        except AssertionError as error:
            failures.append(f"{title}, budget {whole}: {str(error).splitlines()[0]}")
    assert failures == []


def test_a_prompt_keeps_to_the_budget_whatever_lines_the_text_consists_of(load: Load) -> None:
    """Lines that are tokenised together may cost more than each by itself: the sum of lines is no promise."""
    chance = random.Random(0)
    pieces = ["\n", "\n\n", "    ", " ", "\t", "x", "return", "the", "(", ")", "=", "é", "😀", "0", "'", "\x0c", "\n  "]
    failures = []
    for row in ROWS:
        vocab = load(row.vocabulary)
        for number in range(60):
            text = "".join(chance.choices(pieces, k=chance.randrange(40, 800)))
            context = cut_at(text, chance.randrange(len(text)))
            size = template_size(row, vocab, context)
            for budget in (size + 8, size + 40, size + chance.randrange(8, 400)):
                try:
                    check_budget(row, vocab, context, budget)
                except AssertionError as error:
                    failures.append(f"{row.vocabulary} {number}, budget {budget}: {str(error).splitlines()[0]}")
    assert failures == []


@every_row
def test_text_full_of_control_texts_keeps_to_the_budget(row: Row, load: Load) -> None:
    """Such a text costs more as text than the tokenizer's own count says of it."""
    vocab, texts = load(row.vocabulary), [re.sub("^▁", " ", text) for text in control_texts(row.vocabulary)]
    line = "".join(texts) + "\n"
    hostile = line * 60
    for prefix, suffix, budget in itertools.product((hostile, "", "x"), (f"\n{hostile}", "\n"), (200, 600)):
        check_budget(row, vocab, CompletionContext(prefix, "", suffix, path="a.py", language="python"), budget)


@every_row
def test_pieces_of_other_files_leave_the_budget_and_the_cursor_in_place(row: Row, load: Load) -> None:
    vocab = load(row.vocabulary)
    layout = plain_layout(vocab)
    many = tuple(Snippet(f"src/module_{i}.py", "x\n\n" * (1 << i) + "y = [x]") for i in range(10))
    blank = tuple(Snippet(f"src/{i}.py", "\n" * i) for i in range(1, 300, 17))
    failures = []
    for budget in (30, 40, 60, 100, 200, 400, 800, 1600):
        for snippets in (many, many[:1], many[2:3], many[5:6], many[::-1], blank, blank[::-1]):
            context = replace(CONTEXTS["large"], snippets=snippets)
            prompt = build(layout, context, whole := max(budget, template_size(row, vocab, context) + 8))
            if len(prompt.tokens) > whole:
                failures.append(f"{len(prompt.tokens)} tokens for {whole}, {len(snippets)} files")
            elif not context.prefix.endswith(prompt.prefix) or (budget > 100 and not prompt.prefix):
                failures.append(f"prefix {prompt.prefix!r} for {budget}")
    assert failures == []


class Counted(Vocab):
    """A vocabulary that counts the characters it is given."""

    characters = 0

    def tokenize(self, text: str) -> list[int]:
        self.characters += len(text)
        return super().tokenize(text)


@pytest.mark.parametrize("name", ["codegeex4", "qwen2.5-coder", "codellama"])
@pytest.mark.parametrize("title", ["large", "a long line"])
def test_a_prompt_is_fitted_in_few_steps(name: str, title: str, load: Load) -> None:
    """Whatever the budget leaves to the text: reading it a few times must do, not once for each line."""
    vocab, context = load(name), CONTEXTS[title]
    counted = Counted(vocab._handle, vocab.name, vocab.architecture)
    layout, size = plain_layout(counted), template_size(row_of(name), vocab, context)
    snippets = tuple(Snippet(f"src/module_{i}.py", "x = 1\n" * (1 << i)) for i in range(8))
    failures = []
    for others, budget in itertools.product((snippets, snippets[:1], ()), (size + 8, size + 20, 120, 512, 2000)):
        counted.characters = 0
        build(layout, replace(context, snippets=others), budget)
        if counted.characters > 20 * (len(context.prefix) + len(context.suffix)):
            failures.append(f"{counted.characters} characters for {budget} tokens, {len(others)} other files")
    assert failures == []


@pytest.mark.parametrize("budget", [256, 512, 1024])
@pytest.mark.parametrize("name", ["starcoder2", "deepseek-coder"])
def test_a_budget_that_is_too_small_for_the_text_is_used(name: str, budget: int, load: Load) -> None:
    """An anchor costs some of the text that would have fitted, not most of it, wherever the cursor stands."""
    vocab = load(name)
    layout = plain_layout(vocab)
    used = []
    for line in range(100, len(LINES) - 100, 7):
        prefix, line_suffix, suffix, first_line = surround(LINES, line, len(LINES[line]) - 1)
        context = CompletionContext(prefix, line_suffix, suffix, first_line, language="python")
        used.append(len(build(layout, context, budget).tokens) / budget)
    assert min(used) > 0.4
    assert sum(used) / len(used) > 0.6


# --- typing


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Number of tokens that two prompts begin with alike: what a KV cache keeps."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def type_text(
    layout: Layout, vocab: Vocab, lines: Sequence[str], line: int, typed: str, budget: int, closing: str = ""
) -> list[int]:
    """Types behind the end of a line of a file, a character at a time, through the window that the server keeps.

    Returns how many tokens of each prompt were not already at their place in the one before.
    """
    before, after = "".join(lines[: line + 1]).removesuffix("\n"), "".join(lines[line + 1 :])
    last: Prompt | None = None
    changed = []
    for end in range(len(typed) + 1):
        document = split_lines(f"{before}{typed[:end]}{closing}\n{after}")
        at = line + typed[:end].count("\n")
        column = len(document[at]) - 1 - len(closing)
        prefix, line_suffix, suffix, first_line = surround(document, at, column)
        context = CompletionContext(prefix, line_suffix, suffix, first_line, "src/a.py", "r", "python")
        prompt = build(layout, context, budget, last)
        changed.append(len(prompt.tokens) - (common(last.tokens, prompt.tokens) if last else 0))
        last = prompt
    return changed[1:]


def suffix_first(load: Load, *names: str) -> list[tuple[Vocab, Layout, int]]:
    """Layouts that have the prefix last, with the number of tokens behind it; those of all rows if none is named."""
    found: list[tuple[Vocab, Layout, int]] = []
    for row in ROWS:
        if names and row.vocabulary not in names:
            continue
        vocab = load(row.vocabulary)
        for wanted in ("auto", SUFFIX_FIRST):
            layout = choose_layout(vocab, wanted)
            if layout.name == SUFFIX_FIRST and layout not in [each for _, each, _ in found]:
                last_run = expect(row, At("", ""))[-1]
                found.append((vocab, layout, 3 + len(vocab.tokenize(last_run))))
    return found


LAYOUTS = "auto", SUFFIX_FIRST
TYPED_LINE = "        some_value = self.method(argument, other=['text', 12345]) + more_of_it"


def test_a_key_changes_only_the_end_of_a_suffix_first_prompt_that_has_room(load: Load) -> None:
    for vocab, layout, behind in suffix_first(load):
        changed = type_text(layout, vocab, LINES[:330], 299, TYPED_LINE[8:32], PLENTY)
        assert max(changed) <= behind + 8, layout.family.name


@pytest.mark.parametrize("budget", [512, 1000, 1519, 1956, 3000])
def test_a_key_changes_only_the_end_of_a_suffix_first_prompt_that_is_full(budget: int, load: Load) -> None:
    """At every key of a line; the window may jump once in it, to have peace for many lines to come."""
    failures = []
    for vocab, layout, behind in suffix_first(load, "tabby-starter", "starcoder2", "codellama"):
        changed = type_text(layout, vocab, LINES[:400], 299, "\n" + TYPED_LINE, budget)
        jumps = [count for count in changed if count > behind + 8]
        if len(jumps) > 1:
            failures.append(f"{layout.family.name}: {len(jumps)} of {len(changed)} keys, {jumps[:12]}")
    assert failures == []


@pytest.mark.parametrize(("name", "line"), [("tabby-starter", 70), ("starcoder2", 190)])
def test_four_hundred_keys_cost_few_tokens(name: str, line: int, load: Load) -> None:
    """Window and prompt together, in a long file, over several lines, with a budget that is always full."""
    vocab = load(name)
    typed = f"\n{TYPED_LINE}\n        if some_value:\n            return None\n\n    def next(self):" * 3
    for budget in (512, 2048):
        changed = type_text(choose_layout(vocab, SUFFIX_FIRST), vocab, LINES * 3, line, typed[:400], budget)
        assert sum(changed) / len(changed) < 16, budget


def test_the_window_moves_in_jumps(load: Load) -> None:
    """Lines typed deep in a long file, for a model that could read more than the window holds."""
    vocab = load("tabby-starter")
    for line in (900, 950):
        changed = type_text(choose_layout(vocab), vocab, LINES * 3, line, "\nx = 1" * 8, PLENTY)
        assert len([count for count in changed if count > 12]) <= 1, line


def test_a_pair_that_the_editor_closed_changes_nothing(load: Load) -> None:
    for vocab, layout, behind in suffix_first(load):
        changed = type_text(layout, vocab, LINES[:60], 40, "\n" + TYPED_LINE[:40], PLENTY, closing=")]")
        assert max(changed) <= behind + 8, layout.family.name


@pytest.mark.parametrize("name", ["tabby-starter", "starcoder2", "codellama", "deepseek-coder"])
def test_typing_code_costs_under_three_tokens_a_key_at_prompts_of_2500(name: str, load: Load) -> None:
    """The measure of "Latency": at a full window, over several lines, with a pair that the editor closed in some."""
    vocab = load(name)
    lines = inspect.getsource(argparse).splitlines(keepends=True)
    typed = f"\n{TYPED_LINE[:50]}\n        if some_value:\n            return None\n"
    prefix, line_suffix, suffix, first_line = surround(lines, 700, 0)
    context = CompletionContext(prefix, line_suffix, suffix, first_line, "src/a.py", "r", "python")
    for layout in {choose_layout(vocab, wanted).name: choose_layout(vocab, wanted) for wanted in LAYOUTS}.values():
        assert len(build(layout, context, 4000).tokens) >= 2500
        for text, closing in ((typed, ""), (typed[20:50], ")")):
            changed = type_text(layout, vocab, lines, 700, text, 4000, closing)
            assert sum(changed) / len(changed) < 3, layout.name


# --- pieces of other files


@pytest.mark.parametrize(
    ("prefix", "suffix", "stays"),
    [
        ("def area(r):\n    x = 1\n    y", SUFFIX, True),  # typed on
        ("def area(r):\n    ", SUFFIX, True),  # taken back
        ("def area(r):\n    x", SUFFIX + "\nmore", False),  # another line
        ("class Circle:\n    x", SUFFIX, False),  # the window has moved
    ],
)
def test_other_files_stay_while_what_follows_them_does(load: Load, prefix: str, suffix: str, stays: bool) -> None:
    """New ones are found at every line; to read them means to read all that stands behind them anew."""

    def at(prefix: str, suffix: str, other: Snippet) -> CompletionContext:
        return CompletionContext(prefix, "", suffix, language="python", snippets=(other,))

    for name in ("starcoder2", "deepseek-coder"):
        layout = choose_layout(load(name))
        first = build(layout, at("def area(r):\n    x", SUFFIX, SNIPPETS[0]), PLENTY)
        assert SNIPPETS[0].text.split("\n")[1].strip() in first.text
        prompt = build(layout, at(prefix, suffix, SNIPPETS[1]), PLENTY, first)
        kept = SNIPPETS[0] if stays else SNIPPETS[1]
        assert prompt.snippets == (kept,)
        assert kept.text.split("\n")[0] in prompt.text
        fresh = build(layout, at(prefix, suffix, kept), PLENTY, first)
        assert prompt.tokens == fresh.tokens


# --- the frozen prefix

FROZEN_AT = "def area(r):\n"


def freezing(load: Load) -> list[tuple[Row, Vocab, Layout]]:
    rows = [(row, load(row.vocabulary), replace(choose_layout(load(row.vocabulary)), healing=False)) for row in ROWS]
    return [each for each in rows if each[2].freezes]


def test_prefix_first_families_freeze_the_prefix_and_no_others(load: Load) -> None:
    frozen = {row.family for row, _, _ in freezing(load)}
    assert frozen == {row.family for row in ROWS if row.layout == PREFIX_FIRST} - {"none"}


def test_what_was_typed_since_stands_behind_the_middle_token(load: Load) -> None:
    for row, vocab, layout in freezing(load):
        first = build(layout, CompletionContext(FROZEN_AT, "", SUFFIX, path="a.py"), PLENTY)
        typed = FROZEN_AT + "    return 3 *\n    x = r"
        prompt = build(layout, CompletionContext(typed, "", SUFFIX, path="a.py"), PLENTY, first)
        at = At(FROZEN_AT, SUFFIX, "a.py", "repository", "")
        expected = [*expect(row, at)[:-1], "    return 3 *\n    x = r"]
        assert list(prompt.tokens) == as_tokens(vocab, expected), row.family
        assert prompt.text == "".join(expected).removeprefix(row.bos)
        assert (prompt.prefix, prompt.suffix) == (typed, SUFFIX)
        assert list(prompt.tokens[: len(first.tokens)]) == list(first.tokens)


def test_a_prefix_is_frozen_at_the_start_of_the_cursor_s_line(load: Load) -> None:
    for row, vocab, layout in freezing(load):
        prompt = build(layout, CompletionContext(FROZEN_AT + "    ret", "", SUFFIX, path="a.py"), PLENTY)
        at = At(FROZEN_AT, SUFFIX, "a.py", "repository", "")
        assert list(prompt.tokens) == as_tokens(vocab, [*expect(row, at)[:-1], "    ret"]), row.family


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        (("x = 1\ny = ", SUFFIX), False),
        (("x = 1\n", SUFFIX), False),
        (("", SUFFIX), False),
        (("x = 1\ny = 2\nz", SUFFIX), False),
        (("x = 1\ny = ", "\n    return 0\n"), True),  # words behind the cursor: all is read again anyway
        (("x = 1\n" * 300, SUFFIX), True),  # no longer a middle of a few lines
    ],
)
def test_when_the_frozen_prefix_moves(change: tuple[str, str], moves: bool, load: Load) -> None:
    typed, suffix = change
    for row, _, layout in freezing(load):
        first = build(layout, CompletionContext(FROZEN_AT + "x = 1", "", SUFFIX), PLENTY)
        then = CompletionContext(FROZEN_AT + typed, "", suffix)
        prompt = build(layout, then, PLENTY, first)
        assert (prompt.frozen != len(FROZEN_AT)) is moves, row.family
        if moves:
            assert prompt == build(layout, then, PLENTY)
    gone = CompletionContext("def other(r):\nx = 1", "", SUFFIX)
    for _, _, layout in freezing(load):
        first = build(layout, CompletionContext(FROZEN_AT + "x = 1", "", SUFFIX), PLENTY)
        assert build(layout, gone, PLENTY, first) == build(layout, gone, PLENTY), "text before it was changed"


# --- the word under the cursor


@every_row
def test_the_word_under_the_cursor_is_left_to_the_model(row: Row, load: Load) -> None:
    """What is read and what is pending are the text, byte for byte, at every place of a line."""
    vocab = load(row.vocabulary)
    layout = choose_layout(vocab)
    line = '        self._größe = total.count("é😀") + 12.5  # not yet\n'
    for end in range(len(line) + 1):
        text = FROZEN_AT + line[:end]
        prompt = build(layout, CompletionContext(text, "", SUFFIX), PLENTY)
        read_last = b"".join(map(vocab.piece, prompt.tokens))
        whole = b"".join(map(vocab.piece, build(replace(layout, healing=False), context_at(text), PLENTY).tokens))
        cut = whole.find(text.encode()) if not layout.freezes else len(whole) - len(line[:end].encode())
        tail = cut + (len(text.encode()) if not layout.freezes else len(line[:end].encode()))
        assert read_last == whole[: tail - len(prompt.pending)] + whole[tail:], line[:end]
        assert text.encode().endswith(prompt.pending)
        if end < len(line) and line[:end].endswith(("sel", "tot", "coun", "= ", "é")):
            assert prompt.pending, line[:end]
        assert line[:end].strip() or not prompt.pending, "indentation is read, not written"


def context_at(text: str) -> CompletionContext:
    return CompletionContext(text, "", SUFFIX)


@every_row
def test_a_text_has_the_same_tokens_whether_it_was_typed_or_opened(row: Row, load: Load) -> None:
    """Nothing depends on the way there but the place where a prefix was frozen."""
    vocab = load(row.vocabulary)
    for wanted in ("auto", SUFFIX_FIRST):
        layout = choose_layout(vocab, wanted)
        typed: Prompt | None = None
        for end in range(len(TYPED_LINE) + 1):
            context = context_at(FROZEN_AT + TYPED_LINE[:end])
            typed = build(layout, context, PLENTY, typed)
            assert typed == build(layout, context, PLENTY)


def test_typing_a_word_leaves_the_prompt_as_it_is(load: Load) -> None:
    for row in ROWS:
        layout = choose_layout(load(row.vocabulary))
        prompts = {build(layout, context_at(f"x = self.{'comp'[:end]}"), PLENTY).tokens for end in range(1, 5)}
        assert len(prompts) == 1, row.family


# --- where the suffix begins


@every_row
@pytest.mark.parametrize("line_suffix", ["", ")", ")]}", "  ", '")', "'):", "`;", "\t,", ">"])
def test_what_editors_write_behind_the_cursor_is_not_in_the_prompt(row: Row, line_suffix: str, load: Load) -> None:
    vocab = load(row.vocabulary)
    layout = plain_layout(vocab)
    bare = build(layout, CompletionContext(PREFIX, "", SUFFIX), PLENTY)
    assert build(layout, CompletionContext(PREFIX, line_suffix, SUFFIX), PLENTY) == bare


@every_row
@pytest.mark.parametrize("line_suffix", ["x", "name)", " + 1", ") -> int:", "  # why", "é"])
def test_words_behind_the_cursor_begin_the_suffix(row: Row, line_suffix: str, load: Load) -> None:
    vocab = load(row.vocabulary)
    prompt = build(plain_layout(vocab), CompletionContext(PREFIX, line_suffix, SUFFIX, path="a.py"), PLENTY)
    at = At(PREFIX, line_suffix + SUFFIX, "a.py", "repository", "")
    assert list(prompt.tokens) == as_tokens(vocab, expect(row, at))


# --- templates of users


def templated(vocab: Vocab, template: str, context: CompletionContext, budget: int = PLENTY) -> Prompt:
    layout = plain_layout(vocab, template=template)
    assert layout.name == "template"
    return build(layout, context, budget)


@pytest.mark.parametrize(
    ("name", "template", "expected"),
    [
        ("qwen2.5-coder", "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>", _psm(*BAR)),
        ("qwen2.5-coder", "<|fim_suffix|>{suffix}<|fim_prefix|>{prefix}<|fim_middle|>", _spm(*BAR)),
        ("granite-3", "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>", _psm(*UNDERSCORE)),
        ("deepseek-coder", "<｜fim▁begin｜>{prefix}<｜fim▁hole｜>{suffix}<｜fim▁end｜>", _psm(*DEEPSEEK)),
        ("codestral", "[SUFFIX]{suffix}[PREFIX]{prefix}", lambda at: ("[SUFFIX]", at.suffix, "[PREFIX]", at.prefix)),
        (
            "codellama",
            "<PRE> {prefix} <SUF>{suffix} <MID>",
            lambda at: ("▁<PRE>", " " + at.prefix, "▁<SUF>", at.suffix, "▁<MID>"),
        ),
        ("gpt-2", "{prefix}", lambda at: (at.prefix,)),
        ("gpt-2", "<PRE> {prefix} <SUF>{suffix} <MID>", lambda at: (f"<PRE> {at.prefix} <SUF>{at.suffix} <MID>",)),
        ("starcoder", "# {{braces}}\n{prefix}", lambda at: (f"# {{braces}}\n{at.prefix}",)),
    ],
)
def test_a_template_of_the_user_s(name: str, template: str, expected: Form, load: Load) -> None:
    """Control texts in the template become control tokens; the text around a slot and the text in it are one."""
    vocab, at = load(name), At(PREFIX, SUFFIX)
    bos = row_of(name).bos
    spelled = turns([bos, *expected(at)] if bos else expected(at), control_texts(name))
    prompt = templated(vocab, template, context_of(at))
    assert read(name, vocab, prompt.tokens) == spelled
    assert list(prompt.tokens) == as_tokens(vocab, spelled)
    shown = template.replace("{{", "{").replace("}}", "}").replace("{prefix}", PREFIX).replace("{suffix}", SUFFIX)
    assert prompt.text.replace("▁", " ").strip() == shown.replace("▁", " ").strip()


@pytest.mark.parametrize("name", ["qwen2.5-coder", "codeqwen", "deepseek-coder", "codellama", "codestral", "starcoder"])
def test_control_texts_in_the_slots_of_a_template_stay_text(name: str, load: Load) -> None:
    vocab = load(name)
    row = row_of(name)
    hostile = spelled_in_a_buffer(control_texts(name))
    prompt = templated(vocab, "{prefix}{suffix}", context_of(At(hostile, f"\n{hostile}")))
    text = f"{hostile}\n{hostile}"
    assert read(name, vocab, prompt.tokens) == (["", row.bos, text] if row.bos else [text])


@pytest.mark.parametrize("name", ["codellama", "codestral", "starcoder2"])
def test_a_template_of_the_user_s_ends_where_the_family_ends(name: str, load: Load) -> None:
    """Whoever changes the prompt has not changed what the model writes behind the middle."""
    vocab = load(name)
    layout, default = choose_layout(vocab, template="{prefix}"), choose_layout(vocab)
    assert {token for token in default.stop_tokens if not vocab.is_end(token)} <= layout.stop_tokens
    assert layout.family.stop_text == default.family.stop_text


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("codestral", "<s>[SUFFIX]{suffix}[PREFIX]{prefix}"),
        ("deepseek-coder", "<｜begin▁of▁sentence｜><｜fim▁begin｜>{prefix}<｜fim▁hole｜>{suffix}<｜fim▁end｜>"),
        ("codegemma", "<bos><|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>"),
    ],
)
def test_a_template_of_the_user_s_that_spells_bos_gets_no_second_one(name: str, template: str, load: Load) -> None:
    vocab = load(name)
    assert templated(vocab, template, context_of(At(PREFIX, SUFFIX))).tokens.count(vocab.bos) == 1


def test_a_template_of_the_user_s_keeps_to_the_budget(load: Load) -> None:
    vocab = load("qwen2.5-coder")
    template = "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>"
    for (title, context), budget in itertools.product(CONTEXTS.items(), (20, 100, 512, 2000)):
        prompt = templated(vocab, template, context, budget)
        assert len(prompt.tokens) <= budget, title
        assert read("qwen2.5-coder", vocab, prompt.tokens)[1::2] == list(BAR)


@pytest.mark.parametrize(
    "template",
    [
        "no slot at all",
        "{suffix}",
        "{prefix}{prefix}",
        "{prefix}{suffix}{suffix}",
        "{prefix}{path}",
        "{prefix}{}",
        "{prefix}{0}",
        "{prefix.upper}",
        "{prefix!r}",
        "{prefix:>80}",
        "{PRE}{prefix}",
        "{prefix",
        "prefix}",
        "{prefix}}",
        "{prefix}{suffix",
    ],
)
def test_a_template_with_a_mistake_is_refused_with_what_to_write(template: str, load: Load) -> None:
    with pytest.raises(ValueError, match=r"prompt_template.*\{prefix\}") as raised:
        choose_layout(load("gpt-2"), template=template)
    assert repr(template) in str(raised.value)


# --- other files, where the family has no form for them

COMMENTS = """\
# Path: src/units.py
# def inch():
#     return 0.0254
#
# Path: src/pi.py
# from math import pi
#
# assert pi
"""


@pytest.mark.parametrize("row", [row for row in ROWS if not row.repository], ids=lambda row: row.vocabulary)
def test_pieces_of_other_files_are_comments_where_the_family_knows_nothing_else(row: Row, load: Load) -> None:
    vocab, at = load(row.vocabulary), At(PREFIX, SUFFIX)
    prompt = build(plain_layout(vocab), replace(context_of(at), snippets=SNIPPETS), PLENTY)
    expected = expect(row, replace(at, prefix=COMMENTS + PREFIX))
    assert list(prompt.tokens) == as_tokens(vocab, expected)
    assert prompt.text == "".join(expected).removeprefix(row.bos)
    assert prompt.prefix == PREFIX


@pytest.mark.parametrize("row", [row for row in ROWS if not row.repository], ids=lambda row: row.vocabulary)
@pytest.mark.parametrize("language", ["json", "plaintext", ""])
def test_pieces_of_other_files_are_left_out_where_no_comment_can_hold_them(row: Row, language: str, load: Load) -> None:
    vocab = load(row.vocabulary)
    context = replace(context_of(At(PREFIX, SUFFIX)), language=language)
    layout = plain_layout(vocab)
    bare = build(layout, context, PLENTY)
    assert build(layout, replace(context, snippets=SNIPPETS), PLENTY) == bare


def test_comments_are_those_of_the_language(load: Load) -> None:
    vocab = load("santacoder")
    context = replace(context_of(At(PREFIX, SUFFIX)), language="go", snippets=SNIPPETS[:1])
    prompt = build(plain_layout(vocab), context, PLENTY)
    assert "// Path: src/units.py\n// def inch():\n//     return 0.0254\ndef area" in prompt.text


def test_no_comment_ends_early(load: Load) -> None:
    """What ends a line in some language ends the comment there: all of another file stays behind markers."""
    vocab = load("santacoder")
    snippets = (Snippet("a.py", "one\x0ctwo\u2028three\x85four\r\nfive\rsix"),)
    text = build(plain_layout(vocab), replace(context_of(At(PREFIX, SUFFIX)), snippets=snippets), PLENTY).text
    comments = text[text.index("# Path") : text.index("def area")]
    assert all(line.startswith("#") for line in re.split("[\n\r\x0c\u2028\x85]", comments) if line)
