"""The engine's own speed beside llama-bench's, on the same file with the same threads: what Python and care cost.

    python tests/bench/rates.py MODEL --llama-bench FILE [--threads N,…] [--depth N] [--runs N]

Prefill is as the engine reads a prompt: in batches sized so that a cancel takes effect soon, where llama-bench takes
512 tokens at once. Decoding is a step and the likeliest token, to the end of `--tokens`, with `--depth` tokens of
prompt before it. The best of `--runs` on each side: a machine is never faster than it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

from tabby_lsp.data import ModelSettings
from tabby_lsp.engine.model import Model
from tabby_lsp.processes import cores

PROMPT = 512
TOKEN = 100  # any: what is computed does not depend on which


def engine_rates(path: Path, threads: int, depth: int, tokens: int, runs: int) -> tuple[float, float]:
    """Tokens per second of prefill and of decoding."""
    size = PROMPT + depth + tokens
    model = Model(ModelSettings(str(path), threads=threads, parallelism=1, context_size=size))
    if model.context_size < size:
        raise SystemExit(f"{path.name} has a context of {model.context_size} tokens, {size} are needed")
    best = [0.0, 0.0]
    for _ in range(runs):
        model.truncate(0, 0)
        best[0] = max(best[0], PROMPT / _read(model, PROMPT, 0))
        model.truncate(0, 0)
        _read(model, depth, 0)
        begin = time.perf_counter()
        token = TOKEN
        for place in range(depth, depth + tokens):
            model.evaluate([token], place, 0)
            token = int(model.logits().argmax())
        best[1] = max(best[1], tokens / (time.perf_counter() - begin))
    return best[0], best[1]


def _read(model: Model, count: int, place: int) -> float:
    """Seconds to read a prompt."""
    begin = time.perf_counter()
    while place < count:
        size = min(model.batch_size(time.perf_counter()), count - place)
        model.evaluate([TOKEN] * size, place, 0)
        place += size
    return time.perf_counter() - begin


def llama_bench_rates(
    program: Path, path: Path, threads: int, depth: int, tokens: int, runs: int
) -> tuple[float, float]:
    """The same by llama-bench, the best of its runs."""
    common = [str(program), "-m", str(path), "-t", str(threads), "-r", str(runs), "-fa", "auto", "-o", "json"]
    best = []
    for part in (["-p", str(PROMPT), "-n", "0"], ["-p", "0", "-n", str(tokens), "-d", str(depth)]):
        result = subprocess.run([*common, *part], capture_output=True, check=True, text=True)
        (test,) = json.loads(result.stdout)
        best.append(max(test["samples_ts"]))
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-bench", type=Path, metavar="FILE", help="without it the engine alone is measured")
    parser.add_argument("--threads", default=f"1,{cores.processors()}", metavar="N,…")
    parser.add_argument("--depth", type=int, default=0, help="tokens of prompt before what is decoded")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.model.name}, tokens per second\n{'threads':<9}{'':<9}{'engine':>9}{'bench':>9}{'share':>8}")
    for threads in dict.fromkeys(int(each) for each in options.threads.split(",")):
        measures = (options.model, threads, options.depth, options.tokens, options.runs)
        ours = engine_rates(*measures)
        theirs = llama_bench_rates(options.llama_bench, *measures) if options.llama_bench else None
        for number, what in enumerate(("prefill", "decode")):
            beside = f"{theirs[number]:9.1f}{ours[number] / theirs[number]:8.1%}" if theirs else ""
            print(f"{threads:<9}{what:<9}{ours[number]:9.1f}{beside}")


if __name__ == "__main__":
    main()
