"""The indexer as a server and a person meet it: real processes, real files, and what may happen to both."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest
from editor import INLINE, Editor, Json, gone

from tabby_lsp.index import process
from tabby_lsp.index.client import Indexer
from tabby_lsp.index.contents import HEAD_BYTES
from tabby_lsp.index.plan import Plan, others_inside, place_of, plan
from tabby_lsp.index.process import Messages
from tabby_lsp.index.search import Search
from tabby_lsp.index.upkeep import CRASHED, Upkeep
from tabby_lsp.processes import machine
from tabby_lsp.processes.wire import Pipe
from tabby_lsp.settings import IndexSettings

PATIENCE = 60.0  # seconds until a test gives up, far beyond what anything takes
WATCHING: Json = {**INLINE, "workspace": {"didChangeWatchedFiles": {"dynamicRegistration": True}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work space"
    (folder / "pkg").mkdir(parents=True)
    (folder / "a.py").write_text("def alpha():\n    return beta()\n", encoding="utf-8")
    (folder / "pkg" / "b.py").write_text("def beta():\n    return 1\n", encoding="utf-8")
    return folder


@pytest.fixture
def wanted(folder: Path, root: Path) -> Plan:
    return Plan(str(root / "lsp" / "index" / "x.sqlite"), (str(folder),), watched=True)


def paths_of(database: str | Path, name: str) -> list[str]:
    """The files that define a name, as any reader of the index finds them."""
    search = Search(Path(database))
    try:
        return [hit.path for hit in search.definitions(name)]
    finally:
        search.close()


async def until(there: Callable[[], object]) -> None:
    async def poll() -> None:
        while not there():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(poll(), PATIENCE)


@asynccontextmanager
async def running(plan: Plan, scanned: bool = True) -> AsyncIterator[Indexer]:
    indexer = Indexer(plan)
    indexer.start()
    try:
        if scanned:
            await until(lambda: not indexer.state.scanning)
        yield indexer
    finally:
        await indexer.close()


def skipped(indexer: Indexer) -> dict[str, int]:
    return {each.reason: each.count for each in indexer.state.skipped}


# --- what is indexed


def test_a_plan_is_made_for_the_folders_that_are_a_workspace(folder: Path, tmp_path: Path) -> None:
    further = tmp_path / "library"
    further.mkdir()
    settings = IndexSettings(ignore=("*.gen",), max_file_kilobytes=7, folders=(str(further), str(folder)))
    made, note = plan([folder], settings, watched=True)
    assert made is not None and note == ""
    assert (made.folders, made.ignore, made.most_bytes) == ((str(folder), str(further)), ("*.gen",), 7000)
    assert not made.watched, "nobody tells of changes in the further folder"
    assert plan([folder], IndexSettings(), watched=True)[0] == replace(made, **_defaults(folder), watched=True)


def _defaults(folder: Path) -> dict[str, object]:
    made, _ = plan([folder], IndexSettings())
    assert made is not None
    return {"database": made.database, "folders": (str(folder),), "ignore": (), "most_bytes": 1_000_000}


@pytest.mark.parametrize(
    "where, fragment",
    [
        ("nowhere", "not a folder that can be read"),
        ("~", "your home directory"),
        ("~/..", "your home directory, or holds it"),
        ("/", "the root of a file system"),
    ],
)
def test_a_folder_that_is_no_workspace_is_not_indexed_and_that_is_said(
    where: str, fragment: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "people" / "me"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    place = Path(folder.anchor) if where == "/" else tmp_path / os.path.expanduser(where)
    made, note = plan([place], IndexSettings(folders=(str(folder),)))
    assert made is None, "further folders alone are no workspace"
    assert fragment in note
    made, note = plan([place, folder], IndexSettings())
    assert made is not None and made.folders == (str(folder),) and fragment in note


def test_without_folders_or_by_the_settings_nothing_is_indexed(folder: Path) -> None:
    assert plan([], IndexSettings(folders=(str(folder),))) == (None, "No folder is open: there is nothing to index.")
    made, note = plan([folder], IndexSettings(enabled=False))
    assert made is None and "index.enabled" in note


def test_a_file_belongs_to_the_innermost_folder() -> None:
    outer, inner = str(Path("/w").absolute()), str(Path("/w/a [1]").absolute())
    assert place_of(Path(inner, "x", "y.py"), [outer, inner]) == (inner, "x/y.py")
    assert place_of(Path(outer, "y.py"), [outer, inner]) == (outer, "y.py")
    assert place_of(Path(outer), [outer]) is None
    assert place_of(Path(outer).parent / "v" / "y.py", [outer, inner]) is None
    assert others_inside(outer, [outer, inner]) == ("/a\\ \\[1\\]/",)
    assert others_inside(inner, [outer, inner]) == ()


async def test_a_folder_in_a_folder_is_indexed_once(wanted: Plan, folder: Path) -> None:
    inner = folder / "a [1]!"
    inner.mkdir()
    (inner / "c.py").write_text("def gamma():\n    pass\n", encoding="utf-8")
    async with running(replace(wanted, folders=(str(folder), str(inner)))) as indexer:
        assert indexer.state.files == 3
        assert paths_of(wanted.database, "gamma") == ["c.py"]


async def test_the_state_counts_what_is_there_and_what_was_skipped_and_why(wanted: Plan, folder: Path) -> None:
    (folder / ".gitignore").write_text("build/\n*.tmp.py\n", encoding="utf-8")
    (folder / "build").mkdir()
    (folder / "x.tmp.py").write_text("x = 1\n", encoding="utf-8")
    (folder / ".env").write_text("PASSWORD=hunter2\n", encoding="utf-8")
    (folder / "old.py").write_text("x = 1\n", encoding="utf-8")
    (folder / "image.png").write_bytes(b"\x89PNG")
    for name in ("huge.log", "huge.py"):
        with open(folder / name, "wb") as file:
            file.truncate(100_000_000)
    async with running(replace(wanted, ignore=("old*",))) as indexer:
        state = indexer.state
        assert (state.files, state.lines, state.symbols, state.note) == (2, 4, 2, "")
        assert skipped(indexer) == {
            "ignored by .gitignore": 2,
            "ignored by the settings": 1,
            "a secret": 1,
            "binary": 1,
            "data": 1,
            "too large": 1,
            "hidden": 1,
        }
        assert state.skipped[0].examples == ("build", "x.tmp.py")


async def test_the_workspace_is_byte_for_byte_what_it_was(wanted: Plan, folder: Path) -> None:
    def everything() -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for path in sorted(folder.rglob("*")):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        return found

    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "crlf.py").write_bytes(b"x = 1\r\ny = '\xff'\r\n")
    before = everything()
    async with running(wanted) as indexer:
        indexer.buffer(folder / "a.py", "python", lambda: "def other():\n    pass\n")
        await until(lambda: paths_of(wanted.database, "other"))
        indexer.rescan()
        indexer.closed(folder / "a.py")
        await until(lambda: paths_of(wanted.database, "alpha"))
    assert everything() == before


def test_files_are_counted_for_a_short_time_only(wanted: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, total in ((PATIENCE, 2), (-1.0, 0)):
        monkeypatch.setattr("tabby_lsp.index.upkeep.COUNT_SECONDS", seconds)
        upkeep = Upkeep(wanted, lambda mark: None, {})
        try:
            for _ in upkeep.scan():
                pass
            assert (upkeep.first, upkeep.total, upkeep.done) == (True, total, 2)
        finally:
            upkeep.close()
        for part in Path(wanted.database).parent.iterdir():
            part.unlink()


def test_very_many_files_are_indexed_and_looked_at_again_without_being_opened(
    wanted: Plan, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps that let an editor be heard. As with 200,000 of them (tried), only that here it takes seconds."""
    for number in range(200):
        below = folder / f"d{number // 10}" / f"e{number % 10}"
        below.mkdir(parents=True)
        for each in range(100):
            (below / f"m{each}.py").write_bytes(b"def name_%d_%d(x):\n    return x\n" % (number, each))
    upkeep = Upkeep(wanted, lambda mark: None, {})
    try:
        steps = sum(1 for _ in upkeep.scan())
        assert upkeep.state.files == 20_002 and upkeep.state.skipped == ()
        assert steps > 20_002, "one for every file that was read"
        assert paths_of(wanted.database, "name_57_83") == ["d5/e7/m83.py"]
        (folder / "d5" / "e7" / "m83.py").write_bytes(b"def another(x):\n    return x\n")
        opened = []
        monkeypatch.setattr(upkeep, "_reading", opened.append)
        assert sum(1 for _ in upkeep.scan()) < 300
        assert len(opened) == 2, "the one that has changed, and the end of it"
        assert paths_of(wanted.database, "another") == ["d5/e7/m83.py"]
    finally:
        upkeep.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
