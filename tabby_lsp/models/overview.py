"""What there is to choose from: the models on this machine and those that would suit it, as data for a table."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp import config
from tabby_lsp.engine import gguf
from tabby_lsp.engine.memory import SPARE_SEQUENCES, need
from tabby_lsp.models import catalogue, finder, registry
from tabby_lsp.models.catalogue import Entry, Source
from tabby_lsp.models.finder import Found
from tabby_lsp.processes import cores, machine
from tabby_lsp.settings import LocalModel, Settings

# Bytes of a file for each of the model's weights. Q8_0 has 34 for 32 of them; Q4_K_M mixes kinds: 2.50 GB for the 4.02
# thousand million of Qwen3-4B-Instruct-2507.
BYTES_PER_WEIGHT = {"Q8_0": 34 / 32, "Q4_K_M": 0.62}
# What a model takes beyond its file where only the length of that is known: some for the KV cache, some for buffers.
# `memory_of` gives for three sequences of 4096 tokens 0.3 GB with Qwen2.5-Coder's 0.5B, 0.5 GB with its 1.5B and 1.0 GB
# with its 7B.
EXTRA_SHARE, EXTRA_BYTES = 0.1, 0.3e9


@dataclass(frozen=True, slots=True)
class Row:
    """A model of the table. `size` and `memory` are bytes, 0 if not known; an `estimated` size is worked out."""

    name: str
    roles: tuple[str, ...]
    size: int
    estimated: bool
    licence: str
    commercial: str
    memory: int
    fits: bool | None  # None: not known
    place: str  # empty: not on this machine
    path: str
    used_for: tuple[str, ...]
    recommended: bool


def in_use(settings: Settings) -> tuple[dict[str, str], list[str]]:
    """The file of the model of each role, as far as there is one, and why there is none."""
    ids = {"completion": settings.model.completion.local.model_id, "chat": settings.model.chat.local.model_id}
    used, problems = {}, []
    for role, model_id in ids.items():
        if model_id or role == "completion":
            try:
                used[role] = str(registry.find(model_id, config.tabby_root(), settings.models))
            except registry.ModelNotFound as error:
                problems.append(f"the model for {role}: {error}")
    return used, problems


def table(settings: Settings) -> tuple[list[Row], list[str]]:
    """Every model that has a name or is on this machine, and what is wrong with those in use. Looks into the folders of
    eight programs and reads the heads of all files in them.
    """
    used, problems = in_use(settings)
    wanted = recommended(cores.processors(), machine.available_memory())
    entries = catalogue.entries(settings.models)
    return rows(entries, finder.everything(), used, settings.model.completion.local, wanted), problems


def size_text(size: int, estimated: bool = False) -> str:
    """Bytes to three digits, "?" if they are not known."""
    if not size:
        return "?"
    about = "≈ " if estimated else ""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{about}{size / unit:.{2 if size < 10 * unit else 1 if size < 100 * unit else 0}f} {name}"
    return f"{about}{size / 1e3:.0f} kB"


def memory_of(header: gguf.Header, weights: int, local: LocalModel) -> int:
    """Bytes that a model takes, estimated from its head as the engine estimates them when it has loaded it."""
    context = min(local.context_size, header.context_length or local.context_size)
    return need(header, weights, context, local.parallelism + SPARE_SEQUENCES).total


def memory_of_size(size: int) -> int:
    """The same of a model of which only the length of its file is known."""
    return round(size * (1 + EXTRA_SHARE) + EXTRA_BYTES)


def memory_of_file(path: Path, local: LocalModel) -> int:
    """The same of a file and its further parts. Raises HeaderError and OSError, as the engine would refuse it."""
    return memory_of(gguf.check(path), size_of_file(path), local)


def size_of_file(path: Path) -> int:
    """Bytes of a file and its further parts. Raises OSError."""
    return sum(each.stat().st_size for each in gguf.parts_of(path))


def size_of(entry: Entry) -> tuple[int, bool]:
    """Bytes of what would be fetched, 0 if nothing is known of it, and whether that is only worked out."""
    if entry.size or not entry.sources:
        return entry.size, False
    weights = weights_of(entry)
    each = _bytes_per_weight(entry.sources[0])
    return (round(weights * each), True) if weights and each else (0, False)


def weights_of(entry: Entry) -> float:
    """How many weights a model has: by a file of it whose length is known, else by its maker's label."""
    for source in entry.sources:
        if source.size and _bytes_per_weight(source):
            return source.size / _bytes_per_weight(source)
    label = re.fullmatch(r"([\d.]+)B(?:-.*)?", entry.parameters)
    return float(label[1]) * 1e9 if label else 0.0


