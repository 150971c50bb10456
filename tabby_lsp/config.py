"""Where the settings come from, laid over the tree in `settings`, and the reference table of all of them.

Layers are laid over each other: config.toml, the command line, the editor's initializationOptions, and what
the editor says later (`workspace/configuration`, `didChangeConfiguration`). The last is not trusted with the model,
what it takes of the machine, and what is read: a server cannot tell a user's value there from one that a cloned
repository brought along. A relative path counts from the folder of its layer: that of config.toml, or where a command
was given. What an editor says has none, since where an editor stands is anybody's folder.
A key that is unknown or has the wrong type is reported and its default applies.

Knows nothing of LSP or of models. The folder is Tabby's own ($TABBY_ROOT, else ~/.tabby); everything that this
project writes lies in its `lsp/`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from tabby_lsp import languages
from tabby_lsp.data import AdditionalLanguage, OwnAction, OwnModel
from tabby_lsp.processes import machine
from tabby_lsp.settings import Settings, Switches, is_on

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place. `origin` is what a message calls it; from `folder` its relative paths count."""

    origin: str
    values: Mapping[str, Any]
    trusted: bool = True
    folder: Path | None = None


# Keys of Tabby's config.toml that mean nothing to a server without HTTP, accounts and embeddings (Tabby
# 0.33, crates/tabby-common/src/config.rs). They are named together in one note, not as mistakes.
TABBY_ONLY = (
    "answer",
    "completion.code_search_params",
    "completion.max_input_length",
    "embedding",
    "model.chat.http",
    "model.chat.local.enable_fast_attention",
    "model.completion.http",
    "model.completion.local.enable_fast_attention",
    "model.embedding",
    "server",
)


def tabby_root() -> Path:
    said = os.environ.get("TABBY_ROOT")
    return Path(os.path.expanduser(said)) if said else machine.home() / ".tabby"


def data_folder() -> Path:
    """Everything that this project writes lies in here."""
    return tabby_root() / "lsp"


def read_config_file(path: Path) -> tuple[Layer, list[str]]:
    """config.toml as a layer. A missing file is an empty layer, an unreadable one a problem."""
    empty = Layer(str(path), {})
    try:
        text = path.read_bytes().decode("utf-8")
        return Layer(str(path), tomllib.loads(text), folder=Path(os.path.abspath(path.parent))), []
    except (FileNotFoundError, NotADirectoryError):
        return empty, []
    except OSError as error:
        return empty, [f"{path} cannot be read ({error.strerror}): the defaults apply."]
    except UnicodeDecodeError as error:
        return empty, [f"{path} is not UTF-8 (byte {error.start}): the defaults apply."]
    except tomllib.TOMLDecodeError as error:
        return empty, [f"{path} is not valid TOML ({error}): the defaults apply."]


def parse_assignment(text: str) -> dict[str, Any]:
    """`completion.seed=3` from the command line as a nested dict. Raises ValueError with what to write."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ValueError(f"{text!r} is not of the form KEY=VALUE, as in completion.seed=3")
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    try:
        return dict(tomllib.loads(f"{key} = {value}"))
    except tomllib.TOMLDecodeError:
        pass
    try:  # a bare word: the shell has eaten the quotes
        return dict(tomllib.loads(f"{key} = {quoted}"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{text!r}: {error}") from None


def merge(layers: Sequence[Layer]) -> tuple[Settings, list[str]]:
    """The settings of all layers, the last one on top, and what is wrong with them."""
    problems: list[str] = []
    foreign: list[str] = []
    settings = Settings()
    repositories: dict[str, None] = {}
    for layer in layers:
        values = {key: value for key, value in layer.values.items() if key != "repositories"}
        settings = _overlay(settings, values, "", layer, problems, foreign)
        if "repositories" in layer.values:
            repositories |= dict.fromkeys(_repositories(layer, problems))
    if repositories:
        folders = tuple(dict.fromkeys((*settings.index.folders, *repositories)))
        settings = dataclasses.replace(settings, index=dataclasses.replace(settings.index, folders=folders))
    if foreign:
        names = ", ".join(f"`{key}`" for key in sorted(set(foreign)))
        problems.append(f"Tabby's {names} mean nothing here and are passed over.")
    return settings, problems


def _repositories(layer: Layer, problems: list[str]) -> Iterator[str]:
    """The folders that Tabby's `[[repositories]]` name. It would clone the others, and that we do not do."""
    tables = layer.values["repositories"]
    if not layer.trusted:
        problems.append(
            f"{layer.origin}: `repositories` is refused here, since a cloned repository could set it. "
            "Put it into config.toml, the command line or initializationOptions."
        )
        return
    for table in tables if isinstance(tables, list) else [tables]:
        url = table.get("git_url") if isinstance(table, Mapping) else None
        if not isinstance(url, str):
            problems.append(f"{layer.origin}: each of `repositories` must be a table with a `git_url`, not {table!r}.")
            continue
        path = machine.path_of_url(url) or Path(os.path.expanduser(url))
        if path.is_absolute():
            yield str(path)
        else:
            problems.append(
                f"{layer.origin}: the repository {url} is not on this machine. Clone it and name the folder in "
                "`index.folders`."
            )


