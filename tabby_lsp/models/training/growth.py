"""A trained model as the start of a larger one that computes the same, so that no training is lost by growing.

What is new reads from the old but writes nothing until it has learned to: new layers, heads and hidden units end
in zeros, new channels of the residual stream hold zeros (Chen, Goodfellow and Shlens, Net2Net, 2015; Gong et al.,
progressive stacking, 2019). Knows nothing of files and optimizers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tabby_lsp.models.training.model import Config, Weights, new_weights


class GrowthError(Exception):
    """The one model cannot become the other; the message says what differs."""


def check_growth(old: Config, new: Config) -> None:
    for name in ("head_width", "kv_heads", "vocabulary", "rope_base"):
        if getattr(old, name) != getattr(new, name):
            raise GrowthError(f"{name} is {getattr(old, name)}, not {getattr(new, name)}")
    for name in ("layers", "width", "hidden", "context"):
        if getattr(old, name) > getattr(new, name):
            raise GrowthError(f"{name} is {getattr(old, name)}, more than {getattr(new, name)}")


def grow(weights: Weights, old: Config, new: Config, seed: int) -> Weights:
    """`weights` of shape `old` in a model of shape `new`; raises GrowthError where the shapes do not allow it."""
    check_growth(old, new)
    if old == new:
        return weights
    grown = new_weights(new, seed)
    # A norm over channels of which some are zero divides by less: its weights make up for it.
    scale = math.sqrt(old.width / new.width)
    places = layer_places(old.layers, new.layers)
    with torch.no_grad():
        for name, weight in weights.items():
            target = grown[_renumbered(name, places)]
            if name == "token_embd.weight":
                target.zero_()
            if name.endswith("norm.weight"):
                target.fill_(scale)
                weight = weight * scale
            _corner(target, weight).copy_(weight)
    return grown


def layer_places(old: int, new: int) -> list[int]:
    """Where each old layer comes to stand among the new, spread evenly, the last one last."""
    return [(n + 1) * new // old - 1 for n in range(old)]


def _renumbered(name: str, places: list[int]) -> str:
    if not name.startswith("blk."):
        return name
    _, number, rest = name.split(".", 2)
    return f"blk.{places[int(number)]}.{rest}"


def _corner(target: Tensor, weight: Tensor) -> Tensor:
    return target[tuple(slice(side) for side in weight.shape)]
