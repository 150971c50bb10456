"""Training in sittings: what survives an interruption, a full disk, a file cut short, a machine that is lost."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.importorskip("tomli")
if importlib.util.find_spec("torch") is None:
    pytest.skip("needs the extra `train`", allow_module_level=True)

import torch

from tabby_lsp.models import starter
from tabby_lsp.models.training import checkpoint, schedule
from tabby_lsp.models.training import tokenizer as tok
from tabby_lsp.models.training.checkpoint import load_state, load_weights
from tabby_lsp.models.training.corpus import Source
from tabby_lsp.models.training.model import Config, new_weights
from tabby_lsp.models.training.samples import Sampler
from tabby_lsp.models.training.schedule import Budget, Pace, Progress
from tabby_lsp.models.training.train import Plan, Start, read_log, sitting_record, train

SMALL = Config(layers=1, width=64, heads=1, hidden=64, context=64)
PLAN = Plan(
    batch_tokens=128,
    short_length=64,
    compiled=False,
    held_out_rows=2,
    warmup_steps=3,
    shortest_decay=2,
    checkpoint_minutes=0,  # with every step
)
STEP = 6.0 * sum(weight.numel() for weight in new_weights(SMALL, 1).values()) * PLAN.batch_tokens  # FLOP
CODE = "def first(path):\n    with open(path) as file:\n        return file.readline()\n\n\n"


def sampler(seed: int = 3) -> Sampler:
    sources = [Source("demo", f"demo/{n}.py", CODE.replace("first", f"first_{n}") * 6) for n in range(6)]
    return Sampler(sources, lambda text: [ord(char) % tok.FIRST_CONTROL for char in text], seed)


def sit(work: Path, steps: float, sittings: int = 0, plan: Plan = PLAN, start: Start | None = None) -> Progress:
    return train(sampler(), sampler(9), SMALL, plan, work, Budget(flop=steps * STEP), start, sittings)


class Killed(BaseException):
    """What ends a test's training from outside; no handler of errors may stop it."""


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Any:
    """Makes training end before it logs this step, as a kill would."""
    from tabby_lsp.models.training import train as module

    log = module._log

    def dying(path: Path, row: dict[str, Any]) -> None:
        if row["step"] == step:
            raise Killed
        log(path, row)

    context = monkeypatch.context()
    context.__enter__().setattr(module, "_log", dying)
    return context


def steps(work: Path) -> list[tuple[int, int]]:
    return [(row["sitting"], row["step"]) for row in read_log(work)]


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("step", [1, 4, 9])
def test_killed_at_any_step_it_ends_with_the_weights_of_a_run_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Within the warm-up, at full rates, while the rates go down."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    sit(whole, 10)
    with pytest.raises(Killed):
        context = killed_at(monkeypatch, step)
        sit(cut, 10)
    context.__exit__(None, None, None)
    log = cut / "train.jsonl"
    log.write_text((log.read_text() if log.exists() else "") + '{"sitting": 0, "st')  # the line it was writing
    done = sit(cut, 10)
    assert done.step == 10 and done.factor == 0
    assert equal(load_weights(whole / "weights.pt")[0], load_weights(cut / "weights.pt")[0])
    assert [row["step"] for row in read_log(cut)] == [row["step"] for row in read_log(whole) if row["step"] != step]


