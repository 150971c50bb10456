"""Syntax trees as plain data, on real grammars."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tabby_lsp import languages, syntax
from tabby_lsp.index.symbols import query
from tabby_lsp.text import split_lines

GRAMMARS = [
    "python",
    "javascript",
    "javascriptreact",
    "typescript",
    "typescriptreact",
    "go",
    "rust",
    "java",
    "c",
    "cpp",
    "csharp",
    "ruby",
    "php",
]
NEVER_WRONG = ("rst", "embeddedtemplate", "php")  # there is nothing wrong in text between tags
NAMES = "(identifier) @name"


def names(text: str, language: str = "python", pattern: str = NAMES) -> list[str]:
    return [text[each.start : each.end] for each in captures(text, language, pattern)]


def captures(text: str, language: str, pattern: str) -> list[syntax.Capture]:
    found = syntax.read(text, language, pattern)
    assert found is not None
    return found.captures


def test_importing_the_module_loads_no_tree_sitter() -> None:
    script = "import sys, tabby_lsp.syntax, tabby_lsp.index.symbols; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"tree_sitter", "tree_sitter_languages", "tree_sitter_language_pack"}.isdisjoint(loaded)


@pytest.mark.parametrize("language", GRAMMARS)
def test_the_languages_of_the_first_class_have_a_grammar_that_loads(language: str) -> None:
    assert syntax.has_grammar(language)
    assert syntax.errors("", language) == 0


@pytest.mark.parametrize("language", GRAMMARS)
def test_every_pattern_is_known_to_the_grammar_unless_it_says_of_which_generation_it_is(language: str) -> None:
    unknown = syntax.unknown_patterns(language, query(language))
    assert [each for each in unknown if not each.startswith(("; older", "; newer"))] == []


def test_every_grammar_that_is_named_loads_and_finds_what_is_wrong() -> None:
    named = {each.id: each.grammar for each in languages.built_in().languages.values() if each.grammar}
    assert len(set(named.values())) >= 30
    for id, grammar in named.items():
        assert syntax.errors("", id) == 0, id
        broken = ('((((\n= ) => ]] {\n<a <b\n\t"x', '{"a": [\n', "a = [")
        assert grammar in NEVER_WRONG or any(syntax.errors(each, id) for each in broken), id


def test_outlines_are_made_with_the_grammars_that_have_a_query() -> None:
    assert {id for id in languages.built_in().languages if query(id)} >= set(GRAMMARS)
    assert not any(map(query, ["yaml", "shellscript", "lua", "no such language"]))
    assert not any(map(syntax.has_grammar, ["lua", "plaintext", "markdown", "no such language", ""]))


@pytest.mark.parametrize("language", ["lua", "plaintext", "no such language"])
def test_without_a_grammar_there_is_no_answer(language: str) -> None:
    assert syntax.read("x = 1\n", language, NAMES) is None
    assert syntax.errors("x = 1\n", language) is None


@pytest.mark.parametrize(
    "text",
    [
        "grün = 1\nblau = grün\n",
        "a = '日本語 🐍'; b = a\n",
        "# \u2028\x0c\ufeff\nc = 'é'\r\nd = c\r\n",
        "e = '\udc80'  # a lone surrogate, as an undecodable byte comes in\nf = e\n",
        "g = 1\rh = g\r",
    ],
    ids=["names", "strings", "line ends", "surrogates", "carriage returns"],
)
def test_offsets_are_characters_and_rows_are_lines(text: str) -> None:
    found = captures(text, "python", NAMES)
    assert found
    lines = split_lines(text)
    for each in found:
        name = text[each.start : each.end]
        assert name.isidentifier()
        assert each.first == each.last
        before = sum(len(line) for line in lines[: each.first])
        assert lines[each.first][each.start - before :].startswith(name)


def test_a_node_that_ends_with_its_line_does_not_reach_into_the_next() -> None:
    found = captures("#define A 1\n#define B 2\n", "c", "(preproc_def) @it")
    assert [(each.first, each.last) for each in found] == [(0, 0), (1, 1)]


def test_a_capture_says_which_pattern_it_is_of_and_what_else_that_one_names() -> None:
    text = "def a(): pass\nclass b: pass\n"
    query = "(no_such_node) @x\n\n(class_definition name: (_) @name) @a.class\n\n" + (
        "(function_definition name: (_) @name body: (_) @body) @whole\n\n(_ name: (_) @name)"
    )
    found = syntax.read(text, "python", query)
    assert found is not None
    told: dict[int, list[tuple[str, str]]] = {}
    for each in found.captures:
        told.setdefault(each.pattern, []).append((each.name, text[each.start : each.end]))
    assert told == {
        1: [("a.class", "class b: pass"), ("name", "b")],
        2: [("whole", "def a(): pass"), ("name", "a"), ("body", "pass")],
        3: [("name", "a"), ("name", "b")],
    }
    assert dict(found.names) == {1: {"a.class", "name"}, 2: {"whole", "name", "body"}, 3: {"name"}}


def test_a_parse_costs_no_memory() -> None:
    """A query of tree-sitter 0.21 may lose 64 bytes with each match: 60 MB in this test."""
    script = """
