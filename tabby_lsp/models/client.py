"""The other side of a download: starts its process and hands on what it tells. Nothing here opens a connection."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

from tabby_lsp.data import to_json
from tabby_lsp.models.catalogue import Source
from tabby_lsp.processes.start import NEUTRAL_FOLDER, python


def download(source: Source, dry_run: bool = False) -> Iterator[dict[str, Any]]:
    """The events of a download (see `download.py`), the last of which is its end.

    Closing the iterator ends the process; what has come stays.
    """
    process = subprocess.Popen(
        python("tabby_lsp.models.download"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd=NEUTRAL_FOLDER,
    )
    assert process.stdin and process.stdout
    ended = False
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin:  # a process that is dead already tells by its status
            process.stdin.write(json.dumps({"source": to_json(source), "dry_run": dry_run}) + "\n")
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
