"""One model: fetched, written into the settings, or removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tabby_lsp import config, config_file
from tabby_lsp.commands import terminal
from tabby_lsp.commands.model_list import in_use
from tabby_lsp.commands.terminal import say, tell
from tabby_lsp.engine import gguf
from tabby_lsp.models import catalogue, client, finder, removal, starter
from tabby_lsp.models.catalogue import Entry, Source
from tabby_lsp.models.finder import Found
from tabby_lsp.settings import Settings

# What is said of a licence beside its name.
COMMERCIAL = {"yes": "", "terms": "with terms of its own", "no": "not for commercial use", "": ""}


def _meant(name: str, settings: Settings) -> Entry | Path | None:
    """What a name on the command line stands for: a model with a name, a source of one, or a file. Tells if nothing."""
    entry = catalogue.look_up(name, catalogue.entries(settings.models))
    if entry:
        return entry
    path = Path(os.path.expanduser(name))
    source = catalogue.elsewhere(name)
    if path.suffix == ".gguf" and path.exists():
        return path.absolute()
    if source is None:
        found = finder.named(name, settings.models)  # by the name that another program has for it
        if found or path.suffix == ".gguf":
            return found.path if found else path.absolute()
    advice = finder.advice(name, settings.models)
    if source and "did you mean" not in advice:
        return Entry(name, (source,))
    tell(f"there is no model {name!r}: {advice}")
    return None


def get(name: str, settings: Settings, dry_run: bool, as_json: bool) -> int:
    meant = _meant(name, settings)
    if meant is None:
        return 2
    if isinstance(meant, Path) or meant.path:
        path = meant if isinstance(meant, Path) else Path(meant.path)
        tell(f"{path} is a file on this machine. `tabby-lsp models use {name}` uses it.")
        return 0 if path.exists() else 1
    found = finder.on_this_machine(meant)
    source = _to_fetch(meant, found)
    if found and source is None:
        _tell_found(meant, found, as_json)
        return 0
    assert source
    return _fetch(meant, source, dry_run, as_json)


def _to_fetch(entry: Entry, found: Found | None) -> Source | None:
    """What to fetch. A file in the hub's cache of which all is known is checked there, and fetched again if damaged."""
    if found is None:
        return entry.sources[0]
    for source in entry.sources:
        if found.place == finder.HUB and source.commit and source.size and found.sha256 == source.parts[0].sha256:
            return source
    return None


def _tell_found(entry: Entry, found: Found, as_json: bool) -> None:
    if as_json:
        say(json.dumps({"event": "done", "path": str(found.path), "fetched": 0}))
    else:
        say(f"{entry.name} is on this machine already ({found.place}): {found.path}")


def _fetch(entry: Entry, source: Source, dry_run: bool, as_json: bool) -> int:
    status = 1
    with terminal.bar(entry.name) as bar:
        events = client.download(source, dry_run)
        try:
            for event in events:
                kind = event["event"]
                status = 0 if kind == "done" or (dry_run and kind == "plan") else 130 if kind == "stopped" else status
                if as_json:
                    say(json.dumps(event))
                elif kind == "plan":
                    bar.note(_plan(entry, event))
                elif kind == "progress":
                    bar.show(event["bytes"], event["total"])
                elif kind in ("checking", "waiting"):
                    bar.note(event["message"])
                elif kind == "done":
                    say(f"{'Fetched' if event['fetched'] else 'Checked'}: {event['path']}")
                    say(f"`tabby-lsp models use {entry.name}` uses it.")
                else:
                    tell(event.get("message", "stopped: what has come is kept, and the same command goes on."))
        except KeyboardInterrupt:  # it reached the other process, too
            tell("stopped: what has come is kept, and the same command goes on.")
            status = 130
    if status == 1 and not as_json and len(entry.sources) > 1:
        others = [each.repository for each in entry.sources if each != source and each.repository]
        tell(f"there are other files of this name: {', '.join(f'`models get {each}`' for each in others)}.")
    return status