async def test_a_workspace_with_a_name_that_cannot_be_printed_is_one(root: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/new\nline \xff"))
    folder.mkdir()
    (folder / "a.py").write_text("def alpha():\n    pass\n", encoding="utf-8")
    odd = folder / os.fsdecode(b"odd\n\xfe.py")
    odd.write_text("def odd():\n    pass\n", encoding="utf-8")
    wanted, _ = plan([folder], IndexSettings(), watched=True)
    assert wanted is not None
    async with running(wanted) as indexer:
        assert skipped(indexer) == {"a name that cannot be printed": 1}
        indexer.buffer(odd, "python", lambda: "def odd():\n    pass\n")
        indexer.changed([odd, folder / "gone\n.py"])
        indexer.buffer(folder / "a.py", "python", lambda: "def unsaved():\n    pass\n")
        await until(lambda: paths_of(wanted.database, "unsaved") == ["a.py"])
        assert paths_of(wanted.database, "odd") == []


def test_a_file_that_changes_while_it_is_read_is_read_again(
    wanted: Plan, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows, it shrinks and it becomes another kind of thing, each between the first bytes and the last."""
    harm = {
        "grows.py": lambda file: file.write_text("def whole():\n    pass\n" * 2, encoding="utf-8"),
        "shrinks.py": lambda file: file.write_text("", encoding="utf-8"),
        "vanishes.py": lambda file: file.unlink(),
        "folder.py": lambda file: (file.unlink(), file.mkdir()),
    }
    for name in harm:
        (folder / name).write_text("def half():\n    pass\n" * 3, encoding="utf-8")
    names = {(folder / name).stat().st_ino: name for name in harm}
    read = os.read

    def interrupted(descriptor: int, most: int) -> bytes:
        name = names.get(os.fstat(descriptor).st_ino) if most > HEAD_BYTES else None
        part = read(descriptor, 10 if name else most)
        if name:
            del names[os.fstat(descriptor).st_ino]
            harm[name](folder / name)
        return part

    monkeypatch.setattr("tabby_lsp.index.contents.os.read", interrupted)
    upkeep = Upkeep(wanted, lambda mark: None, {})
    try:
        for _ in upkeep.scan():
            pass
        assert names == {}, "all of them were harmed"
        for _ in upkeep.scan():
            pass
        assert paths_of(wanted.database, "whole") == ["grows.py"] * 2
        assert paths_of(wanted.database, "half") == []
        assert upkeep.state.files == 4, "with a.py, pkg/b.py and the one that is empty now"
    finally:
        upkeep.close()


# --- what changes


async def test_an_unsaved_buffer_counts_until_it_is_closed(wanted: Plan, folder: Path) -> None:
    async with running(wanted) as indexer:
        indexer.buffer(folder / "a.py", "python", lambda: "def unsaved():\n    pass\n")
        await until(lambda: paths_of(wanted.database, "unsaved"))
        assert paths_of(wanted.database, "alpha") == []
        (folder / "a.py").write_text("def saved_by_others():\n    pass\n", encoding="utf-8")
        indexer.changed([folder / "a.py", folder / "pkg" / "b.py"])
        (folder / "pkg" / "b.py").write_text("def beta_changed():\n    pass\n", encoding="utf-8")
        indexer.changed([folder / "pkg" / "b.py"])
        await until(lambda: paths_of(wanted.database, "beta_changed"))
        assert paths_of(wanted.database, "unsaved") == ["a.py"], "the editor's text counts"
        indexer.closed(folder / "a.py")
        await until(lambda: paths_of(wanted.database, "saved_by_others"))
        assert paths_of(wanted.database, "unsaved") == []


async def test_of_the_texts_of_a_buffer_the_last_one_is_sent(wanted: Plan, folder: Path) -> None:
    texts: list[str] = []
    asked = 0

    def text() -> str:
        nonlocal asked
        asked += 1
        return texts[-1]

    async with running(wanted) as indexer:
        for number in range(50):
            texts.append(f"def typed_{number}():\n    pass\n")
            indexer.buffer(folder / "a.py", "python", text)
        await until(lambda: paths_of(wanted.database, "typed_49"))
        assert asked == 1


async def test_files_come_and_go(wanted: Plan, folder: Path) -> None:
    async with running(wanted) as indexer:
        (folder / "new.py").write_text("def fresh():\n    pass\n", encoding="utf-8")
        indexer.changed([folder / "new.py", folder / "never.py", folder.parent / "outside.py"])
        await until(lambda: paths_of(wanted.database, "fresh") == ["new.py"])
        (folder / "new.py").rename(folder / "newer.py")
        indexer.changed([folder / "new.py", folder / "newer.py"])
        await until(lambda: paths_of(wanted.database, "fresh") == ["newer.py"])
        (folder / "pkg").rename(folder / "package")  # of a folder, an editor may tell its name only
        indexer.changed([folder / "pkg", folder / "package"])
        await until(lambda: paths_of(wanted.database, "beta") == ["package/b.py"])
        (folder / ".ignore").write_text("package\n", encoding="utf-8")
        indexer.changed([folder / ".ignore"])
        await until(lambda: paths_of(wanted.database, "beta") == [])
        await until(lambda: indexer.state.files == 2 and "ignored by .ignore" in skipped(indexer))


@pytest.mark.parametrize(
    "path, text",
    [
        (".env", "def leaked():\n    pass\n"),
        ("new.pem", "def leaked():\n    pass\n"),
        ("key.py", "def leaked():\n    pass\n-----BEGIN RSA " + "PRIVATE KEY-----\n"),
        ("ignored/new.py", "def leaked():\n    pass\n"),
        ("ignored/deep/er/new.py", "def leaked():\n    pass\n"),
        ("new.gen.py", "def leaked():\n    pass\n"),
        ("pkg/new/er.ign.py", "def leaked():\n    pass\n"),
        ("pkg/new.set.py", "def leaked():\n    pass\n"),
        ("large.py", "def leaked():\n    pass\n" + "#" * 3000),
    ],
)
def test_a_buffer_that_the_walk_would_leave_out_is_not_indexed(
    path: str, text: str, wanted: Plan, folder: Path
) -> None:
    (folder / ".gitignore").write_text("ignored\n*.gen.py\n", encoding="utf-8")
    (folder / "pkg" / ".tabbyignore").write_text("*.ign.py\n", encoding="utf-8")
    (folder / "ignored").mkdir()
    upkeep = Upkeep(replace(wanted, most_bytes=2000, ignore=("*.set.py",)), lambda mark: None, {})
    try:
        upkeep.buffer(str(folder), path, "python", text)
        upkeep.buffer(str(folder), "pkg/new/file.py", "python", "def welcome():\n    pass\n")
        assert paths_of(wanted.database, "leaked") == []
        assert paths_of(wanted.database, "welcome") == ["pkg/new/file.py"]
        upkeep.buffer(str(folder), "pkg/new/file.py", "python", "#" * 3000)
        assert paths_of(wanted.database, "welcome") == [], "it became what is left out"
        upkeep.buffer(str(folder), "pkg/new/file.py", "python", "def welcome():\n    pass\n")
        (folder / ".ignore").write_text("file.py\n", encoding="utf-8")
        for _ in upkeep.scan():
            pass
        assert paths_of(wanted.database, "welcome") == [], "the rules became others"
    finally:
        upkeep.close()


def test_what_was_in_a_folder_that_is_gone_is_gone_at_once(wanted: Plan, folder: Path) -> None:
    """An editor tells of the folder only, and nobody of what was in it."""
    for name in ("b.py", "deep/c.py", "open.py"):
        (folder / "pkg" / name).parent.mkdir(exist_ok=True)
        (folder / "pkg" / name).write_text("def inside():\n    pass\n", encoding="utf-8")
    for name in ("pkg.py", "pkg0/d.py", "pkg-more/e.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("def beside():\n    pass\n", encoding="utf-8")
    upkeep = Upkeep(wanted, lambda mark: None, {})
    try:
        for _ in upkeep.scan():
            pass
        upkeep.buffer(str(folder), "pkg/open.py", "python", "def unsaved():\n    pass\n")
        (folder / "pkg").rename(folder.parent / "elsewhere")
        assert not upkeep.changed(str(folder), "pkg"), "no scan is needed for it"
        assert paths_of(wanted.database, "inside") == []
        assert paths_of(wanted.database, "unsaved") == ["pkg/open.py"], "an editor still has it"
        assert paths_of(wanted.database, "beside") == ["pkg.py", "pkg-more/e.py", "pkg0/d.py"]
        (folder.parent / "elsewhere").rename(folder / "pkg")
        assert upkeep.changed(str(folder), "pkg"), "a scan says what is in it"
        scan = upkeep.scan()
        while not upkeep._batch.keys() >= {(str(folder), "pkg/b.py")}:  # read and not written yet
            next(scan)
        (folder / "pkg").rename(folder.parent / "elsewhere")
        (folder / "pkg").write_text("def by_its_name():\n    pass\n", encoding="utf-8")
        upkeep.changed(str(folder), "pkg")
        for _ in scan:
            pass
        assert paths_of(wanted.database, "inside") == []
    finally:
        upkeep.close()


def test_what_is_changed_in_the_middle_of_a_scan_is_found_at_once_and_stays(wanted: Plan, folder: Path) -> None:
    upkeep = Upkeep(wanted, lambda mark: None, {})
    try:
        scan = upkeep.scan()
        while not upkeep._batch:  # a.py has been read and is not written yet
            next(scan)
        (folder / "a.py").write_text("def rewritten():\n    pass\n", encoding="utf-8")
        upkeep.changed(str(folder), "a.py")
        upkeep.buffer(str(folder), "pkg/b.py", "python", "def edited():\n    pass\n")
        assert paths_of(wanted.database, "rewritten") == ["a.py"]
        assert paths_of(wanted.database, "edited") == ["pkg/b.py"]
        for _ in scan:
            pass
        assert paths_of(wanted.database, "rewritten") == ["a.py"]
        assert paths_of(wanted.database, "edited") == ["pkg/b.py"]
        assert (paths_of(wanted.database, "alpha"), paths_of(wanted.database, "beta")) == ([], [])
    finally:
        upkeep.close()
    assert paths_of(wanted.database, "beta") == ["pkg/b.py"], "the disk counts when the editor has gone"


# --- what goes wrong


async def test_killed_in_the_middle_of_a_scan_it_goes_on(wanted: Plan, folder: Path) -> None:
    lines = "".join(f"def name_{number}(x):\n    return x + {number}\n" for number in range(400))
    for number in range(60):
        (folder / f"f{number:02}.py").write_text(f"# {number}\n{lines}", encoding="utf-8")
    async with running(wanted, scanned=False) as indexer:
        indexer.buffer(folder / "a.py", "python", lambda: "def unsaved():\n    pass\n")
        await until(lambda: indexer.state.done > 10)
        assert indexer.state.scanning and indexer.pid and indexer.state.total == 62
        first = indexer.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: indexer.pid != first and not indexer.state.scanning and indexer.state.files)
        assert (indexer.state.files, skipped(indexer), indexer.state.note) == (62, {}, "")
        assert paths_of(wanted.database, "unsaved") == ["a.py"], "the new one hears of what is open"


async def test_what_was_read_at_two_deaths_is_left_out_until_it_changes(wanted: Plan, folder: Path) -> None:
    slow = folder / "slow.py"
    text = "".join(f"def f{number}(a, b):\n    return a + b\n" for number in range(20_000))
    slow.write_text(text, encoding="utf-8", newline="\n")
    mark = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    async with running(wanted, scanned=False) as indexer:
        for _ in range(2):
            await until(lambda: indexer.reading == mark)
            pid = indexer.pid
            assert pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda: indexer.pid != pid)  # noqa: B023 (it is awaited here)
        await until(lambda: CRASHED in skipped(indexer))
        assert (skipped(indexer), indexer.state.files) == ({CRASHED: 1}, 2)
    async with running(wanted) as indexer:
        assert skipped(indexer) == {CRASHED: 1}, "the next server knows it, too"
        slow.write_text("def changed_at_last():\n    pass\n", encoding="utf-8")
        indexer.changed([slow])
        await until(lambda: paths_of(wanted.database, "changed_at_last"))


async def test_who_asks_for_it_has_everything_tried_again(wanted: Plan, folder: Path) -> None:
    text = (folder / "a.py").read_text(encoding="utf-8")
    marks: list[str] = []
    upkeep = Upkeep(wanted, marks.append, {})
    upkeep.buffer(str(folder), "a.py", "python", text)
    upkeep.close()
    Path(wanted.database).unlink()
    upkeep = Upkeep(wanted, marks.append, {marks[0]: 2})
    upkeep.close()
    async with running(wanted) as indexer:
        assert skipped(indexer) == {CRASHED: 1} and paths_of(wanted.database, "alpha") == []
        indexer.rescan()
        await until(lambda: paths_of(wanted.database, "alpha") == ["a.py"] and skipped(indexer) == {})


@pytest.mark.parametrize("harm", ["deleted", "garbage"])
async def test_an_index_that_is_lost_under_a_running_indexer_is_made_anew(
    harm: str, wanted: Plan, folder: Path
) -> None:
    async with running(wanted) as indexer:
        indexer.buffer(folder / "pkg" / "b.py", "python", lambda: "def unsaved():\n    pass\n")
        await until(lambda: paths_of(wanted.database, "unsaved"))
        if harm == "deleted":
            for file in Path(wanted.database).parent.iterdir():
                file.unlink()
        else:
            Path(wanted.database).write_bytes(b"garbage " * 10_000)
        await until(lambda: paths_of(wanted.database, "alpha") and paths_of(wanted.database, "unsaved"))
        await until(lambda: "made anew" in indexer.state.note and not indexer.state.scanning)


# A grammar that never comes to an end: that of Lua does not for this text, and so it is used for no Lua.
HANGING = """
import sys
from pathlib import Path
from tabby_lsp import languages
from tabby_lsp.index import symbols, upkeep
from tabby_lsp.index.plan import Plan

lua = languages.Language("lua", comment="--", grammar="lua")
languages._in_use = languages.Table({"lua": lua}, {"lua": "lua"}, {}, {})
symbols.query = lambda language: "(identifier) @reference"
upkeep.FILE_SECONDS = 1
upkeep.Upkeep(Plan(sys.argv[1], (sys.argv[2],)), lambda mark: print(mark, flush=True), {}).changed(sys.argv[2], "x.lua")
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the newer grammar ends")
async def test_a_grammar_that_hangs_ends_its_process_and_is_not_tried_a_third_time(wanted: Plan, folder: Path) -> None:
    (folder / "x.lua").write_text("x = 1\n", encoding="utf-8", newline="\n")
    arguments = [sys.executable, "-c", HANGING, wanted.database, str(folder)]
    for _ in range(8):  # by what its memory held before, it ends after all now and then
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE)
        if result.returncode != 0:
            break
        Path(wanted.database).unlink()
    assert result.returncode != 0 and "Timeout" in result.stderr
    mark = result.stdout.strip()
    assert mark, "who to blame is told before"
    upkeep = Upkeep(wanted, lambda mark: None, {mark: 2})
    try:
        for _ in upkeep.scan():
            pass
        assert [each.reason for each in upkeep.state.skipped] == [CRASHED]
        assert upkeep.state.files == 2
    finally:
        upkeep.close()


async def test_two_servers_on_one_folder_see_each_others_work(wanted: Plan, folder: Path) -> None:
    async with running(wanted) as first:
        first.buffer(folder / "a.py", "python", lambda: "def of_the_first():\n    pass\n")
        await until(lambda: paths_of(wanted.database, "of_the_first"))
        async with running(wanted) as second:
            second.buffer(folder / "pkg" / "b.py", "python", lambda: "def of_the_second():\n    pass\n")
            await until(lambda: paths_of(wanted.database, "of_the_second"))
            await until(lambda: paths_of(wanted.database, "of_the_first"))
            assert second.state.note == first.state.note == ""
        await until(lambda: paths_of(wanted.database, "beta"))
        assert paths_of(wanted.database, "of_the_first") == ["a.py"]


@pytest.fixture
def two(wanted: Plan, folder: Path) -> Iterator[tuple[Upkeep, Upkeep]]:
    """Two servers on one workspace; the first one has a text that is not saved."""
    first = Upkeep(wanted, lambda mark: None, {})
    for _ in first.scan():
        pass
    first.buffer(str(folder), "a.py", "python", "def of_the_first():\n    pass\n")
    first.buffer(str(folder), "new.py", "python", "def never_saved():\n    pass\n")
    second = Upkeep(wanted, lambda mark: None, {})
    yield first, second
    second.close()
    first.close()


def test_a_second_server_does_not_take_the_buffers_of_the_first(
    two: tuple[Upkeep, Upkeep], wanted: Plan, folder: Path
) -> None:
    first, second = two

    def there() -> bool:
        first.look()
        return all(paths_of(wanted.database, name) for name in ("of_the_first", "never_saved"))

    assert there(), "as the second begins"
    for _ in second.scan():
        pass
    assert there()
    (folder / "a.py").write_text("def saved_by_others():\n    pass\n", encoding="utf-8")
    second.changed(str(folder), "a.py")
    assert paths_of(wanted.database, "saved_by_others")
    assert there()
    Path(wanted.database).unlink()
    assert there(), "nor is it a while without them when all is gone"


def test_of_one_file_in_two_editors_the_last_text_counts_until_it_is_closed(
    two: tuple[Upkeep, Upkeep], wanted: Plan, folder: Path
) -> None:
    first, second = two
    second.buffer(str(folder), "a.py", "python", "def of_the_second():\n    pass\n")
    for _ in range(3):  # neither takes it from the other in turn
        assert not first.look() and not second.look()
        assert paths_of(wanted.database, "of_the_second") == ["a.py"]
    second.closed(str(folder), "a.py")
    assert paths_of(wanted.database, "alpha") == ["a.py"]
    first.look()
    assert paths_of(wanted.database, "of_the_first") == ["a.py"]


def test_an_idle_indexer_notices_what_another_one_took(
    two: tuple[Upkeep, Upkeep], wanted: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.1)
    messages: Messages = SimpleQueue()
    given_up = threading.Timer(PATIENCE, messages.put, [None])
    given_up.start()
    with open(os.devnull, "wb") as nobody:
        work = process.Work(first, messages, Pipe(nobody.fileno()), watched=True)
        while not work._look_at:  # the first scan is over, and all that is due
            assert work.go_on()
        second.store.remove(Path(wanted.folders[0]), "a.py")
        while not paths_of(wanted.database, "of_the_first"):
            assert work.go_on()
    given_up.cancel()


async def test_where_nothing_can_be_written_there_is_no_index_and_that_is_said(
    wanted: Plan, folder: Path, root: Path
) -> None:
    (root / "lsp").write_text("no folder", encoding="utf-8")
    async with running(wanted) as indexer:
        assert indexer.down and indexer.state.files == 0
        assert "There can be no index" in indexer.state.note and "TABBY_ROOT" in indexer.state.note
    assert (root / "lsp").read_text(encoding="utf-8") == "no folder"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_process_is_less_urgent_and_has_a_limit_of_memory(wanted: Plan) -> None:
    async with running(wanted) as indexer:
        assert indexer.pid
        assert os.getpriority(os.PRIO_PROCESS, indexer.pid) > os.getpriority(os.PRIO_PROCESS, 0)
        limits = Path(f"/proc/{indexer.pid}/limits").read_text(encoding="ascii")
        assert "Max address space         1500000000" in limits


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_what_goes_beyond_the_limit_of_memory_fails() -> None:
    script = "from tabby_lsp.processes import machine; machine.limit_memory(10**9); bytearray(2 * 10**9)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "MemoryError" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
@pytest.mark.parametrize(
    "url, path",
    [
        ("file:///home/me/a%20b.py", "/home/me/a b.py"),
        ("FILE:///home/me/%C3%A4.py", "/home/me/ä.py"),
        ("file:///home/me/%FF.py", "/home/me/\udcff.py"),
        ("file:///", "/"),
        ("untitled:Untitled-1", None),
        ("git:/home/me/a.py", None),
        ("file:relative.py", None),
        ("file:///a%00b", None),
        ("file://[::", None),
        ("/home/me/a.py", None),
        ("", None),
    ],
)
def test_a_file_url_is_a_path(url: str, path: str | None) -> None:
    assert machine.path_of_url(url) == (None if path is None else Path(path))


# --- the server


def start(editor: Editor, folder: Path, capabilities: Json = INLINE) -> Json:
    editor.start(capabilities, workspaceFolders=[{"uri": folder.as_uri(), "name": "it"}])
    return indexed(editor)


def indexed(editor: Editor, wanted: Callable[[Json], object] = lambda index: index["files"]) -> Json:
    """The status of the index as soon as it is as wanted."""

    def there(message: Json) -> bool:
        if message.get("method") != "tabby/status/didChange":
            return False
        index = message["params"].get("index")  # it says what is new
        return index is not None and not index["scanning"] and bool(wanted(index))

    return dict(editor.wait(there)["params"]["index"])


def found_by(root: Path, name: str) -> list[str]:
    databases = list((root / "lsp" / "index").glob("*.sqlite"))
    return [path for database in databases for path in paths_of(database, name)]


def wait_for(there: Callable[[], object]) -> None:
    asyncio.run(until(there))


def test_a_server_indexes_its_workspace_and_says_so(folder: Path, root: Path) -> None:
    (folder / ".env").write_text("A=1\n", encoding="utf-8")
    with Editor() as editor:
        index = start(editor, folder)
        assert index == {"files": 2, "symbols": 2, "skipped": {"a secret": 1}, "scanning": False, "note": ""}
        assert editor.request("tabby/status", {})["index"] == index
        uri = (folder / "a.py").as_uri()
        editor.open("def unsaved():\n    pass\n", uri=uri)
        wait_for(lambda: found_by(root, "unsaved"))
        editor.change(2, (0, 4), "still_", uri=uri)
        wait_for(lambda: found_by(root, "still_unsaved"))
        editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        wait_for(lambda: found_by(root, "alpha"))
        assert found_by(root, "still_unsaved") == []
        (folder / "c.py").write_text("def gamma():\n    pass\n", encoding="utf-8")
        editor.request("workspace/executeCommand", {"command": "tabby.reindex", "arguments": []})
        wait_for(lambda: found_by(root, "gamma"))


def test_a_client_that_can_is_asked_to_tell_of_changes(folder: Path, root: Path) -> None:
    with Editor() as editor:
        start(editor, folder, WATCHING)
        asked = editor.wait(lambda message: message.get("method") == "client/registerCapability")
        (registration,) = asked["params"]["registrations"]
        assert registration["method"] == "workspace/didChangeWatchedFiles"
        (folder / "c.py").write_text("def gamma():\n    pass\n", encoding="utf-8")
        changes = [{"uri": (folder / "c.py").as_uri(), "type": 1}, {"uri": "untitled:x", "type": 1}]
        editor.notify("workspace/didChangeWatchedFiles", {"changes": changes})
        wait_for(lambda: found_by(root, "gamma"))


def test_folders_of_the_workspace_and_of_the_settings_come_and_go(folder: Path, root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.py").write_text("def gamma():\n    pass\n", encoding="utf-8")
    with Editor() as editor:
        start(editor, folder)
        uri = (folder / "a.py").as_uri()
        editor.open("def unsaved():\n    pass\n", uri=uri)
        added = {"added": [{"uri": other.as_uri(), "name": "other"}], "removed": []}
        editor.notify("workspace/didChangeWorkspaceFolders", {"event": added})
        indexed(editor, lambda index: index["files"] == 3)
        wait_for(lambda: len(found_by(root, "unsaved")) == 1)
        settings = {"tabby-lsp": {"index": {"ignore": ["!.hidden"]}}}
        editor.notify("workspace/didChangeConfiguration", {"settings": settings})
        editor.wait(lambda each: each.get("method") == "window/showMessage" and "`index.ignore`" in str(each["params"]))
        assert editor.request("tabby/status", {})["index"]["files"] == 3, "a cloned repository might have said so"


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can be neither deleted nor written over")
def test_an_index_that_is_lost_under_a_running_server_costs_no_suggestion(folder: Path, root: Path) -> None:
    with Editor() as editor:
        start(editor, folder)
        uri = (folder / "c.py").as_uri()
        editor.open("from pkg.b import beta\n\n\ndef unsaved():\n    return ", uri=uri)
        wait_for(lambda: found_by(root, "unsaved"))
        for number, harm in enumerate(("deleted", "garbage", "deleted")):
            for file in (root / "lsp" / "index").iterdir():
                if harm == "deleted":
                    file.unlink()
                elif file.suffix == ".sqlite":
                    file.write_bytes(b"garbage " * 10_000)
            editor.inline((4, 11), uri=uri)
            wait_for(lambda: found_by(root, "alpha") and found_by(root, "unsaved"))
            editor.change(2 + number, (4, 11), "b", uri=uri)
            editor.inline((4, 12), uri=uri)
        index = indexed(editor, lambda index: index["files"] == 3)
        assert "made anew" in index["note"]


def test_an_index_that_is_switched_off_is_not_made(folder: Path, root: Path) -> None:
    with Editor() as editor:
        folders = [{"uri": folder.as_uri(), "name": "it"}]
        editor.start(workspaceFolders=folders, initializationOptions={"index": {"enabled": False}})
        assert indexed(editor, lambda index: "index.enabled" in index["note"])["files"] == 0
        assert not (root / "lsp" / "index").exists()


def test_a_first_scan_shows_its_progress(folder: Path) -> None:
    lines = "".join(f"def name_{number}(x):\n    return x + {number}\n" for number in range(400))
    for number in range(60):
        (folder / f"f{number:02}.py").write_text(f"# {number}\n{lines}", encoding="utf-8")
    with Editor() as editor:
        start(editor, folder)

        def kind(message: Json, kind: str) -> bool:
            params = message.get("params") or {}
            return message.get("method") == "$/progress" and (
                str(params["token"]).startswith("tabby-lsp/index/") and params["value"]["kind"] == kind
            )

        assert editor.wait(lambda message: kind(message, "begin"))["params"]["value"]["title"] == "Tabby: indexing"
        assert "of 62 files" in editor.wait(lambda message: kind(message, "report"))["params"]["value"]["message"]
        assert editor.wait(lambda message: kind(message, "end"))["params"]["value"]["message"] == "62 files"


def test_a_server_without_a_folder_says_why_there_is_no_index(root: Path) -> None:
    with Editor() as editor:
        editor.start(workspaceFolders=[])
        editor.wait(lambda each: "No folder is open" in str(each.get("params", {})))
        assert not (root / "lsp" / "index").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_server_leaves_no_indexer_behind(folder: Path) -> None:
    with Editor() as editor:
        start(editor, folder)
        pid = editor.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        indexers = [
            each for each in children if b"tabby_lsp.index.process" in Path(f"/proc/{each}/cmdline").read_bytes()
        ]
        assert len(indexers) == 1
        editor.process.kill()
        assert gone(int(indexers[0]))


# --- the command line


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tabby_lsp", *arguments], capture_output=True, text=True, cwd=cwd, encoding="utf-8"
    )


def test_index_tells_what_is_in_it_and_what_is_not(folder: Path) -> None:
    (folder / ".env").write_text("A=1\n", encoding="utf-8")
    result = command("index", "--verbose", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["files", "2"] in rows and ["symbols", "2"] in rows and ["lines", "4"] in rows
    assert rows[-2:] == [["skipped", "1", "a", "secret"], [".env"]]
    assert [".env"] not in [line.split() for line in command("index", str(folder), cwd=folder).stdout.splitlines()]


def test_search_shows_definitions_first_and_builds_the_index_if_there_is_none(folder: Path) -> None:
    result = command("search", "beta", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{Path('pkg/b.py')}:1: def beta():",
        "a.py:2: return beta()",
    ]
    elsewhere = command("search", "beta", "--in", folder.name, "--limit", "1", cwd=folder.parent)
    assert elsewhere.stdout == f"{Path(folder.name, 'pkg', 'b.py')}:1: def beta():\n"
    nothing = command("search", "nothing_like_it", cwd=folder)
    assert nothing.returncode == 1 and nothing.stdout == "" and "nothing like that" in nothing.stderr


@pytest.mark.parametrize(
    "arguments, fragment",
    [
        (("index", "nowhere"), "nowhere is not a folder"),
        (("index", os.path.abspath(os.sep)), "the root of a file system"),
        (("search", "x", "--in", "nowhere"), "nowhere is not a folder"),
        (("search", " "), "nothing to search for"),
        (("search", "x", "--limit", "0"), "--limit must be at least 1"),
        (("--set", "index.enabled=false", "index"), "index.enabled"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_what_to_do(
    arguments: tuple[str, ...], fragment: str, folder: Path
) -> None:
    result = command(*arguments, cwd=folder)
    assert result.returncode == 2
    assert fragment in result.stderr and "Traceback" not in result.stderr


def test_search_where_nothing_can_be_written_says_what_to_do(folder: Path, root: Path) -> None:
    (root / "lsp").write_text("no folder", encoding="utf-8")
    result = command("search", "beta", cwd=folder)
    assert result.returncode == 2
    assert "There can be no index" in result.stderr and "TABBY_ROOT" in result.stderr


def test_the_benchmark_of_the_index_measures_every_row(folder: Path) -> None:
    bench = Path(__file__).with_name("bench") / "index.py"
    arguments = [sys.executable, str(bench), str(folder), "--samples", "2"]
    result = subprocess.run(arguments, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    rows = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert {"cold", "rescan", "query", "question", "changed file", "unsaved"} <= set(rows)
