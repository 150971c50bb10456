"""`tabby-lsp search` and `tabby-lsp index --list` as a person runs them; links to folders that are indexed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tabby_lsp.commands import index_check, listing
from tabby_lsp.index.client import Indexer
from tabby_lsp.index.database import VERSION
from tabby_lsp.index.plan import plan
from tabby_lsp.index.search import Search
from tabby_lsp.processes.once import Died
from tabby_lsp.settings import IndexSettings, Settings

BASKET = "class Basket:\n    def total(self):\n        return 3\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABBY_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    place = tmp_path / "shop"
    place.mkdir()
    (place / "basket.py").write_text(BASKET, encoding="utf-8", newline="")
    return place


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tabby_lsp", *arguments], capture_output=True, text=True, cwd=cwd, encoding="utf-8"
    )


def test_what_is_found_is_what_stands_there_now(folder: Path) -> None:
    assert command("search", "Basket.total", cwd=folder).stdout.startswith("basket.py:2: def total(self):\n")
    (folder / "basket.py").write_text("\n\n" + BASKET, encoding="utf-8")
    assert command("search", "Basket.total", cwd=folder).stdout.startswith("basket.py:4: def total(self):\n")
    (folder / "basket.py").unlink()
    result = command("search", "Basket.total", cwd=folder)
    assert (result.returncode, result.stdout) == (1, "") and "nothing like that" in result.stderr


def test_json_has_all_that_a_citation_needs(folder: Path) -> None:
    result = command("search", "--json", "kind:method total", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert (answer["question"], answer["refreshed"], answer["notes"]) == ("kind:method total", True, [])
    (found,) = answer["citations"]
    assert found.pop("score") > 0
    assert found == {
        "root": str(folder.resolve()),
        "path": "basket.py",
        "language": "python",
        "first": 2,
        "last": 3,
        "line": 2,
        "kind": "method",
        "name": "Basket.total",
        "text": "    def total(self):\n        return 3",
        "hash": hashlib.blake2b(BASKET.encode(), digest_size=16).hexdigest(),
        "unsaved": False,
    }
    nothing = command("search", "--json", "zzzqqq", cwd=folder)
    assert nothing.returncode == 1 and json.loads(nothing.stdout)["citations"] == []


def test_only_a_terminal_is_given_colours_and_no_command_of_a_file(folder: Path) -> None:
    (folder / "basket.py").write_text("def escape():  # \x1b]0;mine\x07 \u202e\n    pass\n", encoding="utf-8")
    assert "\x1b" not in command("search", "escape", cwd=folder).stdout
    found = asyncio.run(listing.find("escape", str(folder), Settings(), 5, lambda text: None))
    (line,) = listing.in_lines(found, str(folder), True)
    place = os.path.join(str(folder), "basket.py")
    assert line == f"\x1b[35m{place}\x1b[0m:\x1b[32m1\x1b[0m: def escape():  # �]0;mine� �"


def test_an_answer_of_an_old_index_says_how_old_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show = lambda text: None  # noqa: E731
    assert asyncio.run(listing.find("total", str(folder), Settings(), 5, show)).notes == ()
    monkeypatch.setattr(listing, "REFRESH_SECONDS", 0.0)
    (folder / "basket.py").write_text("\n" + BASKET, encoding="utf-8")
    found = asyncio.run(listing.find("Basket.total", str(folder), Settings(), 5, show))
    assert not found.refreshed and "a moment old: what is newer may be missing" in found.notes[0]
    assert found.answer.citations[0].line == 2, "it is checked all the same"
    with sqlite3.connect(database_of(folder)) as database:
        database.execute("UPDATE roots SET scanned = ?", (time.time() - 3 * 86_400,))
    database.close()
    found = asyncio.run(listing.find("Basket.total", str(folder), Settings(), 5, show))
    assert "The index is 3 days old" in found.notes[0], "since when all of it was looked at, whatever was written since"


def test_a_first_index_that_takes_too_long_is_asked_as_far_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "FIRST_SECONDS", 0.0)
    found = asyncio.run(listing.find("total", str(folder), Settings(), 5, lambda text: None))
    assert not found.refreshed and found.answer.citations == ()
    assert "holds 0 files so far: `tabby-lsp index` reads the others" in found.notes[0]


def database_of(folder: Path) -> str:
    wanted, _ = plan([folder], IndexSettings())
    assert wanted is not None
    return wanted.database


def set_version(folder: Path, version: int) -> None:
    database = sqlite3.connect(database_of(folder))
    database.execute(f"PRAGMA user_version = {version}")
    database.close()


def test_an_index_of_an_older_version_is_made_anew_before_it_is_asked(folder: Path) -> None:
    for arguments, shown in ((("search", "Basket.total"), "basket.py:2"), (("map",), "class Basket")):
        assert command("index", cwd=folder).returncode == 0
        set_version(folder, VERSION - 1)
        assert "of another version: it is made anew" in command("index", "--list", cwd=folder).stdout
        result = command(*arguments, cwd=folder)
        assert (result.returncode, result.stderr) == (0, "") and shown in result.stdout
        assert "another version" not in command("index", "--list", cwd=folder).stdout


def test_an_index_of_a_newer_version_is_left_alone_until_it_is_forgotten(folder: Path) -> None:
    assert command("index", cwd=folder).returncode == 0
    set_version(folder, VERSION + 1)
    for arguments in (("search", "Basket.total"), ("map",), ("index",)):
        result = command(*arguments, cwd=folder)
        assert (result.returncode, result.stdout) == (2, "")
        assert "newer tabby-lsp" in result.stderr and "index --forget" in result.stderr
        assert "Traceback" not in result.stderr
    assert command("index", "--forget", ".", cwd=folder).returncode == 0
    assert command("search", "Basket.total", cwd=folder).stdout.startswith("basket.py:2")


def test_a_question_that_cannot_be_asked_says_what_to_do(folder: Path) -> None:
    for query, fragment in (("lang:klingon x", "no language that is known"), ("/(/", "no regular expression")):
        result = command("search", query, cwd=folder)
        assert (result.returncode, result.stdout) == (2, "")
        assert fragment in result.stderr and "Traceback" not in result.stderr


def test_indexes_are_listed_and_forgotten(folder: Path, root: Path) -> None:
    assert command("index", "--list", cwd=folder).stdout == "     0.0 MB in all\n"
    assert command("index", str(folder), cwd=folder).returncode == 0
    (root / "lsp/index/broken.sqlite").write_bytes(b"no database" * 100)
    shown = command("index", "--list", cwd=folder).stdout.splitlines()
    assert any(str(folder) in line and " 1 files" in line for line in shown)
    assert any("cannot be read: broken.sqlite" in line for line in shown)
    assert str(root) in shown[-1]
    other = command("index", "--forget", str(folder.parent), cwd=folder)
    assert other.returncode == 2 and "There is no index of" in other.stderr
    forgotten = command("index", "--forget", str(folder), cwd=folder)
    assert (forgotten.returncode, "is forgotten" in forgotten.stdout) == (0, True)
    assert [each.name for each in (root / "lsp/index").iterdir()] == ["broken.sqlite"]
    assert (folder / "basket.py").read_text(encoding="utf-8") == BASKET


def test_the_index_of_a_folder_that_is_gone_can_be_forgotten(folder: Path, root: Path) -> None:
    assert command("index", str(folder), cwd=folder.parent).returncode == 0
    folder.rename(folder.with_name("elsewhere"))
    assert "(not there)" in command("index", "--list", cwd=root).stdout
    assert command("index", "--forget", str(folder), cwd=root).returncode == 0
    assert not list((root / "lsp/index").glob("*.sqlite*"))


def check(folder: Path | None) -> dict[str, tuple[bool, str]]:
    told: dict[str, tuple[bool, str]] = {}
    index_check.check_index(Settings(), folder, lambda well, what, text: told.update({what: (well, text)}))
    return told


def test_doctor_tells_what_the_index_of_this_folder_holds(folder: Path) -> None:
    said = check(folder)
    assert said["grammars"][0] and said["grammars"][1].endswith("parse")
    assert said["search"][0] and "FTS5" in said["search"][1]
    assert said["index"] == (True, f"none of {folder} yet: an editor makes it, or `tabby-lsp index`")
    assert command("index", cwd=folder).returncode == 0
    assert "1 files of" in check(folder)["index"][1] and "all of it looked at just now" in check(folder)["index"][1]
    set_version(folder, VERSION - 1)
    assert "yet: an editor makes it" in check(folder)["index"][1]
    assert check(None)["index"] == (False, "No folder is open: there is nothing to index.")


def test_doctor_names_what_there_can_be_no_index_without(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = {"sqlite": "3.8", "fts5": "no such module: fts5", "grammars": 13, "broken": ["go", "rust"]}
    monkeypatch.setattr(index_check, "output_of", lambda module, seconds: json.dumps(poor))
    said = check(folder)
    assert not said["grammars"][0] and "do not parse: go, rust\n" in said["grammars"][1]
    assert not said["search"][0] and "no such module: fts5" in said["search"][1]

    def died(module: str, seconds: float) -> str:
        raise Died("it was ended by a segmentation fault")

    monkeypatch.setattr(index_check, "output_of", died)
    assert "segmentation fault" in check(folder)["grammars"][1]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
async def test_a_folder_and_a_link_to_it_are_one_index(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    real, _ = plan([folder], IndexSettings(), watched=True)
    linked, _ = plan([link], IndexSettings(), watched=True)
    both, _ = plan([folder, link], IndexSettings(), watched=True)
    assert real is not None and linked is not None and both is not None
    assert real.database == linked.database == both.database
    assert real.folders == linked.folders == both.folders == (str(folder.resolve()),)
    assert linked.watched and both.watched
    assert linked.real(link / "basket.py") == folder.resolve() / "basket.py"
    assert linked.place_of(link / "a" / "b.py") == (str(folder.resolve()), "a/b.py")
    assert linked.place_of(tmp_path / "b.py") is None
    indexer = Indexer(linked)
    indexer.start()
    try:
        indexer.buffer(link / "basket.py", "python", lambda: "def unsaved():\n    pass\n")
        search = Search(Path(linked.database))
        for _ in range(600):
            if [each.name for each in search.in_file(folder.resolve() / "basket.py")] == ["unsaved"]:
                break
            await asyncio.sleep(0.1)
        assert [hit.path for hit in search.definitions("unsaved")] == ["basket.py"]
        search.close()
    finally:
        await indexer.close()