def _plan(entry: Entry, event: dict[str, Any]) -> str:
    """What is about to be fetched: file, size, licence."""
    files = event["files"]
    name = files[0]["path"] + (f" and {len(files) - 1} more parts" if len(files) > 1 else "")
    size = f"{event['bytes'] / 1e9:.2f} GB" if event["bytes"] else "size not known"
    licence = entry.licence or event["licence"]
    commercial = entry.commercial or catalogue.licence_allows(licence)
    room = f", {event['free'] / 1e9:.0f} GB free" if event["free"] is not None else ""
    sure = "" if all(each["sha256"] for each in files) else "\nIts sha256 is not known: what comes cannot be checked."
    return (
        f"{entry.name}: {name}, {size}, from {event['repository']}\n"
        f"licence: {licence or 'not stated'}{_in_brackets(COMMERCIAL[commercial])}\n"
        f"to: {event['folder']}{room}{sure}"
    )


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def use(name: str, settings: Settings, role: str) -> int:
    meant = _meant(name, settings) if name.lower() not in ("tabby-starter", "starter") else starter.MODEL
    if meant is None:
        return 2
    path = meant if isinstance(meant, Path) else None
    if isinstance(meant, Entry):
        found = finder.on_this_machine(meant)
        if not found:
            tell(f"{meant.name} is not on this machine: {finder.advice(name, settings.models)}")
            return 1
        path = found.path
    assert path
    try:
        gguf.check(path)
    except gguf.HeaderError as error:
        tell(f"{path} {error}")
        return 1
    if isinstance(meant, Entry) and meant.roles and role not in meant.roles:
        tell(f"{meant.name} was made for {' and '.join(meant.roles)}: it will serve {role} badly.")
    value = "" if path == starter.MODEL else meant.name if isinstance(meant, Entry) else str(meant)
    file = config.tabby_root() / "config.toml"
    try:
        kept = config_file.set_text(file, ("model", role, "local", "model_id"), value)
    except config_file.CannotEdit as error:
        tell(str(error))
        return 1
    say(f"{file}: model.{role}.local.model_id = {json.dumps(value, ensure_ascii=False)}")
    if kept:
        say(f"The file as it was: {kept}")
    say(f"It is {path}. Editors that run take it when they are started again, or by the command `tabby.restart`.")
    return 0


def remove(name: str, settings: Settings, sure: bool) -> int:
    meant = _meant(name, settings)
    if meant is None:
        return 2
    entry = meant if isinstance(meant, Entry) else Entry(meant.name, (), path=str(meant))
    here = finder.everything()
    of_name = [each for each in here if finder.is_of(each, entry)]
    found = next((each for each in of_name if each.removable), of_name[0] if of_name else None)
    left = removal.unfinished(entry)
    if found is None and not left:
        tell(f"{name} is not on this machine.")
        return 1
    if found and not found.removable:
        how = f" (`ollama rm {found.name}`)" if found.place == "Ollama" else ""
        tell(f"{found.path} belongs to another ({found.place}): remove it there{how}.")
        return 1
    files = (removal.belongings(found) if found else []) + left
    size = sum(each.stat().st_size for each in files if each.exists() and not each.is_symlink())
    say("\n".join(str(each) for each in files if not each.is_symlink() and each.name != ".lock"))
    if found and found.place == finder.HUB:
        say("llama.cpp and every other program that uses the Hugging Face cache lose it, too.")
    for role, path in in_use(settings).items():
        if found and path == str(found.path):
            say(f"It is in use for {role}: nothing will be suggested until `tabby-lsp models use` names another one.")
    if not sure and not terminal.ask(f"Delete {size / 1e9:.2f} GB?"):
        say("Nothing is deleted." if os.isatty(0) else "Nothing is deleted: say --yes where nobody can be asked.")
        return 1
    removal.remove(files)
    say(f"{size / 1e9:.2f} GB are deleted.")
    return 0