def test_a_killed_process_loses_no_more_than_the_steps_since_its_checkpoint(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    script = "import sys, pathlib, test_sittings; test_sittings.sit(pathlib.Path(sys.argv[1]), 60)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(cut)], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        for _ in range(20):
            assert "steps left" in process.stderr.readline()
        process.kill()
    assert not (cut / "weights.pt").exists()
    assert sit(whole, 60).step == sit(cut, 60).step == 60
    assert equal(load_weights(whole / "weights.pt")[0], load_weights(cut / "weights.pt")[0])


def test_the_next_sitting_goes_on_from_before_the_rates_went_down(tmp_path: Path) -> None:
    first = sit(tmp_path, 10)
    lowered = load_weights(tmp_path / "weights.pt")[0]
    held = load_state([tmp_path / "checkpoint.pt"], SMALL)
    assert held is not None and held.progress.step == 8 and held.progress.factor == 1.0
    second = sit(tmp_path, 10, sittings=1)
    assert (first.step, second.first_step, second.step) == (10, 8, 18)
    assert not equal(lowered, load_weights(tmp_path / "weights.pt")[0])
    rates = [row["rate"] for row in read_log(tmp_path)]
    assert rates[:8] == [0.3333, 0.6667, 1, 1, 1, 1, 1, 1] and rates[8:10] == [1, 0.5]
    assert rates[10:18] == [1] * 8, "no second warm-up: the optimizers' state was kept"
    assert steps(tmp_path) == [(0, n) for n in range(1, 11)] + [(1, n) for n in range(9, 19)]


def test_the_average_of_the_weights_is_kept_for_a_sitting_that_may_be_lost(tmp_path: Path) -> None:
    plan = replace(PLAN, averaged_steps=4)
    sit(tmp_path, 10, plan=plan)
    for row in read_log(tmp_path):
        assert row["held_out_average"] == pytest.approx(row["held_out"], abs=2 if row["step"] > 3 else 0.001)
    held = load_state([tmp_path / "checkpoint.pt"], SMALL)
    before = load_state([tmp_path / "previous.pt"], SMALL)
    assert held is not None and before is not None and held.progress.step == 8
    for name, mean in held.average.items():
        assert torch.allclose(mean, torch.lerp(before.average[name], held.weights[name], 1 / 4), atol=1e-6)
    lowered = load_state([tmp_path / "decay.pt"], SMALL)
    assert lowered is not None and equal(lowered.average, held.average)


@pytest.mark.parametrize("better", ["the lowered weights", "the running mean"])
def test_a_sitting_leaves_whichever_weights_are_better_on_text_it_has_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], better: str
) -> None:
    def losses(weights: dict[str, Any], *_: Any) -> dict[str, float]:
        lowered = all(weight.requires_grad for weight in weights.values())
        return {"held_out": float(lowered != (better == "the lowered weights")), "held_out_middle": 0.0}

    monkeypatch.setattr("tabby_lsp.models.training.train.held_out_losses", losses)
    sit(tmp_path, 10)
    assert f"{better} are kept" in capsys.readouterr().err
    last = load_state([tmp_path / "decay.pt"], SMALL)
    assert last is not None
    left = load_weights(tmp_path / "weights.pt")[0]
    assert equal(left, last.weights) == (better == "the lowered weights")
    assert equal(left, last.average) == (better == "the running mean")


def test_a_checkpoint_cut_short_costs_only_what_came_after_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sit(tmp_path, 10)
    held = load_state([tmp_path / "previous.pt"], SMALL)
    assert held is not None and held.progress.step == 7
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    assert sit(tmp_path, 10, sittings=1).step == 17  # begun at 7, not at 8
    assert "checkpoint.pt cannot be read" in capsys.readouterr().err
    for name in ("checkpoint.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"")
    assert sit(tmp_path, 10).step == 10  # from the start
    assert "previous.pt cannot be read" in capsys.readouterr().err


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sit(tmp_path, 4)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):  # the result cannot be written either
        sit(tmp_path, 9, sittings=1, plan=replace(PLAN, seed=2))
    assert "no checkpoint at step" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    monkeypatch.undo()
    assert sit(tmp_path, 9, sittings=1).factor == 0


def test_a_checkpoint_of_another_shape_is_not_overwritten(tmp_path: Path) -> None:
    sit(tmp_path, 4)
    with pytest.raises(checkpoint.OtherConfigError, match="another --work folder"):
        train(sampler(), sampler(9), replace(SMALL, layers=2), PLAN, tmp_path, Budget(flop=STEP))


