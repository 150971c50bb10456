"""Two models at once, one for completion and one for chat: each in a process of its own, on the same cores."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import MODEL
from editor import Editor, Json, child_name, command_line, gone

from tabby_lsp import engines as engines_module
from tabby_lsp.commands import doctor
from tabby_lsp.data import CompletionContext, CompletionRequest, OwnModel, Sampling, Segment
from tabby_lsp.engine.client import UNLOADED, Engine, EngineError, EngineState
from tabby_lsp.engine.messages import Ping, Write
from tabby_lsp.engines import CHAT, COMPLETION, Engines, model_settings
from tabby_lsp.lsp.status import status
from tabby_lsp.models import overview
from tabby_lsp.processes import machine
from tabby_lsp.settings import Settings

LONG = Write((Segment("import os\n"),), Sampling(900, 1.0, 3))


def settings(
    completion: Path | str = MODEL, chat: Path | str = "", completion_idle_unload: int = 0, **of_chat: Any
) -> Settings:
    model = Settings().model
    size = {"context_size": 1024, "parallelism": 1}
    local = replace(model.completion.local, model_id=str(completion), idle_unload=completion_idle_unload, **size)
    chatting = replace(model.chat.local, model_id=str(chat), **{**size, **of_chat})
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
    return engine.write(Write((Segment("def add(a, b):\n"),), Sampling(tokens)))


def complete(engine: Engine, text: str = "import os\nimport ", tokens: int = 4) -> Any:
    return engine.complete(CompletionRequest("a", CompletionContext(text), Sampling(tokens)))


async def ended(pid: int | None) -> None:
    """Waits until a process has given back what it held."""
    assert pid is not None
    while command_line(pid):
        await asyncio.sleep(0.01)


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
        engines.settle(replace(of, completion=replace(of.completion, confidence=0.5)))
        while engine.state.completion is None or engine.state.completion.confidence != 0.5:
            await engines.changed()
        assert engine.state.dialect is not None and engines.states[CHAT] == engine.state, "chat is asked as before"
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
        assert engines.states[CHAT].phase == "starting", "it was loaded, and is again, without anybody's asking"
        assert (await engines.settled(CHAT)).info is not None
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
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(engines.changed(), 0.01)


# --- unloaded


async def test_a_chat_model_is_unloaded_when_nothing_is_asked_of_it(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines_module, "MINUTE", 0.2)
    async with started(settings(chat=second, idle_unload=1)) as engines:
        for _ in range(2):
            engine = await engines.wanted(CHAT)
            assert (await write(engine).result).generated > 0
            pid = engine.pid
            while engines.states[CHAT].phase != "unloaded":
                await engines.changed()
            assert engine.pid is None
            await ended(pid)
        again = write(engine)  # also without `wanted`
        assert (await again.result).generated > 0 and engines.states[CHAT].info is not None
        assert completer(engines).state.phase == "ready", "that of completion stays"


async def test_an_answer_that_is_being_written_is_not_unloaded(second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "MINUTE", 0.02)
    states: list[tuple[str, EngineState]] = []
    async with started(settings(chat=second, idle_unload=1), states) as engines:
        engine = await engines.wanted(CHAT)
        written = engine.write(replace(LONG, sampling=Sampling(600, 1.0, 3)))
        begun = len(states)
        assert (await written.result).generated > 100
        assert not [state for role, state in states[begun:] if role == CHAT and state.phase != "ready"]
        while engines.states[CHAT].phase != "unloaded":
            await engines.changed()


async def test_closing_while_a_model_is_unloaded_leaves_no_process(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(settings(chat=second)) as engines:
        engine = await engines.wanted(CHAT)
        pid = engine.pid
        engine.unload()
        await engines.close()
        assert pid and gone(pid)


async def test_the_model_of_completion_is_unloaded_if_the_user_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "MINUTE", 0.2)
    async with started(settings(completion_idle_unload=1)) as it:
        engine, pid = completer(it), completer(it).pid
        await until(engine, "unloaded")
        await ended(pid)
        assert (await it.settled(COMPLETION)).phase == "unloaded"
        job = complete(engine)
        assert (await job.result).generated > 0 and it.states[COMPLETION].info is not None


async def test_a_model_of_both_roles_stays_as_long_as_one_of_them_wants_it(
    monkeypatch: pytest.MonkeyPatch, second: Path
) -> None:
    monkeypatch.setattr(engines_module, "MINUTE", 0.05)
    async with started(settings(second, second, idle_unload=1)) as engines:
        engine = await engines.wanted(CHAT)
        assert (await write(engine).result).generated > 0
        await asyncio.sleep(0.3)
        assert engine.state.phase == "ready"


async def test_a_chat_model_whose_file_is_removed_goes_on_until_it_is_unloaded(second: Path) -> None:
    async with started(settings(chat=second)) as engines:
        engine = await engines.wanted(CHAT)
        second.rename(second.with_name("away.gguf"))
        assert (await write(engine).result).generated > 0
        engine.unload()
        with pytest.raises(EngineError, match="does not exist"):
            await write(engine).result
        with pytest.raises(EngineError, match="does not exist"):
            await engines.wanted(CHAT)
        second.with_name("away.gguf").rename(second)
        assert (await write(await engines.wanted(CHAT)).result).generated > 0


# --- one account of memory


async def test_a_second_model_that_does_not_fit_is_refused_and_the_first_stays(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first has not touched yet, or has only mapped, counts as free and is not."""
    of = settings(chat=second)
    async with started(of) as engines:
        first = completer(engines).state.info
        assert first is not None
        monkeypatch.setattr(machine, "taken_memory", lambda pid: first.memory_needed // 2)
        engine = await engines.wanted(CHAT)
        assert engine.reserved() == first.memory_needed - first.memory_needed // 2
        assert completer(engines).reserved() == engine.reserved(), "the account is one"
        monkeypatch.setattr(machine, "taken_memory", lambda pid: -(1 << 50))
        await engines.restart(of, (CHAT,))
        with pytest.raises(EngineError, match=r"does not fit in memory.* 0\.00 GiB are free"):
            await engines.wanted(CHAT)
        assert engines.states[CHAT].phase == "failed"
        assert completer(engines).reserved() == 0, "what was refused takes nothing"
        assert engines.needs_restart(replace(of, models=(OwnModel("x", "/x.gguf"),))) == (COMPLETION, CHAT)
        assert engines.needs_restart(replace(of, completion=replace(of.completion, seed=1))) == ()
        assert "None of those that `tabby-lsp models` recommends would fit." in engines.states[CHAT].reason
        assert (await complete(completer(engines)).result).generated > 0
        monkeypatch.setattr(machine, "taken_memory", lambda pid: 1 << 50)
        assert (await write(await engines.wanted(CHAT)).result).generated > 0, "there is room now"


def test_what_would_fit_is_the_largest_of_those_that_suit_the_role() -> None:
    assert overview.largest_within(CHAT, 1 << 20) == ""
    assert overview.largest_within(CHAT, 1 << 30).startswith("Qwen2.5-Coder-0.5B-Instruct (")
    assert overview.largest_within(CHAT, 1 << 40).startswith("Qwen2.5-Coder-14B-Instruct (")
    assert overview.largest_within(COMPLETION, 3 << 30).startswith("Qwen2.5-Coder-1.5B (")


async def test_a_chat_model_is_loaded_behind_that_of_completion(second: Path) -> None:
    """Loaded at once, each would take the memory that is free for one."""
    states: list[tuple[str, EngineState]] = []
    engines = Engines(lambda role, state: states.append((role, state)))
    await engines.restart(settings(chat=second))
    try:
        await engines.wanted(CHAT)
    finally:
        await engines.close()
    order = [(role, state.phase) for role, state in states]
    assert order.index((COMPLETION, "ready")) < order.index((CHAT, "loading"))


# --- the same cores


async def steps(engine: Engine) -> int:
    """How many steps an engine has done that has work; -1: it has none."""
    engine._child._work = None
    while not isinstance(said := engine._child._work, dict):
        engine._send(Ping())
        await asyncio.sleep(0.01)
    return int(said["work"])


def stop(engine: Engine) -> None:
    """From here on what it is asked for is not done, and does not end."""
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)


