"""Git's ignore rules, for its own files and for others of that form: which patterns hold where, and what they say.

`.ignore` and `.tabbyignore` are read like `.gitignore`, and beat it in the same folder. No program is run.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from tabby_lsp.index.contents import first_bytes

IGNORE_FILE_BYTES = 256 << 10
# A pattern is matched by backtracking, which takes the number of characters to the power of the number of stars, and
# for "**/" that of folders. Those in use have fewer; one that was made to hang us is not honoured.
MOST_STARS, MOST_DOUBLE_STARS = 3, 2
IGNORE_FILES = (".gitignore", ".ignore", ".tabbyignore")  # a later one beats an earlier one of the same folder


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    ignores: bool  # otherwise it brings back
    folders_only: bool
    by_name: bool  # matched with the entry's name, otherwise with its path


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Those of one file, the last one first. `names` and `paths` match whatever any of them does, at one go: most
    entries match none, and asking each pattern would take most of the time of a walk.
    """

    each: tuple[_Pattern, ...]
    names: re.Pattern[str] | None
    paths: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Layer:
    """Patterns and the folder they are about: it holds `above`, in which what lies behind `cut` characters is."""

    source: str
    patterns: _Patterns
    above: str = ""
    cut: int = 0


def verdict(path: str, name: str, is_folder: bool, layers: tuple[Layer, ...]) -> tuple[bool | None, str]:
    """Whether an entry is ignored, and by what; False if it is expressly not, None if nothing is said about it."""
    for layer in layers:  # the strongest first
        patterns = layer.patterns
        below = layer.above + path[layer.cut :] if patterns.paths else ""
        named = patterns.names is not None and patterns.names.search(name)
        if not named and not (patterns.paths is not None and patterns.paths.search(below)):
            continue
        for pattern in patterns.each:
            if is_folder or not pattern.folders_only:
                match = pattern.regex.search(name if pattern.by_name else below)
                # A match that ends at a "/" is one of a folder around the entry, which was asked about before.
                if match is not None and match.groupdict().get("ps_d") is None:
                    return pattern.ignores, layer.source
    return None, ""


def settings_layer(patterns: tuple[str, ...]) -> Layer:
    return Layer("the settings", _patterns("\n".join(patterns)))


def layers_above(root: Path) -> tuple[Layer, ...]:
    """The rules that hold in a root before its own: git's for all of the user's repositories, and those of the folders
    up to the top of the repository that the root is in, if it is in one.
    """
    root = Path(os.path.realpath(root))
    around = (root, *root.parents)
    top = next((i for i, folder in enumerate(around) if os.path.lexists(folder / ".git")), 0)
    layers: tuple[Layer, ...] = ()
    excludes = _excludes_file()
    if excludes is not None:
        text = _small_text(excludes, follow=True)
        layers = (Layer("git's excludes", _patterns(text), _from(around[top], root)),)
    for folder in reversed(around[1 : top + 1]):
        layers = entered(folder, {*IGNORE_FILES, ".git"}, "", _from(folder, root), layers)
    return layers


def _from(folder: Path, root: Path) -> str:
    way = root.relative_to(folder).as_posix()
    return "" if way == "." else way + "/"


def entered(place: Path, names: set[str], folder: str, above: str, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The rules inside of a folder that has entries of these names, the strongest first."""
    cut = len(folder) + 1 if folder else 0
    files = [(name, place / name) for name in reversed(IGNORE_FILES) if name in names]
    if ".git" in names:
        files.append(("git's excludes", _git_folder(place / ".git") / "info" / "exclude"))
    read = [(source, _patterns(_small_text(file))) for source, file in files]
    return (*(Layer(source, patterns, above, cut) for source, patterns in read if patterns.each), *layers)


def _git_folder(path: Path) -> Path:
    """Where a repository keeps what all of its work trees share: elsewhere, if `.git` is a file that says so."""
    said = _small_text(path)
    if not said.startswith("gitdir:"):
        return path
    folder = path.parent / said.removeprefix("gitdir:").strip()
    return folder / (_small_text(folder / "commondir").strip() or ".")


def _excludes_file() -> Path | None:
    """The user's own ignore file, by git's configuration. What that includes from elsewhere is not read."""
    home = Path(os.path.expanduser("~"))
    configured = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    value: str | None = None
    for file in (configured / "config", home / ".gitconfig"):
        section = ""
        for line in _small_text(file, follow=True).splitlines():
            header = re.match(r'\s*\[\s*([\w.-]+)\s*("[^\]]*)?\]', line)
            if header:
                section, line = (header[1] + (header[2] or "")).lower(), line[header.end() :]
            key, equals, said = line.partition("=")
            if equals and section == "core" and key.strip().lower() == "excludesfile":
                quoted = re.match(r'\s*"((?:[^"\\]|\\.)*)"', said)
                value = quoted[1] if quoted else re.split("[#;]", said)[0].strip()
                value = re.sub(r"\\(.)", r"\1", value)
    if value is None:
        return configured / "ignore"
    return Path(os.path.expanduser(value)) if value else None


def _small_text(path: Path, follow: bool = False) -> str:
    """The text of a file of settings, "" if there is none that can be read."""
    try:
        return first_bytes(path, IGNORE_FILE_BYTES, follow).decode("utf-8-sig", "replace")
    except (OSError, ValueError):
        return ""


@lru_cache(maxsize=128)  # a walk comes past the same file in many folders, and a file that changed is asked about alone
def _patterns(text: str) -> _Patterns:
    each = tuple(pattern for line in reversed(text.split("\n")) if (pattern := _pattern(line)) is not None)
    names = [pattern.regex.pattern for pattern in each if pattern.by_name]
    paths = [pattern.regex.pattern for pattern in each if not pattern.by_name]
    return _Patterns(each, _any_of(names), _any_of(paths))


def _any_of(patterns: list[str]) -> re.Pattern[str] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile("|".join(patterns).replace("(?P<ps_d>", "(?:")) if patterns else None


def _pattern(line: str) -> _Pattern | None:
    """A line of an ignore file; None if it is empty, a comment or wrong, which git passes over as well.

    pathspec answers for whole paths, as git does after walking down: for `*` and `!*/` it leaves out every folder. So
    it is asked to translate one pattern at a time, without the "/" at the end that asks for a folder.
    """
    body = line if line.endswith("\\ ") else line.rstrip()
    folders_only = body.endswith("/")
    body = body.rstrip("/") if folders_only else body
    parts = body.removesuffix("/**").split("/")
    stars = sum(len(re.findall(r"\*+", part)) for part in parts if part != "**")
    if stars > MOST_STARS or parts.count("**") > MOST_DOUBLE_STARS:
        return None
    try:
        with warnings.catch_warnings():  # a "[" inside of brackets means the same to Python for now
            warnings.simplefilter("ignore", FutureWarning)
            translated = GitIgnoreSpec.from_lines([body]).patterns
    except (ValueError, re.error):
        return None
    if not translated or translated[0].include is None or translated[0].regex is None:
        return None
    return _Pattern(translated[0].regex, translated[0].include, folders_only, "/" not in body)
