"""A child process that is watched: what it says wrongly, faults in what is done with it, and one that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tabby_lsp.processes import child, wire
from tabby_lsp.processes.child import ENVIRONMENT, Child, ending

HEAD = """
import os, sys, time
from tabby_lsp.processes import wire
pipe = wire.Pipe(1)
def hear():
    return wire.read(sys.stdin.buffer.read)
def main():
    while message := hear():
        kind = message["kind"]
        if kind == "ping" and not os.path.exists(STOP):
            pipe.send(kind="alive", body=WORK)
"""


class Parent:
    """Starts a module written for a test and keeps what its `Child` tells."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, body: str, work: str = "time.time()") -> None:
        package = folder / "written_for_a_test"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        head = HEAD.replace("STOP", repr(str(folder / "stop"))).replace("WORK", work)
        (package / "process.py").write_text(head + textwrap.indent(textwrap.dedent(body), " " * 8), encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        self.heard: list[dict[str, Any]] = []
        self.starts, self.deaths, self.ends = 0, list[str](), list[str]()
        self.patience = 0
        self.raises: type[BaseException] | None = None
        self.child = Child(
            "written_for_a_test.process",
            lambda: {"kind": "hello"},
            self._hear,
            self._started,
            self._died,
            self._ended,
            lambda: self.patience,
        )

    def _hear(self, message: dict[str, Any]) -> None:
        self.heard.append(message)
        self._fail()

    def _started(self) -> None:
        self.starts += 1
        self._fail()

    def _died(self, reason: str) -> None:
        self.deaths.append(reason)
        self._fail()

    def _ended(self, reason: str) -> None:
        self.ends.append(reason)
        self._fail()

    def _fail(self) -> None:
        if self.raises is not None:
            raise self.raises("a fault of the server's")

    async def again(self) -> None:
        """Another process has been started, and answers."""
        starts = len(self.deaths) + 1
        while self.starts < starts:
            await asyncio.sleep(0.01)
        self.child.send(kind="echo")
        await self.until("echoed")

    async def until(self, what: str) -> None:
        while not any(message.get("kind") == what for message in self.heard):
            await asyncio.sleep(0.01)
        self.heard.clear()


@contextlib.asynccontextmanager
async def parent(*arguments: Any) -> AsyncIterator[Parent]:
    made = Parent(*arguments)
    made.child.start()
    try:
        yield made
    finally:
        await made.child.close()
        pid = made.child.pid
        assert pid is None or not Path(f"/proc/{pid}").exists(), "nothing is left behind"


ECHO = """
if kind == "echo":
    pipe.send(kind="echoed")
elif kind == "die":
    sys.exit(message["how"])
"""


async def test_a_fault_in_a_callback_costs_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the messages behind it, nor the watch over the process."""
    monkeypatch.setattr(child, "FIRST_PAUSE", 0.01)
    async with parent(tmp_path, monkeypatch, ECHO) as made:
        made.raises = KeyError
        made.child.send(kind="echo")
        await made.until("echoed")
        made.child.send(kind="die", how=3)
        while not made.deaths:
            await asyncio.sleep(0.01)
        await made.again()
        assert made.starts == 2 and "exit status 3" in made.deaths[0]
        for _ in range(4):
            while made.child.pid is None or not Path(f"/proc/{made.child.pid}").exists():
                await asyncio.sleep(0.01)
            deaths = len(made.deaths) + len(made.ends)
            os.kill(made.child.pid, signal.SIGKILL)
            while len(made.deaths) + len(made.ends) == deaths:
                await asyncio.sleep(0.01)
        assert len(made.ends) == 1 and "SIGKILL" in made.ends[0] and "stays down" in made.ends[0]


async def test_a_greeting_that_fails_is_a_death_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "FIRST_PAUSE", 0.01)
    async with parent(tmp_path, monkeypatch, ECHO) as made:
        made.child.greeting = lambda: {"kind": object()}
        while not made.ends:
            await asyncio.sleep(0.01)
        assert "TypeError" in made.ends[0] and made.starts == child.DEATHS


@pytest.mark.parametrize(
    "said", ["\\xff\\xff\\xff\\xff", "\\x02\\0\\0\\0[]", "\\x02\\0\\0\\0{]", "\\x07\\0\\0\\0Warning"]
)
async def test_what_nobody_understands_ends_the_process(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "FIRST_PAUSE", 0.01)
    async with parent(tmp_path, monkeypatch, ECHO + f'if kind == "babble":\n    os.write(1, b"{said}")\n') as made:
        made.child.send(kind="babble")
        while not made.deaths:
            await asyncio.sleep(0.01)
        assert "nobody understands" in made.deaths[0]
        await made.again()


async def test_one_that_closes_its_pipe_and_stays_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "FIRST_PAUSE", 0.01)
    body = ECHO + 'if kind == "deaf":\n    os.close(1)\n    time.sleep(3600)\n'
    async with parent(tmp_path, monkeypatch, body) as made:
        made.child.send(kind="deaf")
        while not made.deaths:
            await asyncio.sleep(0.01)
        await made.again()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten questions take a tenth of a second."""
    monkeypatch.setattr(child, "PING_SECONDS", 0.01)
    monkeypatch.setattr(child, "FIRST_PAUSE", 0.01)


@pytest.mark.usefixtures("quick")
async def test_a_process_that_is_stopped_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with parent(tmp_path, monkeypatch, ECHO) as made:
        made.child.send(kind="echo")
        await made.until("echoed")
        assert made.child.pid is not None
        os.kill(made.child.pid, signal.SIGSTOP)
        await asyncio.sleep(0.3)
        assert not made.deaths, "it has nothing to do: nobody asks"
        made.patience = 1000
        while not made.deaths:
            await asyncio.sleep(0.01)
        assert "no sign of life" in made.deaths[0]
        made.patience = 0
        await made.again()


@pytest.mark.usefixtures("quick")
async def test_a_process_whose_work_stands_still_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, but has not done anything since."""
    async with parent(tmp_path, monkeypatch, ECHO, "7") as made:
        made.patience = 20
        while not made.deaths:
            await asyncio.sleep(0.01)
        assert "no sign of life" in made.deaths[0]


@pytest.mark.usefixtures("quick")
async def test_a_process_that_works_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with parent(tmp_path, monkeypatch, ECHO) as made:
        made.child.send(kind="echo")
        await made.until("echoed")
        # A busy machine may take long over a hundredth of a second: as long as it moves at all it is left alone.
        made.patience = 1000
        monkeypatch.setattr(child, "SILENT_PINGS", 1000)
        await asyncio.sleep(0.5)
        assert made.starts == 1 and not made.deaths


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("lowest", [False, True])
async def test_a_process_that_gets_no_processor_is_given_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lowest: bool
) -> None:
    """At the lowest priority it may stand still for as long as others compute."""
    monkeypatch.setattr(child.machine, "has_lowest_priority", lambda: lowest)
    monkeypatch.setattr(child, "LOWEST_TIMES", 10**6)
    async with parent(tmp_path, monkeypatch, ECHO) as made:
        made.child.send(kind="echo")
        await made.until("echoed")
        assert made.child.pid is not None
        os.kill(made.child.pid, signal.SIGSTOP)
        made.patience = 20
        if lowest:
            await asyncio.sleep(1.0)
            assert not made.deaths
            os.kill(made.child.pid, signal.SIGCONT)
            made.child.send(kind="echo")
            await made.until("echoed")
        else:
            while not made.deaths:
                await asyncio.sleep(0.01)
            assert "no sign of life" in made.deaths[0]


def test_the_words_that_say_why_a_process_died() -> None:
    traceback = ["Traceback (most recent call last):", '  File "x.py", line 1, in f', "KeyError: 'x'"]
    assert ending(1, [*traceback, "libgomp: later noise"]) == "exit status 1: KeyError: 'x'"
    ggml = ["ggml.c:1: GGML_ASSERT(n > 0) failed", "Fatal Python error: Aborted", "  <no Python frame>"]
    assert ending(-6, ggml) == "SIGABRT: ggml.c:1: GGML_ASSERT(n > 0) failed"
    assert ending(-6, ggml[1:]) == "SIGABRT: Fatal Python error: Aborted"
    assert (
        ending(-9, []) == "SIGKILL" and ending(3, ["bye"]) == "exit status 3: bye" and ending(0, []) == "exit status 0"
    )
    cpp = ["terminate called after throwing an instance of 'std::bad_alloc'", "  what():  std::bad_alloc"]
    assert ending(-6, cpp) == "SIGABRT: what():  std::bad_alloc"


def test_bytes_that_are_no_message() -> None:
    with pytest.raises(ValueError, match="4294967295"):
        wire.unpack_length(b"\xff\xff\xff\xff")
    for body in (b"", b"[]", b"{]", b"{}", b'{"kind": 1}', b"\xff"):
        with pytest.raises(ValueError):
            wire.unpack(body)


def test_a_failed_assertion_of_ggml_starts_no_debugger_and_says_why(tmp_path: Path) -> None:
    """As its own handler does: in two threads at once it would wait for ever."""
    trace = tmp_path / "traced"
    for name in ("gdb", "lldb"):
        debugger = tmp_path / name
        debugger.write_text(f"#!/bin/sh\necho '[Inferior 1 detached]' >&2\ntouch {trace}\n", encoding="utf-8")
        debugger.chmod(0o755)
    script = "from llama_cpp import _ggml; _ggml.libggml.ggml_abort(b'f.c', 7, b'no %s', b'room')"
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    died = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **ENVIRONMENT, "PATH": path}, capture_output=True, text=True
    )
    assert died.returncode == -signal.SIGABRT and not trace.exists()
    assert ending(died.returncode, died.stderr.splitlines()) == "SIGABRT: f.c:7: no room"
