"""`tabby-lsp eval`: how good suggestions are on code of the user's."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tabby_lsp.commands.options import UsageError, settings_of, tell
from tabby_lsp.data import Sampling
from tabby_lsp.engine.client import EngineError
from tabby_lsp.engines import completing
from tabby_lsp.evaluation.command import EvaluationError, evaluate, report
from tabby_lsp.evaluation.report import as_data, figures
from tabby_lsp.models.registry import ModelNotFound


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders with code")
    parser.add_argument("--holes", type=int, default=100, metavar="N", help="places in each (default: 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which places (default: 0)")
    parser.add_argument("--json", action="store_true", help="the figures and their bounds, instead of a table")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    if options.holes < 4:
        raise UsageError("--holes must be at least 4: there are four kinds of them.")
    sampling = Sampling(settings.completion.max_decoding_tokens)

    def progress(text: str) -> None:
        print(text, end="", file=sys.stderr, flush=True)

    try:
        engine = partial(completing, settings)
        variants = asyncio.run(evaluate(options.folders, options.holes, options.seed, engine, sampling, progress))
    except (EngineError, EvaluationError, ModelNotFound) as error:
        tell(str(error))
        return 1
    if options.json:
        print(json.dumps(as_data(figures(variants)), indent=2))
    else:
        print(report(variants, options.seed))
    return 0
