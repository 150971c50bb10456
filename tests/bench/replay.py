"""Types through recorded edits of real files, and measures what a user waits for: this server beside its peers.

    python tests/bench/make_model.py qwen2.5-coder-0.5b random.gguf
    python tests/bench/make_model.py qwen2.5-coder-0.5b padded.gguf --pad --context 8192
    python tests/bench/llama_server.py build                                 prints where llama-server is
    python tests/bench/replay.py --model random.gguf --mode mechanism --llama-server …/llama-server
    python tests/bench/replay.py --model padded.gguf --mode end-to-end --llama-server …/llama-server
    … --busy                            the same with another process that keeps a core busy
    … --json FILE --picture FILE.png    every key's numbers, and the latencies as curves
    python tests/bench/rates.py random.gguf --llama-bench …/llama-bench       the engine's speed beside llama-bench's

**mechanism**: every answer has the same number of tokens, none is from a cache or speculated. On a random-weight shape:
its text is empty, so no side's stops and filters matter. **end-to-end**: each side's own stops, filters and caches, on
the padded starter, whose text means something; then quality stands beside time.

Sides (`--sides`, in the order of the columns): `tabby-lsp`; `llama.vim` with its server as its README starts it;
`llama.vim-spm`, with --spm-infill; the same two with `-quiet`, without the plugin's requests in advance and without
the pieces of other text that it sends along; `tabby-agent`, 20 + 20 lines for a plain Llama object, and the same
suffix first, `tabby-agent-spm`. With `--layout prefix-first` tabby-lsp asks as the other two do.

A key is timed from the change that it makes in the text to the answer, tokens and all. After an answer the user waits
for `--pause` before the next key, for `--rest` before a jump, and for `--settle` after the first suggestion at a place:
then work that is done in idle time is done. `--keys` bounds how many keys ask for a suggestion: a run that has more
asks in some of its lines only; the others are written in one go, and the first key after them is in no number but the
longest wait. A full run is `--keys 100000`: 2,800 keys for each side.

Nothing here is asserted anywhere: machines are noisy. Leave the machine alone while it runs. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import llama_cpp
from edits import Ask, Buffer, Clock, Desk, Open, Script
from llama_vim import LlamaVim
from measures import Key, Measured, draw, summary, table
from processes import cpu_seconds, running_nanoseconds
from scripts import BASE_EVENTS, SCRIPTS, read_file
from sides import Setting, Side, SideError, TabbyLsp
from tabby_agent import WholePrompt

from tabby_lsp.models import starter
from tabby_lsp.processes import cores

MECHANISM, END_TO_END = "mechanism", "end-to-end"
STOP_DELAYS = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3)  # seconds from a request to what supersedes it
SAMPLE_SECONDS = 0.004
IDLE_SHARE = 0.1  # of a sample on one core: a side that uses less has stopped
STOP_LIMIT = 60.0

SIDES: dict[str, Callable[[Setting], Side]] = {
    "tabby-lsp": TabbyLsp,
    "llama.vim": partial(LlamaVim, "llama.vim"),
    "llama.vim-spm": partial(LlamaVim, "llama.vim-spm", suffix_first=True),
    "llama.vim-quiet": partial(LlamaVim, "llama.vim-quiet", quiet=True),
    "llama.vim-spm-quiet": partial(LlamaVim, "llama.vim-spm-quiet", suffix_first=True, quiet=True),
    "tabby-agent": partial(WholePrompt, "tabby-agent"),
    "tabby-agent-spm": partial(WholePrompt, "tabby-agent-spm", suffix_first=True),
}


def play(side: Side, script: Script, pause: float, rest: float, settle: float = 0.0) -> list[Key]:
    """Does what the script says and asks where it says. The user reads the first suggestion at a place for `settle`."""
    desk = Desk()
    keys: list[Key] = []
    started = time.perf_counter()
    for step in script.steps:
        if isinstance(step, Clock):
            time.sleep(rest if step.visit else pause)
            if step.visit and desk.file:
                side.rest(desk.buffer)
            started = time.perf_counter()
        elif isinstance(step, Ask):
            buffer = desk.buffer
            answer = side.ask(buffer, started)
            keys.append(Key(script.name, step.run, step.after, step.wanted, buffer.line_suffix, answer))
            if step.after not in ("key", "resume"):
                time.sleep(settle)
        else:
            change = desk.carry_out(_elsewhere(step, script.name))
            if isinstance(step, Open):
                side.open(desk.buffer)
            elif change is not None:
                side.change(change)
    for file in desk.buffers:
        side.close(file)
    return keys


def _elsewhere(step: Any, folder: str) -> Any:
    """The step in a folder of its script: no side shall know a file from another script."""
    return dataclasses.replace(step, file=f"{folder}/{step.file}") if hasattr(step, "file") else step


def stop_times(side: Side) -> list[float]:
    """Milliseconds from a supersession to the end of the side's computing; none for what had ended before."""
    found = []
    text = read_file(BASE_EVENTS)
    for number, delay in enumerate(STOP_DELAYS):
        buffer = Buffer.of(f"stops/{number}.py", f"# {number}\n{text}")
        buffer.cursor = (400 + 200 * number, 0)
        side.open(buffer)
        finish = side.begin(buffer)
        time.sleep(delay)
        before = running_nanoseconds(side.process)
        begin = time.perf_counter()
        side.supersede(buffer)
        elapsed = _until_idle(side.process, before, begin)
        finish()
        if elapsed is not None:
            found.append(elapsed)
    return found


