"""What a step costs in each form of the KV cache: one for all sequences or one each, attention, the type of the cells.

    python tests/bench/cache_modes.py MODEL [--depth N] [--other N] [--threads N]

`decode` is a step behind `--depth` tokens of prompt; `with others` the same while two other sequences hold `--other`
tokens each; `prefill` is 256 tokens read there, and `copy` what it takes to give another sequence the same prompt, the
first step on it included. In milliseconds, the median of some runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import llama_cpp

from tabby_lsp.engine.loading import listen_to_log
from tabby_lsp.processes import cores

TOKEN, BATCH, PREFILL, SEQUENCES = 100, 256, 256, 4
FLASH = {"flash": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED, "plain": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED}
TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0}


class Cache:
    """A context of a model in one form."""

    def __init__(self, model: object, unified: bool, flash: str, kind: str, size: int, threads: int) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = size * SEQUENCES, SEQUENCES, unified
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = FLASH[flash]
        params.type_k = params.type_v = TYPES[kind]
        params.no_perf = True
        self.context = llama_cpp.llama_init_from_model(model, params)
        if not self.context:
            raise ValueError("llama.cpp has no such form")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)

    def read(self, sequence: int, place: int, count: int) -> None:
        while count:
            size = min(BATCH, count)
            self.batch.n_tokens = size
            for i in range(size):
                self.batch.token[i], self.batch.pos[i], self.batch.n_seq_id[i] = TOKEN + i, place + i, 1
                self.batch.seq_id[i][0] = sequence
                self.batch.logits[i] = i == size - 1
            if llama_cpp.llama_decode(self.context, self.batch):
                raise ValueError("llama.cpp could not decode")
            place, count = place + size, count - size

    def drop(self, sequence: int, place: int) -> None:
        llama_cpp.llama_memory_seq_rm(self.memory, sequence, place, -1)

    def close(self) -> None:
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)


def median(runs: int, work: Callable[[], None], undo: Callable[[], None]) -> float:
    """Milliseconds of some work that is undone after each run."""
    found = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        found.append((time.perf_counter() - begin) * 1000)
        undo()
    return statistics.median(found)


def measure(cache: Cache, depth: int, other: int) -> list[float]:
    cache.read(0, 0, depth)

    def step() -> float:
        return median(15, lambda: cache.read(0, depth, 1), lambda: cache.drop(0, depth))

    found = [step()]
    for sequence in (1, 2):
        cache.read(sequence, 0, other)
    found.append(step())
    found.append(median(3, lambda: cache.read(0, depth, PREFILL), lambda: cache.drop(0, depth)))

    def copy() -> None:
        llama_cpp.llama_memory_seq_cp(cache.memory, 0, 3, -1, -1)
        cache.read(3, depth, 1)

    found.append(median(5, copy, lambda: cache.drop(3, -1)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--depth", type=int, default=2800, help="tokens of the prompt")
    parser.add_argument("--other", type=int, default=2800, help="tokens of each other sequence")
    parser.add_argument("--threads", type=int, default=cores.processors())
    options = parser.parse_args()
    listen_to_log()
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(options.model).encode(), llama_cpp.llama_model_default_params())
    print(f"{'':<24}{'decode':>9}{'with others':>13}{'prefill':>9}{'copy':>9}")
    size = max(options.depth, options.other) + PREFILL + 64
    for unified in (False, True):
        for flash in FLASH:
            for kind in TYPES:
                name = f"{'one for all' if unified else 'one each'}, {flash}, {kind}"
                try:
                    cache = Cache(model, unified, flash, kind, size, options.threads)
                except ValueError as error:
                    print(f"{name:<24}{error}")
                    continue
                numbers = measure(cache, options.depth, options.other)
                cells = "".join(f"{number:{width}.1f}" for number, width in zip(numbers, (9, 13, 9, 9), strict=True))
                print(f"{name:<24}{cells}", flush=True)
                cache.close()


if __name__ == "__main__":
    main()
