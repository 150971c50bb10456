"""The one command: start, corpus, tokenizer, train, export, evaluate, card; one whose result exists is skipped.

Owns the order of the stages and where each leaves its result in the work folder; `--stage` runs one again.
Training interrupted goes on from its last checkpoint; `--start FILE.gguf` begins with a shipped model instead
of random weights, `--machine gpu` trains the larger one.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tabby_lsp.models.training import corpus
from tabby_lsp.models.training.tokenizer import Tokenizer, train_tokenizer

STAGES = {
    "start": "history.json",
    "corpus": "corpus/report.json",
    "tokenizer": "tokenizer.json",
    "train": "weights.pt",
    "export": "comparison.json",
    "evaluate": "figures.json",
    "card": "",
}
TOKENIZER_FILES = 1000  # about 16 MB, drawn at random; more changes little at 8k tokens


@dataclass(frozen=True)
class Order:
    """What was asked for on the command line."""

    work: Path
    machine: str
    minutes: float | None
    start: Path | None
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
        from tabby_lsp.models.training.export import export
        from tabby_lsp.models.training.train import load_weights, read_log

        last = list(read_log(work))[-1]
        sitting = {"machine": order.machine, **{key: last[key] for key in ("minutes", "step", "tokens")}}
        history = [*json.loads((work / "history.json").read_text()), sitting]
        compared = export(*load_weights(work / "weights.pt"), Tokenizer(work / "tokenizer.json"), work, history)
        (work / "comparison.json").write_text(json.dumps([asdict(one) for one in compared], indent=1) + "\n")
    elif stage == "evaluate":
        from tabby_lsp.models.training.card import shipped_model
        from tabby_lsp.models.training.evaluate import evaluate

        evaluate(work, shipped_model())
    else:
        from tabby_lsp.models.training.card import write_card

        write_card(work, order.machine)


def _start(order: Order) -> None:
    """Leaves the history of the weights to begin with, and for those of a file also weights and tokenizer."""
    history: list[object] = []
    if order.start:
        import torch

        from tabby_lsp.models.training.export import read_gguf

        weights, config, held = read_gguf(order.start, order.work / "tokenizer.json")
        torch.save({"config": asdict(config), "weights": weights}, order.work / "start.pt")
        history.extend(held)
    (order.work / "history.json").write_text(json.dumps(history) + "\n")


def _train(order: Order) -> None:
    from tabby_lsp.models.training.samples import Sampler
    from tabby_lsp.models.training.train import MACHINES, load_weights, train

    machine, work = MACHINES[order.machine], order.work
    plan = machine.plan if order.minutes is None else replace(machine.plan, minutes=order.minutes)
    encode = Tokenizer(work / "tokenizer.json").encode
    held_out = corpus.balanced(corpus.load_split(work, "held-out"))
    samplers = [Sampler(texts, encode, plan.seed) for texts in (corpus.load_split(work, "train"), held_out)]
    start, config = load_weights(work / "start.pt") if (work / "start.pt").exists() else (None, machine.config)
    train(samplers[0], samplers[1], config, plan, work, start)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tabby_lsp.models.training", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is fetched and built")
    parser.add_argument("--machine", choices=("cpu", "gpu"), default="cpu", help="what is trained on (default: cpu)")
    parser.add_argument("--minutes", type=float, help="time for training (default: the machine's)")
    parser.add_argument("--start", type=Path, metavar="GGUF", help="a model of this trainer to go on from")
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="train on this folder too, if its licence allows"
    )
    parser.add_argument("--stage", choices=STAGES, help="run this stage alone, even if its result exists")
    chosen = parser.parse_args(arguments)
    chosen.work.mkdir(parents=True, exist_ok=True)
    order = Order(chosen.work, chosen.machine, chosen.minutes, chosen.start, tuple(chosen.folder))
    for stage, result in STAGES.items():
        if stage != chosen.stage and (chosen.stage or (result and (chosen.work / result).exists())):
            continue
        started = time.monotonic()
        sys.stderr.write(f"{stage}: started\n")
        try:
            run_stage(stage, order)
        except (corpus.RefusedError, FileNotFoundError) as error:
            sys.exit(f"{stage}: {error}")
        sys.stderr.write(f"{stage}: done in {time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    main()
