"""Which files of a folder are worth knowing, and for every other one why not.

What is left out, in this order: names that cannot be told or sent, links, what is no file, secrets, hidden files,
what an ignore file or the settings name, other people's code, and then by size and by the first kilobytes: binary,
generated, minified and mere data. A rule of the user can bring back what is hidden or known by its folder's name,
never a secret.

Ignore rules are git's: of the patterns that match an entry itself the last one decides, a deeper file before a
shallower one, and nothing inside of an ignored folder comes back. `.ignore` and `.tabbyignore` are read like
`.gitignore` and beat it in the same folder; the settings beat all. They hold in folders that git does not know, too.

Nothing is ever written, no folder is entered by a link, and no program is run. Knows neither what is in the files nor
what becomes of them.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from tabby_lsp.languages import language_of_path

MOST_BYTES = 1_000_000  # of a file: a module of 25,000 lines; beyond that it is data or generated
HEAD_BYTES = 16 << 10  # of a file are looked at to say what it is: behind a long licence the code has begun
IGNORE_FILE_BYTES = 256 << 10
# A pattern is matched by backtracking, which takes the number of characters to the power of the number of stars, and
# for "**/" that of folders. Those in use have fewer; one that was made to hang us is not honoured.
MOST_STARS, MOST_DOUBLE_STARS = 3, 2
MOST_TIME = (1 << 63) - 1  # what a time has room for where it is stored; file systems allow others

IGNORE_FILES = (".gitignore", ".ignore", ".tabbyignore")  # a later one beats an earlier one of the same folder
VERSION_CONTROL = {".git", ".hg", ".svn", ".jj", ".bzr", "CVS"}
# Hidden, but written by people who will want to complete it: the definitions of continuous integration.
SHOWN = {".github", ".gitlab", ".circleci", ".ci", ".buildkite", ".gitlab-ci.yml", ".travis.yml"}
# Where there is no ignore file, as there is none in a folder that git does not know, these would drown the rest.
OTHERS_FOLDERS = {"node_modules", "bower_components", "__pycache__", "site-packages"}
# A folder that holds such a file says itself what it is: cargo, pytest, mypy and others leave the second one.
MARKERS = {"pyvenv.cfg": "a virtual environment", "CACHEDIR.TAG": "a cache"}
# Line ends and other control characters, and the surrogates that stand for bytes which are no UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user settled: patterns as in a `.gitignore` of the root, and how large a file may be."""

    ignore: tuple[str, ...] = ()
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells, without opening a file, that it has changed."""

    mtime_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    path: str  # from the root, with "/" on every system
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a folder with all that is in it. There are few different reasons, so that they can be counted."""

    path: str  # as in Found; escaped if it could not be printed
    reason: str


