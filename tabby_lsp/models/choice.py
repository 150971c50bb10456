"""A model that a person has chosen by a name: what is meant, what would be fetched for it, and how it is written into
the settings. What the command line and the commands of an editor share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabby_lsp import config, config_file
from tabby_lsp.data import OwnModel
from tabby_lsp.engine import gguf
from tabby_lsp.models import catalogue, finder, starter
from tabby_lsp.models.catalogue import Entry, Source
from tabby_lsp.models.finder import Found
from tabby_lsp.models.overview import size_text

STARTER_NAMES = ("tabby-starter", "starter")
# What is said of a licence beside its name.
COMMERCIAL = {"yes": "", "terms": "with terms of its own", "no": "not for commercial use", "": ""}


class NoModel(Exception):
    """A name that stands for nothing; the text says which does."""


class NotHere(Exception):
    """A model that is on this machine not at all, or not as a file that can be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model that can be used: its file, what is written into the settings for it, and what speaks against it."""

    name: str
    path: Path
    model_id: str
    doubt: str = ""


def meant(name: str, own: Iterable[OwnModel] = ()) -> Entry | Path:
    """What a name stands for: a model with a name, a source of one, or a file by its whole path. Raises NoModel."""
    own = tuple(own)
    if name.lower() in STARTER_NAMES:
        return starter.MODEL
    entry = catalogue.look_up(name, catalogue.entries(own))
    if entry:
        return entry
    path = Path(os.path.expanduser(name))
    file = path.suffix == ".gguf" and path.is_absolute()
    source = catalogue.elsewhere(name)
    if (
        not file and source is None and (found := finder.named(name, own))
    ):  # by the name that another program has for it
        return found.path
    if file:
        return path
    advice = finder.advice(name, own)
    if source and "did you mean" not in advice:
        return Entry(name, (source,))
    raise NoModel(f"There is no model {name!r}: {advice}")


def to_fetch(entry: Entry, found: Found | None) -> Source | None:
    """What to fetch. A file in the hub's cache of which all is known is checked there, and fetched again if damaged."""
    if found is None:
        return entry.sources[0] if entry.sources else None
    for source in entry.sources:
        if found.place == finder.HUB and source.commit and source.size and found.sha256 == source.parts[0].sha256:
            return source
    return None


def described(entry: Entry, plan: Mapping[str, Any]) -> str:
    """What is about to be fetched, by the plan of a download: file, size, licence, and where it goes."""
    files = plan["files"]
    name = files[0]["path"] + (f" and {len(files) - 1} more parts" if len(files) > 1 else "")
    size = size_text(plan["bytes"]) if plan["bytes"] else "size not known"
    room = f", {plan['free'] / 1e9:.0f} GB free" if plan["free"] is not None else ""
    sure = "" if all(each["sha256"] for each in files) else "\nIts sha256 is not known: what comes cannot be checked."
    return (
        f"{entry.name}: {name}, {size}, from {plan['repository']}\n"
        f"licence: {licence_of(entry, plan['licence'])}\n"
        f"to: {plan['folder']}{room}{sure}"
    )


def licence_of(entry: Entry, stated: str = "") -> str:
    """A model's licence, or that which its hub states, and what it forbids."""
    licence = entry.licence or stated
    note = COMMERCIAL[entry.commercial or catalogue.licence_allows(licence)]
    return (licence or "not stated") + (f" ({note})" if note else "")


def other_files(entry: Entry, source: Source) -> list[str]:
    """What else could be asked for where a source has failed."""
    return [each.repository for each in entry.sources if each != source and each.repository]


def on_this_machine(name: str, role: str, own: Iterable[OwnModel] = ()) -> Chosen:
    """A model that is here, for a role. Raises NoModel, NotHere, OSError."""
    own = tuple(own)
    thing = meant(name, own)
    doubt = ""
    if isinstance(thing, Entry):
        found = finder.on_this_machine(thing)
        if not found:
            raise NotHere(f"{thing.name} is not on this machine: {finder.advice(name, own)}")
        path, called, model_id = found.path, thing.name, thing.name
        if thing.roles and role not in thing.roles:
            doubt = f"{thing.name} was made for {' and '.join(thing.roles)}: it will serve {role} badly."
    else:
        path, called = thing, "tabby-starter" if thing == starter.MODEL else thing.name
        model_id = "" if thing == starter.MODEL else str(thing)
    try:
        gguf.check(path)
    except gguf.HeaderError as error:
        raise NotHere(f"{path} {error}") from None
    return Chosen(called, path, model_id, doubt)


def settings_file() -> Path:
    return config.tabby_root() / "config.toml"


def write(model_id: str, role: str) -> Path | None:
    """Writes a model into the settings. Returns where the file is kept as it was. Raises CannotEdit, OSError."""
    return config_file.set_text(settings_file(), ("model", role, "local", "model_id"), model_id)


def written(role: str) -> str:
    """The model that `config.toml` names for a role, as it stands there."""
    values: Any = config.read_config_file(settings_file())[0].values
    for key in ("model", role, "local", "model_id"):
        values = values.get(key, "") if isinstance(values, Mapping) else ""
    return values if isinstance(values, str) else ""
