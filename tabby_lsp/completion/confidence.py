"""How sure a model was of what it wrote, line by line, from the probabilities that it had anyway.

A line's confidence is the geometric mean of its tokens' probabilities: 1 / perplexity. It says nothing across models: a
larger one, or one of another vocabulary, is sure at other figures. So no threshold is fitted to a model here: there is
a cautious one for all, and the user's own. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

AUTOMATIC = -1.0
# Only what the model took for a guess itself: on average less than one chance in ten for each token. More would leave
# out more that is wrong. Of the starter's suggestions for 480 holes in click, httpx and jsonschema those above 0.25 are
# right more often by a tenth, those above 0.45 by a half. But while one types (`tests/bench/replay.py`), with the short
# prompts after a jump, it is less sure of everything: at 0.25 half of the keys had nothing to show, and a third of the
# keys that it could have saved were lost; at 0.15 a sixth of them.
CAUTIOUS = 0.1


def least(wanted: float = AUTOMATIC) -> float:
    """How sure a model must be of what is shown: what is `wanted`, if anything is."""
    return CAUTIOUS if wanted == AUTOMATIC else wanted


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
