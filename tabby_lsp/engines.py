"""The engines that run, by role, and what of the settings each is started and asked with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tabby_lsp.config import tabby_root
from tabby_lsp.data import CompletionSettings, ModelSettings
from tabby_lsp.engine.client import Engine, EngineState
from tabby_lsp.models.registry import find
from tabby_lsp.settings import Settings


def model_settings(settings: Settings) -> ModelSettings:
    """What the model of completions is loaded with. Raises ModelNotFound."""
    local = settings.model.completion.local
    return ModelSettings(
        path=str(find(local.model_id, tabby_root())),
        device=local.device,
        gpu_layers=local.num_gpu_layers,
        context_size=local.context_size,
        parallelism=local.parallelism,
        threads=local.threads,
    )


def model_part(settings: Settings) -> object:
    """The settings for which a model must be loaded anew."""
    return replace(settings.model.completion.local, prompt_template="", additional_stop_words=())


def completion_settings(settings: Settings) -> CompletionSettings:
    return CompletionSettings(
        layout=settings.completion.layout,
        prompt_template=settings.model.completion.local.prompt_template,
        stop_words=settings.model.completion.local.additional_stop_words,
        max_prompt_tokens=settings.completion.max_prompt_tokens,
        speculation=settings.completion.speculation,
        confidence=settings.completion.confidence,
        languages=settings.additional_languages,
    )


def completing(settings: Settings, on_state: Callable[[EngineState], None] = lambda state: None) -> Engine:
    """An engine for completions, to be started. Raises ModelNotFound."""
    return Engine(model_settings(settings), completion_settings(settings), on_state)