def test_a_decay_whose_time_has_passed_is_not_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(until=time.time() + 3600)
    monkeypatch.setattr(schedule, "steps_left", schedule.steps_left)
    from tabby_lsp.models.training import train as module

    with monkeypatch.context() as patch:
        patch.setattr(module, "steps_left", lambda budget, progress, *rest: 10 - progress.step)
        with pytest.raises(Killed):
            context = killed_at(patch, 9)
            train(sampler(), sampler(9), SMALL, PLAN, tmp_path, budget)
        context.__exit__(None, None, None)
    held = load_state([tmp_path / "decay.pt"], SMALL)
    assert held is not None and held.progress.decaying
    monkeypatch.setattr(module.time, "time", lambda: budget.until + 1)
    run = module.Run(SMALL, PLAN, tmp_path, None)
    run.resume(0)
    assert not run.progress.decaying and run.progress.step == 8
    monkeypatch.setattr(module.time, "time", lambda: budget.until - 1)
    run.resume(0)
    assert run.progress.decaying


class Clock:
    """A second for each step, whose time is asked for before and after it."""

    process_time = staticmethod(time.process_time)

    def __init__(self) -> None:
        self._asked = 0

    def monotonic(self) -> float:
        self._asked += 1
        return float(self._asked)

    def time(self) -> float:
        return self._asked / 2


def test_a_sitting_ends_by_the_clock_with_its_rates_at_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tabby_lsp.models.training import train as module

    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    monkeypatch.setattr(module, "time", clock)
    done = train(sampler(), sampler(9), SMALL, PLAN, tmp_path, Budget(until=30))
    rates = [row["rate"] for row in read_log(tmp_path)]
    assert done.step == 30 and done.factor == 0 and done.decay_step == 24
    assert rates[3:24] == [1] * 21 and rates[24:] == pytest.approx([n / 6 for n in range(6, 0, -1)], abs=1e-3)


def test_a_machine_that_slept_past_the_end_still_finishes_the_model(tmp_path: Path) -> None:
    done = train(sampler(), sampler(9), SMALL, PLAN, tmp_path, Budget(until=time.time() - 60))
    assert done.step - done.decay_step == PLAN.shortest_decay and done.factor == 0


def test_a_pause_is_no_training_time_and_does_not_change_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace()
    assert pace.steps_in(1.0) == schedule.UNKNOWN
    for seconds in (40.0, 2.0, 2.0, 2.1, 1.9, 600.0, 2.0, 2.0):
        pace.add(seconds)
    assert pace.steps_in(100.0) == 50


def test_the_rates_reach_zero_at_the_end_however_the_pace_changes() -> None:
    progress, factors = Progress(step=100, decay_step=100), []
    foreseen = [10, 9, 8, 3, 2, 6, 5, 4, 3, 2, 1]  # a pause, then a machine that is idle again
    for left in foreseen:
        factors.append(progress.factor)
        progress = schedule.after_step(progress, 10, 30.0, left)
    assert factors[:3] == pytest.approx([1, 0.9, 0.8]) and progress.factor == 0
    assert factors == sorted(factors, reverse=True) and progress.minutes == 5.5
    assert max(a - b for a, b in pairwise(factors)) < 0.3


@pytest.mark.parametrize(("now", "until", "hours"), [("16:30", "18:20", 1 + 50 / 60), ("23:00", "01:00", 2)])
def test_the_end_of_a_sitting_is_the_next_time_the_clock_shows_it(now: str, until: str, hours: float) -> None:
    at = datetime.strptime(f"2026-11-21 {now}", "%Y-%m-%d %H:%M")
    assert schedule.parse_until(until, at) - at.timestamp() == pytest.approx(hours * 3600)
    for wrong in ("noon", "25:00", "12"):
        with pytest.raises(ValueError):
            schedule.parse_until(wrong, at)


