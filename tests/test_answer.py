"""Questions to a real index of real files: what is found, and that what is cited stands there now."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tabby_lsp.index import search as search_module
from tabby_lsp.index.answer import Answer, answer
from tabby_lsp.index.citation import Citation
from tabby_lsp.index.database import VERSION
from tabby_lsp.index.question import BadQuestion
from tabby_lsp.index.scan import scanned
from tabby_lsp.index.search import Search
from tabby_lsp.index.store import Store
from tabby_lsp.index.walk import Found, Rules, Stamp, read, walk
from tabby_lsp.languages import language_of_path

FILES = {
    "shop/cart.py": '''\
import re


class Cart:
    """What somebody is about to buy."""

    def total(self):
        return sum(each.price for each in self.goods)

    def throw_out(self, name):
        """Removes one of the goods."""
        self.goods.remove(name)


def quote(text):
    """Makes a text safe for the shell."""
    return re.sub("'", "", text)
''',
    "shop/net.py": """\
def connect(host):
    for attempt in range(3):
        if try_once(host):
            return
        wait(2**attempt)
    raise OSError("connection  refused with status 404")
""",
    "src/cart.go": "package shop\n\n// Total sums up the prices.\nfunc Total(goods []Item) int {\n\treturn 0\n}\n",
    "src/cart.cpp": "int Cart::total() {\n  return items->next + 1;\n}\n",
    "tests/test_cart.py": "def test_total():\n    assert Cart().total() == 0\n",
    "README.md": "# Shop\n\nThe total of a cart, and how to throw goods out.\n",
    "docs/说明.md": "# 说明\n\n当连接失败时会重试三次。\n",
}

Ask = Callable[..., Answer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8", newline="")
    return root


@pytest.fixture
def database(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "index.sqlite"
    with Store.open(path) as store:
        for each in walk(folder, Rules()):
            if isinstance(each, Found):
                text = read(folder / each.path)
                store.put(folder, each.path, language_of_path(each.path), text or "", each.stamp)
    return path


@pytest.fixture
def ask(folder: Path, database: Path) -> Ask:
    def asking(text: str, limit: int = 10) -> Answer:
        search = Search(database)
        try:
            return answer(search, text, limit, {str(folder): Rules()})
        finally:
            search.close()

    return asking


def first(found: Answer) -> Citation:
    assert found.citations
    return found.citations[0]


def places(found: Answer) -> list[tuple[str, int]]:
    """Files and the lines to jump to, from 1 as people count them."""
    return [(each.path, each.line + 1) for each in found.citations]


@pytest.mark.parametrize(
    "text, path, line",
    [
        ("where is the sum of the prices", "src/cart.go", 4),
        ("escape a string for bash", "shop/cart.py", 15),
        ("delete one of the goods", "shop/cart.py", 10),
        ("retry after a failed connection", "shop/net.py", 1),
        ("quote", "shop/cart.py", 15),
        ("Cart", "shop/cart.py", 4),
        ("Cart.total", "shop/cart.py", 7),
        ("cart.Cart.total", "shop/cart.py", 7),
        ("what calls Cart::total", "shop/cart.py", 7),
        ("lang:cpp Cart::total", "src/cart.cpp", 1),
        ("try_once", "shop/net.py", 3),
        ("404", "shop/net.py", 6),
        ('"CONNECTION refused"', "shop/net.py", 6),
        ("path:src/ sum up", "src/cart.go", 4),
        ("file:cart.py lang:python total", "shop/cart.py", 7),
        ("kind:class goods", "shop/cart.py", 4),
        ("连接失败", "docs/说明.md", 3),
        ("/range\\(\\d\\)/", "shop/net.py", 2),
        ("/CLASS cart/i", "shop/cart.py", 4),
        ("->", "src/cart.cpp", 2),
        ("lang:go /func .*int/", "src/cart.go", 4),
    ],
)
def test_the_best_answer_comes_first(text: str, path: str, line: int, ask: Ask) -> None:
    assert places(ask(text))[0] == (path, line)


def test_an_answer_says_all_that_a_citation_needs(ask: Ask, folder: Path) -> None:
    found = first(ask("shell"))
    text = FILES["shop/cart.py"]
    assert (found.root, found.path, found.language) == (str(folder), "shop/cart.py", "python")
    assert (found.kind, found.name, found.unsaved) == ("function", "quote", False)
    assert found.text == "".join(text.splitlines(keepends=True)[found.first : found.last + 1]).rstrip("\n")
    assert found.hash == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    scores = [each.score for each in ask("total of the goods in a cart").citations]
    assert len(scores) > 2 and scores == sorted(scores, reverse=True)


def test_filters_alone_list_what_is_there(ask: Ask) -> None:
    assert places(ask("kind:class")) == [("shop/cart.py", 4)]
    assert {path for path, _ in places(ask("path:src/"))} == {"src/cart.go", "src/cart.cpp"}
    assert places(ask("kind:class lang:go")) == []
    assert places(ask("path:nowhere/ total")) == places(ask("path:[ total")) == []


def test_a_name_is_found_only_where_it_is_meant(ask: Ask) -> None:
    assert all(each.name != "Cart.total" or each.score < 10 for each in ask("Basket.total").citations)
    assert {each.path for each in ask("lang:cpp kind:method Cart::total").citations} <= {"src/cart.cpp"}


def test_nothing_is_found_where_there_is_nothing(ask: Ask) -> None:
    for text in ("zzzqqq", '"goods for nobody"', "/zzzqqq/", "lang:rust total"):
        assert ask(text) == Answer(())


def test_no_more_is_given_than_was_asked_for(ask: Ask) -> None:
    assert len(ask("total", 2).citations) == len(ask("/total/", 2).citations) == 2


# --- files as they are now


def test_a_file_that_has_changed_is_read_anew(ask: Ask, folder: Path) -> None:
    file = folder / "shop/cart.py"
    file.write_text("# one more line\n\n" + FILES["shop/cart.py"], encoding="utf-8", newline="")
    for text, line in (("Cart.total", 9), ("shell", 17), ("/def quote/", 17)):
        found = first(ask(text))
        assert (found.path, found.line + 1) == ("shop/cart.py", line)
        assert found.hash == hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
        assert found.text in file.read_text(encoding="utf-8")
    file.write_text("def other():\n    pass\n", encoding="utf-8")
    for text in ("Cart.total", "shell", "/def quote/"):
        mine = [each for each in ask(text).citations if each.path == "shop/cart.py"]
        assert all((each.first, each.text) == (0, "def other():\n    pass") for each in mine)


def test_a_file_that_is_gone_or_left_out_by_now_is_not_cited(ask: Ask, folder: Path) -> None:
    assert first(ask("shell")).path == "shop/cart.py"
    (folder / ".gitignore").write_text("net.py\n", encoding="utf-8")
    (folder / "shop/cart.py").unlink()
    for text in ("shell", "quote", "/def quote/", "404", "/refused/"):
        assert ask(text).citations == ()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_file_that_is_a_link_by_now_is_not_cited(ask: Ask, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text(FILES["shop/cart.py"], encoding="utf-8")
    (folder / "shop/cart.py").unlink()
    (folder / "shop/cart.py").symlink_to(secret)
    assert ask("shell").citations == ()


def test_what_an_editor_has_open_counts(folder: Path, database: Path, ask: Ask) -> None:
    with Store.open(database) as store:
        store.put_buffer(folder, "shop/cart.py", "python", "\n\n\n" + FILES["shop/cart.py"])
        found = first(ask("shell"))
        assert (found.line + 1, found.unsaved) == (18, True)
        assert (first(ask("/def quote/")).line + 1, first(ask("/def quote/")).unsaved) == (18, True)


def test_what_cannot_be_checked_in_time_is_left_out_and_said(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabby_lsp.index.current.CHECK_SECONDS", -1.0)
    assert ask("shell") == Answer((), "Some files could not be compared with the disk in time, and are left out.")


# --- bad input


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"total{number}" for number in range(10_000)),
        "the of and a to",
        'total AND (cart OR "goods) NOT * NEAR/2 {text} : -x ^y "" \' -- ;',
        'text : "total" names : x*',
        "total " * 3_000,
        "\x00 total \ud83d",
        "a" * 100_000,
        "💥 total",
        "{" * 2_000,
    ],
)
def test_any_text_has_an_answer(text: str, ask: Ask) -> None:
    ask(text)


def test_what_cannot_be_asked_is_said(ask: Ask) -> None:
    for text in ("", "lang:klingon total", "/(/"):
        with pytest.raises(BadQuestion):
            ask(text)


def test_a_pattern_that_never_ends_is_stopped(database: Path, folder: Path) -> None:
    with Store.open(database) as store:
        store.put(folder, "a.txt", "plaintext", "b" + "a" * 60 + "!\n", Stamp(1, 1))
    found, whole = scanned(database, "/(a+)+$/", 10, {str(folder): Rules()}, seconds=4)
    assert not whole
    assert all(each.path < "a.txt" for each in found)


def test_of_many_words_the_rarest_are_asked_for(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a repository of 200,000 files, where the common ones are at too many places."""
    monkeypatch.setattr(search_module, "QUESTION_PLACES", 2)
    assert first(ask("total of the goods refused by the shell")).path in ("shop/cart.py", "shop/net.py")
    assert ask("total").citations, "one word is asked for however common it is"


def test_an_index_of_another_version_says_nothing(database: Path, ask: Ask) -> None:
    connection = sqlite3.connect(database)
    connection.execute(f"PRAGMA user_version = {VERSION - 1}")
    connection.close()
    assert ask("total") == ask("/total/") == ask("kind:class") == Answer(())


def test_a_damaged_index_says_nothing(database: Path, ask: Ask) -> None:
    for end in ("-wal", "-shm"):
        Path(f"{database}{end}").unlink(missing_ok=True)
    database.write_bytes(b"no database" * 1000)
    assert ask("total") == ask("/total/") == Answer(())


def test_a_language_that_nobody_knows_is_searched_like_any_other(folder: Path, database: Path, ask: Ask) -> None:
    with Store.open(database) as store:
        store.put_buffer(folder, "a.gad", "gadget", "gadget wheel\n    turns round\n")
        assert first(ask("turns round")).language == "gadget"
