"""Walking real folders: what is found, what is not and why, and that the folder is afterwards what it was."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabby_lsp.index.contents import is_secret
from tabby_lsp.index.walk import Found, Rules, Skipped, Stamp, read, walk, why_skipped

PYTHON = b"def f():\n    return 1\n"
posix = pytest.mark.skipif(sys.platform == "win32", reason="a file system that has such things")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's own ignore file takes part."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """A folder that has to be, byte for byte and to the time of each file, what the test made of it."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    yield folder


def make(folder: Path, files: dict[str, bytes | str]) -> None:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def snapshot(folder: Path) -> dict[str, object]:
    """All that is in a folder, links as links."""
    state: dict[str, object] = {}
    for file in sorted(folder.rglob("*")):
        status = file.lstat()
        regular = file.is_file() and not file.is_symlink() and os.access(file, os.R_OK)
        content = file.read_bytes() if regular else None
        state[str(file.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, status.st_size, content)
    return state


def outcome(folder: Path, rules: Rules | None = None) -> tuple[list[str], dict[str, str]]:
    """What is found and what is skipped. That the folder stays as it is, and that the question about a single file is
    answered as the walk answers it, is looked at every time.
    """
    rules = rules or Rules()
    before = snapshot(folder)
    results = list(walk(folder, rules))
    found = [each.path for each in results if isinstance(each, Found)]
    skipped = {each.path: each.reason for each in results if isinstance(each, Skipped)}
    assert results == list(walk(folder, rules)), "the order is stable"
    assert {path: why_skipped(folder, path, rules) for path in found} == dict.fromkeys(found, "")
    for path, reason in skipped.items():
        if (folder / path).is_file() and not (folder / path).is_symlink():
            assert why_skipped(folder, path, rules) == reason, path
    assert snapshot(folder) == before
    return found, skipped


def found(folder: Path, rules: Rules | None = None) -> set[str]:
    """What is found, but for the ignore files themselves, which are hidden."""
    return set(outcome(folder, rules)[0])


def test_files_come_by_name_and_those_of_a_folder_before_its_subfolders(workspace: Path) -> None:
    make(workspace, {"b/z.py": PYTHON, "b/a/x.py": PYTHON, "c.py": PYTHON, "a.py": PYTHON, "b/b.py": b""})
    assert outcome(workspace) == (["a.py", "c.py", "b/b.py", "b/z.py", "b/a/x.py"], {})


def test_a_found_file_has_the_stamp_of_the_file(workspace: Path) -> None:
    make(workspace, {"a.py": PYTHON})
    status = (workspace / "a.py").stat()
    assert list(walk(workspace, Rules())) == [Found("a.py", Stamp(status.st_mtime_ns, len(PYTHON)))]


# Each as: ignore files, then files that are found, then files that are not.
IGNORED: dict[str, tuple[dict[str, str], str, str]] = {
    "a name anywhere": ({".gitignore": "x.py\n"}, "y.py a/y.py", "x.py a/x.py a/b/x.py"),
    "a star ends at a slash": ({".gitignore": "/a/*.py\n"}, "a/b/x.py x.py", "a/x.py"),
    "a slash at the beginning anchors": ({".gitignore": "/x.py\n"}, "a/x.py", "x.py"),
    "a slash in the middle anchors": ({".gitignore": "a/x.py\n"}, "b/a/x.py x.py", "a/x.py"),
    "a slash at the end is for folders only": ({".gitignore": "x/\n"}, "a/x", "x/y.py b/x/y.py"),
    "two stars": ({".gitignore": "a/**/x.py\n**/c.py\n"}, "x.py b/a/x.py", "a/x.py a/b/c/x.py c.py q/c.py"),
    "two stars at the end": ({".gitignore": "a/**\n!a/x.py\n"}, "x.py a/x.py", "a/y.py a/b/x.py"),
    "the last one decides": ({".gitignore": "*.py\n!x.py\n"}, "x.py a/x.py", "y.py a/y.py"),
    "negation before": ({".gitignore": "!x.py\n*.py\n"}, "z.txt", "x.py"),
    "a folder brought back does not bring back its files": (
        {".gitignore": "*\n!a/\n"},
        "",
        "x.py a/x.py",
    ),
    "only some of all folders": ({".gitignore": "*\n!*/\n!*.py\n"}, "x.py a/x.py a/b/x.py", "x.txt a/x.txt"),
    "nothing comes back inside of an ignored folder": ({".gitignore": "a/\n!a/x.py\n"}, "x.py", "a/x.py"),
    "a deeper file wins": ({".gitignore": "*.py\n", "a/.gitignore": "!x.py\n"}, "a/x.py a/b/x.py", "x.py a/y.py"),
    "a deeper file is about its own folder": ({"a/.gitignore": "/x.py\n"}, "x.py a/b/x.py", "a/x.py"),
    "a deeper file in an ignored folder says nothing": ({".gitignore": "/a\n", "a/.gitignore": "!*\n"}, "b", "a/x"),
    ".ignore beats .gitignore": ({".gitignore": "*.py\n", ".ignore": "!x.py\n"}, "x.py", "y.py"),
    ".tabbyignore beats .ignore": ({".ignore": "!x.py\n", ".tabbyignore": "x.py\n"}, "y.py", "x.py"),
    "comments, blanks and escapes": (
        {".gitignore": "# x.py\n\n   \n\\#y.py\n\\!z.py\na.py   \n"},
        "x.py",
        "#y.py !z.py a.py",
    ),
    "a carriage return and a mark": ({".gitignore": "\ufeffx.py\r\ny.py\r\n"}, "z.py", "x.py y.py"),
    "brackets": ({".gitignore": "[ab].py\n[!c]d.py\n"}, "c.py cd.py", "a.py b.py ad.py"),
    "several stars, classes and tabs": (
        {".gitignore": "*-*-*-*.py\n[[:upper:]]*.py\nx.py\t\n"},
        "a-b-c.py x.py",
        "a-b-c-d.py X.py Ab.py",
    ),
    "lines that are wrong": ({".gitignore": "[z-a]\n!\n/\n//\n\\\n[[x]\n**\\\nx.py\n"}, "y.py", "x.py"),
    "a folder that git does not know, hidden and said to be wanted": ({".ignore": "!.a/\n"}, ".a/x.py", ".b/x.py"),
    "node_modules said to be wanted": ({".tabbyignore": "!node_modules/\n"}, "node_modules/x.js", "__pycache__/x.py"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_ignore_files_are_read_as_git_reads_them(name: str, workspace: Path) -> None:
    ignores, wanted, unwanted = IGNORED[name]
    make(workspace, {path: PYTHON for path in (wanted + " " + unwanted).split()})
    make(workspace, dict(ignores))
    assert found(workspace) == set(wanted.split())


@pytest.mark.parametrize("name", IGNORED)
def test_a_file_that_is_not_saved_yet_is_judged_as_if_it_were(name: str, workspace: Path) -> None:
    ignores, wanted, unwanted = IGNORED[name]
    make(workspace, dict(ignores))
    assert {path for path in wanted.split() if why_skipped(workspace, path, Rules(), unsaved=True)} == set()
    assert {path for path in unwanted.split() if not why_skipped(workspace, path, Rules(), unsaved=True)} == set()


def test_what_else_is_left_out_is_not_taken_before_it_is_saved(workspace: Path) -> None:
    make(workspace, {"env/pyvenv.cfg": b"", "x.py": PYTHON})
    for path, reason in {
        "id_rsa": "a secret",
        "new/rows.csv": "data",
        ".new/x.py": "hidden",
        "node_modules/new/x.js": "other people's code",
        "env/lib/new.py": "a virtual environment",
        "new\nline.py": "a name that cannot be printed",
        "x.py/y.py": "not there",
        "new/../../x.py": "outside of the folder",
        "a\0b": "a name that cannot be printed",
    }.items():
        assert why_skipped(workspace, path, Rules(), unsaved=True) == reason
    assert why_skipped(workspace, "new.py", Rules(ignore=("new*",)), unsaved=True) == "ignored by the settings"


@pytest.mark.skipif(shutil.which("git") is None, reason="git itself is the judge")
@pytest.mark.parametrize("name", IGNORED)
def test_git_itself_says_the_same(name: str, workspace: Path) -> None:
    ignores, wanted, unwanted = IGNORED[name]
    if {path.rpartition("/")[2] for path in ignores} != {".gitignore"}:
        pytest.skip("git does not know these files")
    make(workspace, {path: PYTHON for path in (wanted + " " + unwanted).split()})
    make(workspace, dict(ignores))
    subprocess.run(["git", "init", "-q"], cwd=workspace, check=True, capture_output=True)
    command = ["git", "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=workspace, check=True, capture_output=True).stdout.decode().split("\0")
    assert found(workspace) == {path for path in listed if path and not path.endswith(".gitignore")}


def test_the_settings_beat_every_file(workspace: Path) -> None:
    make(workspace, {".tabbyignore": "*.py\n", "a/.gitignore": "!y.py\n", "x.py": PYTHON, "a/y.py": PYTHON})
    assert outcome(workspace, Rules(ignore=("!x.py", "y.py")))[0] == ["x.py"]
    assert outcome(workspace, Rules(ignore=("y.py",)))[1]["a/y.py"] == "ignored by the settings"


def test_the_excludes_of_a_repository_hold_and_its_ignore_files_beat_them(workspace: Path) -> None:
    make(workspace, {".git/info/exclude": "x.py\ny.py\n", ".gitignore": "!y.py\n", "x.py": PYTHON, "y.py": PYTHON})
    assert outcome(workspace)[0] == ["y.py"]
    assert outcome(workspace)[1] == {
        ".git": "version control",
        ".gitignore": "hidden",
        "x.py": "ignored by git's excludes",
    }


def test_the_excludes_of_a_work_tree_are_those_of_its_repository(workspace: Path, tmp_path: Path) -> None:
    place = tmp_path / "repository/.git"
    make(place, {"worktrees/w/commondir": "../..\n", "info/exclude": "x.py\n"})
    make(workspace, {".git": f"gitdir: {place / 'worktrees/w'}\n", "x.py": PYTHON, "y.py": PYTHON})
    assert outcome(workspace)[0] == ["y.py"]


def test_a_part_of_a_repository_has_the_rules_of_the_folders_above(workspace: Path) -> None:
    files = {"x.py": PYTHON, "y.py": PYTHON, "z.py": PYTHON, "sub/z.py": PYTHON}
    make(workspace / "a/b", files)  # type: ignore[arg-type]
    make(workspace, {".git/HEAD": "", ".gitignore": "/a/b/x.py\n", "a/.gitignore": "b/y.py\n/b/sub/\n"})
    assert outcome(workspace / "a/b")[0] == ["z.py"]


def test_folders_above_say_nothing_if_there_is_no_repository(workspace: Path) -> None:
    make(workspace, {".gitignore": "*\n", "a/x.py": PYTHON})
    assert outcome(workspace / "a")[0] == ["x.py"]


CONFIGURATIONS = {
    ".gitconfig": ("[user]\n\texcludesFile = wrong\n[Core]\n\tExcludesFile = ~/mine ; of old\n", "mine"),
    ".config/git/config": ('[core]\n  excludesfile = "~/my \\"own\\" file"\n', 'my "own" file'),
    ".config/git/nothing": ("", ".config/git/ignore"),
}


@posix
@pytest.mark.parametrize("file", CONFIGURATIONS)
def test_the_users_own_ignore_file_is_found_where_git_finds_it(file: str, home: Path, workspace: Path) -> None:
    text, excludes = CONFIGURATIONS[file]
    make(home, {file: text, excludes: "x.py\n"})
    make(workspace, {"x.py": PYTHON, "a/x.py": PYTHON, "y.py": PYTHON})
    assert outcome(workspace)[0] == ["y.py"]


HEX = b"".join(b"0x%08d, 1234567890,\n" % i for i in range(100))
CONTENTS: dict[str, tuple[str | bytes, str]] = {
    "a.py": (PYTHON, ""),
    "empty.py": (b"", ""),
    "latin.py": ("# gr\xf6\xdfe\n".encode("latin-1"), ""),
    "prose.md": ("word " * 300 + "\n\n", ""),
    "nul.py": (b"a\0b", "binary"),
    "utf16.py": ("def f(): pass\n".encode("utf-16"), "binary"),
    "picture.PNG": (b"text", "binary"),
    "large.py": (b"x = 1\n" * 200_000, "too large"),
    "long.js": (b"/* licence */\n" + b"a=1;" * 1300, "minified"),
    "wide.js": ((b"a=1;" * 100 + b"\n") * 10, "minified"),
    "app.min.js": (PYTHON, "minified"),
    "app.js.map": (b"{}", "minified"),
    "one long string.py": (b'x = "' + b"a" * 2000 + b'"\n' + PYTHON * 100, ""),
    "parser.go": (b"// Code generated by protoc. DO NOT EDIT.\npackage p\n", "generated"),
    "schema.ts": (b"/**\n * @generated\n */\n", "generated"),
    "late.py": (PYTHON * 20 + b"# @generated\n", ""),
    "package-lock.json": (b"{}", "generated"),
    "Cargo.lock": (b"", "generated"),
    "table.c": (HEX, "data"),
    "rows.csv": (b"a,b\n", "data"),
    "deploy.txt": (b"host\n-----BEGIN OPENSSH PRIVATE KEY-----\n", "a secret"),
    "settings.json": (b'{"key": "-----BEGIN PRIVATE KEY-----\\nMII"}', "a secret"),
    ".env": (b"A=1\n", "a secret"),
    ".env.example": (b"A=1\n", "a secret"),
    ".eslintrc.js": (PYTHON, "hidden"),
    ".gitlab-ci.yml": (b"a: 1\n", ""),
    ".github/workflows/ci.yml": (b"a: 1\n", ""),
}


@pytest.mark.parametrize("path", CONTENTS)
def test_each_kind_of_file_is_told_from_the_others(path: str, workspace: Path) -> None:
    content, reason = CONTENTS[path]
    make(workspace, {path: content})
    assert outcome(workspace) == (([], {path: reason}) if reason else ([path], {}))


def test_the_largest_file_is_as_the_rules_say(workspace: Path) -> None:
    make(workspace, {"a.txt": b"a\n" * 50, "b.txt": b"a\n" * 51})
    assert outcome(workspace, Rules(most_bytes=100)) == (["a.txt"], {"b.txt": "too large"})


FOLDERS = {
    "node_modules/a/x.js": ("node_modules", "other people's code"),
    "a/__pycache__/x.py": ("a/__pycache__", "other people's code"),
    ".venv/x.py": (".venv", "hidden"),
    ".git/hooks/x.py": (".git", "version control"),
    ".svn/x.py": (".svn", "version control"),
    "env/pyvenv.cfg": ("env", "a virtual environment"),
    "target/CACHEDIR.TAG": ("target", "a cache"),
}


@pytest.mark.parametrize("path", FOLDERS)
def test_each_kind_of_folder_is_told_from_the_others(path: str, workspace: Path) -> None:
    folder, reason = FOLDERS[path]
    make(workspace, {path: PYTHON, f"{folder}/y.py": PYTHON})
    assert outcome(workspace) == ([], {folder: reason})
    assert why_skipped(workspace, f"{folder}/y.py", Rules()) == reason


SECRETS = (
    ".env .env.local .envrc prod.env server.pem id_rsa id_rsa.pub id_ed25519 id_rsa_work tls.KEY .netrc _netrc"
    " vault.kdbx .npmrc .pypirc credentials credentials.json Credentials.yml .credentials secrets.yaml secret.txt"
    " keys.p12 a.pfx release.jks release.keystore .htpasswd .pgpass .git-credentials terraform.tfvars"
    " terraform.tfstate kubeconfig service-account.json service_account_prod.json .bash_history htpasswd site.htpasswd"
    " htpasswd.prod docker/config.json home/.docker/config.json Docker/Config.json .aws/config .kube/config deploy_key"
    " deploy-key my_deploy_key deploy_key.pub prod.env.sh .env.sh"
)
NO_SECRETS = (
    "environment.py env.py credentials.py secrets.go keys.py key.ts pem.c id_rsa.py README.md .gitignore keyring"
    " htpasswd.py deploy_key.go deploy.sh env.sh config.json mydocker/config.json docker/config.json.py deploy.py"
)


@pytest.mark.parametrize("name", SECRETS.split())
def test_what_may_hold_passwords_or_keys_is_a_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", NO_SECRETS.split())
def test_a_program_about_secrets_is_none(name: str) -> None:
    assert not is_secret(name)


def test_no_rule_brings_back_a_secret(workspace: Path) -> None:
    make(workspace, {".env": b"A=1\n", "a.key": b"x\n", ".tabbyignore": "!.env\n!*.key\n"})
    skipped = outcome(workspace, Rules(ignore=("!*",)))[1]
    assert (skipped[".env"], skipped["a.key"]) == ("a secret", "a secret")


@posix
def test_links_are_not_followed_and_cycles_end(workspace: Path, tmp_path: Path) -> None:
    make(workspace, {"a/x.py": PYTHON})
    make(tmp_path / "elsewhere", {"y.py": PYTHON})
    (workspace / "a/up").symlink_to(workspace)
    (workspace / "self").symlink_to(workspace / "self")
    (workspace / "inside.py").symlink_to(workspace / "a/x.py")
    (workspace / "outside").symlink_to(tmp_path / "elsewhere")
    (workspace / "gone").symlink_to(tmp_path / "nowhere")
    files, skipped = outcome(workspace)
    assert files == ["a/x.py"]
    assert skipped == dict.fromkeys(["a/up", "self", "inside.py", "outside", "gone"], "a link")
    assert why_skipped(workspace, "outside/y.py", Rules()) == "a link"


@posix
def test_an_ignore_file_that_is_a_link_or_a_pipe_is_not_read(workspace: Path, tmp_path: Path) -> None:
    make(tmp_path, {"elsewhere": "*\n"})
    make(workspace, {"x.py": PYTHON})
    (workspace / ".gitignore").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(workspace / ".ignore")
    (workspace / ".tabbyignore").mkdir()
    assert outcome(workspace)[0] == ["x.py"]


@posix
def test_pipes_and_sockets_are_not_opened(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(workspace, {"x.py": PYTHON})
    os.mkfifo(workspace / "pipe")
    monkeypatch.chdir(workspace)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert outcome(workspace) == (["x.py"], {"pipe": "not a file", "socket": "not a file"})
    assert read(workspace / "pipe") is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_names_that_cannot_be_told_are_skipped_and_said(workspace: Path) -> None:
    make(workspace, {"größe.py": PYTHON, "a b.py": PYTHON})
    for name in (b"new\nline.py", b"bad\xff.py", b"bell\x07"):
        Path(os.fsdecode(os.path.join(os.fsencode(workspace), name))).write_bytes(PYTHON)
    os.mkdir(os.path.join(os.fsencode(workspace), b"folder\xfe"))
    files, skipped = outcome(workspace)
    assert files == ["a b.py", "größe.py"]
    assert set(skipped) == {"new\\nline.py", "bad\\udcff.py", "bell\\x07", "folder\\udcfe"}
    assert set(skipped.values()) == {"a name that cannot be printed"}


@posix
def test_a_folder_that_cannot_be_read_is_skipped_and_said(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(workspace, {"a/x.py": PYTHON, "b.py": PYTHON, "c.py": PYTHON})
    real_scandir, real_open = os.scandir, os.open

    def scandir(path: Path) -> object:
        if Path(path) == workspace / "a":
            raise PermissionError(13, "no")
        return real_scandir(path)

    def open_(path: str, flags: int) -> int:
        if str(path) == str(workspace / "b.py"):
            raise PermissionError(13, "no")
        return real_open(path, flags)

    # Modes would not do: the tests may be run by root, who can read everything.
    with monkeypatch.context() as patched:
        patched.setattr("tabby_lsp.index.walk.os.scandir", scandir)
        patched.setattr("tabby_lsp.index.walk.os.open", open_)
        results = list(walk(workspace, Rules()))
        assert why_skipped(workspace, "b.py", Rules()) == "not readable"
        assert read(workspace / "b.py") is None
    assert {each.path: each.reason for each in results if isinstance(each, Skipped)} == {
        "a": "not readable",
        "b.py": "not readable",
    }
    assert [each.path for each in results if isinstance(each, Found)] == ["c.py"]


def test_a_root_that_is_not_there_is_said(workspace: Path) -> None:
    make(workspace, {"x.py": PYTHON})
    assert list(walk(workspace / "gone", Rules())) == [Skipped(".", "not readable")]
    assert list(walk(workspace / "x.py", Rules())) == [Skipped(".", "not readable")]


def test_what_vanishes_while_one_walks_is_passed_over(workspace: Path) -> None:
    make(workspace, {"a.py": PYTHON, "b.py": PYTHON, "c/x.py": PYTHON, "d/x.py": PYTHON})
    walking = walk(workspace, Rules())
    assert next(walking) == Found("a.py", Stamp((workspace / "a.py").stat().st_mtime_ns, len(PYTHON)))
    (workspace / "b.py").unlink()
    shutil.rmtree(workspace / "c")
    assert [each.path for each in walking] == ["d/x.py"]


def test_files_that_are_known_are_not_opened(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(workspace, {"a.py": PYTHON, "b.py": PYTHON})
    opened = []
    real_open = os.open
    monkeypatch.setattr(
        "tabby_lsp.index.walk.os.open", lambda path, flags: (opened.append(path), real_open(path, flags))[1]
    )
    results = list(walk(workspace, Rules(), lambda path, stamp: path == "a.py" and stamp.size == len(PYTHON)))
    assert [each.path for each in results] == ["a.py", "b.py"]
    assert [Path(path).name for path in opened if Path(path).parent == workspace] == ["b.py"]


@pytest.mark.parametrize(
    "path, reason",
    [
        ("gone.py", "not there"),
        ("a", "a folder"),
        ("x.py/y", "not there"),
        ("../x.py", "outside of the folder"),
        ("a//x.py", "outside of the folder"),
        ("", "outside of the folder"),
        ("/x.py", "outside of the folder"),
        ("a\0b", "not there"),
    ],
)
def test_a_path_that_is_no_file_of_the_folder_is_said(path: str, reason: str, workspace: Path) -> None:
    make(workspace, {"x.py": PYTHON, "a/y.py": PYTHON})
    assert why_skipped(workspace, path, Rules()) == reason


def test_deep_folders_are_walked_to_the_end(workspace: Path) -> None:
    path = "/".join(["d"] * 400) + "/x.py"
    make(workspace, {path: PYTHON})
    assert [each.path for each in walk(workspace, Rules())] == [path]


@pytest.mark.parametrize(
    "content, text",
    [
        (b"a\r\nb", "a\r\nb"),
        (b"\xef\xbb\xbfa", "a"),
        (b"a\xffb", "a\ufffdb"),
        (b"", ""),
        (b"a" * 11, None),
    ],
)
def test_a_file_is_read_as_text_whatever_it_holds(content: bytes, text: str | None, workspace: Path) -> None:
    make(workspace, {"x": content})
    assert read(workspace / "x", most_bytes=10) == text


def test_what_cannot_be_read_has_no_text(workspace: Path) -> None:
    assert read(workspace / "gone") is None
    assert read(workspace) is None