import sys, gc, os
from tabby_lsp import syntax
from tabby_lsp.processes import machine
from tabby_lsp.index.symbols import query
text = "def f(a, b):\\n    return g(a, b)\\n" * 500
def held():
    for _ in range(150):
        assert len(syntax.read(text, "python", query("python")).identifiers) == 3000
    gc.collect()
    return machine.resident_memory(os.getpid())
held()
before = held()
print(held() + held() - 2 * before)
"""
    grown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 4_000_000


def test_of_references_only_the_place_is_told() -> None:
    found = syntax.read("a = b.c\n", "python", f"{NAMES}\n\n(identifier) @reference")
    assert found is not None
    assert {each.name for each in found.captures} == {"name"}
    assert sorted(found.identifiers) == [(0, 1), (4, 5), (6, 7)]


def test_what_stands_around_a_syntax_error_is_found() -> None:
    text = "def first(): pass\n\nx = = )\n\ndef second(): pass\n"
    found = names(text, pattern="(function_definition name: (_) @name)")
    assert "first" in found and "second" in found
    errors = syntax.errors(text, "python")
    assert errors is not None and errors > 0


@pytest.mark.parametrize("text", ["", "\n", "x = 1\n", "def f():\n    return 1\n", "\ufeffx = 1\n"])
def test_correct_text_has_no_errors(text: str) -> None:
    assert syntax.errors(text, "python") == 0


def test_a_pattern_that_the_grammar_does_not_know_is_left_out() -> None:
    text = "(no_such_node) @a\n\n(identifier) @b\n\n(broken"
    assert names("x\n", pattern=text) == ["x"]
    assert syntax.unknown_patterns("python", text) == ["(no_such_node) @a", "(broken"]


def test_a_parse_that_takes_too_long_is_given_up_and_the_next_one_is_not_spoilt() -> None:
    assert syntax.read("x = [" + "(1 + 2), " * 200_000 + "]\n", "python", NAMES, milliseconds=1) is None
    assert names("y\n") == ["y"]


def test_a_text_that_is_too_large_is_not_parsed() -> None:
    assert syntax.read("x\n" * (syntax.MOST_CHARACTERS // 2 + 1), "python", NAMES) is None


def test_a_text_that_is_one_great_error_is_not_queried() -> None:
    assert syntax.read("(" * 200_000, "c", NAMES) is None


@pytest.mark.parametrize("text", ["\x00\x01\x02", "\x00" * 1000, "\udcff\udcfe" * 100, "(((((" * 100, "\\\n" * 500])
@pytest.mark.parametrize("language", GRAMMARS)
def test_no_text_makes_it_fail(language: str, text: str) -> None:
    found = syntax.read(text, language, query(language))
    places = [*((each.start, each.end) for each in found.captures), *found.identifiers] if found else []
    assert all(0 <= start <= end <= len(text) for start, end in places)
    assert syntax.errors(text, language) is not None
