"""The server's side of the engine process: hands jobs to it, and answers those that it has when it dies.

Runs in an asyncio loop and never blocks it. Does not import llama_cpp.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tabby_lsp.child import Child
from tabby_lsp.data import (
    Completion,
    CompletionContext,
    EngineSettings,
    ModelInfo,
    Sampling,
    from_json,
    to_json,
)
from tabby_lsp.engine.scheduler import AHEAD, COMPLETION, READ_AHEAD


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
        self._changed = asyncio.Event()
        self._child = Child(
            "tabby_lsp.engine.process",
            greeting=lambda: {"kind": "load", "settings": to_json(self.settings)},
            on_message=self._receive,
            on_start=lambda: self._set_state(EngineState("loading")),
            on_death=self._restarting,
            on_end=self._ended,
        )

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> None:
        self._child.start()

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

        While the model is being loaded the job waits for it. Who is `patient` has the full prompt read and the
        suggestion written to its end, however long that takes. What is made `ahead` of a request is cancelled by the
        next request for anything. `reads_ahead`: after a quick prompt larger ones are read for the next request.
        """
        job = Generation(next(self._ids), asyncio.get_running_loop().create_future())
        # An answer may come when nobody waits for it any more: asyncio need not complain that it went unread.
        job.result.add_done_callback(lambda result: result.cancelled() or result.exception())
        if self.state.phase in ("restarting", "failed", "closed"):
            job.result.set_exception(EngineError(self.state.reason or "The engine is not running."))
            return job
        self._jobs[job.id] = job
        self._child.send(
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
            self._child.send(kind="cancel", id=job.id)
        job.result.cancel()

    def stop_reading_ahead(self) -> None:
        """What the engine reads by itself for the place of the last request is not wanted any more."""
        if self.state.phase == "ready":
            self._child.send(kind="cancel", id=READ_AHEAD)

    async def close(self) -> None:
        """Ends the process, killing it if it does not end by itself."""
        self._set_state(EngineState("closed", reason="The server is shutting down."))
        await self._child.close()
        self._fail_jobs("The server is shutting down.")

    def _set_state(self, state: EngineState) -> None:
        if state != self.state:
            self.state = state
            self._changed.set()
            self._changed.clear()
            self._on_state(state)

    def _restarting(self, reason: str) -> None:
        self._fail_jobs(reason)
        if self.state.phase == "loading":  # in the first batch, where kernels have been seen to crash
            self.settings = dataclasses.replace(self.settings, repacked=False)
        self._set_state(EngineState("restarting", reason=reason))

    def _ended(self, reason: str) -> None:
        self._fail_jobs(reason)
        advice = "Try another model or fewer gpu layers, then restart it (command tabby.restart)."
        self._set_state(EngineState("failed", reason=f"{reason} {advice}"))

    def _receive(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "progress":
            self._set_state(EngineState("loading", message["percent"]))
        elif kind == "ready":
            self._set_state(EngineState("ready", 100, from_json(ModelInfo, message["info"])))
        elif kind == "failed":
            self._child.wanted = False  # it has told why: another one would say the same
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

    def _fail_jobs(self, reason: str) -> None:
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            if not job.result.done():
                job.result.set_exception(EngineError(reason))
