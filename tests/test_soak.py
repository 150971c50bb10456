"""Typing for a while: memory, descriptors and logs at its end are what they were near its start.

TABBY_LSP_SOAK says for how many seconds (8 by default); `pytest -s` shows the figures. Linux: where /proc is.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from editor import Editor

from tabby_lsp import config
from tabby_lsp.lsp.convert import context_at
from tabby_lsp.processes import machine

SECONDS = float(os.environ.get("TABBY_LSP_SOAK", "8"))
KEY = 0.04  # seconds between two keys: a fast typist's burst
LEAD = 0.25  # of the time, in which caches fill: answers, prompts, the index
TYPED = Path(context_at.__code__.co_filename).read_text(encoding="utf-8").splitlines()

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at /proc")


@dataclass(frozen=True)
class Figures:
    """Of the server and its children: bytes that each holds, descriptors that they have, bytes of their logs."""

    held: dict[str, int]
    descriptors: int
    logged: int

    def __str__(self) -> str:
        held = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in self.held.items())
        return f"{held}; {self.descriptors} descriptors; {self.logged} bytes of logs"


def figures(editor: Editor, root: Path) -> Figures:
    pids = {"server": editor.process.pid, **editor.children()}
    held = {name: machine.resident_memory(pid) or 0 for name, pid in pids.items()}
    descriptors = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids.values())
    return Figures(held, descriptors, sum(each.stat().st_size for each in root.rglob("*.log*")))


def test_after_typing_for_a_while_nothing_has_grown(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    source = Path(config.__file__).read_text(encoding="utf-8")
    uris = []
    for number in range(3):
        (folder / f"part_{number}.py").write_text(source, encoding="utf-8")
        uris.append((folder / f"part_{number}.py").as_uri())
    with Editor("--log-level", "info") as editor:
        editor.start(workspaceFolders=[{"uri": folder.as_uri(), "name": "shop"}])
        for uri in uris:
            editor.open(source, uri=uri)
        begun = time.monotonic()
        first: Figures | None = None
        version = keys = 0
        while (passed := time.monotonic() - begun) < SECONDS:
            if first is None and passed > LEAD * SECONDS:
                first = figures(editor, root)
            # A line is typed, and then taken out again: the document stays as long as it is.
            uri, line = uris[version % 3], 20 + version % 150
            text = TYPED[version % len(TYPED)]
            for column, character in enumerate(text):
                version += 1
                keys += 1
                editor.change(version, (line, column), character, uri=uri)
                asked = editor.ask_inline((line, column + 1), uri=uri)
                time.sleep(KEY)
                editor.answer(asked)
            version += 1
            editor.change(version, (line, 0), "", end=(line, len(text)), uri=uri)
        last = figures(editor, root)
        assert first is not None
        sys.stdout.write(f"\n{keys} keys in {passed:.0f} s\nthen: {first}\nnow:  {last}\n")
        assert last.held.keys() == first.held.keys() == {"server", "engine", "index"}
        assert last.descriptors <= first.descriptors + 2
        assert last.logged <= first.logged + 100_000
        # The server remembers 8 MB of answers; the engine's graph and the indexer's parser are as large as their last.
        for name, most in (("server", 16), ("engine", 32), ("index", 24)):
            assert last.held[name] < first.held[name] + most * 2**20, name
    assert not [each for each in editor.log if "Traceback" in each]
