"""Small files in which Linux says something of the machine, under a root that a test may choose."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/")


def said_by(path: Path) -> str:
    """What such a file says; empty where there is none, or none that may be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def number_in(path: Path) -> int | None:
    """The number in such a file, negative or not; None if it holds none."""
    try:
        return int(said_by(path))
    except ValueError:
        return None