def test_a_sittings_record_tells_of_all_of_it_in_a_few_points(tmp_path: Path) -> None:
    done = sit(tmp_path, 130)
    record = sitting_record(tmp_path, done, SMALL, "cpu")
    assert record["step"] == 130 and record["tokens"] == 130 * 128 and record["flop"] == 130 * STEP
    assert record["decay_step"] == 26
    assert 60 <= len(record["curve"]) <= 70
    assert record["curve"][-1]["tokens"] == done.tokens and "held_out" in record["curve"][-1]


def begun(work: Path, *arguments: str) -> str:
    """The history that the stage `start` leaves."""
    from tabby_lsp.models.training.__main__ import main

    main(["--work", str(work), "--stage", "start", *arguments])
    return (work / "history.json").read_text(encoding="utf-8")


def test_training_begins_with_the_last_weights_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gguf")
    from tabby_lsp.models.training import __main__ as command
    from tabby_lsp.models.training.export import read_gguf, write_gguf
    from tabby_lsp.models.training.tokenizer import Tokenizer
    from tabby_lsp.models.training.train import MACHINES

    monkeypatch.setattr(command, "INTERIM", tmp_path / "interim-q8_0.gguf")
    history = json.loads(begun(tmp_path / "shipped"))
    assert f"begins with the weights of {starter.MODEL.name}" in capsys.readouterr().err
    weights, config = load_weights(tmp_path / "shipped" / "start.pt")
    assert config == MACHINES["cpu"].config and (tmp_path / "shipped" / "tokenizer.json").exists()
    assert all(sitting["flop"] > 0 for sitting in history)

    tokenizer = Tokenizer(tmp_path / "shipped" / "tokenizer.json")
    sitting = {"machine": "cpu", "minutes": 1.5, "step": 3, "tokens": 24576, "flop": 5}
    write_gguf(weights, config, tokenizer, command.INTERIM, [sitting])
    assert json.loads(begun(tmp_path / "interim")) == [sitting]
    assert "begins with the weights of interim" in capsys.readouterr().err
    assert equal(load_weights(tmp_path / "interim" / "start.pt")[0], read_gguf(command.INTERIM, tmp_path / "t")[0])

    command.INTERIM.write_bytes(command.INTERIM.read_bytes()[:5000])  # cut short
    begun(tmp_path / "cut")
    said = capsys.readouterr().err
    assert "interim-q8_0.gguf is passed over" in said and f"begins with the weights of {starter.MODEL.name}" in said
    assert begun(tmp_path / "fresh", "--fresh") == "[]" and not (tmp_path / "fresh" / "start.pt").exists()
    begun(tmp_path / "gpu", "--machine", "gpu")  # a shape that the starter does not grow into
    assert "kv_heads is 1, not 2" in capsys.readouterr().err and not (tmp_path / "gpu" / "start.pt").exists()
    with pytest.raises(SystemExit, match="cannot be trained on from"):
        begun(tmp_path / "wrong", "--start", str(command.INTERIM))


def test_a_sitting_that_has_not_ended_can_be_exported(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from tabby_lsp.models.training.__main__ import main
    from tabby_lsp.models.training.export import read_gguf

    known = json.loads(begun(tmp_path))
    average, config = load_weights(tmp_path / "start.pt")
    raw = {name: weight + 1 for name, weight in average.items()}
    progress = Progress(sitting=len(known), step=105, tokens=900, first_step=100, first_token=700)
    state = checkpoint.State(raw, average, [], progress)
    checkpoint.save_state(tmp_path / "checkpoint.pt", config, state)
    row = {"sitting": len(known), "step": 105, "tokens": 900, "loss": 3.0, "middle": 2.5}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    main(["--work", str(tmp_path), "--stage", "export"])
    weights, _, history = read_gguf(tmp_path / "tabby-starter-f16.gguf", tmp_path / "tokenizer-again.json")
    assert all(torch.allclose(weights[name], average[name], atol=0.01) for name in average)
    assert history[:-1] == known and (history[-1]["step"], history[-1]["tokens"]) == (5, 200)
