"""What an indexer goes through in a long day: deaths in mid-work, hours of typing, a server that is killed.

`TABBY_LSP_TYPING=600` types for ten minutes instead of fifty keys; `TABBY_LSP_TYPING_LOG=file` says what it saw.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from editor import Editor, gone

from tabby_lsp.index.client import Indexer
from tabby_lsp.index.plan import Plan
from tabby_lsp.index.upkeep import Upkeep
from tabby_lsp.processes import machine

PATIENCE = 100.0
TYPING_SECONDS = float(os.environ.get("TABBY_LSP_TYPING", "0"))
KILLS = 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


async def until(there: Callable[[], object]) -> None:
    async def poll() -> None:
        while not there():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), PATIENCE)


def module(number: int, functions: int) -> str:
    lines = (f"def name_{number}_{each}(value):\n    return value + {each}\n\n" for each in range(functions))
    return f'"""Number {number}."""\n\n' + "".join(lines)


def everything(database: str | Path) -> set[tuple[object, ...]]:
    """What an index says, without the numbers that it gives to rows."""
    with sqlite3.connect(database) as connection:
        files = "SELECT path, language, hash, lines, buffer FROM files"
        symbols = "SELECT path, symbols.name, kind, first, last, signature FROM symbols JOIN files ON files.id = file"
        chunks = "SELECT path, first, last, text FROM chunks JOIN files ON files.id = file"
        found = {tuple(row) for query in (files, symbols, chunks) for row in connection.execute(query)}
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="kills as a system with signals does")
async def test_killed_twenty_times_in_mid_work_it_is_always_back_and_the_index_is_right(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabby_lsp.processes.child.DEATHS", KILLS + 1)  # that many within a minute are bad luck here
    monkeypatch.setattr("tabby_lsp.processes.child.FIRST_PAUSE", 0.0)
    chance = random.Random(5)
    folder = tmp_path / "workspace"
    folder.mkdir()
    for number in range(40):
        (folder / f"f{number:02}.py").write_text(module(number, 120), encoding="utf-8")
    wanted = Plan(str(root / "lsp" / "index" / "x.sqlite"), (str(folder),), watched=True)
    indexer = Indexer(wanted)
    indexer.start()
    text = "def unsaved():\n    pass\n"
    try:
        for round in range(KILLS):
            await until(lambda: indexer.pid and indexer.reading)  # it is at a text, or has just put one away
            await asyncio.sleep(chance.random() * 0.05)
            killed = indexer.pid
            text = f"def unsaved_{round}():\n    pass\n"
            indexer.buffer(folder / "open.py", "python", partial(str, text))
            number = chance.randrange(40)
            (folder / f"f{number:02}.py").write_text(module(number, 100 + round), encoding="utf-8")
            os.kill(killed, signal.SIGKILL)
            await until(lambda: indexer.pid != killed and not indexer.down)  # noqa: B023 (awaited here)
        indexer.rescan()
        await until(lambda: not indexer.state.scanning and indexer.state.files == 41 and not indexer.state.skipped)
        assert (indexer.down, indexer.state.note) == (False, "")
    finally:
        await indexer.close()
    anew = Upkeep(Plan(str(tmp_path / "anew.sqlite"), (str(folder),)), lambda mark: None, {})
    for _ in anew.scan():
        pass
    anew.close()
    assert everything(wanted.database) == everything(tmp_path / "anew.sqlite")


@linux
def test_typing_in_a_large_file_costs_neither_memory_nor_descriptors(tmp_path: Path, root: Path) -> None:
    asyncio.run(_type(tmp_path, root))  # which may take longer than a test in a loop may


async def _type(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    text = module(0, 6200)
    assert 290_000 < len(text) < 310_000
    (folder / "large.py").write_text(text, encoding="utf-8")
    indexer = Indexer(Plan(str(root / "lsp" / "index" / "x.sqlite"), (str(folder),), watched=True))
    marks: set[str] = set()
    receive = indexer._child.on_message

    def on_message(message: dict[str, Any]) -> None:
        marks.add(message.get("mark", ""))
        receive(message)

    indexer._child.on_message = on_message
    indexer.start()
    try:
        await until(lambda: not indexer.state.scanning and indexer.pid)
        pid = indexer.pid
        held: list[tuple[int, int]] = []
        end = time.monotonic() + TYPING_SECONDS
        place, keys = len(text) // 2, 0
        while keys < 50 or time.monotonic() < end:
            text = text[: place + keys] + "x_1 = value(2)\n"[keys % 15] + text[place + keys :]
            keys += 1
            indexer.buffer(folder / "large.py", "python", partial(str, text))
            mark = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
            await until(lambda: mark in marks)  # noqa: B023 (awaited here)
            if keys >= 15:
                held.append((machine.resident_memory(pid or 0) or 0, len(os.listdir(f"/proc/{pid}/fd"))))
        assert indexer.pid == pid and len(marks) > keys, "it is still the same process, and has read every text"
        if path := os.environ.get("TABBY_LSP_TYPING_LOG"):
            Path(path).write_text(f"{keys} texts; bytes and descriptors: {held[:3]} … {held[-3:]}\n", encoding="utf-8")
        # What was lost with each match made 900 kB for each such text.
        assert held[-1][0] - held[0][0] < 12_000_000 and held[-1][1] <= held[0][1] + 1
    finally:
        await indexer.close()


def processor_seconds(pid: str) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@linux
def test_a_server_that_is_killed_leaves_no_indexer_that_computes(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    for number in range(40):
        (folder / ("a" * 240 + f"{number}.py")).write_text("x = 1\n", encoding="utf-8")
    (folder / ".gitignore").write_text("*a*a*b\n" * 4000, encoding="utf-8")  # as expressions: a minute for each file
    with Editor() as editor:
        editor.start(rootUri=folder.as_uri(), workspaceFolders=[{"uri": folder.as_uri(), "name": "workspace"}])
        pid = editor.process.pid
        indexers: list[str] = []
        end = time.monotonic() + PATIENCE
        while not indexers and time.monotonic() < end:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            lines = {each: Path(f"/proc/{each}/cmdline").read_bytes() for each in children}
            indexers = [each for each, line in lines.items() if b"tabby_lsp.index.process" in line]
            time.sleep(0.05)
        end = time.monotonic() + 20  # in the middle of it, or else it has come to its end
        while time.monotonic() < end and processor_seconds(indexers[0]) < 4.0:
            time.sleep(0.05)
        editor.process.kill()
        assert gone(int(indexers[0]))


STUCK = """
import re, sys, threading, queue
from tabby_lsp.index import process
process.FILE_SECONDS = 1
class Upkeep:
    def look(self): re.match("(a+)+$", "a" * 60 + "b")  # holds the interpreter for longer than anybody lives
work = process.Work(Upkeep(), queue.SimpleQueue(), None, False)
work._due = None
print("begins", flush=True)
while work.go_on(): pass
"""


def test_a_step_that_holds_the_interpreter_ends_its_process() -> None:
    result = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode != 0 and "Timeout" in result.stderr and result.stdout == "begins\n"
