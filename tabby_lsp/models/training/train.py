"""Training: Muon for the matrices, AdamW for the rest, a schedule in minutes, checkpoints to go on from.

Owns the two machines' plans, the optimizers, the schedule and the checkpoint; takes rows from `samples.py`.
Time is the budget, so that a machine shared with other work still ends its decay on time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tabby_lsp.models.training.model import Config, Weights, losses, new_weights
from tabby_lsp.models.training.samples import Sample, Sampler


@dataclass(frozen=True)
class Plan:
    """How one sitting trains; the defaults are those of two CPU cores."""

    minutes: float = 105.0
    device: str = "cpu"
    threads: int = 2
    workers: int = 0  # processes that cut and tokenise samples; 0 does it between the steps
    seed: int = 1
    muon_rate: float = 0.02
    adam_rate: float = 6e-3
    batch_tokens: int = 8192
    short_length: int = 1024
    long_share: float = 0.25  # of the time, at the end, on rows as long as the context
    decay_share: float = 0.40  # of the time, at the end, the rates go linearly to zero
    warmup_share: float = 0.01
    checkpoint_minutes: float = 3.0
    compiled: bool = True  # a third faster; costs 40 s for each row length and needs a C++ compiler
    held_out_rows: int = 16  # of `short_length`, looked at with every checkpoint


@dataclass(frozen=True)
class Machine:
    config: Config
    plan: Plan
    share_scale: float  # what the manifest's `max_mb` are multiplied with: a larger model can use more text


# The CPU's model is compute-optimal for about three hours on two cores (measured: 4 M parameters beat 6.6 M);
# the GPU's for 25 minutes of one H100-class card, some 3e17 FLOP (facts: 50 to 60 M parameters, 1 G tokens).
# Its widths are multiples of 256, so that the K-quants it must be shipped in apply to every matrix.
MACHINES = {
    "cpu": Machine(Config(), Plan(), 1.0),
    "gpu": Machine(
        Config(layers=16, width=512, heads=8, kv_heads=2, hidden=1536),
        Plan(
            minutes=25.0,
            device="cuda",
            workers=12,
            adam_rate=3e-3,
            batch_tokens=131_072,
            checkpoint_minutes=2.0,
            held_out_rows=64,
        ),
        8.0,
    ),
}


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


_worker_sampler: Sampler | None = None


def _adopt(sampler: Sampler) -> None:
    global _worker_sampler
    _worker_sampler = sampler


def _draw(step: int, count: int, length: int) -> list[Sample]:
    assert _worker_sampler is not None
    return _worker_sampler.rows(step, count, length)


class Feed:
    """The rows of each step, drawn ahead by worker processes where the plan has them."""

    def __init__(self, sampler: Sampler, plan: Plan) -> None:
        self._sampler = sampler
        self._plan = plan
        self._ahead: deque[tuple[int, int, Any]] = deque()
        workers = plan.workers
        self._pool = ProcessPoolExecutor(workers, initializer=_adopt, initargs=(sampler,)) if workers else None

    def rows(self, step: int, length: int) -> list[Sample]:
        count = self._plan.batch_tokens // length
        if self._pool is None:
            return self._sampler.rows(step, count, length + 1)
        if self._ahead and self._ahead[0][:2] != (step, length):
            self._ahead.clear()  # the rows have become longer
        while len(self._ahead) < 2 * self._plan.workers:
            at = self._ahead[-1][0] + 1 if self._ahead else step
            self._ahead.append((at, length, self._pool.submit(_draw, at, count, length + 1)))
        rows: list[Sample] = self._ahead.popleft()[2].result()
        return rows

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def as_tensors(rows: list[Sample], device: str) -> tuple[Tensor, Tensor]:
    ids = torch.tensor([row.ids for row in rows]).to(device)
    return ids, torch.tensor([row.middle[1:] for row in rows]).to(device)


def _autocast(plan: Plan) -> Any:
    return torch.autocast(plan.device.split(":")[0], dtype=torch.bfloat16)


def held_out_losses(weights: Weights, config: Config, plan: Plan, rows: list[Sample]) -> dict[str, float]:
    """Nats per token over all tokens and over the middles of rows that are never trained on."""
    with torch.no_grad(), _autocast(plan):
        ids, middle = as_tensors(rows, plan.device)
        each = torch.cat([losses(weights, config, part) for part in ids.split(8)])
    return {
        "held_out": round(each.mean().item(), 4),
        "held_out_middle": round(each[middle].mean().item(), 4),
    }


def train(
    sampler: Sampler,
    held_out: Sampler,
    config: Config,
    plan: Plan,
    work: Path,
    start: Weights | None = None,
) -> None:
    """Trains until the minutes are spent, from `checkpoint.pt` on where there is one, else from `start`."""
    torch.set_num_threads(plan.threads)
    weights = new_weights(config, plan.seed) if start is None else start
    weights = {name: weight.detach().to(plan.device).requires_grad_() for name, weight in weights.items()}
    optimizers = new_optimizers(weights, plan)
    rates = [plan.muon_rate, plan.adam_rate]
    spent, step, tokens = 0.0, 0, 0
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        spent, step, tokens = _restore(checkpoint, config, weights, optimizers)
        _forget_after(step, work / "train.jsonl")
        _say(f"train: going on at step {step}, {spent / 60:.1f} minutes")
    budget = 60.0 * plan.minutes
    loss_of: Any = torch.compile(losses, dynamic=False) if plan.compiled else losses
    unseen = held_out.rows(0, plan.held_out_rows, plan.short_length + 1)
    saved = spent
    with contextlib.closing(Feed(sampler, plan)) as feed, (work / "train.jsonl").open("a", encoding="utf-8") as log:
        last = time.monotonic()
        while spent < budget:
            factor = rate_factor(plan, spent / budget)
            length = row_length(plan, config, spent / budget)
            for optimizer, rate in zip(optimizers, rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * factor
            ids, middle = as_tensors(feed.rows(step, length), plan.device)
            with _autocast(plan):
                each = loss_of(weights, config, ids)
            each.mean().backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            step, tokens = step + 1, tokens + each.numel()
            loss, loss_of_middles = each.mean().item(), each[middle].mean().item()
            now = time.monotonic()
            spent, last = spent + now - last, now
            row = {"step": step, "minutes": round(spent / 60, 3), "tokens": tokens, "length": length}
            row |= {"loss": round(loss, 4), "middle": round(loss_of_middles, 4)}
            if spent - saved > 60 * plan.checkpoint_minutes or spent >= budget:
                row |= held_out_losses(weights, config, plan, unseen)
                _save(checkpoint, config, weights, optimizers, (spent, step, tokens))
                saved = spent
            log.write(json.dumps(row) + "\n")
            if step % 20 == 0 or "held_out" in row:
                log.flush()
                _say(f"train: {json.dumps(row)}")
    torch.save({"config": asdict(config), "weights": _plain(weights)}, work / "weights.pt")


def load_weights(path: Path) -> tuple[Weights, Config]:
    held = torch.load(path, weights_only=True)
    return held["weights"], Config(**held["config"])


def read_log(work: Path) -> Iterator[dict[str, Any]]:
    with (work / "train.jsonl").open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _plain(weights: Weights) -> Weights:
    return {name: weight.detach().cpu() for name, weight in weights.items()}


def _save(
    path: Path, config: Config, weights: Weights, optimizers: list[Any], progress: tuple[float, int, int]
) -> None:
    held = {
        "config": asdict(config),
        "weights": _plain(weights),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "progress": progress,
    }
    # Written beside and moved over: an interruption while writing must not cost the last good checkpoint.
    beside = path.with_suffix(".part")
    torch.save(held, beside)
    os.replace(beside, path)


def _restore(path: Path, config: Config, weights: Weights, optimizers: list[Any]) -> tuple[float, int, int]:
    held = torch.load(path, weights_only=True)
    if held["config"] != asdict(config):
        raise ValueError(f"{path.name} was trained with another configuration: {held['config']}")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(held["weights"][name])
    for optimizer, state in zip(optimizers, held["optimizers"], strict=True):
        optimizer.load_state_dict(state)
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
