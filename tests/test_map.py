"""The map of a repository, and who uses a name."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tabby_lsp.commands import listing
from tabby_lsp.index import search as search_module
from tabby_lsp.index.answer import answer
from tabby_lsp.index.map import CHARACTERS_A_TOKEN, MOST_DEFINERS, MapFile, repository_map
from tabby_lsp.index.passages import FileUses
from tabby_lsp.index.question import BadQuestion
from tabby_lsp.index.search import Search
from tabby_lsp.index.store import Store
from tabby_lsp.index.symbols import outline
from tabby_lsp.index.walk import Rules, Stamp
from tabby_lsp.languages import language_of_path
from tabby_lsp.settings import Settings

FILES = {
    "core.py": "class Engine:\n    def start(self):\n        pass\n\n\n"
    "def helper():\n    pass\n\n\ndef unused():\n    pass\n",
    "a.py": "from core import Engine, helper\n\n\ndef run_a():\n    return Engine(helper())\n",
    "b.py": "import core\n\n\ndef run_b():\n    # Engine\n    engine = core.Engine()\n    return engine.start()\n",
    "main.py": "from a import run_a\nfrom b import run_b\n\nrun_a()\nrun_b()\n",
    "tests/test_core.py": "from core import unused\n\n\ndef test_it():\n    unused()\n    unused()\n",
}


def files(texts: dict[str, str]) -> list[FileUses]:
    found = []
    for path, text in texts.items():
        said = outline(text, language_of_path(path))
        found.append(FileUses(("/root", path), said.symbols, said.references, said.imports))
    return found


def shown(found: list[MapFile]) -> dict[str, list[str]]:
    return {each.file[1]: [entry.symbol.name for entry in each.entries] for each in found}


def test_what_the_rest_uses_comes_first() -> None:
    found = shown(repository_map(files(FILES), 1_000))
    assert next(iter(found)) == "core.py"
    assert found["core.py"] == ["Engine", "start", "helper", "unused"], "in the order of the file"
    assert "tests/test_core.py" not in found
    few = shown(repository_map(files(FILES), 30))
    assert few["core.py"][0] == "Engine" and "unused" not in few["core.py"]


@pytest.mark.parametrize("tokens", [1, 10, 30, 100, 1_000])
def test_a_map_goes_into_its_room(tokens: int) -> None:
    found = repository_map(files(FILES), tokens)
    text = "".join(
        f"{each.file[1]}\n" + "".join(f"{entry.symbol.signature}\n" for entry in each.entries) for each in found
    )
    assert len(text) <= tokens * CHARACTERS_A_TOKEN


def test_a_name_that_many_define_says_nothing() -> None:
    texts = {f"m{number}.py": "def common():\n    pass\n" for number in range(MOST_DEFINERS + 1)}
    texts |= {"rare.py": "def rare():\n    pass\n", "user.py": "import rare\n\nrare.rare()\ncommon()\n"}
    assert next(iter(shown(repository_map(files(texts), 1_000)))) == "rare.py"


def test_what_is_imported_counts_more_than_what_has_the_same_name() -> None:
    texts = {
        "x/text.py": "def parse():\n    pass\n",
        "y/other.py": "def parse():\n    pass\n",
        "z/user.py": "from x.text import parse\n\nparse()\n",
    }
    assert next(iter(shown(repository_map(files(texts), 1_000)))) == "x/text.py"


def test_nothing_has_an_empty_map() -> None:
    assert repository_map([], 1_000) == []
    assert repository_map(files({"a.md": "", "b.py": ""}), 1_000) == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABBY_ROOT", str(tmp_path / "root"))
    for path, text in FILES.items():
        file = tmp_path / "work" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="")
    return tmp_path / "work"


@pytest.fixture
def database(folder: Path, tmp_path: Path) -> Path:
    with Store.open(tmp_path / "index.sqlite") as store:
        for path, text in FILES.items():
            store.put(folder, path, language_of_path(path), text, Stamp(1, 1))
    return tmp_path / "index.sqlite"


def uses(database: Path, folder: Path, text: str) -> list[tuple[str, int, str]]:
    search = Search(database)
    try:
        found = answer(search, text, 20, {str(folder): Rules()}).citations
        return [(each.path, each.line + 1, each.name) for each in found]
    finally:
        search.close()


def test_who_uses_a_name(database: Path, folder: Path) -> None:
    assert uses(database, folder, "uses:unused") == [
        ("tests/test_core.py", 1, ""),
        ("tests/test_core.py", 5, "test_it"),
        ("tests/test_core.py", 6, "test_it"),
    ]
    assert uses(database, folder, "uses:Engine.start path:b.py") == [("b.py", 7, "run_b")]
    assert uses(database, folder, "uses:helper()") == [("a.py", 1, ""), ("a.py", 5, "run_a")]
    assert uses(database, folder, "uses:nobody") == []


def test_who_uses_a_name_is_said_of_the_files_as_they_are_now(database: Path, folder: Path) -> None:
    (folder / "a.py").write_text("\n\n" + FILES["a.py"], encoding="utf-8")
    assert ("a.py", 7, "run_a") in uses(database, folder, "uses:helper")
    (folder / "a.py").unlink()
    assert uses(database, folder, "uses:helper") == []


@pytest.mark.parametrize("text", ["uses:a+b", "uses:helper and more", "uses:a uses:b", "uses:::"])
def test_uses_are_asked_of_one_name(text: str, database: Path, folder: Path) -> None:
    with pytest.raises(BadQuestion, match="uses:"):
        uses(database, folder, text)


def test_of_very_many_files_the_first_are_weighed_and_that_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (listing, search_module):
        monkeypatch.setattr(module, "MOST_WEIGHED", 3)
    shown: list[str] = []
    note = asyncio.run(listing.show_map(str(folder), Settings(), 500, lambda text: None, shown.append))
    assert "by path were weighed" in note
    assert any(line.endswith("core.py") for line in shown) and not any("main.py" in line for line in shown)


def test_however_long_it_is_weighed_there_is_time_to_look_at_the_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    weigh, look = listing.repository_map, listing.Current
    monkeypatch.setattr(listing, "repository_map", lambda *given: (done.append("weighed"), weigh(*given))[1])
    monkeypatch.setattr(listing, "Current", lambda *given: (done.append("time begins"), look(*given))[1])
    asyncio.run(listing.show_map(str(folder), Settings(), 500, lambda text: None, done.append))
    assert done[:2] == ["weighed", "time begins"] and "class Engine" in "".join(done)
    monkeypatch.setattr("tabby_lsp.index.current.CHECK_SECONDS", -1.0)
    note = asyncio.run(listing.show_map(str(folder), Settings(), 500, lambda text: None, done.append))
    assert "could not be compared with the disk in time" in note


def test_the_command_shows_heads_with_the_lines_where_they_stand(folder: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "tabby_lsp", "map", *arguments]
        return subprocess.run(asked, capture_output=True, text=True, cwd=folder, encoding="utf-8")

    (folder / "core.py").write_text('"""Core."""\n\n' + FILES["core.py"], encoding="utf-8")
    result = command("--tokens", "60")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[:2] == ["core.py", "     3  class Engine:"]
    assert os.path.join(str(folder), "core.py") in command(str(folder)).stdout
    assert command("--tokens", "0").returncode == 2
    assert "is not a folder" in command("nowhere").stderr
