"""What goes when a model is removed: files where we put what we fetch; the folders of other programs are theirs."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tabby_lsp.models import cache, finder
from tabby_lsp.models.catalogue import Entry
from tabby_lsp.models.finder import Found


def belongings(found: Found) -> list[Path]:
    """The files of a model and all links to them, the links first."""
    if found.place == finder.OURS:
        return [*found.parts, found.path.with_name(".lock")]
    links, blobs = [], []
    for part in found.parts:
        blob = part.resolve()
        repository = next(each for each in part.parents if cache.repository_of(each))
        links += [each for each in repository.glob("snapshots/**/*.gguf") if each.resolve() == blob]
        blobs += [blob] if blob != part else []
    return [*dict.fromkeys(links), *dict.fromkeys(blobs)]


def unfinished(entry: Entry) -> list[Path]:
    """What has come of a model whose download was broken off."""
    hub = cache.hub_folder()
    left = [
        cache.repository_folder(hub, source.repository) / "blobs" / f"{part.sha256}.incomplete"
        for source in entry.sources
        if source.repository
        for part in source.parts
        if part.sha256
    ]
    return [each for each in left if each.exists()]


def remove(files: list[Path]) -> None:
    """Deletes files, and folders that are empty then. Raises OSError."""
    for each in files:
        each.unlink(missing_ok=True)
    for each in files:
        with contextlib.suppress(OSError):  # not empty, or gone already
            each.parent.rmdir()
            each.parent.parent.rmdir()
