"""The index on real files: what is put is found, and nothing that happens to the file is an error."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tabby_lsp.index import database as database_module
from tabby_lsp.index import entry as entry_module
from tabby_lsp.index.database import NoFile
from tabby_lsp.index.entry import prepare
from tabby_lsp.index.search import Hit, Search
from tabby_lsp.index.store import Counts, Store
from tabby_lsp.index.symbols import Import
from tabby_lsp.index.walk import Found, Rules, Stamp, read, walk

SHAPES = '''\
"""Shapes."""

import math
from areas import Area as Surface, unit


class Circle:
    """A round thing.

    More of it.
    """

    def measure_area(self, precision):
        return math.pi * unit(self.radius) ** 2


def make_circle(radius):
    return Circle(radius)
'''
USER = "from shapes import make_circle\n\n\ndef draw_everything():\n    return make_circle(3)\n"
SOON = Stamp(1, 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index" / "of this workspace #1?.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def search(path: Path, store: Store) -> Iterator[Search]:
    searching = Search(path)
    yield searching
    searching.close()


def put(store: Store, root: Path, files: dict[str, str], stamp: Stamp = SOON) -> None:
    for name, text in files.items():
        store.put(root, name, "python", text, stamp)


def names(hits: list[Hit]) -> list[tuple[str, str]]:
    return [(hit.path, hit.name) for hit in hits]


def everything(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tables that are not made by SQLite itself, without the numbers of rows."""
    queries = {
        "files": "SELECT path, language, hash, mtime_ns, lines, buffer FROM files ORDER BY path",
        "symbols": "SELECT path, symbols.* FROM symbols JOIN files ON files.id = file ORDER BY path, symbols.rowid",
        "imports": "SELECT path, imports.* FROM imports JOIN files ON files.id = file ORDER BY path, imports.rowid",
        "chunks": "SELECT path, first, last, names, text FROM chunks JOIN files ON files.id = file ORDER BY path, 2",
        "uses": "SELECT path, names FROM uses JOIN files ON files.id = file ORDER BY path",
        "terms": "SELECT term, doc, cnt FROM term_counts",
    }
    database = sqlite3.connect(path)
    try:
        rows = {name: database.execute(query).fetchall() for name, query in queries.items()}
        database.execute("INSERT INTO chunk_terms (chunk_terms) VALUES ('integrity-check')")
        database.execute("INSERT INTO use_names (use_names) VALUES ('integrity-check')")
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        database.close()
    for name in ("symbols", "imports"):  # the second column is the number of the file
        rows[name] = [(row[0], *row[2:]) for row in rows[name]]
    return rows


def test_what_is_put_is_found(store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"pkg/shapes.py": SHAPES, "user.py": USER})
    (definition,) = search.definitions("make_circle")
    assert definition == Hit(
        str(workspace),
        "pkg/shapes.py",
        "python",
        16,
        17,
        "def make_circle(radius):\n    return Circle(radius)",
        1.0,
        "make_circle",
        "function",
        "def make_circle(radius):",
        "",
    )
    (circle,) = search.definitions("Circle")
    assert (circle.kind, circle.doc) == ("class", "A round thing.")
    assert circle.text == "".join(SHAPES.splitlines(keepends=True)[circle.first : circle.last + 1]).rstrip("\n")
    assert [each.name for each in search.in_file(workspace / "pkg/shapes.py")] == [
        "Circle",
        "measure_area",
        "make_circle",
    ]
    assert search.imports_in(workspace / "user.py") == [Import("shapes", ("make_circle",))]
    shapes, user = search.files()
    assert (shapes.file, user.file) == ((str(workspace), "pkg/shapes.py"), (str(workspace), "user.py"))
    assert user.uses == ("make_circle",) and user.imports == (Import("shapes", ("make_circle",)),)
    assert [each.name for each in shapes.symbols] == ["Circle", "measure_area", "make_circle"]
    assert store.counts() == Counts(files=2, lines=23, symbols=4, chunks=5)


