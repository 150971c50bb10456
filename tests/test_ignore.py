"""Ignore rules against git itself, over random trees and rules, and what a hostile file of rules may cost.

`TABBY_LSP_FUZZ=2000` for more than a bounded run; `TABBY_LSP_GITIGNORES=folder` for templates (files that end with
`.gitignore`, as in github/gitignore) to be tried over trees that are made of their patterns.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabby_lsp.index import globs, ignore
from tabby_lsp.index.walk import Found, Rules, Skipped, walk, why_skipped
from tabby_lsp.processes import machine

ROUNDS = int(os.environ.get("TABBY_LSP_FUZZ", "60"))
TEMPLATES = sorted(Path(os.environ.get("TABBY_LSP_GITIGNORES", os.devnull)).rglob("*.gitignore"))
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git itself is the judge")
posix = pytest.mark.skipif(sys.platform == "win32", reason="a file system that has such names")

LETTERS = ["a", "b", "c", "A", "é", "-", "_", "]", "0"]
ODD_LETTERS = [*LETTERS, " ", "*", "?", "[", "\\", "!", "#", "^", "\u3042"]
PIECES = (
    "a b c A é 0 - _ ] * * * ** ** ** *** ? ? / / / /** **/ /**/ a**/b [ab] [!a] [^a] [a-c] [A-Z] [c-a] [!!a] [^-a]"
    " []a] [!]a] [a-] [-a] [--0] [a [ [] [!] [[:alpha:]] [[:upper:]] [[:lower:]] [![:digit:]] [[:space:]_] [[:punct:]]"
    " [[:alnum:]-] [[:word:]] [[:alpha:] [[:alpha:x] [:a:] [[:] [[::]] [[:]] [[] [\\]] [\\a-c] [a-\\c] [a\\] [\\"
    " \\ \\a \\* \\? \\[ \\\\ \\/ **\\/ \\é ! # ^"
).split()
SINGLE = [  # each was a difference once, in this matcher or in another
    "report.[0-9]*.[0-9]*.[0-9]*.[0-9]*.json",
    "a**/b",
    "a**/b/",
    "a/b**",
    "!a/b**",
    "a/b**//",
    "a/**//",
    "**/",
    "/**/",
    "**",
    "/**",
    "***/a",
    "a\\",
    "a\\\\",
    "a\\ ",
    "a ",
    "a \t",
    "a\t",
    "[[:alpha:]]",
    "[[:word:]]",
    "[a",
    "a/",
    "a//",
    "//",
    "!",
    "!!a",
    "\\!a",
    "*/",
    "?",
    "??",
]


@pytest.fixture(autouse=True)
def nobody_s_own_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True, capture_output=True)
    return folder


def make(folder: Path, files: dict[str, str | bytes]) -> None:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def of_git(folder: Path, *options: str) -> set[str]:
    command = ["git", *options, "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout.decode()
    return {path for path in listed.split("\0") if path and not path.endswith(".gitignore")}


def ours(folder: Path) -> set[str]:
    found = {each.path for each in walk(folder, Rules()) if isinstance(each, Found)}
    return {path for path in found if not path.endswith(".gitignore")}  # a rule may bring one back


def names(chance: random.Random, letters: list[str]) -> Iterator[str]:
    while True:
        name = "".join(chance.choices(letters, k=chance.choice([1, 1, 2, 2, 3, 4])))
        if not name.endswith(" "):
            yield name


def tree(chance: random.Random, letters: list[str], count: int = 60) -> list[str]:
    """Paths of files, none of which is a folder of another one."""
    name = names(chance, letters)
    folders = [""]
    for _ in range(count // 4):
        folders.append(chance.choice(folders) + next(name) + "/")
    files = {chance.choice(folders) + next(name) for _ in range(count)}
    return sorted(file for file in files if file + "/" not in folders)


def rules(chance: random.Random, files: list[str]) -> str:
    """Lines of which many have something to do with the files."""
    lines = []
    for _ in range(chance.choice([1, 2, 3, 6])):
        line = "".join(chance.choices(PIECES, k=chance.choice([1, 2, 2, 3, 4, 6])))
        if chance.random() < 0.5 and files:
            parts = chance.choice(files).split("/")
            parts = parts[: chance.randint(1, len(parts))][-chance.randint(1, 3) :]
            for _ in range(chance.randint(0, 2)):
                number = chance.randrange(len(parts))
                cut = chance.randint(0, len(parts[number]))
                parts[number] = parts[number][:cut] + chance.choice(PIECES) + parts[number][cut + 1 :]
            line = chance.choice(["", "", "/", "**/"]) + "/".join(parts)
        line += chance.choice(["", "", "", "/", " ", "  ", "\t", "\r", "\\ ", "/**", "*"])
        lines.append(chance.choice(["", "", "", "!"]) + line)
    return "\n".join(lines) + chance.choice(["\n", "", "\n\n"])


def fill(folder: Path, chance: random.Random, letters: list[str]) -> dict[str, str]:
    """Files and one to three files of rules. Returns the latter."""
    files = tree(chance, letters)
    make(folder, dict.fromkeys(files, "x = 1\n"))
    inner = [file.rpartition("/")[0] for file in files if "/" in file]
    places = ["", *chance.sample(inner, min(len(inner), chance.choice([0, 0, 1, 2])))]
    written = {}
    for place in places:
        below = [file[len(place) + 1 if place else 0 :] for file in files if file.startswith(place)]
        written[f"{place}/.gitignore" if place else ".gitignore"] = rules(chance, below)
    make(folder, dict(written))
    return written


def empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.name != ".git":
            shutil.rmtree(each) if each.is_dir() else each.unlink()


@needs_git
@posix
@pytest.mark.parametrize("folds", [False, True])
def test_random_rules_say_of_random_trees_what_git_says(
    folds: bool, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "FOLDS_CASE", folds)
    ignored = 0
    for seed in range(ROUNDS):
        ignore._patterns.cache_clear()
        chance = random.Random(seed)
        empty(repository)
        written = fill(repository, chance, ODD_LETTERS if seed % 2 else LETTERS)
        expected = of_git(repository, "-c", f"core.ignorecase={str(folds).lower()}")
        assert ours(repository) == expected, (seed, written)
        for file in expected:
            assert why_skipped(repository, file, Rules()) == ""
        ignored += sum(1 for each in walk(repository, Rules()) if isinstance(each, Skipped)) - len(written) - 1
    assert ignored > 2 * ROUNDS, "the rules have something to say"
    ignore._patterns.cache_clear()


@needs_git
@posix
@pytest.mark.parametrize("pattern", SINGLE)
def test_single_patterns_say_what_git_says(pattern: str, repository: Path) -> None:
    letters = ["a", "b", "a\\", "a ", "a\t", "!a", "ü", "report.2.3.4.5.json", "report.x.json", "\\"]
    files = [one for one in letters if one not in ("a", "b", "a\t")]
    files += [f"a/{one}" for one in letters if one not in ("b", "a\t")] + ["a/b/a", "a/b/x/b", "b/a/b", "ab/b", "c/ab"]
    make(repository, dict.fromkeys([each for each in files if each != "a/a"], "x = 1\n"))
    make(repository, {".gitignore": f"{pattern}\n"})
    assert ours(repository) == of_git(repository) - {each for each in files if "\t" in each}


def instances(chance: random.Random, pattern: str) -> Iterator[str]:
    """Paths that a pattern of a template may be about."""
    line = pattern.strip().lstrip("!").replace("\\", "")
    for _ in range(3):
        path = re.sub(r"\*\*/?", lambda found: chance.choice(["", "x/", "x/y/"]), line)
        path = re.sub(r"\[([^]]+)\]", lambda found: chance.choice(found[1].replace("-", "").strip("!^") or "x"), path)
        path = re.sub(r"\*", lambda found: chance.choice(["", "x", "x.y", "12"]), path).replace("?", "q").strip("/")
        path = chance.choice(["", "", "deep/", "deep/er/"]) + path + chance.choice(["", "", "/z.py", "x"])
        if path and not re.search(r"(^|/)(\.git[^/]*|\.\.?)(/|$)|//|\s", path):
            yield path


@needs_git
@posix
@pytest.mark.skipif(not TEMPLATES, reason="TABBY_LSP_GITIGNORES names no folder of templates")
def test_public_templates_say_what_git_says(repository: Path) -> None:
    for template in TEMPLATES:
        chance = random.Random(template.name)
        empty(repository)
        lines = template.read_text(encoding="utf-8").splitlines()
        paths = {path for line in lines if line and line[0] != "#" for path in instances(chance, line)}
        for path in sorted(paths):
            if not any(other.startswith(path + "/") for other in paths):
                try:
                    make(repository, {path: "x = 1\n"})
                except OSError:  # a folder of one is a file of another
                    continue
        make(repository, {".gitignore": template.read_bytes()})
        said = {
            each.path: each.reason
            for each in walk(repository, Rules())
            if isinstance(each, Skipped) and each.reason.startswith("ignored")
        }
        expected = of_git(repository)
        assert ours(repository) <= expected, template.name
        for file in expected:  # what git knows may be left out for other reasons
            assert not why_skipped(repository, file, Rules()).startswith("ignored"), (template.name, file)
        for path in said:
            assert not any(file == path or file.startswith(path + "/") for file in expected), (template.name, path)


# --- what cannot be read


@pytest.mark.parametrize("name", [".gitignore", ".ignore", ".tabbyignore"])
@pytest.mark.parametrize(
    "content, why",
    [
        (b"x.py\n" + b"#" * ignore.IGNORE_FILE_BYTES, "is larger than 256 kB"),
        ("x.py\n".encode("utf-16"), "is no text in UTF-8"),
    ],
)
def test_rules_that_cannot_be_read_leave_out_their_folder(content: bytes, why: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    make(folder, {"y.py": "y = 1\n", "sub/x.py": "x = 1\n", "sub/in/z.py": "z = 1\n", f"sub/{name}": content})
    assert list(walk(folder, Rules()))[1:] == [Skipped("sub", f"{name} {why}")]
    assert ours(folder) == {"y.py"}
    assert why_skipped(folder, "sub/in/z.py", Rules()) == f"{name} {why}"
    assert why_skipped(folder, "sub/new.py", Rules(), unsaved=True) == f"{name} {why}"
    make(folder, {name: content})
    assert list(walk(folder, Rules())) == [Skipped(".", f"{name} {why}")]
    make(folder, {".git/HEAD": ""})  # and so it is for a part of the repository
    assert list(walk(folder / "sub/in", Rules())) == [Skipped(".", f"{name} {why}")]


def test_excludes_of_the_user_that_cannot_be_read_leave_out_everything(tmp_path: Path) -> None:
    make(tmp_path, {"home/git/ignore": "x.py".encode("utf-16"), "workspace/x.py": "x = 1\n"})
    assert list(walk(tmp_path / "workspace", Rules())) == [Skipped(".", "git's excludes is no text in UTF-8")]


@posix
def test_rules_that_may_not_be_opened_leave_out_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {"a/.gitignore": "x.py\n", "a/x.py": "x = 1\n", "b.py": "b = 1\n"})
    real = os.open

    def open_(path: str | Path, flags: int) -> int:  # modes would not do: the tests may be run by root
        if str(path).endswith(".gitignore"):
            raise PermissionError(13, "no")
        return real(path, flags)

    monkeypatch.setattr(os, "open", open_)
    assert list(walk(tmp_path / "a", Rules())) == [Skipped(".", ".gitignore cannot be read")]


def test_rules_in_another_encoding_are_bytes_as_they_are_for_git(tmp_path: Path) -> None:
    make(tmp_path / "w", {".gitignore": "# für\nx.py\n".encode("latin-1"), "x.py": "x = 1\n", "y.py": "y = 1\n"})
    assert ours(tmp_path / "w") == {"y.py"}


# --- what it may cost


def steps(pattern: str, path: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that are looked at to match a path."""
    count = 0
    fits, find = globs._fits, globs._find

    def counted_fits(piece: globs._Piece, text: bytes, place: int) -> bool:
        nonlocal count
        count += len(piece)
        return fits(piece, text, place)

    def counted_find(piece: globs._Piece, text: bytes, start: int, end: int) -> int:
        nonlocal count
        found = find(piece, text, start, end)
        if isinstance(piece, bytes):  # otherwise `fits` counts
            count += len(piece) * max(1, (found if found >= 0 else end) - start)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(globs, "_fits", counted_fits)
        patched.setattr(globs, "_find", counted_find)
        glob = globs.glob(pattern.encode(), "/" not in pattern, False)
        assert glob is not None
        glob.matches(path.encode())
    return count


