"""Frames on stdin and stdout: the base protocol of LSP 3.17 ("Header Part"), forgiving towards broken clients.

A thread each reads and writes, so that neither a silent nor a deaf client blocks the event loop. Knows nothing
of what a frame says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

_HEADER = re.compile(rb"content-length[ \t]*:[ \t]*(\d{1,12})[ \t]*\r?\n", re.IGNORECASE)
_OTHER_HEADERS = re.compile(rb"\s*(content-type[ \t]*:[^\n]*\n)*", re.IGNORECASE)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
# Nothing an editor sends is near this. A larger number is a broken header, not a document to wait for.
LARGEST_FRAME = 512 * 2**20


class FrameReader:
    """Cuts a stream of bytes into frame bodies. What is no frame is skipped, with a line in the log."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete after these bytes."""
        self._buffer += data
        while (body := self._next()) is not None:
            yield body

    def _next(self) -> bytes | None:
        while True:
            header = _HEADER.search(self._buffer)
            if header is None:
                del self._buffer[: max(0, len(self._buffer) - 4096)]  # a header may be on its way
                return None
            if not _OTHER_HEADERS.fullmatch(self._buffer, 0, header.start()):
                log.warning("skipped %d bytes that were no message", header.start())
                del self._buffer[: header.start()]
                continue
            end = _END_OF_HEADERS.search(self._buffer, header.end() - 2)
            if end is None:
                return None
            length = int(header[1])
            if length > LARGEST_FRAME:
                log.warning("skipped a header that announced %d bytes", length)
                del self._buffer[: end.end()]
                continue
            if len(self._buffer) < end.end() + length:
                return None
            body = bytes(self._buffer[end.end() : end.end() + length])
            del self._buffer[: end.end() + length]
            return body


def read_frames(descriptor: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
    """Starts a thread that reads a descriptor until it closes."""

    def run() -> None:
        # os.read, not a buffered file: a thread that waits inside one blocks the end of the process.
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the event loop has closed
            while data := os.read(descriptor, 1 << 16):
                on_data(data)
        with contextlib.suppress(RuntimeError):
            on_end()

    threading.Thread(target=run, name="stdin", daemon=True).start()


class FrameWriter:
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