def _bytes_per_weight(source: Source) -> float:
    text = source.quantisation or (source.parts[0].path if source.parts else "")
    return next((size for name, size in BYTES_PER_WEIGHT.items() if name.lower() in text.lower()), 0.0)


def rows(
    entries: Iterable[Entry], here: Iterable[Found], used: Mapping[str, str], local: LocalModel, wanted: Iterable[str]
) -> list[Row]:
    """What is on this machine, then the `wanted` names that are not. `used` has the path of the model of each role."""
    free = machine.available_memory()
    entries, wanted = list(entries), list(wanted)
    table = [_of_file(each, entries, used, local, free, wanted) for each in _with_named(entries, here)]
    there = {row.name.lower() for row in table}
    table += [_of_entry(each, free, each.name in wanted) for each in entries if each.name.lower() not in there]
    return table


def _with_named(entries: Iterable[Entry], here: Iterable[Found]) -> list[Found]:
    """The files that were found, and those elsewhere to which the user has given a name."""
    found = list(here)
    own = [finder.on_this_machine(each) for each in entries if each.path]
    return found + [each for each in own if each and each.path not in [other.path for other in found]]


def _of_file(
    found: Found, entries: list[Entry], used: Mapping[str, str], local: LocalModel, free: int | None, wanted: list[str]
) -> Row:
    entry = next((each for each in entries if finder.is_of(found, each)), None)
    memory, licence = 0, ""
    roles = entry.roles if entry else ("completion",) if found.place == finder.STARTER else ()
    with contextlib.suppress(gguf.HeaderError, OSError):
        header = gguf.read_header(found.path)
        memory, licence = memory_of(header, found.size, local), header.licence
        if not header.generates or header.kind != "model":
            roles = ("vectors",) if not header.generates else (header.kind,)
    fits = None if free is None or not memory else memory <= free
    return Row(
        name=entry.name if entry else found.name,
        roles=roles,
        size=found.size,
        estimated=False,
        licence=entry.licence if entry and entry.licence else licence,
        commercial=entry.commercial if entry else catalogue.licence_allows(licence),
        memory=memory,
        fits=fits,
        place=found.place,
        path=str(found.path),
        used_for=tuple(role for role, path in used.items() if path == str(found.path)),
        recommended=bool(entry and entry.name in wanted),
    )


def _of_entry(entry: Entry, free: int | None, recommended: bool) -> Row:
    size, estimated = size_of(entry)
    memory = memory_of_size(size) if size else 0
    return Row(
        name=entry.name,
        roles=entry.roles,
        size=size,
        estimated=estimated,
        licence=entry.licence,
        commercial=entry.commercial,
        memory=memory,
        fits=None if free is None or not memory else memory <= free,
        place="",
        path="",
        used_for=(),
        recommended=recommended,
    )


# The models that are recommended, the smallest first: those that llama.vim and llama.vscode take for completion, and
# for chat their instructed sisters and a small one that does not think aloud. All allow commercial use.
SUITABLE = {
    "completion": ("Qwen2.5-Coder-0.5B", "Qwen2.5-Coder-1.5B", "Qwen2.5-Coder-7B", "Qwen2.5-Coder-14B"),
    "chat": (
        "Qwen2.5-Coder-0.5B-Instruct",
        "Qwen2.5-Coder-1.5B-Instruct",
        "Qwen3-4B-Instruct-2507",
        "Qwen2.5-Coder-7B-Instruct",
        "Qwen2.5-Coder-14B-Instruct",
    ),
}


def largest_within(role: str, room: int) -> str:
    """The largest of the models that suit a role and take no more than so many bytes, with its size. Empty: none."""
    found = ""
    for name in SUITABLE[role]:
        size, estimated = size_of(entry) if (entry := catalogue.look_up(name, catalogue.registry())) else (0, False)
        if size and memory_of_size(size) <= room:
            found = f"{name} ({size_text(size, estimated)})"
    return found


def recommended(cores: int, free: int | None) -> list[str]:
    """A model for completion and one for chat for a machine without a GPU of which nothing has been measured."""
    roomy = free is not None and free > 3 << 30
    return [SUITABLE["completion"][1 if roomy and cores >= 4 else 0], SUITABLE["chat"][1 if roomy else 0]]
