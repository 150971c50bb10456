"""The engine process: `python -m tabby_lsp.engine.process`, started by `client` with pipes on stdin and stdout.

One thread reads the pipe and sets the abort flag, the main thread runs llama.cpp. The process ends when the pipe
closes, whatever it was doing: a killed editor leaves nothing behind.

To it come `load` (first), `complete`, `write`, `cancel`. From it: `progress`, `ready` or `failed` (the model), then for
each job `piece`s and one `done`, `cancelled` or `error`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from tabby_lsp import languages, machine, wire
from tabby_lsp.completion.layout import choose_layout
from tabby_lsp.data import EngineSettings, from_json, to_json
from tabby_lsp.engine.scheduler import Scheduler
from tabby_lsp.wire import Pipe


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
    languages.use(settings.languages)
    try:
        # Here, not above: the reader must already notice a closed pipe while llama.cpp is loaded.
        from tabby_lsp.engine.decode import ModelWriter
        from tabby_lsp.engine.loading import ModelError
        from tabby_lsp.engine.model import Model
        from tabby_lsp.engine.work import Worker
    except (ImportError, OSError, RuntimeError) as error:
        _refuse(scheduler, pipe, f"llama.cpp cannot be loaded ({error}). Reinstall llama-cpp-python on this machine.")
    try:
        model = Model(settings, _progress(pipe))
        layout = choose_layout(model.vocab, settings.layout, settings.prompt_template)
    except (ModelError, ValueError) as error:
        _refuse(scheduler, pipe, str(error))
    scheduler.abort, scheduler.allow = model.flag.set, model.flag.clear
    worker = Worker(scheduler, ModelWriter(model, settings.speculation), layout, settings, pipe.send)
    pipe.send(kind="ready", info=to_json(worker.info))
    while True:
        worker.run()


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


if __name__ == "__main__":
    main()
