"""The log, written aside: whoever logs never waits for a disk, or for an editor that does not read.

Knows nothing of what is logged.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections import deque

# What may wait to be written: a debug log of some thousand messages. An editor that reads nothing takes 64 kB.
MOST_CHARACTERS = 4 << 20
END_SECONDS = 0.5  # that the end of the process waits for what is still to be written


class Aside(logging.Handler):
    """Hands records to another handler in a thread of its own. What there is no room for is dropped, and counted."""

    def __init__(self, handler: logging.Handler, most_characters: int = MOST_CHARACTERS) -> None:
        super().__init__()
        self._handler = handler
        self._most = most_characters
        self._waiting: deque[logging.LogRecord] = deque()
        self._characters = 0  # that wait, or are being written
        self._dropped = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        line = self._line(record)
        with self._changed:
            if self._characters + len(line.msg) > self._most:
                self._dropped += 1
                return
            self._waiting.append(line)
            self._characters += len(line.msg)
            self._changed.notify_all()

    def flush(self) -> None:
        """Waits until all is written, but not for long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._characters, END_SECONDS)

    def _line(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record as the line that it will be: what it is about may be another thing when it is written."""
        line = copy.copy(record)
        line.msg, line.args = self.format(record), None
        line.exc_info = line.exc_text = line.stack_info = None
        return line

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                line = self._waiting.popleft()
            # Not `handle`: the end of the process would wait for the lock that it takes.
            self._handler.emit(line)
            with self._changed:
                self._characters -= len(line.msg)
                dropped = 0 if self._waiting else self._dropped
                self._dropped -= dropped
                self._changed.notify_all()
            if dropped:
                text = f"{dropped} lines of the log were dropped, since nobody read it"
                note = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
                self._handler.emit(self._line(note))


class Descriptor(logging.Handler):
    """Lines to a descriptor, without a file around it: the interpreter waits at its end for the lock of a file."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        data = memoryview(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # nobody will read it any more
            self.handleError(record)
