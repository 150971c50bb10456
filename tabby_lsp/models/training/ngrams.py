"""The yardstick: a token 5-gram with back-off over the same text, so that a reader sees what the network adds.

Interpolated Witten-Bell smoothing (Witten and Bell 1991, in the form of Chen and Goodman 1996, section 2.4):
P(w|h) = (count(hw) + kinds(h) P(w|h')) / (count(h) + kinds(h)), kinds(h) the number of different tokens seen
after h, h' the history without its oldest token, and below one token every one as likely as any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
ORDER = 5


@dataclass(frozen=True)
class Table:
    """All n-grams of one length, sorted: `keys` are (row of the first n-1 tokens) * vocabulary + last token."""

    keys: Ids
    sums: Ids  # one longer than `keys`: how often all n-grams before a row were seen


@dataclass(frozen=True)
class NGrams:
    vocabulary: int
    tables: tuple[Table, ...]  # of 1, 2, ... tokens

    def probabilities(self, history: list[int]) -> npt.NDArray[np.float64]:
        """Of each token of the vocabulary to come next, shape [vocabulary]."""
        found = np.full(self.vocabulary, 1.0 / self.vocabulary)
        for length in range(min(len(self.tables), len(history) + 1)):
            row = self._row(history[len(history) - length :])
            if row is None:
                break  # a history that was never seen has no longer one that was
            table = self.tables[length]
            first, last = np.searchsorted(table.keys, (row * self.vocabulary, (row + 1) * self.vocabulary))
            if last == first:
                break
            counts = np.diff(table.sums[first : last + 1])
            found *= last - first
            found[table.keys[first:last] - row * self.vocabulary] += counts
            found /= counts.sum() + (last - first)
        return found

    def _row(self, tokens: list[int]) -> int | None:
        """Where the table of this length holds these tokens."""
        row = 0
        for table, token in zip(self.tables, tokens, strict=False):
            key = row * self.vocabulary + token
            row = int(np.searchsorted(table.keys, key))
            if row == len(table.keys) or table.keys[row] != key:
                return None
        return row

    def bits(self, ids: list[int]) -> float:
        """Of the ids after the first, the first being given."""
        return float(
            sum(-np.log2(self.probabilities(ids[max(0, at - ORDER + 1) : at])[ids[at]]) for at in range(1, len(ids)))
        )


def count_ngrams(files: list[Ids], vocabulary: int, order: int = ORDER) -> NGrams:
    """From the token ids of each file; no n-gram reaches over a file's end."""
    ids = np.concatenate(files).astype(np.int64)
    room = np.concatenate([np.arange(len(file), 0, -1) for file in files])  # tokens from here to the file's end
    starts = np.arange(len(ids))
    rows = np.zeros(len(ids), dtype=np.int64)
    tables = []
    for length in range(1, order + 1):
        inside = room[starts] >= length
        starts, rows = starts[inside], rows[inside]
        keys, rows, counts = np.unique(
            rows * vocabulary + ids[starts + length - 1], return_inverse=True, return_counts=True
        )
        tables.append(Table(keys, np.concatenate(([0], np.cumsum(counts)))))
    return NGrams(vocabulary, tuple(tables))
