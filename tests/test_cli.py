"""The commands as a person runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import MODEL

import tabby_lsp

SOURCE = "import os\nimport sys\n\n\ndef read(path):\n    with open(path)\n    return 1\n"


def run(*arguments: str, stdin: bytes = b"", model: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    chosen = ("--model", str(MODEL)) if model else ()
    result = subprocess.run(
        [sys.executable, "-m", "tabby_lsp", *arguments, *chosen],
        input=stdin,
        capture_output=True,
        env={**os.environ, **env},
        cwd=os.environ["TABBY_ROOT"],  # no clone of this project, where its modules could be found
        timeout=120,
    )
    return subprocess.CompletedProcess(
        result.args, result.returncode, result.stdout.decode("utf-8"), result.stderr.decode("utf-8")
    )


def complete(*arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    result = run("complete", "--json", *arguments, stdin=stdin)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "read.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_version_and_help() -> None:
    assert run("--version", model=False).stdout == f"tabby-lsp {tabby_lsp.__version__}\n"
    result = run("--help", model=False)
    assert result.returncode == 0
    for word in ("complete", "doctor", "demo", "--stdio", "--log-level", "--log-file"):
        assert word in result.stdout


def test_a_completion_of_a_file(source: Path) -> None:
    answer = complete(f"{source}:6:19", "--max-tokens", "12", "--show-prompt")
    assert answer["family"] == "tabby-starter" and answer["layout"] == "suffix-first"
    assert answer["range"]["start"] == [6, 19]
    assert answer["range"]["end"][1] in (19, 20), "it may take the place of the bracket"
    assert 0 < answer["tokens"]["generated"] <= 12
    assert answer["tokens"]["evaluated"] > 10 and answer["tokens"]["reused"] == 0
    assert set(answer["milliseconds"]) == {"queue", "prompt", "prefill", "decode", "filters"}
    assert answer["prompt"].endswith("    with open<|fim_middle|>") and answer["pending"] == "(path"
    assert "\n    return 1\n<|fim_prefix|>import os" in answer["prompt"]
    assert ")" not in answer["prompt"].split("with open")[1], "closers right of the cursor stay out of the prompt"


def test_the_text_alone_goes_to_stdout(source: Path) -> None:
    answer = complete(f"{source}:6:19")
    result = run("complete", f"{source}:6:19")
    assert result.stdout == answer["text"] + "\n"
    assert result.stderr == ""


def test_no_column_is_the_end_of_the_line(source: Path) -> None:
    assert complete(f"{source}:2")["range"]["start"] == [2, 11]


def test_a_completion_from_stdin() -> None:
    given = {
        "prefix": "from shop import Cart\ncart = ",
        "suffix": ")\nprint(cart)\n",
        "path": "main.py",
        "snippets": [{"path": "shop.py", "text": "class Cart:\n    pass\n"}],
    }
    answer = complete("--language", "python", "--show-prompt", stdin=json.dumps(given).encode())
    assert answer["range"]["start"] == [2, 8]
    assert "<|file_sep|>shop.py\nclass Cart:" in answer["prompt"]
    assert "<|file_sep|>main.py\n" in answer["prompt"]


def test_the_prompt_is_shown_with_what_is_in_it_of_other_files_and_why(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "shop.py").write_text("class Cart:\n    def add(self, item: str) -> None: ...\n", encoding="utf-8")
    (folder / "main.py").write_text("from shop import Cart\n\ncart = \n", encoding="utf-8")
    asked = ("complete", f"{folder / 'main.py'}:3:8", "--show-prompt", "--set", "completion.context=on")
    assert "no pieces of other files: the file is not in the folder where you are" in run(*asked).stderr
    asked = (*asked, "--in", str(folder))
    assert f"`tabby-lsp index {folder}` makes one" in run(*asked).stderr
    assert run("index", str(folder)).returncode == 0
    shown = run(*asked).stderr
    assert re.match(r" +\d\.\d+  defines Cart +shop.py\n", shown)
    assert "<|file_sep|>shop.py\nclass Cart:" in shown
    assert "Cart:" not in run(*asked, "--set", 'completion.disable=["/shop.py"]').stderr
    assert "defines Cart" not in run(*asked, "--set", "completion.context=auto").stderr, "the starter gains nothing"


def test_seed_and_temperature(source: Path) -> None:
    options = (f"{source}:6:19", "--temperature", "1.5", "--max-tokens", "8", "--seed")
    assert complete(*options, "1")["probabilities"] == complete(*options, "1")["probabilities"]
    assert len({str(complete(*options, str(seed))["probabilities"]) for seed in range(4)}) > 1


@pytest.mark.parametrize(
    "arguments, stdin, fragment",
    [
        (["{source}"], b"", "FILE:LINE:COL"),
        (["{source}:0:1"], b"", "FILE:LINE:COL"),
        (["{source}:99:1"], b"", "has 8 lines"),
        (["{source}:1:99"], b"", "has 9 characters"),
        (["{folder}/no.py:1:1"], b"", "cannot be read"),
        (["{folder}:1:1"], b"", "cannot be read"),
        ([], b"", "JSON object"),
        ([], b"{}", "JSON object"),
        ([], b'{"prefix": 3}', "JSON object"),
        ([], b"[1]", "JSON object"),
        ([], b'{"prefix": "", "snippets": [1]}', "JSON object"),
        (["{source}:1:1", "--max-tokens", "0"], b"", "at least 1"),
        (["{source}:1:1", "--set", "completion.seed"], b"", "KEY=VALUE"),
    ],
)
def test_what_cannot_be_done_is_said(source: Path, arguments: list[str], stdin: bytes, fragment: str) -> None:
    filled = [each.format(source=source, folder=source.parent) for each in arguments]
    result = run("complete", *filled, stdin=stdin)
    assert result.returncode == 2
    assert result.stdout == ""
    assert fragment in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("content", [b"caf\xe9 = 1\nimport \n", b"a = '\x00'\nimport \n", b"a = 1\r\nimport \r\n", b""])
def test_awkward_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "awkward.py"
    path.write_bytes(content)
    result = run("complete", f"{path}:1", "--max-tokens", "4")
    assert result.returncode == 0
    assert ("not UTF-8" in result.stderr) is (b"\xe9" in content)
    assert path.read_bytes() == content


def test_a_mistake_in_the_settings_is_said_and_the_default_applies(source: Path) -> None:
    result = run("complete", f"{source}:2", "--set", "completion.temperatur=1")
    assert result.returncode == 0
    assert "did you mean `completion.temperature`" in result.stderr


def test_a_model_that_is_not_there(source: Path) -> None:
    for name in ("no.gguf", "StarCoder-1B", str(source.parent)):
        result = run("complete", f"{source}:2", "--model", name, model=False)
        assert result.returncode == 1
        assert name in result.stderr and ("model_id" in result.stderr or "models get" in result.stderr)
        assert "Traceback" not in result.stderr


def test_a_model_that_tabby_has_downloaded_is_found(root: Path, source: Path) -> None:
    folder = root / "models" / "TabbyML" / "Starter-4M" / "ggml"
    folder.mkdir(parents=True)
    (folder / "model.gguf").symlink_to(MODEL)
    for name in ("Starter-4M", "TabbyML/Starter-4M", str(folder.parent), str(folder / "model.gguf")):
        assert run("complete", f"{source}:2", "--model", name, model=False).returncode == 0


def test_doctor() -> None:
    result = run("doctor")
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    for what in (
        "tabby-lsp",
        "llama.cpp",
        "settings",
        "folder",
        "grammars",
        "search",
        "index",
        "model",
        "prompt",
        "device",
        "memory",
        "completion",
    ):
        assert any(line.startswith(f"ok {what}:") for line in lines), what
    assert re.search(r"FIM family tabby-starter, suffix-first", result.stdout)
    assert re.search(r"needs \d+ MiB .* are free", result.stdout)


def test_doctor_names_what_does_not_work(root: Path, tmp_path: Path) -> None:
    (root / "config.toml").write_text("[completion]\nseeds = 1\n", encoding="utf-8")
    result = run("doctor")
    assert result.returncode == 0, "a mistake in the settings does not prevent completion"
    assert "did you mean `completion.seed`" in result.stdout
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 100)
    result = run("doctor", "--model", str(bad), model=False)
    assert result.returncode == 1
    assert "!! model:" in result.stdout and "bad.gguf" in result.stdout


def test_the_demo_types_into_a_file_and_leaves_it_alone(source: Path) -> None:
    source.write_text(SOURCE + "configuration = load(sys.argv[1])\n", encoding="utf-8")
    before = source.read_bytes()
    result = run("demo", str(source), "--lines", "1")
    assert result.returncode == 0, result.stderr
    assert "answered initialize after" in result.stdout
    assert len(re.findall(r"^ *[\d.]+ ms +\d+ read +\d+ written", result.stdout, re.MULTILINE)) > 10
    assert re.search(r"\d+ keys: suggestions at \d+", result.stdout)
    assert source.read_bytes() == before


def test_the_demo_of_a_file_without_code_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("x\n", encoding="utf-8")
    result = run("demo", str(empty))
    assert result.returncode == 1
    assert "no line of" in result.stderr and "Traceback" not in result.stderr


def test_the_server_takes_stdio_and_ends_with_its_input() -> None:
    result = run("--stdio", "--log-level", "error")
    assert (result.returncode, result.stdout) == (0, "")


def test_eval_tells_of_a_folder_and_of_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def first(path):\n    return path.read_text().split()[0]\n" * 3, encoding="utf-8")
    told = run("eval", str(tmp_path), "--holes", "4", "--set", "completion.max_decoding_tokens=8")
    assert told.returncode == 0 and "first line exact, %" in told.stdout and "8 of 8" in told.stderr
    told = run("eval", str(tmp_path), "--holes", "4", "--set", "completion.max_decoding_tokens=8", "--json")
    assert 0 <= json.loads(told.stdout)["shown, %"]["shown"]["value"] <= 100
    for arguments, words in (
        ([str(tmp_path / "none")], "is no folder"),
        ([str(tmp_path), "--holes", "1"], "at least 4"),
    ):
        told = run("eval", *arguments)
        assert told.returncode != 0 and words in told.stderr and not told.stdout
