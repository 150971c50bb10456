"""What the server says of itself: `tabby/status` and its notifications.

The names are Tabby's where they mean the same (tabby-agent's `StatusInfo`). Does not know how anything is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tabby_lsp.data import Completion
from tabby_lsp.engine.client import EngineState


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """The suggestion last shown. Nothing was evaluated if none was begun for it."""

    completion: Completion
    cached: bool
    milliseconds: float


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


def status(state: EngineState, busy: bool, trigger: str) -> dict[str, Any]:
    """The answer to `tabby/status`: one line for a status bar in `tooltip`, what to do in `helpMessage`."""
    name = _name(state, busy, trigger)
    answer: dict[str, Any] = {"status": name, "tooltip": _tooltip(name, state)}
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
    if state.phase != "ready":
        return "connecting"
    if busy:
        return "fetching"
    return "readyForManualTrigger" if trigger == "manual" else "readyForAutoTrigger"


def _tooltip(name: str, state: EngineState) -> str:
    model = state.info.name if state.info else ""
    return {
        "codeCompletionNotAvailable": "Tabby: code completion is not available",
        "connecting": f"Tabby: loading the model ({state.percent} %)",
        "fetching": f"Tabby: {model} is writing",
        "readyForAutoTrigger": f"Tabby: {model} is ready",
        "readyForManualTrigger": f"Tabby: {model} is ready, on request",
    }[name]
