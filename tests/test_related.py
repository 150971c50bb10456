"""What of other files is found for a place, on an index of real files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from editor import INVOKED, Editor

from tabby_lsp.data import CompletionContext
from tabby_lsp.index.disabled import Disabled
from tabby_lsp.index.entry import prepare
from tabby_lsp.index.recent import Edit, RecentWork
from tabby_lsp.index.related import Related, related
from tabby_lsp.index.retrieval import Retrieval
from tabby_lsp.index.search import Search
from tabby_lsp.index.store import Store
from tabby_lsp.index.walk import Stamp
from tabby_lsp.languages import language_of_path

ROOM = 2_400

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


@pytest.mark.parametrize("room", [0, 40, 60, 200, ROOM])
def test_the_room_is_kept(search: Search, folder: Path, room: int) -> None:
    found = ask(search, folder, room=room)
    assert sum(len(each.snippet.text) + len(each.snippet.path) for each in found) <= room
    assert bool(found) == (room > 50)


def test_disabled_files_take_no_room(search: Search, folder: Path) -> None:
    """Left out at the end they would have taken it from the next best."""
    place = folder / "shop/cart.py", CompletionContext(CART, ")", "\n", language="python")
    assert {each.snippet.path for each in related(search, *place, 150)} == {"shop/price.py"}
    others = related(search, *place, 150, disabled=Disabled(("price.py",)))
    assert {each.snippet.path for each in others} == {"shop/other.py"}


def test_without_an_index_there_is_nothing(tmp_path: Path, folder: Path) -> None:
    assert ask(Search(tmp_path / "none.sqlite"), folder) == []


# --- what else there is: pieces by their reasons


@contextmanager
def indexed(folder: Path, texts: Mapping[str, str]) -> Iterator[Search]:
    database = folder.parent / "other.sqlite"
    with Store.open(database) as store:
        store.put_all(
            folder, [prepare(path, language_of_path(path), text, Stamp(1, 1)) for path, text in texts.items()]
        )
    search = Search(database)
    yield search
    search.close()


def reasons(
    folder: Path,
    texts: Mapping[str, str],
    place: str,
    lately: RecentWork | None = None,
    above: int = 999,
    below: int = 999,
) -> dict[str, str]:
    """What is found where "|" stands in a file, by reasons, with so many lines above and below in sight."""
    before, _, after = texts[place].partition("|")
    lines, further = before.split("\n"), after.split("\n")
    first = max(0, len(lines) - 1 - above)
    suffix = "".join("\n" + line for line in further[1 : 1 + below])
    context = CompletionContext("\n".join(lines[first:]), further[0], suffix, first, language=language_of_path(place))
    with indexed(folder, {path: text.replace("|", "") for path, text in texts.items()}) as search:
        return {each.reason: each.snippet.text for each in related(search, folder / place, context, ROOM, lately)}


COMMAND = """from base import Command


class Greet(Command):
    polite = True

    def name(self):
        return "greet"

    def wish(self, person):
        return f"hello {person}"
{filler}
    def run(self, people):
        for person in people:
            self.|

    def farewell(self):
        return "bye"
"""
BASE = """class Command:
    def __init__(self, settings):
        self.settings = settings
        self.counted = 0

    def fail(self, reason):
        self.settings.tell(reason)
        self.counted += 1
        raise SystemExit(1)

    def name(self):
        raise NotImplementedError

    def run(self, people):
        raise NotImplementedError
