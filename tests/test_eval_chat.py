"""The questions that judge what a chat is given: that the package has what they want, and how they are counted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).with_name("eval")))

import chat as evaluation
from search import index_tree, tree_of

import tabby_lsp
from tabby_lsp.chat.conversation import Excerpt
from tabby_lsp.chat.sources import Sources
from tabby_lsp.index.plan import Plan


def test_there_are_fifty_questions_that_this_package_answers(capsys: pytest.CaptureFixture[str]) -> None:
    asked = list(evaluation.questions(tree_of(Path(tabby_lsp.__file__).parent)))
    assert len({each.ask for each in asked}) == len(asked) == 50, capsys.readouterr().err


def test_an_excerpt_is_right_if_it_has_a_line_that_is_wanted(tmp_path: Path) -> None:
    asked = evaluation.Asked("where?", (("a.py", 10, 20),))
    places = ((5, 9), (5, 10), (20, 30), (21, 30))
    assert [asked.is_right(Excerpt("", "", path="a.py", first=first, last=last)) for first, last in places] == [
        False, True, True, False
    ]  # fmt: skip
    assert not asked.is_right(Excerpt("", "", path="b.py", first=10, last=20))


def test_what_is_in_the_prompt_is_counted(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "a.py").write_text("def quote(text):\n    return text\n", encoding="utf-8")
    database = tmp_path / "index.sqlite"
    index_tree(tree_of(root), database).close()
    sources = Sources(Plan(str(database), (str(root),)))
    for wanted, right in ((("a.py", 0, 0), True), (("b.py", 0, 0), False)):
        hit, size = evaluation.in_prompt(sources, evaluation.Asked("what does quote do?", (wanted,)), evaluation.FAST)
        assert hit is right and 5 < size < 50
    assert evaluation.percent([True, False]).startswith("50 % (")
