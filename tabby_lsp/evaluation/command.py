"""An evaluation of folders from their files to the text that is shown of it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tabby_lsp.data import Sampling, Snippet
from tabby_lsp.engine.client import Engine
from tabby_lsp.evaluation.holes import KINDS, Hole, choose
from tabby_lsp.evaluation.measures import Filled
from tabby_lsp.evaluation.report import figures, table
from tabby_lsp.evaluation.run import CONTEXT, SURE, files_in, fill, index_of
from tabby_lsp.index.related import related
from tabby_lsp.index.search import Search

EXAMPLES = 5
EXAMPLE_LINES = 6
COMPARED = ("first line exact, %", "still parses, % of shown", "duplicated text, % of shown")

Variants = dict[str, list[Filled]]


class EvaluationError(Exception):
    """Nothing can be evaluated; the text says why."""


async def evaluate(
    folders: Sequence[Path],
    holes: int,
    seed: int,
    make_engine: Callable[[], Engine],
    sampling: Sampling,
    tell: Callable[[str], None],
) -> Variants:
    """So many holes in each folder, filled in all variants. Raises EvaluationError and EngineError."""
    together: Variants = {}
    for folder in folders:
        if not folder.is_dir():
            raise EvaluationError(f"{folder} is no folder.")
        files = files_in(folder)
        chosen = choose(files, holes, seed)
        if not chosen:
            raise EvaluationError(f"{folder} has no code to cut holes into.")
        name = folder.resolve().name
        tell(f"{name}: {len(files)} files, {len(chosen)} holes, each filled twice\n")
        with tempfile.TemporaryDirectory() as temporary:
            search = index_of(folder, Path(temporary, "index.sqlite"))
            retrieve = partial(_related, search, folder, name)
            variants = await fill(
                chosen, name, make_engine, sampling, retrieve, partial(_progress, tell, 2 * len(chosen))
            )
            search.close()
        for variant, filled in variants.items():
            together.setdefault(variant, []).extend(filled)
    return together


def _related(search: Search, folder: Path, repository: str, hole: Hole, room: int) -> list[Snippet]:
    return [each.snippet for each in related(search, folder / hole.file.path, hole.context(repository), room)]


def _progress(tell: Callable[[str], None], whole: int, done: int) -> None:
    tell(f"\r{done} of {whole}" + ("\n" if done == whole else ""))


def report(variants: Variants, seed: int) -> str:
    """The table, the kinds of holes apart, what each filter does, and suggestions to judge."""
    found = figures(variants)
    whole = [name for name in variants if not name.startswith("without")]
    parts = [table({name: {variant: means[variant] for variant in whole} for name, means in found.items()})]
    lines = ["first line exact, %, by kind:"]
    for kind in KINDS:
        of_kind = {name: [each for each in variants[name] if each.hole.kind == kind] for name in whole}
        exact = figures(of_kind)[COMPARED[0]]
        lines.append(f"  {kind}: " + ", ".join(f"{name} {mean.value:.1f}" for name, mean in exact.items() if mean))
    parts.append("\n".join(lines))
    lines = ["first line exact / still parses / duplicated, %, without one filter:"]
    for name in [name for name in variants if name.startswith("without")]:
        cells = [found[measure][name] for measure in COMPARED]
        lines.append(f"  {name}: " + " / ".join("–" if cell is None else f"{cell.value:.1f}" for cell in cells))
    parts.append("\n".join(lines))
    return "\n\n".join([*parts, examples(variants[SURE], variants[CONTEXT], seed)])


def examples(filled: Sequence[Filled], in_context: Sequence[Filled], seed: int) -> str:
    """Five that anybody can judge, without and with other files, chosen by the seed and not by their worth."""
    pairs = list(zip(filled, in_context, strict=True))
    lines = [f"{min(EXAMPLES, len(pairs))} of them, by the seed {seed}; what comes behind ▏ is suggested:"]
    for alone, knowing in random.Random(seed).sample(pairs, min(EXAMPLES, len(pairs))):
        file, start = alone.hole.file, alone.hole.start
        begun = file.text[:start].rpartition("\n")[2]
        lines += ["", f"{file.path}:{alone.hole.line} ({alone.hole.kind})", *_indented(begun + "▏" + alone.text)]
        if knowing.text != alone.text:
            lines += ["  with other files", *_indented(begun + "▏" + knowing.text)]
        lines += ["  where stood", *_indented(begun + "▏" + alone.hole.wanted)]
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.split("\n")[:EXAMPLE_LINES]]