"""


def test_the_class_that_is_written_is_known_as_far_as_it_is_not_in_sight(folder: Path) -> None:
    texts = {"greet.py": COMMAND.replace("{filler}", "\n    # much more\n" * 20), "base.py": BASE}
    found = reasons(folder, texts, "greet.py", above=4, below=1)
    assert found["the rest of Greet"].split("\n") == [
        "class Greet(Command):",
        "    polite = True",
        "    def name(self):",
        "    def wish(self, person):",
        "    def farewell(self):",
    ]
    assert found["base class of Greet"].split("\n") == [
        "class Command:",
        "    def __init__(self, settings):",
        "    def fail(self, reason):",
        "    def name(self):",
        "    def run(self, people):",
    ]
    assert "the rest of Greet" not in reasons(folder, texts, "greet.py")


GO_TYPE = "package shop\n\ntype Cart struct {\n\tGoods []Good\n}\n"
GO_METHOD = "package shop\n\nfunc (c *Cart) Add(good Good) {\n\tc.|\n}\n"
JAVA_BASE = "abstract class Shelf {\n  int room;\n  void put(Good good) {\n  }\n}\n"
JAVA = "class Box extends Shelf implements Comparable<Box> {\n  void fill() {\n    |\n  }\n}\n"


@pytest.mark.parametrize(
    "texts, place, reason, shown",
    [
        ({"cart.go": GO_TYPE, "add.go": GO_METHOD}, "add.go", "the class Cart", "Goods []Good"),
        ({"Shelf.java": JAVA_BASE, "Box.java": JAVA}, "Box.java", "base class of Box", "void put(Good good)"),
        (
            {
                "a.rb": "class Shelf\n  def put(good)\n  end\nend\n",
                "b.rb": "class Box < Shelf\n  def fill\n  |\n  end\nend\n",
            },
            "b.rb",
            "base class of Box",
            "def put(good)",
        ),
        (
            {
                "a.h": "class Shelf {\n  void put(int good);\n};\n",
                "b.cpp": "class Box : public Shelf {\n  void fill() {\n  |}\n};\n",
            },
            "b.cpp",
            "base class of Box",
            "void put(int good);",
        ),
        (
            {"base.py": BASE, "new.py": "class New(Command):\n    def run(self):\n        pass\n\n    |"},
            "new.py",
            "base class of New",
            "def fail(",
        ),
    ],
)
def test_classes_and_their_bases_are_found_in_other_languages_too(
    folder: Path, texts: Mapping[str, str], place: str, reason: str, shown: str
) -> None:
    """What stands near is not what this is about: all names are far enough above."""
    assert shown in reasons(folder, texts, place)[reason]


def test_what_is_imported_is_known_before_it_is_used(folder: Path) -> None:
    texts = {"a.py": "from price import total_of\n" + "# far away\n" * 20 + "|", "price.py": PRICE}
    assert reasons(folder, texts, "a.py")["defines total_of"].startswith("def total_of(goods, rate=1.0):")


def test_what_a_name_hardly_means_comes_after_what_it_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabby_lsp.index.related.ALIKE_PIECES", 0)
    texts = {
        "here.py": "x = amount|",
        "a.rb": "def amount\n  1\nend\n",
        "b.py": "amount = 2\n",
        "c.py": "def amount():\n    return 3\n",
    }
    assert reasons(folder, texts, "here.py")["defines amount"] == texts["c.py"].strip()


LONG = "".join(f"def step_{number}(value):\n    return value + {number}\n\n\n" for number in range(40))


def test_what_was_edited_elsewhere_comes_with_its_function_the_newest_nearest(folder: Path) -> None:
    texts = {"a.py": LONG, "b.py": LONG.replace("step", "stride"), "here.py": "x = 1\n|\n"}
    lately = RecentWork(
        (
            Edit(folder / "here.py", 0, 0, 1.0),  # in sight
            Edit(folder / "a.py", 81, 81, 70.0),
            Edit(folder.parent / "outside.py", 1, 1, 80.0),
            Edit(folder / "b.py", 4, 5, 700.0),
            Edit(folder / "b.py", 5, 5, 800.0),  # the same function
            Edit(folder / "b.py", 700, 700, 900.0),  # by now the file is shorter
            Edit(folder / "a.py", 22, 27, 7500.0),
        )
    )
    found = reasons(folder, texts, "here.py", lately)
    assert found["edited a minute ago"] == "def step_20(value):\n    return value + 20"
    assert found["edited 11 minutes ago"] == "def stride_1(value):\n    return value + 1"
    assert found["edited 2 hours ago"] == LONG[LONG.index("def step_5") : LONG.index("\n\n\ndef step_8")]
    assert [each for each in found if each.startswith("edited")] == [
        "edited 2 hours ago",
        "edited 11 minutes ago",
        "edited a minute ago",
    ]


def test_what_was_edited_far_away_in_the_same_file_is_shown_once_it_is_out_of_sight(folder: Path) -> None:
    texts = {"here.py": LONG + "|\n"}
    lately = RecentWork((Edit(folder / "here.py", 5, 5, 30.0),))
    assert "edited just now" not in reasons(folder, texts, "here.py", lately)
    assert (
        reasons(folder, texts, "here.py", lately, above=64)["edited just now"]
        == "def step_1(value):\n    return value + 1"
    )


def test_of_what_was_looked_at_one_sees_the_heads(folder: Path) -> None:
    texts = {"base.py": BASE, "here.py": "x = 1\n|\n"}
    lately = RecentWork(files=(folder / "here.py", folder / "gone.py", folder / "base.py"))
    assert reasons(folder, texts, "here.py", lately)["looked at lately"].startswith("class Command:\n    def __init__(")


def test_nothing_is_shown_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is defined, inherited, edited and looked at, in a copy too, and that stands in sight besides.

    What looks like the place is left out: of a copy it shows the bodies, too.
    """
    monkeypatch.setattr("tabby_lsp.index.related.ALIKE_PIECES", 0)
    texts = {
        "base.py": BASE,
        "copy.py": BASE,
        "here.py": "from base import Command\n\n\nclass Shout(Command):\n    def loud(self):\n        |\n",
    }
    lately = RecentWork((Edit(folder / "base.py", 6, 6, 1.0),), (folder / "base.py", folder / "copy.py"))
    shown = "\n".join(reasons(folder, texts, "here.py", lately).values()).split("\n")
    assert shown.count("    def fail(self, reason):") == 1
    texts["here.py"] = BASE + "\n" + texts["here.py"]
    assert "def fail(self, reason):" not in "\n".join(reasons(folder, texts, "here.py", lately).values())


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
    found = await retrieval.around(file, CompletionContext(CART, ")", "\n"), ROOM)
    assert found[-1].reason == "defines total_of" and len(asked) == 1
    assert await retrieval.around(file, CompletionContext(CART + "go", ")", "\n"), ROOM) == found and len(asked) == 1
    await retrieval.around(file, CompletionContext(CART + "goods)\n", "", "\n"), ROOM)
    assert len(asked) == 2
    assert await retrieval.around(folder / "shop/new.py", CompletionContext("x = 1", "", "\n"), ROOM) == ()
    retrieval.close()


