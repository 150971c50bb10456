"""The other side of a download: starts its process and hands on what it tells. Nothing here opens a connection.

Whoever asks holds the stdin of the process: when that is closed, however it came to be, the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from tabby_lsp.data import to_json
from tabby_lsp.models.catalogue import Source
from tabby_lsp.processes.child import ending
from tabby_lsp.processes.start import NEUTRAL_FOLDER, python

MODULE = "tabby_lsp.models.download"
LONGEST_EVENT = 1 << 20  # bytes: a plan names every part of a model


def download(source: Source, dry_run: bool = False) -> Iterator[dict[str, Any]]:
    """The events of a download (see `download.py`), the last of which is its end.

    Closing the iterator ends the process; what has come stays.
    """
    process = subprocess.Popen(
        python(MODULE), stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", cwd=NEUTRAL_FOLDER
    )
    assert process.stdin and process.stdout
    ended = False
    try:
        with contextlib.suppress(BrokenPipeError):  # a process that is dead already tells by its status
            process.stdin.write(_request(source, dry_run))
            process.stdin.flush()
        for line in process.stdout:
            event = json.loads(line)
            ended = _is_last(event, dry_run)
            yield event
        if not ended:
            yield _died(f"exit status {process.wait()}")
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
        process.wait()


async def events(source: Source, dry_run: bool = False) -> AsyncGenerator[dict[str, Any], None]:
    """The same for who must not be kept waiting. Closed or cancelled, it ends the process; what has come stays."""
    process = await asyncio.create_subprocess_exec(
        *python(MODULE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=NEUTRAL_FOLDER,
        limit=LONGEST_EVENT,
    )
    assert process.stdin and process.stdout and process.stderr
    words = asyncio.get_running_loop().create_task(process.stderr.read())
    ended = False
    try:
        process.stdin.write(_request(source, dry_run).encode())
        while line := await process.stdout.readline():
            event = json.loads(line)
            ended = _is_last(event, dry_run)
            yield event
        if not ended:
            said = (await words).decode("utf-8", "replace").splitlines()
            yield _died(ending(await process.wait(), said))
    finally:
        words.cancel()
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _request(source: Source, dry_run: bool) -> str:
    return json.dumps({"source": to_json(source), "dry_run": dry_run}) + "\n"


def _is_last(event: Mapping[str, Any], dry_run: bool) -> bool:
    return event["event"] in ("done", "error", "stopped") or (dry_run and event["event"] == "plan")


def _died(how: str) -> dict[str, Any]:
    return {"event": "error", "message": f"The download ended without a word ({how}). Ask again."}
