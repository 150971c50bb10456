"""How sure a model was of what it wrote, line by line, from the probabilities that it had anyway.

A line's confidence is the geometric mean of its tokens' probabilities: 1 / perplexity. It says nothing across models: a
larger one, or one of another vocabulary, is sure at other figures. So a threshold that was fitted on one model is that
model's alone. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

AUTOMATIC = -1.0
# By the model's own name. The starter, fitted on 480 holes in click, httpx and jsonschema: 15 % of its suggestions are
# below this, and with them go 3 % of the keys that could have been saved; on networkx, which had no say, 17 and 2 %. At
# 0.45 half of them would go, and of the others half as many again be right; but a newcomer whose starter is
# silent at every other place would take it for broken.
FITTED = {"tabby-starter": 0.25}
# Of any other model only what it took for a guess itself: on average less than one chance in ten for each token.
CAUTIOUS = 0.1


def least(model: str, wanted: float = AUTOMATIC) -> float:
    """How sure a model must be of what is shown: what is `wanted`, if anything is."""
    return FITTED.get(model, CAUTIOUS) if wanted == AUTOMATIC else wanted


def by_line(tokens: Sequence[tuple[int, float]], count: int) -> tuple[float, ...]:
    """The confidence of each of so many lines, given each token's line and probability. 1 for a line without tokens."""
    sums, counts = [0.0] * count, [0] * count
    for line, probability in tokens:
        if line < count:
            sums[line] += math.log(max(probability, 1e-9))
            counts[line] += 1
    return tuple(round(math.exp(total / max(1, number)), 4) for total, number in zip(sums, counts, strict=True))


def of_first(text: str, lines: Sequence[float]) -> float:
    """The confidence of the first line that is not blank."""
    return next((sure for line, sure in zip(text.split("\n"), lines, strict=False) if line.strip()), 1.0)


def before_doubt(text: str, lines: Sequence[float], enough: float) -> str:
    """The text up to the first line, behind the first one that is not blank, that the model was not so sure of."""
    written = text.split("\n")
    first = next((number for number, line in enumerate(written) if line.strip()), 0)
    for number in range(first + 1, min(len(written), len(lines))):
        if written[number].strip() and lines[number] < enough:
            return "\n".join(written[:number]).rstrip("\n")
    return text
