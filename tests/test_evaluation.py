"""Holes, measures, intervals and tables of the evaluation; and a run of it on the bundled model."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tabby_lsp.data import CompletionSettings, ModelSettings, Sampling
from tabby_lsp.engine.client import Engine
from tabby_lsp.evaluation.command import EvaluationError, evaluate, report
from tabby_lsp.evaluation.holes import KINDS, File, Hole, choose, read_files
from tabby_lsp.evaluation.measures import Filled, difference, mean
from tabby_lsp.evaluation.report import as_data, figures, table
from tabby_lsp.evaluation.run import PLAIN, RAW, SURE, files_in
from tabby_lsp.models import starter

CART = '''"""Shopping."""

from shop.price import total_of


class Cart:
    """What somebody wants to buy."""

    def __init__(self, goods):
        self.goods = list(goods)
        self.note = ""

    def total(self):
        """The price of all goods."""
        amount = total_of(self.goods)
        return round(amount, 2)

    def add(self, good, count=1):
        for _ in range(count):
            self.goods.append(good)
        return self.total()
'''
PRICE = '''"""Prices."""


def total_of(goods):
    amount = 0
    for good in goods:
        amount += good.price
    return amount


def cheapest(goods):
    return min(goods, key=lambda good: good.price)
'''


@pytest.fixture(scope="module")
def files() -> list[File]:
    return read_files((("shop/cart.py", "python", CART), ("shop/price.py", "python", PRICE)))


def hole(files: list[File], wanted: str, kind: str = "line") -> Hole:
    file = files[0]
    start = file.text.index(wanted)
    return Hole(file, start, start + len(wanted), kind, False)


# --- holes


def test_holes_are_of_every_kind_and_the_same_for_the_same_seed(files: list[File]) -> None:
    holes = choose(files, 12, seed=3)
    assert {each.kind for each in holes} == set(KINDS)
    assert holes == choose(files, 12, seed=3) != choose(files, 12, seed=4)
    assert len({(each.file.path, each.start) for each in holes}) == len(holes)


def test_a_hole_and_what_is_around_it_are_the_file(files: list[File]) -> None:
    for each in choose(files, 20, seed=1):
        context = each.context("shop")
        assert context.prefix + each.wanted + context.line_suffix + context.suffix == each.file.text
        assert context.path == each.file.path and context.language == "python"
        assert len(each.wanted.strip()) >= 3


def test_kinds_are_what_they_are_called(files: list[File]) -> None:
    for each in choose(files, 40, seed=2):
        before = each.file.text[: each.start]
        if each.kind == "arguments":
            assert before.endswith("(") and each.file.text[each.end] == ")" and "\n" not in each.wanted
        elif each.kind == "function":
            assert each.wanted.startswith("def ") and not before.rpartition("\n")[2].strip()
        elif each.kind == "body":
            assert before.rstrip().endswith(":") and not each.wanted.startswith((" ", "def"))
        else:
            assert "\n" not in each.wanted


def test_a_hole_is_foreign_if_its_line_uses_a_name_of_another_file(files: list[File]) -> None:
    holes = choose(files, 60, seed=7)
    foreign = [each for each in holes if each.foreign]
    assert foreign and len(foreign) < len(holes)
    for each in foreign:
        assert each.file.path == "shop/cart.py" and "total_of" in each.wanted.split("\n")[0]


def test_nothing_is_cut_where_there_is_nothing() -> None:
    assert choose([], 10, 0) == []
    assert choose(read_files([("a.py", "python", ""), ("b.py", "python", "# only words\n")]), 10, 0) == []


def test_line_ends_do_not_matter() -> None:
    (file,) = read_files([("a.py", "python", "def f(x):\r\n    return x\r\n")])
    assert file.text == "def f(x):\n    return x\n"


# --- measures


@pytest.mark.parametrize(
    ("text", "exact", "similar", "identifiers"),
    [
        ("amount = total_of(self.goods)", True, 1.0, 1.0),
        ("amount = total_of(self.goods)   ", True, 0.95, 1.0),
        ("amount = total_of(self.goods)\n        return 1", True, 0.6, 1.0),
        ("amount = sum(self.goods)", False, 0.7, 0.75),
        ("", False, 0.0, 0.0),
        ("   \n", False, 0.0, 0.0),
        ("xyz", False, 0.0, 0.0),
    ],
)
def test_exact_similar_and_identifiers(
    files: list[File], text: str, exact: bool, similar: float, identifiers: float
) -> None:
    filled = Filled(hole(files, "amount = total_of(self.goods)"), text)
    assert filled.exact is exact
    assert filled.similarity >= similar and (filled.similarity < 0.5) == (similar < 0.5)
    assert filled.identifiers == pytest.approx(identifiers)
    assert filled.saved == (len("amount = total_of(self.goods)") - 1 if exact else 0)


def test_what_takes_the_place_of_a_closer_is_exact_all_the_same(files: list[File]) -> None:
    place = hole(files, "self.goods", "arguments")
    place = replace(place, start=CART.index("self.goods)"), end=CART.index("self.goods)") + len("self.goods"))
    assert Filled(place, "self.goods").exact
    assert Filled(place, "self.goods)", replace=1).exact and Filled(place, "self.goods)", replace=1).parses
    assert not Filled(place, "self.goods)").exact and Filled(place, "self.goods)").parses is False


@pytest.mark.parametrize(
    ("wanted", "text", "duplicated"),
    [
        ("amount = total_of(self.goods)", "amount = 1\n        return round(amount, 2)", True),  # stands below
        ("amount = total_of(self.goods)", "amount = 1", False),
        ("self.goods.append(good)", "x = 1\n            x = 1", True),
        ("self.goods.append(good)", "return self.total()", True),
        ("return round(amount, 2)", "return round(amount, 2)", False),
        ("return round(amount, 2)", ")\n        )", False),
        ("return round(amount, 2)", "", False),
    ],
)
def test_duplicated_text(files: list[File], wanted: str, text: str, duplicated: bool) -> None:
    assert Filled(hole(files, wanted), text).duplicated is duplicated


def test_what_stood_there_is_never_called_duplicated(files: list[File]) -> None:
    for each in choose(files, 40, seed=2):
        assert not Filled(each, each.wanted).duplicated


def test_a_file_that_did_not_parse_before_says_nothing_of_a_suggestion() -> None:
    (file,) = read_files([("a.py", "python", "def f(:\n    return 1\n")])
    assert Filled(Hole(file, 12, 20, "line", False), "return 2").parses is None


def test_the_interval_of_a_mean() -> None:
    assert mean([]) is None
    narrow, wide = mean([1.0] * 50), mean([0.0, 2.0] * 25)
    assert narrow and (narrow.low, narrow.value, narrow.high) == (1.0, 1.0, 1.0)
    assert wide and wide.low < 0.9 < wide.value == 1.0 < 1.1 < wide.high
    assert mean([0.0, 2.0] * 25) == wide, "the same every time"
    more = difference([0.0, 1.0] * 50, [1.0, 1.0] * 50)
    assert more and more.low > 0.3 and more.value == 0.5


# --- the whole


def engine() -> Engine:
    return Engine(ModelSettings(str(starter.MODEL), threads=1, context_size=1024), CompletionSettings())


def test_a_folder_is_evaluated(tmp_path: Path, files: list[File]) -> None:
    for file in files:
        path = tmp_path / file.path
        path.parent.mkdir(exist_ok=True)
        path.write_text(file.text, encoding="utf-8")
    (tmp_path / ".env").write_text("PASSWORD=1\n", encoding="utf-8")
    assert sorted(each.path for each in files_in(tmp_path)) == ["shop/cart.py", "shop/price.py"]
    told: list[str] = []
    holes = choose(files_in(tmp_path), 8, seed=1)
    variants = asyncio.run(evaluate([tmp_path], 8, 1, engine, Sampling(16), told.append))
    assert told[-1] == f"\r{2 * len(holes)} of {2 * len(holes)}\n", "with and without other files"
    assert all([each.hole for each in filled] == holes for filled in variants.values())
    assert any(each.shown for each in variants[PLAIN])
    assert [each.text for each in variants[PLAIN]] != [each.text for each in variants[RAW]]
    assert all(each.text in ("", plain.text) for each, plain in zip(variants[SURE], variants[PLAIN], strict=True))
    found = figures(variants)
    assert f"{PLAIN}" in table(found).splitlines()[0]
    shown = as_data(found)["shown, %"][PLAIN]
    assert json.dumps(shown) and shown["value"] == 100 * sum(each.shown for each in variants[PLAIN]) / len(holes)
    text = report(variants, 1)
    assert table({"shown, %": {PLAIN: found["shown, %"][PLAIN]}}).splitlines()[1].split()[2] in text
    assert text.count("where stood") == 5 and "without balance_brackets: " in text


def test_a_folder_that_is_none_or_has_no_code_is_said(tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "none", "is no folder"), (tmp_path, "has no code")):
        with pytest.raises(EvaluationError, match=words):
            asyncio.run(evaluate([folder], 8, 1, engine, Sampling(16), lambda text: None))