def test_names_are_told_apart_by_case_and_not_taken_for_patterns(store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"a_b.py": "def circle():\n    pass\n", "axb.py": "def Circle():\n    pass\n"})
    assert names(search.definitions("circle")) == [("a_b.py", "circle")]
    assert names(search.definitions("circl%")) == names(search.definitions("")) == []


def test_the_best_definition_comes_first(store: Store, search: Search, workspace: Path) -> None:
    inner = "class A:\n    def run(self):\n        pass\n"
    outer = "def run():\n    pass\n"
    put(store, workspace, {"tests/a.py": outer, "a.py": inner, "deep/in/b.py": outer, "b.py": outer})
    hits = search.definitions("run")
    assert [hit.path for hit in hits] == ["b.py", "deep/in/b.py", "a.py", "tests/a.py"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(search.definitions("run", limit=2)) == 2


def test_a_text_finds_what_is_like_it_by_its_rarest_terms(store: Store, search: Search, workspace: Path) -> None:
    files = {f"f{i}.py": f"def common_{i}(value):\n    return value\n" for i in range(20)}
    put(store, workspace, {**files, "shapes.py": SHAPES, "user.py": USER})
    hits = search.find("value = circleRadius(measureArea(value))", limit=5)
    assert hits[0].path == "shapes.py"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.path != "shapes.py" for hit in search.find("circle", excluding=workspace / "shapes.py"))
    assert "user.py" in [hit.path for hit in search.find("circle", excluding=workspace / "shapes.py")]
    assert search.find("zzz_not_there") == search.find("") == search.find("+ 1") == []
    assert len(search.find("value", limit=3)) == 3


def test_no_file_gives_more_than_two_hits(store: Store, search: Search, workspace: Path) -> None:
    function = "def spin_{i}():\n" + "    turn_wheel()\n" * 40 + "\n\n"
    put(store, workspace, {"a.py": "".join(function.format(i=i) for i in range(6)), "b.py": "turn_wheel()\n"})
    paths = [hit.path for hit in search.find("turn_wheel", limit=10)]
    assert (paths.count("a.py"), paths.count("b.py")) == (2, 1)


def test_only_common_terms_are_asked_for_together(
    store: Store, search: Search, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabby_lsp.index.search.MOST_PLACES", 3)
    put(store, workspace, {f"f{i}.py": "def alpha():\n    pass\n" for i in range(5)})
    put(store, workspace, {f"g{i}.py": "def beta():\n    pass\n" for i in range(5)})
    put(store, workspace, {"both.py": "def alpha_beta():\n    pass\n"})
    for _ in range(2):  # the second time they are known to be common
        assert [hit.path for hit in search.find("alpha beta")] == ["both.py"]


def test_a_hit_of_a_text_says_what_it_is_in(store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"shapes.py": SHAPES})
    (hit,) = [each for each in search.find("make_circle") if "def make_circle" in each.text]
    assert (hit.name, hit.kind, hit.signature) == ("make_circle", "function", "def make_circle(radius):")


AWKWARD = {
    "line ends": "def f():\r\n    return 1\r\n\r\n\r\ndef g():\r\n    return 2\r\n",
    "old line ends": "def f():\r    return 1\r\r\rdef g():\r    return 2\r",
    "other scripts": "def f():\n    return '漢字 😀'\n\n\ndef g():\n    return größe\n",
    "half a surrogate pair": "def f():\n    return '\ud83d'\n\n\ndef g():\n    return 1\n",
    "a NUL": "def f():\n    return '\0'\n\n\ndef g():\n    return 1\n",
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_texts_keep_their_lines(name: str, store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"a.py": AWKWARD[name]})
    (hit,) = search.definitions("g")
    assert (hit.first, hit.text.startswith("def g():")) == (4, True)
    assert store.counts().files == 1


def test_an_empty_file_is_a_file(store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"pkg/__init__.py": ""})
    assert [each.file[1] for each in search.files()] == ["pkg/__init__.py"]
    assert store.stamp_of(workspace, "pkg/__init__.py") == SOON


