"""Messages at random, whole and broken, against the real server: every request is answered once, nothing dies.

TABBY_LSP_FUZZ says how many messages (600 by default), TABBY_LSP_FUZZ_SEED which ones. 10,000 take minutes.
"""

from __future__ import annotations

import copy
import json
import os
import queue
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from editor import WAIT, Editor, Json
from test_server import something

from tabby_lsp.processes import machine

MESSAGES = int(os.environ.get("TABBY_LSP_FUZZ", "600"))
SEED = int(os.environ.get("TABBY_LSP_FUZZ_SEED", "1"))
# What the server may come to hold meanwhile: answers that it remembers (8 MB at most) and a few documents.
MOST_GROWTH = 24 * 2**20

URIS = [f"file:///home/me/shop/{name}.py" for name in "abcd"]
DEEP: Any = []
for _ in range(150):
    DEEP = [DEEP]
JUNK: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        1.5,
        -0.0,
        2**31 - 1,
        2**31,
        -(2**31) - 1,
        2**63,
        10**40,
        float("inf"),
        -float("inf"),
    ),
    *(
        "",
        "x",
        "0",
        "\x00",
        "\ud83d",
        "\udc00\ud83d",
        "é😀" * 50,
        "y" * 3000,
        "file://[::1",
        "file:///a%00b",
        "../../etc",
    ),
    *([], {}, [[]], [None], {"": None}, {"jsonrpc": "2.0"}, DEEP, {"a": DEEP}, [1] * 300),
]


class Fuzzer:
    """Bodies of messages, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.count = 0
        self.kinds: list[Callable[[], Json]] = [
            *(3 * [self.inline] + 4 * [self.change] + 2 * [self.open] + [self.close, self.cancel, self.cancel]),
            *(
                self.status,
                self.command,
                self.settings,
                self.files,
                self.folders,
                self.trace,
                self.response,
                self.other,
            ),
        ]

    def body(self) -> bytes:
        pick = self.chance.random()
        message: Any = self.chance.choice(self.kinds)()
        if pick < 0.5:
            message = self.broken(message)
        elif pick < 0.53:
            message = [self.broken(self.chance.choice(self.kinds)()) for _ in range(self.chance.randrange(4))]
        elif pick < 0.56:
            return bytes(self.chance.randrange(256) for _ in range(self.chance.randrange(1, 60)))
        text = json.dumps(message)
        if self.chance.random() < 0.9:
            text = text.replace("Infinity", "1e999")  # which is JSON
        return text.encode()

    def broken(self, message: Any) -> Any:
        """With something in it that is another thing, is missing or is there twice."""
        for _ in range(self.chance.choice([1, 1, 1, 2, 4])):
            if not message or not isinstance(message, dict):
                return message
            holder, key = self.chance.choice([*holders(message)])
            what = self.chance.random()
            if what < 0.7:
                holder[key] = copy.deepcopy(self.chance.choice(JUNK))
            elif what < 0.85:
                del holder[key]
            elif isinstance(holder, dict):
                holder[f"{key}x"] = holder[key]
            else:
                holder.append(holder[key])
        return message

    def request(self, method: str, params: Any) -> Json:
        self.count += 1
        id = self.count if self.chance.random() < 0.8 else f"id {self.count}"
        return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}

    def notification(self, method: str, params: Any) -> Json:
        return {"jsonrpc": "2.0", "method": method, "params": params}

    def place(self) -> Json:
        return {"line": self.chance.randrange(6), "character": self.chance.randrange(30)}

    def document(self, **more: Any) -> Json:
        return {"uri": self.chance.choice(URIS), **more}

    def text(self) -> str:
        return "".join(
            self.chance.choices(["import os\n", "def f(x):\n    return ", "a", "é😀", "\r\n", ")", "\t"], k=12)
        )

    def inline(self) -> Json:
        context = {"triggerKind": self.chance.choice([1, 2])}
        params = {"textDocument": self.document(), "position": self.place(), "context": context}
        return self.request("textDocument/inlineCompletion", params)

    def open(self) -> Json:
        item = self.document(languageId="python", version=1, text=self.text())
        return self.notification("textDocument/didOpen", {"textDocument": item})

    def change(self) -> Json:
        change: Json = {"text": self.text()[: self.chance.randrange(20)]}
        if self.chance.random() < 0.9:
            change["range"] = {"start": self.place(), "end": self.place()}
        params = {"textDocument": self.document(version=self.count), "contentChanges": [change]}
        return self.notification("textDocument/didChange", params)

    def close(self) -> Json:
        return self.notification("textDocument/didClose", {"textDocument": self.document()})

    def cancel(self) -> Json:
        return self.notification("$/cancelRequest", {"id": max(0, self.count - self.chance.randrange(5))})

    def status(self) -> Json:
        return self.request("tabby/status", self.chance.choice([{}, None, {"recheckConnection": True}]))

    def command(self) -> Json:
        name = self.chance.choice(["tabby.status", "tabby.status", "tabby.reindex", "tabby.no"])
        return self.request("workspace/executeCommand", {"command": name, "arguments": [{}]})

    def settings(self) -> Json:
        completion = {"trigger": "auto", "comments": self.chance.random() < 0.5, "candidates": 2, "debounce": 0}
        settings = {"tabby-lsp": {"completion": completion, "index": {"ignore": []}, "model": {"completion": {}}}}
        return self.notification("workspace/didChangeConfiguration", {"settings": settings})

    def files(self) -> Json:
        changes = [{"uri": self.chance.choice(URIS), "type": self.chance.choice([1, 2, 3])}]
        return self.notification("workspace/didChangeWatchedFiles", {"changes": changes})

    def folders(self) -> Json:
        folder = {"uri": "file:///home/me/shop/none", "name": "none"}
        event = self.chance.choice([{"added": [folder], "removed": []}, {"added": [], "removed": [folder]}])
        return self.notification("workspace/didChangeWorkspaceFolders", {"event": event})

    def trace(self) -> Json:
        return self.notification("$/setTrace", {"value": "off"})

    def response(self) -> Json:
        return {
            "jsonrpc": "2.0",
            "id": self.chance.randrange(self.count + 1),
            "result": copy.deepcopy(self.chance.choice(JUNK)),
        }

    def other(self) -> Json:
        method = self.chance.choice(["textDocument/hover", "tabby/none", "initialize", "$/none", "window/showMessage"])
        make = self.chance.choice([self.request, self.notification])
        return make(method, {"textDocument": self.document(), "position": self.place()})


def holders(value: Any) -> Any:
    """Each place in a message at which something stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from holders(item)


