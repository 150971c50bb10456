"""What `tabby-lsp doctor` says of the index: whether there can be one here, and what that of this folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tabby_lsp.commands.listing import ago
from tabby_lsp.index.plan import plan
from tabby_lsp.index.search import Search
from tabby_lsp.index.shelf import held
from tabby_lsp.processes.once import Died, output_of
from tabby_lsp.settings import Settings

Tell = Callable[[bool, str, str], None]  # whether it is well, what it is about, the text


def check_index(settings: Settings, folder: Path | None, tell: Tell) -> None:
    """`folder` is the one that the command was started in; None if that is gone."""
    try:
        said = json.loads(output_of("tabby_lsp.index.checkup", 60))
    except Died as error:
        tell(False, "grammars", f"cannot be tried: {error}\nReinstall tabby-lsp and its dependencies.")
    else:
        broken = ", ".join(said["broken"])
        advice = f"do not parse: {broken}\nThese are read line by line. Reinstall tree-sitter-languages."
        tell(not broken, "grammars", advice if broken else f"all {said['grammars']} parse")
        without = (
            f"SQLite {said['sqlite']} has no full-text search ({said['fts5']})\nThere is no index with this Python."
        )
        tell(not said["fts5"], "search", without if said["fts5"] else f"SQLite {said['sqlite']} with FTS5")
    tell(*_held(settings, folder))


def _held(settings: Settings, folder: Path | None) -> tuple[bool, str, str]:
    wanted, note = plan([folder] if folder else [], settings.index, languages=settings.additional_languages)
    if wanted is None:
        return False, "index", note
    database = Path(wanted.database)
    found = next((each for each in held() if each.database == database), None)
    if found is None or not found.current:
        return True, "index", f"none of {wanted.folders[0]} yet: an editor makes it, or `tabby-lsp index`"
    search = Search(database)
    scanned = search.scanned()
    search.close()
    since = f"all of it looked at {ago(scanned)}" if scanned else "not all of it read so far"
    where = ", ".join(found.folders)
    return True, "index", f"{found.files:,} files of {where}, {found.bytes / 1e6:.1f} MB, {since}"