def walk(
    root: Path, rules: Rules, unchanged: Callable[[str, Stamp], bool] = lambda path, stamp: False
) -> Iterator[Found | Skipped]:
    """All files of a folder by name, those of a folder before its subfolders.

    Files that `unchanged` knows are found without being opened. What vanishes meanwhile is passed over.
    """
    settings = _settings(rules)
    waiting = [("", _above(root))]
    while waiting:
        folder, layers = waiting.pop()
        try:
            with os.scandir(root / folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not folder or not isinstance(error, FileNotFoundError):
                yield Skipped(folder or ".", "not readable")
            continue
        names = {entry.name for entry in entries}
        marker = next((why for file, why in MARKERS.items() if file in names), "") if folder else ""
        if marker:
            yield Skipped(folder, marker)
            continue
        layers = _entered(root / folder, names, folder, "", layers)
        below = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
                reason = _why_by_kind(entry) or _why_by_name(path, is_folder, (settings, *layers))
                if is_folder and not reason:
                    below.append((path, layers))
                elif reason:
                    yield Skipped(_printable(path), reason)
                else:
                    yield _judged(path, entry, entry.stat(follow_symlinks=False), rules, unchanged)
            except FileNotFoundError:
                continue
            except OSError:
                yield Skipped(_printable(path), "not readable")
        waiting += reversed(below)


def why_skipped(root: Path, path: str, rules: Rules) -> str:
    """Why one file, given by its path from the root with "/", would not be found by `walk`; "" if it would be."""
    parts = path.split("/")
    if os.path.isabs(path) or any(part in ("", ".", "..") for part in parts):
        return "outside of the folder"
    settings, layers = _settings(rules), _above(root)
    special = {*MARKERS, *IGNORE_FILES, ".git"}
    try:
        for depth in range(len(parts)):
            folder = "/".join(parts[:depth])
            names = {name for name in special if os.path.lexists(root / folder / name)}
            marker = next((why for file, why in MARKERS.items() if file in names), "") if folder else ""
            if marker:
                return marker
            layers = _entered(root / folder, names, folder, "", layers)
            here = "/".join(parts[: depth + 1])
            entry = _Entry(root / here)
            is_folder = entry.is_dir(follow_symlinks=False)
            reason = _why_by_kind(entry) or _why_by_name(here, is_folder, (settings, *layers))
            if reason or is_folder != (depth + 1 < len(parts)):
                return reason or ("a folder" if is_folder else "not there")
        judged = _judged(path, entry, entry.stat(follow_symlinks=False), rules, lambda path, stamp: False)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a path with a NUL in it
        return "not there"
    except OSError:
        return "not readable"
    return judged.reason if isinstance(judged, Skipped) else ""


def read(path: Path, most_bytes: int = MOST_BYTES) -> str | None:
    """A file's text for indexing; None if it has vanished, or is by now no file, too large or not readable.

    It is UTF-8: a mark at the beginning is dropped, and bytes that are not become U+FFFD.
    """
    try:
        content = _bytes(path, most_bytes + 1)
    except OSError:
        return None
    return content.decode("utf-8-sig", "replace") if len(content) <= most_bytes else None


class _Entry:
    """The part of os.DirEntry that is used here, for one path."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.name
        self._status = os.lstat(path)

    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self._status.st_mode)

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return stat.S_ISDIR(self._status.st_mode)

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return stat.S_ISREG(self._status.st_mode)

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return self._status


def _why_by_kind(entry: os.DirEntry[str] | _Entry) -> str:
    name = entry.name
    if _UNPRINTABLE.search(name):
        return "a name that cannot be printed"
    if entry.is_symlink() or _is_junction(entry):
        return "a link"  # a file inside is found anyway, and what is outside is no part of this folder
    if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
        return "not a file"  # a socket, a pipe or a device: opening one may wait forever, or do something
    return ""


def _is_junction(entry: os.DirEntry[str] | _Entry) -> bool:
    if sys.platform != "win32":
        return False
    return entry.stat(follow_symlinks=False).st_reparse_tag == stat.IO_REPARSE_TAG_MOUNT_POINT


def _why_by_name(path: str, is_folder: bool, layers: tuple[_Layer, ...]) -> str:
    name = path.rpartition("/")[2]
    if name in VERSION_CONTROL:
        return "version control"
    if not is_folder and is_secret(name):
        return "a secret"
    ignored, source = _verdict(path, name, is_folder, layers)
    if ignored:
        return f"ignored by {source}"
    if ignored is None and name.startswith(".") and name not in SHOWN:
        return "hidden"
    if is_folder:
        return "other people's code" if ignored is None and name in OTHERS_FOLDERS else ""
    return _why_by_extension(name)


def _judged(
    path: str,
    entry: os.DirEntry[str] | _Entry,
    status: os.stat_result,
    rules: Rules,
    unchanged: Callable[[str, Stamp], bool],
) -> Found | Skipped:
    """What only the file itself can tell. Raises OSError."""
    stamp = Stamp(status.st_mtime_ns & MOST_TIME, status.st_size)
    if status.st_size > rules.most_bytes:
        return Skipped(path, "too large")
    if status.st_size and not unchanged(path, stamp):
        reason = _why_by_head(_bytes(entry.path, HEAD_BYTES), entry.name)
        if reason:
            return Skipped(path, reason)
    return Found(path, stamp)


def _printable(path: str) -> str:
    return ascii(path)[1:-1] if _UNPRINTABLE.search(path) else path


# What a name tells


_SECRET = re.compile(
    r"\.env.*|.*\.env|\.(netrc|npmrc|pypirc|pgpass|htpasswd|my\.cnf|dockercfg|git-credentials|s3cfg|boto|vault-token)"
    r"|_netrc|.*\.(pem|key|p12|pfx|p8|jks|keystore|kdbx?|ppk|gpg|pgp|ovpn|agekey)"
    r"|.*\.tfvars(\.json)?|.*\.tfstate(\.backup)?|kubeconfig|service[-_]?account.*\.json|\..*_history",
    re.IGNORECASE,
)
_SECRET_UNLESS_CODE = re.compile(r"(\.?credentials?|\.?secrets?|id_(rsa|dsa|ecdsa|ed25519))([._-].*)?", re.IGNORECASE)
_DATA_LANGUAGES = {"plaintext", "json", "yaml", "toml", "xml"}


def is_secret(name: str) -> bool:
    """Whether a file of this name may hold passwords or keys, and so must not be shown to anybody, models included.

    Cautious: an `.env.example` is taken for one. But a `credentials.py` is a program about credentials.
    """
    if _SECRET.fullmatch(name):
        return True
    return _SECRET_UNLESS_CODE.fullmatch(name) is not None and language_of_path(name) in _DATA_LANGUAGES


_BINARY = frozenset(
    "7z a avi avif bin bmp bz2 class db dat dll dylib eot exe flac gguf gif gz ico icns jar jpeg jpg lib lz4 mov mp3"
    " mp4 npy npz o obj odt ogg onnx otf parquet pdf pickle pkl png pt pth pyc pyd pyo rar safetensors so sqlite"
    " sqlite3 tar tgz tif tiff ttf war wasm wav webm webp whl woff woff2 xls xlsx doc docx ppt pptx xz zip zst".split()
)
# Text, but nothing that one completes. A notebook's cells stand in it as quoted strings among pictures.
_DATA = frozenset("csv tsv log svg ipynb jsonl ndjson geojson po pot srt patch diff".split())
_LOCK_FILES = {"package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "go.sum", "packages.lock.json"}
_PROSE = frozenset("md markdown rst txt tex adoc org".split())


def _why_by_extension(name: str) -> str:
    lower = name.lower()
    _, dot, extension = lower.rpartition(".")
    if dot and extension in _BINARY:
        return "binary"
    if dot and extension in _DATA:
        return "data"
    if (dot and extension == "lock") or lower in _LOCK_FILES:
        return "generated"
    if lower.endswith((".min.js", ".min.css", ".map")):
        return "minified"
    return ""


# What the first kilobytes tell

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File")
_GENERATED = re.compile(rb"@generated|DO NOT EDIT|Code generated by|[Aa]uto(?:matically |-)?generated (?:by|from)")
GENERATED_LINES = 20  # a generator says so before a program begins
# Tabby takes a line of 300 characters for minified code, and so loses every file with one long string in it.
LONGEST_LINE, LONGEST_AVERAGE = 5_000, 300  # bytes


def _why_by_head(head: bytes, name: str) -> str:
    if b"\0" in head:  # UTF-16 as well: git takes that for binary, too
        return "binary"
    if _PRIVATE_KEY.search(head):
        return "a secret"
    lines = head.split(b"\n")
    if _GENERATED.search(b"\n".join(lines[:GENERATED_LINES])):
        return "generated"
    if max(map(len, lines)) > LONGEST_LINE:
        return "minified"
    # One paragraph a line is how many write prose, and a file of three lines has no average.
    enough = len(head) > 4 * LONGEST_AVERAGE
    if enough and len(head) > LONGEST_AVERAGE * len(lines) and name.lower().rpartition(".")[2] not in _PROSE:
        return "minified"
    if enough and 2 * (len(head) - len(head.translate(None, b"0123456789"))) > len(head):
        return "data"
    return ""


def _bytes(path: Path | str, most: int, follow: bool = False) -> bytes:
    """The beginning of a regular file. Raises OSError.

    What was a file when its folder was read may be a link or a pipe by now, so the system is asked to follow the
    first not and to wait for the second not.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a file")
        parts = []
        while most > 0 and (part := os.read(descriptor, most)):
            parts.append(part)
            most -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


# Ignore rules


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
class _Layer:
    """Patterns and the folder they are about: it holds `above`, in which what lies behind `cut` characters is."""

    source: str
    patterns: _Patterns
    above: str = ""
    cut: int = 0


def _verdict(path: str, name: str, is_folder: bool, layers: tuple[_Layer, ...]) -> tuple[bool | None, str]:
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


def _settings(rules: Rules) -> _Layer:
    return _Layer("the settings", _patterns("\n".join(rules.ignore)))


def _above(root: Path) -> tuple[_Layer, ...]:
    """The rules that hold in a root before its own: git's for all of the user's repositories, and those of the folders
    up to the top of the repository that the root is in, if it is in one.
    """
    root = Path(os.path.realpath(root))
    around = (root, *root.parents)
    top = next((i for i, folder in enumerate(around) if os.path.lexists(folder / ".git")), 0)
    layers: tuple[_Layer, ...] = ()
    excludes = _excludes_file()
    if excludes is not None:
        text = _small_text(excludes, follow=True)
        layers = (_Layer("git's excludes", _patterns(text), _from(around[top], root)),)
    for folder in reversed(around[1 : top + 1]):
        layers = _entered(folder, {*IGNORE_FILES, ".git"}, "", _from(folder, root), layers)
    return layers


def _from(folder: Path, root: Path) -> str:
    way = root.relative_to(folder).as_posix()
    return "" if way == "." else way + "/"


def _entered(place: Path, names: set[str], folder: str, above: str, layers: tuple[_Layer, ...]) -> tuple[_Layer, ...]:
    """The rules inside of a folder that has entries of these names, the strongest first."""
    cut = len(folder) + 1 if folder else 0
    files = [(name, place / name) for name in reversed(IGNORE_FILES) if name in names]
    if ".git" in names:
        files.append(("git's excludes", _git_folder(place / ".git") / "info" / "exclude"))
    read = [(source, _patterns(_small_text(file))) for source, file in files]
    return (*(_Layer(source, patterns, above, cut) for source, patterns in read if patterns.each), *layers)


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
        return _bytes(path, IGNORE_FILE_BYTES, follow).decode("utf-8-sig", "replace")
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
