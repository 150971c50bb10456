"""Training: Muon for the matrices, AdamW for the rest, in sittings that may be interrupted at any moment.

Owns the two machines' plans, the optimizers and the loop; takes rows from `samples.py`, the rates from
`schedule.py`, and leaves its state to `checkpoint.py`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tabby_lsp.models.training.checkpoint import State, load_state, save_state, save_weights, write_beside
from tabby_lsp.models.training.model import Config, Weights, losses, new_weights
from tabby_lsp.models.training.samples import Sample, Sampler
from tabby_lsp.models.training.schedule import (
    Budget,
    Pace,
    Progress,
    after_step,
    begins_decay,
    next_sitting,
    rate_factor,
    steps_left,
)

CURVE_POINTS = 60  # of a sitting, kept in the model's file


@dataclass(frozen=True)
class Plan:
    """How a sitting trains; the defaults are those of two CPU cores."""

    minutes: float = 105.0  # of a sitting whose end is not said
    device: str = "cpu"
    threads: int = 2
    workers: int = 0  # processes that cut and tokenise samples; 0 does it between the steps
    seed: int = 1
    muon_rate: float = 0.02
    adam_rate: float = 6e-3
    kept_rates: float = 0.25  # of these rates, when training began with trained weights: more undoes them (tried.md)
    batch_tokens: int = 8192
    short_length: int = 1024
    decay_share: float = 0.20  # of a sitting, at its end: the rates go to zero, on rows as long as the context
    shortest_decay: int = 40  # steps
    warmup_steps: int = 60
    averaged_steps: int = 400  # about so many of the last are in the running mean
    checkpoint_minutes: float = 2.0  # of processor time
    compiled: bool = True  # a third faster; costs 40 s for each row length and needs a C++ compiler
    held_out_rows: int = 16  # of `short_length`, looked at with every checkpoint


@dataclass(frozen=True)
class Machine:
    config: Config
    plan: Plan
    share_scale: float  # what the manifest's `max_mb` are multiplied with: more compute can use more text


# The CPU's model is for some 3e15 FLOP in sittings (about 6 M parameters and 60 M tokens); the GPU's for 25 minutes
# of one H100-class card, some 3e17 FLOP (facts: 50 to 60 M parameters, 1 G tokens).
# The GPU's widths are multiples of 256, so that the K-quants it must be shipped in apply to every matrix.
MACHINES = {
    "cpu": Machine(Config(), Plan(), 2.5),
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


@dataclass(frozen=True)
class Start:
    """Weights to begin with, and how far the sittings that led to them had come."""

    weights: Weights
    progress: Progress


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
        each = torch.cat([losses(weights, config, part) for part in torch.split(ids, 8)])
    return {
        "held_out": round(each.mean().item(), 4),
        "held_out_middle": round(each[middle].mean().item(), 4),
    }


class Run:
    """One call: the weights and optimizers on their device, and the files of the work folder."""

    def __init__(self, config: Config, plan: Plan, work: Path, start: Start | None) -> None:
        self.config, self.plan, self.work = config, plan, work
        self.checkpoint, self.decay = work / "checkpoint.pt", work / "decay.pt"
        self.progress = start.progress if start else Progress()
        self._saved: Progress | None = None
        share = plan.kept_rates if start else 1.0
        self.rates = (share * plan.muon_rate, share * plan.adam_rate)
        weights = start.weights if start else new_weights(config, plan.seed)
        self.weights = {name: w.detach().to(plan.device).requires_grad_() for name, w in weights.items()}
        self.average = {name: w.detach().clone() for name, w in self.weights.items()}
        self.optimizers = new_optimizers(self.weights, plan)
        self.loss_of: Any = torch.compile(losses, dynamic=False) if plan.compiled else losses
        self.flop_per_step = 6.0 * sum(w.numel() for w in self.weights.values()) * plan.batch_tokens

    def resume(self, sittings: int) -> None:
        """From where the last call was: within its decay if that has time left, else at full rates.

        `sittings` are those that have ended: the undecayed state of the last one begins the next.
        """
        state = load_state([self.checkpoint, self.work / "previous.pt"], self.config)
        if state is None:
            return
        if state.progress.sitting < sittings:
            state = replace(state, progress=next_sitting(state.progress))
        else:
            lowered = load_state([self.decay], self.config)
            end = lowered.progress.until if lowered else None
            if lowered and (end is None or end > time.time()):
                state = lowered
        self._take(state)
        at = self.progress
        _say(f"train: going on at step {at.step} of sitting {at.sitting + 1}, rates at {at.factor:.3f}")

    def _take(self, state: State) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state.weights[name])
                self.average[name].copy_(state.average[name])
        for optimizer, held in zip(self.optimizers, state.optimizers, strict=True):
            optimizer.load_state_dict(held)
        self.progress = state.progress

    def save(self) -> None:
        """A disk that is full costs this checkpoint, not the run."""
        if self._saved == self.progress:
            return
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        state = State(self.weights, self.average, optimizers, self.progress)
        try:
            if self.progress.decaying:
                save_state(self.decay, self.config, state)
            else:
                save_state(self.checkpoint, self.config, state, self.work / "previous.pt")
            self._saved = self.progress
        except OSError as error:
            _say(f"train: no checkpoint at step {self.progress.step}: {error}; the one before it stays")

    def better(self, unseen: list[Sample]) -> Weights:
        """What the sitting leaves: the lowered weights, or the running mean from before, which beats a short decay
        (tried.md). `unseen` are rows that are never trained on.
        """
        lowered, mean = (
            held_out_losses(weights, self.config, self.plan, unseen)["held_out"]
            for weights in (self.weights, self.average)
        )
        kept = "the lowered weights" if lowered <= mean else "the running mean"
        _say(f"train: held-out loss {lowered} lowered, {mean} of the running mean: {kept} are kept")
        return self.weights if lowered <= mean else self.average

    def step(self, feed: Feed, left: int) -> dict[str, Any]:
        """One step of training; the row of the log that tells of it."""
        at, plan = self.progress, self.plan
        factor = rate_factor(at, plan.warmup_steps)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        length = self.config.context if at.decaying else plan.short_length
        began = time.process_time()
        ids, middle = as_tensors(feed.rows(at.step, length), plan.device)
        with _autocast(plan):
            each = self.loss_of(self.weights, self.config, ids)
        each.mean().backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if not at.decaying:
            seen = max(1, at.step - at.warm_from - plan.warmup_steps)
            share = 1.0 / min(seen, plan.averaged_steps)
            with torch.no_grad():
                torch._foreach_lerp_([*self.average.values()], [*self.weights.values()], share)
        loss, loss_of_middles = each.mean().item(), each[middle].mean().item()
        self.progress = after_step(at, each.numel(), time.process_time() - began, left)
        row = {"sitting": at.sitting, "step": at.step + 1, "minutes": round(self.progress.minutes, 3)}
        row |= {"tokens": self.progress.tokens, "length": length, "rate": round(factor, 4)}
        return row | {"loss": round(loss, 4), "middle": round(loss_of_middles, 4)}


def train(
    sampler: Sampler,
    held_out: Sampler,
    config: Config,
    plan: Plan,
    work: Path,
    budget: Budget,
    start: Start | None = None,
    sittings: int = 0,
) -> Progress:
    """Trains to the end of the budget and leaves `weights.pt`; from the work folder's state on, else from `start`.

    `sittings` are those that ended before. Raises OSError if the result cannot be written.
    """
    torch.set_num_threads(plan.threads)
    run, pace = Run(config, plan, work, start), Pace()
    run.resume(sittings)
    run.progress = replace(run.progress, until=budget.until)
    log = work / "train.jsonl"
    _forget_after(run.progress, log)
    unseen = held_out.rows(0, plan.held_out_rows, plan.short_length + 1)
    saved = time.process_time()
    with contextlib.closing(Feed(sampler, plan)) as feed:
        while (left := steps_left(budget, run.progress, run.flop_per_step, pace, plan.shortest_decay)) > 0:
            if begins_decay(run.progress, left, plan.decay_share, plan.shortest_decay):
                run.save()  # what the next sitting goes on from
                _say(f"train: lowering the rates over the last {left} steps")
                run.progress = replace(run.progress, decay_step=run.progress.step)
            began = time.monotonic()
            row = run.step(feed, left)
            pace.add(time.monotonic() - began)
            if time.process_time() - saved > 60 * plan.checkpoint_minutes or left == 1:
                row |= held_out_losses(run.weights, config, plan, unseen)
                row["held_out_average"] = held_out_losses(run.average, config, plan, unseen)["held_out"]
                run.save()
                saved = time.process_time()
            _log(log, row)
            if row["step"] % 20 == 0 or "held_out" in row:
                _say(f"train: {left - 1} steps left: {json.dumps(row)}")
    save_weights(work / "weights.pt", config, run.better(unseen))
    return run.progress


def read_log(work: Path) -> Iterator[dict[str, Any]]:
    """The rows of the log; one that an interruption cut short is passed over."""
    for line in (work / "train.jsonl").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def sitting_record(work: Path, done: Progress, config: Config, device: str) -> dict[str, Any]:
    """What is told of a sitting for good, its curve in about `CURVE_POINTS` points."""
    rows = [row for row in read_log(work) if row.get("sitting") == done.sitting and "loss" in row]
    unseen = {row["step"]: row for row in rows if "held_out" in row}
    each = max(1, len(rows) // CURVE_POINTS)
    curve = []
    for chunk in (rows[begin : begin + each] for begin in range(0, len(rows), each)):
        point = {"tokens": chunk[-1]["tokens"]}
        point |= {key: round(sum(row[key] for row in chunk) / len(chunk), 3) for key in ("loss", "middle")}
        seen = next((unseen[row["step"]] for row in chunk if row["step"] in unseen), {})
        curve.append(point | {key: seen[key] for key in ("held_out", "held_out_middle") if key in seen})
    tokens = done.tokens - done.first_token
    return {
        "machine": device,
        "minutes": round(done.minutes, 2),
        "step": done.step - done.first_step,
        "decay_step": done.step - done.decay_step if done.decaying else 0,
        "tokens": tokens,
        "flop": 6 * sum(prod(shape) for shape in config.shapes().values()) * tokens,
        "parameters": sum(prod(shape) for shape in config.shapes().values()),
        "curve": curve,
    }


def _log(log: Path, row: dict[str, Any]) -> None:
    try:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        _say(f"train: step {row['step']} is not in the log: {error}")


def _forget_after(progress: Progress, log: Path) -> None:
    """Drops the logged steps that came after the checkpoint; they are about to be done again."""
    if not log.exists():
        return
    kept = [
        row
        for row in read_log(log.parent)
        if row.get("sitting", 0) < progress.sitting or row.get("step", 0) <= progress.step
    ]
    data = "".join(json.dumps(row) + "\n" for row in kept).encode()
    if data != log.read_bytes():
        write_beside(log, data)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
