"""The server's side of the engine process: starts it, restarts it when it dies, and hands jobs to it.

Runs in an asyncio loop and never blocks it. A dead engine costs the jobs it had; it is restarted with growing
pauses, and after several deaths in a short time it stays down with a reason. Does not import llama_cpp.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tabby_lsp.data import (
    Completion,
    CompletionContext,
    EngineSettings,
    ModelInfo,
    Sampling,
    from_json,
    to_json,
)
from tabby_lsp.engine import wire
from tabby_lsp.engine.scheduler import AHEAD, COMPLETION, READ_AHEAD

log = logging.getLogger(__name__)


# Five deaths within a minute are not bad luck. The pauses before the restarts add up to under four seconds.
DEATHS = 5
DEATHS_SECONDS = 60.0
FIRST_PAUSE = 0.25
# An engine that computes when the server stops has this long to see its closed pipe before it is killed.
CLOSE_SECONDS = 0.4


class EngineError(Exception):
    """The engine could not do a job: it died, or has no model. The text says what to do."""


@dataclass(frozen=True, slots=True)
class EngineState:
    phase: str  # starting, loading, ready, restarting, failed, closed
    percent: int = 0
    info: ModelInfo | None = None
    reason: str = ""


@dataclass(slots=True, eq=False)
class Generation:
    """A job at the engine: its text so far, and the completion that it becomes."""

    id: int
    result: asyncio.Future[Completion]
    text: str = ""
    on_piece: Callable[[], None] | None = field(default=None)


class Engine:
    """One engine process, from `start` to `close`. `on_state` is called at every change of `state`."""

    def __init__(self, settings: EngineSettings, on_state: Callable[[EngineState], None] = lambda state: None):
        self.settings = settings
        self.state = EngineState("starting")
        self._on_state = on_state
        self._jobs: dict[int, Generation] = {}
        self._ids = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._deaths: list[float] = []
        self._unsent: list[bytes] = []  # messages for a process that is being started
        self._last_words = ""
        self._changed = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise())

    async def ready(self) -> ModelInfo:
        """Waits for the model. Raises EngineError if there is none."""
        while self.state.info is None:
            if self.state.phase in ("failed", "closed"):
                raise EngineError(self.state.reason)
            await self._changed.wait()
        return self.state.info

    def generate(
        self,
        document: str,
        context: CompletionContext,
        sampling: Sampling,
        show_prompt: bool = False,
        patient: bool = False,
        ahead: bool = False,
        candidates: int = 1,
        reads_ahead: bool = False,
    ) -> Generation:
        """Begins a completion, of so many candidates. Its `result` fails with EngineError if the engine cannot do it.

        While the model is being loaded the job waits for it. Who is `patient` has the full prompt read, however long
        that takes. What is made `ahead` of a request is cancelled by the next request for anything. `reads_ahead`:
        after a quick prompt a larger one is read for the next request.
        """
        job = Generation(next(self._ids), asyncio.get_running_loop().create_future())
        # An answer may come when nobody waits for it any more: asyncio need not complain that it went unread.
        job.result.add_done_callback(lambda result: result.cancelled() or result.exception())
        if self.state.phase in ("restarting", "failed", "closed"):
            job.result.set_exception(EngineError(self.state.reason or "The engine is not running."))
            return job
        self._jobs[job.id] = job
        self._send(
            kind="complete",
            id=job.id,
            priority=AHEAD if ahead else COMPLETION,
            document=document,
            context=to_json(context),
            sampling=to_json(sampling),
            show_prompt=show_prompt,
            patient=patient,
            candidates=candidates,
            reads_ahead=reads_ahead,
        )
        return job

    def cancel(self, job: Generation) -> None:
        """Stops a job's computing. Its result is cancelled at once."""
        if self._jobs.pop(job.id, None) is not None:
            self._send(kind="cancel", id=job.id)
        job.result.cancel()

    def stop_reading_ahead(self) -> None:
        """What the engine reads by itself for the place of the last request is not wanted any more."""
        if self.state.phase == "ready":
            self._send(kind="cancel", id=READ_AHEAD)

    async def close(self) -> None:
        """Ends the process, killing it if it does not end by itself."""
        self._set_state(EngineState("closed", reason="The server is shutting down."))
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
        self._fail_jobs("The server is shutting down.")

    def _send(self, **message: Any) -> None:
        process = self._process
        if process is None:
            self._unsent.append(wire.pack(message))
        elif process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(wire.pack(message))

    def _set_state(self, state: EngineState) -> None:
        if state != self.state:
            self.state = state
            self._changed.set()
            self._changed.clear()
            self._on_state(state)

    async def _supervise(self) -> None:
        while self.state.phase not in ("failed", "closed"):
            try:
                await self._run_once()
            except OSError as error:
                self._set_state(EngineState("failed", reason=f"The engine process cannot be started: {error}."))
            if self.state.phase in ("failed", "closed"):
                self._fail_jobs(self.state.reason)
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
            "tabby_lsp.engine.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "TABBY_LSP_LOG_LEVEL": logging.getLevelName(log.getEffectiveLevel())},
        )
        self._set_state(EngineState("loading"))
        self._send(kind="load", settings=to_json(self.settings))
        unsent, self._unsent = self._unsent, []
        if self._process.stdin is not None:
            self._process.stdin.writelines(unsent)
        relay = asyncio.get_running_loop().create_task(self._relay_errors(self._process))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self._receive(await _read_message(self._process))
        await self._process.wait()
        await relay

    async def _relay_errors(self, process: asyncio.subprocess.Process) -> None:
        """The engine's stderr goes to the log; its last line may say why it died."""
        assert process.stderr is not None
        rest = b""
        while data := await process.stderr.read(4096):  # not by lines: one without an end must not block the engine
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-4096:]
            for line in lines:
                text = line.decode("utf-8", "replace").rstrip()
                if text:
                    self._last_words = text
                    log.info("engine: %s", text)

    def _receive(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "progress":
            self._set_state(EngineState("loading", message["percent"]))
        elif kind == "ready":
            self._set_state(EngineState("ready", 100, from_json(ModelInfo, message["info"])))
        elif kind == "failed":
            self._set_state(EngineState("failed", reason=message["reason"]))
        else:
            self._answer(kind, message)

    def _answer(self, kind: str, message: dict[str, Any]) -> None:
        job = self._jobs.get(message["id"])
        if job is None:  # cancelled before this was written
            return
        if kind == "piece":
            job.text += message["text"]
            if job.on_piece:
                job.on_piece()
            return
        del self._jobs[job.id]
        if job.result.done():
            return
        if kind == "done":
            job.result.set_result(from_json(Completion, message["completion"]))
        elif kind == "error":
            job.result.set_exception(EngineError(message["message"]))
        else:
            job.result.cancel()

    def _count_death(self) -> float | None:
        """Notes that the process died: how long to wait before the next start, or None if there is none."""
        code = self._process.returncode if self._process else None
        words = f": {self._last_words}" if self._last_words else ""
        reason = f"The engine process died (exit status {code}){words}"
        log.warning("%s", reason)
        self._fail_jobs(reason)
        now = time.monotonic()
        self._deaths = [each for each in self._deaths if now - each < DEATHS_SECONDS] + [now]
        if len(self._deaths) >= DEATHS:
            self._set_state(
                EngineState(
                    "failed",
                    reason=f"{reason}. It died {DEATHS} times within a minute and stays down: try another model "
                    "or fewer gpu layers, then restart it (command tabby.restart).",
                )
            )
            return None
        self._set_state(EngineState("restarting", reason=reason))
        return float(FIRST_PAUSE * 2 ** (len(self._deaths) - 1))

    def _fail_jobs(self, reason: str) -> None:
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            if not job.result.done():
                job.result.set_exception(EngineError(reason))


async def _read_message(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    head = await process.stdout.readexactly(wire.LENGTH_BYTES)
    return wire.unpack(await process.stdout.readexactly(wire.unpack_length(head)))
