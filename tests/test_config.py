"""Settings: layers, checks, messages, and what an untrusted layer may not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tabby_lsp import config
from tabby_lsp.config import Layer
from tabby_lsp.settings import IndexSettings, Settings, is_on


def merged(*values: dict[str, Any], trusted: bool = True) -> tuple[Settings, list[str]]:
    return config.merge([Layer(f"layer {i}", each, trusted) for i, each in enumerate(values)])


def local(**keys: Any) -> dict[str, Any]:
    return {"model": {"completion": {"local": keys}}}


def test_no_layers_are_the_defaults() -> None:
    assert merged() == (Settings(), [])


def test_the_last_layer_wins_key_by_key() -> None:
    settings, problems = merged(local(model_id="a.gguf", threads=3), local(model_id="b.gguf"))
    assert problems == []
    assert settings.model.completion.local.model_id == "b.gguf"
    assert settings.model.completion.local.threads == 3


def test_tabbys_own_file_is_understood(root: Path) -> None:
    path = root / "config.toml"
    path.write_text(
        """
        [model.completion.local]
        model_id = "StarCoder-1B"
        num_gpu_layers = 12
        parallelism = 3
        context_size = 2048
        additional_stop_words = ["END"]
        enable_fast_attention = true
        [model.completion.http]
        kind = "openai/completion"
        [model.chat.local]
        model_id = "Qwen2-1.5B-Instruct"
        [completion]
        max_decoding_tokens = 32
        max_input_length = 1536
        [server]
        completion_timeout = 30
        [[repositories]]
        git_url = "file:///home/me/project"
        """,
        encoding="utf-8",
    )
    layer, problems = config.read_config_file(path)
    assert problems == []
    settings, problems = config.merge([layer])
    model = settings.model.completion.local
    assert (model.model_id, model.num_gpu_layers, model.parallelism, model.context_size) == (
        "StarCoder-1B",
        12,
        3,
        2048,
    )
    assert model.additional_stop_words == ("END",)
    assert settings.completion.max_decoding_tokens == 32
    assert len(problems) == 1, "one note for all of Tabby's keys that mean nothing here"
    for key in ("model.completion.http", "model.chat", "completion.max_input_length", "server"):
        assert f"`{key}`" in problems[0]
    assert settings.index.folders == (str(Path("/home/me/project")),)


@pytest.mark.parametrize(
    "values, fragments",
    [
        ({"completion": {"temprature": 0.2}}, ["temprature", "did you mean `completion.temperature`"]),
        ({"completion": {"model_id": "x"}}, ["completion.model_id", "`model.completion.local.model_id`"]),
        ({"zzzzqqqq": 1}, ["unknown key `zzzzqqqq`"]),
        ({"completion": {"max_decoding_tokens": "many"}}, ["a whole number at least 1", "'many'"]),
        ({"completion": {"max_decoding_tokens": True}}, ["a whole number"]),
        ({"completion": {"max_decoding_tokens": 0}}, ["at least 1", "0"]),
        ({"completion": {"temperature": 9}}, ["a number at least 0.0 and at most 2.0"]),
        ({"completion": {"trigger": "sometimes"}}, ["one of 'auto', 'manual'"]),
        ({"completion": 3}, ["`completion` must be a table"]),
        ({"completion": {"ahead": "no"}}, ["`completion.ahead` must be true or false"]),
        ({"completion": {"languages": ["markdown"]}}, ["`completion.languages` must be a table", "['markdown']"]),
        ({"completion": {"languages": {"go": "no"}}}, ["`completion.languages.go` must be true or false", "'no'"]),
        ({"completion": {"disable": "*.env"}}, ["`completion.disable` must be a list of strings"]),
        ({"repositories": [{"git_url": "https://example.com/a.git"}]}, ["a.git is not", "Clone it", "`index.folders`"]),
        ({"repositories": [{"git_url": "git@example.com:a.git"}]}, ["Clone it and name the folder"]),
        ({"repositories": [{"name": "a"}]}, ["a table with a `git_url`"]),
        ({"repositories": "a"}, ["a table with a `git_url`"]),
        (local(additional_stop_words="x"), ["a list of strings"]),
        (local(additional_stop_words=[1]), ["a list of strings"]),
        (local(model_id=3), ["`model.completion.local.model_id` must be a string"]),
    ],
)
def test_a_wrong_key_is_one_message_and_the_default_applies(values: dict[str, Any], fragments: list[str]) -> None:
    settings, problems = merged(values)
    assert settings == Settings()
    assert len(problems) == 1
    for fragment in ("layer 0", *fragments):
        assert fragment in problems[0]


def test_a_whole_number_is_a_temperature_too() -> None:
    settings, problems = merged({"completion": {"temperature": 1}})
    assert problems == []
    assert settings.completion.temperature == 1.0


def test_what_is_on_can_be_switched_off() -> None:
    settings, problems = merged({"completion": {"speculation": False}, "index": {"enabled": False}})
    assert problems == []
    assert not settings.completion.speculation and not settings.index.enabled


def test_tabbys_repositories_on_this_machine_are_folders_to_search(tmp_path: Path) -> None:
    repositories = [{"git_url": tmp_path.as_uri()}, {"git_url": str(tmp_path / "ä b")}]
    settings, problems = merged({"index": {"folders": [str(tmp_path)]}, "repositories": repositories})
    assert problems == []
    assert settings.index.folders == (str(tmp_path), str(tmp_path / "ä b")), "each once"
    settings, problems = merged({"repositories": repositories}, trusted=False)
    assert settings == Settings()
    assert len(problems) == 1 and "refused" in problems[0]


def test_a_layer_that_a_repository_could_have_written_cannot_name_files() -> None:
    settings, problems = merged(local(model_id="/etc/passwd", threads=2), trusted=False)
    assert settings.model.completion.local.model_id == ""
    assert settings.model.completion.local.threads == 2
    assert len(problems) == 1
    assert "refused" in problems[0] and "config.toml" in problems[0]


def test_every_key_that_names_a_file_is_restricted() -> None:
    restricted = {key for key, _, rules in config.reference() if rules.get("restricted")}
    assert restricted == {
        "model.completion.local.model_id",
        "completion.disable",
        "additional_languages",
        "models",
        *(f"index.{key}" for key in ("enabled", "ignore", "max_file_kilobytes", "folders")),
    }


def test_settings_that_are_not_trusted_cannot_widen_what_is_read() -> None:
    settings, problems = merged(
        {"index": {"enabled": True, "ignore": ["!.hidden"], "max_file_kilobytes": 100_000}}, trusted=False
    )
    assert settings.index == IndexSettings()
    assert len(problems) == 3 and all("is refused here" in each for each in problems)


def on(settings: Settings, *languages: str) -> list[bool]:
    return [is_on(settings.completion.languages, each) for each in languages]


def test_languages_are_switched_key_by_key() -> None:
    switches = {"completion": {"languages": {"markdown": False, "go": False}}}
    settings, problems = merged(switches, {"completion": {"languages": {"go": True, "*": False}}})
    assert problems == []
    assert on(settings, "markdown", "go", "python") == [False, True, False]
    assert on(Settings(), "markdown", "python") == [True, True]


def test_settings_that_are_not_trusted_can_only_switch_languages_off() -> None:
    mine = Layer("mine", {"completion": {"languages": {"go": False, "*": False, "c": True}, "disable": ["*.env"]}})
    later = {"completion": {"languages": {"go": True, "*": True, "c": False, "lua": True}, "disable": []}}
    settings, problems = config.merge([mine, Layer("later", later, trusted=False)])
    assert on(settings, "go", "c", "lua", "python") == [False, False, False, False]
    assert settings.completion.disable == ("*.env",)
    assert sum("cannot be switched on here" in each for each in problems) == 3 and len(problems) == 4
    settings, problems = merged({"completion": {"languages": {"python": True, "*": False}}}, trusted=False)
    assert problems == [] and on(settings, "python", "go") == [True, False]


@pytest.mark.parametrize(
    "content, fragment",
    [(b"[completion\n", "not valid TOML"), (b"# \xff\n", "not UTF-8"), (b"a = 1\na = 2\n", "not valid TOML")],
)
def test_a_broken_file_is_a_message(root: Path, content: bytes, fragment: str) -> None:
    path = root / "config.toml"
    path.write_bytes(content)
    layer, problems = config.read_config_file(path)
    assert layer.values == {}
    assert len(problems) == 1 and fragment in problems[0] and str(path) in problems[0]


def test_a_missing_file_is_no_problem_and_a_folder_is_one(root: Path) -> None:
    assert config.read_config_file(root / "config.toml") == (Layer(str(root / "config.toml"), {}), [])
    assert "cannot be read" in config.read_config_file(root)[1][0]


@pytest.mark.parametrize(
    "text, values",
    [
        ("completion.seed=3", {"completion": {"seed": 3}}),
        ("completion.trigger=manual", {"completion": {"trigger": "manual"}}),
        ("completion.temperature = 0.5", {"completion": {"temperature": 0.5}}),
        ("completion.languages.markdown=false", {"completion": {"languages": {"markdown": False}}}),
        ('completion.languages."*"=false', {"completion": {"languages": {"*": False}}}),
        (r"model.completion.local.model_id=C:\m.gguf", local(model_id=r"C:\m.gguf")),
        ('model.completion.local.additional_stop_words=["a"]', local(additional_stop_words=["a"])),
    ],
)
def test_assignments_of_the_command_line(text: str, values: dict[str, Any]) -> None:
    parsed = config.parse_assignment(text)
    assert merged(parsed) == merged(values)
    assert merged(parsed)[1] == []


@pytest.mark.parametrize("text", ["completion.seed", "=3", "a b=3"])
def test_an_assignment_of_another_form_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"KEY=VALUE|a b=3"):
        config.parse_assignment(text)
