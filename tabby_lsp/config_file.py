"""One value of `config.toml` changed, and nothing else of it: the user's comments, order and blanks stay.

The text is edited by lines, in the few ways in which people write such a value, and each edit is held against what a
TOML parser makes of it. A file that is written in another way is left alone.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class CannotEdit(Exception):
    """Why a file is left as it is; the text says what to write into it."""


def set_text(path: Path, key: Sequence[str], value: str) -> Path | None:
    """Sets a key to a text. Returns where the old file is kept, None if there was none. Raises CannotEdit, OSError."""
    path = path.resolve()  # a link into a folder of dotfiles stays one
    try:
        before = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        before = ""
    except UnicodeDecodeError:
        raise CannotEdit(f"{path} is not UTF-8. {_advice(key, value)}") from None
    after = edited(before, key, value, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = None
    if path.exists():
        kept = path.with_name(path.name + ".bak")
        shutil.copy2(path, kept)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(after.encode("utf-8"))
    if kept:
        shutil.copymode(path, temporary)
    os.replace(temporary, path)
    return kept


def edited(text: str, key: Sequence[str], value: str, path: Path = Path("config.toml")) -> str:
    """A TOML text in which a key has a value, and all else is as it was. Raises CannotEdit."""
    try:
        wanted = copy.deepcopy(tomllib.loads(text))
        table = wanted
        for name in key[:-1]:
            table = table.setdefault(name, {})
        table[key[-1]] = value
    except tomllib.TOMLDecodeError as error:
        raise CannotEdit(f"{path} is not valid TOML ({error}): mend it first.") from None
    except (AttributeError, TypeError):
        raise CannotEdit(f"In {path} `{'.'.join(key[:-1])}` is no table: mend it first.") from None
    for attempt in _attempts(text, key, value):
        try:
            if tomllib.loads(attempt) == wanted:
                return attempt
        except tomllib.TOMLDecodeError:
            pass
    raise CannotEdit(f"{path} is written in a way that is not changed safely. {_advice(key, value)}")


def _advice(key: Sequence[str], value: str) -> str:
    return f"Write into it yourself: `{'.'.join(key)} = {_quoted(value)}`."


def _quoted(value: str) -> str:
    """A text as TOML writes it: as JSON does, but for DEL and halves of surrogates, which no path should have."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _attempts(text: str, key: Sequence[str], value: str) -> Iterator[str]:
    """The text with the value put where it may belong, the likeliest place first."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    end = "\r\n" if "\r\n" in text else "\n"
    headers = []
    table: list[str] = []
    for i, line in enumerate(lines):
        path = _path(line)
        if line.lstrip().startswith("["):
            table = path
            if table == list(key[:-1]):
                headers.append(i)
        elif path and [*table, *path] == list(key):
            yield "".join([*lines[:i], _with_value(line, value), *lines[i + 1 :]])
    new = f"{key[-1]} = {_quoted(value)}{end}"
    for i in headers:
        header = lines[i] if lines[i].endswith("\n") else lines[i] + end
        yield "".join([*lines[:i], header, new, *lines[i + 1 :]])
    gap = "" if not text else end if text.endswith("\n") else end * 2
    yield f"{text}{gap}[{'.'.join(key[:-1])}]{end}{new}"


def _path(line: str) -> list[str]:
    """The key of a line that stands for itself: `a.b = 1` and `[a.b]` have ["a", "b"]. Empty for any other line."""
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return []
    path = []
    while isinstance(value, Mapping) and len(value) == 1:
        (name,) = value
        path.append(name)
        value = value[name]
    return [] if isinstance(value, list) else path


def _with_value(line: str, value: str) -> str:
    """A line `key = old  # comment` with another value."""
    name, _, rest = line.partition("=")
    blank = rest[: len(rest) - len(rest.lstrip(" \t"))]
    bare = rest.rstrip("\r\n")
    comment = ""
    old = tomllib.loads(line)
    for place in (each.start() for each in re.finditer(r"[ \t]*#", bare)):
        try:
            if tomllib.loads(f"{name}={bare[:place]}") == old:
                comment = bare[place:]
                break
        except tomllib.TOMLDecodeError:
            continue
    return f"{name}={blank}{_quoted(value)}{comment}{rest[len(bare) :]}"
