"""What `tabby-lsp models recommend` expects of a model beside what the engine does with it, for public shapes.

    python tests/bench/speeds.py [--runs N] [SHAPE …]

The weights are random, the cost is that of the real models. The machine is measured again behind each shape, and
the better counts, as on the engine's side: whatever else runs makes both slower, seldom at the same time.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rates import engine_rates
from shapes import SHAPES, write_random

from tabby_lsp.engine import gguf
from tabby_lsp.models import speed
from tabby_lsp.models.speed import Rates
from tabby_lsp.processes import cores

TOKENS = 24


def better(one: dict[str, Rates], other: dict[str, Rates]) -> dict[str, Rates]:
    return {
        kind: Rates(max(one[kind].prompt, other[kind].prompt), max(one[kind].answer, other[kind].answer))
        for kind in one
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shapes", nargs="*", default=list(SHAPES)[:3], metavar="SHAPE", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':<22}{'expected':>18}{'measured':>18}{'ratio':>14}\n{'':<22}" + f"{'prompt':>9}{'answer':>9}" * 2)
    rates = speed.measure()
    for shape in options.shapes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{shape}.gguf"
            write_random(SHAPES[shape], path)
            measured = engine_rates(path, cores.processors(), 0, TOKENS, options.runs)
            rates = better(rates, speed.measure())
            expected = speed.of_file(gguf.read_header(path), path.stat().st_size, rates)
        both = (expected.prompt, expected.answer)
        ratios = [theirs / ours for theirs, ours in zip(both, measured, strict=True)]
        print(
            f"{shape:<22}"
            + "".join(f"{each:9.1f}" for each in (*both, *measured))
            + "".join(f"{r:7.2f}" for r in ratios)
        )


if __name__ == "__main__":
    main()
