"""Two models at once, one for completion and one for chat: each in a process of its own, on the same cores."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import MODEL
from editor import gone

from tabby_lsp.data import CompletionContext, CompletionRequest, Sampling
from tabby_lsp.engine.client import Engine, EngineError, EngineState
from tabby_lsp.engine.messages import Write
from tabby_lsp.engines import CHAT, COMPLETION, Engines, model_settings
from tabby_lsp.settings import Settings

TEXT = Path(asyncio.__file__).with_name("queues.py").read_text(encoding="utf-8")


def settings(completion: Path | str = MODEL, chat: Path | str = "", **of_chat: Any) -> Settings:
    model = Settings().model
    local = replace(model.completion.local, model_id=str(completion), context_size=1024, parallelism=1)
    chatting = replace(model.chat.local, model_id=str(chat), **{"context_size": 1024, "parallelism": 1, **of_chat})
    model = replace(model, completion=replace(model.completion, local=local), chat=replace(model.chat, local=chatting))
    return replace(Settings(), model=model)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Another model file."""
    return Path(shutil.copy(MODEL, tmp_path / "second.gguf"))


@contextlib.asynccontextmanager
async def started(of: Settings, states: list[tuple[str, EngineState]] | None = None) -> AsyncIterator[Engines]:
    engines = Engines(lambda role, state: None if states is None else states.append((role, state)))
    await engines.restart(of)
    try:
        await engines.settled(COMPLETION)
        yield engines
    finally:
        await engines.close()


def completer(engines: Engines) -> Engine:
    engine = engines.get(COMPLETION)
    assert engine is not None
    return engine


def write(engine: Engine, tokens: int = 4) -> Any:
    return engine.write(Write("def add(a, b):\n", Sampling(tokens)))


def complete(engine: Engine, text: str = "import os\nimport ", tokens: int = 4) -> Any:
    return engine.complete(CompletionRequest("a", CompletionContext(text), Sampling(tokens)))


async def until(engine: Engine, phase: str) -> None:
    while engine.state.phase != phase:
        await asyncio.sleep(0.005)


# --- loaded when first needed


async def test_the_chat_model_is_loaded_when_it_is_first_needed(second: Path) -> None:
    states: list[tuple[str, EngineState]] = []
    async with started(settings(chat=second), states) as engines:
        assert engines.states[COMPLETION].info is not None
        assert engines.states[CHAT].phase == "unloaded" and engines.get(CHAT) is None
        engine, again = await asyncio.gather(engines.wanted(CHAT), engines.wanted(CHAT))
        assert engine is again is engines.get(CHAT) and engine.model.path == str(second)
        assert engines.states[CHAT].info is not None and engine.pid != completer(engines).pid
        assert (await write(engine).result).generated > 0
        assert (await complete(completer(engines)).result).generated > 0
        phases = [state.phase for role, state in states if role == CHAT]
        assert [phase for phase in dict.fromkeys(phases)] == ["unloaded", "starting", "loading", "ready"]
        pids = engine.pid, completer(engines).pid
    assert all(pid and gone(pid) for pid in pids)


async def test_without_a_chat_model_who_wants_it_is_told_what_to_do(tmp_path: Path) -> None:
    async with started(settings()) as engines:
        assert engines.states[CHAT].phase == "unset"
        with pytest.raises(EngineError, match="models use NAME --chat"):
            await engines.wanted(CHAT)
        assert engines.states[CHAT].phase == "unset" and engines.states[COMPLETION].info is not None
    for there_is_not in (tmp_path / "away.gguf", "NoSuchModel"):
        async with started(settings(chat=there_is_not)) as engines:
            pid = completer(engines).pid
            with pytest.raises(EngineError, match=r"away.gguf does not exist|no model 'NoSuchModel'"):
                await engines.wanted(CHAT)
            assert engines.states[CHAT].phase == "failed"
            assert (await complete(completer(engines)).result).generated > 0 and completer(engines).pid == pid


async def test_a_chat_model_that_could_not_be_loaded_is_tried_again_at_the_next_need(tmp_path: Path) -> None:
    path = tmp_path / "later.gguf"
    async with started(settings(chat=path)) as engines:
        with pytest.raises(EngineError, match="does not exist"):
            await engines.wanted(CHAT)
        shutil.copy(MODEL, path)
        assert (await write(await engines.wanted(CHAT)).result).generated > 0


