"""Which models are on this machine already, and in whose folder. Files are only looked at, never changed: they are used
where they lie.

Where each program keeps its files: Tabby (crates/tabby-common/src/path.rs), huggingface_hub, llama.cpp
(common/hf-cache.cpp, common/download.cpp), LM Studio (lmstudio-js, findLMStudioHome), Ollama (manifest/*.go), Jan and
GPT4All.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabby_lsp import config
from tabby_lsp.data import OwnModel
from tabby_lsp.engine import gguf
from tabby_lsp.models import cache, catalogue, starter
from tabby_lsp.models.catalogue import Entry
from tabby_lsp.processes import machine

MOST_FILES = 5000  # in one program's folder: nobody has more models, and a folder that is none of theirs ends here
MOST_MANIFEST = 1 << 20

OURS, HUB, STARTER = "tabby-lsp", "Hugging Face", "bundled"
OLLAMA_MODEL = "application/vnd.ollama.image.model"


@dataclass(frozen=True, slots=True)
class Found:
    """A model that can be loaded: its first file, all of its files, and what the program that has it calls it."""

    path: Path
    parts: tuple[Path, ...]
    size: int
    place: str
    name: str
    sha256: str = ""  # of a single file, where its name says so

    @property
    def removable(self) -> bool:
        """Whether it lies where we put what we fetch; the folders of other programs are theirs."""
        return self.place in (OURS, HUB)


def everything() -> list[Found]:
    """Every model on this machine, each file once, Tabby's and ours first."""
    found: dict[Path, Found] = {}
    for each in _all():
        with contextlib.suppress(OSError):
            found.setdefault(each.path.resolve(), each)
    return list(found.values())


def _all() -> Iterator[Found]:
    yield from _one(starter.MODEL, STARTER, "tabby-starter")
    yield from _tabby()
    for path in _below(cache.own_folder(), "*/*.gguf"):
        yield from _one(path, OURS, path.stem)
    for hub in cache.hub_folders():
        for path in _below(hub, "models--*/snapshots/*/**/*.gguf"):
            folder, _, _, *inside = path.relative_to(hub).parts
            yield from _one(path, HUB, "/".join([cache.repository_of(Path(folder)), *inside]))
    yield from _packages()
    for place, program, pattern in _flat_folders():
        for path in _below(program, pattern):
            yield from _one(path, place, path.relative_to(program).as_posix())
    yield from _jan()
    yield from _ollama()


def _one(path: Path, place: str, name: str) -> Iterator[Found]:
    """A file as a model, unless it is none, is a part of one or lacks parts."""
    if not catalogue.is_model(path.name):
        return
    parts = tuple(path.with_name(Path(each).name) for each in catalogue.part_paths(path.name))
    yield from _whole(path, parts, place, name)


def _whole(path: Path, parts: tuple[Path, ...], place: str, name: str) -> Iterator[Found]:
    try:
        size = sum(each.stat().st_size for each in parts)
    except OSError:  # a link that leads nowhere, or a part that is not there yet
        return
    if gguf.begins_as_gguf(path):
        yield Found(path, parts, size, place, name, cache.digest_of(path) if len(parts) == 1 else "")


def _below(folder: Path, pattern: str) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for count, path in enumerate(sorted(folder.glob(pattern))):
            if count == MOST_FILES:
                return
            yield path


def tabby_folder() -> Path:
    """Where Tabby keeps the models that it has downloaded."""
    given = os.environ.get("TABBY_MODEL_CACHE_ROOT", "")
    return Path(given) if given and Path(given).is_absolute() else config.tabby_root() / "models"


def _tabby() -> Iterator[Found]:
    for path in _below(tabby_folder(), "*/*/ggml/*.gguf"):
        yield from _one(path, "Tabby", f"{path.parts[-4]}/{path.parts[-3]}")


def _packages() -> Iterator[Found]:
    """Files that lie whole in an installed package of the registry's."""
    import importlib.metadata  # takes longer than all of this module

    for entry in catalogue.registry():
        for source in entry.sources:
            if len(source.packages) == 1:
                member = source.packages[0]
                package = member.requirement.partition("==")[0]
                with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
                    path = Path(str(importlib.metadata.distribution(package).locate_file(member.path)))
                    yield from _one(path, f"package {package}", entry.name)


def _home(*folders: str) -> Path:
    return machine.home().joinpath(*folders)


def _data_folder(name: str, on_linux: str) -> Path:
    """Where programs keep data: macOS and Windows have one place for it."""
    if sys.platform == "darwin":
        return _home("Library", "Application Support", name)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home("AppData", "Local")) / name
    return _home(*on_linux.split("/")) / name


def _flat_folders() -> Iterator[tuple[str, Path, str]]:
    """Programs that keep files as they are: the folder and where in it they lie."""
    if sys.platform == "darwin":
        yield "llama.cpp", _home("Library", "Caches", "llama.cpp"), "*.gguf"
    elif sys.platform == "win32":
        yield "llama.cpp", _data_folder("llama.cpp", ""), "*.gguf"
    else:
        yield "llama.cpp", _home(".cache", "llama.cpp"), "*.gguf"
    yield "LM Studio", _lm_studio() / "models", "*/*/*.gguf"
    yield "GPT4All", _data_folder("nomic.ai", ".local/share") / "GPT4All", "*.gguf"


def _lm_studio() -> Path:
    with contextlib.suppress(OSError, ValueError):
        pointed = Path(_home(".lmstudio-home-pointer").read_text(encoding="utf-8").strip())
        if pointed.is_absolute():
            return pointed
    older = _home(".cache", "lm-studio")
    return older if older.is_dir() else _home(".lmstudio")


