"""The table of models: what is on this machine, and what would suit it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tabby_lsp import config, machine
from tabby_lsp.commands import terminal
from tabby_lsp.commands.terminal import say, tell
from tabby_lsp.models import catalogue, finder, overview, registry
from tabby_lsp.settings import Settings


def show(settings: Settings, everything: bool, as_json: bool) -> int:
    """The table, or the same as JSON. Returns the exit status."""
    rows = _rows(settings)
    shown = [row for row in rows if everything or row.place or row.recommended]
    if as_json:
        say(json.dumps([asdict(row) for row in shown], indent=2))
        return 0
    terminal.show_table(
        [
            ("name", "left"),
            ("role", "left"),
            ("size", "right"),
            ("licence", "left"),
            ("fits", "left"),
            ("where", "left"),
        ],
        [_cells(row) for row in shown],
    )
    say()
    if not everything:
        say(f"{len(rows) - len(shown)} more have a name: `tabby-lsp models --all`.")
    if any(row.recommended and not row.place for row in shown):
        say("“recommended” would suit this machine: `tabby-lsp models get NAME`, then `tabby-lsp models use NAME`.")
    return 0


def _rows(settings: Settings) -> list[overview.Row]:
    entries = catalogue.entries(settings.models)
    wanted = overview.recommended(machine.core_count(), machine.available_memory())
    local = settings.model.completion.local
    return overview.rows(entries, finder.everything(), in_use(settings), local, wanted)


def in_use(settings: Settings) -> dict[str, str]:
    """The file of the model of each role, as far as there is one."""
    file, _ = config.read_config_file(config.tabby_root() / "config.toml")
    ids = {
        "completion": settings.model.completion.local.model_id,
        "chat": _text(file.values, "model.chat.local.model_id"),
    }
    used = {}
    for role, model_id in ids.items():
        if model_id or role == "completion":
            try:
                used[role] = str(registry.find(model_id, config.tabby_root(), settings.models))
            except registry.ModelNotFound as error:
                tell(f"the model for {role}: {error}")
    return used


def _text(values: Any, key: str) -> str:
    for name in key.split("."):
        values = values.get(name, "") if isinstance(values, dict) else ""
    return values if isinstance(values, str) else ""


def _cells(row: overview.Row) -> list[str]:
    size = f"{'≈ ' if row.estimated else ''}{row.size / 1e9:.2f} GB" if row.size >= 1e8 else f"{row.size / 1e6:.1f} MB"
    fits = {True: "yes", False: "no", None: "?"}[row.fits]
    if row.fits is False:
        fits = f"no, {row.memory / 1e9:.1f} GB"
    where = f"in use for {' and '.join(row.used_for)}" if row.used_for else "recommended" if row.recommended else ""
    return [
        ("!" if row.used_for else "") + row.name,
        " ".join(row.roles).replace("none", "cannot write"),
        size if row.size else "?",
        row.licence + {"no": " (not commercial)"}.get(row.commercial, ""),
        fits,
        ", ".join(each for each in (row.place, where) if each),
    ]