def due(body: bytes) -> list[int | str | None]:
    """The ids of the answers that JSON-RPC 2.0 wants for a message (null: to one that is none); LSP has no batches."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    try:
        message = json.loads(body, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return [None]
    if isinstance(message, list):
        requests = [each for each in message if isinstance(each, dict) and {"id", "method"} <= each.keys()]
        return [proper(each["id"]) for each in requests] or [None]
    if not isinstance(message, dict):
        return [None]
    if "method" not in message:
        return [] if "id" in message else [None]
    is_message = message.get("jsonrpc") == "2.0" and isinstance(message["method"], str)
    if "id" not in message:
        return [] if is_message else [None]
    return [proper(message["id"])]


def proper(id: Any) -> int | str | None:
    if isinstance(id, float) and id == id // 1 and abs(id) < 1e300:
        id = int(id)
    return id if isinstance(id, int | str) and not isinstance(id, bool) else None


def test_every_one_of_many_messages_at_random_is_answered_once() -> None:
    with Editor() as editor:
        editor.start()
        pid, engine = editor.process.pid, editor.engine_pid()
        fuzzer = Fuzzer(SEED)
        wanted: Counter[int | str | None] = Counter()
        got: Counter[int | str | None] = Counter()
        held = []
        for number in range(MESSAGES):
            body = fuzzer.body()
            wanted.update(due(body))
            editor.send_bytes(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            if number % 50 == 49:
                take(editor, got, wanted)
            if number in (MESSAGES // 3, MESSAGES - 1):
                held.append(machine.resident_memory(pid) or 0)
        take(editor, got, wanted)
        assert editor.process.poll() is None and editor.engine_pid() == engine
        something(editor)
        assert got == wanted
    assert not [line for line in editor.log if "Traceback" in line or " ERROR " in line], editor.log[-30:]
    assert held[1] - held[0] < MOST_GROWTH, held


def take(editor: Editor, got: Counter[int | str | None], wanted: Counter[int | str | None]) -> None:
    """Waits until all that was asked is answered."""
    end = time.monotonic() + WAIT
    while got != wanted:
        try:
            got[editor.responses.get(timeout=max(0.01, end - time.monotonic()))["id"]] += 1
        except queue.Empty:
            raise AssertionError(f"not answered: {wanted - got}, without need: {got - wanted}") from None
