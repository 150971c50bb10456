"""A model that is grown says what it said, and all of it learns."""

from __future__ import annotations

import importlib.util
import random
from dataclasses import replace

import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("needs the extra `train`", allow_module_level=True)

import torch

from tabby_lsp.models.training.growth import GrowthError, grow
from tabby_lsp.models.training.model import Config, logits, new_weights


def test_a_grown_model_says_what_the_small_one_did() -> None:
    old = Config(layers=2, width=64, heads=1, hidden=96, context=64)
    weights = new_weights(old, 1)
    with torch.no_grad():
        for weight in weights.values():  # nothing is zero, as in a trained one
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
        weights["token_embd.weight"].mul_(10)  # beside which the norm's epsilon weighs nothing
    ids = torch.randint(0, 8000, (2, 40), generator=torch.Generator().manual_seed(1))
    before = logits(weights, old, ids)
    for new in (
        replace(old, layers=5),
        replace(old, hidden=160),
        replace(old, width=128, heads=2),
        replace(old, layers=3, width=192, heads=3, hidden=200, context=128),
    ):
        assert torch.allclose(before, logits(grow(weights, old, new, 7), new, ids), atol=2e-3), new
    assert grow(weights, old, old, 7) is weights


def test_all_of_a_grown_model_learns() -> None:
    old = Config(layers=1, width=64, heads=1, hidden=64, context=64)
    new = replace(old, layers=3, width=128, heads=2, hidden=128)
    grown = grow(new_weights(old, 1), old, new, 7)
    rng = random.Random(1)
    optimizer = torch.optim.SGD(grown.values(), lr=0.05)
    start = {name: weight.detach().clone() for name, weight in grown.items()}
    for _ in range(4):
        ids = torch.tensor([[rng.randrange(8000) for _ in range(20)] for _ in range(4)])
        torch.nn.functional.cross_entropy(logits(grown, new, ids).flatten(0, 1), ids.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert [name for name in grown if torch.equal(grown[name], start[name])] == []


@pytest.mark.parametrize("change", [{"heads": 2}, {"kv_heads": 2, "heads": 4, "width": 256}, {"layers": 1}])
def test_a_model_that_cannot_grow_is_refused(change: dict[str, int]) -> None:
    old = Config(layers=2, width=64, heads=1, hidden=64)
    with pytest.raises(GrowthError):
        grow(new_weights(old, 1), old, replace(old, **change), 1)
