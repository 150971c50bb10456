"""The folders in which models are kept that were fetched, in the layout that huggingface_hub and llama.cpp share: each
finds what another has fetched.

    models--ORG--NAME/blobs/SHA256            the file
    models--ORG--NAME/snapshots/COMMIT/PATH   a link to it
    models--ORG--NAME/refs/main               the commit
    .locks/models--ORG--NAME/SHA256.lock      held while it is written

Only paths and links: nothing is fetched here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tabby_lsp import config
from tabby_lsp.processes import machine

BLOB_NAME = re.compile(r"[0-9a-f]{64}")


def hub_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where huggingface_hub keeps its cache, and we what we fetch from a hub."""
    return next(_hub_folders(environment))


def hub_folders(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Every place where a cache in this layout may be: llama.cpp has a variable of its own before those of the hub."""
    own = _folder(environment, "LLAMA_CACHE")
    return list(dict.fromkeys([*_hub_folders(environment), *([own] if own else [])]))


def _hub_folders(environment: Mapping[str, str]) -> Iterator[Path]:
    for name, below in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
    ):
        folder = _folder(environment, name)
        if folder:
            yield folder / below
    yield machine.home() / ".cache" / "huggingface" / "hub"


def _folder(environment: Mapping[str, str], name: str) -> Path | None:
    """A folder that a variable names. A relative one would lie in the workspace: it does not count."""
    value = os.path.expandvars(environment.get(name, ""))
    path = Path(os.path.expanduser(value))
    return path if value and path.is_absolute() else None


def own_folder() -> Path:
    """Where models lie that come from no hub."""
    return config.data_folder() / "models"


def repository_folder(hub: Path, repository: str) -> Path:
    return hub / ("models--" + repository.replace("/", "--"))


def repository_of(folder: Path) -> str:
    """The repository that a folder of the cache belongs to, empty if it is none."""
    name = folder.name.removeprefix("models--")
    return name.replace("--", "/", 1) if name != folder.name else ""


def snapshot(hub: Path, repository: str, commit: str, path: str) -> Path:
    return repository_folder(hub, repository) / "snapshots" / commit / path


def lock(hub: Path, repository: str, blob: str) -> Path:
    return hub / ".locks" / repository_folder(hub, repository).name / f"{blob}.lock"


def digest_of(path: Path) -> str:
    """The sha256 of a file of a cache: the name of the blob that it is or links to, empty if it has none such."""
    with contextlib.suppress(OSError):
        name = path.resolve().name.removeprefix("sha256-")
        if BLOB_NAME.fullmatch(name):
            return name
    return ""


def publish(blob: Path, visible: Path) -> None:
    """Makes a whole blob visible under its own name: by a link, or by moving it where links are not allowed."""
    visible.parent.mkdir(parents=True, exist_ok=True)
    if visible.is_symlink() or visible.exists():
        visible.unlink()  # a link that leads nowhere, or a file of another content
    try:
        visible.symlink_to(os.path.relpath(blob, visible.parent))
    except OSError:  # Windows without developer mode
        os.replace(blob, visible)


def free(folder: Path) -> int | None:
    """Bytes that are free where a folder is or would be made, None if that cannot be told."""
    for each in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(each)
            return usage.free if usage.total else None
    return None


def note_commit(hub: Path, repository: str, commit: str, newest: bool) -> None:
    """Writes down what `main` is. Without a note llama.cpp and huggingface_hub find nothing while offline; one that is
    there is only replaced by the newest commit."""
    note = repository_folder(hub, repository) / "refs" / "main"
    if newest or not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(commit, encoding="ascii")