async def test_roles_that_name_one_file_share_one_process(second: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(second)
    of = settings(second, link, context_size=2048)
    assert model_settings(of).context_size == model_settings(of, CHAT).context_size == 2048
    async with started(of) as engines:
        pid = completer(engines).pid
        engine = await engines.wanted(CHAT)
        assert engine is completer(engines) and engine.pid == pid
        assert engines.states[CHAT].info == engines.states[COMPLETION].info
        written, completed = write(engine), complete(engine)
        assert (await written.result).generated and (await completed.result).generated
        # Chat gets another model: that of completion stays as it is.
        shutil.copy(second, tmp_path / "third.gguf")
        changed = settings(second, tmp_path / "third.gguf", context_size=2048)
        assert engines.needs_restart(changed) == (CHAT,)
        await engines.restart(changed, (CHAT,))
        other = await engines.wanted(CHAT)
        assert other is not completer(engines) and completer(engines).pid == pid and other.pid != pid
        # And completion gets another one: that of chat stays.
        changed = settings(MODEL, tmp_path / "third.gguf", context_size=2048)
        kept = other.pid
        assert engines.needs_restart(changed) == (COMPLETION,)
        await engines.restart(changed, (COMPLETION,))
        assert (await engines.wanted(COMPLETION)).pid != pid and (await engines.wanted(CHAT)).pid == kept


# --- settings and restarts


async def test_settings_of_one_role_leave_the_other_alone(second: Path) -> None:
    async with started(settings(chat=second)) as engines:
        pids = completer(engines).pid, (await engines.wanted(CHAT)).pid
        for same in ({"idle_unload": 3}, {"additional_stop_words": ("x",)}):
            assert engines.needs_restart(settings(chat=second, **same)) == ()
            engines.settle(settings(chat=second, **same))
        changed = settings(chat=second, threads=1)
        assert engines.needs_restart(changed) == (CHAT,)
        await engines.restart(changed, (CHAT,))
        chat = await engines.wanted(CHAT)
        assert completer(engines).pid == pids[0] and chat.pid != pids[1] and chat.model.threads == 1
        assert pids[1] and gone(pids[1])


async def test_a_restart_renews_what_was_loaded(second: Path) -> None:
    async with started(settings(chat=second)) as engines:
        await engines.restart(settings(chat=second))
        assert engines.states[CHAT].phase == "unloaded", "it was not loaded"
        before = (await engines.wanted(COMPLETION)).pid, (await engines.wanted(CHAT)).pid
        await engines.restart(settings(chat=second))
        assert engines.get(CHAT) is not None, "it was loaded"
        after = (await engines.wanted(COMPLETION)).pid, (await engines.wanted(CHAT)).pid
        assert not set(before) & set(after) and all(pid and gone(pid) for pid in before)
        await engines.restart(settings())
        assert engines.states[CHAT].phase == "unset" and engines.get(CHAT) is None and gone(after[1] or 0)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.1, 0.3])
async def test_a_restart_while_chat_is_loading_keeps_who_waits_for_it(second: Path, delay: float) -> None:
    async with started(settings(chat=second)) as engines:
        wanted = asyncio.get_running_loop().create_task(engines.wanted(CHAT))
        await asyncio.sleep(delay)
        await engines.restart(settings(chat=second))
        engine = await wanted
        assert (await write(await engines.wanted(CHAT)).result).generated > 0
        assert engine.model.path == str(second)


async def test_closing_while_chat_is_loading_leaves_no_process(second: Path) -> None:
    async with started(settings(chat=second)) as engines:
        wanted = asyncio.get_running_loop().create_task(engines.wanted(CHAT))
        while (engine := engines.get(CHAT)) is None or engine.pid is None:
            await asyncio.sleep(0.005)
        pid = engine.pid
        await engines.close()
        with pytest.raises(EngineError, match="shutting down"):
            await wanted
        assert gone(pid)
        with pytest.raises(EngineError, match="shutting down"):
            await engines.wanted(CHAT)


# --- a crash


async def test_a_crash_of_one_leaves_the_other_alone(second: Path) -> None:
    async with started(settings(chat=second)) as engines:
        chat, completing = await engines.wanted(CHAT), completer(engines)
        for victim, survivor, mine, others in (
            (chat, completing, write, complete),
            (completing, chat, complete, write),
        ):
            assert victim.pid is not None and survivor.pid is not None
            pid = survivor.pid
            lost, kept = mine(victim, tokens=200), others(survivor, tokens=30)
            os.kill(victim.pid, signal.SIGKILL)
            with pytest.raises(EngineError, match="died"):
                await lost.result
            assert (await kept.result).generated > 0 and survivor.pid == pid
            await until(victim, "ready")
            assert (await mine(victim).result).generated > 0 and survivor.pid == pid
