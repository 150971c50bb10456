"""The engines that run, by role, and what of the settings each is started and asked with.

Each model file has an engine of its own, which two roles share if they name the same file. They also share the cores:
an engine with more urgent work holds the others (see `engine.scheduler`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from tabby_lsp.config import tabby_root
from tabby_lsp.data import CompletionSettings, ModelSettings
from tabby_lsp.engine.client import SHUTTING_DOWN, Engine, EngineError, EngineState
from tabby_lsp.engine.scheduler import NOTHING
from tabby_lsp.models.overview import largest_within, memory_of_size, size_of_file
from tabby_lsp.models.registry import ModelNotFound, find
from tabby_lsp.processes import machine
from tabby_lsp.settings import LocalCompletionModel, LocalModel, Settings

COMPLETION, CHAT = "completion", "chat"
ROLES = (COMPLETION, CHAT)

MINUTE = 60.0  # seconds
NO_CHAT_MODEL = (
    "No model is named for chat. `tabby-lsp models` shows those that would suit this machine; `tabby-lsp models use "
    "NAME --chat` takes one."
)
NOT_YET = "It is loaded when it is first needed."


def local_model(settings: Settings, role: str) -> LocalModel:
    return settings.model.chat.local if role == CHAT else settings.model.completion.local


def model_settings(settings: Settings, role: str = COMPLETION) -> ModelSettings:
    """What the model of a role is loaded with. Raises ModelNotFound.

    A file that both roles name is loaded so that it serves both.
    """
    local = local_model(settings, role)
    path = _file(settings, role)
    context, parallelism = local.context_size, local.parallelism
    with contextlib.suppress(ModelNotFound):
        if same_file(_file(settings, COMPLETION), _file(settings, CHAT)):
            local = settings.model.completion.local
            context = max(context, local.context_size, settings.model.chat.local.context_size)
            parallelism = max(parallelism, local.parallelism, settings.model.chat.local.parallelism)
    return ModelSettings(
        path=path,
        device=local.device,
        gpu_layers=local.num_gpu_layers,
        context_size=context,
        parallelism=parallelism,
        threads=local.threads,
    )


def _file(settings: Settings, role: str) -> str:
    """The file of a role's model. Raises ModelNotFound."""
    model_id = local_model(settings, role).model_id
    if role == CHAT and not model_id:
        raise ModelNotFound(NO_CHAT_MODEL)
    return str(find(model_id, tabby_root(), settings.models))


