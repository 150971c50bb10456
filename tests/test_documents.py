"""Documents against a plain string: whatever the editor does, the copy is the editor's text."""

from __future__ import annotations

import logging
import random

import pytest

from tabby_lsp.completion.context import PREFIX_CHARACTERS, SUFFIX_CHARACTERS, surround
from tabby_lsp.lsp.documents import Document, Documents, column_of_units, units_of_column
from tabby_lsp.text import Change, content_length, split_lines

AWKWARD = ["\n", "\r\n", "\r", "\f", "\v", "\x00", "\u2028", "\x85", "a", "é", "漢", "😀", "\ud83d", "\t", " ", "xyz"]
ENCODINGS = ["utf-8", "utf-16", "utf-32"]


def document(text: str, encoding: str = "utf-16") -> Document:
    return Document("file:///a.py", "python", 1, encoding, split_lines(text))


def units(text: str, encoding: str) -> int:
    """The length of a text in an editor's units, the slow way."""
    size = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    codec = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    return len(text.encode(codec, "surrogatepass")) // size


@pytest.mark.parametrize(
    "text, lines",
    [
        ("", [""]),
        ("a", ["a"]),
        ("a\n", ["a\n", ""]),
        ("a\r\nb\rc\nd", ["a\r\n", "b\r", "c\n", "d"]),
        ("a\fb\vc\u2028d\x85e\n", ["a\fb\vc\u2028d\x85e\n", ""]),
        ("\r\r\n\n", ["\r", "\r\n", "\n", ""]),
    ],
)
def test_lines_end_where_lsp_says(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_position_survives_the_way_to_the_editor_and_back(encoding: str) -> None:
    line = "a😀é漢\ud83db\r\n"
    for column in range(content_length(line) + 1):
        there = units_of_column(line, column, encoding)
        assert there == units(line[:column], encoding)
        assert column_of_units(line, there, encoding) == column


@pytest.mark.parametrize("encoding, inside", [("utf-8", [2, 3, 4]), ("utf-16", [2])])
def test_a_position_inside_a_character_is_before_it(encoding: str, inside: list[int]) -> None:
    for there in inside:
        assert column_of_units("a😀b\n", there, encoding) == 1


def test_positions_outside_the_document_are_moved_into_it() -> None:
    doc = document("ab\ncd")
    assert doc.place(-1, 5) == (0, 0)
    assert doc.place(0, 99) == (0, 2), "not behind the line end"
    assert doc.place(0, -3) == (0, 0)
    assert doc.place(7, 0) == (1, 2)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("seed", range(6))
def test_a_thousand_random_edits_leave_the_editors_text(encoding: str, seed: int) -> None:
    chance = random.Random(seed)
    text = "".join(chance.choices(AWKWARD, k=40))
    doc = document(text, encoding)
    for _ in range(1000):
        lines = split_lines(text)
        # The editor's own view: an offset into its text, said as line and column of its units.
        places = []
        for _ in range(2):
            line = chance.randrange(len(lines))
            column = chance.randint(0, content_length(lines[line]))
            places.append((sum(map(len, lines[:line])) + column, (line, units(lines[line][:column], encoding))))
        (start, start_position), (end, end_position) = sorted(places)
        new = "".join(chance.choices(AWKWARD, k=chance.choice([0, 0, 1, 1, 1, 3, 12])))
        if len(text) > 200:
            new = ""
        doc.replace(doc.place(*start_position), doc.place(*end_position), new)
        text = text[:start] + new + text[end:]
        assert doc.text() == text
        assert doc.lines == split_lines(text)


def test_a_whole_text_can_be_replaced() -> None:
    doc = document("a\nb")
    doc.replace_all("c\r\n")
    assert doc.lines == ["c\r\n", ""]
    assert doc.line_end() == "\r\n"


def test_a_deletion_within_a_line_is_known_until_the_next_change() -> None:
    doc = document("abc\ndef")
    doc.replace((1, 2), (1, 3), "")
    assert (doc.deleted_on(1), doc.deleted_on(0)) == (2, None)
    doc.replace((1, 2), (1, 2), "x")
    assert doc.deleted_on(1) is None
    doc.replace((0, 2), (1, 1), "")
    assert doc.text() == "abex"
    assert doc.deleted_on(0) is None, "two lines have become one"


@pytest.mark.parametrize(
    "old, new, change",
    [
        ("a\nb\nc\n", "a\nB\nc\n", Change((1, 0), (2, 0), "B\n")),
        ("a\nb\n", "a\nnew\nb\n", Change((1, 0), (1, 0), "new\n")),
        ("a\nb\nc", "a\nc", Change((1, 0), (2, 0), "")),
        ("a\nb", "a\nb\n", Change((1, 0), (1, 1), "b\n")),
        ("a", "a", Change((0, 0), (0, 0), "")),
        ("", "a\n", Change((0, 0), (0, 0), "a\n")),
        ("x\nx\n", "x\nx\nx\n", Change((2, 0), (2, 0), "x\n")),
    ],
)
def test_of_a_whole_text_the_lines_that_are_others_are_the_change(old: str, new: str, change: Change) -> None:
    doc, same = document(old), document(old)
    assert doc.replace_all(new) == change
    same.replace(change.start, change.end, change.text)
    assert same.lines == doc.lines == split_lines(new)


def test_a_change_of_a_document_that_is_not_open_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Documents().changed("file:///never", 3) is None
    assert len(caplog.records) == 1


def test_a_version_that_goes_back_is_logged_and_applied(caplog: pytest.LogCaptureFixture) -> None:
    documents = Documents()
    documents.open("file:///a", "python", 7, "x")
    with caplog.at_level(logging.WARNING):
        doc = documents.changed("file:///a", 3)
    assert doc is not None and doc.version == 3
    assert len(caplog.records) == 1


# --- what surrounds the cursor


def test_a_context_has_plain_line_ends_and_the_suffix_begins_with_one() -> None:
    lines = split_lines("a\r\nb\r\ncd)\r\ne\rf\r\n")
    assert surround(lines, 2, 2) == ("a\nb\ncd", ")", "\ne\nf\n", 0)


def test_a_context_at_the_end_of_the_text_has_no_suffix() -> None:
    assert surround(split_lines("a\nb"), 1, 1) == ("a\nb", "", "", 0)
    assert surround([""], 0, 0) == ("", "", "", 0)


def test_a_context_is_bounded_in_a_million_lines() -> None:
    lines = ["x = 1\n"] * 1_000_000
    prefix, _, suffix, first = surround(lines, 500_000, 2)
    assert len(prefix) <= PREFIX_CHARACTERS and len(suffix) <= SUFFIX_CHARACTERS + 1
    assert first % 64 == 0
    assert prefix.count("\n") == 500_000 - first


def test_a_context_is_bounded_in_a_line_of_five_megabytes() -> None:
    line = "abcdefghij" * 500_000
    prefix, line_suffix, suffix, first = surround(["start\n", line + "\n", line], 1, 2_500_000)
    assert PREFIX_CHARACTERS - 1024 < len(prefix) <= PREFIX_CHARACTERS and first == 1
    assert line[:2_500_000].endswith(prefix)
    assert len(line_suffix) <= SUFFIX_CHARACTERS and len(suffix) <= SUFFIX_CHARACTERS + 1


def test_the_window_moves_in_jumps_while_one_goes_down() -> None:
    lines = [f"line {i:05}\n" for i in range(20_000)]
    starts = [surround(lines, line, 0)[3] for line in range(5000, 6000)]
    assert len(set(starts)) <= 1000 // 64 + 2
