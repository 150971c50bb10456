"""Which file a `model_id` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tabby_lsp.models import starter
from tabby_lsp.models.registry import ModelNotFound, find


def model(folder: Path, name: str = "ggml/model.gguf") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"GGUF")
    return file


def test_no_model_id_means_the_starter(root: Path) -> None:
    assert find("", root) == starter.MODEL


def test_a_path_is_a_file_or_a_folder_with_one(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = model(tmp_path / "mine", "one.gguf")
    assert find(str(file), root) == file and find(str(file.parent), root) == file
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/mine/one.gguf", root) == file
    model(file.parent, "two.gguf")
    with pytest.raises(ModelNotFound, match=r"one\.gguf, two\.gguf: name one"):
        find(str(file.parent), root)
    assert find(str(tmp_path / "none.gguf"), root) == tmp_path / "none.gguf", "the engine says that it is not there"


def test_a_name_is_one_of_tabbys_models_and_no_folder_where_one_stands(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned repository may bring a folder of any name along."""
    workspace = tmp_path / "workspace"
    for name in ("StarCoder-1B", "TabbyML/StarCoder-1B", "my.gguf", "models/StarCoder-1B"):
        model(workspace / name)
    (workspace / "file.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # and not what other programs keep on this machine
    for variable in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "LLAMA_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("StarCoder-1B", "TabbyML/StarCoder-1B", "my.gguf", "file.gguf", "./StarCoder-1B", "."):
        with pytest.raises(ModelNotFound, match="There is no model"):
            find(name, root)
    file = model(root / "models" / "TabbyML" / "StarCoder-1B")
    assert find("StarCoder-1B", root) == find("TabbyML/StarCoder-1B", root) == file
    with pytest.raises(ModelNotFound, match=r"`model_id`.*did you mean .*StarCoder-1B"):
        find("StarCoder-2B", root)


@pytest.mark.parametrize("name", ["../../secret", "TabbyML/../../x", "/../x"])
def test_a_name_leads_nowhere_else(name: str, root: Path) -> None:
    model(root.parent / "secret")
    model(root.parent / "x")
    with pytest.raises(ModelNotFound):
        assert not find(name, root).exists()
        raise ModelNotFound("a path that is not there is the engine's to refuse")


@pytest.mark.parametrize("name", ["~nosuchuser/model.gguf", "x" * 300, "a\0b", "/" + "y" * 300 + "/z"])
def test_what_cannot_be_looked_up_is_said_in_one_line(name: str, root: Path) -> None:
    with pytest.raises(ModelNotFound) as failure:
        find(name, root)
    assert "\n" not in str(failure.value) and len(str(failure.value)) < 700
