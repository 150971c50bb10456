"""The engines of all roles: started, replaced and ended with the settings, whatever the moment."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from editor import gone

from tabby_lsp.data import AdditionalLanguage, CompletionContext, CompletionRequest, Sampling
from tabby_lsp.engine.client import EngineState
from tabby_lsp.engines import COMPLETION, Engines
from tabby_lsp.settings import Settings

SETTINGS = Settings()


def with_local(**values: object) -> Settings:
    local = replace(SETTINGS.model.completion.local, **values)  # type: ignore[arg-type]
    return replace(SETTINGS, model=replace(SETTINGS.model, completion=replace(SETTINGS.model.completion, local=local)))


async def test_what_needs_a_restart_and_what_does_not() -> None:
    engines = Engines()
    assert not engines.needs_restart(SETTINGS), "nothing has been started"
    await engines.restart(SETTINGS)
    try:
        assert (await engines.settled(COMPLETION)).info is not None
        sure = replace(SETTINGS, completion=replace(SETTINGS.completion, confidence=0.5))
        for changed in (sure, with_local(prompt_template="{prefix}"), with_local(additional_stop_words=("x",))):
            assert not engines.needs_restart(changed)
        nushell = replace(SETTINGS, additional_languages=(AdditionalLanguage(("nushell",), ("nu",), "#"),))
        for changed in (with_local(threads=1), with_local(context_size=512), with_local(model_id="other"), nushell):
            assert engines.needs_restart(changed)
        engine = engines.get(COMPLETION)
        assert engine is not None
        pid = engine.pid
        engines.settle(sure)
        while engine.state.completion is None or engine.state.completion.confidence != 0.5:
            await asyncio.sleep(0.01)
        assert engine.pid == pid
    finally:
        await engines.close()


async def test_a_model_that_is_not_there_is_a_state_and_other_settings_end_it() -> None:
    states: list[tuple[str, EngineState]] = []
    engines = Engines(lambda role, state: states.append((role, state)))
    await engines.restart(with_local(model_id="NoSuchModel"))
    try:
        assert states[-1][0] == COMPLETION and states[-1][1].phase == "failed" and "NoSuchModel" in states[-1][1].reason
        assert engines.get(COMPLETION) is None
        assert engines.needs_restart(SETTINGS)
        await engines.restart(SETTINGS)
        engine = engines.get(COMPLETION)
        assert engine is not None
        request = CompletionRequest("a", CompletionContext("import os\nimport "), Sampling(4))
        assert (await engine.complete(request).result).generated > 0
    finally:
        await engines.close()


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.1, 0.3])
@pytest.mark.parametrize("cancelled", [True, False])
async def test_closing_in_the_middle_of_a_restart_leaves_no_process(delay: float, cancelled: bool) -> None:
    """As where an editor quits while it restarts the model."""
    engines = Engines()
    await engines.restart(SETTINGS)
    await engines.settled(COMPLETION)
    first = engines.get(COMPLETION)
    assert first is not None and first.pid is not None
    restart = asyncio.get_running_loop().create_task(engines.restart(SETTINGS))
    await asyncio.sleep(delay)
    if cancelled:
        restart.cancel()
    second = engines.get(COMPLETION)
    await engines.close()
    with contextlib.suppress(asyncio.CancelledError):
        await restart
    assert engines.get(COMPLETION) is None
    for engine in (first, second):
        if engine is not None and engine.pid is not None:
            assert gone(engine.pid) or not Path(f"/proc/{engine.pid}").exists()
