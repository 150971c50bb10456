"""What the server says of itself: `tabby/status` and its notifications.

The names are Tabby's where they mean the same (tabby-agent's `StatusInfo`). Does not know how anything is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tabby_lsp.data import Completion
from tabby_lsp.engine.client import EngineState


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """The suggestion last shown. Nothing was evaluated if none was begun for it."""

    completion: Completion
    cached: bool
    milliseconds: float


# Of a model that is loaded llama.cpp tells each percent; the first and the last state are told at once.
LOADING_SECONDS = 0.1


@dataclass(slots=True)
class StatusListener:
    """What a client knows of the status. `asked`: whether it wants to hear of changes; nobody else is told."""

    asked: bool = False
    _status: dict[str, Any] = field(default_factory=dict)
    _at: float = float("-inf")

    def news(self, status: Mapping[str, Any], now: float) -> dict[str, Any] | None:
        """The params of a notification, if there is one to send: the name and its line, always, and what is another
        than the client knows; null for what is gone. `now` is in seconds."""
        if not self.asked:
            return None
        changed = {key: value for key, value in status.items() if self._status.get(key) != value}
        changed |= dict.fromkeys(self._status.keys() - status.keys())
        loading = status["status"] == self._status.get("status") == "connecting"
        if not changed or (loading and now - self._at < LOADING_SECONDS):
            return None
        self._status, self._at = dict(status), now
        return {"status": status["status"], "tooltip": status["tooltip"], **changed}

    def knows(self, status: Mapping[str, Any]) -> None:
        """The client has asked, and was answered. From now on it is told of changes."""
        self.asked, self._status = True, dict(status)


def last_completion(last: LastAnswer) -> dict[str, Any]:
    """What it cost."""
    counts = last.completion
    return {
        "evaluated": 0 if last.cached else counts.evaluated,
        "reused": counts.reused,
        "generated": 0 if last.cached else counts.generated,
        "cached": last.cached,
        "milliseconds": round(last.milliseconds, 3),
        "engineMilliseconds": 0.0 if last.cached else round(counts.timing.total, 3),
    }


def model_status(state: EngineState) -> dict[str, Any]:
    """One role's entry in `models`."""
    answer: dict[str, Any] = {"phase": state.phase, "percent": state.percent}
    if state.reason:
        answer["reason"] = state.reason
    if state.info is not None:
        answer |= {"model": state.info.name, "path": state.info.path, "device": state.info.device}
        answer["memory"] = state.info.memory_needed
    return answer


def status(state: EngineState, busy: bool, trigger: str, scarce: str = "") -> dict[str, Any]:
    """The answer to `tabby/status`: one line for a status bar in `tooltip`, what to do in `helpMessage`, and in
    `savingEnergy` why energy is `scarce`, if it is."""
    name = _name(state, busy, trigger)
    saving = f" (energy is saved, {scarce}: nothing is read ahead, fewer threads)" if scarce else ""
    answer: dict[str, Any] = {"status": name, "tooltip": _tooltip(name, state) + saving, "savingEnergy": scarce}
    if state.reason:
        answer["helpMessage"] = state.reason
    if state.info is not None:
        info = state.info
        answer |= {
            "model": info.name,
            "modelPath": info.path,
            "device": info.device,
            "threads": info.threads,
            "contextSize": info.context_size,
            "memoryNeeded": info.memory_needed,
            "notes": list(state.notes),
        }
    if state.completion is not None:
        answer |= {
            "family": state.completion.family,
            "layout": state.completion.layout,
            "maxPromptTokens": state.completion.max_prompt_tokens,
        }
    return answer


def _name(state: EngineState, busy: bool, trigger: str) -> str:
    if state.phase in ("failed", "closed"):
        return "codeCompletionNotAvailable"
    if state.phase not in ("ready", "unloaded"):
        return "connecting"
    if busy:
        return "fetching"
    return "readyForManualTrigger" if trigger == "manual" else "readyForAutoTrigger"


def _tooltip(name: str, state: EngineState) -> str:
    model = state.info.name if state.info else "the model, unloaded until it is needed,"
    return {
        "codeCompletionNotAvailable": "Tabby: code completion is not available",
        "connecting": f"Tabby: loading the model ({state.percent} %)",
        "fetching": f"Tabby: {model} is writing",
        "readyForAutoTrigger": f"Tabby: {model} is ready",
        "readyForManualTrigger": f"Tabby: {model} is ready, on request",
    }[name]
