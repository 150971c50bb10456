"""Git's ignore rules, for its own files and for others of that form: which patterns hold where, and what they say.

`.ignore` and `.tabbyignore` are read like `.gitignore`, and beat it in the same folder. No program is run.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from tabby_lsp.index.contents import first_bytes
from tabby_lsp.index.globs import Glob, glob
from tabby_lsp.processes import machine

IGNORE_FILE_BYTES = 256 << 10
IGNORE_FILES = (".gitignore", ".ignore", ".tabbyignore")  # a later one beats an earlier one of the same folder

# Of these a regular expression is as good as `globs`, and quicker: one star leaves it nothing to try again.
_PLAIN = re.compile(r"(?![!#])(?!.*//)[^*?\[\\]*\*?[^*?\[\\]*")


class UnreadableRules(Exception):
    """A file of rules is there and cannot be read. So nobody knows what it would leave out; it says which and why."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    test: re.Pattern[str] | Glob
    ignores: bool  # otherwise it brings back
    folders_only: bool
    by_name: bool  # matched with the entry's name, otherwise with its path

    def matches(self, text: str) -> bool:
        if isinstance(self.test, Glob):
            return self.test.matches(_bytes(text))
        match = self.test.search(text)
        # A match that ends at a "/" is one of a folder around the entry, which was asked about before.
        return match is not None and match.groupdict().get("ps_d") is None


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Those of one file, the last one first. `names` and `paths` match whatever any plain one does, at one go: most
    entries match none, and asking each pattern would take most of the time of a walk.
    """

    each: tuple[_Pattern, ...]
    globs: tuple[_Pattern, ...]  # those that are not plain
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
        below = layer.above + path[layer.cut :]
        plain = (patterns.names is not None and patterns.names.search(name)) or (
            patterns.paths is not None and patterns.paths.search(below)
        )
        for pattern in patterns.each if plain else patterns.globs:
            if (is_folder or not pattern.folders_only) and pattern.matches(name if pattern.by_name else below):
                return pattern.ignores, layer.source
    return None, ""


def settings_layer(patterns: tuple[str, ...]) -> Layer:
    return Layer("the settings", _patterns(_bytes("\n".join(patterns))))


def layers_above(root: Path) -> tuple[Layer, ...]:
    """The rules that hold in a root before its own: git's for all of the user's repositories, and those of the folders
    up to the top of the repository that the root is in, if it is in one. Raises UnreadableRules.
    """
    root = Path(os.path.realpath(root))
    around = (root, *root.parents)
    top = next((i for i, folder in enumerate(around) if os.path.lexists(folder / ".git")), 0)
    layers: tuple[Layer, ...] = ()
    excludes = _excludes_file()
    if excludes is not None:
        rules = _rules(excludes, "git's excludes", follow=True)
        layers = (Layer("git's excludes", _patterns(rules), _from(around[top], root)),)
    for folder in reversed(around[1 : top + 1]):
        layers = entered(folder, {*IGNORE_FILES, ".git"}, "", _from(folder, root), layers)
    return layers


def _from(folder: Path, root: Path) -> str:
    way = root.relative_to(folder).as_posix()
    return "" if way == "." else way + "/"


def entered(place: Path, names: set[str], folder: str, above: str, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The rules inside of a folder that has entries of these names, the strongest first. Raises UnreadableRules."""
    cut = len(folder) + 1 if folder else 0
    files = [(name, place / name) for name in reversed(IGNORE_FILES) if name in names]
    if ".git" in names:
        files.append(("git's excludes", _git_folder(place / ".git") / "info" / "exclude"))
    read = [(source, _patterns(_rules(file, source))) for source, file in files]
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
    home = machine.home()
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
    value = os.path.expanduser(value)
    return Path(value) if value and not value.startswith("~") else None


def _small_text(path: Path, follow: bool = False) -> str:
    """The text of a file of settings, "" if there is none that can be read."""
    try:
        return first_bytes(path, IGNORE_FILE_BYTES, follow).decode("utf-8-sig", "replace")
    except (OSError, ValueError):
        return ""


def _rules(path: Path, source: str, follow: bool = False) -> bytes:
    """What stands in a file of rules; nothing if it is not there, or is no file. Raises UnreadableRules."""
    try:
        content = first_bytes(path, IGNORE_FILE_BYTES + 1, follow)
    except (OSError, ValueError) as error:
        if os.path.isfile(path) and (follow or not os.path.islink(path)):  # git follows no link either
            raise UnreadableRules(f"{source} cannot be read") from error
        return b""
    if len(content) > IGNORE_FILE_BYTES:
        raise UnreadableRules(f"{source} is larger than {IGNORE_FILE_BYTES >> 10} kB")
    if b"\0" in content:  # UTF-16, most of the time
        raise UnreadableRules(f"{source} is no text in UTF-8")
    return content


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@lru_cache(maxsize=128)  # a walk comes past the same file in many folders, and a file that changed is asked about alone
def _patterns(content: bytes) -> _Patterns:
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    each = tuple(pattern for line in reversed(lines) if (pattern := _pattern(line.removesuffix(b"\r"))) is not None)
    names = [pattern.test.pattern for pattern in each if pattern.by_name and isinstance(pattern.test, re.Pattern)]
    paths = [pattern.test.pattern for pattern in each if not pattern.by_name and isinstance(pattern.test, re.Pattern)]
    return _Patterns(each, tuple(one for one in each if isinstance(one.test, Glob)), _any_of(names), _any_of(paths))


def _any_of(patterns: list[str]) -> re.Pattern[str] | None:
    return _regex("|".join(patterns).replace("(?P<ps_d>", "(?:")) if patterns else None


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.IGNORECASE if machine.FOLDS_CASE else re.ASCII)


def _pattern(line: bytes) -> _Pattern | None:
    """A line of an ignore file; None if it is empty, a comment or wrong, which git passes over as well."""
    if line.startswith(b"#"):
        return None
    body = _without_blanks(line)
    ignores = not body.startswith(b"!")
    body = body if ignores else body[1:]
    folders_only = body.endswith(b"/")
    body = body[:-1] if folders_only else body
    by_name = b"/" not in body
    test: re.Pattern[str] | Glob | None
    if _PLAIN.fullmatch(body.decode("latin-1")) and body.isascii() and not re.search(rb"[\0- \x7f]", body):
        # pathspec answers for whole paths, as git does after walking down: for `*` and `!*/` it leaves out every
        # folder. So it is asked to translate one pattern at a time, without the "/" at the end that asks for a folder.
        translated = GitIgnoreSpec.from_lines([body.decode("ascii")]).patterns if body.strip(b"/") else []
        test = _regex(translated[0].regex.pattern) if translated and translated[0].regex is not None else None
    else:
        test = glob(body.removeprefix(b"/"), by_name, machine.FOLDS_CASE) if body.strip(b"/") else None
    return None if test is None else _Pattern(test, ignores, folders_only, by_name)


def _without_blanks(line: bytes) -> bytes:
    """Without the blanks at the end, unless there is an odd number of backslashes before the first of them."""
    text = line.rstrip(b" ")
    if (len(text) - len(text.rstrip(b"\\"))) % 2:
        text += line[len(text) : len(text) + 1]
    return text