def test_an_unchanged_text_costs_nothing_but_its_stamp(
    store: Store, path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.put(workspace, "a.py", "python", SHAPES, SOON)
    before = everything(path)
    monkeypatch.setattr(entry_module, "outline", lambda text, language: pytest.fail("it was worked through again"))
    assert not store.put(workspace, "a.py", "python", SHAPES, Stamp(2, 2))
    assert store.stamp_of(workspace, "a.py") == Stamp(2, 2)
    assert not store.put(workspace, "a.py", "python", SHAPES, SOON)
    assert everything(path) == before


def test_another_language_is_another_file(store: Store, search: Search, workspace: Path) -> None:
    store.put(workspace, "a", "plaintext", USER, SOON)
    assert store.put(workspace, "a", "python", USER, SOON)
    assert [hit.language for hit in search.definitions("draw_everything")] == ["python"]


def test_after_any_changes_the_index_is_what_it_would_be_from_anew(tmp_path: Path, workspace: Path) -> None:
    """Chunks that stay are not written again, and what is removed leaves no term behind."""
    versions = [SHAPES, SHAPES + SHAPES, USER + SHAPES, SHAPES.replace("radius", "diameter"), "", USER + USER, SHAPES]
    for number, text in enumerate(versions):
        with Store.open(tmp_path / "new.sqlite") as fresh, Store.open(tmp_path / "old.sqlite") as old:
            for each in versions[: number + 1]:
                old.put(workspace, "a.py", "python", each, SOON)
            put(old, workspace, {"b.py": USER, "c.py": SHAPES, "d.py": USER})
            old.remove(workspace, "c.py")
            old.forget_missing(workspace, {"a.py", "b.py"})
            put(fresh, workspace, {"a.py": text, "b.py": USER})
            assert everything(tmp_path / "old.sqlite") == everything(tmp_path / "new.sqlite")
            fresh.remove(workspace, "a.py")
            fresh.remove(workspace, "b.py")
            assert fresh.counts() == Counts()
            assert everything(tmp_path / "new.sqlite")["terms"] == []


def test_files_put_together_are_as_files_put_one_by_one(tmp_path: Path, workspace: Path) -> None:
    files = {"a.py": SHAPES, "b.py": USER, "c.py": ""}
    with Store.open(tmp_path / "one.sqlite") as one, Store.open(tmp_path / "all.sqlite") as together:
        put(one, workspace, files)
        entries = [prepare(name, "python", text, SOON) for name, text in files.items()]
        assert together.put_all(workspace, entries) == 3
        assert everything(tmp_path / "one.sqlite") == everything(tmp_path / "all.sqlite")


def test_files_of_another_root_are_other_files(store: Store, search: Search, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    put(store, one, {"a.py": SHAPES})
    put(store, other, {"a.py": USER})
    assert [each.name for each in search.in_file(other / "a.py")] == ["draw_everything"]
    assert store.forget_missing(one, set()) == 1
    assert search.in_file(one / "a.py") == []
    assert [each.name for each in search.in_file(other / "a.py")] == ["draw_everything"]
    assert store.stamp_of(one, "a.py") is None


def test_a_buffer_counts_until_it_is_dropped(store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"a.py": "def on_disk(): pass\n"})
    assert store.put_buffer(workspace, "a.py", "python", "def in_editor(): pass\n")
    assert not store.put(workspace, "a.py", "python", "def saved(): pass\n", Stamp(2, 2))
    assert not store.put_all(workspace, [prepare("a.py", "python", "def saved(): pass\n", Stamp(2, 2))])
    assert not store.remove(workspace, "a.py")
    assert store.forget_missing(workspace, set()) == 0
    assert [each.name for each in search.in_file(workspace / "a.py")] == ["in_editor"]
    assert store.drop_buffer(workspace, "a.py")
    assert not store.drop_buffer(workspace, "a.py")
    assert store.stamp_of(workspace, "a.py") is None, "the next walk has to bring it"
    assert store.put(workspace, "a.py", "python", "def saved(): pass\n", Stamp(2, 2))
    assert [each.name for each in search.in_file(workspace / "a.py")] == ["saved"]


def test_a_buffer_like_the_file_is_a_buffer_all_the_same(store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"a.py": USER})
    assert not store.put_buffer(workspace, "a.py", "python", USER)
    assert not store.put(workspace, "a.py", "python", SHAPES, Stamp(2, 2))
    assert [each.name for each in search.in_file(workspace / "a.py")] == ["draw_everything"]
    assert store.stamp_of(workspace, "a.py") == SOON


