"""`config.toml` edited by us: one value, and nothing else."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from tabby_lsp.config_file import CannotEdit, edited, set_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KEY = ("model", "completion", "local", "model_id")
NEW = "/models/a b.gguf"
LINE = f'model_id = "{NEW}"'


@pytest.mark.parametrize(
    "before, after",
    [
        ("", f"[model.completion.local]\n{LINE}\n"),
        ("# mine\n", f"# mine\n\n[model.completion.local]\n{LINE}\n"),
        ("a = 1", f"a = 1\n\n[model.completion.local]\n{LINE}\n"),
        (
            '# mine\n[model.completion.local]  # the model\nmodel_id = "old"  # a "#1" note\nthreads = 2\n\n[x]\ny=1\n',
            f'# mine\n[model.completion.local]  # the model\n{LINE}  # a "#1" note\nthreads = 2\n\n[x]\ny=1\n',
        ),
        ('[model.completion.local]\n\tmodel_id="a#b"#c\n', f'[model.completion.local]\n\tmodel_id="{NEW}"#c\n'),
        ("[model.completion.local]\nmodel_id = 'C:\\old'\n", f"[model.completion.local]\n{LINE}\n"),
        ("[ model . completion.local ]\nthreads = 2\n", f"[ model . completion.local ]\n{LINE}\nthreads = 2\n"),
        ("[model.completion.local]", f"[model.completion.local]\n{LINE}\n"),
        ('model.completion.local.model_id = "old"\n', f'model.completion.local.model_id = "{NEW}"\n'),
        ('[model]\ncompletion.local.model_id = "old"\n', f'[model]\ncompletion.local.model_id = "{NEW}"\n'),
        ('[model.completion.local]\r\nmodel_id = "old"\r\n', f"[model.completion.local]\r\n{LINE}\r\n"),
        ("a = 1\r\n", f"a = 1\r\n\r\n[model.completion.local]\r\n{LINE}\r\n"),
        (
            '[model.chat.local]\nmodel_id = "chat"\n[model.completion.local]\nmodel_id = "old"\n',
            f'[model.chat.local]\nmodel_id = "chat"\n[model.completion.local]\n{LINE}\n',
        ),
        (
            'text = """\n[model.completion.local]\nmodel_id = "old"\n"""\n[model.completion.local]\nthreads = 1\n',
            'text = """\n[model.completion.local]\nmodel_id = "old"\n"""\n'
            f"[model.completion.local]\n{LINE}\nthreads = 1\n",
        ),
        ('[[repositories]]\ngit_url = "x"\n', f'[[repositories]]\ngit_url = "x"\n\n[model.completion.local]\n{LINE}\n'),
        (f"[model.completion.local]\n{LINE}\n", f"[model.completion.local]\n{LINE}\n"),
        (
            "[model.completion.local.x]\ny = 1\n",
            f"[model.completion.local.x]\ny = 1\n\n[model.completion.local]\n{LINE}\n",
        ),
        (
            "# a\u2028b\n[completion]\nseed = 1\n",
            f"# a\u2028b\n[completion]\nseed = 1\n\n[model.completion.local]\n{LINE}\n",
        ),
    ],
)
def test_one_value_changes(before: str, after: str) -> None:
    assert edited(before, KEY, NEW) == after


@pytest.mark.parametrize(
    "before, expected",
    [
        ('model = { completion = { local = { model_id = "old" } } }\n', "Write into it yourself"),
        ("[model.completion.local]\nmodel_id = '''\nold'''\n", "Write into it yourself"),
        ("[model.completion]\nlocal = { threads = 1 }\n", "`model.completion.local.model_id ="),
        ("not toml\n", "is not valid TOML"),
        ("model = 3\n", "is no table"),
        ("[[model.completion]]\n", "is no table"),
    ],
)
def test_what_is_written_in_another_way_is_left_alone(before: str, expected: str) -> None:
    with pytest.raises(CannotEdit, match=expected):
        edited(before, KEY, NEW)


@pytest.mark.parametrize("value", ['a"b\\c', "ä\u2028\x7f\x01 ", "", "C:\\models\\x.gguf", "名前"])
def test_any_text_is_written_as_it_is(value: str) -> None:
    assert tomllib.loads(edited("a = 1\n", KEY, value))["model"]["completion"]["local"]["model_id"] == value


def test_every_edit_is_that_one_value(tmp_path: Path) -> None:
    """Files put together by chance: the edit is refused, or it is what a TOML parser says it should be."""
    draw = random.Random(3)
    pieces = [
        "[model.completion.local]\n",
        "[model]\n",
        'model_id = "old" # x\n',
        'completion.local.model_id = "b"\n',
        "[x]\n",
        "y = [1, # one\n 2]\n",
        'z = """\nmodel_id = "q"\n"""\n',
        "# [model.completion.local]\n",
        "[[list]]\n",
        "threads = 2\n",
        "\n",
    ]
    done = 0
    for _ in range(2000):
        text = "".join(draw.choices(pieces, k=draw.randint(1, 7)))
        try:
            wanted = tomllib.loads(text)
            table = wanted.setdefault("model", {}).setdefault("completion", {}).setdefault("local", {})
            table["model_id"] = NEW
        except (tomllib.TOMLDecodeError, AttributeError):
            continue
        try:
            assert tomllib.loads(edited(text, KEY, NEW)) == wanted
            done += 1
        except CannotEdit:
            pass
    assert done > 200


def test_the_old_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "tabby" / "config.toml"
    assert set_text(file, KEY, "a") is None
    first = file.read_text()
    os.chmod(file, 0o640)
    kept = set_text(file, KEY, "b")
    assert kept == file.with_name("config.toml.bak") and kept.read_text() == first
    assert 'model_id = "b"' in file.read_text()
    assert sorted(each.name for each in file.parent.iterdir()) == ["config.toml", "config.toml.bak"]
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    set_text(link, KEY, "a")
    assert link.is_symlink() and real.read_text().startswith("# mine\n")


def test_a_file_that_is_no_text_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(CannotEdit, match="is not UTF-8"):
        set_text(file, KEY, "a")
    assert file.read_bytes() == b"\xff\xfe"
