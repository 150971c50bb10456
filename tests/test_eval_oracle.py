"""True text comes through the stops and filters: of small files in many languages, and of what is installed here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).with_name("eval")))

import oracle
from oracle import Hole, holes, outcome

from tabby_lsp.languages import language_of_path

FILES = sorted(Path(__file__).with_name("oracle").iterdir())
SEEDS, HOLES = 3, 60


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_stands_in_a_file_could_be_suggested(file: Path) -> None:
    """But for one hole in twenty: some lines are like the ones below them."""
    text, language = file.read_text(encoding="utf-8"), language_of_path(file.name)
    assert language != "plaintext"
    found = [outcome(hole) for seed in range(SEEDS) for hole in holes([text], language, HOLES, seed)]
    assert len(found) > HOLES
    lost = [oracle.drawn(each) for each in found if each.kind != "kept"]
    assert len(lost) <= len(found) / 20, "\n".join(lost)


def test_python_that_is_installed_could_be_suggested() -> None:
    import jinja2

    texts = oracle.read_files([Path(jinja2.__file__).parent], 20, 0)["python"]
    found = [outcome(hole) for hole in holes(texts, "python", 200, 0)]
    lost = [oracle.drawn(each) for each in found if each.kind != "kept"]
    assert len(lost) <= len(found) * 0.03, "\n".join(lost)


@pytest.mark.parametrize(
    "text, wanted, kind",
    [
        ("x = 1\ny = f(2)\n", "y = f(2)", "kept"),
        ("x = 1\n# " + "ab" * 40 + "\n", "# " + "ab" * 40, "cut"),
        ("f = 1\nf(2))\n", "f(2))", "cut"),
        ("import sys\nimport sys\nx = 1\n", "import sys", "dropped"),
    ],
)
def test_it_says_what_becomes_of_a_text(text: str, wanted: str, kind: str) -> None:
    start = text.rindex(wanted)
    assert outcome(Hole(text, start, start + len(wanted), "python")).kind == kind


def test_a_hole_that_stands_below_once_more_is_none() -> None:
    text = "begin(1)\nsame()\nsame()\n" * 9
    found = holes([text], "python", 50, 1)
    assert found and not any(each.text[each.end :].startswith("\nsame()") for each in found if each.wanted == "same()")


def test_a_language_that_nobody_knows_is_no_error() -> None:
    assert outcome(Hole("a: b\nc: d\n", 5, 9, "no such language")).kind == "kept"


def test_a_huge_line_is_no_error() -> None:
    text = "x = [" + "1, " * 40_000 + "]\ny = 2\n"
    assert outcome(Hole(text, 2, len(text) - 8, "python")).kind in ("cut", "dropped")
