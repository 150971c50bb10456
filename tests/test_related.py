"""What of other files is found for a place, on an index of real files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from editor import Editor

from tabby_lsp.data import CompletionContext
from tabby_lsp.index.entry import prepare
from tabby_lsp.index.related import ROOM, Related, related
from tabby_lsp.index.retrieval import Retrieval
from tabby_lsp.index.search import Search
from tabby_lsp.index.store import Store
from tabby_lsp.index.walk import Stamp

PRICE = '''def total_of(goods, rate=1.0):
    """The price of all goods."""
    return sum(good.price for good in goods) * rate


class Basket:
    """What is carried."""

    def __init__(self, goods):
        self.goods = goods
        self.note = ""

    def add(self, good, count=1):
        for _ in range(count):
            self.goods.append(good)

    def weigh(self):
        return sum(good.weight for good in self.goods)
'''
CART = """from shop.price import Basket, total_of


def checkout(goods):
    basket = Basket(goods)
    amount = total_of("""
OTHER = """def refund(goods, amount):
    amount = amount - fee_of(goods)
    return amount
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def search(folder: Path, tmp_path: Path) -> Iterator[Search]:
    with Store.open(tmp_path / "index.sqlite") as store:
        for path, text in (("shop/price.py", PRICE), ("shop/cart.py", CART + ")\n"), ("shop/other.py", OTHER)):
            store.put_all(folder, [prepare(path, "python", text, Stamp(1, len(text)))])
    search = Search(tmp_path / "index.sqlite")
    yield search
    search.close()


def ask(search: Search, folder: Path, prefix: str = CART, room: int = ROOM) -> list[Related]:
    return related(search, folder / "shop/cart.py", CompletionContext(prefix, ")", "\n", language="python"), room)


def test_the_definition_of_what_is_being_called_stands_nearest(search: Search, folder: Path) -> None:
    found = ask(search, folder)
    assert found[-1].reason == "defines total_of" and found[-1].snippet.path == "shop/price.py"
    assert found[-1].snippet.text == PRICE.partition("\n\n\n")[0]
    assert [each.score for each in found] == sorted(each.score for each in found)


def test_of_a_long_class_one_sees_the_heads(search: Search, folder: Path) -> None:
    (basket,) = [each for each in ask(search, folder) if each.reason == "defines Basket"]
    assert basket.snippet.text.split("\n") == [
        "class Basket:",
        "    def __init__(self, goods):",
        "    def add(self, good, count=1):",
        "    def weigh(self):",
    ]


def test_nothing_comes_from_the_file_itself_nor_twice(search: Search, folder: Path) -> None:
    found = ask(search, folder, PRICE + CART)
    assert all(each.snippet.path != "shop/cart.py" for each in found)
    texts = [each.snippet.text for each in found]
    assert len(set(texts)) == len(texts)


def test_what_looks_like_the_place_comes_last_in_rank(search: Search, folder: Path) -> None:
    found = ask(search, folder, "def refund_all(goods, amount):\n    amount = amount - fee_of(goods")
    assert any(each.snippet.path == "shop/other.py" and each.reason == "looks like it" for each in found)


@pytest.mark.parametrize("room", [0, 60, 200, ROOM])
def test_the_room_is_kept(search: Search, folder: Path, room: int) -> None:
    found = ask(search, folder, room=room)
    assert sum(len(each.snippet.text) + len(each.snippet.path) for each in found) <= room
    assert bool(found) == (room > 100)


def test_without_an_index_there_is_nothing(tmp_path: Path, folder: Path) -> None:
    assert ask(Search(tmp_path / "none.sqlite"), folder) == []


# --- for requests


async def test_an_answer_holds_while_one_types_on_a_line(
    search: Search, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabby_lsp.index.retrieval.WAIT_SECONDS", 60.0)
    retrieval = Retrieval(tmp_path / "index.sqlite")
    asked = []
    ask = retrieval._ask
    monkeypatch.setattr(retrieval, "_ask", lambda *what: asked.append(1) or ask(*what))
    file = folder / "shop/cart.py"
    found = await retrieval.around(file, CompletionContext(CART, ")", "\n"))
    assert found[-1].reason == "defines total_of" and len(asked) == 1
    assert await retrieval.around(file, CompletionContext(CART + "go", ")", "\n")) == found and len(asked) == 1
    await retrieval.around(file, CompletionContext(CART + "goods)\n", "", "\n"))
    assert len(asked) == 2
    assert await retrieval.around(folder / "shop/new.py", CompletionContext("x = 1", "", "\n")) == ()
    retrieval.close()


async def test_an_answer_that_takes_too_long_is_there_at_the_next_key(
    search: Search, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieval, held = Retrieval(tmp_path / "index.sqlite"), threading.Event()
    ask = retrieval._ask
    monkeypatch.setattr(retrieval, "_ask", lambda *what: held.wait(60) and ask(*what))
    place = folder / "shop/cart.py", CompletionContext(CART, ")", "\n")
    assert await retrieval.around(*place) == ()
    held.set()
    monkeypatch.setattr("tabby_lsp.index.retrieval.WAIT_SECONDS", 60.0)
    assert (await retrieval.around(*place))[-1].reason == "defines total_of"
    retrieval.close()


async def test_a_damaged_index_costs_nothing_but_itself(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"no database" * 1000)
    retrieval = Retrieval(tmp_path / "index.sqlite")
    assert await retrieval.around(folder / "a.py", CompletionContext(CART, ")", "\n")) == ()
    retrieval.close()


@pytest.mark.parametrize("disabled", [False, True])
def test_a_suggestion_is_made_with_what_other_files_say(tmp_path: Path, disabled: bool) -> None:
    """In the real server: definitions that stand in other files of the workspace, one of them unsaved; but not in those
    that no model is to read."""
    work = tmp_path / "work"
    (work / "keys").mkdir(parents=True)
    head, tail = PRICE.split("\n\n\n")
    (work / "keys/basket.py").write_text(tail, encoding="utf-8")
    (work / "price.py").write_text("old = 1\n", encoding="utf-8")
    cart, line, column = (work / "cart.py").as_uri(), CART.count("\n"), len(CART.rpartition("\n")[2])
    settings = ["completion.context=on", *(["completion.disable=['keys/']"] if disabled else [])]
    wanted = {"price.py (defines total_of)", *([] if disabled else ["keys/basket.py (defines Basket)"])}
    arguments = [each for setting in settings for each in ("--set", setting)]
    with Editor(*arguments, env={"TABBY_ROOT": str(tmp_path / "root")}) as editor:
        editor.start(workspaceFolders=[{"uri": work.as_uri(), "name": "shop"}])
        editor.open(head + "\n", uri=(work / "price.py").as_uri())
        editor.open(CART, uri=cart)
        found: list[str] = []
        typed = ""
        for version in range(2, 400):
            before, typed = typed, f"g{version}"  # another text each time: for a known one no file is looked into
            editor.change(version, (line, column), typed, (line, column + len(before)), cart)
            editor.inline((line, column + len(typed)), cart)
            found = editor.request("tabby/status", {}).get("lastCompletion", {}).get("related", [])
            if wanted <= set(found):
                break
            time.sleep(0.1)
        assert wanted <= set(found)
        assert not disabled or not any("keys/" in each for each in found)
