"""Git is asked what would be committed, and nothing that a repository's configuration names is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_assistant import Talker, assistant

from tabby_lsp.assistant import OF_A_MERGE
from tabby_lsp.chat import commit
from tabby_lsp.chat.sources import Sources
from tabby_lsp.index.contents import is_secret
from tabby_lsp.processes import git
from tabby_lsp.processes.git import GitError

if shutil.which("git") is None:
    pytest.skip("git is not installed", allow_module_level=True)


def run(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, "init", "-q", "-b", "main")
    return folder


def committed(folder: Path, message: str, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    run(folder, "add", "-A")
    run(folder, "commit", "-q", "-m", message)


def test_what_is_staged_comes_before_what_is_not(repository: Path) -> None:
    committed(repository, "Begin", a_py="one\n", b_py="two\n")
    (repository / "a.py").write_text("ONE\n")
    unstaged = git.changes(repository)
    assert not unstaged.staged and "+ONE" in unstaged.diff
    (repository / "b.py").write_text("TWO\n")
    run(repository, "add", "b.py")
    staged = git.changes(repository)
    assert staged.staged and "+TWO" in staged.diff and "ONE" not in staged.diff


def test_there_is_nothing_to_commit(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GitError, match="Nothing has changed"):
        git.changes(repository)
    (repository / "new.py").write_text("x\n")
    with pytest.raises(GitError, match="stage them with git add"):
        git.changes(repository)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(GitError, match="is in no git repository"):
        git.changes(outside)
    with pytest.raises(GitError, match="git: "):
        git.changes(tmp_path / "missing")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="not installed"):
        git.changes(repository)


def test_a_repository_without_commits(repository: Path) -> None:
    (repository / "a.py").write_text("one\n")
    run(repository, "add", "-A")
    assert "+one" in git.changes(repository).diff
    assert git.messages(repository) == [] and not commit.have_bodies([]) and not git.merge_message(repository)


def test_the_style_of_the_last_commits(repository: Path) -> None:
    committed(repository, "first", a_py="1\n")
    committed(repository, "second\n\nBecause.", a_py="2\n")
    assert git.messages(repository) == ["second\n\nBecause.", "first"] and commit.have_bodies(git.messages(repository))
    asked = commit.instruction(git.messages(repository))
    assert "second\nfirst\n" in asked and "a blank line" in asked and "Because" not in asked
    committed(repository, "third", a_py="3\n")
    assert not commit.have_bodies(git.messages(repository))


def test_a_merge_is_seen(repository: Path) -> None:
    committed(repository, "Begin", a_py="1\n")
    run(repository, "checkout", "-q", "-b", "other")
    committed(repository, "Other", a_py="2\n")
    run(repository, "checkout", "-q", "main")
    committed(repository, "Main", a_py="3\n")
    assert git.merge_message(repository) == ""
    run(repository, "merge", "other")
    assert git.merge_message(repository) == "Merge branch 'other'"
    assert git.changes(repository).diff


async def test_a_merge_keeps_the_message_that_git_has_for_it(repository: Path) -> None:
    committed(repository, "Begin", a_py="1\n")
    run(repository, "checkout", "-q", "-b", "other")
    committed(repository, "Other", a_py="2\n")
    run(repository, "checkout", "-q", "main")
    committed(repository, "Main", a_py="3\n")
    run(repository, "merge", "other")
    talker = Talker("Something else")
    message, notes = await assistant(talker, Sources()).commit_message(repository)
    assert message == "Merge branch 'other'" and notes == (OF_A_MERGE,) and not talker.asked


def test_a_diff_of_a_hundred_megabytes_is_cut(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "MOST_BYTES", 1 << 20)
    (repository / "a.txt").write_text("a line of text\n" * 400_000)
    run(repository, "add", "-A")
    found = git.changes(repository)
    assert found.cut and len(found.diff) == 1 << 20


@pytest.mark.skipif(sys.platform == "win32", reason="the scripts are of a POSIX shell")
def test_nothing_that_a_repository_configures_is_run(repository: Path, tmp_path: Path) -> None:
    """The configuration does run things when git is asked as it usually is: else the test would prove nothing."""
    committed(repository, "Begin", a_txt="1\n", b_txt="1\n", c_txt="1\n")
    script = tmp_path / "script"

    def ran() -> set[str]:
        found = {path.name for path in tmp_path.glob("ran-*")}
        for path in tmp_path.glob("ran-*"):
            path.unlink()
        return found

    script.write_text(f'#!/bin/sh\ntouch "{tmp_path}/ran-$1"\n[ "$1" = filter ] && exec cat\nexec true\n')
    script.chmod(0o755)
    (repository / ".gitattributes").write_text("a.txt diff=mine\nb.txt filter=mine\nc.txt filter=Other.Name\n")
    for key, value in {
        "core.fsmonitor": f"{script} fsmonitor",
        "core.pager": f"{script} pager",
        "diff.mine.textconv": f"{script} textconv",
        "filter.mine.clean": f"{script} filter",
        "filter.Other.Name.process": f"{script} process",
        "filter.Other.Name.required": "true",
        "gpg.program": f"{script} gpg",
        "log.showSignature": "true",
    }.items():
        run(repository, "config", key, value)
    for name in "abc":
        (repository / f"{name}.txt").write_text("22\n")
    for name in "abc":
        run(repository, "diff", f"{name}.txt")
    assert {"ran-fsmonitor", "ran-textconv", "ran-filter", "ran-process"} <= ran()
    found = git.changes(repository)
    git.messages(repository), git.merge_message(repository)
    assert found.diff.count("+22") == 3 and ran() == set()
    run(repository, "config", "diff.external", f"{script} external")
    run(repository, "diff", "a.txt")
    assert "ran-external" in ran()
    assert git.changes(repository).diff.count("+22") == 3 and ran() == set()
    before = {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")}
    git.changes(repository)
    assert {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")} == before, "git wrote"


# --- what a model is told of a diff, and what is kept of its answer


def words(text: str) -> int:
    return len(text.split())


def test_files_are_named_as_git_has_them(repository: Path) -> None:
    committed(repository, "Begin", old_py="".join(f"{n}\n" for n in range(40)), gone_py="x\n", kept_py="y\n")
    (repository / "old.py").rename(repository / "with blank é.py")
    (repository / "gone.py").unlink()
    (repository / "kept.py").write_text("z\n")
    (repository / "picture.png").write_bytes(bytes(range(256)))
    run(repository, "add", "-A")
    assert [each.summary for each in commit.files_of(git.changes(repository).diff)] == [
        "gone.py (deleted, +0 -1)",
        "kept.py (changed, +1 -1)",
        "picture.png (new, binary, +0 -0)",
        "with blank é.py (renamed from old.py, +0 -0)",
    ]


def diff(**files: int) -> str:
    """Files with so many added lines, each a hunk of its own."""
    parts = []
    for name, lines in files.items():
        path = name.replace("_", ".")
        hunks = "".join(f"@@ -{n},0 +{n},1 @@\n+{path} line {n}\n" for n in range(1, lines + 1))
        parts.append(f"diff --git a/{path} b/{path}\nindex 1..2 100644\n--- a/{path}\n+++ b/{path}\n{hunks}")
    return "".join(parts)


def test_a_small_file_beside_a_large_one_is_told_whole() -> None:
    text, withheld = commit.told(diff(large_py=500, small_py=3), 300, words, lambda path: False)
    assert not withheld and words(text) <= 300
    assert all(f"+small.py line {n}" in text for n in (1, 2, 3)) and "+large.py line 1\n" in text
    assert words(text) > 250, "what the small file leaves goes to the large one"


def test_what_may_hold_secrets_is_named_and_not_told() -> None:
    text, withheld = commit.told(diff(_env=2, a_py=1), 1000, words, is_secret)
    assert withheld == (".env",) and "=== not shown:\n.env (changed, +2 -0)" in text
    assert "+.env line" not in text and "+a.py line 1" in text


def test_many_files_are_all_counted() -> None:
    text, _ = commit.told(diff(**{f"f{n}_py": 1 for n in range(300)}), 2000, words, lambda path: False)
    assert "f0.py (changed, +1 -0)" in text and "and 100 files more" in text and words(text) < 2000


@pytest.mark.parametrize(
    ("answer", "bodies", "wanted"),
    [
        ("Add a total", False, "Add a total"),
        ("Add a total.\n\nBecause it was missing.", False, "Add a total"),
        ("Add a total\n\nBecause it was missing.\n", True, "Add a total\n\nBecause it was missing."),
        ("```\nfix: a bug\n```", False, "fix: a bug"),
        (
            "Here is the commit message:\n\n```text\nfix: a bug\n\nMore.\n```\nI hope it helps.",
            True,
            "fix: a bug\n\nMore.",
        ),
        ('"Add a total"', False, "Add a total"),
        ("Commit message: Add a total", False, "Add a total"),
        ("**Add a total**", False, "Add a total"),
        ("# Add a total", False, "Add a total"),
        ("Sure, here it is:\nAdd a total", False, "Add a total"),
        ("word " * 40, False, "word " * 13 + "word"),
        ("x" * 100, False, "x" * 72),
        ("", False, ""),
    ],
)
def test_of_an_answer_the_message_is_kept(answer: str, bodies: bool, wanted: str) -> None:
    assert commit.message_of(answer, bodies) == wanted


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("fix: don't lose the user's text (#12)", "fix-dont-lose-the-users-text-12"),
        ("Füge Größe hinzu", "füge-größe-hinzu"),
        ("a" * 80 + " b", "change"),
        ("...", "change"),
        ("word " * 30, "word-word-word-word-word-word-word-word-word-word"),
    ],
)
def test_a_branch_is_named_after_a_message(message: str, name: str, repository: Path) -> None:
    assert commit.branch_of(message) == name
    assert run(repository, "check-ref-format", "--branch", name).strip() == name