async def test_an_answer_that_takes_too_long_is_there_at_the_next_key(
    search: Search, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieval, held = Retrieval(tmp_path / "index.sqlite"), threading.Event()
    ask = retrieval._ask
    monkeypatch.setattr(retrieval, "_ask", lambda *what: held.wait(60) and ask(*what))
    place = folder / "shop/cart.py", CompletionContext(CART, ")", "\n"), ROOM
    assert await retrieval.around(*place) == ()
    held.set()
    monkeypatch.setattr("tabby_lsp.index.retrieval.WAIT_SECONDS", 60.0)
    assert (await retrieval.around(*place))[-1].reason == "defines total_of"
    retrieval.close()


async def test_a_damaged_index_costs_nothing_but_itself(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"no database" * 1000)
    retrieval = Retrieval(tmp_path / "index.sqlite")
    assert await retrieval.around(folder / "a.py", CompletionContext(CART, ")", "\n"), ROOM) == ()
    retrieval.close()


def related_in(editor: Editor, uri: str, text: str, wanted: set[str]) -> set[str]:
    """What a suggestion at the end of a file is made with, as soon as that holds what is wanted.

    At every try there is another text, for which there is no answer yet.
    """
    editor.open(text, uri=uri)
    line, column = text.count("\n"), len(text.rpartition("\n")[2])
    found: set[str] = set()
    for version in range(2, 400):
        editor.change(version, (line, column), f"\n# {version}\nx", (line + 2 * (version > 2), 99), uri)
        editor.inline((line + 2, 1), uri, kind=INVOKED)
        found = set(editor.request("tabby/status", {}).get("lastCompletion", {}).get("related", []))
        if wanted <= found:
            break
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("disabled", [False, True])
def test_a_suggestion_is_made_with_what_other_files_say(tmp_path: Path, disabled: bool) -> None:
    """In the real server: definitions that stand in other files of the workspace, one of them unsaved; but not in those
    that no model is to read."""
    work = tmp_path / "work"
    (work / "keys").mkdir(parents=True)
    head, tail = PRICE.split("\n\n\n")
    (work / "keys/basket.py").write_text(tail, encoding="utf-8")
    (work / "price.py").write_text("old = 1\n", encoding="utf-8")
    settings = ["completion.context=on", *(["completion.disable=['keys/']"] if disabled else [])]
    wanted = {"price.py (defines total_of)", *([] if disabled else ["keys/basket.py (defines Basket)"])}
    arguments = [each for setting in settings for each in ("--set", setting)]
    with Editor(*arguments, env={"TABBY_ROOT": str(tmp_path / "root")}) as editor:
        editor.start(workspaceFolders=[{"uri": work.as_uri(), "name": "shop"}])
        editor.open(head + "\n", uri=(work / "price.py").as_uri())
        found = related_in(editor, (work / "cart.py").as_uri(), CART, wanted)
        assert wanted <= found
        assert not disabled or not any("keys/" in each for each in found)


def test_a_suggestion_is_made_with_what_was_just_edited_but_never_with_secrets(tmp_path: Path) -> None:
    """In the real server: a function is edited in one file, secrets in others, then one writes in another one."""
    work = tmp_path / "work"
    work.mkdir()
    secrets = {".env": "PASSWORD=abc\n", "../outside.py": "token = 1\n", "key.py": "-----BEGIN RSA PRIVATE KEY-----\n"}
    wanted = {"price.py (edited just now)"}
    with Editor("--set", "completion.context=on", env={"TABBY_ROOT": str(tmp_path / "root")}) as editor:
        editor.start(workspaceFolders=[{"uri": work.as_uri(), "name": "shop"}])
        price = (work / "price.py").as_uri()
        editor.open(PRICE, uri=price)
        editor.change(2, (2, 4), "assert goods\n    ", uri=price)
        for name, text in secrets.items():
            editor.open(text, uri=f"{work.as_uri()}/{name}")
            editor.change(2, (1, 0), "more = 2\n", uri=f"{work.as_uri()}/{name}")
        found = related_in(editor, (work / "till.py").as_uri(), "drawer = None\n", wanted)
        assert wanted <= found
        assert {each.partition(" ")[0] for each in found} == {"price.py"}
