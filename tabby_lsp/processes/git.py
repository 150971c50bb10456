"""Git, asked as a program, and only for what it reads.

What a repository's configuration could have git start is left out: hooks, pagers, external diffs, text converters,
file-system monitors, filters, signatures. A repository that came as an archive brings such a configuration along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.processes.start import NEUTRAL_FOLDER

SECONDS = 20.0  # after which git is ended
MOST_BYTES = 4 << 20  # of one answer: of a larger one no model reads more
CONTEXT_LINES = 3

_NOTHING = os.devnull
_SETTINGS = {
    "core.fsmonitor": "false",
    "core.hooksPath": _NOTHING,
    "core.pager": "",
    "core.quotePath": "false",
    "color.ui": "false",
    "diff.external": "",
    "log.showSignature": "false",
    "protocol.allow": "never",
    "submodule.recurse": "false",
}
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",  # nothing is written, the index is not refreshed
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "",
    "GIT_ASKPASS": "",
    "LC_ALL": "C",
}
_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", "--ignore-submodules=all", "--src-prefix=a/")


class GitError(Exception):
    """Git cannot answer; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a commit would hold: a diff, as git writes it, and whether it is of what is staged."""

    diff: str
    staged: bool
    cut: bool = False  # it is longer than `MOST_BYTES`


def changes(folder: Path) -> Changes:
    """What is staged, or where nothing is, what has changed in tracked files. Raises GitError."""
    _run(folder, "rev-parse", "--git-dir")  # outside of a repository `git diff` means something else
    options = (*_DIFF, "--dst-prefix=b/", f"-U{CONTEXT_LINES}")
    for staged in (True, False):
        # What is staged has been through the filters already; files of the folder would go through them here.
        first = ("diff", "--cached") if staged else (*_filters_off(folder), "diff")
        diff, cut = _run(folder, *first, *options)
        if diff.strip():
            return Changes(diff, staged, cut)
    untracked, _ = _run(folder, "ls-files", "--others", "--exclude-standard", "--directory", "-z")
    if untracked:
        raise GitError("Nothing is staged, and only files that are new to git have changed: stage them with git add.")
    raise GitError("Nothing has changed since the last commit.")


def messages(folder: Path, count: int = 20) -> list[str]:
    """Those of the last commits but for merges, the newest first; none where there is no commit yet."""
    try:
        said, _ = _run(folder, "log", "--no-merges", "--no-show-signature", f"-{count}", "--format=%B%x00")
    except GitError:
        return []
    return [each.strip() for each in said.split("\0") if each.strip()]


def merge_message(folder: Path) -> str:
    """What git itself would say of the merge that is being made; "" where there is none."""
    try:
        merging, prepared = (
            folder / _run(folder, "rev-parse", "--git-path", name)[0].strip() for name in ("MERGE_HEAD", "MERGE_MSG")
        )
        text = prepared.read_text(encoding="utf-8", errors="replace") if merging.exists() else ""
    except (GitError, OSError):
        return ""
    return "\n".join(line for line in text.split("\n") if not line.startswith("#")).strip()


def _filters_off(folder: Path) -> list[str]:
    """Options by which no filter of the configuration is run. To list its names runs nothing."""
    try:
        names, _ = _run(folder, "config", "--name-only", "--list", "-z")
    except GitError:
        return []
    filters = {name.rpartition(".")[0] for name in names.split("\0") if name.lower().startswith("filter.")}
    off = {"clean": "", "smudge": "", "process": "", "required": "false"}
    return [part for each in sorted(filters) for key, value in off.items() for part in ("-c", f"{each}.{key}={value}")]


def _run(folder: Path, *arguments: str) -> tuple[str, bool]:
    """What git writes, and whether it was cut at `MOST_BYTES`. Raises GitError."""
    git = shutil.which("git")
    if git is None:
        raise GitError("git is not installed, or not on PATH.")
    settings = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
    # What the surroundings say of a repository, as within a hook, stays; what they would have run does not.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_EXTERNAL", "GIT_CONFIG"))}
    with tempfile.TemporaryFile() as errors:  # no pipe: git stands still when one is full
        try:
            process = subprocess.Popen(
                [git, "--no-pager", "-C", str(folder), *settings, *arguments],
                cwd=NEUTRAL_FOLDER,
                env={**inherited, **_ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        except OSError as error:
            raise GitError(f"git cannot be run: {error}") from None
        late = threading.Timer(SECONDS, process.kill)
        late.start()
        with process:
            assert process.stdout is not None
            data = process.stdout.read(MOST_BYTES + 1)
            cut = len(data) > MOST_BYTES
            if cut:
                process.kill()
            status = process.wait()
        in_time = late.is_alive()
        late.cancel()
        errors.seek(0)
        said = errors.read(64 << 10).decode("utf-8", "replace").strip()
    if not in_time:
        raise GitError(f"git did not answer within {SECONDS:.0f} s.")
    if status != 0 and not cut:
        raise GitError(_reason(said, folder))
    return data[:MOST_BYTES].decode("utf-8", "replace"), cut


def _reason(said: str, folder: Path) -> str:
    if "not a git repository" in said.lower():
        return f"{folder} is in no git repository."
    if "dubious ownership" in said:
        return f"{folder} belongs to another user, so git does not read it: see git's setting safe.directory."
    return f"git: {said.splitlines()[-1] if said else 'it failed without a word'}"
