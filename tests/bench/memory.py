"""What a model is said to take beside what its process holds, for public shapes: `engine/memory.py` against the system.

    python tests/bench/memory.py [--context N] [SHAPE or FILE …]

The weights of a shape are random. A process loads the model as the engine does and reads a prompt of the whole
context, so that all of its buffers have been used. Held is what the system says of that process: its share of memory
(PSS), of which the weights' file is a part as long as there is room for it. MiB; Linux only.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from shapes import SHAPES, write_random

from tabby_lsp.engine import gguf, memory
from tabby_lsp.engine.memory import Need

PARALLELISM = 2
MIB = 1 << 20

HOLD = """
import sys
from pathlib import Path
if len(sys.argv) > 1:
    from tabby_lsp.data import ModelSettings
    from tabby_lsp.engine.model import Model
    model = Model(ModelSettings(sys.argv[1], device="cpu", context_size=int(sys.argv[2]), parallelism=int(sys.argv[3])))
    step = 512
    for place in range(0, model.context_size - step + 1, step):
        model.evaluate([5] * step, place, 0)
else:
    import tabby_lsp.engine.process, tabby_lsp.engine.work
print(Path("/proc/self/smaps_rollup").read_text())
"""


def held(*arguments: str) -> dict[str, int]:
    """Bytes that a process holds at its end, by the names of smaps_rollup."""
    done = subprocess.run([sys.executable, "-c", HOLD, *arguments], capture_output=True, text=True, check=True)
    return {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", done.stdout, re.MULTILINE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shapes", nargs="*", default=list(SHAPES), metavar="SHAPE", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--context", type=int, default=1024)
    options = parser.parse_args()
    columns = ("weights", "cache", "buffers", "process", "said", "held", "ratio", "RSS", "anonymous")
    print(f"{'':<22}" + "".join(f"{each:>10}" for each in columns))
    nothing = held()
    show("no model", Need(0, 0, 0, memory.PROCESS_BYTES), nothing)
    for shape in options.shapes:
        if shape not in SHAPES:
            compare(Path(shape), options.context)
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{shape}.gguf"
            write_random(SHAPES[shape], path)
            compare(path, options.context)


def compare(path: Path, wanted: int) -> None:
    header = gguf.read_header(path)
    context = min(wanted, header.context_length)
    said = memory.need(header, path.stat().st_size, context, PARALLELISM + memory.SPARE_SEQUENCES)
    show(path.stem[:21], said, held(str(path), str(context), str(PARALLELISM)))


def show(name: str, said: Need, measured: dict[str, int]) -> None:
    parts = (said.weights, said.cache, said.buffers, said.process, said.total, measured["Pss"])
    print(
        f"{name:<22}"
        + "".join(f"{each / MIB:10.0f}" for each in parts)
        + f"{said.total / measured['Pss']:10.2f}{measured['Rss'] / MIB:10.0f}{measured['Pss_Anon'] / MIB:10.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
