"""From a `model_id` in the settings to a file: a path, a model that Tabby has downloaded, or the bundled one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tabby_lsp.config import tabby_root
from tabby_lsp.data import EngineSettings, OwnModel
from tabby_lsp.models import finder, starter
from tabby_lsp.settings import Settings


class ModelNotFound(Exception):
    """No file for a `model_id`; the text says what would be one."""


def find(model_id: str, root: Path, own: Iterable[OwnModel] = ()) -> Path:
    """The GGUF file of a model. `root` is Tabby's folder, whose `models/` is looked into, `own` are the models that the
    user has named. Raises ModelNotFound."""
    if not model_id:
        return starter.MODEL
    path = Path(model_id).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists() or path.suffix == ".gguf":
        return path.absolute()
    for folder in (root / "models" / model_id, root / "models" / "TabbyML" / model_id):
        if folder.is_dir():
            return _in_folder(folder)
    found = finder.named(model_id, own)
    if found:
        return found.path
    raise ModelNotFound(f"There is no model {model_id!r} on this machine: {finder.advice(model_id, own)}")


def _in_folder(folder: Path) -> Path:
    """The only GGUF file in a folder or its `ggml/`, or the first part of the only one that has parts."""
    files = sorted([*folder.glob("*.gguf"), *folder.glob("ggml/*.gguf")])
    first_parts = [each for each in files if "-00001-of-" in each.name]
    models = first_parts or files
    if len(models) == 1:
        return models[0].absolute()
    found = f"holds {', '.join(each.name for each in models)}: name one of them" if models else "holds no GGUF file"
    raise ModelNotFound(f"The folder {folder} {found} in model.completion.local.model_id.")


def engine_settings(settings: Settings) -> EngineSettings:
    """What an engine is started with under these settings. Raises ModelNotFound."""
    local = settings.model.completion.local
    return EngineSettings(
        path=str(find(local.model_id, tabby_root(), settings.models)),
        device=local.device,
        gpu_layers=local.num_gpu_layers,
        context_size=local.context_size,
        parallelism=local.parallelism,
        threads=local.threads,
        layout=settings.completion.layout,
        prompt_template=local.prompt_template,
        stop_words=local.additional_stop_words,
        max_prompt_tokens=settings.completion.max_prompt_tokens,
        speculation=settings.completion.speculation,
        confidence=settings.completion.confidence,
        languages=settings.additional_languages,
    )