def same_file(one: str, other: str) -> bool:
    """Whether two paths lead to one file, which may lie under several names."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return one == other


def model_part(settings: Settings, role: str = COMPLETION) -> object:
    """The settings for which a role's model must be loaded anew, by a process of its own."""
    local = replace(local_model(settings, role), additional_stop_words=(), idle_unload=0)
    if isinstance(local, LocalCompletionModel):
        local = replace(local, prompt_template="")
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
    """An engine for each role, or the reason why there is none. `on_state` is told of every change, with the role.

    The model of completions is loaded by `restart`, that of chat by the first `wanted`.
    """

    def __init__(self, on_state: Callable[[str, EngineState], None] = lambda role, state: None) -> None:
        self.states = dict.fromkeys(ROLES, EngineState("starting"))
        self._engines: dict[str, Engine] = {}
        self._open: set[Engine] = set()  # these, and those whose place has been taken and that have not ended yet
        self._closed = False
        self._settings: Settings | None = None
        self._on_state = on_state
        self._restarting = asyncio.Lock()
        self._loading: asyncio.Task[None] | None = None  # of a chat model, after a restart
        self._changed = asyncio.Event()

    def get(self, role: str) -> Engine | None:
        return self._engines.get(role)

    async def wanted(self, role: str) -> Engine:
        """The engine of a role, with its model loaded, which this begins and waits for where it is not. To be asked
        again for each job: a restart puts another engine in its place.

        Raises EngineError, which says what to do, if no model is named or it cannot be loaded.
        """
        while not self._closed:
            engine = self._engines.get(role)
            if engine is None or _may_be_tried_again(engine):
                await self._others_loaded(engine)
                engine = await self._begin(role, engine)
            try:
                await engine.ready()
                return engine
            except EngineError:
                if self._engines.get(role) is engine:
                    raise EngineError(self.states[role].reason) from None
        raise EngineError(SHUTTING_DOWN)

    async def _others_loaded(self, engine: Engine | None) -> None:
        """Two models that are loaded at once would both take the memory that is free for one."""
        while any(not each.state.settled for each in self._open if each is not engine):
            await self.changed()

    async def _begin(self, role: str, failed: Engine | None) -> Engine:
        """Starts the engine of a role, in the place of one that has failed. Raises EngineError."""
        async with self._restarting:
            if self._settings is None:
                raise EngineError("No model has been started yet.")
            if self._engines.get(role) is failed:  # else another request has done it
                self._set_state(role, EngineState("starting"))
                await self._end(role)
                await self._start(role, self._settings)
                self._settle(self._settings)
            engine = self._engines.get(role)
            if engine is None:
                raise EngineError(SHUTTING_DOWN if self._closed else self.states[role].reason)
            return engine

    async def changed(self) -> None:
        """Waits for the next change of a state."""
        await self._changed.wait()

    async def settled(self, role: str) -> EngineState:
        """Waits until there is a model for a role, or a reason why there is none."""
        while not self.states[role].settled:
            await self.changed()
        return self.states[role]

    async def restart(self, settings: Settings, roles: Collection[str] = ROLES) -> None:
        """Starts the engines of these roles as the settings are now, in the place of those that run. A chat model is
        loaded behind that of completion, and one that was not loaded still is not."""
        async with self._restarting:  # two changes of the settings in a row must not leave two engines
            self._settings = settings
            chat = self._engines.get(CHAT)
            renewed = chat is not None and chat.state.phase != "unloaded" and _chat_is_named(settings)
            for role in roles:
                starts = role == COMPLETION or renewed
                self._set_state(role, EngineState("starting") if starts else _without_chat(settings))
                await self._end(role)
            if COMPLETION in roles:
                await self._start(COMPLETION, settings)
            self._settle(settings)
        if CHAT in roles and renewed:
            self._loading = asyncio.get_running_loop().create_task(self._load_again(CHAT))

    async def _load_again(self, role: str) -> None:
        with contextlib.suppress(EngineError):  # its state says what is the matter
            await self.wanted(role)

    def needs_restart(self, settings: Settings) -> tuple[str, ...]:
        """The roles whose models must be loaded anew for these settings: another one, or one for completion where there
        is none. That of chat is tried again when it is needed."""
        before = self._settings
        if before is None or settings == before:
            return ()
        state = self.states[COMPLETION]
        failed = (COMPLETION,) if state.phase == "failed" and state.info is None else ()
        return tuple(role for role in ROLES if role in failed or model_part(settings, role) != model_part(before, role))

    def settle(self, settings: Settings) -> None:
        """Other settings apply, for which no model must be loaded anew."""
        if self._settings is not None:
            self._settings = settings
            self._settle(settings)

    def _settle(self, settings: Settings) -> None:
        for engine in set(self._engines.values()):
            minutes = [local_model(settings, role).idle_unload for role in self._roles(engine)]
            engine.rest_after(0.0 if 0 in minutes else max(minutes) * MINUTE)
        completer = self.get(COMPLETION)
        if completer is not None:
            completer.settle(completion_settings(settings))

    async def close(self) -> None:
        """Ends all engines, also one whose end a restart was waiting for. No other is started."""
        self._closed = True
        self._engines.clear()
        if self._loading is not None:
            self._loading.cancel()
        await asyncio.gather(*(engine.close() for engine in self._open))
        self._changed.set()  # who waits for a state looks once more
        self._changed.clear()

    async def _start(self, role: str, settings: Settings) -> None:
        try:
            # A name is looked for in the folders of eight programs, which may lie on a disk that is slow to answer.
            model = await asyncio.to_thread(model_settings, settings, role)
        except ModelNotFound as error:
            failed = role == COMPLETION or _chat_is_named(settings)
            self._set_state(role, EngineState("failed", reason=str(error)) if failed else _without_chat(settings))
            return
        if self._closed:
            return
        shared = next((each for each in self._engines.values() if same_file(each.model.path, model.path)), None)
        if shared is not None:
            self._engines[role] = shared
            self._set_state(role, shared.state)
            return

        def tell(state: EngineState) -> None:
            for each in self._roles(engine):  # none, if its place has been taken
                self._set_state(each, _with_what_fits(each, state))

        completion = completion_settings(settings) if role == COMPLETION else None
        engine = Engine(model, completion, tell, settings.additional_languages)
        engine.on_urgency = self._share_cores
        engine.reserved = lambda: sum(_still_taking(each) for each in self._open if each is not engine)
        self._engines[role] = engine
        self._open.add(engine)
        engine.start()

    async def _end(self, role: str) -> None:
        """The role has no engine any more. One that serves another role lives on."""
        engine = self._engines.pop(role, None)
        if engine is not None and not self._roles(engine):
            await engine.close()
            self._open.discard(engine)
            self._share_cores()

    def _roles(self, engine: Engine) -> list[str]:
        return [role for role, each in self._engines.items() if each is engine]

    def _share_cores(self) -> None:
        """What is less urgent than another engine's work waits for it."""
        for engine in self._open:
            engine.hold(min((each.urgency for each in self._open if each is not engine), default=NOTHING))

    def _set_state(self, role: str, state: EngineState) -> None:
        self.states[role] = state
        self._changed.set()
        self._changed.clear()
        self._on_state(role, state)


def _chat_is_named(settings: Settings) -> bool:
    return bool(settings.model.chat.local.model_id)


def _without_chat(settings: Settings) -> EngineState:
    if _chat_is_named(settings):
        return EngineState("unloaded", reason=NOT_YET)
    return EngineState("unset", reason=NO_CHAT_MODEL)


def _may_be_tried_again(engine: Engine) -> bool:
    """Whether its model could not be loaded, for a reason that may be gone: too little memory, a file that was away."""
    return engine.state.phase == "failed" and engine.state.info is None and not engine.stays_down


def _with_what_fits(role: str, state: EngineState) -> EngineState:
    if state.room is None:
        return state
    smaller = largest_within(role, state.room)
    advice = f"{smaller} would fit." if smaller else "None of those that `tabby-lsp models` recommends would fit."
    return replace(state, reason=f"{state.reason} {advice}")


def _still_taking(engine: Engine) -> int:
    """Bytes that count as free and that an engine will take, or has mapped: without them it would be slow as a disk."""
    info = engine.state.info
    if engine.pid is None or (info.gpu_layers if info else engine.state.settled):
        return 0
    needed = info.memory_needed if info else _guess(engine.model.path)
    taken = machine.taken_memory(engine.pid)
    if taken is None:  # of one that is loaded the system counts most as taken
        taken = needed if info else 0
    return max(0, needed - taken)


def _guess(path: str) -> int:
    """Bytes that a model takes, by its size alone: to read its head would keep the loop. 0 if there is none."""
    try:
        return memory_of_size(size_of_file(Path(path)))
    except OSError:
        return 0
