"""Languages of the user's own, as Tabby's config.toml names them: from the settings to an outline and a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from editor import Editor
from test_cli import complete, run
from test_indexer import found_by, indexed, paths_of, running
from test_symbols import written

from tabby_lsp import config, languages
from tabby_lsp.config import Layer
from tabby_lsp.data import AdditionalLanguage
from tabby_lsp.engines import completing
from tabby_lsp.index.contents import is_secret
from tabby_lsp.index.plan import plan
from tabby_lsp.index.symbols import outline
from tabby_lsp.settings import IndexSettings, Settings

# Tabby's own example (docs/administration/code-completion) has nearly all words of its language for keywords.
GADGETS: dict[str, Any] = {
    "languages": ["gadgets", "gadget-parts"],
    "exts": ["gad", ".GPART"],
    "line_comment": "%%",
    "top_level_keywords": ["import", "gadget", "wire", "if", "return", "private", "func", "self", "emit", "slot"],
    "chunk_size": 512,
}
LANGUAGE = AdditionalLanguage(("gadgets", "gadget-parts"), ("gad", "gpart"), "%%", tuple(GADGETS["top_level_keywords"]))
TEXT = """\
import parts.base

%% Turns around.
private gadget Wheel
    func turn(angle)
        emit turned(angle)
    slot radius

wire spokes(count) {
    return Wheel(count)
}