def _overlay(
    node: Any, values: Mapping[str, Any], path: str, layer: Layer, problems: list[str], foreign: list[str]
) -> Any:
    """`node` with the values of one layer, checked key by key."""
    hints = get_type_hints(type(node))
    rules = {each.name: each.metadata for each in dataclasses.fields(node)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}{key}"
        if name in TABBY_ONLY:
            foreign.append(name)
        elif key not in hints:
            problems.append(f"{layer.origin}: unknown key `{name}`{_nearest(name)}.")
        elif dataclasses.is_dataclass(hints[key]):
            if isinstance(value, Mapping):
                changes[key] = _overlay(getattr(node, key), value, f"{name}.", layer, problems, foreign)
            else:
                problems.append(f"{layer.origin}: `{name}` must be a table, not {value!r}.")
        elif rules[key].get("switches"):
            changes[key] = _switched(getattr(node, key), value, name, layer, problems)
        elif rules[key].get("restricted") and not layer.trusted:
            problems.append(
                f"{layer.origin}: `{name}` is refused here, since a cloned repository could set it. "
                "Put it into config.toml, the command line or initializationOptions."
            )
        elif hints[key] == tuple[AdditionalLanguage, ...]:
            changes[key] = tuple(_languages(layer, name, value, problems))
        elif hints[key] == tuple[OwnModel, ...]:
            changes[key] = tuple(_tables(OwnModel(), ("name", "source"), layer, name, value, problems))
        elif hints[key] == tuple[OwnAction, ...]:
            changes[key] = tuple(_tables(OwnAction(), ("title", "prompt"), layer, name, value, problems))
        else:
            fault, checked = _check(hints[key], rules[key], value)
            if rules[key].get("model") and not fault:
                fault, checked = _model(value, layer)
            if fault:
                problems.append(f"{layer.origin}: `{name}` must be {fault}, not {value!r}.")
            else:
                changes[key] = checked
    return dataclasses.replace(node, **changes)


def _switched(before: Switches, table: Any, name: str, layer: Layer, problems: list[str]) -> Switches:
    """The switches with those of one layer. One that is not trusted cannot switch on what another has switched off."""
    if not isinstance(table, Mapping):
        problems.append(f"{layer.origin}: `{name}` must be a table, not {table!r}.")
        return before
    after = dict(before)
    for key, value in table.items():
        if not isinstance(value, bool):
            problems.append(f"{layer.origin}: `{name}.{key}` must be true or false, not {value!r}.")
        elif value and not layer.trusted and not is_on(before, key):
            problems.append(
                f"{layer.origin}: `{name}.{key}` cannot be switched on here, since a cloned repository could do so. "
                "Put it into config.toml, the command line or initializationOptions."
            )
        else:
            after[key] = value
    return tuple(sorted(after.items()))


def _languages(layer: Layer, name: str, values: Any, problems: list[str]) -> Iterator[AdditionalLanguage]:
    for each in values if isinstance(values, list | tuple) else [values]:
        try:
            yield languages.additional(each)
        except ValueError as error:
            problems.append(f"{layer.origin}: each of `{name}` must be {error}: {each!r}.")


