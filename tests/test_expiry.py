"""When an index is forgotten, and when it is not."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tabby_lsp.index import expiry
from tabby_lsp.index.client import Indexer
from tabby_lsp.index.plan import Plan
from tabby_lsp.index.upkeep import Upkeep
from tabby_lsp.processes import machine

DAY = 86_400.0
NOW = 2_000_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "disk" / "work"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("def alpha(): pass\n", encoding="utf-8")
    return folder


@pytest.fixture
def database(folder: Path, root: Path) -> Path:
    database = root / "lsp" / "index" / "x.sqlite"
    upkeep = Upkeep(Plan(str(database), (str(folder),)), lambda mark: None, {"0" * 32: 2})
    for _ in upkeep.scan():
        pass
    upkeep.close()
    expiry.note(database, [str(folder)])
    return database


def kept(database: Path) -> list[str]:
    return sorted(each.name for each in database.parent.iterdir())


ALL = ["x.sqlite", "x.sqlite.crashed", "x.sqlite.folders"]


def test_an_index_goes_when_its_folder_has_been_gone_for_thirty_days(database: Path, folder: Path) -> None:
    expiry.forget(database.parent, NOW)
    shutil.rmtree(folder)
    expiry.forget(database.parent, NOW + DAY)
    expiry.forget(database.parent, NOW + 30.9 * DAY)
    assert kept(database) == ALL
    expiry.forget(database.parent, NOW + 31.1 * DAY)
    assert kept(database) == []


def test_a_folder_that_comes_back_has_all_of_its_time_again(database: Path, folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    expiry.forget(database.parent, NOW)
    (folder.parent / "elsewhere").rename(folder)
    expiry.forget(database.parent, NOW + 40 * DAY)
    folder.rename(folder.parent / "elsewhere")
    expiry.forget(database.parent, NOW + 50 * DAY)
    expiry.forget(database.parent, NOW + 79 * DAY)
    assert kept(database) == ALL
    expiry.note(database, [str(folder)])  # somebody uses it
    expiry.forget(database.parent, NOW + 81 * DAY)
    assert kept(database) == ALL


def test_a_clock_that_was_wrong_forgets_nothing(database: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    expiry.forget(database.parent, NOW + 1000 * DAY)
    expiry.forget(database.parent, NOW)
    expiry.forget(database.parent, NOW + 29 * DAY)
    assert kept(database) == ALL
    expiry.forget(database.parent, NOW + 31 * DAY)
    assert kept(database) == []


@pytest.mark.parametrize("left", ["an empty folder", "nothing"])
def test_a_disk_that_is_not_mounted_is_not_gone(
    left: str, database: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, real, mounted = str(folder.parent), os.path.ismount, True
    monkeypatch.setattr(os.path, "ismount", lambda path: mounted if str(path) == disk else real(path))
    assert machine.mount_point(str(folder)) == disk
    expiry.note(database, [str(folder)])
    shutil.rmtree(folder if left == "an empty folder" else disk)
    mounted = False
    for days in (0, 31, 400):
        expiry.forget(database.parent, NOW + days * DAY)
    assert kept(database) == ALL
    os.makedirs(disk, exist_ok=True)
    mounted = True  # and without the folder
    for days in (401, 432):
        expiry.forget(database.parent, NOW + days * DAY)
    assert kept(database) == []


def test_what_cannot_be_asked_is_not_gone(database: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def stat(path: str | Path, **options: bool) -> os.stat_result:
        if str(path) == str(folder):
            raise PermissionError(13, "no")
        return real(path, **options)

    shutil.rmtree(folder)
    monkeypatch.setattr(os, "stat", stat)
    for days in (0, 31, 400):
        expiry.forget(database.parent, NOW + days * DAY)
    assert kept(database) == ALL


def test_one_of_several_folders_is_enough(database: Path, folder: Path, tmp_path: Path) -> None:
    expiry.note(database, [str(tmp_path), str(folder)])
    shutil.rmtree(folder)
    for days in (0, 31):
        expiry.forget(database.parent, NOW + days * DAY)
    assert kept(database) == []


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", '{"folders": 1}', '{"folders": [], "gone_since": 0}', "[" * 10_000]
)
def test_an_index_without_a_note_goes_when_it_was_not_used_for_as_long(text: str | None, database: Path) -> None:
    note = Path(f"{database}.folders")
    note.unlink() if text is None else note.write_text(text, encoding="utf-8")
    now = time.time()
    expiry.forget(database.parent, now + 29 * DAY)
    assert database.exists()
    expiry.forget(database.parent, now + 31 * DAY)
    assert kept(database) == []


async def test_an_indexer_notes_its_folders_and_forgets_what_others_left(database: Path, folder: Path) -> None:
    gone = folder.parent / "gone"
    gone.mkdir()
    other = database.with_name("other.sqlite")
    shutil.copy(database, other)
    expiry.note(other, [str(gone)])
    said = json.loads(Path(f"{other}.folders").read_bytes())
    Path(f"{other}.folders").write_text(json.dumps({**said, "gone_since": time.time() - 31 * DAY}), encoding="utf-8")
    gone.rmdir()
    Path(f"{database}.folders").unlink()
    indexer = Indexer(Plan(str(database), (str(folder),)))
    indexer.start()
    try:
        for _ in range(3000):
            if not other.exists() and Path(f"{database}.folders").exists():
                break
            await asyncio.sleep(0.02)
    finally:
        await indexer.close()
    assert [each for each in kept(database) if not each.endswith(("-wal", "-shm"))] == ALL
    assert json.loads(Path(f"{database}.folders").read_bytes())["folders"][0]["path"] == str(folder)
