"""What is written is for its user alone, and where there is no user it goes nowhere."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from editor import Editor

from tabby_lsp import config
from tabby_lsp.index.plan import Plan, plan
from tabby_lsp.index.upkeep import Upkeep
from tabby_lsp.processes import machine
from tabby_lsp.settings import IndexSettings

posix = pytest.mark.skipif(sys.platform == "win32", reason="a system with modes")


def modes(folder: Path) -> dict[str, int]:
    return {
        str(each.relative_to(folder.parent)): stat.S_IMODE(each.lstat().st_mode)
        for each in (folder, *sorted(folder.rglob("*")))
    }


def wrong(folder: Path) -> dict[str, str]:
    """What others can look into."""
    return {
        path: oct(mode)
        for path, mode in modes(folder).items()
        if mode != (0o700 if (folder.parent / path).is_dir() else 0o600)
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "a.py").write_text("def alpha():\n    return 'private'\n", encoding="utf-8")
    return folder


@posix
@pytest.mark.parametrize("before", [False, True], ids=["made", "left by an earlier version"])
def test_what_a_server_writes_is_for_its_user_alone(before: bool, workspace: Path, root: Path) -> None:
    umask = os.umask(0o022)
    try:
        if before:
            wanted, _ = plan([workspace], IndexSettings())
            assert wanted is not None
            Upkeep(wanted, lambda mark: None, {}).close()
            (root / "lsp" / "logs").mkdir()
            for each in (root / "lsp", *(root / "lsp").rglob("*")):
                each.chmod(0o755 if each.is_dir() else 0o644)
        with Editor() as editor:
            editor.start(workspaceFolders=[{"uri": workspace.as_uri(), "name": "w"}], rootUri=workspace.as_uri())
            editor.wait(lambda each: "tabby/status" in str(each) and '"files": 1' in str(each).replace("'", '"'))
            found = modes(root / "lsp")
            assert len(found) >= 5, "the index and a log"
            assert wrong(root / "lsp") == {}
    finally:
        os.umask(umask)


@posix
def test_what_says_which_texts_crashed_a_parser_is_private(workspace: Path, root: Path) -> None:
    wanted = Plan(str(root / "lsp" / "index" / "x.sqlite"), (str(workspace),))
    Upkeep(wanted, lambda mark: None, {"0" * 32: 2}).close()
    assert stat.S_IMODE(Path(wanted.database + ".crashed").stat().st_mode) == 0o600


@posix
def test_a_folder_becomes_private_with_those_above_it_that_are_made(tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir(mode=0o755)
    machine.private_folder(outer / "a" / "b")
    assert set(modes(outer / "a").values()) == {0o700}
    assert stat.S_IMODE(outer.stat().st_mode) == 0o755, "what was there is not ours"
    machine.private_file(outer / "a" / "file")
    (outer / "a" / "file").write_bytes(b"text")
    (outer / "a" / "file").chmod(0o664)
    machine.private_file(outer / "a" / "file")
    assert (stat.S_IMODE((outer / "a" / "file").stat().st_mode), (outer / "a" / "file").read_bytes()) == (
        0o600,
        b"text",
    )
    with pytest.raises(OSError):
        machine.private_folder(outer / "a" / "file")
    with pytest.raises(OSError):
        machine.private_folder(outer / "a" / "file" / "b")


@posix
def test_a_device_that_is_logged_to_stays_as_it_is() -> None:
    before = os.stat(os.devnull).st_mode
    machine.private_file(Path(os.devnull))
    assert os.stat(os.devnull).st_mode == before


def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody without a home, as in a container that runs as a number that no name belongs to."""
    pwd = pytest.importorskip("pwd")

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "TABBY_ROOT", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@posix
def test_without_a_home_nothing_is_read_or_written_where_one_stands(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody(monkeypatch)
    monkeypatch.chdir(workspace)
    for name in (".tabby", "~/.tabby"):  # what a repository could bring along
        (workspace / name).mkdir(parents=True)
        (workspace / name / "config.toml").write_text("[model]\n", encoding="utf-8")
    assert config.tabby_root().is_absolute() and not config.tabby_root().is_relative_to(workspace)
    assert config.read_config_file(config.tabby_root() / "config.toml")[1] == []
    wanted, note = plan([workspace], IndexSettings())
    assert wanted is not None and note == "", "a folder is a workspace, whoever one is"
    with pytest.raises(OSError):
        machine.private_folder(Path(wanted.database).parent)
    monkeypatch.setenv("HOME", "a relative one")
    assert not config.tabby_root().is_relative_to("a relative one")


HOMELESS = """
import pwd, sys
def unknown(number): raise KeyError(number)
pwd.getpwuid = unknown
from tabby_lsp.cli import main
sys.exit(main(sys.argv[1:]))
"""


@posix
@pytest.mark.parametrize("command", [[], ["index", "."], ["search", "alpha"], ["doctor"]])
def test_no_command_fails_for_want_of_a_home_without_saying_what_to_do(command: list[str], workspace: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "TABBY_ROOT")}
    result = subprocess.run(
        [sys.executable, "-c", HOMELESS, *command],
        cwd=workspace,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in result.stderr
    if command[:1] == ["index"]:
        assert "Set TABBY_ROOT to a folder that can be written." in result.stderr
    assert sorted(each.name for each in workspace.iterdir()) == ["a.py"]
