"""llama.vim with llama.cpp's server behind it, as the plugin drives it (autoload/llama.vim, January 2026).

What the plugin does in a timer is done here at the same moment. Left out, in its favour: the curl that it starts for
each request. Left out for the comparison: its `infill` sampler, which drops what is less likely than 0.2; with a small
model it leaves nothing to show.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import subprocess
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from edits import Buffer, Change, indentation
from measures import Answer
from sides import Setting, SideError, since

START_SECONDS = 120.0
# The plugin's defaults. Its n_predict and times hold for what is not asked in advance and for what is.
N_PREFIX, N_SUFFIX, N_PREDICT = 256, 64, 128
T_MAX_PROMPT_MS, T_MAX_PREDICT_MS, T_MAX_PREDICT_FIRST_MS = 500, 1000, 250
MAX_LINE_SUFFIX, MAX_CACHE_KEYS, LOOK_BACK, SCROLLED_LINES = 8, 250, 128, 3
RING_CHUNKS, RING_QUEUE, CHUNK_LINES, RING_SCOPE, PICK_DISTANCE = 16, 16, 64, 1024, 32
RETRY_SECONDS = 0.1
# What its README starts the server with for a small model (--fim-qwen-1.5b-default), but for the model's name.
README_ARGUMENTS = ("-ub", "1024", "-b", "1024", "-c", "0", "--cache-reuse", "256")


@dataclass(frozen=True, slots=True)
class Local:
    """What llama.vim sends of the text around the cursor."""

    prefix: str
    middle: str
    suffix: str
    indent: int
    line_suffix: str

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Under what an answer is kept: also as if a few lines had been scrolled out at the top."""
        found = [(self.prefix + self.middle, self.suffix)]
        above = self.prefix
        for _ in range(SCROLLED_LINES):
            above = above.partition("\n")[2]
            if not above:
                break
            found.append((above + self.middle, self.suffix))
        return found


def local_context(buffer: Buffer) -> Local:
    line, lines = buffer.cursor[0], buffer.lines
    before, after = buffer.line_prefix, buffer.line_suffix
    if not lines[line].strip():
        before = after = ""  # the model writes the indentation itself
        indent = 0
    else:
        indent = len(indentation(lines[line]))
    above, below = lines[max(0, line - N_PREFIX) : line], lines[line + 1 : line + 1 + N_SUFFIX]
    return Local("\n".join(above) + "\n", before, "\n".join([after, *below]) + "\n", indent, after)


def accepted_context(buffer: Buffer, content: str, indent: int) -> Local:
    """The context as it would be with a suggestion accepted."""
    line, lines = buffer.cursor[0], buffer.lines
    *inserted, last = (buffer.line_prefix + content).split("\n")
    above = [*lines[max(0, line - N_PREFIX + len(inserted)) : line], *inserted]
    below = lines[line + 1 : line + 1 + N_SUFFIX]
    return Local("\n".join(above) + "\n", last, "\n".join(["", *below]) + "\n", indent, "")


def shown_text(content: str, buffer: Buffer) -> str:
    """What llama.vim shows of an answer: nothing, where it repeats what stands there."""
    line, lines = buffer.cursor[0], buffer.lines
    parts = content.split("\n")
    while parts and not parts[-1]:
        parts.pop()
    if not parts:
        return ""
    if not lines[line].strip():
        lead = min(len(indentation(parts[0])), len(lines[line]))
        parts[0] = parts[0][lead:]
    if len(parts) > 1 and not parts[0] and parts[1:] == lines[line + 1 : line + len(parts)]:
        return ""
    if parts == [buffer.line_suffix]:
        return ""
    following = line + 1
    while following < len(lines) - 1 and not lines[following].strip():
        following += 1
    below = lines[following : following + len(parts)]
    if below and buffer.line_prefix + parts[0] == below[0]:
        repeats_all = len(parts) > 2 and parts[1:] == below[1:]
        repeats_start = len(parts) == 2 and len(below) > 1 and below[1].startswith(parts[1])
        if len(parts) == 1 or repeats_start or repeats_all:
            return ""
    return "\n".join(parts) if any(part.strip() for part in parts) else ""