def _until_idle(process: int, nanoseconds: int, begin: float) -> float | None:
    """Milliseconds until a side hardly computes; None if it did not when it was first looked at."""
    last, quiet_since, seen_busy = begin, begin, False
    while time.perf_counter() - begin < STOP_LIMIT:
        time.sleep(SAMPLE_SECONDS)
        now, spent = time.perf_counter(), running_nanoseconds(process)
        busy = (spent - nanoseconds) / 1e9 > IDLE_SHARE * (now - last)
        if busy:
            seen_busy, quiet_since = True, now
        elif now - quiet_since > 4 * SAMPLE_SECONDS:
            return (quiet_since - begin) * 1000 if seen_busy else None
        last, nanoseconds = now, spent
    return None


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """A process that does nothing, as fast as it can."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(
    name: str, setting: Setting, scripts: Sequence[Script], pause: float, rest: float, settle: float
) -> Measured:
    keys: list[Key] = []
    with SIDES[name](setting) as side:
        time.sleep(rest)
        before = cpu_seconds(side.process)
        for script in scripts:
            print(f"{name}: {script.name}, {script.asks} keys", file=sys.stderr, flush=True)
            keys += play(side, script, pause, rest, settle)
        spent = cpu_seconds(side.process) - before
        time.sleep(rest)
        stops = stop_times(side)
    return Measured(name, tuple(keys), spent, tuple(stops), setting.fixed_tokens)


def described(options: argparse.Namespace) -> dict[str, Any]:
    """What has to be known to read the numbers."""
    names = (line.partition(":")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    return {
        "mode": options.mode,
        "busy": options.busy,
        "model": options.model.name,
        "layout": options.layout,
        "tokens": options.tokens if options.mode == MECHANISM else None,
        "keys": options.keys,
        "scripts": options.scripts,
        "pause_ms": options.pause,
        "rest_ms": options.rest,
        "settle_ms": options.settle,
        "settings": options.set,
        "cores": cores.processors(),
        "processor": next(names, platform.machine()).strip(),
        "python": platform.python_version(),
        "llama_cpp_python": llama_cpp.__version__,
    }


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def default_sides(options: argparse.Namespace) -> list[str]:
    """Both orders of the peers, but for a comparison in which the model is asked prefix first."""
    peers = ["llama.vim", "tabby-agent"] if options.llama_server else ["tabby-agent"]
    orders = ("",) if options.layout == "prefix-first" else ("", "-spm")
    return ["tabby-lsp", *(peer + order for peer in peers for order in orders)]


def chosen(known: Sequence[str]) -> Any:
    """The type of an option that is a list of known names."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return parse


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=starter.MODEL, metavar="FILE")
    parser.add_argument("--mode", choices=(MECHANISM, END_TO_END), default=END_TO_END)
    parser.add_argument("--sides", type=chosen(list(SIDES)), metavar="NAME,…")
    parser.add_argument("--llama-server", type=Path, metavar="FILE", help="the binary for the llama.vim sides")
    parser.add_argument("--layout", choices=("auto", "prefix-first", "suffix-first"), default="auto")
    parser.add_argument("--scripts", type=chosen(list(SCRIPTS)), default=list(SCRIPTS), metavar="NAME,…")
    parser.add_argument("--keys", type=int, default=60, help="about how many keys of a run ask (default: 60)")
    parser.add_argument("--tokens", type=int, default=16, help="of every answer, in mechanism (default: 16)")
    parser.add_argument("--pause", type=float, default=100, metavar="MS", help="between an answer and the next key")
    parser.add_argument("--rest", type=float, default=1000, metavar="MS", help="before a jump")
    parser.add_argument("--settle", type=float, default=0, metavar="MS", help="after the first suggestion at a place")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of tabby-lsp")
    parser.add_argument("--busy", action="store_true", help="with another process that keeps a core busy")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    fixed = options.tokens if options.mode == MECHANISM else 0
    setting = Setting(options.model, fixed, options.layout, options.llama_server, tuple(options.set))
    scripts = [SCRIPTS[name](options.keys) for name in options.scripts]
    about = described(options)
    title = f"{about['model']}, {about['mode']}, {about['cores']} cores{', one of them busy' if options.busy else ''}"
    measured = []
    with busy_core() if options.busy else contextlib.nullcontext():
        for name in options.sides or default_sides(options):
            try:
                waits = (each / 1000 for each in (options.pause, options.rest, options.settle))
                measured.append(measure(name, setting, scripts, *waits))
            except SideError as error:
                raise SystemExit(str(error)) from None
    results = {each.side: summary(each) for each in measured}
    print(f"{title}\n\n{table(results)}")
    if options.json:
        keys = {each.side: [dataclasses.asdict(key) for key in each.keys] for each in measured}
        whole = {"about": about, "results": results, "keys": keys}
        options.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    if options.picture:
        draw(measured, title, options.picture)


if __name__ == "__main__":
    main()