slot limit = 3
emit self
"""


@pytest.fixture
def known() -> Iterator[Callable[..., None]]:
    yield lambda *additional: languages.use(additional)
    languages.use(())


def merged(value: Any, trusted: bool = True) -> tuple[Settings, list[str]]:
    return config.merge([Layer("here", {"additional_languages": value}, trusted)])


def test_tabbys_table_is_understood_and_reaches_both_processes(tmp_path: Path) -> None:
    settings, problems = merged([GADGETS])
    assert (settings.additional_languages, problems) == ((LANGUAGE,), [])
    assert completing(settings).languages == (LANGUAGE,)
    made, _ = plan([tmp_path], IndexSettings(), languages=settings.additional_languages)
    without, _ = plan([tmp_path], IndexSettings())
    assert made is not None and without is not None and made.languages == (LANGUAGE,)
    assert made.database != without.database, "the same files are read otherwise"


@pytest.mark.parametrize(
    "value, fragments",
    [
        (3, ["a table with `languages` and `exts`", "3"]),
        ("gadgets", ["a table with"]),
        ([{"exts": ["gad"]}], ["names its `languages`"]),
        ([{"languages": []}], ["`languages` is a list of strings"]),
        ([{"languages": "gadgets"}], ["`languages` is a list of strings"]),
        ([{"languages": ["a"], "exts": [1]}], ["`exts` is a list of strings"]),
        ([{"languages": ["a"], "top_level_keywords": [""]}], ["`top_level_keywords` is a list of strings"]),
        ([{"languages": ["a"], "line_comment": ["#"]}], ["`line_comment` is a string"]),
        ([{"languages": ["a"], "extensions": ["b"]}], ["not `extensions`", "`exts`"]),
    ],
)
def test_a_table_that_is_wrong_is_one_message_and_the_others_count(value: Any, fragments: list[str]) -> None:
    settings, problems = merged([*(value if isinstance(value, list) else [value]), GADGETS])
    assert settings.additional_languages == (LANGUAGE,)
    assert len(problems) == 1
    for fragment in ("here: each of `additional_languages` must be", *fragments):
        assert fragment in problems[0]


def test_a_cloned_repository_cannot_bring_a_language() -> None:
    settings, problems = merged([GADGETS], trusted=False)
    assert settings == Settings()
    assert len(problems) == 1 and "refused" in problems[0]


def test_a_language_is_laid_over_the_table(known: Callable[..., None]) -> None:
    before = languages.language("swift")
    known(LANGUAGE, AdditionalLanguage(("swift", "swift-playground"), ("swift", "yaml"), "", ("func",)))
    assert languages.language_of_path("a/B.GAD") == languages.language_of_path("x.gpart") == "gadgets"
    assert (languages.language("gadget-parts").comment, languages.language("gadgets").grammar) == ("%%", "")
    swift = languages.language("swift")
    assert (swift.name, swift.comment, swift.keywords) == (before.name, before.comment, ("func",))
    known(AdditionalLanguage(("typescript", "typescriptreact"), ("ts", "tsx", "tst")))
    assert [languages.language_of_path(f"a.{each}") for each in ("ts", "tsx", "tst")] == [
        "typescript",
        "typescriptreact",
        "typescript",
    ]
    assert languages.language("typescriptreact").grammar == "tsx"
    assert languages.language_of_path("a.gad") == "plaintext"


def test_a_file_of_passwords_stays_a_secret_whatever_its_language_is_called(known: Callable[..., None]) -> None:
    known(AdditionalLanguage(("helm",), ("yaml", "json")))
    assert languages.language_of_path("secrets.yaml") == "helm"
    assert is_secret("secrets.yaml") and is_secret("credentials.json")


def test_the_lines_of_a_language_begin_as_its_user_says(known: Callable[..., None]) -> None:
    assert "gadget" in outline(TEXT, "gadgets").references
    known(LANGUAGE)
    found = outline(TEXT, "gadgets")
    assert [written(each) for each in found.symbols] == [
        "class Wheel 3-7",
        "method Wheel.turn 5-6",
        "function spokes 9-11",
        "variable limit 13-13",
    ]
    assert found.symbols[0].doc == "Turns around."
    assert [each.module for each in found.imports] == ["parts.base"]
    assert {"gadget", "wire", "emit", "self", "angle"} & set(found.references) == {"angle"}


async def test_an_indexer_knows_the_language(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "wheel.gad").write_text(TEXT, encoding="utf-8")
    wanted, _ = plan([folder], IndexSettings(), watched=True, languages=(LANGUAGE,))
    assert wanted is not None
    async with running(wanted):
        assert paths_of(wanted.database, "Wheel") == paths_of(wanted.database, "spokes") == ["wheel.gad"]
    assert "wheel.gad:4: private gadget Wheel" in run("search", "Wheel", "--in", str(folder), *said()).stdout


def test_a_server_knows_the_language(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "wheel.gad").write_text(TEXT, encoding="utf-8")
    with Editor() as editor:
        folders = [{"uri": folder.as_uri(), "name": "it"}]
        editor.start(workspaceFolders=folders, initializationOptions={"additional_languages": [GADGETS]})
        indexed(editor)
        assert found_by(root, "Wheel") == ["wheel.gad"]


async def test_the_engine_knows_its_comments() -> None:
    given = {"prefix": "wire x(", "snippets": [{"path": "wheel.gad", "text": "gadget Wheel"}]}
    template = ("--set", "model.completion.local.prompt_template={prefix}")  # it has no form for other files
    arguments = ("--language", "gadgets", "--show-prompt", *template)
    assert "Wheel" not in complete(*arguments, stdin=json.dumps(given).encode())["prompt"]
    prompt = complete(*arguments, *said(), stdin=json.dumps(given).encode())["prompt"]
    assert "%% Path: wheel.gad\n%% gadget Wheel\n" in prompt


def said() -> tuple[str, str]:
    pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in GADGETS.items())
    return "--set", f"additional_languages=[{{{pairs}}}]"


@pytest.mark.parametrize(
    ("path", "id"),
    [
        ("a/CMakeLists.txt", "cmake"),
        ("Gemfile", "ruby"),
        ("Jenkinsfile", "groovy"),
        ("Dockerfile", "dockerfile"),
        (".git/COMMIT_EDITMSG", "git-commit"),
        ("main.tf", "terraform"),
        ("a.proto", "proto"),
        ("docs/index.rst", "restructuredtext"),
        ("App.svelte", "svelte"),
        ("site.less", "less"),
        ("tsconfig.json", "jsonc"),
        ("package.json", "json"),
        ("build.gradle", "groovy"),
    ],
)
def test_a_file_is_known_by_its_extension_or_its_name(path: str, id: str) -> None:
    assert languages.language_of_path(path) == id


def test_other_names_that_editors_have_mean_the_same_row() -> None:
    names = {
        "sh": "shellscript",
        "make": "makefile",
        "gitcommit": "git-commit",
        "rst": "restructuredtext",
        "cs": "csharp",
    }
    assert {name: languages.language(name).id for name in names} == names
    assert languages.find("sh") == "shellscript"


def test_a_language_that_nobody_knows_has_a_row_of_what_is_usual() -> None:
    row = languages.language("no such language")
    assert (row.name, row.comment, row.grammar, row.block_comment) == ("", "", "", ("/*", "*/"))
    assert languages.words("no such language").closers == ("end",)


def test_a_row_says_nothing_that_is_not_understood() -> None:
    table = languages.built_in()
    for row in set(table.languages.values()):
        assert row.kind in ("code", "prose", "markup", "style", "data"), row.id
        assert row.blocks in ("tags", "fences", *table.words), row.id
        assert all("{}" in each for each in row.tests), row.id
        assert len(row.block) in (0, 2), row.id
    extensions = [each for row in set(table.languages.values()) for each in row.extensions]
    assert len(extensions) == len(set(extensions))
