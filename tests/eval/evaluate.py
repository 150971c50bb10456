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
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tabby_lsp.config import Layer, merge, parse_assignment
from tabby_lsp.data import Sampling, Snippet
from tabby_lsp.evaluation.holes import KINDS, Hole, choose
from tabby_lsp.evaluation.measures import Filled, Mean
from tabby_lsp.evaluation.report import as_data, figures, table
from tabby_lsp.evaluation.run import SURE, files_in, fill, index_of
from tabby_lsp.index.related import related
from tabby_lsp.index.search import Search
from tabby_lsp.models.registry import engine_settings

EXAMPLES = 5
COMPARED = ("first line exact, %", "still parses, % of shown", "duplicated text, % of shown")


def examples(filled: Sequence[Filled], seed: int) -> str:
    """Five that anybody can judge, chosen by the seed and not by their worth."""
    chosen = random.Random(seed).sample(list(filled), min(EXAMPLES, len(filled)))
    lines = []
    for each in chosen:
        file = each.hole.file
        begun = file.text[: each.hole.start].rpartition("\n")[2]
        lines += [f"{file.path}:{each.hole.line} ({each.hole.kind})", *_lines("  ", begun + "▏" + each.text)]
        lines += ["  stood there:", *_lines("  ", begun + "▏" + each.hole.wanted), ""]
    return "\n".join(lines)


def _lines(margin: str, text: str) -> list[str]:
    return [margin + line for line in text.split("\n")[:6]]


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


def _related(search: Search, folder: Path, repository: str, hole: Hole) -> list[Snippet]:
    return [each.snippet for each in related(search, folder / hole.file.path, hole.context(repository))]


async def evaluate(options: argparse.Namespace) -> dict[str, list[Filled]]:
    layers = [Layer("--set", parse_assignment(each)) for each in options.set]
    if options.model:
        layers.append(Layer("--model", {"model": {"completion": {"local": {"model_id": str(options.model)}}}}))
    settings, problems = merge(layers)
    if problems:
        raise SystemExit("\n".join(problems))
    together: dict[str, list[Filled]] = {}
    for folder in options.folders:
        files = files_in(folder)
        holes = choose(files, options.holes, options.seed)
        if not holes:
            raise SystemExit(f"{folder} has no code to cut holes into.")
        print(f"{folder.name}: {len(files)} files, {len(holes)} holes", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            search = index_of(folder, Path(temporary, "index.sqlite"))
            retrieve = partial(_related, search, folder, folder.name)
            variants = await fill(holes, folder.name, engine_settings(settings), Sampling(options.tokens), retrieve)
            search.close()
        for name, filled in variants.items():
            together.setdefault(name, []).extend(filled)
    return together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--holes", type=int, default=200, help="in each folder (default: 200)")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64, help="of a suggestion, at most (default: 64)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a GGUF file (default: the starter)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    variants = asyncio.run(evaluate(options))
    found = figures(variants)
    whole = [name for name in variants if not name.startswith("without")]
    print(table({name: {variant: means[variant] for variant in whole} for name, means in found.items()}))
    print("\nfirst line exact, %, by kind:")
    for kind in KINDS:
        of_kind = {name: [each for each in variants[name] if each.hole.kind == kind] for name in whole}
        exact = figures(of_kind)["first line exact, %"]
        print(f"  {kind}: " + ", ".join(f"{name} {mean.value:.1f}" for name, mean in exact.items() if mean))
    print("\nfirst line exact / still parses / duplicated, %, without one filter:")
    for name in [name for name in variants if name.startswith("without")]:
        cells = [found[measure][name] for measure in COMPARED]
        print(f"  {name}: " + " / ".join("–" if cell is None else f"{cell.value:.1f}" for cell in cells))
    print(f"\n{examples(variants[SURE], options.seed)}")
    if options.json:
        options.json.write_text(json.dumps(as_data(found), indent=1), encoding="utf-8")
    if options.picture:
        draw(found, f"{len(variants[SURE])} holes in {len(options.folders)} folders", options.picture)


if __name__ == "__main__":
    main()
