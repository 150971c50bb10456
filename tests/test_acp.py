"""The agent of the Agent Client Protocol, as a chat window speaks with it: by hand, and through the official SDK."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_acp_connection import Client
from test_assistant import Talker

from tabby_lsp.acp.agent import Agent
from tabby_lsp.commands.talking import workspace
from tabby_lsp.engine.client import EngineError
from tabby_lsp.engines import NO_CHAT_MODEL
from tabby_lsp.settings import Settings

CART = '''class Cart:
    """What is bought."""

    def total(self):
        result = 0
        for item in self.items:
            result += item.price
        return result
'''
BETTER = "def total(self):\n    return sum(item.price for item in self.items)\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABBY_ROOT", str(tmp_path / "root"))
    place = tmp_path / "shop"
    place.mkdir()
    (place / "cart.py").write_text(CART, encoding="utf-8", newline="")
    (place / ".env").write_text("PASSWORD=hunter2\n", encoding="utf-8")
    return place


class One:
    """In the place of `Engines`."""

    def __init__(self, talker: Talker | None) -> None:
        self.talker = talker

    async def wanted(self, role: str) -> Talker:
        if self.talker is None:
            raise EngineError(NO_CHAT_MODEL)
        return self.talker


class Window(Client):
    """A chat window: it keeps what it is shown, reads and writes files, and allows edits as it is told to."""

    def __init__(self, agent: Agent, opened: list[Path]) -> None:
        super().__init__(agent)  # type: ignore[arg-type]
        self._opened = opened  # workspaces
        self.updates: list[dict[str, Any]] = []
        self.buffers: dict[str, str] = {}
        self.allows: Any = {"outcome": {"outcome": "selected", "optionId": "allow"}}
        self.permissions = 0
        self.before_answer: Callable[[], None] = lambda: None
        self.session = ""
        self._ids = 0

    @property
    def opened(self) -> int:
        return len(self._opened)

    @property
    def text(self) -> str:
        return self._of("agent_message_chunk")

    @property
    def thoughts(self) -> str:
        return self._of("agent_thought_chunk")

    def _of(self, kind: str) -> str:
        return "".join(each["content"]["text"] for each in self.updates if each["sessionUpdate"] == kind)

    def calls(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.updates if each["sessionUpdate"].startswith("tool_call") and kind in str(each)]

    async def request(self, method: str, **params: Any) -> Any:
        """The result, or the error's message behind "!"."""
        self._ids += 1
        id = self._ids
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        while True:
            message = await self.receive()
            if message.get("id") == id and "method" not in message:
                return message["result"] if "result" in message else "!" + message["error"]["message"]
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        method, params = message["method"], message["params"]
        if method == "session/update":
            assert params["sessionId"] == self.session or not self.session
            self.updates.append(params["update"])
            return
        path = params.get("path", "")
        result: Any = None
        if method == "fs/read_text_file":
            result = {"content": self.buffers.get(path) or Path(path).read_text(encoding="utf-8")}
        elif method == "fs/write_text_file":
            self.buffers[path] = params["content"]
        else:
            assert method == "session/request_permission", method
            self.permissions += 1
            self.before_answer()
            result = self.allows
        self.send({"jsonrpc": "2.0", "id": message["id"], "result": result})

    async def begin(self, folder: Path, reads: bool = True, writes: bool = True) -> None:
        files = {"readTextFile": reads, "writeTextFile": writes}
        await self.request("initialize", protocolVersion=1, clientCapabilities={"fs": files})
        self.session = (await self.request("session/new", cwd=str(folder), mcpServers=[]))["sessionId"]

    async def prompt(self, *blocks: Any) -> Any:
        content = [{"type": "text", "text": each} if isinstance(each, str) else each for each in blocks]
        return await self.request("session/prompt", sessionId=self.session, prompt=content)


def link(path: Path, lines: str = "") -> dict[str, Any]:
    return {"type": "resource_link", "uri": path.as_uri() + lines, "name": path.name}


