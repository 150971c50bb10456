"""stdin and stdout of a process that speaks with an editor. A thread each reads and writes, so that neither a silent
nor a deaf client blocks the event loop. Knows nothing of what the bytes say.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import AsyncIterator


async def read(descriptor: int) -> AsyncIterator[bytes]:
    """What comes on a descriptor, until it closes."""
    loop = asyncio.get_running_loop()
    incoming: asyncio.Queue[bytes] = asyncio.Queue()

    def run() -> None:
        # os.read, not a buffered file: a thread that waits inside one blocks the end of the process.
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the event loop has closed
            while data := os.read(descriptor, 1 << 16):
                loop.call_soon_threadsafe(incoming.put_nowait, data)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(incoming.put_nowait, b"")

    threading.Thread(target=run, name="stdin", daemon=True).start()
    while data := await incoming.get():
        yield data


class Writer:
    """Writes to a descriptor from a thread of its own, in the order of the calls (the `Writer` of pygls)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="stdout", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        self._queue.put(data)

    def close(self) -> None:
        """Waits, but not for long, until all is written."""
        self._queue.put(None)
        self._thread.join(timeout=0.5)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the client is gone: stdin will say so too
            while (data := self._queue.get()) is not None:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
