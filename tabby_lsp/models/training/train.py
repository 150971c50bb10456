"""Training: Muon for the matrices, AdamW for the rest, a schedule in minutes, checkpoints to go on from.

Owns the optimizers, the schedule and the checkpoint; takes rows from `samples.py`. Time is the budget, so
that a machine shared with other work still ends its decay on time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tabby_lsp.models.training.model import Config, Weights, losses, new_weights
from tabby_lsp.models.training.samples import Sampler


@dataclass(frozen=True)
class Plan:
    minutes: float = 48.0
    threads: int = 2
    seed: int = 1
    muon_rate: float = 0.02
    adam_rate: float = 6e-3
    batch_tokens: int = 8192
    short_length: int = 512
    long_share: float = 0.17  # of the time, at the end, on rows as long as the context
    decay_share: float = 0.40  # of the time, at the end, the rates go linearly to zero
    warmup_share: float = 0.01
    checkpoint_minutes: float = 3.0
    compiled: bool = True  # 1.23 s a step, not 1.80; costs 40 s for each row length and needs a C++ compiler


def rate_factor(plan: Plan, done: float) -> float:
    """What the learning rates are multiplied with when `done` (0 to 1) of the time is spent."""
    warm = min(1.0, (done + 1e-3) / plan.warmup_share)
    return warm * max(0.0, min(1.0, (1.0 - done) / plan.decay_share))


def row_length(plan: Plan, config: Config, done: float) -> int:
    return plan.short_length if done < 1.0 - plan.long_share else config.context


def new_optimizers(weights: Weights, plan: Plan) -> list[Any]:
    matrices = [w for name, w in weights.items() if w.ndim == 2 and name != "token_embd.weight"]
    others = [w for name, w in weights.items() if w.ndim != 2 or name == "token_embd.weight"]
    adam = torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return [torch.optim.Muon(matrices, lr=plan.muon_rate), adam]


def next_batch(sampler: Sampler, plan: Plan, length: int) -> tuple[Tensor, Tensor]:
    rows = [sampler.row(length + 1) for _ in range(plan.batch_tokens // length)]
    return torch.tensor([row.ids for row in rows]), torch.tensor([row.weights[1:] for row in rows])


def train(sampler: Sampler, config: Config, plan: Plan, work: Path) -> None:
    """Trains until the minutes are spent, from `checkpoint.pt` on where there is one."""
    torch.set_num_threads(plan.threads)
    weights = new_weights(config, plan.seed)
    optimizers = new_optimizers(weights, plan)
    rates = [plan.muon_rate, plan.adam_rate]
    spent, step, tokens = 0.0, 0, 0
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        spent, step, tokens = _restore(checkpoint, config, weights, optimizers, sampler)
        _forget_after(step, work / "train.jsonl")
        _say(f"train: going on at step {step}, {spent / 60:.1f} minutes")
    budget = 60.0 * plan.minutes
    loss_of: Any = torch.compile(losses, dynamic=False) if plan.compiled else losses
    saved = spent
    with (work / "train.jsonl").open("a", encoding="utf-8") as log:
        last = time.monotonic()
        while spent < budget:
            factor = rate_factor(plan, spent / budget)
            length = row_length(plan, config, spent / budget)
            for optimizer, rate in zip(optimizers, rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * factor
            ids, emphasis = next_batch(sampler, plan, length)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                each = loss_of(weights, config, ids)
            ((each * emphasis).sum() / emphasis.sum()).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            step, tokens = step + 1, tokens + emphasis.numel()
            now = time.monotonic()
            spent, last = spent + now - last, now
            middle = each[emphasis == 1.0].mean().item()
            row = {"step": step, "minutes": round(spent / 60, 3), "tokens": tokens, "length": length}
            row |= {"loss": round(each.mean().item(), 4), "middle": round(middle, 4)}
            log.write(json.dumps(row) + "\n")
            if step % 20 == 0:
                log.flush()
                _say(f"train: {json.dumps(row)}")
            if spent - saved > 60 * plan.checkpoint_minutes or spent >= budget:
                _save(checkpoint, config, weights, optimizers, sampler, (spent, step, tokens))
                saved = spent
    torch.save({"config": asdict(config), "weights": _plain(weights)}, work / "weights.pt")


def load_weights(path: Path) -> tuple[Weights, Config]:
    held = torch.load(path, weights_only=True)
    return held["weights"], Config(**held["config"])


def _plain(weights: Weights) -> Weights:
    return {name: weight.detach() for name, weight in weights.items()}


def _save(
    path: Path,
    config: Config,
    weights: Weights,
    optimizers: list[Any],
    sampler: Sampler,
    progress: tuple[float, int, int],
) -> None:
    held = {
        "config": asdict(config),
        "weights": _plain(weights),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "random": sampler.rng.getstate(),
        "progress": progress,
    }
    # Written beside and moved over: an interruption while writing must not cost the last good checkpoint.
    beside = path.with_suffix(".part")
    torch.save(held, beside)
    os.replace(beside, path)


def _restore(
    path: Path, config: Config, weights: Weights, optimizers: list[Any], sampler: Sampler
) -> tuple[float, int, int]:
    held = torch.load(path, weights_only=True)
    if held["config"] != asdict(config):
        raise ValueError(f"{path.name} was trained with another configuration: {held['config']}")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(held["weights"][name])
    for optimizer, state in zip(optimizers, held["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    version, internal, gauss = held["random"]
    sampler.rng.setstate((version, tuple(internal), gauss))
    spent, step, tokens = held["progress"]
    return spent, step, tokens


def _forget_after(step: int, log: Path) -> None:
    """Drops the logged steps that came after the checkpoint; they are about to be done again."""
    kept = [line for line in log.read_text(encoding="utf-8").splitlines(True) if _step(line) <= step]
    log.write_text("".join(kept), encoding="utf-8")


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")  # a line cut short by the interruption


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
