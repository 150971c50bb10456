"""A session as the system sees it: no network, and nothing written but where it is said. Needs strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MODEL
from editor import Editor
from test_server import something

CALLS = "socket,connect,bind,openat,open,creat,truncate,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir"
CALLS += ",link,linkat,symlink,symlinkat,mknod,mknodat,chmod,fchmodat,chown,fchownat,utimensat,memfd_create"
WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)")
# What is no file that anybody could find: the process's own, and devices.
NO_FILES = ("/proc/self/", "/proc/thread-self/", "/dev/null", "/dev/tty", "/dev/pts/", "/dev/shm/")


def reason_against() -> str:
    strace = shutil.which("strace")
    if strace is None:
        return "there is no strace here"
    tried = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.decode(errors='replace').strip()}"


@pytest.fixture
def strace() -> Iterator[str]:
    if reason := reason_against():
        pytest.skip(reason)
    yield "strace"


def test_a_session_has_no_network_and_writes_where_it_says(strace: str, root: Path, tmp_path: Path) -> None:
    home, folder, trace = tmp_path / "home", tmp_path / "shop", tmp_path / "trace"
    for each in (home, folder, trace):
        each.mkdir()
    (folder / "cart.py").write_text("import os\n\n\ndef total(cart):\n    return sum(cart)\n", encoding="utf-8")
    before = sorted(each.relative_to(folder) for each in folder.rglob("*"))
    # An interpreter may write what it compiled beside its modules, which were not installed by pip here.
    env = {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    tracer = (strace, "-ff", "-qq", "-y", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(trace / "of"))
    with Editor(env=env, command=(*tracer, sys.executable, "-m", "tabby_lsp")) as editor:
        editor.start(workspaceFolders=[{"uri": folder.as_uri(), "name": "shop"}])
        something(editor)
        editor.request("workspace/executeCommand", {"command": "tabby.reindex", "arguments": []})
        editor.wait(lambda each: "index" in each.get("params", {}) and each["params"]["index"]["files"] == 1)
        editor.request("workspace/executeCommand", {"command": "tabby.restart", "arguments": []})
        editor.request("shutdown", None)
        editor.notify("exit", None)
        assert editor.process.wait(60) == 0
        standing = editor.folder
    lines = [line for file in trace.iterdir() for line in file.read_text(errors="replace").splitlines()]
    assert any(str(MODEL) in line for line in lines), "the engine was looked at, too"
    assert any(("index" in line and ".sqlite" in line) or ".db" in line for line in lines), "and the indexer"
    assert [line for line in lines if re.search(r"AF_INET|AF_PACKET|AF_NETLINK", line)] == []
    written = {path for line in lines for path in changed(line, standing)}
    assert any(path.is_relative_to(root / "lsp") for path in written), "something was looked at"
    allowed = (root / "lsp", tmp_path / "tmp")
    assert [path for path in sorted(written) if not any(path.is_relative_to(each) for each in allowed)] == []
    assert sorted(each.relative_to(folder) for each in folder.rglob("*")) == before
    assert list(home.iterdir()) == []


def changed(line: str, standing: Path) -> list[Path]:
    """The paths that a call has changed, or could: none if it failed."""
    call = re.match(r"(\w+)\((.*)\)\s+= (-?\d+)", line)
    if call is None or call[3].startswith("-") or call[1] in ("socket", "connect", "bind"):
        return []
    if call[1] in ("openat", "open") and not WRITES.search(call[2]):
        return []
    folders = re.findall(r"(?:AT_FDCWD|\d+)<([^>]*)>", call[2])
    base = Path(folders[0]) if folders else standing
    paths = [base / each for each in re.findall(r'"((?:[^"\\]|\\.)*)"', call[2])]
    return [path for path in paths if not str(path).startswith(NO_FILES)]
