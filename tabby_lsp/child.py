"""The server's side of a child process: starts it, restarts it when it dies, and carries messages both ways.

Runs in an asyncio loop and never blocks it. A process that dies is restarted with growing pauses, and after several
deaths in a short time it stays down. Knows nothing of what the messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tabby_lsp import wire

log = logging.getLogger(__name__)

# Five deaths within a minute are not bad luck. The pauses before the restarts add up to under four seconds.
DEATHS = 5
DEATHS_SECONDS = 60.0
FIRST_PAUSE = 0.25
# A child that works when the server stops has this long to see its closed pipe before it is killed.
CLOSE_SECONDS = 0.4


@dataclass(slots=True, eq=False)
class Child:
    """One process at a time of `python -m module`, from `start` to `close`.

    `greeting` is the first message to each. `on_start` is called when one has been started, `on_death` with the reason
    when one has died and another will be started, `on_end` when none will be.
    """

    module: str
    greeting: Callable[[], Mapping[str, Any]]
    on_message: Callable[[dict[str, Any]], None]
    on_start: Callable[[], None]
    on_death: Callable[[str], None]
    on_end: Callable[[str], None]
    wanted: bool = True  # whether another one is started when it dies
    _process: asyncio.subprocess.Process | None = None
    _supervisor: asyncio.Task[None] | None = None
    _deaths: list[float] = field(default_factory=list)
    _unsent: list[bytes] = field(default_factory=list)  # messages for a process that is being started
    _last_words: str = ""

    @property
    def name(self) -> str:
        return self.module.split(".")[-2]

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise())

    def send(self, **message: Any) -> None:
        process = self._process
        if process is None:
            self._unsent.append(wire.pack(message))
        elif process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(wire.pack(message))

    async def close(self) -> None:
        """Ends the process, killing it if it does not end by itself."""
        self.wanted = False
        process = self._process
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), CLOSE_SECONDS)
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()

    async def _supervise(self) -> None:
        while self.wanted:
            try:
                await self._run_once()
            except OSError as error:
                self.wanted = False
                self.on_end(f"The {self.name} process cannot be started: {error}.")
            if not self.wanted:
                return
            pause = self._count_death()
            if pause is not None:
                await asyncio.sleep(pause)

    async def _run_once(self) -> None:
        """Starts the process and reads what it says until it ends."""
        self._last_words = ""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "TABBY_LSP_LOG_LEVEL": logging.getLevelName(log.getEffectiveLevel())},
        )
        self.on_start()
        self.send(**self.greeting())
        unsent, self._unsent = self._unsent, []
        if self._process.stdin is not None:
            self._process.stdin.writelines(unsent)
        relay = asyncio.get_running_loop().create_task(self._relay_errors(self._process))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.on_message(await _read_message(self._process))
        await self._process.wait()
        await relay

    async def _relay_errors(self, process: asyncio.subprocess.Process) -> None:
        """The child's stderr goes to the log; its last line may say why it died."""
        assert process.stderr is not None
        rest = b""
        while data := await process.stderr.read(4096):  # not by lines: one without an end must not block the child
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-4096:]
            for line in lines:
                text = line.decode("utf-8", "replace").rstrip()
                if text:
                    self._last_words = text
                    log.info("%s: %s", self.name, text)

    def _count_death(self) -> float | None:
        """Notes that the process died: how long to wait before the next start, or None if there is none."""
        code = self._process.returncode if self._process else None
        words = f": {self._last_words}" if self._last_words else ""
        reason = f"The {self.name} process died (exit status {code}){words}"
        log.warning("%s", reason)
        now = time.monotonic()
        self._deaths = [each for each in self._deaths if now - each < DEATHS_SECONDS] + [now]
        if len(self._deaths) >= DEATHS:
            self.wanted = False
            self.on_end(f"{reason}. It died {DEATHS} times within a minute and stays down.")
            return None
        self.on_death(reason)
        return float(FIRST_PAUSE * 2 ** (len(self._deaths) - 1))


async def _read_message(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    head = await process.stdout.readexactly(wire.LENGTH_BYTES)
    return wire.unpack(await process.stdout.readexactly(wire.unpack_length(head)))
