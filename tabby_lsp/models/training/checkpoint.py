"""The state of a training on disk: written beside and moved over, and read back whatever became of it.

`checkpoint.pt` is the last state at full rates and `previous.pt` the one before; `decay.pt` is the last state while
the rates go down, and is forgotten once the sitting has ended. Knows nothing of schedules.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tabby_lsp.models.training.model import Config, Weights
from tabby_lsp.models.training.schedule import Progress

# What torch raises for a file that is cut short or is none of its own.
UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError)


class OtherConfigError(Exception):
    """The checkpoint is of a model of another shape."""


@dataclass(frozen=True)
class State:
    weights: Weights
    average: Weights  # of the weights at full rates: what they are worth before their rates are lowered
    optimizers: list[Any]  # their state dictionaries
    progress: Progress


def write_beside(path: Path, data: bytes) -> None:
    """All of the data or the old file: raises OSError (a full disk) and then leaves what was there."""
    beside = path.with_suffix(".part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def save_weights(path: Path, config: Config, weights: Weights) -> None:
    _save(path, {"config": asdict(config), "weights": _plain(weights)})


def load_weights(path: Path) -> tuple[Weights, Config]:
    held = torch.load(path, weights_only=True)
    return held["weights"], Config(**held["config"])


def save_state(path: Path, config: Config, state: State, previous: Path | None = None) -> None:
    held = {
        "config": asdict(config),
        "weights": _plain(state.weights),
        "average": _plain(state.average),
        "optimizers": state.optimizers,
        "progress": asdict(state.progress),
    }
    beside = path.with_name(f"new-{path.name}")
    _save(beside, held)
    if previous is not None and path.exists():
        os.replace(path, previous)
    os.replace(beside, path)


def load_state(paths: list[Path], config: Config) -> State | None:
    """The first of these that can be read; names those that cannot."""
    for path in filter(Path.exists, paths):
        try:
            held = torch.load(path, weights_only=True)
            average = held.get("average", held["weights"])  # checkpoints of the third sitting have none
            state = State(held["weights"], average, held["optimizers"], Progress(**held["progress"]))
            found = held["config"]
        except UNREADABLE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
            sys.stderr.write(f"train: {path.name} cannot be read ({reason}): passed over\n")
            continue
        if found != asdict(config):
            raise OtherConfigError(
                f"{path} is of a model of another shape ({found}): take another --work folder, or remove it"
            )
        return state
    return None


def _plain(weights: Weights) -> Weights:
    return {name: weight.detach().cpu() for name, weight in weights.items()}


def _save(path: Path, held: dict[str, Any]) -> None:
    data = io.BytesIO()
    torch.save(held, data)
    write_beside(path, data.getvalue())
