"""An editor for the tests: starts the real server, speaks JSON over its pipes, keeps whatever it says.

It starts it in a folder of its own, which is empty: where an editor stands is no clone of this project.

Plain dicts and not pygls' client, since half of the tests send what no proper client would.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from conftest import MODEL

from tabby_lsp.lsp.frames import FrameReader

Json = dict[str, Any]
WAIT = 60.0  # seconds until a test gives up, far beyond what anything takes
URI = "file:///home/me/shop/cart.py"

INLINE: Json = {"textDocument": {"inlineCompletion": {}}, "window": {"workDoneProgress": True}}
INVOKED, AUTOMATIC = 1, 2  # InlineCompletionTriggerKind
MENU: Json = {"textDocument": {"completion": {}}}


class Refused(Exception):
    """An error response."""

    def __init__(self, error: Json) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]


class Editor:
    """One server process and one document or more."""

    def __init__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        model: Path | None = MODEL,
        reads_log: bool = True,
        answers: bool = True,
        command: Sequence[str] = (sys.executable, "-m", "tabby_lsp"),
        folder: Path | None = None,
    ) -> None:
        """`folder`: where it is started, if not in an empty one. Without `answers` requests of the server wait for
        `reply`."""
        chosen = ("--model", str(model)) if model else ()
        self._folder = tempfile.TemporaryDirectory(prefix="tabby-lsp-editor-")
        self.folder = folder or Path(self._folder.name)
        self._stood = {each.name for each in self.folder.iterdir()}
        self.process = subprocess.Popen(
            [*command, *chosen, *arguments],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        self.messages: list[Json] = []  # everything that is no response, in order
        self._answers = answers
        self.configuration: Any = None  # what workspace/configuration is answered with
        self.choose: Callable[[Json], str] = lambda params: ""  # and window/showMessageRequest: "" chooses nothing
        self.log: list[str] = []
        self.responses: queue.Queue[Json] = queue.Queue()
        self._early: dict[int, Json] = {}
        self._ids = iter(range(1, 1_000_000))
        self._arrived = threading.Condition()
        self.stray = b""
        readers = (self._read, self._read_log) if reads_log else (self._read,)
        self._threads = [threading.Thread(target=each, daemon=True) for each in readers]
        for thread in self._threads:
            thread.start()

    # --- life

    def __enter__(self) -> Editor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: TracebackType | BaseException | None) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(WAIT)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                pass
        left = {each.name for each in self.folder.iterdir()} - self._stood
        self._folder.cleanup()
        if kind is None:
            assert left == set(), "nothing is written where the editor stands"
            assert self.stray == b"", "stdout carries frames and nothing else"

    def initialize(self, capabilities: Json = INLINE, encodings: Sequence[str] = ("utf-16",), **extra: Any) -> Json:
        common: Json = {"general": {"positionEncodings": list(encodings)}, "tabby": {"statusDidChangeListener": True}}
        folders = [{"uri": "file:///home/me/shop", "name": "shop"}]
        params = {"processId": None, "rootUri": None, "capabilities": {**common, **capabilities}}
        result: Json = self.request("initialize", {**params, "workspaceFolders": folders, **extra})
        self.notify("initialized", {})
        return result

    def start(
        self, capabilities: Json = INLINE, encodings: Sequence[str] = ("utf-16",), waits: bool = True, **extra: Any
    ) -> Json:
        """Initializes and, if it is told the status, waits for the model."""
        result = self.initialize(capabilities, encodings, **extra)
        if waits:
            self.wait_status("readyForAutoTrigger", "readyForManualTrigger")
        return result

    # --- messages

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message: Any) -> None:
        body = json.dumps(message).encode()
        self.send_bytes(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def reply(self, request: Json, result: Any) -> None:
        self.send({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def notify(self, method: str, params: Any) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, params: Any) -> int:
        """Sends a request and does not wait."""
        id = next(self._ids)
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        return id

    def answer(self, id: int | None) -> Any:
        """Waits for the response to a request."""
        end = time.monotonic() + WAIT
        while id not in self._early:
            try:
                response = self.responses.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"request {id} was never answered; log: {self.log[-5:]}") from None
            assert response["id"] not in self._early or response["id"] is None, "two answers to one request"
            self._early[response["id"]] = response
        response = self._early.pop(id)
        if "error" in response:
            raise Refused(response["error"])
        return response["result"]

    def request(self, method: str, params: Any) -> Any:
        return self.answer(self.ask(method, params))

    def wait(self, wanted: Callable[[Json], bool], since: int = 0) -> Json:
        """The first message since a number of messages that is as wanted."""
        with self._arrived:
            found: list[Json] = []

            def there() -> bool:
                found[:] = [each for each in self.messages[since:] if wanted(each)][:1]
                return bool(found)

            assert self._arrived.wait_for(there, WAIT), f"never came; log: {self.log[-5:]}"
            return found[0]

    def wait_status(self, *names: str, since: int = 0) -> Json:
        def wanted(message: Json) -> bool:
            return message.get("method") == "tabby/status/didChange" and message["params"]["status"] in names

        return dict(self.wait(wanted, since)["params"])

    def shown(self) -> list[str]:
        """Texts of window/showMessage."""
        return [each["params"]["message"] for each in self.messages if each.get("method") == "window/showMessage"]

    # --- documents

    def open(self, text: str, uri: str = URI, language: str = "python", version: int = 1) -> None:
        item = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(
        self, version: int, start: tuple[int, int], text: str, end: tuple[int, int] | None = None, uri: str = URI
    ) -> None:
        change = {"range": {"start": position(start), "end": position(end or start)}, "text": text}
        document = {"uri": uri, "version": version}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def ask_inline(
        self, place: tuple[int, int], uri: str = URI, kind: int = AUTOMATIC, selected: Json | None = None
    ) -> int:
        context: Json = {"triggerKind": kind}
        if selected:
            context["selectedCompletionInfo"] = selected
        params = {"textDocument": {"uri": uri}, "position": position(place), "context": context}
        return self.ask("textDocument/inlineCompletion", params)

    def inline(
        self, place: tuple[int, int], uri: str = URI, kind: int = AUTOMATIC, selected: Json | None = None
    ) -> Json | None:
        """The first item, if there is one."""
        result = self.answer(self.ask_inline(place, uri, kind, selected))
        return dict(result["items"][0]) if result and result["items"] else None

    def children(self) -> dict[str, int]:
        """The processes that the server has started, by their names. Linux: where the tests run."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        named = {name: int(child) for child in children if (name := child_name(int(child)))}
        return named

    def engine_pid(self) -> int:
        """The engine's process."""
        return self.children()["engine"]

    # --- threads

    def _read(self) -> None:
        assert self.process.stdout is not None
        reader = FrameReader()
        written = read = 0
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            written += len(data)
            for body in reader.feed(data):
                read += len(body) + len(f"Content-Length: {len(body)}\r\n")
                read += len("Content-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n")
                self._take(json.loads(body))
        if read != written:
            self.stray = b"%d of %d bytes are no frames" % (written - read, written)

    def _take(self, message: Json) -> None:
        if "method" not in message:
            self.responses.put(message)
            return
        if "id" in message and self._answers:
            with contextlib.suppress(ValueError, BrokenPipeError):  # a test has closed its end
                self.reply(message, self._reply_to(message))
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    def _reply_to(self, request: Json) -> Any:
        if request["method"] == "workspace/configuration":
            return [self.configuration]
        if request["method"] == "window/showMessageRequest" and (title := self.choose(request["params"])):
            return {"title": title}
        return None

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip())


def position(place: tuple[int, int]) -> Json:
    return {"line": place[0], "character": place[1]}


def only_item(result: Json | None) -> Json | None:
    if result is None or not result["items"]:
        return None
    assert len(result["items"]) == 1
    return dict(result["items"][0])


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def child_name(pid: int) -> str:
    found = re.search(rb"tabby_lsp\.(\w+)\.process", command_line(pid))
    return found[1].decode() if found else ""


def gone(pid: int) -> bool:
    """Whether a process ends within a generous time. A zombie that waits for its parent counts as ended."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if not command_line(pid):
            return True
        time.sleep(0.01)
    return False
