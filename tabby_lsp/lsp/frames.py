"""Frames of the base protocol of LSP 3.17 ("Header Part"), read forgivingly. Knows nothing of what a frame says."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

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