@contextlib.asynccontextmanager
async def window(folder: Path, talker: Talker | None, **begin: Any) -> AsyncIterator[Window]:
    settings = Settings()
    local = replace(settings.model.chat.local, model_id="talker" if talker else "")
    settings = replace(settings, model=replace(settings.model, chat=replace(settings.model.chat, local=local)))
    quiet: Callable[[str], None] = lambda text: None  # noqa: E731
    opened: list[Path] = []

    def opens(place: Path) -> Any:
        opened.append(place)
        return workspace(place, settings, quiet, quiet)

    made = Window(Agent(One(talker), settings, opens), opened)  # type: ignore[arg-type]
    await made.begin(folder, **begin)
    try:
        yield made
    finally:
        await made.close()


def run(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


async def test_an_answer_is_streamed_with_thoughts_apart_and_links(folder: Path) -> None:
    talker = Talker("<think>Hm", "m.</think>", "By `total` [1], ", "not [9].")
    async with window(folder, talker) as chat:
        assert await chat.prompt("How is the total of a cart worked out?") == {"stopReason": "end_turn"}
        assert chat.thoughts == "Hmm."
        assert chat.text.startswith(f"By `total` [1]({(folder / 'cart.py').as_uri()}#L1), not.")
        assert chat.text.count("ChatML") == 1
        await chat.prompt("And once more?")
        assert chat.text.count("ChatML") == 1, "what one should know is said once"
        search = chat.calls("search")[0]
        assert search["status"] == "completed" and search["locations"][0]["path"] == str(folder / "cart.py")
        names = [each["name"] for each in chat.updates[0]["availableCommands"]]
        assert {"explain", "fix", "doc", "test", "review", "commit", "edit"} <= set(names)


async def test_the_conversation_goes_on(folder: Path) -> None:
    talker = Talker("First answer.")
    async with window(folder, talker) as chat:
        await chat.prompt("first question")
        await chat.prompt("second question")
        assert talker.prompt.index("first question") < talker.prompt.index("First answer.")
        assert talker.prompt.index("First answer.") < talker.prompt.index("second question")


async def test_two_sessions_about_a_folder_share_its_index(folder: Path) -> None:
    async with window(folder, Talker("Yes.")) as chat:
        await chat.prompt("first")
        first = chat.opened
        chat.session = ""
        chat.session = (await chat.request("session/new", cwd=str(folder), mcpServers=[]))["sessionId"]
        await chat.prompt("second")
        assert chat.opened == first == 1


async def test_without_a_model_the_index_answers(folder: Path) -> None:
    async with window(folder, None) as chat:
        assert await chat.prompt("Explain the class Cart") == {"stopReason": "end_turn"}
        assert "What is bought" in chat.text and NO_CHAT_MODEL.split("`")[0] in chat.text
        assert NO_CHAT_MODEL in await chat.prompt("/edit ", link(folder / "cart.py"), " shorter")


async def test_what_is_linked_and_embedded_is_read_as_the_editor_has_it(folder: Path) -> None:
    talker = Talker("Yes.")
    async with window(folder, talker) as chat:
        chat.buffers[str(folder / "cart.py")] = CART.replace("What is bought", "What is not saved")
        resource = {"uri": "notes:today", "text": "Carts are slow."}
        await chat.prompt("What of ", link(folder / "cart.py", "#L1:2"), {"type": "resource", "resource": resource})
        assert "What is not saved" in talker.prompt and "Carts are slow." in talker.prompt
        assert "What of `cart.py`" in talker.prompt


async def test_a_secret_is_named_and_not_given(folder: Path) -> None:
    talker = Talker("No.")
    async with window(folder, talker) as chat:
        await chat.prompt("What is in ", link(folder / ".env"))
        assert "hunter2" not in talker.prompt and "not given to a model" in chat.text
        talker.asked.clear()
        assert "not given to a model" in await chat.prompt("/edit ", link(folder / ".env"), " shorter")
        assert not talker.asked


async def test_an_edit_is_shown_allowed_and_written_by_the_client(folder: Path) -> None:
    talker = Talker(f"```python\n{BETTER}```\n")
    async with window(folder, talker) as chat:
        before = CART + "\nunsaved = 1\n"
        chat.buffers[str(folder / "cart.py")] = before
        assert await chat.prompt("/edit ", link(folder / "cart.py", "#L4:8"), "use sum") == {"stopReason": "end_turn"}
        wanted = (
            'class Cart:\n    """What is bought."""\n\n    def total(self):\n        return sum(item.price for item'
        )
        wanted += " in self.items)\n\nunsaved = 1\n"
        assert chat.buffers[str(folder / "cart.py")] == wanted
        assert (folder / "cart.py").read_text(encoding="utf-8") == CART, "only the client writes"
        [diff] = [each for each in chat.updates if each.get("content") and "diff" in str(each["content"])]
        assert diff["content"] == [
            {"type": "diff", "path": str(folder / "cart.py"), "oldText": before, "newText": wanted}
        ]
        assert chat.calls("edit")[-1]["status"] == "completed" or chat.updates[-2]["status"] == "completed"
        assert "in 1 place" in chat.text and "use sum" in talker.prompt


@pytest.mark.parametrize(
    "answer",
    [
        {"outcome": {"outcome": "selected", "optionId": "reject"}},
        {"outcome": {"outcome": "cancelled"}},
        None,
        {"outcome": 3},
    ],
)
async def test_an_edit_that_is_not_allowed_is_not_made(folder: Path, answer: Any) -> None:
    async with window(folder, Talker(f"```python\n{BETTER}```\n")) as chat:
        chat.allows = answer
        assert await chat.prompt("/simplify ", link(folder / "cart.py", "#L4:8")) == {"stopReason": "end_turn"}
        assert chat.permissions == 1 and not chat.buffers and "not made" in chat.text


async def test_an_edit_of_a_text_that_has_changed_meanwhile_is_refused(folder: Path) -> None:
    async with window(folder, Talker(f"```python\n{BETTER}```\n")) as chat:
        path = str(folder / "cart.py")
        chat.before_answer = lambda: chat.buffers.update({path: "x = 1\n"})
        assert "has changed" in await chat.prompt("/simplify ", link(folder / "cart.py", "#L4:8"))
        assert chat.buffers[path] == "x = 1\n"


async def test_a_client_that_writes_no_files_is_shown_the_difference(folder: Path) -> None:
    async with window(folder, Talker(f"```python\n{BETTER}```\n"), reads=False, writes=False) as chat:
        assert await chat.prompt("/simplify ", link(folder / "cart.py", "#L4:8")) == {"stopReason": "end_turn"}
        assert chat.permissions == 0 and "does not let an agent write" in chat.text
        assert any("newText" in str(each) for each in chat.updates)


async def test_line_ends_stay_as_they_are(folder: Path) -> None:
    async with window(folder, Talker(f"```python\n{BETTER}```\n")) as chat:
        path = str(folder / "cart.py")
        chat.buffers[path] = CART.replace("\n", "\r\n")
        await chat.prompt("/simplify ", link(folder / "cart.py", "#L4:8"))
        assert chat.buffers[path].count("\r\n") == chat.buffers[path].count("\n") == 5


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("I cannot.", "without code"),
        ("```python\ndef total(self):\n    # ... existing code ...\n```", "left code out"),
        ("```python\ndef total(self):\n    return 1\n", "did not end its code"),
    ],
)
async def test_what_is_no_edit_is_said(folder: Path, answer: str, said: str) -> None:
    async with window(folder, Talker(answer)) as chat:
        assert said in await chat.prompt("/simplify ", link(folder / "cart.py", "#L4:8"))
        assert chat.permissions == 0 and not chat.buffers
        assert chat.updates[-1]["status"] == "failed"


