"""How much of true text the stops and filters lose: what stood in a hole goes through them as if a model wrote it.

    python tests/eval/oracle.py DIR [DIR …] [--holes N] [--files N] [--languages a,b] [--show N] [--seed N]

For each language the share of the holes whose text is dropped, cut short or changed (which is: something else is put
there, or more than was taken out), the share of the characters that is lost so, and where most of it happens. `--show`
prints holes of which something is lost.

Five kinds of holes, as many of each, that need no grammar: the rest of a line; what stands between brackets; a whole
line; a line with those below it that are indented deeper, and the one that closes them; lines up to a blank one. Left
out are holes of less than three characters, and those whose last line stands right below them once more: nobody can
tell these two apart.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.completion.context import surround
from tabby_lsp.completion.filters import FILTERS
from tabby_lsp.completion.overtype import overtyped
from tabby_lsp.completion.stops import Stops, indentation, stop_rules
from tabby_lsp.data import CompletionContext
from tabby_lsp.index.contents import why_by_extension, why_by_head
from tabby_lsp.index.walk import Rules, walk
from tabby_lsp.languages import language_of_path
from tabby_lsp.text import begin_alike, split_lines

SHORTEST = 3  # characters of a hole, blanks not counted
MOST_LINES = 12  # of a hole: more than the tokens of a suggestion are enough for
FEWEST_CHARACTERS, MOST_CHARACTERS = 200, 60_000  # of a file
TRIES = 30  # places that are looked at for each hole that is wanted

# As vocabularies cut text: words with the blank before them, runs of marks, a line end with the indentation behind it.
_TOKEN = re.compile(r"\n[ \t]*| ?\w+| ?[^\w\s]+|\s")
_BRACKETS = re.compile(r"\(([^()\n]{3,120})\)|\[([^][\n]{3,120})\]|\{([^{}\n]{3,120})\}")
_CLOSER = re.compile(r"[)\]}]+[;,)]*|(?:end|fi|done|esac)[;,)]*|</[\w.:-]+>")


@dataclass(frozen=True, slots=True)
class Hole:
    """What of a text stands from `start` to `end`, without white space at its ends."""

    text: str
    start: int
    end: int
    language: str

    @property
    def wanted(self) -> str:
        return self.text[self.start : self.end]

    @property
    def context(self) -> CompletionContext:
        above = self.text[: self.start]
        lines = split_lines(above + self.text[self.end :])
        prefix, line_suffix, suffix, first = surround(lines, above.count("\n"), len(above) - above.rfind("\n") - 1)
        return CompletionContext(prefix, line_suffix, suffix, first, language=self.language)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left of a hole's text, and the step that first made it another one; "" if none did."""

    hole: Hole
    left: str
    replace: int
    step: str

    @property
    def kind(self) -> str:
        wanted = self.hole.wanted
        if self.left == wanted and not self.replace:
            return "kept"
        return "dropped" if not self.left else "cut" if wanted.startswith(self.left) else "changed"

    @property
    def lost(self) -> int:
        """Characters of the hole that are not shown."""
        return len(self.hole.wanted) - begin_alike(self.hole.wanted, self.left)


def outcome(hole: Hole) -> Outcome:
    context, wanted = hole.context, hole.wanted
    text, step = _stopped(wanted, context)
    for each in FILTERS:
        text = each(text, context) if text else ""
        if text.rstrip() != wanted:
            step = step or each.__name__
    replace = overtyped(text, context) if text else 0
    return Outcome(hole, text.rstrip(), replace, step or ("overtyped" if replace else ""))


def _stopped(wanted: str, context: CompletionContext) -> tuple[str, str]:
    """The text as far as it is written, token by token, and why it ends there if it does."""
    stops, text = Stops(stop_rules(context)), ""
    for token in _TOKEN.findall(wanted):
        text += token
        if stop := stops.find(text):
            text = text[: stop.length]
            return text, "" if text.rstrip() == wanted else f"stop: {stop.reason}"
    return text, ""


# --- holes: (start, end) in a text whose lines begin at `starts`, or None if what was looked at does not do


class _Lines:
    def __init__(self, text: str) -> None:
        self.text = text
        self.all = text.split("\n")
        self.starts = [0]
        for line in self.all:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def begin(self, number: int) -> int:
        line = self.all[number]
        return self.starts[number] + len(line) - len(line.lstrip(" \t"))

    def end(self, number: int) -> int:
        return self.starts[number] + len(self.all[number].rstrip())


def _rest(lines: _Lines, number: int, chance: random.Random) -> tuple[int, int] | None:
    begin, end = lines.begin(number), lines.end(number)
    return (chance.randrange(begin, end), end) if begin < end else None


def _between(lines: _Lines, number: int, chance: random.Random) -> tuple[int, int] | None:
    found = list(_BRACKETS.finditer(lines.all[number]))
    if not found:
        return None
    each = chance.choice(found)
    start, end = next(each.span(group) for group in (1, 2, 3) if each[group] is not None)
    return lines.starts[number] + start, lines.starts[number] + end


def _whole(lines: _Lines, number: int, chance: random.Random) -> tuple[int, int] | None:
    return lines.begin(number), lines.end(number)


def _block(lines: _Lines, number: int, chance: random.Random) -> tuple[int, int] | None:
    depth, last = indentation(lines.all[number]), number
    following = _lines_below(lines, number)
    for last, line in following:
        if indentation(line) <= depth:
            closes = last > number + 1 and indentation(line) == depth and _CLOSER.fullmatch(line.strip())
            last -= 0 if closes else 1
            break
    if last - number not in range(1, MOST_LINES):
        return None
    begin = lines.begin(number)
    return begin if chance.random() < 0.5 else chance.randrange(begin, lines.end(number)), lines.end(last)