T = TypeVar("T", OwnModel, OwnAction)


def _tables(
    empty: T, needed: tuple[str, str], layer: Layer, name: str, values: Any, problems: list[str]
) -> Iterator[T]:
    """Tables of one kind, each with what it needs."""
    for each in values if isinstance(values, list | tuple) else [values]:
        made = _overlay(empty, each, f"{name}.", layer, problems, []) if isinstance(each, Mapping) else empty
        if all(getattr(made, key) for key in needed):
            yield made
        else:
            what = " and a ".join(f"`{key}`" for key in needed)
            problems.append(f"{layer.origin}: each of `{name}` must be a table with a {what}: {each!r}.")


def _check(hint: Any, rules: Mapping[str, Any], value: Any) -> tuple[str, Any]:
    """What the value should have been (empty if it is right), and the value in the field's own type."""
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint in (int, float):
        right = isinstance(value, hint) and not isinstance(value, bool)
        low, high = rules.get("minimum"), rules.get("maximum")
        right = right and (low is None or value >= low) and (high is None or value <= high)
        bounds = " and ".join(
            f"{word} {bound}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
        )
        kind = "a whole number" if hint is int else "a number"
        return ("" if right else f"{kind} {bounds}".strip(), value)
    if hint is bool:
        return ("" if isinstance(value, bool) else "true or false", value)
    if hint is str:
        choices = rules.get("choices")
        if choices:
            return ("" if value in choices else "one of " + ", ".join(map(repr, choices)), value)
        return ("" if isinstance(value, str) else "a string", value)
    right = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    return ("" if right else "a list of strings", tuple(value) if right else value)


# Of a model that Tabby has downloaded: with the organisation that it is from, or without.
_MODEL_NAME = re.compile(r"(?![.~])[^/\\]+(/(?!\.)[^/\\]+)?(?<!\.gguf)")


def _model(value: str, layer: Layer) -> tuple[str, str]:
    """What should stand for a model in the place of a value that can be none, and the value as a name or absolute path.

    A name is none of a folder, wherever that stands: `./name` is.
    """
    path = Path(os.path.expanduser(value))
    if path.is_absolute():
        return "", str(path)
    if not value or _MODEL_NAME.fullmatch(value):
        return "", value
    if value.startswith("~"):
        return "the path of somebody who is known here", value
    if layer.folder is None:
        return "an absolute path, one that begins with ~, or the name of a model", value
    return "", os.path.abspath(layer.folder / path)


def _nearest(name: str) -> str:
    known = [key for key, _, _ in reference()]
    # The right name in the wrong table is the commonest slip, then a slip in the name.
    lasts = [key.rpartition(".")[2] for key in known]
    last = difflib.get_close_matches(name.rpartition(".")[2], lasts, n=1, cutoff=0.7)
    named = [key for key in known if key.rpartition(".")[2] in last]
    close = difflib.get_close_matches(name, named or known, n=1, cutoff=0.0 if named else 0.5)
    return f" (did you mean `{close[0]}`?)" if close else ""


def reference(node: Any = None, path: str = "") -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Every key with its default and its rules, in the order of the README's table."""
    node = Settings() if node is None else node
    for each in dataclasses.fields(node):
        value = getattr(node, each.name)
        if dataclasses.is_dataclass(value):
            yield from reference(value, f"{path}{each.name}.")
        else:
            yield f"{path}{each.name}", value, each.metadata


def reference_table() -> str:
    """The settings as a Markdown table: a test holds the README to it."""
    rows = ["| Key | Default | Meaning |", "|---|---|---|"]
    for key, default, rules in reference():
        shown = "`{}`" if "switches" in rules else f"`{json.dumps(default)}`"  # as TOML writes them, too
        choices = " One of " + ", ".join(f"`{each}`" for each in rules["choices"]) + "." if "choices" in rules else ""
        mark = " ¹" if rules.get("restricted") else ""
        rows.append(f"| `{key}`{mark} | {shown} | {rules['help']}{choices} |")
    return "\n".join(rows) + "\n"