async def test_an_edit_needs_a_file_and_words(folder: Path) -> None:
    async with window(folder, Talker("x")) as chat:
        assert "Which file" in await chat.prompt("/fix the bug")
        assert "Say what should change" in await chat.prompt("/edit")
        (folder / "long.py").write_text("x = 1\n" * 1000, encoding="utf-8")
        assert "too many for one edit" in await chat.prompt("/simplify ", link(folder / "long.py"))
        gone = await chat.prompt("/simplify ", link(folder / "gone.py"))
        assert gone.startswith("!") and "gone.py" in gone


async def test_cancelling_stops_the_answer_and_the_next_one_comes(folder: Path) -> None:
    talker = Talker("Once upon", end="")
    async with window(folder, talker) as chat:
        waiting = asyncio.ensure_future(chat.prompt("Tell me a story"))
        while "Once upon" not in chat.text:
            await asyncio.sleep(0.01)
        chat.send({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": chat.session}})
        assert await waiting == {"stopReason": "cancelled"}
        assert len(talker.cancelled) == 1
        talker.pieces, talker.end = ("The end.",), "stop"
        assert await chat.prompt("And then?") == {"stopReason": "end_turn"}
        assert "Once upon" in talker.prompt, "what was said before it was stopped belongs to the conversation"


async def test_an_answer_without_room_says_so(folder: Path) -> None:
    async with window(folder, Talker("Once upon", end="length")) as chat:
        assert await chat.prompt("Tell me a story") == {"stopReason": "max_tokens"}


async def test_what_makes_no_sense_is_answered_with_what_to_do(folder: Path) -> None:
    async with window(folder, Talker("x")) as chat:
        assert "absolute path" in await chat.request("session/new", cwd="somewhere")
        assert "absolute path" in await chat.request("session/new")
        assert "no session" in await chat.request("session/prompt", sessionId="none", prompt=[])
        assert "no session" in await chat.request("session/prompt")
        for prompt in (None, "text", [1], []):
            assert (await chat.request("session/prompt", sessionId=chat.session, prompt=prompt)).startswith("!")
        assert "empty" in await chat.prompt({"type": "image", "data": "x"})
        chat.send({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "none"}})
        chat.send({"jsonrpc": "2.0", "method": "session/cancel"})
        assert await chat.prompt("Well?") == {"stopReason": "end_turn"}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_a_commit_message(folder: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    talker = Talker("Sure, here it is:\n\n```\nAdd a total.\n```")
    async with window(folder, talker) as chat:
        assert "in no git repository" in await chat.prompt("/commit")
        git("init", "-q")
        git("add", "cart.py")
        git("commit", "-q", "-m", "feat: carts")
        assert "stage them with git add" in await chat.prompt("/commit")
        (folder / "cart.py").write_text(CART + "\n# more\n", encoding="utf-8")
        (folder / ".env").write_text("PASSWORD=hunter3\n", encoding="utf-8")
        git("add", "-f", ".")
        chat.updates.clear()
        assert await chat.prompt("/commit") == {"stopReason": "end_turn"}
        assert chat.text.startswith("```text\nAdd a total\n```") and ".env is not given" in chat.text
        assert "feat: carts" in talker.prompt and "+# more" in talker.prompt and "hunter" not in talker.prompt


async def test_the_official_sdk_speaks_with_it(folder: Path) -> None:
    """The process as a chat window starts it: every message is checked against the protocol's schema."""
    acp = pytest.importorskip("acp", reason="agent-client-protocol is not installed")

    class SdkClient(acp.Client):  # type: ignore[misc]
        def __init__(self) -> None:
            self.updates: list[Any] = []

        async def session_update(self, session_id: str, update: Any, **extra: Any) -> None:
            self.updates.append(update)

        async def read_text_file(self, session_id: str, path: str, **extra: Any) -> Any:
            return acp.ReadTextFileResponse(content=Path(path).read_text(encoding="utf-8"))

        def on_connect(self, connection: Any) -> None:
            pass

    client = SdkClient()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TABBY_LSP")}
    command = (sys.executable, "-m", "tabby_lsp", "acp")
    async with acp.spawn_agent_process(client, *command, env=environment, cwd=str(folder)) as (agent, process):
        files = acp.schema.FileSystemCapabilities(read_text_file=True, write_text_file=True)
        said = await agent.initialize(
            protocol_version=acp.PROTOCOL_VERSION, client_capabilities=acp.schema.ClientCapabilities(fs=files)
        )
        assert said.protocol_version == 1 and said.agent_info.name == "tabby-lsp"
        session = await agent.new_session(cwd=str(folder), mcp_servers=[])
        answer = await agent.prompt(session_id=session.session_id, prompt=[acp.text_block("Explain the class Cart")])
        assert answer.stop_reason == "end_turn"
        while not any(type(each).__name__ == "ToolCallStart" for each in client.updates):
            await asyncio.sleep(0.01)
        text = "".join(each.content.text for each in client.updates if type(each).__name__ == "AgentMessageChunk")
        assert "What is bought" in text and "#L1)" in text
        with pytest.raises(acp.RequestError, match="empty"):
            await agent.prompt(session_id=session.session_id, prompt=[])
    assert process.returncode == 0
