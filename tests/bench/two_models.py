"""What a chat model costs completion: its delay while the other model computes, and the memory of both.

    python tests/bench/two_models.py MODEL CHAT_MODEL [--count N] [--tokens N] [--busy]

Three kinds of requests take turns in one run, so that whatever else the machine does falls on all of them: `alone`, the
chat model loaded and idle; `beside`, while it reads and writes a long answer; `not held`, the same without a hand-over
(each engine computes as if it were alone). In milliseconds, with the quotients against `alone`; and the time that the
chat process had on a core meanwhile, which whatever else runs does not change. `hands over`: from a hold to the end of
its computing, as /proc tells it. Then the memory of both processes before the chat model is loaded, with it, and after
its idle time. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from processes import running_nanoseconds
from replay import busy_core

from tabby_lsp.data import CompletionContext, CompletionRequest, Sampling, Segment
from tabby_lsp.engine.client import Engine
from tabby_lsp.engine.messages import Write
from tabby_lsp.engine.scheduler import COMPLETION as FIRST
from tabby_lsp.engine.scheduler import NOTHING
from tabby_lsp.engines import CHAT, COMPLETION, Engines
from tabby_lsp.processes import machine
from tabby_lsp.settings import Settings

Spent = tuple[float, float]  # milliseconds of a request, and those that the other process had on a core
TEXT = Path(asyncio.__file__).with_name("base_events.py").read_text(encoding="utf-8")
PAUSE_SECONDS = 0.3  # between two requests, in which the other model computes
PROMPT_CHARACTERS = 3000  # on each side of the cursor
CHAT_CHARACTERS, CHAT_TOKENS = 4000, 200  # of a question and its answer: both reading and writing are met
IDLE_SECONDS = 2.0  # for this bench; the setting counts in minutes
# A process that has used less than this part of a sample is idle.
SAMPLE_SECONDS, IDLE_SHARE, GIVE_UP_SECONDS = 0.002, 0.3, 5.0
ALONE, BESIDE, NOT_HELD = "alone", "beside", "not held"


def settings(model: Path, chat: Path) -> Settings:
    both = Settings().model
    completion = dataclasses.replace(both.completion.local, model_id=str(model.absolute()), parallelism=1)
    chatting = dataclasses.replace(both.chat.local, model_id=str(chat.absolute()), parallelism=1, idle_unload=0)
    both = dataclasses.replace(
        both,
        completion=dataclasses.replace(both.completion, local=completion),
        chat=dataclasses.replace(both.chat, local=chatting),
    )
    return dataclasses.replace(Settings(), model=both)


class Typing:
    """Requests as while one types: each prompt goes on from the one before."""

    def __init__(self, engine: Engine, other: Engine, tokens: int) -> None:
        self.engine, self.other, self.tokens, self.place = engine, other, tokens, 12_000

    async def request(self) -> Spent:
        assert self.other.pid is not None
        self.place += 1
        begins = self.place - PROMPT_CHARACTERS
        context = CompletionContext(TEXT[begins : self.place], "", TEXT[self.place : self.place + PROMPT_CHARACTERS])
        before, begin = running_nanoseconds(self.other.pid), time.perf_counter()
        await self.engine.complete(CompletionRequest("a", context, Sampling(self.tokens))).result
        elapsed = (time.perf_counter() - begin) * 1000
        return elapsed, (running_nanoseconds(self.other.pid) - before) / 1e6


async def chat_on(engine: Engine) -> None:
    """One long answer after the other, each to a question that has not been read yet."""
    for number in range(1_000_000):
        begin = 500 * (number % 40)
        question = f"{number}\n{TEXT[begin : begin + CHAT_CHARACTERS]}"
        job = engine.write(Write((Segment(question),), Sampling(CHAT_TOKENS, 1.0, number)))
        try:
            await job.result
        except asyncio.CancelledError:
            engine.cancel(job)
            raise


@contextlib.asynccontextmanager
async def chatting(engine: Engine) -> Iterator[None]:
    task = asyncio.get_running_loop().create_task(chat_on(engine))
    await asyncio.sleep(PAUSE_SECONDS)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def delays(engines: Engines, count: int, tokens: int) -> dict[str, list[Spent]]:
    """What each kind of request takes, in turns."""
    completer, chat = engines.get(COMPLETION), await engines.wanted(CHAT)
    assert completer is not None
    typing = Typing(completer, chat, tokens)
    await typing.request()
    share = completer.on_urgency
    found: dict[str, list[Spent]] = {ALONE: [], BESIDE: [], NOT_HELD: []}
    for _ in range(count):
        found[ALONE].append(await typing.request())
        async with chatting(chat):
            found[BESIDE].append(await typing.request())
            await asyncio.sleep(PAUSE_SECONDS)
            completer.on_urgency = lambda: None
            found[NOT_HELD].append(await typing.request())
            completer.on_urgency = share
        await asyncio.sleep(PAUSE_SECONDS)
    return found


async def hand_overs(chat: Engine, count: int) -> list[float]:
    """Milliseconds from a hold until the process hardly computes."""
    found = []
    async with chatting(chat):
        for _ in range(count):
            await asyncio.sleep(PAUSE_SECONDS)
            assert chat.pid is not None
            before, begin = running_nanoseconds(chat.pid), time.perf_counter()
            chat.hold(FIRST)
            await asyncio.sleep(0)  # the message leaves
            found.append(_until_idle(chat.pid, before, begin))
            chat.hold(NOTHING)
    return found


def _until_idle(pid: int, nanoseconds: int, begin: float) -> float:
    """Milliseconds to the beginning of the first sample in which a process hardly computed."""
    last = begin
    while last - begin < GIVE_UP_SECONDS:
        time.sleep(SAMPLE_SECONDS)
        now, spent = time.perf_counter(), running_nanoseconds(pid)
        if (spent - nanoseconds) / 1e9 < IDLE_SHARE * (now - last):
            return (last - begin) * 1000
        last, nanoseconds = now, spent
    return GIVE_UP_SECONDS * 1000


async def memory(engines: Engines, until_loaded: Callable[[], Awaitable[Engine]]) -> list[tuple[str, float, float]]:
    """Megabytes that both processes hold, and those that are available, before the chat model, with it and after."""

    def now(name: str) -> tuple[str, float, float]:
        processes = {engine.pid for role in (COMPLETION, CHAT) if (engine := engines.get(role)) is not None}
        held = sum(machine.resident_memory(pid) or 0 for pid in processes if pid)
        return name, held / 1e6, (machine.available_memory() or 0) / 1e6

    found = [now("before")]
    chat = await until_loaded()
    await chat.write(Write((Segment(TEXT[:CHAT_CHARACTERS]),), Sampling(8))).result
    found.append(now("with chat"))
    pid = chat.pid
    chat.rest_after(IDLE_SECONDS)
    while chat.state.phase != "unloaded":
        await engines.changed()
    while Path(f"/proc/{pid}/status").exists() and (machine.resident_memory(pid or 0) or 0):
        await asyncio.sleep(0.05)
    found.append(now("unloaded"))
    chat.rest_after(0.0)
    return found


def late(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


async def main(options: argparse.Namespace) -> None:
    engines = Engines()
    await engines.restart(settings(options.model, options.chat_model))
    try:
        if (state := await engines.settled(COMPLETION)).info is None:
            raise SystemExit(state.reason)
        held = await memory(engines, lambda: engines.wanted(CHAT))
        with busy_core() if options.busy else contextlib.nullcontext():
            found = await delays(engines, options.count, options.tokens)
            handed = await hand_overs(await engines.wanted(CHAT), options.count)
    finally:
        await engines.close()
    columns = "median | 95 % | median / alone | 95 % / alone | other on a core, median | 95 %"
    print(f"| {options.count} requests of {options.tokens} tokens | {columns} |")
    print("|---|---|---|---|---|---|---|")
    base = [milliseconds for milliseconds, _ in found[ALONE]]
    for name, values in found.items():
        milliseconds, others = [each for each, _ in values], [each for _, each in values]
        middle, end = statistics.median(milliseconds), late(milliseconds)
        quotients = f"{middle / statistics.median(base):.2f} | {end / late(base):.2f}"
        other = f"{statistics.median(others):.1f} ms | {late(others):.1f} ms"
        print(f"| {name} | {middle:.0f} ms | {end:.0f} ms | {quotients} | {other} |")
    print(f"| hands over | {statistics.median(handed):.0f} ms | {late(handed):.0f} ms | | | | |")
    print()
    for name, used, available in held:
        print(f"memory {name}: {used:.0f} MB in the engines, {available:.0f} MB available")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("chat_model", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--busy", action="store_true", help="with another process that keeps a core busy")
    asyncio.run(main(parser.parse_args()))
