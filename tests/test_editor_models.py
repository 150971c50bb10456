"""Models from the editor: the offer of one for whom the starter serves, and the commands, with the real server. The hub
is one on the loopback (`hub.py`), the model that it has is the starter under another name.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ggufs
import pytest
from editor import INLINE, WAIT, Editor, Json, command_line, gone
from hub import REPOSITORY, Hub, running

from tabby_lsp.lsp import fetching, models
from tabby_lsp.lsp.fetching import so_far
from tabby_lsp.lsp.models import Models, Unclear, Wish, role_of, wish
from tabby_lsp.models import cache, client, offer, overview, starter
from tabby_lsp.models.catalogue import Entry, Source
from tabby_lsp.settings import Settings

NAME = "small-q8_0.gguf"
MODEL = starter.MODEL.read_bytes()
ASKS: Json = {
    "textDocument": INLINE["textDocument"],
    "window": {
        "workDoneProgress": True,
        "showMessage": {"messageActionItem": {"additionalPropertiesSupport": True}},
    },
}
IMPATIENT = (sys.executable, str(Path(__file__).with_name("impatient.py")), "0.3")
OFFERED = ("Qwen2.5-Coder-0.5B", "Qwen2.5-Coder-1.5B")  # one of them, by the machine that runs the tests


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, and an environment that names no other."""
    for name in ("HF_HOME", "HF_TOKEN", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "LLAMA_CACHE", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, and settings in which the recommended models are its own."""
    settings = "".join(
        f'[[models]]\nname = "{name}"\nsource = "{REPOSITORY}:Q8_0"\nlicence = "apache-2.0"\n' for name in OFFERED
    )
    (root / "config.toml").write_text(f"# mine\n{settings}", encoding="utf-8")
    with running(Hub({NAME: MODEL})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def editor() -> Editor:
    """One that can ask; the model is what the settings say."""
    return Editor(command=IMPATIENT, model=None)


def is_question(message: Json) -> bool:
    return message.get("method") == "window/showMessageRequest"


def questions(client: Editor) -> list[str]:
    return [each["params"]["message"] for each in client.messages if is_question(each)]


def wait_shown(client: Editor, part: str) -> str:
    def wanted(message: Json) -> bool:
        return message.get("method") == "window/showMessage" and part in message["params"]["message"]

    return str(client.wait(wanted)["params"]["message"])


def progress(client: Editor) -> list[Json]:
    """What was reported of the download."""
    values = [each["params"] for each in client.messages if each.get("method") == "$/progress"]
    return [each["value"] for each in values if "/download/" in str(each["token"])]


def wait_progress(client: Editor, wanted: Callable[[Json], bool]) -> Json:
    def found(message: Json) -> bool:
        params = message.get("params", {})
        return (
            message.get("method") == "$/progress" and "/download/" in str(params["token"]) and wanted(params["value"])
        )

    return client.wait(found)


def run(client: Editor, command: str, *arguments: Any, **more: Any) -> Any:
    return client.request("workspace/executeCommand", {"command": command, "arguments": list(arguments), **more})


def model_path(client: Editor) -> str:
    return str(client.request("tabby/status", {})["modelPath"])


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob("blobs/*.incomplete"))


# --- the offer


def test_a_model_is_offered_fetched_and_used_without_a_restart(hub: Hub, root: Path, folder: Path) -> None:
    with editor() as client:
        client.choose = lambda params: params["actions"][0]["title"]
        client.start(ASKS)
        client.open("import os\n")
        message = wait_shown(client, "is loaded, and completes from now on")
        (asked,) = [each["params"] for each in client.messages if is_question(each)]
        assert [each["title"] for each in asked["actions"]] == ["Download", "Not now", "Never"]
        assert "small starter model" in asked["message"] and "licence apache-2.0" in asked["message"]
        name = next(each for each in OFFERED if each in asked["message"])
        assert name in message and not hub.faults
        begin, *_, end = progress(client)
        assert begin == {"kind": "begin", "title": f"Tabby: fetching {name}", "percentage": 0, "cancellable": True}
        assert end == {"kind": "end", "message": "fetched"}
        assert any("/s, " in each.get("message", "") and " left" in each["message"] for each in progress(client)[1:-1])
        path = model_path(client)
        assert path.startswith(str(folder)) and Path(path).read_bytes() == MODEL
        client.change(2, (1, 0), "import ")
        assert client.answer(client.ask_inline((1, 7))) is not None, "and the server has gone on"
    text = (root / "config.toml").read_text(encoding="utf-8")
    assert text.startswith("# mine\n") and f'[model.completion.local]\nmodel_id = "{name}"' in text


def test_it_is_asked_once_a_day_at_most_and_less_and_less(hub: Hub, root: Path) -> None:
    for expected in (1, 0):  # the other editor, and the same day
        with editor() as client:
            client.choose = lambda params: "Not now"
            client.start(ASKS)
            client.open("import os\n")
            if expected:
                client.wait(is_question)
            else:
                time.sleep(2)  # it would have been asked after 0.3 s
            assert len(questions(client)) == expected
    kept = json.loads((root / "lsp" / "offer.json").read_text(encoding="utf-8"))
    assert kept == {"asked": 1, "day": datetime.date.today().isoformat()}
    assert not hub.requests, "nothing is asked of a hub unless a person has chosen it"


@pytest.mark.parametrize(
    "asked, answer, days, again",
    [
        (1, "", 0, False),
        (1, "", 1, True),
        (2, "", 6, False),
        (2, "", 7, True),
        (9, "", 29, False),
        (9, "", 30, True),
        (1, "never", 3000, False),
        (1, "", -3, True),  # the clock was wrong
    ],
)
def test_when_it_is_asked_again(root: Path, asked: int, answer: str, days: int, again: bool) -> None:
    day = datetime.date(2026, 11, 21)
    (root / "lsp").mkdir()
    kept = {"asked": asked, "day": day.isoformat(), **({"answer": answer} if answer else {})}
    (root / "lsp" / "offer.json").write_text(json.dumps(kept), encoding="utf-8")
    assert offer.may_ask(day + datetime.timedelta(days)) is again
    assert not offer.may_ask(day + datetime.timedelta(days)), "it counts as asked"


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"asked": 1, "day": "tomorrow"}', '{"asked": 1, "day": 3}'])
def test_a_damaged_note_asks_once_more(root: Path, damage: str) -> None:
    (root / "lsp").mkdir()
    (root / "lsp" / "offer.json").write_text(damage, encoding="utf-8")
    day = datetime.date(2026, 11, 21)
    assert offer.may_ask(day) and not offer.may_ask(day)


def test_never_is_never(root: Path) -> None:
    day = datetime.date(2026, 11, 21)
    assert offer.may_ask(day)
    offer.never_again()
    assert not offer.may_ask(day + datetime.timedelta(3000))
    assert (root / "lsp" / "offer.json").stat().st_mode & 0o077 == 0 or sys.platform == "win32"


def test_where_nothing_can_be_written_down_nothing_is_asked(root: Path) -> None:
    (root / "lsp").write_text("in the way")
    assert not offer.may_ask(datetime.date(2026, 11, 21))
    offer.never_again()


def test_two_editors_ask_once(hub: Hub) -> None:
    with editor() as first, editor() as second:
        for each in (first, second):
            each.start(ASKS)
            each.open("import os\n")
        deadline = time.monotonic() + WAIT
        while not questions(first) + questions(second):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(2)
        assert len(questions(first) + questions(second)) == 1


def test_an_editor_that_cannot_ask_tells_once(hub: Hub, root: Path) -> None:
    with editor() as client:
        client.start(INLINE)
        client.open("import os\n")
        message = wait_shown(client, "`tabby.downloadModel`")
        assert "(size not known, licence apache-2.0) would suit this machine: the command" in message
        assert "`tabby-lsp models get Qwen2.5-Coder-" in message and not questions(client)
    assert json.loads((root / "lsp" / "offer.json").read_text(encoding="utf-8"))["answer"] == "never"


def test_who_has_chosen_a_model_is_asked_nothing(hub: Hub, root: Path) -> None:
    with Editor("--model", str(starter.MODEL), command=IMPATIENT, model=None) as client:
        client.start(ASKS)
        client.open("import os\n")
        time.sleep(2)
        assert not questions(client)
    assert not (root / "lsp" / "offer.json").exists()


async def test_nobody_is_asked_while_they_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own: a key after each of twenty waits, and then none."""
    now, keys = [100.0], list(range(20))
    info = SimpleNamespace(path=str(starter.MODEL))
    server: Any = SimpleNamespace(settings=Settings(), state=SimpleNamespace(info=info), settled=_at_once)
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        assert 0 < seconds <= models.QUIET_SECONDS
        now[0] += seconds if not keys else seconds * 0.9
        if keys:
            keys.pop()
            made.moved()

    made = Models(server)
    monkeypatch.setattr(models, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(models, "asyncio", SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread))

    def suitable(settings: Settings) -> offer.Offer:
        asked.append(now[0])
        made.moved()
        return offer.Offer(Entry("a", ()), None)

    monkeypatch.setattr(models.offer, "suitable", suitable)
    monkeypatch.setattr(models.offer, "may_ask", lambda day: asked.append(now[0]))
    await made.offer()
    pause = models.QUIET_SECONDS
    assert not keys and asked == [made._moved, made._moved + pause], "also after a key while it was looked for"


async def _at_once() -> None:
    pass


def test_what_is_here_already_is_offered_as_it_is(hub: Hub, folder: Path) -> None:
    file = folder / "models--org--repo-GGUF" / "snapshots" / ("a" * 40) / NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(MODEL)
    with editor() as client:
        client.choose = lambda params: "Use it"
        client.start(ASKS)
        client.open("import os\n")
        wait_shown(client, "is loaded, and completes from now on")
        assert "would suit this machine, and is here already" in questions(client)[0]
        assert model_path(client) == str(file) and not hub.requests


def test_a_machine_without_room_is_offered_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offer.suitable(Settings()) is not None or overview.machine.available_memory() is None
    monkeypatch.setattr(overview.machine, "available_memory", lambda: 1 << 28)
    assert offer.suitable(Settings()) is None
    monkeypatch.undo()
    monkeypatch.setattr(cache, "free", lambda folder: 1 << 20)
    assert offer.suitable(Settings()) is None


def test_an_editor_ends_over_the_question(hub: Hub) -> None:
    with Editor(command=IMPATIENT, model=None, answers=False) as client:
        client.initialize(ASKS)
        client.open("import os\n")
        answered: list[str] = []

        def asked(message: Json) -> bool:
            if "id" in message and not is_question(message) and message["id"] not in answered:
                answered.append(message["id"])
                client.reply(message, None)
            return is_question(message)

        client.wait(asked)
        client.request("shutdown", None)
        client.notify("exit", None)
        assert client.process.wait(WAIT) == 0


# --- the commands


def test_the_models_are_shown_and_returned(hub: Hub) -> None:
    with editor() as client:
        client.start(INLINE)
        rows = run(client, "tabby.models")["models"]
        by_name = {row["name"]: row for row in rows}
        assert by_name["tabby-starter"]["usedFor"] == ["completion"]
        assert any(row["recommended"] and not row["place"] for row in rows)
        assert "tabby-starter (4.46 MB, apache-2.0): bundled, in use for completion" in wait_shown(
            client, "tabby-lsp: models\n"
        )
        count = len(client.shown())
        assert len(run(client, "tabby.models", {"silent": True, "all": True})["models"]) > 40
        assert len(client.shown()) == count


def test_a_download_by_name_shows_what_comes_first(hub: Hub, folder: Path) -> None:
    with editor() as client:
        client.choose = lambda params: "Not now"
        client.start(ASKS)
        assert run(client, "tabby.downloadModel", REPOSITORY) == {}
        client.wait(is_question)
        (asked,) = questions(client)
        assert f"{NAME}, 4.46 MB, from {REPOSITORY}" in asked and "licence: apache-2.0" in asked
        assert f"to: {folder}" in asked and "GB free" in asked
        client.request("tabby/status", {})
        assert not hub.asked_for_files() and not client.shown()


def test_without_a_name_one_chooses(hub: Hub) -> None:
    with editor() as client:
        client.choose = lambda params: next(
            each["title"] for each in params["actions"] if each["title"].startswith("Qwen2.5-Coder-0.5B (")
        )
        client.start(ASKS)
        run(client, "tabby.downloadModel")
        assert "Qwen2.5-Coder-0.5B is loaded" in wait_shown(client, "is loaded")
        assert questions(client) == ["tabby-lsp: Which model is to be fetched for completion?"]
        client.choose = lambda params: params["actions"][0]["title"]
        run(client, "tabby.useModel")
        assert "tabby-starter is loaded" in wait_shown(client, "tabby-starter is loaded")
        assert model_path(client) == str(starter.MODEL)


def test_who_cannot_be_asked_is_told_what_there_is(hub: Hub) -> None:
    with editor() as client:
        client.start(INLINE)
        run(client, "tabby.downloadModel")
        listed = wait_shown(client, "Which model is to be fetched")
        assert "Qwen2.5-Coder-0.5B (" in listed and "`tabby-lsp models get NAME`" in listed
        run(client, "tabby.useModel")
        assert "There is no other model on this machine" in wait_shown(client, "no other model")
        run(client, "tabby.downloadModel", REPOSITORY)
        wait_shown(client, "is loaded")
        assert any("licence: apache-2.0" in each for each in client.shown()), "the command itself was the choice"


@pytest.mark.parametrize("command", ["tabby.useModel", "tabby.downloadModel"])
def test_a_nearly_right_name_is_answered_with_a_right_one(hub: Hub, command: str) -> None:
    with editor() as client:
        client.start(ASKS)
        run(client, command, "StarCodr-1B")
        assert "did you mean StarCoder-1B" in wait_shown(client, "There is no model")
        assert "The argument is a model's name" in run(client, command, 3)["message"]
        assert model_path(client) == str(starter.MODEL) and not hub.requests


@pytest.mark.parametrize(
    "fault, expected",
    [
        ("404", "has nothing at"),
        ("401", "gated or not there"),
        ("html", "A web page came"),
        ("other bytes", "not those of"),
        ("4293600", "asked again in 60 minutes"),
    ],
)
def test_a_fault_of_the_hub_is_told_and_the_running_model_stays(
    hub: Hub, root: Path, fault: str, expected: str
) -> None:
    before = (root / "config.toml").read_bytes()
    hub.faults = [fault]
    with editor() as client:
        client.start(ASKS)
        engine = client.engine_pid() if sys.platform == "linux" else None
        run(client, "tabby.downloadModel", {"name": REPOSITORY, "confirmed": True})
        message = wait_shown(client, "is not fetched")
        assert expected in message and len(client.shown()) == 1
        assert progress(client)[-1] == {"kind": "end", "message": "not fetched"}
        assert model_path(client) == str(starter.MODEL)
        assert engine is None or client.engine_pid() == engine
    assert (root / "config.toml").read_bytes() == before


def test_a_licence_that_forbids_is_shown(hub: Hub) -> None:
    with editor() as client:
        client.start(ASKS)
        run(client, "tabby.downloadModel", "Qwen2.5-Coder-3B")
        client.wait(is_question)
        assert "licence: qwen-research (not for commercial use)" in questions(client)[0]


@pytest.mark.parametrize("by_command", [False, True])
def test_a_stopped_download_is_gone_on_with(hub: Hub, folder: Path, by_command: bool) -> None:
    hub.faults = ["stall"]
    with editor() as client:
        client.start(ASKS)
        client.open("import os\n")
        run(client, "tabby.downloadModel", {"name": REPOSITORY, "confirmed": True})
        token = wait_progress(client, lambda value: value["kind"] == "report")["params"]["token"]
        assert client.answer(client.ask_inline((0, 0))) is not None, "suggestions come while it runs"
        while not any(each.stat().st_size for each in unfinished(folder)):  # something has come, and is kept
            time.sleep(0.01)
        if by_command:
            client.choose = lambda params: "Stop"
            run(client, "tabby.downloadModel")
            client.wait(is_question)
            assert questions(client)[-1].startswith(f"tabby-lsp: {REPOSITORY} is being fetched: ")
        else:
            client.notify("window/workDoneProgress/cancel", {"token": token})
        wait_shown(client, "is fetched no further. What has come is kept")
        assert unfinished(folder) and not list(folder.rglob("snapshots/**/*.gguf"))
        if sys.platform == "linux":
            assert not downloads(client.process.pid)
        hub.ended.set()
        run(client, "tabby.downloadModel", {"name": REPOSITORY, "confirmed": True})
        wait_shown(client, "is loaded, and completes")
        assert "bytes" in hub.asked_for_files()[-1].get("Range", ""), "it went on behind what had come"
        assert not unfinished(folder)


def downloads(pid: int) -> list[int]:
    """The processes of downloads that a server has."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(each) for each in children if b"tabby_lsp.models.download" in command_line(int(each))]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_download_ends_with_its_server(hub: Hub) -> None:
    hub.faults = ["stall"]
    with editor() as client:
        client.start(ASKS)
        run(client, "tabby.downloadModel", {"name": REPOSITORY, "confirmed": True})
        wait_progress(client, lambda value: value["kind"] == "report")
        (process,) = downloads(client.process.pid)
        os.kill(client.process.pid, signal.SIGKILL)
        assert gone(process), "though nothing comes for as long as a hub may be silent"


def test_a_client_with_a_token_waits_for_the_end(hub: Hub) -> None:
    with editor() as client:
        client.start(ASKS)
        wanted = {"name": REPOSITORY, "confirmed": True}
        result = run(client, "tabby.downloadModel", wanted, workDoneToken="mine/download/1")
        assert "is loaded, and completes" in result["message"]
        assert [each["kind"] for each in progress(client)][:1] == ["begin"] and progress(client)[-1]["kind"] == "end"


def test_two_editors_that_ask_for_the_same_model_fetch_it_once(hub: Hub) -> None:
    hub.faults = ["stall"]
    with editor() as first, editor() as second:
        for each in (first, second):
            each.start(ASKS)
        run(first, "tabby.downloadModel", {"name": REPOSITORY, "confirmed": True})
        wait_progress(first, lambda value: value["kind"] == "report")
        run(second, "tabby.downloadModel", {"name": REPOSITORY, "confirmed": True})
        wait_progress(second, lambda value: value.get("message") == "another process is fetching this file")
        hub.ended.set()
        for each in (first, second):
            wait_shown(each, "is loaded, and completes")
        assert model_path(first) == model_path(second)
        listings = sum(path.startswith("/api/") for path, _ in hub.requests)
        assert hub.sent == len(MODEL) + listings * len(hub.listing()), "each byte came once"


def test_a_model_that_cannot_be_loaded_is_taken_out_again(hub: Hub, root: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.gguf").write_bytes(ggufs.model(5000))
    before = (root / "config.toml").read_text(encoding="utf-8")
    with editor() as client:
        client.start(ASKS)
        run(client, "tabby.useModel", str(tmp_path / "odd.gguf"))
        wait_shown(client, "odd.gguf cannot be loaded. The model before it is in use again")
        assert "Code completion is not available" in client.shown()[0], "why, as at a start"
        assert model_path(client) == str(starter.MODEL)
    after = (root / "config.toml").read_text(encoding="utf-8")
    assert after.startswith(before) and 'model_id = ""' in after


def test_a_model_for_chat_is_used_when_it_is_first_needed(hub: Hub, root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(MODEL)
    with editor() as client:
        client.start(ASKS)
        run(client, "tabby.useModel", str(other), "chat")
        wait_shown(client, "other.gguf serves chat from now on. It is loaded when it is first needed.")
        status = client.request("tabby/status", {})
        assert status["models"]["chat"]["phase"] == "unloaded" and status["modelPath"] == str(starter.MODEL)
    assert f'[model.chat.local]\nmodel_id = "{other}"' in (root / "config.toml").read_text(encoding="utf-8")


def test_an_editor_that_chooses_the_model_itself_is_told(hub: Hub, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(MODEL)
    with Editor("--model", str(starter.MODEL), command=IMPATIENT, model=None) as client:
        client.start(ASKS)
        run(client, "tabby.useModel", str(other))
        assert "this editor starts the server with another model" in wait_shown(client, "is written into")
        assert model_path(client) == str(starter.MODEL)


# --- small things


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], Wish()),
        ([None], Wish()),
        ([" a/b "], Wish("a/b")),
        (["a", "chat"], Wish("a", "chat")),
        ([{"name": "a", "role": None}], Wish("a")),
        ([{"stop": True}], Wish(stop=True)),
    ],
)
def test_arguments_in_all_forms(arguments: list[Any], expected: Wish) -> None:
    assert wish(arguments) == expected


@pytest.mark.parametrize(
    "role, roles, expected",
    [
        ("", (), "completion"),
        ("", ("completion", "chat"), "completion"),
        ("", ("chat",), "chat"),
        ("completion", ("chat",), "completion"),
    ],
)
def test_a_model_serves_what_it_was_made_for(role: str, roles: tuple[str, ...], expected: str) -> None:
    assert role_of(Wish("a", role), Entry("a", (), roles)) == expected


@pytest.mark.parametrize("arguments", [[1], ["a", "write"], [{"nam": "a"}], [{"stop": "yes"}], [["a"]]])
def test_arguments_that_mean_nothing(arguments: list[Any]) -> None:
    with pytest.raises(Unclear):
        wish(arguments)


@pytest.mark.parametrize(
    "done, total, speed, expected",
    [
        (0, 0, 0, "?"),
        (420_000_000, 1_650_000_000, 12_300_000, "420 MB of 1.65 GB, 12.3 MB/s, 2 min left"),
        (420_000_000, 1_650_000_000, 13_000_000, "420 MB of 1.65 GB, 13.0 MB/s, 95 s left"),
        (5000, 0, 1000, "5 kB, 1 kB/s"),
        (5000, 9000, 0, "5 kB of 9 kB"),
    ],
)
def test_how_far_a_download_is(done: int, total: int, speed: float, expected: str) -> None:
    assert so_far(done, total, speed) == expected


async def test_a_hub_that_cannot_be_reached_leads_to_what_can(monkeypatch: pytest.MonkeyPatch) -> None:
    async def events(source: Source, dry_run: bool = False) -> AsyncIterator[Json]:
        yield {"event": "error", "message": "huggingface.co cannot be reached, 6 times.", "unreachable": True}

    said: list[str] = []
    server: Any = SimpleNamespace(client_capabilities=SimpleNamespace(window=None))
    server.window_show_message = lambda params: said.append(params.message)
    monkeypatch.setattr(client, "events", events)
    made = fetching.Fetching(server, Entry("Some-1B", (Source("org/repo"),)), Source("org/repo"))
    refusal = await made.run(confirmed=True, token=None)
    assert refusal and refusal["failed"] and "cannot be reached" in said[-1] and "`smollm2`" in said[-1]


async def test_a_download_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MODULE", "tabby_lsp.models.no_such_module")
    (event,) = [each async for each in client.events(Source("org/repo"))]
    assert event["event"] == "error" and "ended without a word (exit status 1: ModuleNotFoundError" in event["message"]
