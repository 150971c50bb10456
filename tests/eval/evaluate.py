"""Evaluates suggestions on folders of code that the model has never seen: a table, suggestions to judge, a picture.

    python tests/eval/evaluate.py DIR [DIR …] [--holes N] [--model FILE] [--json FILE] [--picture FILE.png]

The starter model never saw click, httpx, jsonschema and networkx (see `tabby_lsp/models/starter/README.md`): their
sources, from their wheels, are what its figures are taken on. `tabby-lsp eval DIR` does the same for one folder.

Every figure is a mean over the holes of all folders with the bounds of a bootstrap (95 %). Two variants whose bounds
overlap are not told apart by this many holes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tabby_lsp.config import Layer, merge, parse_assignment
from tabby_lsp.data import Sampling
from tabby_lsp.engines import completing
from tabby_lsp.evaluation.command import EvaluationError, evaluate, report
from tabby_lsp.evaluation.measures import Mean
from tabby_lsp.evaluation.report import as_data, figures


def draw(found: Mapping[str, Mapping[str, Mean | None]], title: str, path: Path) -> None:
    """Bars with their intervals, a group for each measure that is a share of holes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 5))
    variants = [name for name in next(iter(found.values())) if not name.startswith("without")]
    for number, variant in enumerate(variants):
        places = [row + number / (len(variants) + 1) for row in range(len(found))]
        means = [measures[variant] for measures in found.values()]
        heights = [each.value if each else 0.0 for each in means]
        below = [each.value - each.low if each else 0.0 for each in means]
        above = [each.high - each.value if each else 0.0 for each in means]
        axes.bar(places, heights, 0.8 / len(variants), yerr=(below, above), capsize=2, label=variant)
    axes.set_xticks(range(len(found)), [name.strip(" …") for name in found], rotation=20, ha="right", fontsize="small")
    axes.set(ylabel="%", title=title)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--holes", type=int, default=200, help="in each folder (default: 200)")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--model", type=Path, metavar="FILE", help="a GGUF file (default: the starter)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    layers = [Layer("--set", parse_assignment(each)) for each in options.set]
    if options.model:
        layers.append(Layer("--model", {"model": {"completion": {"local": {"model_id": str(options.model)}}}}))
    settings, problems = merge(layers)
    if problems:
        raise SystemExit("\n".join(problems))
    sampling = Sampling(settings.completion.max_decoding_tokens)
    try:
        engine = partial(completing, settings)
        done = evaluate(options.folders, options.holes, options.seed, engine, sampling, sys.stderr.write)
        variants = asyncio.run(done)
    except EvaluationError as error:
        raise SystemExit(str(error)) from None
    print(report(variants, options.seed))
    found = figures(variants)
    if options.json:
        options.json.write_text(json.dumps(as_data(found), indent=1), encoding="utf-8")
    if options.picture:
        holes = len(next(iter(variants.values())))
        draw(found, f"{holes} holes in {len(options.folders)} folders", options.picture)


if __name__ == "__main__":
    main()
