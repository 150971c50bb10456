"""The other side of a download: starts its process and hands on what it tells. Nothing here opens a connection."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tabby_lsp
from tabby_lsp.models.catalogue import Source

# Python looks for modules in the folder where it is started: this is ours, not the user's.
_FOLDER = Path(tabby_lsp.__file__).resolve().parent.parent


def download(source: Source, dry_run: bool = False) -> Iterator[dict[str, Any]]:
    """The events of a download (see `download.py`), the last of which is its end.

    Closing the iterator ends the process; what has come stays.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tabby_lsp.models.download"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd=_FOLDER,
    )
    assert process.stdin and process.stdout
    ended = False
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin:  # a process that is dead already tells by its status
            process.stdin.write(json.dumps({"source": asdict(source), "dry_run": dry_run}) + "\n")
        for line in process.stdout:
            event = json.loads(line)
            ended = event["event"] in ("done", "error", "stopped") or (dry_run and event["event"] == "plan")
            yield event
        if not ended:
            status = process.wait()
            yield {"event": "error", "message": f"The download ended without a word (exit status {status}). Ask again."}
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
        process.wait()
