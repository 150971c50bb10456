"""Writes a GGUF of a public model's shape, to measure the cost of a size without its download.

    python tests/bench/make_model.py SHAPE OUT.gguf          random weights: says nothing
    python tests/bench/make_model.py SHAPE OUT.gguf --pad    the starter at the shape's cost: says what the starter says

A random one is asked as its family is; to have it asked suffix first, write it to a file with "tabby-starter" in its
name. How the two are made, and what makes the second the same, is said in `shapes` and `padding`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from padding import write_padded
from shapes import SHAPES, ShapeError, write_random

from tabby_lsp.models import starter

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("path", type=Path)
    parser.add_argument("--pad", action="store_true", help="the starter at this shape's cost, not random weights")
    parser.add_argument("--from", dest="source", type=Path, default=starter.MODEL, help="what to pad (the starter)")
    parser.add_argument("--context", type=int, default=0, help="of a padded model, in tokens (what is padded has)")
    options = parser.parse_args()
    try:
        if options.pad:
            write_padded(options.source, SHAPES[options.shape], options.path, options.context)
        else:
            write_random(SHAPES[options.shape], options.path)
    except ShapeError as error:
        raise SystemExit(f"{options.shape}: {error}") from None
    print(f"{options.path}: {options.path.stat().st_size / 1e6:.0f} MB")
