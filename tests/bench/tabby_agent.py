"""tabby-agent in front of a plain `Llama` object, which gets its prompt whole each time: see `whole_prompt`.

The agent's window, stop words, cache of the first line and main filters. Left out, in its favour: the 300 to 600 ms
that it waits before each request, and the clipping of the prompt's start, control token and all, that Tabby does.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from edits import Buffer, Change, indentation
from measures import Answer
from sides import Setting, SideError, since

AGENT_LINES = 20  # maxPrefixLines, maxSuffixLines
AGENT_TOKENS = 64  # max_decoding_tokens
AGENT_SMALLEST = 4  # minCompletionChars
AGENT_FORWARD = 50  # characters of the first line through which an answer is kept
# Tabby's stop words for Python, those that are the beginning of others alone.
AGENT_STOPS = ("\n\n", "\n#", "\ndef ", "\nclass ", "\nimport ", "\nfrom ")


class WholePrompt:
    """`suffix_first`: in the order that none of Tabby's templates has, for a model that was trained on it."""

    def __init__(self, name: str, setting: Setting, suffix_first: bool = False) -> None:
        self.name = name
        self._setting = setting
        self._suffix_first = suffix_first
        self._cache: OrderedDict[tuple[str, str], str] = OrderedDict()

    def __enter__(self) -> WholePrompt:
        command = [sys.executable, str(Path(__file__).with_name("whole_prompt.py")), str(self._setting.model)]
        self._worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._read() != "ready":
            raise SideError(f"{self.name} did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: TracebackType | BaseException | None) -> None:
        self._worker.kill()
        self._worker.communicate()

    @property
    def process(self) -> int:
        return self._worker.pid

    def open(self, buffer: Buffer) -> None:
        """Nothing is done until something is asked."""

    def change(self, change: Change) -> None:
        """See `open`."""

    def close(self, file: str) -> None:
        """See `open`."""

    def rest(self, buffer: Buffer) -> None:
        """See `open`."""

    def ask(self, buffer: Buffer, started: float) -> Answer:
        prefix, suffix, reach = agent_segments(buffer)
        known = self._cache.get((prefix, suffix))
        if known is not None and not self._setting.fixed_tokens:
            return Answer(known, since(started), False, reach)
        self._send(prefix, suffix)
        reply = self._read()
        text = agent_filtered(reply["text"], buffer)
        answer = Answer(text, since(started), True, reach, reply["evaluated"], reply["generated"], reply["prompt"])
        first = text.split("\n")[0]
        for typed in range(1, min(AGENT_FORWARD, len(first) - 1) + 1):
            self._cache[agent_window(prefix + first[:typed]), suffix] = first[typed:]
        while len(self._cache) > 100:
            self._cache.popitem(last=False)
        return answer

    def begin(self, buffer: Buffer) -> Callable[[], object]:
        self._send(*agent_segments(buffer)[:2])
        return self._read

    def supersede(self, buffer: Buffer) -> None:
        """Nothing: the call cannot be stopped."""

    def _send(self, prefix: str, suffix: str) -> None:
        fixed = self._setting.fixed_tokens
        request = {
            "prefix": prefix,
            "suffix": suffix,
            "suffix_first": self._suffix_first,
            "max_tokens": fixed or AGENT_TOKENS,
            "stop": [] if fixed else AGENT_STOPS,
            "ignore_end": bool(fixed),
        }
        assert self._worker.stdin is not None
        self._worker.stdin.write(json.dumps(request) + "\n")
        self._worker.stdin.flush()

    def _read(self) -> Any:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        if not line:
            raise SideError(f"{self.name} ended: {self._worker.wait()}")
        return json.loads(line)


def agent_window(prefix: str) -> str:
    return "\n".join(prefix.split("\n")[-AGENT_LINES:])


def agent_segments(buffer: Buffer) -> tuple[str, str, int]:
    """Prefix, suffix, and how much right of the cursor is replaced: what is no word at the end of the line."""
    line, lines = buffer.cursor[0], buffer.lines
    prefix = agent_window("\n".join([*lines[max(0, line - AGENT_LINES) : line], buffer.line_prefix]))
    at_end = re.fullmatch(r"\W*", buffer.line_suffix) is not None
    rest = "" if at_end else buffer.line_suffix
    suffix = "\n".join([rest, *lines[line + 1 : line + AGENT_LINES]]) or "\n"
    return prefix, suffix, len(buffer.line_suffix) if at_end else 0


def agent_filtered(text: str, buffer: Buffer) -> str:
    """In the middle of a line one line that ends like it; no lines indented less than the cursor's; not too little."""
    rest = buffer.line_suffix
    if not re.fullmatch(r"\W*", rest):
        first, newline, _ = text.partition("\n")
        if newline and not first.endswith(rest):
            return ""
        text = first.removesuffix(rest) if newline else first
    if buffer.line_prefix[-1:].isspace():
        text = text.lstrip(" \t") if buffer.line_prefix.strip() else text
    base = len(indentation(buffer.line_prefix)) if buffer.line_prefix.strip() else 0
    kept: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if number and line.strip() and len(indentation(line)) < base:
            break
        kept.append(line)
    text = "\n".join(kept).rstrip()
    return text if len(text.strip()) >= AGENT_SMALLEST else ""
