"""The log of the server: nobody waits for it, and what nobody reads does not grow."""

from __future__ import annotations

import logging
import os
import threading

from editor import Editor
from test_server import something

from tabby_lsp.lsp.logs import Aside, Descriptor


class Slow(logging.Handler):
    """Writes nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.may.wait(60)
        self.lines.append(self.format(record))


def logger_over(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(handler)
    return logger


def test_who_logs_waits_for_nobody_and_what_is_dropped_is_counted() -> None:
    slow = Slow()
    aside = Aside(slow, most_characters=1000)
    logger = logger_over(aside)
    for number in range(500):
        logger.info("%s", f"line {number:05}")
    assert slow.lines == []
    aside.flush()  # comes to an end, too
    slow.may.set()
    end(aside)
    logger.info("later")
    end(aside)
    kept = [f"line {number:05}" for number in range(100)]
    assert slow.lines == [*kept, "400 lines of the log were dropped, since nobody read it", "later"]


def end(aside: Aside) -> None:
    for _ in range(100):
        aside.flush()
        if not aside._characters:
            return
    raise AssertionError("never written")


def test_a_line_says_what_was_so_when_it_was_logged() -> None:
    slow = Slow()
    aside = Aside(slow)
    aside.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    items = [1]
    logger = logger_over(aside)
    logger.warning("%s", items)
    items.append(2)
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("failed")
    slow.may.set()
    end(aside)
    assert slow.lines[0] == "WARNING [1]"
    assert slow.lines[1].startswith("ERROR failed\nTraceback") and slow.lines[1].endswith("ValueError: why")


def test_a_descriptor_takes_whatever_text_there_is() -> None:
    read_end, write_end = os.pipe()
    logger = logger_over(Descriptor(write_end))
    logger.info("é \ud83d")
    os.close(write_end)
    assert os.read(read_end, 100) == "é \\ud83d\n".encode()
    os.close(read_end)


def test_an_editor_that_does_not_read_the_log_is_served() -> None:
    with Editor(reads_log=False) as editor:
        editor.start()
        for _ in range(300):  # a warning of a kilobyte each; a pipe holds 64
            editor.notify("textDocument/didClose", {"textDocument": {"uri": f"file:///{'x' * 1000}"}})
        something(editor)
        assert editor.request("shutdown", None) is None
        editor.notify("exit", None)
        assert editor.process.wait(60) == 0


def test_what_was_logged_last_is_written_before_the_end() -> None:
    with Editor("--log-level", "debug") as editor:
        editor.start()
        editor.notify("exit", None)
        assert editor.process.wait(60) == 1
        for thread in editor._threads:
            thread.join(60)
        assert any("'exit'" in line for line in editor.log[-20:]), editor.log[-20:]