@pytest.mark.parametrize(
    "pattern, path",
    [
        ("*a" * 100 + "b", "a" * 250),
        ("*a*a*b" * 40, "a" * 250),
        ("*[ab]?" * 40 + "c", "a" * 250),
        ("***/**/***/**/*.py", "/".join(["a"] * 500)),
        ("**/a/" * 100 + "b", "/".join(["a"] * 500)),
        ("**/*a*a*a*a/" * 20 + "b", "/".join(["aaaa"] * 200)),
        ("a**/" + "*a/**/" * 40 + "b", "/".join(["aaa"] * 300)),
        ("x/" + "**/*a*a/*a*a/" * 20 + "**", "x/" + "/".join(["aaa"] * 300)),
    ],
)
def test_matching_takes_no_more_steps_than_pattern_times_path(
    pattern: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steps(pattern, path, monkeypatch) <= len(pattern) * len(path)


@pytest.mark.parametrize("rule", ["*a*a*b" * 29_000, "*a*a*b\n" * 25_000, "***/**/***/**/*.py\n", "**/a/" * 3 + "b\n"])
def test_rules_made_to_take_for_ever_come_to_an_end_and_say_what_they_say(rule: str, tmp_path: Path) -> None:
    deep = "/".join(["a"] * 40)
    make(tmp_path / "w", {f"{deep}/" + "a" * 200: "x = 1\n", f"{deep}/x.py": "x = 1\n", "y.c": "x = 1\n"})
    make(tmp_path / "w", {".gitignore": rule})
    expected = {"y.c", f"{deep}/" + "a" * 200, f"{deep}/x.py"}
    assert ours(tmp_path / "w") == (expected - {f"{deep}/x.py"} if rule.endswith(".py\n") else expected)
