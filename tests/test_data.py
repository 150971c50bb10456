"""The types that travel, on their way through JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tabby_lsp import data
from tabby_lsp.data import (
    AdditionalLanguage,
    Alternative,
    Candidate,
    Completion,
    CompletionContext,
    CompletionSettings,
    ModelSettings,
    Sampling,
    Snippet,
    Timing,
    from_json,
    to_json,
)
from tabby_lsp.engine.messages import Load

COMPLETION = Completion(
    text="x",
    replace=1,
    model="m",
    layout="suffix-first",
    evaluated=3,
    reused=2,
    generated=1,
    timing=Timing(queue=0.5, filters=2.0),
    candidates=(Candidate("x", (0.5, 0.25), "line end", (0.5,)), Candidate("y", (), "length")),
    alternatives=(Alternative("y", 0),),
)


@pytest.mark.parametrize(
    "value",
    [
        COMPLETION,
        CompletionContext("a", "b", "c", 1, "p", "r", "python", (Snippet("q", "t"),)),
        CompletionSettings(stop_words=("s",)),
        Load("1", ModelSettings("m.gguf"), CompletionSettings(), (AdditionalLanguage(("a", "b"), ("c",)),)),
        Load("1", ModelSettings("m.gguf")),
        Sampling(),
    ],
)
def test_a_value_survives_the_way_over_a_pipe(value: Any) -> None:
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def test_a_field_that_is_unknown_or_missing_is_an_error() -> None:
    with pytest.raises(TypeError, match="'zoom'"):
        from_json(Sampling, {"zoom": 1})
    with pytest.raises(TypeError, match="'path'"):
        from_json(Snippet, {"text": ""})


def test_the_type_hints_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They took a millisecond for every answer of the model."""
    from_json(Completion, to_json(COMPLETION))
    asked: list[Any] = []
    monkeypatch.setattr(data, "get_type_hints", asked.append)
    assert from_json(Completion, to_json(COMPLETION)) == COMPLETION
    assert asked == []
