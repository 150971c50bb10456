"""What the index of a folder costs, and how soon it answers: on a copy, through the indexer as a server runs it.

    python tests/bench/index.py FOLDER [--samples N] [--seed N]

Nothing of the folder is written to, nor is the user's own index. `cold` is from the start of the process to the end
of its first scan, `rescan` the same with nothing changed. A query is one of those that a request makes: the definitions
of a name, what a file holds, and what is like twenty lines. A question is one of three words that stand near each other
in a file, as `tabby-lsp search` answers it. `changed file` is from being told of it to its being in the index, without
the pipe between; `unsaved` from a key to the moment at which a reader finds it, with what the indexer waits before.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tabby_lsp.index.answer import answer
from tabby_lsp.index.client import Indexer
from tabby_lsp.index.plan import IndexState, Plan
from tabby_lsp.index.process import OBJECTS_BETWEEN_COLLECTIONS
from tabby_lsp.index.search import Search
from tabby_lsp.index.upkeep import Upkeep
from tabby_lsp.index.walk import Found, Rules, read, walk
from tabby_lsp.languages import language_of_path

LARGE = 2_000  # lines: files as large are told of apart
QUERY_LINES = 20
POLL_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Scan:
    state: IndexState
    seconds: float
    peak: int | None  # bytes of memory; None where the system does not tell


@dataclass(frozen=True, slots=True)
class Source:
    path: str
    lines: tuple[str, ...]


async def scan(plan: Plan) -> Scan:
    """The first scan of a new indexer process, to its end."""
    over = asyncio.Event()
    indexer = Indexer(plan, lambda state: None if state.scanning else over.set())
    begin = time.perf_counter()
    indexer.start()
    await over.wait()
    seconds = time.perf_counter() - begin
    peak = peak_memory(indexer.pid)
    await indexer.close()
    if indexer.down:
        raise SystemExit(indexer.state.note)
    return Scan(indexer.state, seconds, peak)


def peak_memory(pid: int | None) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def sources(folder: Path) -> list[Source]:
    """The files that hold a program, as the index reads them."""
    found = []
    for each in walk(folder, Rules()):
        if isinstance(each, Found) and language_of_path(each.path) != "plaintext":
            text = read(folder / each.path)
            if text and text.strip():
                found.append(Source(each.path, tuple(text.splitlines(keepends=True))))
    return found


def query_seconds(search: Search, folder: Path, chosen: Iterable[Source], rng: random.Random) -> list[float]:
    found = []
    for source in chosen:
        line = rng.randrange(len(source.lines))
        text = "".join(source.lines[max(0, line - QUERY_LINES) : line + 1])
        names = re.findall(r"[^\W\d]\w+", text) or ["nothing"]
        name = rng.choice(names)
        questions: tuple[Callable[[], object], ...] = (
            partial(search.definitions, name),
            partial(search.in_file, folder / source.path),
            partial(search.find, text, excluding=folder / source.path),
        )
        found += [seconds_of(each) for each in questions]
    return found


def question_seconds(search: Search, folder: Path, chosen: Iterable[Source], rng: random.Random) -> list[float]:
    found = []
    for source in chosen:
        line = rng.randrange(len(source.lines))
        words = re.findall(r"[^\W\d]\w+", "".join(source.lines[max(0, line - QUERY_LINES) : line + 1])) or ["nothing"]
        asked = " ".join(rng.sample(words, min(3, len(words))))
        found.append(seconds_of(partial(answer, search, asked, 10, {str(folder): Rules()})))
    return found


def seconds_of(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def edited(source: Source, name: str, rng: random.Random) -> str:
    """A file with another name in the place of one of its own, as one leaves it behind when one has finished a line."""
    lines = list(source.lines)
    places = [number for number, line in enumerate(lines) if re.search(r"[^\W\d]\w+", line)]
    number = rng.choice(places) if places else 0
    lines[number] = re.sub(r"[^\W\d]\w+", name, lines[number], count=1)
    return "".join(lines)


def change_seconds(plan: Plan, chosen: Sequence[Source], rng: random.Random) -> list[float]:
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    upkeep = Upkeep(plan, lambda mark: None, {})
    found = []
    try:
        for number, source in enumerate(chosen):
            text = edited(source, f"changed_{number}", rng)
            (Path(plan.folders[0]) / source.path).write_text(text, encoding="utf-8", newline="")
            found.append(seconds_of(partial(upkeep.changed, plan.folders[0], source.path)))
    finally:
        upkeep.close()
    return found


async def unsaved_seconds(plan: Plan, chosen: Sequence[Source], rng: random.Random) -> list[float]:
    over = asyncio.Event()
    indexer = Indexer(plan, lambda state: None if state.scanning else over.set())
    search = Search(Path(plan.database))
    indexer.start()
    found = []
    try:
        await over.wait()
        for number, source in enumerate(chosen):
            name = f"q{number}x{rng.randrange(10**9)}"  # one term, which nobody else has
            text = f"{''.join(source.lines)}\n{name}\n"
            path = Path(plan.folders[0], source.path)
            begin = time.perf_counter()
            indexer.buffer(path, language_of_path(source.path), partial(str, text))
            while not search.find(name):
                await asyncio.sleep(POLL_SECONDS)
            found.append(time.perf_counter() - begin)
            indexer.closed(path)
    finally:
        search.close()
        await indexer.close()
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by this share of them."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(first: Scan, second: Scan, times: Sequence[tuple[str, Sequence[float]]]) -> str:
    state = first.state
    rows = [
        f"{'files':<24}{state.files:>10,}",
        f"{'lines':<24}{state.lines:>10,}",
        f"{'symbols':<24}{state.symbols:>10,}",
        f"{'chunks':<24}{state.chunks:>10,}",
    ]
    for name, each in (("cold", first), ("rescan", second)):
        peak = "" if each.peak is None else f"{each.peak / 1e6:>10,.0f} MB at most"
        rows.append(f"{name:<24}{each.seconds:>10.1f} s{peak}")
    rows.append(f"\n{'milliseconds':<24}{'p50':>10}{'p95':>10}{'times':>10}")
    for name, values in times:
        if values:
            p50, p95 = (1000 * quantile(values, share) for share in (0.5, 0.95))
            rows.append(f"{name:<24}{p50:>10.1f}{p95:>10.1f}{len(values):>10}")
    return "\n".join(rows)


async def measure(folder: Path, samples: int, seed: int) -> str:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place, "copy")
        shutil.copytree(folder, copy, symlinks=True)
        plan = Plan(str(Path(place, "index.sqlite")), (str(copy),), watched=True)
        first, second = await scan(plan), await scan(plan)
        every = sources(copy)
        if not every:
            raise SystemExit(f"{folder} holds no program: name a folder with one.")
        chosen = rng.sample(every, min(samples, len(every)))
        large = [each for each in every if len(each.lines) >= LARGE]
        large = rng.sample(large, min(samples, len(large)))
        search = Search(Path(plan.database))
        queries = query_seconds(search, copy, chosen, rng)
        questions = question_seconds(search, copy, chosen, rng)
        search.close()
        unsaved = await unsaved_seconds(plan, chosen[: max(1, samples // 4)], rng)
        changed = change_seconds(plan, chosen, rng), change_seconds(plan, large, rng)
    times = (
        ("query", queries),
        ("question", questions),
        ("changed file", changed[0]),
        (f"… of {LARGE:,} lines or more", changed[1]),
        ("unsaved", unsaved),
    )
    return table(first, second, times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=200, help="files that are asked about and changed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder")
    print(f"{options.folder.name}, {os.cpu_count()} cores")
    print(asyncio.run(measure(options.folder, options.samples, options.seed)))


if __name__ == "__main__":
    main()
