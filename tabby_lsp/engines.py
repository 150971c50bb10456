"""The engines that run, by role, and what of the settings each is started and asked with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from tabby_lsp.config import tabby_root
from tabby_lsp.data import CompletionSettings, ModelSettings
from tabby_lsp.engine.client import Engine, EngineState
from tabby_lsp.models.registry import ModelNotFound, find
from tabby_lsp.settings import Settings

COMPLETION = "completion"
ROLES = (COMPLETION,)


def model_settings(settings: Settings) -> ModelSettings:
    """What the model of completions is loaded with. Raises ModelNotFound."""
    local = settings.model.completion.local
    return ModelSettings(
        path=str(find(local.model_id, tabby_root(), settings.models)),
        device=local.device,
        gpu_layers=local.num_gpu_layers,
        context_size=local.context_size,
        parallelism=local.parallelism,
        threads=local.threads,
    )


def model_part(settings: Settings) -> object:
    """The settings for which a model must be loaded anew, by a process of its own."""
    local = replace(settings.model.completion.local, prompt_template="", additional_stop_words=())
    return local, settings.models, settings.additional_languages


def completion_settings(settings: Settings) -> CompletionSettings:
    return CompletionSettings(
        layout=settings.completion.layout,
        prompt_template=settings.model.completion.local.prompt_template,
        stop_words=settings.model.completion.local.additional_stop_words,
        max_prompt_tokens=settings.completion.max_prompt_tokens,
        speculation=settings.completion.speculation,
        confidence=settings.completion.confidence,
    )


def completing(settings: Settings, on_state: Callable[[EngineState], None] = lambda state: None) -> Engine:
    """An engine for completions, to be started. Raises ModelNotFound."""
    return Engine(model_settings(settings), completion_settings(settings), on_state, settings.additional_languages)


class Engines:
    """An engine for each role, or the reason why there is none. `on_state` is told of every change, with the role."""

    def __init__(self, on_state: Callable[[str, EngineState], None] = lambda role, state: None) -> None:
        self.states = dict.fromkeys(ROLES, EngineState("starting"))
        self._engines: dict[str, Engine] = {}
        self._open: set[Engine] = set()  # these, and those whose place has been taken and that have not ended yet
        self._closed = False
        self._settings: Settings | None = None
        self._on_state = on_state
        self._restarting = asyncio.Lock()
        self._changed = asyncio.Event()

    def get(self, role: str) -> Engine | None:
        return self._engines.get(role)

    async def changed(self) -> None:
        """Waits for the next change of a state."""
        await self._changed.wait()

    async def settled(self, role: str) -> EngineState:
        """Waits until there is a model for a role, or a reason why there is none."""
        while self.states[role].info is None and self.states[role].phase != "failed":
            await self.changed()
        return self.states[role]

    async def restart(self, settings: Settings) -> None:
        """Starts every engine as the settings are now, in the place of the one that runs."""
        async with self._restarting:  # two changes of the settings in a row must not leave two engines
            self._settings = settings
            for role in ROLES:
                old = self._engines.pop(role, None)
                self._set_state(role, EngineState("starting"))
                if old is not None:
                    await old.close()
                    self._open.discard(old)
                await self._start(role, settings)

    def needs_restart(self, settings: Settings) -> bool:
        """Whether a model must be loaded anew for these settings: another one, or one where there is none."""
        if self._settings is None or settings == self._settings:
            return False
        failed = any(state.phase == "failed" and state.info is None for state in self.states.values())
        return failed or model_part(settings) != model_part(self._settings)

    def settle(self, settings: Settings) -> None:
        """Other settings apply, for which no model must be loaded anew."""
        if self._settings is None:
            return
        self._settings = settings
        if (engine := self.get(COMPLETION)) is not None:
            engine.settle(completion_settings(settings))

    async def close(self) -> None:
        """Ends all engines, also one whose end a restart was waiting for. No other is started."""
        self._closed = True
        self._engines.clear()
        await asyncio.gather(*(engine.close() for engine in self._open))

    async def _start(self, role: str, settings: Settings) -> None:
        def tell(state: EngineState) -> None:
            if self._engines.get(role) is engine:  # not one whose place has been taken
                self._set_state(role, state)

        try:
            # A name is looked for in the folders of eight programs, which may lie on a disk that is slow to answer.
            engine = await asyncio.to_thread(completing, settings, tell)
        except ModelNotFound as error:
            self._set_state(role, EngineState("failed", reason=str(error)))
            return
        if self._closed:
            return
        self._engines[role] = engine
        self._open.add(engine)
        engine.start()

    def _set_state(self, role: str, state: EngineState) -> None:
        self.states[role] = state
        self._changed.set()
        self._changed.clear()
        self._on_state(role, state)