def _jan() -> Iterator[Found]:
    """Jan names the file of each model in its `model.yml`."""
    if sys.platform == "darwin":
        data = [_home("Library", "Application Support", "Jan", "data")]
    elif sys.platform == "win32":
        data = [Path(os.environ.get("APPDATA") or _home("AppData", "Roaming")) / "Jan" / "data"]
    else:
        data = [_home(".local", "share", "Jan", "data"), _home(".config", "Jan", "data")]
    for folder in [*data, _home("jan")]:
        models = folder / "llamacpp" / "models"
        for note in _below(models, "**/model.yml"):
            with contextlib.suppress(OSError, ValueError):
                path = re.search(r"^model_path:\s*(.+?)\s*$", note.read_text(encoding="utf-8"), re.MULTILINE)
                if path:
                    name = note.parent.relative_to(models).as_posix()
                    yield from _one(folder / path[1].strip("\"'"), "Jan", name)


def _ollama() -> Iterator[Found]:
    """Ollama keeps files under their sha256; a manifest says which is which."""
    given = os.environ.get("OLLAMA_MODELS", "")
    folders = [Path(given)] if Path(given).is_absolute() else []
    for folder in [*folders, _home(".ollama", "models"), Path("/usr/share/ollama/.ollama/models")]:
        # Below each: host/namespace/model/tag. Ollama 0.40 keeps the older folder as a way back.
        for manifests in ("manifests-v2", "manifests"):
            for note in _below(folder / manifests, "*/*/*/*"):
                _, namespace, model, tag = note.relative_to(folder / manifests).parts
                name = f"{model}:{tag}" if namespace == "library" else f"{namespace}/{model}:{tag}"
                for digest in _model_layers(_json(note), folder):
                    path = folder / "blobs" / digest
                    yield from _whole(path, (path,), "Ollama", name)


def _model_layers(manifest: dict[str, Any], folder: Path) -> Iterator[str]:
    """The blobs of weights that a manifest names, itself or by another one of the format that we read."""
    for child in _tables(manifest.get("manifests")):
        if child.get("format") == "gguf" and "manifests" not in child:
            blob = _blob(child.get("digest"))
            inner = _json(folder / "blobs" / blob) if blob else child
            yield from _model_layers({"layers": inner.get("layers")}, folder)
            return
    layers = _tables(manifest.get("layers"))
    blobs = [_blob(each.get("digest")) for each in layers if each.get("mediaType") == OLLAMA_MODEL]
    if len(blobs) == 1 and blobs[0]:  # several are the parts of one, whose names Ollama does not keep
        yield blobs[0]


def _tables(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _blob(digest: object) -> str:
    match = re.fullmatch(r"sha256[:-]([0-9a-f]{64})", digest) if isinstance(digest, str) else None
    return f"sha256-{match[1]}" if match else ""


def _json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= MOST_MANIFEST:
            value = json.loads(path.read_bytes())
            return value if isinstance(value, dict) else {}
    return {}


# --- which of the models that have a name a file is


def is_of(found: Found, entry: Entry) -> bool:
    """Whether a file is one of those that a model's name stands for: by its sha256 if it is known, else by its name."""
    if entry.path:
        return os.path.expanduser(entry.path) == str(found.path)
    if found.place == "Tabby":
        return catalogue.look_up(found.name, [entry]) is not None
    digests = {part.sha256 for source in entry.sources for part in source.parts if part.sha256}
    if found.sha256 in digests:
        return True
    for source in entry.sources:
        first = source.parts[0].path if source.parts else ""
        # llama.cpp's older cache writes owner_repo_ before it.
        same_name = bool(first) and f"_{found.path.name}".lower().endswith("_" + first.rpartition("/")[2].lower())
        if found.place == HUB:
            inside = found.name.lower().startswith(f"{source.repository}/".lower())
            if inside and (same_name if first else _is_quantised(found, source.quantisation)):
                return True
        elif same_name and source.size in (0, found.size) and not found.sha256:
            return True
    return False


def _is_quantised(found: Found, quantisation: str) -> bool:
    return catalogue.chosen([found.name], quantisation) is not None


def named(model_id: str, own: Iterable[OwnModel] = ()) -> Found | None:
    """The file of a name: one of the registry's or the user's, `org/repo[:quantisation]`, or what `models` shows."""
    entry = catalogue.look_up(model_id, catalogue.entries(own))
    source = catalogue.elsewhere(model_id)
    if entry is None and source:
        entry = Entry(model_id, (source,))
    here = everything()
    if entry:
        return on_this_machine(entry, here)
    return next((each for each in here if each.name.lower() == model_id.lower()), None)


def advice(model_id: str, own: Iterable[OwnModel] = ()) -> str:
    """What to do about a name that leads to no file."""
    known = catalogue.entries(own)
    entry = catalogue.look_up(model_id, known)
    if entry and entry.path:
        return f"its `source` {entry.path} in `models` of config.toml must be a GGUF file with its whole path."
    near = catalogue.suggestions(model_id, known)
    if entry or (catalogue.elsewhere(model_id) and not (near and model_id.lower().startswith("tabbyml/"))):
        return f"`tabby-lsp models get {entry.name if entry else model_id}` fetches it."
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{meant}`tabby-lsp models` lists the names; a file is named by its whole path."


def on_this_machine(entry: Entry, among: Iterable[Found] | None = None) -> Found | None:
    """The file of a model that has a name, None if it is not here. The order is that of `everything`."""
    if entry.path:
        path = Path(os.path.expanduser(entry.path))
        return next(_one(path, "yours", entry.name), None) if path.is_absolute() else None
    return next((each for each in (everything() if among is None else among) if is_of(each, entry)), None)
