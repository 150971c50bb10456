"""From a `model_id` in the settings to a file: a path, a model that Tabby has downloaded, or the bundled one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tabby_lsp.data import OwnModel
from tabby_lsp.models import finder, starter


class ModelNotFound(Exception):
    """No file for a `model_id`; the text says what would be one."""


def find(model_id: str, root: Path, own: Iterable[OwnModel] = ()) -> Path:
    """The GGUF file of a model. `root` is Tabby's folder, whose `models/` is looked into, `own` are the models that the
    user has named. Raises ModelNotFound.

    A path is absolute, or begins with `~`. Anything else is a name, and never a file where one stands: for an editor
    that is the workspace, which must not choose the model.
    """
    if not model_id:
        return starter.MODEL
    try:
        path = Path(model_id).expanduser()
        if path.is_absolute():
            return _in_folder(path) if path.is_dir() else path
        return _by_name(model_id, root, own)
    except (OSError, RuntimeError, ValueError) as error:  # no such user, no permission, too long a name, a zero byte
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        shown = model_id if len(model_id) < 200 else f"{model_id[:200]}…"
        raise ModelNotFound(f"The model {shown!r} cannot be looked up: {reason}.") from None


def _by_name(name: str, root: Path, own: Iterable[OwnModel]) -> Path:
    if ".." not in Path(name).parts:
        for folder in (root / "models" / name, root / "models" / "TabbyML" / name):
            if folder.is_dir():
                return _in_folder(folder)
    found = finder.named(name, own)
    if found:
        return found.path
    advice = finder.advice(name, own)
    raise ModelNotFound(f"There is no model {name!r} on this machine (the setting `model_id`): {advice}")


def _in_folder(folder: Path) -> Path:
    """The only GGUF file in a folder or its `ggml/`, or the first part of the only one that has parts."""
    files = sorted([*folder.glob("*.gguf"), *folder.glob("ggml/*.gguf")])
    first_parts = [each for each in files if "-00001-of-" in each.name]
    models = first_parts or files
    if len(models) == 1:
        return models[0].absolute()
    found = f"holds {', '.join(each.name for each in models)}: name one of them" if models else "holds no GGUF file"
    raise ModelNotFound(f"The folder {folder} {found} in model.completion.local.model_id.")
