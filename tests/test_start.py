"""No process of ours imports anything from the folder that it is started in, however it is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import MODEL
from editor import Editor

from tabby_lsp.processes import start
from tabby_lsp.processes.start import python, without_working_folder

SCRIPT = Path(sysconfig.get_path("scripts"), "tabby-lsp")
PLAIN = (sys.executable, "-m", "tabby_lsp")
WAYS: dict[str, Sequence[str]] = {
    "script": (str(SCRIPT),),
    "isolated": (sys.executable, "-I", "-m", "tabby_lsp"),
    "safe path": (sys.executable, "-P", "-m", "tabby_lsp"),
    "plain": PLAIN,
}
# Written into each module of a hostile folder; and imported first by every Python, to say what that imports.
HOSTILE = "import os\nos.close(os.open(os.path.join({traces!r}, {name!r}), os.O_CREAT | os.O_WRONLY))\n"
WATCH = """
import os, sys
log = os.open(os.path.join({folder!r}, str(os.getpid())), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
sys.addaudithook(lambda event, what: event == "import" and os.write(log, (what[0] + "\\n").encode()))
"""


def work(folder: Path, command: Sequence[str], **env: str) -> None:
    """A session that needs every process: a suggestion, an index, a model loaded again."""
    uri = (folder / "main.py").as_uri()
    with Editor("--log-level", "info", command=command, folder=folder, env=env) as editor:
        editor.start(workspaceFolders=[{"uri": folder.as_uri(), "name": "shop"}])
        editor.open("import os\nimport \n", uri=uri)
        editor.inline((1, 7), uri=uri)
        assert editor.request("tabby/status", {})["lastCompletion"]["generated"] > 0
        editor.request("workspace/executeCommand", {"command": "tabby.restart", "arguments": []})
        editor.wait_status("readyForAutoTrigger")
        while editor.request("tabby/status", {})["index"]["files"] == 0:
            pass
        editor.request("workspace/executeCommand", {"command": "tabby.reindex", "arguments": []})
        editor.request("shutdown", None)
        editor.notify("exit", None)
        editor.process.wait(60)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """The modules that any process asks for, by their first names, and those that Python or the script asks for before
    our first line."""
    folder, site, log = (tmp_path_factory.mktemp(name) for name in ("empty", "site", "imports"))
    (site / "sitecustomize.py").write_text(WATCH.format(folder=str(log)), encoding="utf-8")
    (folder / "main.py").write_text("import os\n", encoding="utf-8")
    root = str(tmp_path_factory.mktemp("root"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TABBY_ROOT", root)
        work(folder, PLAIN, PYTHONPATH=str(site))
        tell(folder, PLAIN, PYTHONPATH=str(site))
        if SCRIPT.exists():  # which imports something of its own before us
            subprocess.run([SCRIPT, "--help"], env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True)
        bare = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True)
    everything = [[line.split(".")[0] for line in file.read_text("utf-8").splitlines()] for file in log.iterdir()]
    processes = [names for names in everything if "tabby_lsp" in names]  # not one that was killed as it started
    assert len(processes) >= 4, "a server, engines, an indexer"
    names = {name for names in processes for name in names}
    assert {"numpy", "llama_cpp", "pathspec", "sqlite3", "pygls", "tree_sitter", "json"} <= names
    early = {name for names in processes for name in names[: names.index("tabby_lsp") + 1]}
    return names, early | {name.split(".")[0] for name in bare.stdout.split()}


def tell(folder: Path, command: Sequence[str], **env: str) -> None:
    """The commands that start processes of their own."""
    environment = {**os.environ, **env}
    for arguments in (["doctor"], ["index", "."], ["search", "os"], ["complete", "main.py:1:8"]):
        chosen = [*command, *arguments, *(["--model", str(MODEL)] if arguments[0] in ("doctor", "complete") else [])]
        done = subprocess.run(chosen, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    folder, traces = tmp_path / "workspace", tmp_path / "traces"
    folder.mkdir()
    traces.mkdir()
    (folder / "main.py").write_text("import os\n", encoding="utf-8")
    yield folder, traces
    assert sorted(each.name for each in traces.iterdir()) == [], "modules of the workspace were run"


def fill(folder: Path, traces: Path, names: set[str]) -> None:
    for name in names - {"main"}:
        (folder / f"{name}.py").write_text(HOSTILE.format(traces=str(traces), name=name), encoding="utf-8")


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_imported_from_the_workspace(
    way: str, imported: tuple[set[str], set[str]], hostile: tuple[Path, Path]
) -> None:
    if way == "safe path" and sys.version_info < (3, 11):
        pytest.skip("this Python has no -P")
    if way == "script" and not SCRIPT.exists():
        pytest.skip("the script is not installed")
    names, early = imported
    fill(*hostile, names - early if way == "plain" else names)
    work(hostile[0], WAYS[way])
    if way == "script":
        tell(hostile[0], WAYS[way])


def test_an_empty_entry_of_pythonpath_is_not_the_workspace(
    imported: tuple[set[str], set[str]], hostile: tuple[Path, Path]
) -> None:
    """`export PYTHONPATH=$PYTHONPATH:/there` has one where the variable was not set."""
    names, early = imported
    fill(*hostile, names - early)
    path = os.pathsep.join(["", str(hostile[0].parent)])
    work(hostile[0], WAYS["script"], PYTHONPATH=path)


def test_the_search_path_without_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = ["", ".", str(tmp_path), str(link), "/elsewhere", str(tmp_path / "inside"), "/elsewhere"]
    assert without_working_folder(path) == ["/elsewhere", str(tmp_path / "inside")]
    package = Path(start.PACKAGE_FOLDER)
    monkeypatch.chdir(package)
    assert without_working_folder([str(package), "/elsewhere"]) == ["/elsewhere", str(package)], "asked last"
    library = os.path.dirname(os.__file__)
    monkeypatch.chdir(library)
    assert without_working_folder([library, "/elsewhere"]) == ["/elsewhere", library]


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert without_working_folder(["", "/elsewhere"]) == ["/elsewhere"]


def test_a_child_has_our_search_path_and_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told.py").write_text(
        "import json, sys\ndef main():\n    print(json.dumps([sys.argv[1:], sys.path]))\n    return 3\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    done = subprocess.run(python("told", "--flag", "a b"), cwd=start.NEUTRAL_FOLDER, capture_output=True, text=True)
    assert done.returncode == 3
    assert json.loads(done.stdout) == [["--flag", "a b"], without_working_folder(sys.path)]
