"""The server's side of the engine process: hands jobs to it, and answers those that it has when it dies.

Runs in an asyncio loop and never blocks it. Does not import llama_cpp.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tabby_lsp import __version__
from tabby_lsp.data import (
    AdditionalLanguage,
    Completion,
    CompletionInfo,
    CompletionRequest,
    CompletionSettings,
    Dialect,
    ModelInfo,
    ModelSettings,
)
from tabby_lsp.engine import messages
from tabby_lsp.engine.messages import Complete, Count, Counted, MessageError, Settle, Write, Written
from tabby_lsp.engine.scheduler import CHAT, NOTHING, READ_AHEAD
from tabby_lsp.processes.child import SILENT_PINGS, Child

# While a model is loaded its progress is a sign of life. llama.cpp reports none while it reads the weights for the
# first time, behind 100 %: a slow disk may need so many pings for a large model.
LOADING_PINGS = 60
# A step is at most so many tokens where they take longest (`model.SMALLEST_BATCH`). A model that takes seconds for them
# is given as long as so many such steps would take.
STEP_TOKENS, STEPS_WAITED = 16, 4

Answer = TypeVar("Answer", Completion, CompletionInfo, Written, Counted)


SHUTTING_DOWN = "The server is shutting down."
UNLOADED = "Nothing was asked of the model for a while: it has been unloaded, and the next request loads it again."


class EngineError(Exception):
    """The engine could not do a job: it died, or has no model. The text says what to do."""


@dataclass(frozen=True, slots=True)
class EngineState:
    phase: str  # unset (no model is named), unloaded, starting, loading, ready, restarting, failed, closed
    percent: int = 0
    info: ModelInfo | None = None
    completion: CompletionInfo | None = None  # of an engine that completes
    reason: str = ""
    dialect: Dialect | None = None  # there is one as soon as there is a model
    room: int | None = None  # bytes that the model may take, if that is too little

    @property
    def settled(self) -> bool:
        """Whether this state lasts until something is asked for: there is a model, or a reason why there is none."""
        return self.info is not None or self.phase in ("unset", "unloaded", "failed", "closed")

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know once."""
        return (self.info.notes if self.info else ()) + (self.completion.notes if self.completion else ())


@dataclass(slots=True, eq=False)
class Job(Generic[Answer]):
    """What the engine is asked for: its text so far, and the answer that it becomes."""

    id: int
    priority: int
    result: asyncio.Future[Answer]
    text: str = ""
    on_piece: Callable[[], None] | None = None


