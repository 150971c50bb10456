"""One file of a model from another machine into a folder of this one.

It is written as `NAME.incomplete` and hashed as it comes, and gets its name only when its length, its sha256 and its
head are right. What has come stays, and the next attempt goes on behind it, days later too. Nothing but a lock of the
operating system says that somebody writes a file, so a process that died holds nobody up.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tabby_lsp.engine import gguf
from tabby_lsp.models import cache, hub
from tabby_lsp.models.catalogue import Part
from tabby_lsp.models.hub import Beyond, Interrupted, Unreachable
from tabby_lsp.processes import machine

PIECE = 1 << 18
LONGEST_PAUSE = 120.0  # seconds that are waited for; a longer wait is told instead
SPARE = 256 << 20  # bytes of disk that are left free
SECONDS_BETWEEN_TELLING = 0.5


class Refused(Exception):
    """Why a file is not fetched; the text says what to do. `unreachable`: there is no way to the hub."""

    def __init__(self, text: str, unreachable: bool = False) -> None:
        super().__init__(text)
        self.unreachable = unreachable


@dataclass(slots=True)
class Job:
    """What a person is told of a download, and how patient it is. `total` is 0 where it is not known."""

    emit: Callable[..., None]
    total: int = 0
    silence: float = 60.0  # seconds after which a connection counts as broken
    pauses: tuple[float, ...] = (1, 2, 4, 8, 16)  # before each attempt that follows one without a byte
    done: int = 0
    fetched: int = 0
    _began: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def add(self, count: int, fetched: bool = True) -> None:
        """So many bytes more are there."""
        self.done += count
        self.fetched += count if fetched else 0
        now = time.monotonic()
        if now - self._told >= SECONDS_BETWEEN_TELLING:
            self._told = now
            speed = round(self.fetched / max(1e-3, now - self._began))
            self.emit("progress", bytes=self.done, total=self.total, speed=speed)

    def wait(self, attempt: int, error: Interrupted) -> None:
        """Before the attempt after this one. Raises Refused if there is to be none."""
        kept = "What has come is kept; ask again to go on."
        if attempt >= len(self.pauses):
            raise Refused(f"{error}, {attempt + 1} times. {kept}", isinstance(error, Unreachable))
        pause = self.pauses[attempt] if error.pause is None else error.pause
        if pause > LONGEST_PAUSE:
            raise Refused(f"{error} and wants to be asked again in {pause / 60:.0f} minutes. {kept}")
        self.emit("waiting", message=f"{error}: another attempt in {pause:.0f} s")
        time.sleep(pause)

    def check_room(self, folder: Path, needed: int) -> None:
        """Raises Refused if a folder's disk has no room for so many bytes."""
        room = cache.free(folder)
        if room is not None and needed + SPARE > room:
            raise Refused(
                f"{needed / 1e9:.2f} GB are to come, and {room / 1e9:.2f} GB are free at {folder}, of which some are "
                "left free. Make room, or set HF_HOME to a folder on another disk."
            )


@contextlib.contextmanager
def held(job: Job, path: Path) -> Iterator[None]:
    """Holds a lock as long as this runs; another process that has it is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        waits = False
        while not machine.take_lock(file.fileno()):
            if not waits:
                job.emit("waiting", message="another process is fetching this file")
                waits = True
            time.sleep(0.2)
        yield


def is_right(job: Job, path: Path, part: Part) -> bool:
    """Whether a file that is here is the one that is meant: by its length and its sha256, as far as they are known."""
    try:
        if (part.size and path.stat().st_size != part.size) or not gguf.begins_as_gguf(path):
            return False
        if part.sha256:
            job.emit("checking", message=f"checking {path.name}")
            with path.open("rb") as file:
                return _sha256(file).hexdigest() == part.sha256
    except OSError:  # not there, or a link that leads nowhere
        return False
    return True


def receive(job: Job, address: str, part: Part, target: Path) -> str:
    """Fetches a file as `target` and returns its sha256. Raises Refused, HubError, OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    incomplete, note = target.with_name(target.name + ".incomplete"), target.with_name(target.name + ".etag")
    for again in (False, True):
        with incomplete.open("a+b") as file:
            coming = _Coming(job, part, file, note)
            coming.take_up()
            resumed = coming.have > 0
            coming.fill(address)
            file.flush()
            os.fsync(file.fileno())
        sha256 = str(coming.digest.hexdigest())
        if not part.sha256 or sha256 == part.sha256:
            break
        discard(incomplete, note)
        job.add(-coming.have, fetched=False)
        if again or not resumed:
            raise Refused(
                f"The bytes that came are not those of {part.path}: their sha256 is {sha256}, not {part.sha256}. "
                "Nothing of them is kept. The hub's copy is damaged, or something on the way changes files."
            )
        job.emit("waiting", message="what was kept does not fit what came: starting anew")
    verify_head(incomplete, part)
    os.replace(incomplete, target)
    discard(note)
    return sha256