@dataclass(slots=True)
class Ring:
    """Pieces of text from elsewhere that are sent along. A new one waits until the editor is idle."""

    random: random.Random
    chunks: list[list[str]] = field(default_factory=list)
    queued: list[list[str]] = field(default_factory=list)

    def half(self, text: Sequence[str]) -> list[str]:
        size = CHUNK_LINES // 2
        start = self.random.randrange(max(0, len(text) - size) + 1)
        return list(text[start : start + size + 1])

    def pick(self, text: Sequence[str], evict: bool) -> None:
        if len(text) < 3:
            return
        chunk = list(text) if len(text) + 1 < CHUNK_LINES else self.half(text)
        if chunk in self.chunks or chunk in self.queued:
            return
        for kept in (self.queued, self.chunks):
            alike = [each for each in kept if similarity(each, chunk) > 0.9]
            if alike and not evict:
                return
            kept[:] = [each for each in kept if each not in alike]
        self.queued = [*self.queued, chunk][-RING_QUEUE:]

    def update(self) -> bool:
        """Moves the oldest waiting piece to those that are sent."""
        if not self.queued:
            return False
        self.chunks = [*self.chunks, self.queued.pop(0)][-RING_CHUNKS:]
        return True

    def make_room(self, around: Sequence[str]) -> None:
        """Drops what is like the text around the cursor: it makes a model repeat that."""
        local = self.half(around)
        self.chunks = [each for each in self.chunks if similarity(each, local) <= 0.5]

    def extra(self) -> list[dict[str, str]]:
        return [{"text": "\n".join(chunk) + "\n", "filename": "chunk.py"} for chunk in self.chunks]


def similarity(left: Sequence[str], right: Sequence[str]) -> float:
    common = len([line for line in left if line in set(right)])
    return 2.0 * common / max(1, len(left) + len(right))


