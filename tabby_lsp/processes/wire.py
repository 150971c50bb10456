"""Messages on the pipes between the server and its children: JSON, each behind its length in four bytes.

Every message has a `kind`; each child's `process` says which there are.
"""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

_LENGTH = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size
# No message is longer; what says it is was not written by the other end. A text of an editor may be some megabytes.
MOST_BYTES = 1 << 28


def pack(message: Mapping[str, Any]) -> bytes:
    # ASCII escapes carry everything a buffer can hold, lone surrogates included.
    body = json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return _LENGTH.pack(len(body)) + body


def unpack_length(head: bytes) -> int:
    """Raises ValueError where these are no bytes of `pack`."""
    length = int(_LENGTH.unpack(head)[0])
    if length > MOST_BYTES:
        raise ValueError(f"a message of {length} bytes")
    return length


def unpack(body: bytes) -> dict[str, Any]:
    """Raises ValueError where these are no bytes of `pack`."""
    message = json.loads(body)
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ValueError("a message without a kind")
    return message


def read(read_bytes: Callable[[int], bytes]) -> dict[str, Any] | None:
    """The next message, or None when the pipe has closed."""
    head = read_bytes(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = unpack_length(head)
    body = read_bytes(length)
    return unpack(body) if len(body) == length else None


class Pipe:
    """A child's way to its parent. `send` may be called from several threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        data = memoryview(pack(message))
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # the parent is gone
                os._exit(0)
