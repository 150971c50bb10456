"""The invariants of `tabby_lsp/ARCHITECTURE.md` that concern the code as text."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tabby_lsp
from tabby_lsp import config

PACKAGE = Path(tabby_lsp.__file__).parent
REPOSITORY = PACKAGE.parent

# Each room imports only from rooms that stand before it. Modules at the top are rooms of their own.
ROOMS = (
    "data",
    "text",
    "steps",
    "processes",
    "languages",
    "settings",
    "config",
    "config_file",
    "syntax",
    "completion",
    "engine",
    "index",
    "models",
    "chat",
    "engines",
    "assistant",
    "suggest",
    "lsp",
    "acp",
    "evaluation",
    "commands",
    "cli",
    "__main__",
)

# What may import a library: nothing else may.
SOLE_IMPORTERS = {
    "llama_cpp": {f"engine/{name}.py" for name in ("model", "vocab", "loading", "build", "devices", "yardstick")},
    "numpy": {"engine/"},
    "pygls": {"lsp/", "commands/demo.py"},
    "lsprotocol": {"lsp/", "commands/demo.py"},
    "attrs": {"lsp/protocol.py"},
    "tree_sitter": {"syntax.py"},
    "tree_sitter_languages": {"syntax.py"},
    "tree_sitter_language_pack": {"syntax.py"},
    "rich": {"commands/terminal.py"},
    "jinja2": {"chat/template.py"},
    "pathspec": {"index/ignore.py"},
    "sqlite3": {
        "index/checkup.py",
        "index/store.py",
        "index/search.py",
        "index/database.py",
        "index/entry.py",
        "index/shelf.py",
    },
    "huggingface_hub": set(),
    "socket": set(),
    "ssl": {"models/hub.py"},
    "http": {"models/hub.py"},
    "urllib.request": {"models/hub.py"},
    "urllib.error": {"models/hub.py"},
    # What opens a connection runs in the process of a download, which nobody imports.
    "tabby_lsp.models.hub": {"models/download.py", "models/transfer.py"},
    "tabby_lsp.models.packages": {"models/download.py"},
    "tabby_lsp.models.transfer": {"models/download.py", "models/packages.py"},
    "tabby_lsp.models.download": set(),
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the wheel by its path in the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        path = file.relative_to(PACKAGE).as_posix()
        if not path.startswith("models/training/"):
            yield path, ast.parse(file.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def room(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def test_rooms_import_only_from_those_before_them() -> None:
    found = set()
    for path, tree in modules():
        for name in imports(tree):
            parts = name.split(".")
            if parts[0] != "tabby_lsp" or len(parts) < 2 or parts[1] not in ROOMS:
                continue
            found.add(parts[1])
            assert ROOMS.index(parts[1]) <= ROOMS.index(room(path)), f"{path} imports {name}"
    assert found >= set(ROOMS) - {"__main__"}, "the list of rooms is not that of the package"


def test_every_module_belongs_to_a_room() -> None:
    assert {room(path) for path, _ in modules()} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("library", SOLE_IMPORTERS)
def test_a_library_is_imported_in_one_room_only(library: str) -> None:
    importers = {
        path
        for path, tree in modules()
        if any(name == library or name.startswith(library + ".") for name in imports(tree))
    }
    allowed = SOLE_IMPORTERS[library]
    assert all(any(path.startswith(each) for each in allowed) for path in importers), importers
    assert all(any(path.startswith(each) for path in importers) for each in allowed), "the list is out of date"


@pytest.mark.parametrize("module", ["tabby_lsp.lsp.handlers", "tabby_lsp.cli"])
def test_the_server_loads_no_heavy_library(module: str) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"llama_cpp", "numpy", "tree_sitter", "tree_sitter_languages", "sqlite3", "huggingface_hub", "rich"}
    heavy |= {"jinja2", "urllib.request", "tabby_lsp.models.hub"}
    assert heavy.isdisjoint(loaded)
    if module == "tabby_lsp.cli":
        assert {"pygls", "lsprotocol"}.isdisjoint(loaded), "--help must not load the server"


def test_only_the_command_line_prints() -> None:
    printing = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    # Not `serve`: its stdout is the wire.
    people = (
        "ask",
        "commit_message",
        "complete",
        "demo",
        "doctor",
        "eval",
        "index",
        "map",
        "models",
        "options",
        "search",
        "terminal",
    )
    assert printing <= {f"commands/{name}.py" for name in people}


def test_the_readme_shows_every_setting() -> None:
    assert config.reference_table() in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_changelog_has_this_version() -> None:
    newest = re.search(r"^## \[?([^\]\s]+)", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] in (tabby_lsp.__version__, "Unreleased")


def test_training_is_not_in_the_wheel() -> None:
    assert 'exclude = ["tabby_lsp/models/training"]' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