class LlamaVim:
    """`suffix_first`: the server's --spm-infill. `quiet`: no request but for what is shown, and nothing sent along.

    The plugin asks in advance for what follows an accepted suggestion, and for the place itself when it shows what it
    knows from a place before. That helps whoever accepts, or rests; for whoever types on it may keep the server busy.
    """

    def __init__(self, name: str, setting: Setting, suffix_first: bool = False, quiet: bool = False) -> None:
        self.name = name
        self._setting = setting
        self._arguments = [*README_ARGUMENTS, *(["--spm-infill"] if suffix_first else [])]
        self._plain = bool(setting.fixed_tokens)  # each request stands for itself
        self._quiet = quiet or self._plain
        self._cache: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._ring = Ring(random.Random(0))
        self._picked_at = -9999
        self._changed: set[str] = set()
        self._job: Future[dict[str, Any]] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> LlamaVim:
        if self._setting.llama_server is None:
            raise SideError(f"{self.name} needs --llama-server: see tests/bench/llama_server.py")
        with self._stack:  # closes what was started if the rest fails
            log = self._stack.enter_context(tempfile.TemporaryFile())
            port = free_port()
            command = [str(self._setting.llama_server), "-m", str(self._setting.model), *self._arguments]
            command += ["--host", "127.0.0.1", "--port", str(port), "--no-webui"]
            self._server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            self._stack.callback(self._server.wait)
            self._stack.callback(self._server.kill)
            self._port = port
            self._wait_for_health(log)
            self._jobs = self._stack.enter_context(ThreadPoolExecutor(1))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: TracebackType | BaseException | None) -> None:
        self._stack.close()

    def _wait_for_health(self, log: Any) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._server.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._ask_server("GET", "/health")[0] == 200:
                    return
            time.sleep(0.1)
        log.seek(0)
        tail = log.read().decode("utf-8", "replace").splitlines()[-15:]
        raise SideError("llama-server did not start:\n" + "\n".join(tail))

    @property
    def process(self) -> int:
        return self._server.pid

    # --- the editor's events

    def open(self, buffer: Buffer) -> None:
        self._pick_around(buffer)

    def change(self, change: Change) -> None:
        self._changed.add(change.file)

    def close(self, file: str) -> None:
        self._changed.discard(file)

    def rest(self, buffer: Buffer) -> None:
        """A piece that waited is sent along from now on, and the server reads it at once."""
        if self._quiet:
            return
        self._wait_for_job()
        if buffer.file not in self._changed:
            self._pick_around(buffer)
        if self._ring.update():
            self._submit(self._request(Local("", "", "", 0, ""), 0, 1))
            self._wait_for_job()

    def _pick_around(self, buffer: Buffer) -> None:
        if not self._quiet:
            self._ring.pick(around(buffer), evict=True)

    def _pick_nearby(self, buffer: Buffer) -> None:
        """After a move: from before what is sent anyway, and from behind it."""
        line, lines = buffer.cursor[0], buffer.lines
        if self._quiet or abs(line - self._picked_at) <= PICK_DISTANCE:
            return
        self._ring.pick(lines[max(0, line - RING_SCOPE) : max(0, line - N_PREFIX)], evict=False)
        self._ring.pick(lines[line + N_SUFFIX : line + N_SUFFIX + CHUNK_LINES], evict=False)
        self._picked_at = line

    # --- a suggestion

    def ask(self, buffer: Buffer, started: float) -> Answer:
        local = local_context(buffer)
        if not self._plain:
            if len(local.line_suffix) > MAX_LINE_SUFFIX:
                return Answer("", since(started), False)
            text = self._known_text(local, buffer)
            if text:
                answer = Answer(text, since(started), False)
                self._ask_in_advance(buffer, local, text)
                return answer
            if waited := self._wait_for_job():
                # What has just come may be for this place. Else the plugin looks again ten times a second.
                text = self._known_text(local, buffer)
                if text:
                    return replace(_counted(waited, text), milliseconds=since(started))
                time.sleep(-(time.perf_counter() - started) % RETRY_SECONDS)
            self._ring.make_room(around(buffer))
        self._submit(self._request(local, N_PREDICT, T_MAX_PREDICT_FIRST_MS), local)
        response = self._wait_for_job()
        assert response is not None
        text = shown_text(response["content"], buffer)
        answer = replace(_counted(response, text), milliseconds=since(started))
        if not self._plain:
            self._pick_nearby(buffer)
            if text:
                self._ask_in_advance(buffer, local, text)
        return answer

    def begin(self, buffer: Buffer) -> Callable[[], object]:
        self._submit(self._request(local_context(buffer), N_PREDICT, T_MAX_PREDICT_FIRST_MS))
        return self._wait_for_job

    def supersede(self, buffer: Buffer) -> None:
        """Nothing: the plugin lets its request run to the end."""

    def _request(self, local: Local, n_predict: int, t_max_predict_ms: int) -> dict[str, Any]:
        request: dict[str, Any] = {
            "id_slot": 0,
            "input_prefix": local.prefix,
            "input_suffix": local.suffix,
            "input_extra": self._ring.extra(),
            "prompt": local.middle,
            "n_predict": n_predict,
            "n_indent": local.indent,
            "stop": [],
            "stream": False,
            "samplers": ["top_k"],
            "top_k": 1,
            "temperature": 0.0,
            "cache_prompt": True,
            "t_max_prompt_ms": T_MAX_PROMPT_MS,
            "t_max_predict_ms": t_max_predict_ms,
            "response_fields": ["content", "timings/prompt_n", "timings/predicted_n", "tokens_evaluated"],
        }
        if self._setting.fixed_tokens and n_predict:
            fixed = {"n_predict": self._setting.fixed_tokens, "n_indent": 0, "t_max_predict_ms": -1}
            request |= {**fixed, "ignore_eos": True}
        return request

    def _submit(self, request: dict[str, Any], local: Local | None = None) -> None:
        """One request at a time: the plugin has no more. The answer is kept for `local`."""
        self._job = self._jobs.submit(self._post, request, local)

    def _wait_for_job(self) -> dict[str, Any] | None:
        """The answer to the request that is under way, if one is."""
        job, self._job = self._job, None
        return job.result() if job is not None else None

    def _ask_server(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        """On a connection of its own: the server closes those that have been idle for some seconds."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _post(self, request: dict[str, Any], local: Local | None) -> dict[str, Any]:
        status, body = self._ask_server("POST", "/infill", json.dumps(request))
        if status != 200:
            raise SideError(f"llama-server: {status} {body[:500]!r}")
        answer: dict[str, Any] = json.loads(body)
        if local is not None and not self._plain:
            for key in local.keys:
                self._cache.pop(key, None)
                self._cache[key] = answer["content"]
            while len(self._cache) > MAX_CACHE_KEYS:
                self._cache.popitem(last=False)
        return answer

    def _known_text(self, local: Local, buffer: Buffer) -> str:
        """What is shown from the cache: for this place, or the rest of what was there a few characters ago."""
        self._drop_finished_job()
        found = self._cache.get(local.keys[0])
        if found is not None:
            return shown_text(found, buffer)
        best = ""
        whole = local.prefix + local.middle
        for typed in range(1, min(LOOK_BACK, len(whole)) + 1):
            content = self._cache.get((whole[:-typed], local.suffix))
            if content and content.startswith(whole[-typed:]) and len(content) - typed > len(best):
                best = content[typed:]
        return shown_text(best, buffer) if best else ""

    def _drop_finished_job(self) -> None:
        if self._job is not None and self._job.done():
            self._wait_for_job()

    def _ask_in_advance(self, buffer: Buffer, local: Local, text: str) -> None:
        """For what follows the suggestion; if that is known, for the place itself. Not while a request is under way."""
        if self._quiet or self._job is not None:
            return
        following = accepted_context(buffer, text, local.indent)
        if following.keys[0] not in self._cache:
            self._submit(self._request(following, N_PREDICT, T_MAX_PREDICT_MS), following)
        elif not any(key in self._cache for key in local.keys):
            self._submit(self._request(local, N_PREDICT, T_MAX_PREDICT_FIRST_MS), local)


def around(buffer: Buffer) -> list[str]:
    line = buffer.cursor[0]
    return buffer.lines[max(0, line - CHUNK_LINES // 2) : line + CHUNK_LINES // 2 + 1]


def _counted(response: dict[str, Any], text: str) -> Answer:
    evaluated, generated = response["timings/prompt_n"], response["timings/predicted_n"]
    return Answer(text, 0.0, True, 0, evaluated, generated, response["tokens_evaluated"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
