"""A real model for whom the starter serves: which one is offered, and whether the user is asked now.

All servers of a user share what has been asked, in `$TABBY_ROOT/lsp/offer.json`: when, how often, and whether never
again. It is written down before anybody is asked, so two servers do not ask both, and an editor that is closed over the
question does not bring it back the same day.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabby_lsp import config
from tabby_lsp.models import cache, catalogue, choice, finder, overview
from tabby_lsp.models.catalogue import Entry
from tabby_lsp.models.finder import Found
from tabby_lsp.processes import cores, machine
from tabby_lsp.settings import Settings

# Days until somebody who said "not now" is asked again, the first time, the second, and each time from then on: not the
# same day, and less and less.
DAYS = (1, 7, 30)
ATTEMPTS, PAUSE = 20, 0.05  # at the file, and seconds between them: whoever has it needs no millisecond


@dataclass(frozen=True, slots=True)
class Offer:
    """A model for completion that this machine can have. `found` is its file, if it is here already."""

    entry: Entry
    found: Found | None

    @property
    def facts(self) -> str:
        """Its size and licence, in brackets."""
        size, estimated = overview.size_of(self.entry)
        said = overview.size_text(size, estimated) if size else "size not known"
        return f"({said}, licence {choice.licence_of(self.entry)})"


def suitable(settings: Settings) -> Offer | None:
    """The model to offer, None if none has room here. Looks into the folders of eight programs.

    By cores and memory alone. What the engine has measured is the starter's speed, whose matrices are so small that it
    says little of a real model's; and `models recommend` would take all cores for ten seconds from one who types.
    """
    processors, free = cores.processors(), machine.available_memory()
    best = overview.recommended(processors, free)[0]
    names = overview.SUITABLE["completion"]
    known = catalogue.entries(settings.models)
    here = finder.everything()
    for name in reversed(names[: names.index(best) + 1]):
        entry = catalogue.look_up(name, known)
        found = finder.on_this_machine(entry, here) if entry else None
        if entry and found:
            return Offer(entry, found)
    entry = catalogue.look_up(best, known)
    if entry is None or not entry.sources or not _has_room(entry, free):
        return None
    return Offer(entry, None)


def _has_room(entry: Entry, memory: int | None) -> bool:
    """Whether there is memory for a model and, on the disk to which it would be fetched, room for its file."""
    size, _ = overview.size_of(entry)
    disk = cache.free(cache.hub_folder())
    return (memory is None or overview.memory_of_size(size) <= memory) and (disk is None or size < disk)


def may_ask(today: datetime.date) -> bool:
    """Whether the user may be asked now; if so it counts as asked. False where it cannot be written down: one who is
    asked at each start is asked too often."""
    with _record() as file:
        if file is None:
            return False
        kept = _read(file)
        asked, day = kept.get("asked", 0), kept.get("day", "")
        if kept.get("answer") == "never" or not isinstance(asked, int):
            return False
        with contextlib.suppress(TypeError, ValueError):
            last = datetime.date.fromisoformat(day)
            pause = DAYS[min(asked, len(DAYS)) - 1] if asked > 0 else 0
            if (today - last).days < pause and last <= today:
                return False
        return _write(file, {"asked": asked + 1, "day": today.isoformat()})


def never_again() -> None:
    """The user does not want to be asked."""
    with _record() as file:
        if file is not None:
            _write(file, {**_read(file), "answer": "never"})


@contextlib.contextmanager
def _record() -> Iterator[Path | None]:
    """The file, for this process alone; None where there cannot be one, or another process has it."""
    path = config.data_folder() / "offer.json"
    with contextlib.ExitStack() as stack:
        file = None
        with contextlib.suppress(OSError):
            machine.private_folder(path.parent)
            lock = stack.enter_context(path.with_suffix(".lock").open("ab"))
            if _taken(lock.fileno()):
                machine.private_file(path)
                file = path
        yield file


def _taken(lock: int) -> bool:
    for _ in range(ATTEMPTS):
        if machine.take_lock(lock):
            return True
        time.sleep(PAUSE)
    return False


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        return kept if isinstance(kept, dict) else {}
    return {}


def _write(file: Path, values: Mapping[str, Any]) -> bool:
    """Whether it could be written, whole or not at all."""
    with contextlib.suppress(OSError):
        temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        machine.private_file(temporary)
        temporary.write_text(json.dumps(values), encoding="utf-8")
        os.replace(temporary, file)
        return True
    return False
