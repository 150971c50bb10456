"""`tabby-lsp models` as a person runs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ggufs
import pytest
from hub import REPOSITORY, Hub, running

from tabby_lsp import cli
from tabby_lsp.commands import options, terminal
from tabby_lsp.engine import gguf
from tabby_lsp.models import cache, catalogue, finder, overview, starter
from tabby_lsp.processes import machine
from tabby_lsp.settings import LocalModel

MODEL = ggufs.model(200_000)
NAME = "small-q8_0.gguf"


@dataclass
class Result:
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "LLAMA_CACHE", "OLLAMA_MODELS", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running(Hub({NAME: MODEL})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> object:
    def run(*arguments: str) -> Result:
        monkeypatch.setattr(options, "start_logging", lambda *_, **__: None)
        status = cli.main(["models", *arguments])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


def put_own(root: Path, **model: str) -> None:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in model.items())
    (root / "config.toml").write_text(f"# mine\n[[models]]\n{lines}", encoding="utf-8")


def test_the_table_shows_what_is_here_and_what_would_suit(run, home: Path) -> None:  # type: ignore[no-untyped-def]
    studio = home / ".lmstudio" / "models" / "org" / "repo" / "other.gguf"
    studio.parent.mkdir(parents=True)
    studio.write_bytes(MODEL)
    result = run()
    assert result.status == 0 and result.err == ""
    lines = result.out.splitlines()
    assert lines[0].split() == ["name", "role", "size", "licence", "fits", "where"]
    (starters,) = [line for line in lines if line.startswith("tabby-starter ")]
    assert "4.46 MB" in starters and "bundled, in use for completion" in starters
    other = rf"org/repo/other.gguf +{round(len(MODEL) / 1e3)} kB +apache-2.0 +yes +LM Studio *"
    assert any(re.fullmatch(other, line) for line in lines)
    assert sum("recommended" in line for line in lines) == 3, "one for each role, and what that means"
    assert "Codestral-22B" not in result.out and "`tabby-lsp models --all`" in result.out
    everything = run("--all").out
    assert re.search(r"Qwen2.5-Coder-3B +completion +3.29 GB +qwen-research\* ", everything)
    assert "* not for commercial use" in everything and "commercial" not in result.out
    assert all(each.name in everything for each in catalogue.registry())


def test_the_table_as_json(run) -> None:  # type: ignore[no-untyped-def]
    rows = json.loads(run("--all", "--json").out)
    by_name = {row["name"]: row for row in rows}
    assert by_name["tabby-starter"]["used_for"] == ["completion"] and by_name["tabby-starter"]["path"]
    assert by_name["Qwen2.5-Coder-1.5B"]["size"] == 1_646_573_056 and not by_name["Qwen2.5-Coder-1.5B"]["estimated"]
    assert by_name["Qwen3-32B"]["estimated"] and by_name["Qwen3-32B"]["fits"] in (True, False)
    assert by_name["gpt-oss-20b"]["size"] == 0 and by_name["gpt-oss-20b"]["fits"] is None


def test_what_does_not_fit_says_what_it_needs(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(machine, "available_memory", lambda: 1 << 30)
    out = run("--all").out
    assert re.search(r"Qwen2.5-Coder-7B .* no +needs ≈ 9.21 GB", out) and re.search(r"Qwen2.5-Coder-0.5B .* yes ", out)


def test_sizes_are_worked_out_from_what_is_known() -> None:
    known = {each.name: overview.size_of(each) for each in catalogue.registry()}
    assert known["Qwen2.5-Coder-0.5B"] == (531_068_128, False)
    # 1.89 GB at Q8_0 are 1.1 GB at Q4_K_M; facts say the same of the file.
    assert known["Qwen2.5-Coder-1.5B-Instruct"] == (pytest.approx(1.1e9, rel=0.02), True)
    assert known["StarCoder-7B"] == (pytest.approx(7.4e9, rel=0.01), True)


def test_memory_is_estimated_from_the_head_as_the_engine_does_it(root: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "tabby_lsp", "doctor"], capture_output=True, text=True, timeout=120)
    needed = re.search(r"needs (\d+) MiB", done.stdout)
    assert needed, done.stdout
    header = gguf.read_header(starter.MODEL)
    estimate = overview.memory_of(header, starter.MODEL.stat().st_size, LocalModel())
    assert round(estimate / 2**20) == int(needed[1])


def test_get_shows_what_it_fetches_and_fetches_it(run, hub: Hub) -> None:  # type: ignore[no-untyped-def]
    result = run("get", f"{REPOSITORY}:Q8_0")
    path = (
        cache.hub_folder() / "models--org--repo-GGUF" / "snapshots" / "0123456789abcdef0123456789abcdef01234567" / NAME
    )
    assert result.status == 0 and f"Fetched: {path}" in result.out and path.read_bytes() == MODEL
    assert (
        f"{NAME}, {overview.size_text(len(MODEL))}, from {REPOSITORY}" in result.err
        and "licence: apache-2.0" in result.err
    )
    assert f"`tabby-lsp models use {REPOSITORY}:Q8_0` uses it" in result.out
    again = run("get", f"{REPOSITORY}:Q8_0")
    assert again.status == 0 and f"is on this machine already (Hugging Face): {path}" in again.out
    assert len(hub.asked_for_files()) == 1


def test_get_says_what_it_would_fetch(run, hub: Hub) -> None:  # type: ignore[no-untyped-def]
    result = run("get", "--dry-run", REPOSITORY)
    assert result.status == 0 and NAME in result.err and not hub.asked_for_files() and not cache.hub_folder().exists()


def test_get_for_scripts(run, hub: Hub) -> None:  # type: ignore[no-untyped-def]
    events = [json.loads(line) for line in run("get", "--json", REPOSITORY).out.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["plan", "done"] and events[-1]["fetched"] == len(MODEL)
    (again,) = [json.loads(line) for line in run("get", "--json", REPOSITORY).out.splitlines()]
    assert again == {"event": "done", "path": events[-1]["path"], "fetched": 0}


def test_a_licence_is_shown_with_what_it_forbids(run, hub: Hub) -> None:  # type: ignore[no-untyped-def]
    result = run("get", "--dry-run", "Qwen2.5-Coder-3B")
    assert "licence: qwen-research (not for commercial use)" in result.err
    assert "licence: gemma (with terms of its own)" in run("get", "--dry-run", "gemma-3-270m").err


def test_a_fault_is_told_with_the_other_files_of_the_name(run, hub: Hub) -> None:  # type: ignore[no-untyped-def]
    hub.faults = ["404"]
    result = run("get", "Qwen2.5-Coder-0.5B")
    assert result.status == 1 and "has nothing at" in result.err
    assert "`models get ikw/Qwen2.5-Coder-0.5B-GGUF`" in result.err


@pytest.mark.parametrize("action", ["get", "use", "remove"])
def test_a_nearly_right_name_is_answered_with_a_right_one(run, action: str) -> None:  # type: ignore[no-untyped-def]
    result = run(action, "Qwen2.5-Coder-1.5")
    assert result.status == 2 and "did you mean Qwen2.5-Coder-1.5B" in result.err


def test_a_file_is_used_and_the_settings_stay(run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    put_own(root, name="Mine", source=str(tmp_path / "mine.gguf"))
    (tmp_path / "mine.gguf").write_bytes(MODEL)
    before = (root / "config.toml").read_text()
    result = run("use", "mine")
    after = (root / "config.toml").read_text()
    assert result.status == 0 and after == before + '\n[model.completion.local]\nmodel_id = "Mine"\n'
    assert (root / "config.toml.bak").read_text() == before and "config.toml.bak" in result.out
    assert re.search(r"Mine .*yours, in use for completion", run().out)
    monkeypatch.chdir(tmp_path)
    assert run("use", "mine.gguf", "--chat").status == 0
    assert f'[model.chat.local]\nmodel_id = "{tmp_path / "mine.gguf"}"' in (root / "config.toml").read_text()
    assert run("use", "tabby-starter").status == 0
    assert 'model_id = ""' in (root / "config.toml").read_text()


def test_what_is_fetched_is_used_by_its_name(run, hub: Hub, root: Path) -> None:  # type: ignore[no-untyped-def]
    missing = run("use", REPOSITORY)
    assert missing.status == 1 and f"`tabby-lsp models get {REPOSITORY}` fetches it" in missing.err
    assert not (root / "config.toml").exists()
    run("get", REPOSITORY)
    assert run("use", REPOSITORY).status == 0
    assert f'model_id = "{REPOSITORY}"' in (root / "config.toml").read_text()
    assert re.search(rf"{REPOSITORY}/{NAME} .*Hugging Face, in use for completion", run().out)


def test_a_model_is_used_by_the_name_that_another_program_has_for_it(run, home: Path, root: Path) -> None:  # type: ignore[no-untyped-def]
    digest = hashlib.sha256(MODEL).hexdigest()
    blob = home / ".ollama" / "models" / "blobs" / f"sha256-{digest}"
    note = home / ".ollama" / "models" / "manifests" / "registry.ollama.ai" / "library" / "coder" / "1b"
    for path, data in (
        (blob, MODEL),
        (note, json.dumps({"layers": [{"mediaType": finder.OLLAMA_MODEL, "digest": f"sha256:{digest}"}]}).encode()),
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    assert re.search(r"coder:1b +20\d kB +apache-2.0 +yes +Ollama", run().out)
    assert run("use", "coder:1b").status == 0
    assert f'model_id = "{blob}"' in (root / "config.toml").read_text()
    refused = run("remove", "coder:1b", "--yes")
    assert refused.status == 1 and "`ollama rm coder:1b`" in refused.err and blob.exists()
    assert "is a file on this machine" in run("get", "coder:1b").err


@pytest.mark.parametrize(
    "data, expected",
    [
        (MODEL[:-9], "it is incomplete"),
        (ggufs.model(llama__pooling_type=1), "turns text into vectors"),
        (b"", "is empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(run, root: Path, tmp_path: Path, data: bytes, expected: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bad.gguf").write_bytes(data)
    result = run("use", str(tmp_path / "bad.gguf"))
    assert result.status == 1 and expected in result.err and not (root / "config.toml").exists()
    assert "No such file" in run("use", str(tmp_path / "none.gguf")).err


def test_a_model_for_chat_completes_badly(run, root: Path, home: Path) -> None:  # type: ignore[no-untyped-def]
    put_own(root, name="Talker", source=str(home / "a.gguf"))
    with (root / "config.toml").open("a") as file:
        file.write('roles = ["chat"]\n')
    home.mkdir()
    (home / "a.gguf").write_bytes(MODEL)
    assert "Talker was made for chat: it will serve completion badly" in run("use", "Talker").err


def test_settings_that_cannot_be_edited_are_left_alone(run, root: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.gguf").write_bytes(MODEL)
    text = 'model = { completion = { local = { model_id = "" } } }\n'
    (root / "config.toml").write_text(text)
    result = run("use", str(tmp_path / "a.gguf"))
    assert result.status == 1 and "Write into it yourself" in result.err
    assert (root / "config.toml").read_text() == text


def test_a_model_is_removed_with_all_that_links_to_it(run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    run("get", REPOSITORY)
    run("use", REPOSITORY)
    (found,) = [each for each in finder.everything() if each.place == finder.HUB]
    other = cache.snapshot(cache.hub_folder(), REPOSITORY, "d" * 40, NAME)
    cache.publish(found.path.resolve(), other)
    result = run("remove", REPOSITORY)
    assert result.status == 1 and "say --yes where nobody can be asked" in result.out
    assert "every other program that uses the Hugging Face cache" in result.out
    assert "It is in use for completion" in result.out and found.path.exists()
    monkeypatch.setattr(terminal, "ask", lambda question: False)
    assert run("remove", REPOSITORY).status == 1 and found.path.exists()
    monkeypatch.setattr(terminal, "ask", lambda question: True)
    assert run("remove", REPOSITORY).status == 0
    assert not [each for each in cache.hub_folder().rglob("*") if each.suffix == ".gguf" or len(each.name) == 64]
    assert run("remove", REPOSITORY, "--yes").status == 1


def test_a_download_that_was_broken_off_is_removed(run, root: Path) -> None:  # type: ignore[no-untyped-def]
    (entry,) = [each for each in catalogue.registry() if each.name == "Qwen2.5-Coder-0.5B"]
    source = entry.sources[0]
    part = (
        cache.repository_folder(cache.hub_folder(), source.repository)
        / "blobs"
        / f"{source.parts[0].sha256}.incomplete"
    )
    part.parent.mkdir(parents=True)
    part.write_bytes(b"GGUF")
    assert run("remove", entry.name, "--yes").status == 0 and not part.exists()


def test_the_files_of_other_programs_are_theirs(run, home: Path) -> None:  # type: ignore[no-untyped-def]
    path = home / ".lmstudio" / "models" / "org" / "repo" / "a.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(MODEL)
    result = run("remove", str(path), "--yes")
    assert result.status == 1 and "belongs to another (LM Studio): remove it there" in result.err and path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_control_c_keeps_what_came(hub: Hub, interruptible: None) -> None:
    """As at a terminal: the signal reaches both processes."""
    hub.faults = ["stall"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tabby_lsp", "models", "get", REPOSITORY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not hub.sent > 50_000:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err and "Error" not in err
    assert err.count("stopped: what has come is kept, and the same command goes on.") == 1
    assert list(cache.hub_folder().rglob("blobs/*.incomplete")) and not list(cache.hub_folder().rglob("*.gguf"))


def test_help_loads_no_tables() -> None:
    script = "import sys; from tabby_lsp import cli; cli.parser(['index']).parse_args(['index']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"rich", "tabby_lsp.models.catalogue", "tabby_lsp.commands.terminal"}.isdisjoint(loaded)
