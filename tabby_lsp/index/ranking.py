"""Which passages answer a question best: BM25 over fields of different weight, words of the same meaning counting less.

After S. Robertson and H. Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009): the fields' weighted
counts of a word are added before they saturate. The figures are those that were best on the tuned half of
`tests/eval/questions.toml`, where halving or doubling any of them changes the mean of 1/rank by .02 at most.
Knows no files and no database.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tabby_lsp.index.contents import is_test
from tabby_lsp.index.entry import FIELDS
from tabby_lsp.index.passages import Passage
from tabby_lsp.index.question import RELATED, Concept
from tabby_lsp.index.words import tokens
from tabby_lsp.languages import language

# Weight of a field, and how far its length counts against it.
_FIELDS = {"file": (2.0, 0.0), "names": (5.0, 0.3), "scopes": (2.0, 0.3), "docs": (3.0, 0.5), "text": (1.0, 0.75)}
_SATURATION = 2.0  # k1 of BM25
_DEFINING = 1.2  # what defines something is rather meant than what stands between definitions
_BESIDE = 0.6  # tests and what is no code say the same words as what they are about

_CODE = ("code", "style")


def ranked(
    passages: Sequence[Passage], concepts: Sequence[Concept], counts: Mapping[str, int], total: int
) -> list[tuple[float, Passage]]:
    """The best first. `counts` says of each token of the question in how many of `total` passages it is."""
    meant: dict[str, list[tuple[int, float]]] = {}  # by a token: the concepts that it means, and how much it does
    for number, concept in enumerate(concepts):
        for token in concept.own:
            meant.setdefault(token, []).append((number, 1.0))
        for token in concept.others:
            meant.setdefault(token, []).append((number, RELATED))
    rarities = [_rarity(concept, counts, total) for concept in concepts]
    fields = [{name: tokens(text) for name, text in _texts(each).items()} for each in passages]
    lengths = {name: max(1.0, sum(len(each[name]) for each in fields) / max(1, len(fields))) for name in _FIELDS}
    scores = []
    for passage, field in zip(passages, fields, strict=True):
        said = [0.0] * len(concepts)
        for name, (weight, share) in _FIELDS.items():
            weight /= 1 - share + share * len(field[name]) / lengths[name]
            for token in field[name]:
                for number, worth in meant.get(token, ()):
                    said[number] += worth * weight
        score = sum(rarity * each / (each + _SATURATION) for rarity, each in zip(rarities, said, strict=True))
        scores.append(score * _standing(passage))
    order = sorted(range(len(passages)), key=lambda number: (-scores[number], number))
    return [(scores[number], passages[number]) for number in order if scores[number] > 0]


def _rarity(concept: Concept, counts: Mapping[str, int], total: int) -> float:
    """That of the word itself; where it is nowhere, that of a word that is in few passages."""
    count = max((counts.get(token, 0) for token in concept.own), default=0) or 1
    return math.log(1 + max(0.0, total - count + 0.5) / (count + 0.5))


def _standing(passage: Passage) -> float:
    defines = any(each.kind not in FIELDS for each in passage.begun)
    beside = language(passage.language).kind not in _CODE or is_test(passage.path)
    return (_DEFINING if defines else 1.0) * (_BESIDE if beside else 1.0)


def reach(passage: Passage) -> tuple[bool, int, int, str, int]:
    """What can be reached from outside first, and what is no test."""
    scope = passage.symbols[0].scope
    depth = scope.count(".") + bool(scope)
    return is_test(passage.path), depth, passage.path.count("/"), passage.path, passage.first


def _texts(passage: Passage) -> dict[str, str]:
    begun = passage.begun
    around = [each.name for each in passage.symbols if each.first < passage.first]
    return {
        "file": passage.path.rpartition("/")[2].partition(".")[0],
        "names": " ".join(each.name for each in begun if each.kind not in FIELDS),
        "scopes": " ".join([*(each.scope for each in begun), *around]),
        "docs": "\n".join(each.doc for each in begun),
        "text": passage.text,
    }
