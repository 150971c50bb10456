"""Files that no model reads, by the patterns of `completion.disable`. The walk's ignore rules say what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pathspec takes 40 ms, and few have such patterns
    from tabby_lsp.index.ignore import Layer


class Disabled:
    """What the patterns name. `problems` are those of them that name nothing: the user relies on each one."""

    def __init__(self, patterns: tuple[str, ...] = ()) -> None:
        self._layer: Layer | None = None
        self.problems: list[str] = []
        if not patterns:
            return
        from tabby_lsp.index.ignore import settings_layer

        self._layer = settings_layer(patterns)
        for each in patterns:
            if each.strip() and not each.startswith("#") and not settings_layer((each,)).patterns.each:
                self.problems.append(
                    f"`completion.disable`: {each!r} names nothing. It must be a pattern of a `.gitignore`."
                )

    def names(self, path: str) -> bool:
        """Whether a file is named, or a folder that it is in. `path` has "/" and is relative to the patterns' place."""
        if self._layer is None:
            return False
        from tabby_lsp.index.ignore import verdict

        parts = path.split("/")
        ways = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        return any(verdict(way, way.rpartition("/")[2], way != path, (self._layer,))[0] for way in ways)