def verify_head(path: Path, part: Part) -> None:
    """Removes a file that is no GGUF from which text can be generated. Raises Refused."""
    try:
        if "-of-" in part.path and "-00001-of-" not in part.path:
            gguf.read_header(path)  # a further part says nothing of the model
        else:
            gguf.check(path)
    except gguf.HeaderError as error:
        discard(path)
        raise Refused(f"{part.path} {error}") from None


def discard(*paths: Path) -> None:
    for each in paths:
        each.unlink(missing_ok=True)


def _sha256(file: BinaryIO) -> hashlib._Hash:
    digest = hashlib.sha256()
    file.seek(0)
    while data := file.read(PIECE):
        digest.update(data)
    return digest


@dataclass(slots=True)
class _Coming:
    """A file as far as it has come. Without a sha256 to hold it against, its ETag says whether it is still the same."""

    job: Job
    part: Part
    file: BinaryIO
    note: Path
    have: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take_up(self) -> None:
        """Reads again what came before, where that can be gone on with."""
        size = os.fstat(self.file.fileno()).st_size
        if not size:
            return
        if (self.part.size and size > self.part.size) or not (self.part.sha256 or self.note.exists()):
            self.file.truncate(0)
            return
        self.job.emit("checking", message=f"{size / 1e6:,.0f} MB came before: going on behind them")
        self.digest, self.have = _sha256(self.file), size
        self.job.add(size, fetched=False)

    def fill(self, address: str) -> None:
        """Fetches what is missing, with as many attempts as bring something and some more."""
        attempt, furthest = 0, self.have
        while not (self.part.size and self.have == self.part.size):
            try:
                with hub.get(address, self.job.silence, self.have) as answer:
                    if self._append(answer):
                        return
            except Beyond:
                self._start_anew()
            except Interrupted as error:
                attempt = 0 if self.have > furthest else attempt + 1
                furthest = max(furthest, self.have)
                self.job.wait(attempt, error)

    def _append(self, answer: Any) -> bool:
        """Takes in an answer. True if the file is whole then, False if it has to be asked for from its beginning."""
        begin, total = self._extent(answer)
        if begin != self.have or not self._is_the_same(answer):
            self._start_anew()
            if begin:
                return False
        end = total or self.part.size
        if not self.part.size and total:
            self.job.total = max(self.job.total, total)
            self.job.check_room(self.note.parent, total - self.have)
        for data in hub.pieces(answer, PIECE):
            if not self.have and not data.startswith(gguf.MAGIC[: len(data)]):
                raise Refused(f"{self.part.path} is not a GGUF file (it begins with {data[:4]!r}). Nothing is kept.")
            self.have += len(data)
            if end and self.have > end:
                raise Refused(f"More bytes come than the {end:,} of {self.part.path}: that is another file.")
            self.file.write(data)
            self.digest.update(data)
            self.job.add(len(data))
        if end and self.have < end:
            raise Interrupted(f"the connection ended after {self.have:,} of {end:,} bytes")
        return True

    def _extent(self, answer: Any) -> tuple[int, int]:
        """Where an answer begins in the file, and how long the whole file is (0: not said)."""
        headers = answer.headers
        if headers.get_content_type() == "text/html" or headers.get("Content-Encoding", "identity") != "identity":
            raise Refused(
                f"A web page came and not {self.part.path}: a login, or a proxy that answers in the hub's place. Open "
                "the address in a browser."
            )
        length = headers.get("Content-Length") or ""
        begin, total = 0, int(length) if length.isdigit() else 0
        if answer.status == 206:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range") or "")
            if not span:
                raise Refused("The other side sends a piece and does not say which. Try another time.")
            begin, total = int(span[1]), int(span[2]) if span[2] != "*" else 0
        if begin and not self.have:
            raise Refused("The other side sends a piece where the whole was asked for. Try another time.")
        if self.part.size and total and total != self.part.size:
            raise Refused(
                f"{self.part.path} now has {total:,} bytes, not {self.part.size:,}: it is another file. Nothing of it "
                "is taken."
            )
        return begin, total

    def _is_the_same(self, answer: Any) -> bool:
        """Whether an answer goes on with the file whose beginning is here. Where the sha256 is known it will tell."""
        etag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        same = not self.have or bool(self.part.sha256) or (self.note.exists() and self.note.read_text("utf-8") == etag)
        if not self.part.sha256 and etag:
            self.note.write_text(etag, "utf-8")
        return same

    def _start_anew(self) -> None:
        self.job.add(-self.have, fetched=False)
        self.have, self.digest = 0, hashlib.sha256()
        self.file.truncate(0)
