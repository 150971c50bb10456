"""The table of models: what is on this machine, and what would suit it."""

from __future__ import annotations

import json
from dataclasses import asdict

from tabby_lsp.commands import terminal
from tabby_lsp.commands.terminal import say, tell
from tabby_lsp.models import overview, speed
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
            ("licence", "words"),
            ("fits", "left"),
            ("where", "words"),
        ],
        [_cells(row) for row in shown],
    )
    say()
    if any(row.commercial == "no" for row in shown):
        say("* not for commercial use")
    if not everything:
        say(f"{len(rows) - len(shown)} more have a name: `tabby-lsp models --all`.")
    if any(row.recommended and not row.place for row in shown):
        say("“recommended” would suit this machine: `tabby-lsp models get NAME`, then `tabby-lsp models use NAME`.")
    return 0


def recommend(settings: Settings, as_json: bool) -> int:
    """Which models are fast enough here. Returns the exit status."""
    if not as_json:
        tell("measuring this machine, for some ten seconds …")
    try:
        rates = speed.measure()
    except speed.CannotMeasure as error:
        tell(str(error))
        return 1
    measured = [(row, speed.of_row(row, settings.models, rates)) for row in _rows(settings)]
    picks = speed.picks(measured)
    suitable = {name for names in overview.SUITABLE.values() for name in names}
    shown = [(row, each) for row, each in measured if each and (row.place or row.name in suitable)]
    if as_json:
        table = [{**asdict(row), "speed": asdict(each), "line_seconds": each.line_seconds} for row, each in shown]
        say(json.dumps({"models": table, "recommended": picks}, indent=2))
        return 0
    terminal.show_table(
        [
            ("name", "left"),
            ("role", "left"),
            ("size", "right"),
            ("fits", "left"),
            ("prompt", "right"),
            ("answer", "right"),
            ("a line in", "right"),
            ("fast enough", "words"),
        ],
        [_speed_cells(row, each, picks) for row, each in shown],
    )
    say()
    say(
        "prompt, answer: expected tokens a second. Fast enough: a suggestion of a line within a second; a chat's answer"
    )
    say("written as fast as one reads.")
    for role, name in picks.items():
        if name:
            say(f"For {role}: `tabby-lsp models get {name}`.")
        else:
            say(f"For {role} none of them is fast enough here.")
    return 0


def _speed_cells(row: overview.Row, expected: speed.Speed, picks: dict[str, str]) -> list[str]:
    name, roles, size, _, fits, _ = _cells(row)
    fast = [("completion", expected.completes_in_time), ("chat", expected.chats_in_time)]
    return [
        ("!" if row.name in picks.values() else "") + name.removeprefix("!"),
        roles,
        size,
        fits,
        f"{expected.prompt:.0f}",
        f"{expected.answer:.1f}",
        f"{expected.line_seconds:.1f} s",
        ", ".join(role for role, enough in fast if enough and role in row.roles) or "no",
    ]


def _rows(settings: Settings) -> list[overview.Row]:
    rows, problems = overview.table(settings)
    for each in problems:
        tell(each)
    return rows


def _cells(row: overview.Row) -> list[str]:
    where = [row.place] if row.place else ["recommended"] if row.recommended else []
    if row.used_for:
        where.append(f"in use for {' and '.join(row.used_for)}")
    if row.fits is False:
        where.append(f"needs {overview.size_text(row.memory, estimated=True)}")
    return [
        ("!" if row.used_for else "") + row.name,
        "both" if len(row.roles) == 2 else " ".join(row.roles),
        overview.size_text(row.size, row.estimated),
        row.licence + ("*" if row.commercial == "no" else ""),
        {True: "yes", False: "no", None: "?"}[row.fits],
        ", ".join(where),
    ]