def test_a_buffer_of_no_file_has_no_stamp(store: Store, search: Search, workspace: Path) -> None:
    assert store.put_buffer(workspace, "new.py", "python", USER)
    assert store.stamp_of(workspace, "new.py") is None
    assert [each.name for each in search.in_file(workspace / "new.py")] == ["draw_everything"]


def test_buffers_end_with_their_editor(path: Path, workspace: Path) -> None:
    with Store.open(path) as store:
        put(store, workspace, {"b.py": SHAPES})
        store.put_buffer(workspace, "a.py", "python", USER)
    with Store.open(path) as store:
        assert (store.counts().files, store.stamp_of(workspace, "b.py"), store.reason) == (1, SOON, "")


def test_what_was_put_is_there_after_a_restart(path: Path, workspace: Path) -> None:
    with Store.open(path) as store:
        put(store, workspace, {"a.py": SHAPES})
        before = everything(path)
    with Store.open(path) as store:
        assert (store.reason, store.rebuilt) == ("", 0)
        assert everything(path) == before


WRITER = """
    import sys
    from pathlib import Path
    from tabby_lsp.index.store import Store
    from tabby_lsp.index.walk import Stamp
    path, root, name, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with Store.open(path) as store:
        print("open", flush=True)
        for i in range(count):
            text = f"def {name}_{i}():\\n    return shared_{i}()\\n"
            if not store.put(root, f"{name}{i}.py", "python", text, Stamp(i, i)):
                sys.exit(store.reason)
            store.put(root, "shared.py", "python", text, Stamp(i, i))
            print(i, flush=True)
"""


