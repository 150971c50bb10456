"""What the engine does for each kind of job: `Complete`, `Write`, `Settle` and, for itself, reading a prompt ahead.

Each is a generator of steps; the worker asks the scheduler before every step which job goes on. A job that is stopped
for a more urgent one goes on where it was, one that is cancelled is closed, and one that fails says why: the others go
on. Owns the budgets of prompts. Knows neither the pipe's bytes nor llama.cpp.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tabby_lsp.completion.confidence import least
from tabby_lsp.completion.context import NO_GAIN
from tabby_lsp.completion.layout import Layout, PlainText, choose_layout
from tabby_lsp.completion.pipeline import Budget, Earlier, complete
from tabby_lsp.completion.prompt import SNIPPET_SHARE, Prompt
from tabby_lsp.data import CompletionInfo, CompletionRequest, CompletionSettings, ModelInfo, Segment
from tabby_lsp.engine.decode import ModelWriter
from tabby_lsp.engine.draft import Speculation
from tabby_lsp.engine.ending import Ending
from tabby_lsp.engine.messages import (
    Answer,
    Cancelled,
    Complete,
    Completed,
    Count,
    Counted,
    Message,
    Piece,
    Refused,
    Settle,
    Settled,
    Write,
    Written,
)
from tabby_lsp.engine.model import Model
from tabby_lsp.engine.scheduler import AHEAD, BACKGROUND, COMPLETION, READ_AHEAD, Job, Scheduler
from tabby_lsp.engine.slots import Slots
from tabby_lsp.steps import Steps

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


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """Reads prompts that nobody has asked to go on from yet, all but the first, each to take the place of the one
    before it."""

    prompts: tuple[tuple[int, ...], ...]


def model_info(model: Model) -> ModelInfo:
    return ModelInfo(
        name=model.name,
        path=str(model.path),
        description=model.description,
        device=", ".join(each.name for each in model.devices) if model.gpu_layers else "cpu",
        gpu_layers=min(model.gpu_layers, model.layers + 1),
        threads=model.threads,
        context_size=model.context_size,
        parallelism=model.parallelism,
        memory_needed=model.memory_needed,
        prefill_rate=round(model.prefill_rate, 1),
        notes=model.notes if model.repacked else (*model.notes, PLAIN_KERNELS),
    )


def completion_info(model: Model, layout: Layout, settings: CompletionSettings, rate: float) -> CompletionInfo:
    """How a model that reads so many tokens a second completes."""
    fitting = int(rate * FULL_SECONDS) // PROMPT_STEP * PROMPT_STEP
    wanted = settings.max_prompt_tokens or max(SMALLEST_PROMPT, fitting)
    longest = min(wanted, model.context_size)
    return CompletionInfo(
        family=layout.family.name,
        layout=layout.name,
        max_prompt_tokens=longest,
        confidence=least(settings.confidence),
        uses_context=model.name not in NO_GAIN,
        context_room=int(longest * SNIPPET_SHARE * CHARACTERS_PER_TOKEN),
        notes=layout.notes,
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
    """Does the jobs of a scheduler, a step at a time. `send` is given what is to be told of which job."""

    def __init__(self, scheduler: Scheduler, model: Model, send: Callable[[Message, int], None]) -> None:
        self.model, self.slots, self.info = model, Slots(model), model_info(model)
        self._scheduler, self._send = scheduler, send
        self._speculation = Speculation()
        self.slots.measured = self._speculation.measured
        self._rate = model.prefill_rate  # as measured at loading: prompts must not change their size with the weather
        controls = model.vocab.controls()
        self._plain = PlainText(model.vocab, controls)
        self._controls = {token: text for text, token in controls.items()}
        self._layouts: dict[tuple[str, str], Layout] = {}
        self._earlier: Earlier = {}
        self._quick = 0
        scheduler.most_long = max(1, model.sequences - 1)  # one is left for completions
        scheduler.abort, scheduler.allow = model.flag.set, model.flag.clear
        # A memory that cannot be cut loses all it holds in an abort: there the step is left to end by itself.
        scheduler.preempt = model.flag.set if model.rolls_back else lambda: None

    def run(self) -> None:
        """Does a step of the job whose turn it is. Waits for one."""
        job = self._scheduler.next()
        if job.cancelled:
            self._end(job, Cancelled())
            return
        self.model.spares_core = job.priority in (AHEAD, BACKGROUND)
        try:
            if job.steps is None:
                job.steps = self._begin(job)
            next(job.steps)
        except StopIteration as end:
            self._end(job, end.value)
        except Exception as error:  # whatever it is, it is this job's alone
            log.exception("job %s", job.id)
            self._end(job, Refused(str(error) or type(error).__name__))

    def _end(self, job: Job, answer: Message) -> None:
        self._close(job, answer)
        self._scheduler.ended(job)

    def _close(self, job: Job, answer: Message) -> None:
        """What the job holds is free for others, and its end is told."""
        if job.steps is not None:
            job.steps.close()
        if job.id != READ_AHEAD:
            self._send(answer, job.id)

    def _begin(self, job: Job) -> Steps[Answer | None]:
        request = job.request
        if isinstance(request, Complete):
            return self._complete(job, request.request)
        if isinstance(request, Write):
            return self._write(job, request)
        if isinstance(request, ReadAhead):
            return self._read_ahead(request)
        if isinstance(request, Settle):
            return self._settle(request)
        if isinstance(request, Count):
            return self._count(request)
        raise ValueError(f"no job is a {type(request).__name__}")

    def settle(self, settings: CompletionSettings) -> CompletionInfo:
        """How the model completes under these settings. Raises ValueError if it cannot."""
        return completion_info(self.model, self._layout(settings), settings, self._rate)

    def _settle(self, request: Settle) -> Steps[Settled]:
        yield
        return Settled(self.settle(request.completion))

    def _layout(self, settings: CompletionSettings) -> Layout:
        key = settings.layout, settings.prompt_template
        if key not in self._layouts:
            self._layouts[key] = choose_layout(self.model.vocab, *key)
        return self._layouts[key]

    def _writer(self, job: Job, speculates: bool = True) -> contextlib.closing[ModelWriter]:
        patient = job.priority != COMPLETION
        return contextlib.closing(ModelWriter(self.model, self.slots, self._speculation, speculates, patient))

    def _complete(self, job: Job, request: CompletionRequest) -> Steps[Completed]:
        waited = (time.perf_counter() - job.received) * 1000
        if job.priority == COMPLETION:  # what was begun for a place that has been left
            for dropped in self._scheduler.drop(AHEAD, BACKGROUND):
                self._close(dropped, Cancelled())
        layout, info = self._layout(request.settings), self.settle(request.settings)
        # The prompt and its answer share the context; a request for very many tokens must leave room for text.
        size = self.model.context_size
        full = min(info.max_prompt_tokens, max(size // 2, size - request.sampling.max_tokens))
        rate = self.model.prefill_rate
        self._quick = quick_budget(rate, self._quick)
        hurried = job.priority == COMPLETION and request.candidates == 1 and not request.unhurried
        budget = Budget(
            (full,) if request.unhurried else prompt_sizes(full, self._quick),
            int(rate * SOON_SECONDS),
            WRITE_SECONDS if hurried else math.inf,
            info.confidence,
        )
        with self._writer(job, request.settings.speculation) as writer:
            completion = yield from complete(
                writer,
                layout,
                request,
                budget,
                lambda text: self._send(Piece(text), job.id),
                self._earlier,
                self._put_read_ahead if request.reads_ahead else lambda prompts: None,
            )
        timing = replace(completion.timing, queue=round(waited, 3))
        return Completed(replace(completion, model=self.model.name, timing=timing))

    def _put_read_ahead(self, prompts: Sequence[Prompt]) -> None:
        self._scheduler.put(READ_AHEAD, BACKGROUND, ReadAhead(tuple(tuple(each.tokens) for each in prompts)))

    def _read_ahead(self, request: ReadAhead) -> Steps[None]:
        holder = object()
        try:
            for smaller, larger in itertools.pairwise(request.prompts):
                if self.slots.unread(larger, holder):
                    yield from self.slots.prefill(larger, holder, patient=True)
                self.slots.retire(smaller, larger, holder)
        finally:
            self.slots.release(holder)

    def _count(self, request: Count) -> Steps[Counted]:
        counts = []
        for text in request.texts:
            yield
            counts.append(len(self._plain.tokens(text)))
        return Counted(tuple(counts))

    def _tokens(self, prompt: Sequence[Segment]) -> list[int]:
        """A prompt with the token that every one of this model begins with, if there is one."""
        vocab = self.model.vocab
        tokens: list[int] = []
        for part in prompt:
            tokens += vocab.tokenize(part.text, controls=True) if part.control else self._plain.tokens(part.text)
        first = [vocab.bos] if vocab.adds_bos and vocab.bos is not None else []
        return tokens if tokens[:1] == first else first + tokens

    def _write(self, job: Job, request: Write) -> Steps[Written]:
        """Goes on from a prompt, in the second class: a suggestion that is asked for in between comes first."""
        tokens = self._tokens(request.prompt)
        room = self.model.context_size - len(tokens)
        if not tokens or room < 1:
            raise ValueError(f"a text of {len(tokens)} tokens cannot be gone on from in {self.model.context_size}.")
        ending, written, generated, end = Ending(request.stop), [], 0, "length"

        def tell(text: str) -> None:
            if text:
                written.append(text)
                self._send(Piece(text), job.id)

        with self._writer(job) as writer:
            prefilled = yield from writer.prefill(tokens)
            for token in writer.decode(request.sampling):
                if token is None:
                    yield
                    continue
                generated += 1
                text = self._control(token.id) or token.text
                if writer.vocabulary.is_end(token.id) or (self._control(token.id) and text not in request.kept):
                    end = "stop"
                    break
                tell(ending.feed(text))
                if ending.found or (request.ends_loops and ending.loops):
                    end = "stop" if ending.found else "repetition"
                    break
        tell(ending.rest())
        return Written("".join(written), prefilled.evaluated, prefilled.reused, generated, end)

    def _control(self, token: int) -> str:
        """The name of a control token, which writes nothing by itself; "" of any other."""
        return "" if self.model.vocab.piece(token) else self._controls.get(token, "")
