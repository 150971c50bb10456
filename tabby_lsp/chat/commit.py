"""Commit messages and branch names: what a model is told of a diff, and what is kept of its answer. Pure functions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LONGEST_SUBJECT = 72  # characters, as git's own documentation advises for what tools show in one line
LONGEST_BRANCH = 50
LEAST_SHARE = 60  # tokens of a file: a hunk of a line or two
MOST_NAMED = 200  # files of a diff: more say nothing to a model

_FILE = re.compile(r"^diff --(?:git|cc|combined) ", re.MULTILINE)
_HUNK = re.compile(r"^@@", re.MULTILINE)
_QUOTED = re.compile(r"""^(["'`])(.*)\1$""", re.DOTALL)
_PREAMBLE = re.compile(
    r"^(?:(?:here|sure|certainly|okay)\b[^\n]*:|(?:the )?commit message:|(?:subject|title):)[ \t]*\n*", re.I
)
_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A file's part of a diff: its path, what git says of it as a whole, and its hunks."""

    path: str
    head: str
    hunks: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line: what happened to the file."""
        added = sum(line.startswith("+") for hunk in self.hunks for line in hunk.split("\n"))
        removed = sum(line.startswith("-") for hunk in self.hunks for line in hunk.split("\n"))
        if found := re.search(r"^rename from (.+)\nrename to (.+)$", self.head, re.MULTILINE):
            how = f"renamed from {found[1]}"
        elif "\nnew file mode" in self.head:
            how = "new"
        elif "\ndeleted file mode" in self.head:
            how = "deleted"
        else:
            how = "changed"
        binary = ", binary" if re.search(r"^(?:Binary files|GIT binary patch)", self.head, re.MULTILINE) else ""
        return f"{self.path} ({how}{binary}, +{added} -{removed})"


def files_of(diff: str) -> list[FileDiff]:
    """The files of a diff as git writes it."""
    return [_file(part) for part in _parts(diff, _FILE)]


def _parts(text: str, beginning: re.Pattern[str]) -> list[str]:
    starts = [match.start() for match in beginning.finditer(text)]
    return [text[begin:end] for begin, end in itertools.pairwise([*starts, len(text)])]


def _file(part: str) -> FileDiff:
    hunks = _parts(part, _HUNK)
    head = part[: len(part) - sum(map(len, hunks))]
    return FileDiff(_path(head), head.rstrip("\n"), tuple(hunks))


def _path(head: str) -> str:
    """A file's new name, or its last one where it is gone."""
    for marker in ("+++ ", "rename to ", "--- "):
        for line in head.split("\n"):
            name = line[len(marker) :].strip().strip('"')
            if line.startswith(marker) and name != "/dev/null":
                return name[2:] if name.startswith(("a/", "b/")) else name
    first = head.partition("\n")[0].removeprefix("diff --git ").strip('"')  # "a/NAME b/NAME" of a file without hunks
    return first[len(first) // 2 + 1 :].strip('"').removeprefix("b/")


def told(
    diff: str, budget: int, count: Callable[[str], int], is_secret: Callable[[str], bool]
) -> tuple[str, tuple[str, ...]]:
    """A diff as a model is told of it, in at most about `budget` tokens, and the files whose text it is not given.

    All files are named. Of their hunks each file has the same share, and what a small one leaves of it the others
    have. What may hold secrets is named and never given.
    """
    files = files_of(diff)
    withheld = tuple(each.path for each in files if is_secret(each.path))
    names = [each.summary for each in files[:MOST_NAMED]]
    if len(files) > MOST_NAMED:
        names.append(f"and {len(files) - MOST_NAMED} files more")
    left = budget - count("\n".join(names))
    shown: dict[str, str] = {}
    waiting = sorted(
        (each for each in files if each.hunks and each.path not in withheld), key=lambda each: sum(map(len, each.hunks))
    )
    for number, each in enumerate(waiting):
        text = _fitted(each, min(left, max(LEAST_SHARE, left // (len(waiting) - number))), count)
        if text:
            shown[each.path] = text
            left -= count(text)
    told = [shown[each.path] for each in files if each.path in shown]
    others = [
        name for each, name in itertools.zip_longest(files, names) if name and (not each or each.path not in shown)
    ]
    if others:
        told.append("\n".join(["=== not shown:", *others]))
    return "\n".join(told).rstrip("\n"), withheld


def _fitted(file: FileDiff, share: int, count: Callable[[str], int]) -> str:
    """As many of a file's hunks as fit, from the first on; of one that is too long, its beginning."""
    head = f"=== {file.summary}\n"
    share -= count(head)
    kept: list[str] = []
    for hunk in file.hunks:
        if (cost := count(hunk)) <= share:
            kept.append(hunk)
            share -= cost
            continue
        lines = hunk.split("\n")
        fitting = lines[: max(0, int(len(lines) * share / max(1, cost)) - 1)]
        if len(fitting) > 2:
            kept.append("\n".join([*fitting, "[cut]", ""]))
        break
    return head + "".join(kept) if kept else ""


def have_bodies(messages: Sequence[str]) -> bool:
    """Whether at least half of some commit messages say more than a first line."""
    return bool(messages) and 2 * sum("\n" in each for each in messages) >= len(messages)


def instruction(messages: Sequence[str]) -> str:
    """What a model is asked for with a diff, in the style of the repository's last messages."""
    asked = "Write the commit message for this diff. "
    if have_bodies(messages):
        asked += "First one line of at most 72 characters, then a blank line, then a short text that says why. "
    else:
        asked += "Only one line of at most 72 characters. "
    if messages:
        listed = "\n".join(each.partition("\n")[0] for each in messages)
        asked += f"Write it in the language and style of this repository's last ones:\n{listed}\n"
    else:
        asked += "Say what the change does, in the imperative. "
    return asked + "Answer with the message alone."


def message_of(answer: str, bodies: bool) -> str:
    """The commit message of an answer, without fences, quotes and what a model says around it. May be empty."""
    text = answer.strip()
    fenced = _FENCED.search(text)
    if fenced:
        text = fenced[2].strip()
    text = _PREAMBLE.sub("", text).strip()
    if quoted := _QUOTED.match(text.partition("\n")[0]):
        text = quoted[2] + text[len(quoted[0]) :]
    lines = [line.rstrip() for line in text.split("\n")]
    subject = re.sub(r"^(?:#+|[*-])[ \t]+", "", lines[0]).strip().strip("*`").rstrip(".").strip()
    if len(subject) > LONGEST_SUBJECT:
        subject = subject[:LONGEST_SUBJECT].rpartition(" ")[0] or subject[:LONGEST_SUBJECT]
    body = "\n".join(lines[1:]).strip("\n") if bodies else ""
    return f"{subject}\n\n{body}" if body else subject


def branch_of(message: str) -> str:
    """A branch name that says what a commit message does, as git allows one (git-check-ref-format)."""
    subject = message.partition("\n")[0].lower()
    words = re.findall(r"[^\W_]+", re.sub(r"['’]", "", subject))
    name = ""
    for word in words:
        if len(name) + len(word) + 1 > LONGEST_BRANCH:
            break
        name += f"-{word}" if name else word
    return name or "change"
