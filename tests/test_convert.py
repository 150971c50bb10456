"""From LSP's params to what surrounds the cursor, and from suggestions to items."""

from __future__ import annotations

import pytest
from lsprotocol import types as lsp

from tabby_lsp.data import Candidate, Completion, Timing
from tabby_lsp.lsp import convert
from tabby_lsp.lsp.convert import Asked
from tabby_lsp.lsp.documents import Document
from tabby_lsp.suggest.suggestions import Suggestion
from tabby_lsp.text import split_lines

FOLDERS = ["file:///home/me/shop", "file:///home/me/shop/vendor/cart", "file:///home/me/other%20one"]


def document(text: str, uri: str = "file:///home/me/shop/a.py", encoding: str = "utf-16") -> Document:
    return Document(uri, "python", 1, encoding, split_lines(text))


def suggestion(text: str, replace: int = 0) -> Suggestion:
    completion = Completion(text, replace, "m", "suffix-first", 1, 0, 1, Timing(), (Candidate(text, (1.0,), "length"),))
    return Suggestion(text, replace, completion, False)


@pytest.mark.parametrize(
    "uri, path, repository",
    [
        ("file:///home/me/shop/src/a.py", "src/a.py", "shop"),
        ("file:///home/me/shop/vendor/cart/b.py", "b.py", "cart"),
        ("file:///home/me/other%20one/c%C3%A9.py", "cé.py", "other one"),
        ("file:///home/me/shopping/d.py", "d.py", ""),
        ("untitled:Untitled-1", "Untitled-1", ""),
    ],
)
def test_a_path_is_that_within_the_nearest_folder(uri: str, path: str, repository: str) -> None:
    context = convert.context_at(document("x", uri), (0, 1), FOLDERS)
    assert (context.path, context.repository) == (path, repository)


def test_a_selected_item_stands_in_the_context_in_the_place_of_the_word() -> None:
    doc = document("import os\nos.pa)\n")
    context = convert.context_at(doc, (1, 5), FOLDERS, ("path", (1, 3)))
    assert (context.prefix, context.line_suffix, context.suffix) == ("import os\nos.path", ")", "\n")


def test_an_item_that_extends_the_menus_writes_no_closer_twice() -> None:
    doc = document("print(na)\n")
    result = convert.inline_list(Asked(doc, (0, 8), ("name", (0, 6))), suggestion("[0])", 1))
    assert result is not None
    (item,) = result.items
    assert item.insert_text == "name[0]"
    assert item.range == lsp.Range(lsp.Position(0, 6), lsp.Position(0, 8)), "the menu's own range"


def test_the_replaced_range_lies_on_the_cursors_line_in_the_editors_units() -> None:
    doc = document('x = f("😀")\n')
    result = convert.inline_list(Asked(doc, (0, 8)), suggestion('!")', 2))
    assert result is not None
    assert result.items[0].range == lsp.Range(lsp.Position(0, 9), lsp.Position(0, 11))


def test_nothing_to_show_is_no_item() -> None:
    doc = document("x")
    assert convert.inline_list(Asked(doc, (0, 1)), None) is None, "superseded: the editor goes on showing what it shows"
    empty = convert.inline_list(Asked(doc, (0, 1)), suggestion(""))
    assert empty is not None and empty.items == [], "nothing to say: the editor clears it"
    for nothing in (None, suggestion("")):
        assert convert.menu_list(Asked(doc, (0, 1)), nothing).items == []


def test_a_menu_item_survives_the_clients_filter_while_one_types_through_it() -> None:
    doc = document("x = fo\n")
    (item,) = convert.menu_list(Asked(doc, (0, 6)), suggestion("o(`a`)\n```\n")).items
    assert item.label == "foo(`a`)"
    assert item.filter_text == "foo(`a`)"
    assert isinstance(item.text_edit, lsp.TextEdit)
    assert item.text_edit.range == lsp.Range(lsp.Position(0, 4), lsp.Position(0, 6))
    assert item.text_edit.new_text == "foo(`a`)\n```\n"
    assert isinstance(item.documentation, lsp.MarkupContent)
    assert item.documentation.value.startswith("````python\n"), "a fence longer than any inside"


def test_a_menu_item_is_labelled_by_its_first_line_with_text() -> None:
    (item,) = convert.menu_list(Asked(document("if x:"), (0, 5)), suggestion("\n    return 1\n    y = 2")).items
    assert item.label == "return 1"


def test_line_ends_are_the_documents_in_the_menu_and_the_editors_in_line() -> None:
    doc = document("a\r\nb")
    (item,) = convert.menu_list(Asked(doc, (1, 1)), suggestion("c\nd")).items
    assert isinstance(item.text_edit, lsp.TextEdit) and item.text_edit.new_text == "bc\r\nd"
    result = convert.inline_list(Asked(doc, (1, 1)), suggestion("c\nd"))
    assert result is not None and result.items[0].insert_text == "c\nd"
