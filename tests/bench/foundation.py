"""What the server itself costs: starting, answering, holding memory, stopping. One table, on the machine as it is.

    python tests/bench/foundation.py [--model FILE] [--runs N] [--only starts|stops]

Nothing here is asserted anywhere: machines are noisy. Leave the machine alone while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from editor import Editor, gone

from tabby_lsp import __version__
from tabby_lsp.data import CompletionContext, CompletionRequest, CompletionSettings, ModelSettings, Sampling
from tabby_lsp.engine.messages import Cancel, Cancelled, Complete, Completed, Load, Message, Ready, pack, unpack
from tabby_lsp.models import starter
from tabby_lsp.processes import machine, wire
from tabby_lsp.processes.start import python

TEXT = Path(asyncio.__file__).with_name("base_events.py").read_text(encoding="utf-8")
TYPED = "    def read_all(self, limit=None):\n        data = self._buffer[:limit]\n        return bytes(data)\n"


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def row(what: str, values: Sequence[float], unit: str) -> None:
    median, high, highest = statistics.median(values), quantile(values, 0.95), max(values)
    print(f"{what:<58} {median:9.1f} {high:9.1f} {highest:9.1f} {unit:<4} {len(values):4d}")


def starts(model: Path, runs: int) -> None:
    """From the start of the process to the answers, and the memory held after some typing."""
    initialized, ready, suggested, server, engine, overhead, ended = [], [], [], [], [], [], []
    for _ in range(runs):
        begin = time.perf_counter()
        with Editor(model=model) as editor:
            editor.initialize()
            initialized.append((time.perf_counter() - begin) * 1000)
            editor.wait_status("readyForAutoTrigger")
            ready.append((time.perf_counter() - begin) * 1000)
            editor.open(TEXT)
            line = len(TEXT.split("\n")) // 2
            editor.inline((line, 0))
            suggested.append((time.perf_counter() - begin) * 1000)
            overhead += type_text(editor, line)
            server.append((machine.resident_memory(editor.process.pid) or 0) / 1e6)
            held = machine.resident_memory(editor.engine_pid()) or 0
            engine.append((held - model.stat().st_size) / 1e6)
            child = editor.engine_pid()
            begin = time.perf_counter()
            editor.request("shutdown", None)
            editor.notify("exit", None)
            editor.process.wait()
            gone(child)
            ended.append((time.perf_counter() - begin) * 1000)
    row("process start to the initialize answer", initialized, "ms")
    row("process start to the model ready", ready, "ms")
    row("process start to the first suggestion", suggested, "ms")
    row("a request beyond the engine's own time", overhead, "ms")
    row("shutdown and exit to all processes gone", ended, "ms")
    row("memory of the server process", server, "MB")
    row("memory of the engine beyond the model file", engine, "MB")


def type_text(editor: Editor, line: int) -> list[float]:
    """Types a function key by key and asks at each: milliseconds that were not the engine's."""
    overhead = []
    column = 0
    for version, character in enumerate(TYPED, start=2):
        editor.change(version, (line, column), character)
        line, column = (line + 1, 0) if character == "\n" else (line, column + 1)
        begin = time.perf_counter()
        editor.inline((line, column))
        elapsed = (time.perf_counter() - begin) * 1000
        last = editor.request("tabby/status", {})["lastCompletion"]
        if not last["cached"]:
            overhead.append(elapsed - last["engineMilliseconds"])
    return overhead


def stops(model: Path, count: int) -> None:
    """From a cancel to the engine's word that it has stopped, in the middle of prompts and of writing."""
    completing = CompletionSettings(max_prompt_tokens=1800)
    process = subprocess.Popen(python("tabby_lsp.engine.process"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    pipe_in, read = process.stdin, process.stdout.read

    def say(message: Message, id: int = 0) -> None:
        pipe_in.write(wire.pack(pack(message, id)))
        pipe_in.flush()

    def until(id: int, *kinds: type[Message]) -> Message:
        """The next message about a job, of one of these kinds if any are given."""
        while True:
            packed = wire.read(read)
            assert packed is not None
            message, of = unpack(packed)
            if of == id and (not kinds or isinstance(message, kinds)):
                return message

    say(Load(__version__, ModelSettings(str(model)), completing))
    until(0, Ready)
    in_prompt, in_writing = [], []
    for id in range(1, count + 1):
        writing = id % 2 == 0
        # A prompt of its own each time: nothing is reused, so that there is something to interrupt.
        context = CompletionContext(f"# {id}\nimport os\n" if writing else f"# {id}\n" + TEXT[: 4 * 1800])
        say(Complete(CompletionRequest("a", context, Sampling(200, 1.0, id), completing)), id)
        if writing:
            if isinstance(until(id), Completed):
                continue  # it had nothing to say
        else:
            time.sleep(0.005 + 0.03 * (id % 7))
        begin = time.perf_counter()
        say(Cancel(), id)
        if isinstance(until(id, Completed, Cancelled), Cancelled):
            (in_writing if writing else in_prompt).append((time.perf_counter() - begin) * 1000)
    process.stdin.close()
    process.wait()
    process.stdout.close()
    for what, values in (("reading a prompt", in_prompt), ("writing", in_writing)):
        if values:
            row(f"cancel to stopped, while {what}", values, "ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=starter.MODEL)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", choices=("starts", "stops"), help="one half: a large model types slowly")
    options = parser.parse_args()
    print(f"{options.model.name}\n{'':<58} {'median':>9} {'95 %':>9} {'highest':>9}")
    if options.only != "stops":
        starts(options.model, options.runs)
    if options.only != "starts":
        stops(options.model, 10 * options.runs)