def go_on(engine: Engine) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGCONT)


def kill(engine: Engine) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)


async def test_while_a_completion_is_computed_the_other_engine_does_no_step(second: Path) -> None:
    async with started(settings(chat=second)) as engines:
        chat, completing = await engines.wanted(CHAT), completer(engines)
        answer = chat.write(LONG)
        for end in ("done", "cancelled", "died"):
            stop(completing)
            asked = complete(completing)
            held = await steps(chat)
            assert held > 0
            await asyncio.sleep(0.1)
            assert await steps(chat) == held and not answer.result.done()
            if end == "done":
                go_on(completing)
                assert (await asked.result).generated > 0
            elif end == "cancelled":
                completing.cancel(asked)
                go_on(completing)
            else:
                kill(completing)
                with pytest.raises(EngineError, match="died"):
                    await asked.result
            while await steps(chat) == held:
                pass
            assert not answer.result.done()
        chat.cancel(answer)


async def test_what_nobody_waits_for_is_not_computed_beside_an_answer(second: Path) -> None:
    async with started(settings(chat=second)) as engines:
        chat, completing = await engines.wanted(CHAT), completer(engines)
        stop(chat)
        answer = chat.write(LONG)
        ahead = completing.complete(
            CompletionRequest("a", CompletionContext("import os\nimport "), Sampling(4), ahead=True)
        )
        held = await steps(completing)
        await asyncio.sleep(0.1)
        assert await steps(completing) == held and not ahead.result.done()
        assert (await complete(completing, "import re\nimport ").result).generated > 0, "a completion does not wait"
        again = completing.complete(
            CompletionRequest("a", CompletionContext("import sys\nimport "), Sampling(4), ahead=True)
        )
        chat.cancel(answer)
        assert (await again.result).generated > 0, "the answer has ended"
        go_on(chat)


