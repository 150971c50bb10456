"""The server's side of a child process: starts it, restarts it when it dies, and carries messages both ways.

Runs in an asyncio loop and never blocks it. A process that dies is restarted with growing pauses, and after several
deaths in a short time it stays down. One that has work and gives no sign of life is killed, and so dies, too. Knows
nothing of what the messages mean, but for `ping` and its answer `alive`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tabby_lsp.processes import machine, wire
from tabby_lsp.processes.start import NEUTRAL_FOLDER, python

log = logging.getLogger(__name__)

# Five deaths within a minute are not bad luck. The pauses before the restarts add up to under four seconds.
DEATHS = 5
DEATHS_SECONDS = 60.0
FIRST_PAUSE = 0.25
# A child that works when the server stops has this long to see its closed pipe before it is killed.
CLOSE_SECONDS = 0.4
# A process with work is asked whether it lives so often, and is killed after so many questions in a row that it left
# unanswered. Questions are counted and not seconds, in which the machine may have slept.
PING_SECONDS = 1.0
SILENT_PINGS = 10
# At the lowest priority it may get no processor for as long as others compute: then it waits so many times as long. On
# two cores with fifteen processes that wanted one, 10 s were not enough for a model of 135 M parameters.
LOWEST_TIMES = 30
WORDS_KEPT = 40  # lines of a child's stderr that are looked through for the reason of its death
# Given to llama.cpp: at a failed assertion it would start a debugger, which takes seconds and hides the reason, and in
# which two threads that fail together wait for each other for ever.
ENVIRONMENT = {"GGML_NO_BACKTRACE": "1"}
# What says why a process died, the most telling first. A Python traceback ends with its error, unindented.
_TELLING = (
    re.compile(r"\S+\.(?:c|h|cc|cpp|cu|cuh|m):\d+: .*|.*CUDA error.*|terminate called.*|\s*what\(\):.*"),  # ggml's
    re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b.*"),
    re.compile(r"Fatal Python error:.*"),
)


@dataclass(slots=True, eq=False)
class Child:
    """One process at a time that runs a module's `main`, from `start` to `close`.

    `greeting` is the first message to each. `on_start` is called when one has been started, `on_death` with the reason
    when one has died and another will be started, `on_end` when none will be. `patience` is the number of pings between
    which its work need not move at this moment; 0: it has nothing to do and is not asked.
    """

    module: str
    greeting: Callable[[], Mapping[str, Any]]
    on_message: Callable[[dict[str, Any]], None]
    on_start: Callable[[], None]
    on_death: Callable[[str], None]
    on_end: Callable[[str], None]
    patience: Callable[[], int] = lambda: 0
    wanted: bool = True  # whether another one is started when it dies
    _process: asyncio.subprocess.Process | None = None
    _supervisor: asyncio.Task[None] | None = None
    _deaths: list[float] = field(default_factory=list)
    _unsent: list[bytes] = field(default_factory=list)  # messages for a process that is being started
    _words: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=WORDS_KEPT))
    _work: object = None  # what the process said of its work when it was last asked
    _unanswered: int = 0  # pings since it last said anything
    _unmoved: int = 0  # pings since its work last moved
    _killed_because: str = ""  # why it was killed

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
        """Ends the process, killing it if it does not end by itself. May be called again."""
        self.wanted = False
        process = self._process
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait({self._supervisor})  # not `await` alone: whoever closes may be cancelled as well
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), CLOSE_SECONDS)
            except asyncio.TimeoutError:
                _end_at_once(process)
                await process.wait()

    async def _supervise(self) -> None:
        while self.wanted:
            try:
                await self._run_once()
            except OSError as error:
                self.wanted = False
                self._tell(self.on_end, f"The {self.name} process cannot be started: {error}.")
            except Exception as error:  # ours; without a supervisor every request would wait for ever
                log.exception("the %s process", self.name)
                self._words.append(f"{type(error).__name__}: {error}")
            if not self.wanted:
                return
            pause = self._count_death()
            if pause is not None:
                await asyncio.sleep(pause)

    async def _run_once(self) -> None:
        """Starts the process and reads what it says until it ends."""
        self._words.clear()
        self._work, self._unanswered, self._unmoved, self._killed_because = None, 0, 0, ""
        level = logging.getLevelName(log.getEffectiveLevel())
        process = self._process = await asyncio.create_subprocess_exec(
            *python(self.module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=NEUTRAL_FOLDER,
            env={**os.environ, **ENVIRONMENT, "TABBY_LSP_LOG_LEVEL": level},
        )
        loop = asyncio.get_running_loop()
        beside = [loop.create_task(self._relay_errors(process)), loop.create_task(self._watch(process))]
        try:
            self._tell(self.on_start)
            self.send(**self.greeting())
            unsent, self._unsent = self._unsent, []
            if process.stdin is not None:
                process.stdin.writelines(unsent)
            await self._listen(process)
            with contextlib.suppress(asyncio.TimeoutError):  # one that says nothing any more is of no use
                await asyncio.wait_for(process.wait(), CLOSE_SECONDS)
            await asyncio.wait(beside[:1], timeout=CLOSE_SECONDS)  # a grandchild may hold its stderr open
        finally:
            for task in beside:
                task.cancel()
            if self.wanted and process.returncode is None:  # another one will be started
                _end_at_once(process)
                await process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Hands on what the process says, until it ends. What cannot be read ends it: nothing behind it could be."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                try:
                    message = await _read_message(process)
                except (ValueError, KeyError) as error:
                    self._kill(process, f"it said what nobody understands ({error})")
                    return
                self._unanswered = 0
                if message["kind"] != "alive":
                    self._unmoved = 0
                    self._tell(self.on_message, message)
                elif message["body"] != self._work:
                    self._work, self._unmoved = message["body"], 0

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        """A fault in what is done with a message must not cost the messages behind it, nor the process."""
        try:
            callback(*arguments)
        except Exception:
            log.exception("a message of the %s process could not be taken in", self.name)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Asks a process with work whether it lives, and kills one that does not move any more."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            patience, times = self.patience(), LOWEST_TIMES if machine.has_lowest_priority() else 1
            if not patience:
                self._work, self._unanswered, self._unmoved = None, 0, 0
            elif self._unanswered >= times * SILENT_PINGS or self._unmoved >= times * patience:
                seconds = round(max(self._unanswered, self._unmoved) * PING_SECONDS)
                self._kill(process, f"it gave no sign of life for {seconds} s")
                return
            else:
                self._unanswered += 1
                self._unmoved += 1
                self.send(kind="ping")

    def _kill(self, process: asyncio.subprocess.Process, why: str) -> None:
        self._killed_because = why
        _end_at_once(process)

    async def _relay_errors(self, process: asyncio.subprocess.Process) -> None:
        """The child's stderr goes to the log; its last lines may say why it died."""
        assert process.stderr is not None
        rest = b""
        while data := await process.stderr.read(4096):  # not by lines: one without an end must not block the child
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-4096:]
            for line in lines:
                text = line.decode("utf-8", "replace").rstrip()
                if text:
                    self._words.append(text)
                    log.info("%s: %s", self.name, text)

    def _count_death(self) -> float | None:
        """Notes that the process died: how long to wait before the next start, or None if there is none."""
        code = self._process.returncode if self._process else None
        reason = f"The {self.name} process died ({ending(code, self._words)})"
        if self._killed_because:
            reason = f"The {self.name} process was ended: {self._killed_because}"
        log.warning("%s", reason)
        now = time.monotonic()
        self._deaths = [each for each in self._deaths if now - each < DEATHS_SECONDS] + [now]
        if len(self._deaths) >= DEATHS:
            self.wanted = False
            self._tell(self.on_end, f"{reason}. It died {DEATHS} times within a minute and stays down.")
            return None
        self._tell(self.on_death, reason)
        return float(FIRST_PAUSE * 2 ** (len(self._deaths) - 1))


def ending(code: int | None, words: Iterable[str]) -> str:
    """How a process ended: its status or signal, and what of its last `words` says most about why."""
    lines = list(words)
    said = next((match[0] for each in _TELLING for line in reversed(lines) if (match := each.fullmatch(line))), "")
    said = (said or (lines[-1] if lines else "")).strip()
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-code).name
            return f"{how}: {said}" if said else how
    return f"exit status {code}: {said}" if said else f"exit status {code}"


def _end_at_once(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def _read_message(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    head = await process.stdout.readexactly(wire.LENGTH_BYTES)
    return wire.unpack(await process.stdout.readexactly(wire.unpack_length(head)))
