"""What the engine does for each kind of job: `complete`, `write` and, for itself, reading a prompt ahead.

Owns the budgets of prompts and what waits for what. Knows neither the pipe's bytes nor llama.cpp.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from tabby_lsp.completion.confidence import least
from tabby_lsp.completion.context import NO_GAIN
from tabby_lsp.completion.layout import Layout
from tabby_lsp.completion.pipeline import Budget, Earlier, complete
from tabby_lsp.completion.prompt import SNIPPET_SHARE, Prompt
from tabby_lsp.data import CompletionContext, EngineSettings, ModelInfo, Sampling, from_json, to_json
from tabby_lsp.engine.decode import ModelWriter
from tabby_lsp.engine.loading import ModelError
from tabby_lsp.engine.model import Cancelled, Model
from tabby_lsp.engine.scheduler import AHEAD, BACKGROUND, CHAT, COMPLETION, READ_AHEAD, Job, Scheduler

log = logging.getLogger("tabby_lsp.engine")

# A prompt that has to be read anew, as after a jump, is only as long as is read in this time; a longer one is then
# read ahead, and takes its place once nearly all of it is read.
QUICK_SECONDS, SMALLEST_QUICK = 1.0, 128
# The full prompt, which nobody waits for. On the way to it there is one of so many times the quick one's size.
FULL_SECONDS, SMALLEST_PROMPT = 12.0, 512
GROWTH = 4
# What is read in this time is not worth a smaller prompt.
SOON_SECONDS = 0.1
# A suggestion of several lines is shown as far as it has got after this time. What follows is worked out ahead.
WRITE_SECONDS = 0.3
PROMPT_STEP = 256  # budgets are rounded to this, so that two starts of the same machine agree more often

CHARACTERS_PER_TOKEN = 3.4  # of code, in vocabularies of 30,000 tokens and more

PLAIN_KERNELS = (
    "The engine died while it loaded the model, so llama.cpp's kernels for this very processor are left out, which may "
    "be slow. If that happens at every start, install llama-cpp-python again as the README does."
)


def describe(model: Model, layout: Layout, settings: EngineSettings) -> ModelInfo:
    fitting = int(model.prefill_rate * FULL_SECONDS) // PROMPT_STEP * PROMPT_STEP
    wanted = settings.max_prompt_tokens or max(SMALLEST_PROMPT, fitting)
    longest = min(wanted, model.context_size)
    return ModelInfo(
        name=model.name,
        path=settings.path,
        description=model.description,
        family=layout.family.name,
        layout=layout.name,
        device="gpu" if model.gpu_layers else "cpu",
        gpu_layers=min(model.gpu_layers, model.layers + 1),
        threads=model.threads,
        context_size=model.context_size,
        parallelism=model.parallelism,
        max_prompt_tokens=longest,
        memory_needed=model.memory_needed,
        prefill_rate=round(model.prefill_rate, 1),
        confidence=least(settings.confidence),
        uses_context=model.name not in NO_GAIN,
        context_room=int(longest * SNIPPET_SHARE * CHARACTERS_PER_TOKEN),
        notes=layout.notes if settings.repacked else (*layout.notes, PLAIN_KERNELS),
    )


def quick_budget(rate: float, before: int = 0) -> int:
    """Tokens of a prompt that are read while the user waits, at so many a second: a power of two.

    Stays what it was `before` until the rate is clearly another: a window that changes is read anew.
    """
    fitting = rate * QUICK_SECONDS
    if before and 0.7 * before <= fitting < 2 * before:
        return before
    return max(SMALLEST_QUICK, 1 << max(0, int(fitting).bit_length() - 1))


def prompt_sizes(full: int, quick: int) -> tuple[int, ...]:
    """The sizes that a prompt grows through as it is read ahead, the largest first."""
    return tuple(sorted({full, *(size for size in (quick, GROWTH * quick) if size < full)}, reverse=True))


class Worker:
    """Does one job after the other, and those that are more urgent in between. `send` is given what is to be told."""

    def __init__(
        self,
        scheduler: Scheduler,
        writer: ModelWriter,
        layout: Layout,
        settings: EngineSettings,
        send: Callable[..., None],
    ) -> None:
        self.info = describe(writer.model, layout, settings)
        self._scheduler, self._writer, self._layout, self._settings = scheduler, writer, layout, settings
        self._send = send
        self._earlier: Earlier = {}
        self._quick = 0
        self._job: Job | None = None
        writer.sessions.yielded = self._run_more_urgent

    def run(self) -> None:
        """Does the next job. Waits for it."""
        self._do(self._scheduler.take())
        self._scheduler.done()

    def _do(self, job: Job) -> None:
        self._job = job
        self._set_pace(job)
        waited = (time.perf_counter() - job.message.get("received", time.perf_counter())) * 1000
        try:
            if job.id == READ_AHEAD:
                self._writer.read_ahead(job.message["prompts"])
                return
            answer = self._write(job) if job.message["kind"] == "write" else self._complete(job, waited)
        except Cancelled:
            if job.id == READ_AHEAD and self._scheduler.preempted:
                self._scheduler.put(job.id, job.priority, job.message)  # a request drops it, what is shorter does not
            answer = {"kind": "cancelled"}
        except (ModelError, TypeError, ValueError) as error:
            log.exception("job %s", job.id)
            answer = {"kind": "error", "message": str(error)}
        if job.id != READ_AHEAD:
            self._send(**answer, id=job.id)

    def _set_pace(self, job: Job) -> None:
        self._writer.patient = job.priority != COMPLETION
        self._writer.model.yields = job.priority in (AHEAD, BACKGROUND)

    def _run_more_urgent(self) -> bool:
        """Computing was stopped. If that was for a more urgent job: does it, and says that this one goes on.

        What is done ahead begins again, if it is still wanted: what was read of it is kept.
        """
        job = self._job
        assert job is not None
        if job.priority != CHAT or not self._scheduler.preempted:
            return False
        while urgent := self._scheduler.more_urgent(job):
            self._do(urgent)
        self._job = job
        self._set_pace(job)
        return self._scheduler.resume(job)

    def _complete(self, job: Job, waited: float) -> dict[str, Any]:
        message = job.message
        sampling = from_json(Sampling, message["sampling"])
        if job.priority == COMPLETION:  # what was begun for a place that has been left
            for dropped in self._scheduler.drop(AHEAD, BACKGROUND):
                if dropped.id != READ_AHEAD:
                    self._send(kind="cancelled", id=dropped.id)
        # The prompt and its answer share the context; a request for very many tokens must leave room for text.
        longest = max(self.info.context_size // 2, self.info.context_size - sampling.max_tokens)
        full = min(self.info.max_prompt_tokens, longest)
        rate = self._writer.model.prefill_rate
        self._quick = quick_budget(rate, self._quick)
        candidates, patient = message.get("candidates", 1), bool(message.get("patient"))
        waits = job.priority == COMPLETION and candidates == 1 and not patient
        budget = Budget(
            (full,) if patient else prompt_sizes(full, self._quick),
            int(rate * SOON_SECONDS),
            WRITE_SECONDS if waits else math.inf,
            self.info.confidence,
        )
        completion = complete(
            self._writer,
            self._layout,
            message["document"],
            from_json(CompletionContext, message["context"]),
            sampling,
            self._settings.stop_words,
            budget,
            lambda text: self._send(kind="piece", id=job.id, text=text),
            self.info.name,
            bool(message.get("show_prompt")),
            self._earlier,
            self._read_ahead if message.get("reads_ahead") else lambda prompts: None,
            candidates,
        )
        answer = to_json(completion)
        answer["timing"]["queue"] = round(waited, 3)
        return {"kind": "done", "completion": answer}

    def _read_ahead(self, prompts: Sequence[Prompt]) -> None:
        message = {"kind": "read ahead", "prompts": [prompt.tokens for prompt in prompts]}
        self._scheduler.put(READ_AHEAD, BACKGROUND, message)

    def _write(self, job: Job) -> dict[str, Any]:
        """Goes on from a text, in the second class: a suggestion that is asked for in between comes first."""
        layout, message = self._layout, job.message
        tokens = [*layout.bos, *layout.plain.tokens(message["text"])]
        room = self.info.context_size - len(tokens)
        if not tokens or room < 1:
            raise ValueError(f"a text of {len(tokens)} tokens cannot be gone on from in {self.info.context_size}.")
        prefilled = self._writer.prefill(tokens, pinned=True)
        written = []
        try:
            for token in self._writer.decode(from_json(Sampling, message["sampling"])):
                if self._writer.vocabulary.is_end(token.id) or token.id in layout.stop_tokens:
                    break
                written.append(token.text)
                self._send(kind="piece", id=job.id, text=token.text)
        finally:
            self._writer.sessions.release()
        text = "".join(written)
        return {"kind": "done", "text": text, "evaluated": prefilled.evaluated, "generated": len(written)}
