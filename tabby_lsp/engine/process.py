"""The engine process: `python -m tabby_lsp.engine.process`, started by `client` with pipes on stdin and stdout.

One thread reads the pipe and sets the abort flag, the main thread runs llama.cpp. The process ends when the pipe
closes, whatever it was doing: a killed editor leaves nothing behind.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from tabby_lsp import machine
from tabby_lsp.completion.layout import Layout, choose_layout
from tabby_lsp.completion.pipeline import complete
from tabby_lsp.completion.prompt import Prompt
from tabby_lsp.data import CompletionContext, EngineSettings, ModelInfo, Sampling, from_json, to_json
from tabby_lsp.engine import wire
from tabby_lsp.engine.scheduler import Job, Scheduler

if TYPE_CHECKING:
    from tabby_lsp.engine.decode import ModelWriter
    from tabby_lsp.engine.model import Model

log = logging.getLogger("tabby_lsp.engine")

# A first suggestion should not take longer than this to read its prompt, unless the user says otherwise.
FIRST_PROMPT_SECONDS = 2.0
SMALLEST_PROMPT = 512
PROMPT_STEP = 256  # budgets are rounded to this, so that two starts of the same machine agree more often


class Pipe:
    """The parent's end. `send` may be called from both threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        data = memoryview(wire.pack(message))
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # the parent is gone
                os._exit(0)


def main() -> None:
    pipe = Pipe(machine.take_stdout())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the parent
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("TABBY_LSP_LOG_LEVEL", "WARNING").upper())
    first = wire.read(sys.stdin.buffer.read)
    if first is None:
        return
    scheduler = Scheduler()
    threading.Thread(target=_listen, args=(scheduler, pipe), daemon=True).start()
    settings = from_json(EngineSettings, first["settings"])
    try:
        # Here, not above: the reader must already notice a closed pipe while llama.cpp is loaded.
        from tabby_lsp.engine.decode import ModelWriter
        from tabby_lsp.engine.loading import ModelError
        from tabby_lsp.engine.model import Model
    except (ImportError, OSError, RuntimeError) as error:
        _refuse(scheduler, pipe, f"llama.cpp cannot be loaded ({error}). Reinstall llama-cpp-python on this machine.")
    try:
        model = Model(settings, _progress(pipe))
        layout = choose_layout(model.vocab, settings.layout, settings.prompt_template)
    except (ModelError, ValueError) as error:
        _refuse(scheduler, pipe, str(error))
    scheduler.abort, scheduler.allow = model.abort, model.allow
    info = _describe(model, layout, settings)
    pipe.send(kind="ready", info=to_json(info))
    writer = ModelWriter(model)
    earlier: dict[str, Prompt] = {}
    while True:
        _work(scheduler, pipe, writer, layout, settings, info, earlier)


def _listen(scheduler: Scheduler, pipe: Pipe) -> None:
    """Reads the pipe until it closes, which ends the process."""
    while (message := wire.read(sys.stdin.buffer.read)) is not None:
        if message["kind"] == "cancel":
            if scheduler.cancel(message["id"]):
                pipe.send(kind="cancelled", id=message["id"])
        else:
            message["received"] = time.perf_counter()
            scheduler.put(message["id"], message["priority"], message)
    os._exit(0)


def _progress(pipe: Pipe) -> Callable[[float], bool]:
    last = 0

    def report(share: float) -> bool:
        nonlocal last
        percent = int(share * 20) * 5
        if percent > last:
            last = percent
            pipe.send(kind="progress", percent=percent)
        return True

    return report


def _refuse(scheduler: Scheduler, pipe: Pipe, reason: str) -> NoReturn:
    """Says why there is no model, and answers every job with that, until the pipe closes."""
    pipe.send(kind="failed", reason=reason)
    while True:
        pipe.send(kind="error", id=scheduler.take().id, message=reason)
        scheduler.done()


def _describe(model: Model, layout: Layout, settings: EngineSettings) -> ModelInfo:
    fitting = int(model.prefill_rate * FIRST_PROMPT_SECONDS) // PROMPT_STEP * PROMPT_STEP
    wanted = settings.max_prompt_tokens or max(SMALLEST_PROMPT, fitting)
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
        max_prompt_tokens=min(wanted, model.context_size),
        memory_needed=model.memory_needed,
        prefill_rate=round(model.prefill_rate, 1),
        notes=layout.notes,
    )


def _work(
    scheduler: Scheduler,
    pipe: Pipe,
    writer: ModelWriter,
    layout: Layout,
    settings: EngineSettings,
    info: ModelInfo,
    earlier: dict[str, Prompt],
) -> None:
    """Does one job."""
    from tabby_lsp.engine.loading import ModelError
    from tabby_lsp.engine.model import Cancelled

    job = scheduler.take()
    waited = (time.perf_counter() - job.message["received"]) * 1000
    try:
        answer = _complete(job, pipe, writer, layout, settings, info, earlier)
        answer["completion"]["timing"]["queue"] = round(waited, 3)
    except Cancelled:
        answer = {"kind": "cancelled"}
    except (ModelError, TypeError, ValueError) as error:
        log.exception("job %s", job.id)
        answer = {"kind": "error", "message": str(error)}
    scheduler.done()
    pipe.send(**answer, id=job.id)


def _complete(
    job: Job,
    pipe: Pipe,
    writer: ModelWriter,
    layout: Layout,
    settings: EngineSettings,
    info: ModelInfo,
    earlier: dict[str, Prompt],
) -> dict[str, Any]:
    message = job.message
    sampling = from_json(Sampling, message["sampling"])
    # The prompt and its answer share the context; a request for very many tokens must leave room for text.
    longest = max(info.context_size // 2, info.context_size - sampling.max_tokens)
    completion = complete(
        writer,
        layout,
        message["document"],
        from_json(CompletionContext, message["context"]),
        sampling,
        settings.stop_words,
        min(info.max_prompt_tokens, longest),
        lambda text: pipe.send(kind="piece", id=job.id, text=text),
        info.name,
        bool(message.get("show_prompt")),
        earlier,
    )
    return {"kind": "done", "completion": to_json(completion)}


if __name__ == "__main__":
    main()