def writer(path: Path, root: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(root), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_writers_and_a_reader_do_not_disturb_each_other(path: Path, workspace: Path) -> None:
    writers = [writer(path, workspace, name, 60) for name in ("one", "two")]
    search = Search(path)
    while any(each.poll() is None for each in writers):
        for hit in search.find("shared return", limit=5):
            assert hit.text.startswith("def ")
    for each in writers:
        each.communicate()
        assert each.returncode == 0
    for name in ("one", "two"):
        assert all(search.definitions(f"{name}_{number}") for number in range(60))
    search.close()
    assert len(everything(path)["files"]) == 121


@pytest.mark.skipif(sys.platform == "win32", reason="there is no signal that cannot be caught")
@pytest.mark.parametrize("after", [0, 3, 11])
def test_a_writer_that_is_killed_leaves_the_file_in_order(after: int, path: Path, workspace: Path) -> None:
    process = writer(path, workspace, "name", 10_000)
    assert process.stdout is not None
    for _ in range(after + 1):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with Store.open(path) as store:
        assert (store.reason, store.rebuilt) == ("", 0)
        assert store.counts().files >= after
        put(store, workspace, {"more.py": USER})
        assert ("more.py",) in [row[:1] for row in everything(path)["files"]]


def test_a_change_waits_for_another_writer(store: Store, path: Path, workspace: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    # A lost race has to be tried again and not only be waited for.
    store._file.database.execute("PRAGMA busy_timeout = 1")
    release = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    release.start()
    assert store.put(workspace, "a.py", "python", USER, SOON)
    release.join()
    other.close()
    assert store.reason == ""


def test_a_writer_that_never_ends_is_said_and_costs_one_change(
    store: Store, path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "PATIENCE", 0)
    store._file.database.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not store.put(workspace, "a.py", "python", USER, SOON)
    assert "locked" in store.reason
    other.execute("ROLLBACK")
    other.close()
    assert store.stamp_of(workspace, "a.py") is None
    assert store.put(workspace, "a.py", "python", USER, SOON)


def garbage(file: Path) -> None:
    file.write_bytes(b"not a database " * 1000)


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def holes(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 200] = b"\xff" * 200
    file.write_bytes(content)


def nothing(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    file.unlink()
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE files (a)")
    database.commit()
    database.close()


def older(file: Path) -> None:
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 0")
    database.commit()
    database.close()


DAMAGES: list[Callable[[Path], None]] = [garbage, half, holes, nothing, foreign, older]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_index_of_ours_is_made_anew(
    damage: Callable[[Path], None], path: Path, workspace: Path
) -> None:
    with Store.open(path) as store:
        put(store, workspace, {f"{i}.py": SHAPES for i in range(20)})
    damage(path)
    search = Search(path)
    assert search.definitions("nobody") == []
    with Store.open(path) as store:
        assert store.counts() == Counts()
        assert ("anew" in store.reason) == (damage is not nothing)
        put(store, workspace, {"a.py": SHAPES})
        assert names(search.definitions("Circle")) == [("a.py", "Circle")]
        everything(path)
    search.close()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be written over")
@pytest.mark.parametrize("damage", [garbage, nothing])
def test_a_file_that_is_damaged_while_it_is_used_is_made_anew(
    damage: Callable[[Path], None], path: Path, workspace: Path
) -> None:
    with Store.open(path) as store:
        put(store, workspace, {f"{i}.py": SHAPES for i in range(20)})
        store._file.database.execute("PRAGMA wal_checkpoint (TRUNCATE)")
        damage(path)
        search = Search(path)
        assert search.definitions("nobody") == []
        for i in range(3):
            store.put(workspace, f"new{i}.py", "python", USER + f"x = {i}\n", SOON)
        assert store.rebuilt >= 1
        assert "damaged" in store.reason
        assert "new2.py" in [each.file[1] for each in search.files()]
        search.close()
        everything(path)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted")
def test_a_file_that_is_deleted_while_it_is_used_is_made_anew(path: Path, workspace: Path) -> None:
    with Store.open(path) as store:
        put(store, workspace, {"a.py": SHAPES})
        search = Search(path)
        assert names(search.definitions("Circle")) == [("a.py", "Circle")]
        for file in path.parent.iterdir():
            file.unlink()
        assert search.definitions("Circle") == []
        assert store.stamp_of(workspace, "a.py") is None, "the next walk has to bring it"
        assert store.rebuilt == 1
        put(store, workspace, {"a.py": SHAPES})
        assert names(search.definitions("Circle")) == [("a.py", "Circle")]
        search.close()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted")
def test_two_writers_survive_that_the_folder_is_deleted(path: Path, workspace: Path) -> None:
    with Store.open(path) as one, Store.open(path) as two:
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
        put(one, workspace, {"one.py": USER})
        put(two, workspace, {"two.py": USER})
        assert (one.counts().files, two.counts().files) == (2, 2)


def test_a_text_that_cannot_be_unpacked_is_damage(store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"a.py": SHAPES})
    store._file.database.execute("UPDATE chunks SET text = x'00'")
    assert [hit.text.strip() for hit in search.definitions("Circle")] == [""]
    assert search.find("circle") != []
    assert store.put(workspace, "a.py", "python", USER, SOON)
    assert (store.rebuilt, store.counts().files) == (1, 1)


def test_the_file_of_a_newer_version_is_left_alone(path: Path, workspace: Path) -> None:
    with Store.open(path) as store:
        put(store, workspace, {"a.py": USER})
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {database_module.VERSION + 1}")
    database.commit()
    database.close()
    before = path.read_bytes()
    with pytest.raises(NoFile, match="newer tabby-lsp"):
        Store.open(path)
    search = Search(path)
    assert search.definitions("draw_everything") == []
    search.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["under a file", "a folder", "a name that no system allows"])
def test_where_nothing_can_be_written_there_is_no_index(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    places = {
        "under a file": tmp_path / "file" / "index.sqlite",
        "a folder": tmp_path,
        "a name that no system allows": tmp_path / "a\0b",
    }
    with pytest.raises(NoFile, match="TABBY_ROOT"):
        Store.open(places[where])
    outside = Search(places[where])
    assert outside.definitions("Circle") == []
    outside.close()


@pytest.mark.skipif(sys.platform != "linux", reason="root, who runs tests elsewhere, may write everywhere")
def test_a_file_that_may_only_be_read_is_read_by_search_and_not_written(path: Path, workspace: Path) -> None:
    with Store.open(path) as store:
        put(store, workspace, {"a.py": SHAPES})
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path.chmod(0o400)
    with pytest.raises(NoFile):
        Store.open(path)
    search = Search(path)
    assert names(search.definitions("Circle")) == [("a.py", "Circle")]
    search.close()


def test_a_search_needs_no_index_and_no_writer(path: Path, workspace: Path) -> None:
    search = Search(path)
    nowhere = workspace / "a.py"
    assert search.definitions("a") == search.find("a b", excluding=nowhere) == []
    assert search.in_file(nowhere) == search.imports_in(nowhere) == search.files() == []
    with Store.open(path) as store:
        put(store, workspace, {"a.py": SHAPES})
    assert names(search.definitions("Circle")) == [("a.py", "Circle")], "the writer has ended, the file is there"
    search.close()


def test_a_search_changes_nothing(path: Path, workspace: Path) -> None:
    with Store.open(path) as store:
        put(store, workspace, {"a.py": SHAPES})
    before = path.read_bytes()
    search = Search(path)
    assert search.find("circle") != []
    search.close()
    assert path.read_bytes() == before


ODD_NAMES = ["", '"', "a b", "a-b", "x?", "%", "\ud83d", "\0", "NEAR(", "*", "a" * 100_000]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_text_may_be_asked_for(name: str, store: Store, search: Search, workspace: Path) -> None:
    put(store, workspace, {"a.py": SHAPES})
    assert search.definitions(name) == []
    assert search.find(name) == []
    assert search.in_file(workspace / "b.py") == []


def test_a_walk_brings_the_index_up_to_date_and_leaves_the_workspace_as_it_is(store: Store, workspace: Path) -> None:
    files = {"a.py": USER, "b/c.py": SHAPES, ".env": "A=1\n", "d.py": "x = 1\n"}
    for name, text in files.items():
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_text(text, encoding="utf-8", newline="")

    def snapshot() -> list[tuple[str, int, bytes]]:
        each = [file for file in sorted(workspace.rglob("*")) if file.is_file()]
        return [(str(file), file.stat().st_mtime_ns, file.read_bytes()) for file in each]

    def rescan() -> list[str]:
        seen, written = set(), []
        for each in walk(workspace, Rules(), lambda name, stamp: store.stamp_of(workspace, name) == stamp):
            if isinstance(each, Found):
                seen.add(each.path)
                if store.stamp_of(workspace, each.path) != each.stamp:
                    text = read(workspace / each.path)
                    assert text is not None
                    if store.put(workspace, each.path, "python", text, each.stamp):
                        written.append(each.path)
        store.forget_missing(workspace, seen)
        return written

    before = snapshot()
    assert rescan() == ["a.py", "d.py", "b/c.py"]
    assert rescan() == []
    assert snapshot() == before
    (workspace / "d.py").unlink()
    (workspace / "a.py").write_text(SHAPES + "# more\n", encoding="utf-8")
    before = snapshot()
    assert rescan() == ["a.py"]
    assert store.counts().files == 2
    assert snapshot() == before
