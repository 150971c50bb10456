"""How much of what is wanted stands in the pieces of other files that a prompt is given, without any model.

    python tests/eval/coverage.py DIR [DIR …] [--holes N] [--rooms 2400,3500,7000]

Counted are the names in the first line of a hole that the text near the cursor does not have (some 4,000 characters
above, 1,500 below): for each room, in characters, the share of them that stands in a piece. What is not there no model
can copy. Also the time that a question takes; a request waits 15 ms for it at most.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tabby_lsp.evaluation.holes import IDENTIFIER, choose
from tabby_lsp.evaluation.run import files_in, index_of
from tabby_lsp.index.related import related

ABOVE, BELOW, SHORTEST = 4_000, 1_500, 3  # characters


def covered(folder: Path, holes: int, seed: int, rooms: list[int]) -> tuple[dict[int, int], int, list[float]]:
    """For each room how many of the missing names stand in a piece; how many are missing; seconds of each question."""
    found, missing, seconds = dict.fromkeys(rooms, 0), 0, []
    with tempfile.TemporaryDirectory() as temporary:
        search = index_of(folder, Path(temporary, "index.sqlite"))
        for hole in choose(files_in(folder), holes, seed):
            context = hole.context(folder.name)
            near = f"{context.prefix[-ABOVE:]} {context.line_suffix} {context.suffix[:BELOW]}"
            line = next((line for line in hole.wanted.split("\n") if line.strip()), "")
            names = {name for name in IDENTIFIER.findall(line) if len(name) >= SHORTEST} - {*IDENTIFIER.findall(near)}
            if not names:
                continue
            missing += len(names)
            for room in rooms:
                begun = time.perf_counter()
                pieces = related(search, folder / hole.file.path, context, room)
                seconds.append(time.perf_counter() - begun)
                there = IDENTIFIER.findall(" ".join(each.snippet.text for each in pieces))
                found[room] += len(names.intersection(there))
        search.close()
    return found, missing, sorted(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--holes", type=int, default=400, help="in each folder (default: 400)")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rooms", default="2400,3500,7000", help="characters (default: 2400,3500,7000)")
    options = parser.parse_args()
    rooms = [int(each) for each in options.rooms.split(",")]
    print(f"{'folder':<16}{'names':>7}" + "".join(f"{room:>10,}" for room in rooms) + "     ms: median, 95 %")
    for folder in options.folders:
        found, missing, seconds = covered(folder.resolve(), options.holes, options.seed, rooms)
        shares = "".join(f"{100 * count / max(1, missing):>9.1f}%" for count in found.values())
        times = [1000 * seconds[int(share * (len(seconds) - 1))] for share in (0.5, 0.95)] if seconds else [0.0, 0.0]
        print(f"{folder.resolve().name:<16}{missing:>7}{shares}   {times[0]:8.1f} {times[1]:8.1f}")


if __name__ == "__main__":
    main()