class Engine:
    """One engine process at a time, from `start` to `close`. `on_state` is called at every change of `state`.

    With `completion` its model is asked for completions, under these settings. `languages` are the user's own.
    `on_urgency` is called at every change of `urgency`. `reserved` says at each start how many of the bytes that are
    free are meant for other models.
    """

    def __init__(
        self,
        model: ModelSettings,
        completion: CompletionSettings | None = None,
        on_state: Callable[[EngineState], None] = lambda state: None,
        languages: tuple[AdditionalLanguage, ...] = (),
    ) -> None:
        self.model, self.completion, self.languages = model, completion, languages
        self.state = EngineState("starting")
        self.stays_down = False  # it has died too often
        self.on_urgency: Callable[[], None] = lambda: None
        self.reserved: Callable[[], int] = lambda: 0
        self._greeted_with = completion
        self._on_state = on_state
        self._jobs: dict[int, Job[Any]] = {}
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()
        self._urgency = self._held = NOTHING
        self._idle_seconds = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._child = self._new_child()

    def _new_child(self) -> Child:
        return Child(
            "tabby_lsp.engine.process",
            greeting=self._greeting,
            on_message=self._receive,
            on_start=lambda: self._set_state(EngineState("loading")),
            on_death=self._restarting,
            on_end=self._ended,
            patience=self._patience,
        )

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> None:
        """Loads the model, in a process of its own."""
        self._set_state(EngineState("starting"))
        self._child.start()

    async def ready(self) -> ModelInfo:
        """Waits for the model, which is loaded again if it was unloaded. Raises EngineError if there is none."""
        if self.state.phase == "unloaded":
            self.start()
        while self.state.info is None:
            if self.state.phase in ("failed", "closed"):
                raise EngineError(self.state.reason)
            await self._changed.wait()
        return self.state.info

    async def ready_to_complete(self) -> tuple[ModelInfo, CompletionInfo]:
        """Waits for the model of an engine that completes. Raises EngineError if there is none."""
        info = await self.ready()
        if self.state.completion is None:
            raise EngineError(self.state.reason or "This engine was not started to complete.")
        return info, self.state.completion

    def complete(self, request: CompletionRequest) -> Job[Completion]:
        """Begins a completion, under this engine's settings. Its `result` fails with EngineError if the engine cannot
        do it.

        While the model is being loaded the job waits for it.
        """
        settings = self.completion or request.settings
        return self._begin(Complete(dataclasses.replace(request, settings=settings)))

    def write(self, request: Write) -> Job[Written]:
        """Goes on from a prompt, as `complete` does; completions come first."""
        return self._begin(request)

    def count(self, texts: Sequence[str]) -> Job[Counted]:
        """How many tokens each of some texts is."""
        return self._begin(Count(tuple(texts)))

    def settle(self, completion: CompletionSettings) -> None:
        """Other settings apply to completions from now on. `state` says what they come to."""
        if completion == self.completion:
            return
        self.completion = completion
        if self.state.info is not None:  # else it follows when the model is loaded
            self._settle(completion)

    @property
    def urgency(self) -> int:
        """The class of the most urgent job that is computed: see `scheduler`."""
        if self.state.phase != "ready":
            return NOTHING
        return min((job.priority for job in self._jobs.values()), default=NOTHING)

    def hold(self, priority: int) -> None:
        """Another engine does work of this class: what is less urgent waits, until the next call."""
        if priority != self._held:
            self._held = priority
            if self.pid is not None:  # else it is told by its greeting
                self._send(messages.Hold(priority))

    def unload(self) -> None:
        """Ends the process, which gives back its memory, unless something was asked of it. The next job starts
        another."""
        if self._jobs or self.state.phase != "ready":
            return
        ending = asyncio.get_running_loop().create_task(self._child.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        self._child = self._new_child()
        self._set_state(EngineState("unloaded", reason=UNLOADED))

    def rest_after(self, seconds: float) -> None:
        """After so long without a job the process is ended; 0: never."""
        if seconds != self._idle_seconds:
            self._idle_seconds = seconds
            self._jobs_changed()

    def _jobs_changed(self) -> None:
        """Also after a change of the state."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._idle_seconds and not self._jobs and self.state.phase == "ready":
            self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self.unload)
        if self.urgency != self._urgency:
            self._urgency = self.urgency
            self.on_urgency()

    def _settle(self, completion: CompletionSettings) -> None:
        job: Job[CompletionInfo] = self._put(Settle(completion))

        def settled(result: asyncio.Future[CompletionInfo]) -> None:
            state = self.state
            if completion != self.completion or result.cancelled() or state.info is None:
                return
            if (error := result.exception()) is not None:
                self._set_state(dataclasses.replace(state, phase="failed", completion=None, reason=str(error)))
            else:
                self._set_state(dataclasses.replace(state, phase="ready", completion=result.result(), reason=""))

        job.result.add_done_callback(settled)

    def _begin(self, request: Complete | Write | Count) -> Job[Any]:
        if self.state.phase == "unloaded":
            self.start()
        if self.state.phase not in ("restarting", "failed", "closed"):
            return self._put(request)
        job = self._job(request)
        job.result.set_exception(EngineError(self.state.reason or "The engine is not running."))
        return job

    def _job(self, request: messages.Request) -> Job[Any]:
        result = asyncio.get_running_loop().create_future()
        job: Job[Any] = Job(next(self._ids), messages.priority(request), result)
        # An answer may come when nobody waits for it any more: asyncio need not complain that it went unread.
        job.result.add_done_callback(lambda result: result.cancelled() or result.exception())
        return job

    def _put(self, request: messages.Request) -> Job[Any]:
        job = self._job(request)
        self._jobs[job.id] = job
        self._jobs_changed()  # the others make room before this one begins
        self._send(request, job.id)
        return job

    def cancel(self, job: Job[Any]) -> None:
        """Stops a job's computing. Its result is cancelled at once."""
        if self._jobs.pop(job.id, None) is not None:
            self._send(messages.Cancel(), job.id)
            self._jobs_changed()
        job.result.cancel()

    def stop_reading_ahead(self) -> None:
        """What the engine reads by itself for the place of the last request is not wanted any more."""
        if self.state.phase == "ready":
            self._send(messages.Cancel(), READ_AHEAD)

    async def close(self) -> None:
        """Ends the process, killing it if it does not end by itself."""
        self._set_state(EngineState("closed", reason=SHUTTING_DOWN))
        await asyncio.gather(self._child.close(), *self._ending)
        self._fail_jobs(SHUTTING_DOWN)

    def _greeting(self) -> dict[str, Any]:
        self._greeted_with = self.completion
        model = dataclasses.replace(self.model, reserved=self.reserved())
        return messages.pack(messages.Load(__version__, model, self.completion, self.languages, self._held))

    def _send(self, message: messages.Message, id: int = 0) -> None:
        self._child.send(**messages.pack(message, id))

    def _patience(self) -> int:
        if self._held < min((job.priority for job in self._jobs.values()), default=CHAT):
            return 0  # it waits for another engine
        if self.state.phase == "loading":
            return LOADING_PINGS
        if not self._jobs:
            return 0
        rate = self.state.info.prefill_rate if self.state.info else 0.0
        return max(SILENT_PINGS, round(STEPS_WAITED * STEP_TOKENS / rate) if rate > 0 else 0)

    def _set_state(self, state: EngineState) -> None:
        if state != self.state:
            self.state = state
            self._changed.set()
            self._changed.clear()
            self._jobs_changed()
            self._on_state(state)

    def _restarting(self, reason: str) -> None:
        self._fail_jobs(reason)
        if self.state.phase == "loading":  # in the first batch, where kernels have been seen to crash
            self.model = dataclasses.replace(self.model, repacked=False)
        self._set_state(EngineState("restarting", reason=reason))

    def _ended(self, reason: str) -> None:
        self.stays_down = True
        self._fail_jobs(reason)
        advice = "Try another model or fewer gpu layers, then restart it (command tabby.restart)."
        self._set_state(EngineState("failed", reason=f"{reason} {advice}"))

    def _receive(self, packed: dict[str, Any]) -> None:
        try:
            message, id = messages.unpack(packed)
        except MessageError as error:
            message, id = messages.Refused(f"The engine said {error}. Restart the language server."), error.id
        if isinstance(message, messages.Progress):
            self._set_state(EngineState("loading", message.percent))
        elif isinstance(message, messages.Ready):
            self._set_state(EngineState("ready", 100, message.model, message.completion, dialect=message.dialect))
            if self.completion is not None and self.completion != self._greeted_with:
                self._settle(self.completion)
        elif isinstance(message, messages.Failed):
            self._child.wanted = False  # it has told why: another one would say the same
            self._set_state(EngineState("failed", reason=message.reason, room=message.room))
        else:
            self._answer(message, id)

    def _answer(self, message: messages.Message, id: int) -> None:
        job = self._jobs.get(id)
        if job is None:  # cancelled before this was written
            return
        if isinstance(message, messages.Piece):
            job.text += message.text
            if job.on_piece:
                job.on_piece()
            return
        del self._jobs[job.id]
        self._jobs_changed()
        if job.result.done():
            return
        if isinstance(message, messages.Completed):
            job.result.set_result(message.completion)
        elif isinstance(message, messages.Settled):
            job.result.set_result(message.info)
        elif isinstance(message, messages.Written | Counted):
            job.result.set_result(message)
        elif isinstance(message, messages.Refused):
            job.result.set_exception(EngineError(message.reason))
        else:
            job.result.cancel()

    def _fail_jobs(self, reason: str) -> None:
        jobs, self._jobs = self._jobs, {}
        self._jobs_changed()
        for job in jobs.values():
            if not job.result.done():
                job.result.set_exception(EngineError(reason))
