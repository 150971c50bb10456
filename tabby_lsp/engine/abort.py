"""The flag that stops a computation of llama.cpp from another thread: for good, or only for it to be done again."""

from __future__ import annotations

import ctypes
import threading

from tabby_lsp.processes import machine


class AbortFlag:
    """Set by whoever cancels a job, or by the watch over a step that takes too long.

    llama.cpp polls `callback` with the `address` of the flag, without Python inside its loop. The C library's `strlen`
    is such a function: of a two-byte buffer it returns 0 while the first byte is 0, and 1 when it is not.
    """

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        self._redo = False  # whether the flag was set by the watch alone
        self._lock = threading.Lock()
        self.callback = machine.strlen_address()
        self.address = ctypes.addressof(self._flag)

    def set(self) -> None:
        """Stops the step that is computed now."""
        with self._lock:
            self._redo = False
            self._flag[0] = b"\x01"

    def clear(self) -> None:
        with self._lock:
            self._redo = False
            self._flag[0] = b"\x00"

    def redo(self) -> None:
        """Stops a step that takes too long, to be done again; unless it is being stopped for good."""
        with self._lock:
            if self._flag[0] == b"\x00":
                self._redo = True
                self._flag[0] = b"\x01"

    @property
    def to_be_redone(self) -> bool:
        """Whether the step was stopped only to be done again."""
        return self._redo

    def redone(self) -> bool:
        """Whether the step was stopped only to be done again; it then can be."""
        with self._lock:
            if self._redo:
                self._redo = False
                self._flag[0] = b"\x00"
                return True
            return False

    @property
    def aborted(self) -> bool:
        return self._flag[0] != b"\x00" and not self._redo
