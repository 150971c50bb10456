"""Settings: layers, checks, messages, and what an untrusted layer may not say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tabby_lsp import cli, config
from tabby_lsp.commands import options
from tabby_lsp.config import Layer
from tabby_lsp.settings import IndexSettings, Settings, is_on

HERE = Path(os.path.abspath("/home/me"))  # where the command line of these tests is given


def merged(*values: dict[str, Any], trusted: bool = True) -> tuple[Settings, list[str]]:
    return config.merge([Layer(f"layer {i}", each, trusted, HERE) for i, each in enumerate(values)])


def local(**keys: Any) -> dict[str, Any]:
    return {"model": {"completion": {"local": keys}}}


def test_no_layers_are_the_defaults() -> None:
    assert merged() == (Settings(), [])


def test_the_last_layer_wins_key_by_key() -> None:
    settings, problems = merged(local(model_id="a.gguf", threads=3), local(model_id="b.gguf"))
    assert problems == []
    assert settings.model.completion.local.model_id == str(HERE / "b.gguf")
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
        context_size = 8192
        [model.chat.http]
        kind = "openai/chat"
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
    chat = settings.model.chat.local
    assert (chat.model_id, chat.context_size, chat.parallelism) == ("Qwen2-1.5B-Instruct", 8192, 2)
    for key in ("model.completion.http", "model.chat.http", "completion.max_input_length", "server"):
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
        (local(idle_unload=-1), ["`model.completion.local.idle_unload` must be a whole number at least 0 and at most"]),
        (local(idle_unload=float("nan")), ["a whole number at least 0"]),
        ({"model": {"chat": {"model_id": "x"}}}, ["`model.chat.model_id` (did you mean `model.chat.local.model_id`?)"]),
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


@pytest.mark.parametrize(
    "value, path",
    [
        ("models/qwen/a.gguf", "models/qwen/a.gguf"),
        ("a.gguf", "a.gguf"),
        ("./StarCoder-1B", "StarCoder-1B"),
        ("../StarCoder-1B/", "../StarCoder-1B"),
        (".hidden", ".hidden"),
        ("a/b/c", "a/b/c"),
        ("a/../../b/c.gguf", "a/../../b/c.gguf"),
    ],
)
def test_a_relative_path_of_a_model_counts_from_its_layers_folder(tmp_path: Path, value: str, path: str) -> None:
    for folder in (tmp_path / "tabby", tmp_path / "elsewhere"):
        settings, problems = config.merge([Layer("a layer", local(model_id=value), folder=folder)])
        assert problems == []
        assert settings.model.completion.local.model_id == os.path.abspath(folder / path)
    settings, problems = config.merge([Layer("initializationOptions", local(model_id=value))])
    assert settings == Settings()
    assert len(problems) == 1 and "an absolute path, one that begins with ~, or the name of a model" in problems[0]


@pytest.mark.parametrize("name", ["StarCoder-1B", "TabbyML/StarCoder-1B", "Qwen2.5-Coder-0.5B", ""])
def test_the_name_of_a_model_is_no_path_wherever_it_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True, exist_ok=True)
    for folder in (tmp_path, None):
        settings, problems = config.merge([Layer("a layer", local(model_id=name), folder=folder)])
        assert (settings.model.completion.local.model_id, problems) == (name, [])


def test_an_absolute_path_of_a_model_is_one_in_every_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    for value in (str(tmp_path / "models" / "a"), "~/models/a"):
        settings, problems = config.merge([Layer("initializationOptions", local(model_id=value))])
        assert (settings.model.completion.local.model_id, problems) == (str(tmp_path / "models" / "a"), [])
    settings, problems = config.merge([Layer("a layer", local(model_id="~nosuchuser/a.gguf"), folder=tmp_path)])
    assert settings == Settings()
    assert len(problems) == 1 and "somebody who is known here" in problems[0]


def test_config_toml_and_the_command_line_have_a_folder(root: Path, tmp_path: Path) -> None:
    path = root / "config.toml"
    path.write_text('[model.completion.local]\nmodel_id = "my/models/a.gguf"\n', encoding="utf-8")
    layers, problems = options.layers_of(cli.parser([]).parse_args([]), tmp_path)
    assert problems == ()
    assert config.merge(layers)[0].model.completion.local.model_id == str(root / "my/models/a.gguf")
    for arguments in (["--model", "b.gguf"], ["--set", "model.completion.local.model_id=b.gguf"]):
        layers, _ = options.layers_of(cli.parser(arguments).parse_args(arguments), tmp_path)
        assert config.merge(layers)[0].model.completion.local.model_id == str(tmp_path / "b.gguf")


@pytest.mark.parametrize(
    "values",
    [
        {"model_id": "/etc/passwd"},
        {"device": "gpu"},
        {"num_gpu_layers": 12},
        {"context_size": 1 << 20},
        {"parallelism": 16},
        {"threads": 512},
        {"prompt_template": "{prefix} and a secret"},
        {"additional_stop_words": ["e"]},
        {"idle_unload": 3},
    ],
)
@pytest.mark.parametrize("role", ["completion", "chat"])
def test_a_layer_that_a_repository_could_have_written_has_no_say_in_the_model(
    role: str, values: dict[str, Any]
) -> None:
    if role == "chat" and "prompt_template" in values:
        return  # it has none
    said = {"model": {role: {"local": values}}}
    settings, problems = merged(said, trusted=False)
    assert settings == Settings()
    assert len(problems) == 1
    assert "refused" in problems[0] and "config.toml" in problems[0]
    assert merged(said) != (Settings(), []), "it is the user's"


@pytest.mark.parametrize(
    "values",
    [
        local(num_gpu_layers=10**12),
        local(context_size=10**12),
        local(threads=10**12),
        local(idle_unload=10**12),
        {"model": {"chat": {"local": {"idle_unload": 10**12}}}},
        {"completion": {"max_prompt_tokens": 10**12}},
        {"completion": {"seed": 10**12}},
    ],
)
def test_no_number_is_without_a_bound(values: dict[str, Any]) -> None:
    settings, problems = merged(values)
    assert settings == Settings()
    assert len(problems) == 1 and "at most" in problems[0]


def test_every_key_that_names_a_file_or_a_model_is_restricted() -> None:
    restricted = {key for key, _, rules in config.reference() if rules.get("restricted")}
    assert restricted == {
        *(key for key, _, _ in config.reference() if key.startswith(("model.", "index."))),
        "completion.disable",
        "additional_languages",
        "actions",
        "models",
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
