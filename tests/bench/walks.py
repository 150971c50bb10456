"""How the time of each walk over text grows with the text: four times the text should take four times the time.

    python tests/bench/walks.py [--size N] [--walk NAME …] [--language ID …]

Prints every walk over every text of `tests/long_texts.py` that takes more than `--least` ms at four times the size and
more than `--most` times as long as at the size itself, and the slowest one of each walk. CPU time of this process.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from long_texts import LANGUAGES, WALKS, Walk, contexts

from tabby_lsp.data import CompletionContext

GIVE_UP = 3.0  # seconds for one walk: it is not asked for a larger text


def seconds(walk: Walk, text: str, context: CompletionContext) -> float:
    begun = time.process_time()
    walk(text, context)
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=4000, help="characters (default: 4000)")
    parser.add_argument("--least", type=float, default=20.0, help="ms (default: 20)")
    parser.add_argument("--most", type=float, default=8.0, help="times (default: 8)")
    parser.add_argument("--walk", nargs="*", default=list(WALKS), choices=list(WALKS))
    parser.add_argument("--language", nargs="*", default=["python", "rust", "shellscript", "html"], choices=LANGUAGES)
    options = parser.parse_args()
    for name in options.walk:
        slowest, where = 0.0, ""
        for language in options.language:
            sizes = (options.size, 2 * options.size, 4 * options.size)
            for cases in zip(*(contexts(size, language) for size in sizes), strict=True):
                times: list[float] = []
                for _, text, context in cases:
                    times.append(seconds(WALKS[name], text, context))
                    if times[-1] > GIVE_UP:
                        break
                slowest, where = max((slowest, where), (times[-1], cases[0][0]))
                grows = 1000 * times[-1] > options.least and times[-1] > options.most * max(times[0], 1e-4)
                if len(times) < len(cases) or grows:
                    shown = " → ".join(f"{1000 * each:.1f}" for each in times)
                    print(f"{name:22} {shown} ms  {cases[0][0]}", flush=True)
        print(f"{name:22} at most {1000 * slowest:.0f} ms: {where}", flush=True)


if __name__ == "__main__":
    main()
