"""The one command: start, corpus, tokenizer, train, export; called again, it goes on from whatever is there.

Owns the order of the stages and where each leaves its result in the work folder. Each call trains one sitting, or
the rest of one that was interrupted, and leaves a finished model; `--stage evaluate` and `--stage card` then measure
it and ship it. Without a state in the work folder it begins with the last weights kept as a GGUF file, grown to the
shape of today, else with random ones. It runs at the system's lowest priority; started by `setsid` also against what
runs in other terminals.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tabby_lsp.models import starter
from tabby_lsp.models.training import corpus
from tabby_lsp.models.training.schedule import Budget, Progress, parse_until
from tabby_lsp.models.training.tokenizer import Tokenizer, train_tokenizer
from tabby_lsp.processes.machine import lowest_priority

# What each stage leaves; one that is there is not made again. Training has none: each call is a sitting.
STAGES = {
    "start": "history.json",
    "corpus": "corpus/report.json",
    "tokenizer": "tokenizer.json",
    "train": "",
    "export": "",
    "evaluate": "figures.json",
    "card": "",
}
ON_REQUEST = ("evaluate", "card")
TOKENIZER_FILES = 1000  # about 16 MB, drawn at random; more changes little at 8k tokens
INTERIM = Path(__file__).with_name("interim-q8_0.gguf")  # a model between two that are shipped, kept in the repository


@dataclass(frozen=True)
class Order:
    """What was asked for on the command line."""

    work: Path
    machine: str
    budget: Budget
    threads: int
    start: Path | None
    fresh: bool
    folders: tuple[Path, ...]


def run_stage(stage: str, order: Order) -> None:
    """Each stage imports what it needs itself; a stage that fails names what is missing."""
    work = order.work
    if stage == "start":
        _start(order)
    elif stage == "corpus":
        from tabby_lsp.models.training.train import MACHINES

        packages = corpus.read_manifest()
        for folder in order.folders:
            try:
                packages.append(corpus.folder_package(folder))
            except corpus.RefusedError as reason:
                sys.stderr.write(f"skipped: {reason}\n")
        corpus.build_corpus(work, packages, MACHINES[order.machine].share_scale)
    elif stage == "tokenizer":
        sources = corpus.load_split(work, "train")
        chosen = random.Random(corpus.SEED).sample(sources, min(len(sources), TOKENIZER_FILES))
        train_tokenizer((source.text for source in chosen), work / "tokenizer.json")
    elif stage == "train":
        _train(order)
    elif stage == "export":
        _export(order)
    elif stage == "evaluate":
        from tabby_lsp.models.training.card import shipped_model
        from tabby_lsp.models.training.evaluate import evaluate

        evaluate(work, shipped_model())
    else:
        from tabby_lsp.models.training.card import write_card

        write_card(work, order.machine)


def _start(order: Order) -> None:
    """Leaves the history of the weights to begin with, and for those of a file also weights and tokenizer."""
    from tabby_lsp.models.training.checkpoint import write_beside

    if order.fresh:
        kept = []
    elif order.start:
        kept = [order.start]
    else:
        kept = [file for file in (INTERIM, starter.MODEL) if file is not None and file.exists()]
    found = next((history for file in kept if (history := _begin_with(file, order)) is not None), None)
    if found is None and order.start:
        raise corpus.RefusedError(f"{order.start} cannot be trained on from")
    write_beside(order.work / "history.json", json.dumps(found or []).encode())


def _begin_with(file: Path, order: Order) -> list[dict[str, Any]] | None:
    """The history of a GGUF file whose weights, grown, are what training begins with; None if they do not fit."""
    from tabby_lsp.models.training.checkpoint import save_weights
    from tabby_lsp.models.training.export import ExportError, read_gguf
    from tabby_lsp.models.training.growth import GrowthError, grow
    from tabby_lsp.models.training.train import MACHINES

    machine = MACHINES[order.machine]
    spelled = order.work / "tokenizer-of-start.json"
    try:
        weights, config, history = read_gguf(file, spelled)
        grown = grow(weights, config, machine.config, machine.plan.seed)
    except (ExportError, GrowthError, OSError) as reason:
        _say(f"start: {file.name} is passed over: {reason}")
        return None
    save_weights(order.work / "start.pt", machine.config, grown)
    os.replace(spelled, order.work / "tokenizer.json")
    _say(f"start: begins with the weights of {file.name}")
    # Sittings of before this was recorded had the shape of the file they led to.
    flop_per_token = 6 * sum(weight.numel() for weight in weights.values())
    return [{"flop": flop_per_token * sitting["tokens"], **sitting} for sitting in history]


def _train(order: Order) -> None:
    """One sitting, or the rest of one; its record joins the history once its weights are written."""
    import torch

    from tabby_lsp.models.training.checkpoint import load_weights, write_beside
    from tabby_lsp.models.training.samples import Sampler
    from tabby_lsp.models.training.train import MACHINES, Start, sitting_record, train

    machine, work = MACHINES[order.machine], order.work
    device = "cuda" if torch.cuda.is_available() else "cpu"
    workers = machine.plan.workers if device == "cpu" else max(1, (os.cpu_count() or 2) - 2)
    plan = replace(machine.plan, threads=order.threads, device=device, workers=workers)
    encode = Tokenizer(work / "tokenizer.json").encode
    held_out = corpus.balanced(corpus.load_split(work, "held-out"))
    samplers = [Sampler(texts, encode, plan.seed) for texts in (corpus.load_split(work, "train"), held_out)]
    history = _history(work)
    step, tokens = (sum(sitting[key] for sitting in history) for key in ("step", "tokens"))
    begin = Progress(len(history), step, tokens, first_step=step, first_token=tokens, warm_from=step)
    start = Start(load_weights(work / "start.pt")[0], begin) if (work / "start.pt").exists() else None
    (work / "pid").write_text(f"{os.getpid()}\n")
    try:
        done = train(samplers[0], samplers[1], machine.config, plan, work, order.budget, start, len(history))
    finally:
        (work / "pid").unlink(missing_ok=True)
    record = sitting_record(work, done, machine.config, device)
    write_beside(work / "history.json", json.dumps([*history, record]).encode())
    (work / "decay.pt").unlink(missing_ok=True)


def _export(order: Order) -> None:
    """The weights that the last sitting ended with; of one that has not ended, the average so far."""
    from tabby_lsp.models.training.checkpoint import load_state, load_weights
    from tabby_lsp.models.training.export import export
    from tabby_lsp.models.training.train import MACHINES, sitting_record

    work, config, history = order.work, MACHINES[order.machine].config, _history(order.work)
    state = load_state([work / "checkpoint.pt", work / "previous.pt"], config)
    if state is not None and state.progress.sitting >= len(history):
        _say(f"export: the sitting has not ended: its average at step {state.progress.step}")
        weights = state.average
        history.append(sitting_record(work, state.progress, config, "cpu"))
    else:
        weights, config = load_weights(work / "weights.pt")
    compared = export(weights, config, Tokenizer(work / "tokenizer.json"), work, history)
    (work / "comparison.json").write_text(json.dumps([asdict(one) for one in compared], indent=1) + "\n")


def _history(work: Path) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = json.loads((work / "history.json").read_text(encoding="utf-8"))
    return held


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _budget(chosen: argparse.Namespace) -> Budget:
    if chosen.flop is not None:
        return Budget(flop=chosen.flop)
    return Budget(until=chosen.until if chosen.until is not None else time.time() + 60 * chosen.minutes)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tabby_lsp.models.training", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is fetched and built")
    parser.add_argument(
        "--machine", choices=("cpu", "gpu"), default="cpu", help="which model to train (default: cpu's)"
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--until", type=parse_until, metavar="HH:MM", help="when this sitting ends, by the clock")
    end.add_argument("--minutes", type=float, default=105.0, help="or after so many minutes (default: 105)")
    end.add_argument("--flop", type=float, help="or after so many floating-point operations, such as 1e15")
    parser.add_argument("--threads", type=int, default=2, help="cores it may use (default: 2)")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--start", type=Path, metavar="GGUF", help="a model of this trainer to begin with")
    begin.add_argument("--fresh", action="store_true", help="begin with random weights and a new tokenizer")
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="train on this folder too, if its licence allows"
    )
    parser.add_argument("--stage", choices=STAGES, help="run this stage alone, even if its result exists")
    chosen = parser.parse_args(arguments)
    # Threads that wait for each other must sleep: on a shared machine they stand on one core half of the time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    chosen.work.mkdir(parents=True, exist_ok=True)
    order = Order(
        chosen.work, chosen.machine, _budget(chosen), chosen.threads, chosen.start, chosen.fresh, tuple(chosen.folder)
    )
    for stage in [chosen.stage] if chosen.stage else [stage for stage in STAGES if stage not in ON_REQUEST]:
        if not chosen.stage and STAGES[stage] and (chosen.work / STAGES[stage]).exists():
            continue
        started = time.monotonic()
        _say(f"{stage}: started")
        try:
            run_stage(stage, order)
        except (corpus.RefusedError, OSError) as error:
            sys.exit(f"{stage}: {error}")
        _say(f"{stage}: done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    lowest_priority()
    main()
