"""The engine process, started by `client` with pipes on stdin and stdout: one model, for whatever it is asked.

One thread reads the pipe and sets the abort flag, the main thread runs llama.cpp. The process ends when the pipe
closes, whatever it was doing: a killed editor leaves nothing behind. What the messages are says `messages`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from tabby_lsp import __version__, languages
from tabby_lsp.engine.messages import (
    Alive,
    Cancel,
    Cancelled,
    Complete,
    Count,
    Failed,
    Hold,
    Load,
    Message,
    MessageError,
    Ping,
    Progress,
    Ready,
    Refused,
    Settle,
    Write,
    pack,
    priority,
    unpack,
)
from tabby_lsp.engine.scheduler import CHAT, COMPLETION, Scheduler
from tabby_lsp.processes import machine, power, wire
from tabby_lsp.processes.wire import Pipe

log = logging.getLogger("tabby_lsp.engine")

Send = Callable[[Message, int], None]


def main() -> None:
    pipe = Pipe(machine.take_stdout())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the parent
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("TABBY_LSP_LOG_LEVEL", "WARNING").upper())

    def send(message: Message, id: int = 0) -> None:
        pipe.send(**pack(message, id))

    first = wire.read(sys.stdin.buffer.read)
    if first is None:
        return
    scheduler = Scheduler()
    threading.Thread(target=_listen, args=(scheduler, send), daemon=True).start()
    try:
        load, _ = unpack(first)
    except MessageError as error:
        _refuse(scheduler, send, _other_version(error))
    if not isinstance(load, Load) or load.version != __version__:
        _refuse(scheduler, send, _other_version(f"version {getattr(load, 'version', '?')}"))
    languages.use(load.languages)
    scheduler.hold(load.held)
    try:
        # Here, not above: the reader must already notice a closed pipe while llama.cpp is loaded.
        from tabby_lsp.engine.loading import ModelError
        from tabby_lsp.engine.model import Model
        from tabby_lsp.engine.work import Worker
    except (ImportError, OSError, RuntimeError) as error:
        _refuse(scheduler, send, f"llama.cpp cannot be loaded ({error}). Reinstall llama-cpp-python on this machine.")
    try:
        urgency = COMPLETION if load.completion else CHAT
        worker = Worker(scheduler, Model(load.model, _progress(scheduler, send, urgency)), send)
        completion = worker.settle(load.completion) if load.completion else None
        ready = Ready(worker.info, completion, worker.model.dialect)
    except (ModelError, ValueError) as error:
        _refuse(scheduler, send, str(error), getattr(error, "room", None))
    except Exception as error:  # whatever it is, it would be the same the next time
        log.exception("loading %s", load.model.path)
        _refuse(scheduler, send, f"{load.model.path} cannot be loaded: {type(error).__name__}: {error}.")
    send(ready)
    power.watch(worker.model.save_energy)
    while True:
        worker.run()


def _listen(scheduler: Scheduler, send: Send) -> None:
    """Reads the pipe until it closes, which ends the process. So does a fault: a deaf process is of no use."""
    try:
        while (packed := wire.read(sys.stdin.buffer.read)) is not None:
            try:
                message, id = unpack(packed)
            except MessageError as error:
                send(Refused(_other_version(error)), error.id)
                continue
            _take(scheduler, send, message, id)
    except Exception:  # noise on the pipe, or a fault of ours: nothing behind it would be understood
        log.exception("the pipe from the server")
    finally:
        os._exit(0)


def _take(scheduler: Scheduler, send: Send, message: Message, id: int) -> None:
    if isinstance(message, Ping):
        send(Alive(-1 if scheduler.idle else scheduler.steps), 0)
    elif isinstance(message, Cancel):
        if scheduler.cancel(id):
            send(Cancelled(), id)
    elif isinstance(message, Hold):
        scheduler.hold(message.priority)
    elif isinstance(message, Complete | Write | Count | Settle):
        scheduler.put(id, priority(message), message)
    else:
        send(Refused(f"a {type(message).__name__} at this point means nothing."), id)


def _other_version(what: object) -> str:
    return f"The server and this engine are of two versions of tabby-lsp ({what}). Restart the language server."


def _progress(scheduler: Scheduler, send: Send, urgency: int) -> Callable[[float], bool]:
    """Tells how much of a model is loaded, and waits where more urgent work is done elsewhere."""
    last = 0

    def report(share: float) -> bool:
        nonlocal last
        percent = int(share * 20) * 5
        scheduler.steps += 1
        if percent > last:
            last = percent
            send(Progress(percent), 0)
        scheduler.wait_for_turn(urgency)
        return True

    return report


def _refuse(scheduler: Scheduler, send: Send, reason: str, room: int | None = None) -> NoReturn:
    """Says why there is no model, and answers every job with that, until the pipe closes."""
    send(Failed(reason, room), 0)
    while True:
        job = scheduler.next()
        send(Refused(reason), job.id)
        scheduler.ended(job)


if __name__ == "__main__":
    main()
