"""The one command: corpus, tokenizer, train, export, evaluate, card; a stage whose result exists is skipped.

Owns the order of the stages and where each leaves its result in the work folder; `--stage` runs one again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tabby_lsp.models.training import corpus
from tabby_lsp.models.training.tokenizer import Tokenizer, train_tokenizer

STAGES = {
    "corpus": "corpus/report.json",
    "tokenizer": "tokenizer.json",
    "train": "weights.pt",
    "export": "comparison.json",
    "evaluate": "figures.json",
    "card": "",
}
TOKENIZER_FILES = 1000  # about 16 MB, drawn at random; more changes little at 8k tokens


def run_stage(stage: str, work: Path, minutes: float) -> None:
    """Each stage imports what it needs itself: the first two run without torch."""
    if stage == "corpus":
        corpus.build_corpus(work, corpus.read_manifest())
    elif stage == "tokenizer":
        sources = corpus.load_split(work, "train")
        chosen = random.Random(corpus.SEED).sample(sources, min(len(sources), TOKENIZER_FILES))
        train_tokenizer((source.text for source in chosen), work / "tokenizer.json")
    elif stage == "train":
        from tabby_lsp.models.training.model import Config
        from tabby_lsp.models.training.samples import Sampler
        from tabby_lsp.models.training.train import Plan, train

        plan = Plan(minutes=minutes)
        encode = Tokenizer(work / "tokenizer.json").encode
        train(Sampler(corpus.load_split(work, "train"), encode, plan.seed), Config(), plan, work)
    elif stage == "export":
        from tabby_lsp.models.training.export import export
        from tabby_lsp.models.training.train import load_weights

        compared = export(*load_weights(work / "weights.pt"), Tokenizer(work / "tokenizer.json"), work)
        (work / "comparison.json").write_text(json.dumps([asdict(one) for one in compared], indent=1) + "\n")
    elif stage == "evaluate":
        from tabby_lsp.models.training.evaluate import evaluate

        evaluate(work)
    else:
        from tabby_lsp.models.training.card import write_card

        write_card(work)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tabby_lsp.models.training", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is fetched and built")
    parser.add_argument("--minutes", type=float, default=48.0, help="time for training (default: 48)")
    parser.add_argument("--stage", choices=STAGES, help="run this stage alone, even if its result exists")
    chosen = parser.parse_args(arguments)
    chosen.work.mkdir(parents=True, exist_ok=True)
    for stage, result in STAGES.items():
        if stage != chosen.stage and (chosen.stage or (result and (chosen.work / result).exists())):
            continue
        started = time.monotonic()
        sys.stderr.write(f"{stage}: started\n")
        run_stage(stage, chosen.work, chosen.minutes)
        sys.stderr.write(f"{stage}: done in {time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    main()