async def test_a_model_that_is_loaded_waits_for_a_completion(second: Path) -> None:
    """Also where it is loaded again since its process died."""
    async with started(settings(chat=second)) as engines:
        chat, completing = await engines.wanted(CHAT), completer(engines)
        stop(completing)
        asked = complete(completing)
        kill(chat)
        await until(chat, "restarting")
        await until(chat, "loading")
        await asyncio.sleep(1)
        assert chat.state.phase == "loading"
        go_on(completing)
        assert (await asked.result).generated > 0
        await until(chat, "ready")
        assert (await write(chat).result).generated > 0


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
            kill(victim)
            with pytest.raises(EngineError, match="died"):
                await lost.result
            assert (await kept.result).generated > 0 and survivor.pid == pid
            await until(victim, "ready")
            assert (await mine(victim).result).generated > 0 and survivor.pid == pid


# --- what is said of it


def test_the_doctor_says_what_of_the_chat_model_would_work(
    second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(of: Settings) -> str:
        lines: list[str] = []
        doctor._chat(of, lines.append)
        return "\n".join(lines)

    assert said(settings()).startswith("-- chat:") and "models use NAME --chat" in said(settings())
    assert re.search(
        r"^ok chat:.*second\.gguf\n +needs \d+ MiB beside the \d+ MiB .* free", said(settings(chat=second))
    )
    link = tmp_path / "link.gguf"
    link.symlink_to(second)
    assert "loaded once" in said(settings(second, link))
    assert re.search(r"^!! chat: .*away.gguf cannot be read: No such file", said(settings(chat=tmp_path / "away.gguf")))
    assert said(settings(chat="NoSuchModel")).startswith("!! chat:")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    assert said(settings(chat=tmp_path / "bad.gguf")).startswith("!! chat:")
    monkeypatch.setattr(machine, "available_memory", lambda: 1 << 20)
    assert re.search(r"^-- chat:.*\n.*1 MiB are free", said(settings(chat=second))), "it works until both are loaded"


def test_the_models_in_use_are_those_of_both_roles(second: Path) -> None:
    assert overview.in_use(settings(chat=second)) == ({COMPLETION: str(MODEL), CHAT: str(second)}, [])
    assert overview.in_use(settings()) == ({COMPLETION: str(MODEL)}, [])


def engine_pids(editor: Editor) -> set[int]:
    pid = editor.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return {int(each) for each in children if child_name(int(each)) == "engine"}


def test_the_status_names_both_models_and_a_restart_renews_both(second: Path) -> None:
    def chat_is(phase: str, since: int = 0) -> int:
        """Waits for the news; the number of messages before it."""

        def wanted(message: Json) -> bool:
            chat = message.get("params", {}).get("models", {}).get("chat", {})
            return message.get("method") == "tabby/status/didChange" and chat.get("phase") == phase

        return editor.messages.index(editor.wait(wanted, since))

    with Editor("--set", f"model.chat.local.model_id={second}") as editor:
        editor.start()
        models = editor.request("tabby/status", {})["models"]
        assert models["completion"]["phase"] == "ready" and models["completion"]["path"] == str(MODEL)
        assert models["chat"]["phase"] == "unloaded" and "first needed" in models["chat"]["reason"]
        assert len(engine_pids(editor)) == 1
        editor.request("tabby/chat", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2})
        chat_is("ready", chat_is("loading"))
        models = editor.request("tabby/status", {})["models"]
        assert models["chat"]["path"] == str(second) and models["chat"]["memory"] > 0
        before = engine_pids(editor)
        assert len(before) == 2
        seen = len(editor.messages)
        editor.request("workspace/executeCommand", {"command": "tabby.restart", "arguments": []})
        chat_is("ready", chat_is("loading", seen))
        after = engine_pids(editor)
        assert len(after) == 2 and not after & before and all(gone(pid) for pid in before)


def test_an_unloaded_model_is_said_to_be_there() -> None:
    said = status(EngineState("unloaded", reason=UNLOADED), False, "auto")
    assert said["status"] == "readyForAutoTrigger" and said["helpMessage"] == UNLOADED
    assert "unloaded until it is needed" in said["tooltip"]