def _paragraph(lines: _Lines, number: int, chance: random.Random) -> tuple[int, int] | None:
    depth, last = indentation(lines.all[number]), number
    for last, line in _lines_below(lines, number):
        if indentation(line) < depth:
            last -= 1
            break
    return (lines.begin(number), lines.end(last)) if last - number in range(1, MOST_LINES) else None


def _lines_below(lines: _Lines, number: int) -> Iterator[tuple[int, str]]:
    """Those below a line up to a blank one."""
    for below in range(number + 1, len(lines.all)):
        if not lines.all[below].strip():
            return
        yield below, lines.all[below]


_KINDS = (_rest, _between, _whole, _block, _paragraph)


def holes(texts: Sequence[str], language: str, count: int, seed: int) -> list[Hole]:
    """So many, as many of each kind and about as many of each text; fewer where there is little to cut."""
    chance, found = random.Random(seed), dict[tuple[int, int, int], Hole]()
    cut = [_Lines(text) for text in texts]
    for kind in _KINDS:
        wanted = len(found) + count // len(_KINDS)
        for _ in range(TRIES * count // len(_KINDS)):
            if len(found) >= wanted:
                break
            place = chance.randrange(len(cut))
            lines = cut[place]
            number = chance.randrange(len(lines.all))
            span = kind(lines, number, chance) if lines.all[number].strip() else None
            if span is None:
                continue
            start, end = _stripped(lines.text, *span)
            if len(re.sub(r"\s", "", lines.text[start:end])) >= SHORTEST and not _said_again(lines.text, start, end):
                found.setdefault((place, start, end), Hole(lines.text, start, end, language))
    return list(found.values())


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def _said_again(text: str, start: int, end: int) -> bool:
    last = text[text.rfind("\n", 0, end) + 1 : end]
    below = next((line for line in text[end:].split("\n")[1:] if line.strip()), "")
    return below.rstrip() == last.rstrip()


def read_files(folders: Iterable[Path], most: int, seed: int) -> dict[str, list[str]]:
    """Texts by language, at most so many of each: as many of each folder, as far as they go."""
    found: dict[str, dict[Path, list[Path]]] = {}
    for folder in folders:
        for entry in sorted(walk(folder, Rules()), key=lambda each: each.path):
            if not why_by_extension(Path(entry.path).name):
                language = language_of_path(entry.path)
                found.setdefault(language, {}).setdefault(folder, []).append(folder / entry.path)
    texts: dict[str, list[str]] = {}
    for language, by_folder in sorted(found.items()):
        chance = random.Random(seed)
        for paths in by_folder.values():
            chance.shuffle(paths)
        waiting = [paths for _, paths in sorted(by_folder.items())]
        while waiting and len(texts.get(language, ())) < most:
            waiting = [paths for paths in waiting if paths]
            for paths in waiting:
                if (text := _text(paths.pop())) and len(texts.get(language, ())) < most:
                    texts.setdefault(language, []).append(text)
    return texts


def _text(path: Path) -> str:
    """What a file says, or "" if nobody would complete in it."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError):
        return ""
    is_read = FEWEST_CHARACTERS <= len(text) <= MOST_CHARACTERS and not why_by_head(content, path.name)
    return text if is_read and "\x1b" not in text else ""  # colours for a terminal


def table(outcomes: dict[str, list[Outcome]], files: dict[str, int]) -> Iterator[str]:
    yield f"{'language':<18}{'files':>6}{'holes':>6}{'dropped':>9}{'cut':>7}{'changed':>9}{'lost':>8}{'characters':>12}"
    for language, each in sorted(outcomes.items()):
        kinds = Counter(one.kind for one in each)
        share = {kind: 100 * count / max(1, len(each)) for kind, count in kinds.items()}
        characters = 100 * sum(one.lost for one in each) / max(1, sum(len(one.hole.wanted) for one in each))
        lost = 100 - share.get("kept", 0.0)
        steps = Counter(one.step for one in each if one.kind != "kept").most_common(3)
        yield (
            f"{language:<18}{files[language]:>6}{len(each):>6}"
            + f"{share.get('dropped', 0):>8.1f}%{share.get('cut', 0):>6.1f}%{share.get('changed', 0):>8.1f}%"
            + f"{lost:>7.1f}%{characters:>11.1f}%  {', '.join(f'{step} {count}' for step, count in steps)}"
        )


def drawn(each: Outcome) -> str:
    """A hole as the golden cases are drawn, and what is left of it."""
    context = each.hole.context
    above, below = context.prefix.split("\n")[-3:], context.suffix.split("\n")[:3]
    around = "\n".join(above) + f"├{each.hole.wanted}┤" + context.line_suffix + "\n".join(below)
    return f"=== {each.hole.language}, {each.kind}: {each.step}\n{around}\n--- {each.replace}\n{each.left}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--holes", type=int, default=300, help="in each language (default: 300)")
    parser.add_argument("--files", type=int, default=60, help="of each language at most (default: 60)")
    parser.add_argument("--languages", default="", help="ids with commas between them (default: all)")
    parser.add_argument("--show", type=int, default=0, help="so many holes of each language of which something is lost")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wanted = {each for each in options.languages.split(",") if each}
    texts = read_files([folder.resolve() for folder in options.folders], options.files, options.seed)
    found = {
        language: [outcome(hole) for hole in holes(texts[language], language, options.holes, options.seed)]
        for language in texts
        if not wanted or language in wanted
    }
    for line in table(found, {language: len(each) for language, each in texts.items()}):
        print(line)
    for each in found.values():
        for one in [one for one in each if one.kind != "kept"][: options.show]:
            print(drawn(one))


if __name__ == "__main__":
    main()
