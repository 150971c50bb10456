"""How often a question in words finds the definition that answers it, beside `git grep`.

    python tests/eval/search.py [--trees DIR] [--only LANGUAGE] [--misses] [--mark]

The questions are those of questions.toml, about the trees of trees.toml: Python's library and packages that the test
extra installs, and those that fetch_trees.py has laid out in DIR. A tree that is not there is left out and named. Those
of small.toml, about the tree that lies beside it, are told apart: they are the gate of the tests.

An answer is right if its lines, sixty of them at most, and those of a wanted definition have one in common. Counted are
how often the first answer is right, one of the first five, one of the first ten, and the mean of 1/rank (MRR); with the
bounds of a bootstrap over the questions (95 %), and those of the difference to grep's.

Grep's answers are what one would read of `git grep -n -i` on the words of the question, without those that are in
every text: lines that lie near each other are one answer; the more different words it has the sooner it comes, and
then the fewer lines. Where there is no git, the files are read instead.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fetch_trees import HERE, tomllib, trees

from tabby_lsp.evaluation.measures import difference, mean
from tabby_lsp.index.answer import answer
from tabby_lsp.index.parts import Symbol
from tabby_lsp.index.search import Search
from tabby_lsp.index.store import Store
from tabby_lsp.index.symbols import outline
from tabby_lsp.index.walk import Found, Rules, Stamp, read, walk
from tabby_lsp.languages import language_of_path

MOST_ANSWERS, MOST_LINES = 10, 60
NEAR_LINES, MOST_BLOCK = 8, 40  # lines of grep's that are one answer, as `grep -C` would show them
LIBRARY_IGNORES = (
    "/test/",
    "/idlelib/idle_test/",
    "/lib2to3/tests/",
    "/unittest/test/",
    "/distutils/tests/",
    "/lib-dynload/",
)

# What stands in every question, and of which one would not grep.
COMMON = frozenset(
    "a all an and any are as at be because been before but by can could did do does for from had has have how if in"
    " into is it its itself like made make may more must need no not nobody nothing of off on one only or other out"
    " over so some than that the their them themselves then there they this those to too two up used was what when"
    " where whether which while who will with without".split()
)
STEM = 5  # letters that words of one stem have in common, or all of a shorter word

Place = tuple[str, int, int]  # a file and its lines, the last one included


@dataclass(frozen=True)
class Question:
    tree: str
    language: str
    ask: str
    want: tuple[str, ...]
    aside: bool

    @property
    def words(self) -> list[str]:
        return [word for word in re.findall(r"\w+", self.ask.lower()) if word not in COMMON]

    @property
    def names_it(self) -> bool:
        """Whether a word of the question is one of a wanted name."""
        names = [re.split(r"[.:]", each)[-1] for each in self.want]
        parts = {part.lower() for name in names for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}
        return any(_akin(word, part) for word in self.words for part in parts if len(part) > 1)


def _akin(one: str, other: str) -> bool:
    shorter = min(len(one), len(other), STEM)
    return one[:shorter] == other[:shorter] and (shorter > 2 or one == other)


def questions() -> list[Question]:
    languages = {name: tree["language"] for name, tree in trees().items()}
    return [
        Question(tree, languages[tree], row["ask"], tuple(_listed(row["want"])), row.get("aside", False))
        for tree, row in _rows("questions.toml")
    ]


def small_questions() -> list[Question]:
    return [
        Question("small", language, row["ask"], tuple(_listed(row["want"])), False)
        for language, row in _rows("small.toml")
    ]


def _rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for head, rows in tomllib.loads((HERE / name).read_text(encoding="utf-8")).items():
        yield from ((head, row) for row in rows)


def _listed(want: str | list[str]) -> list[str]:
    return [want] if isinstance(want, str) else want


def kept_aside(asked: Iterable[Question]) -> set[str]:
    """The questions of which no answer is looked at while the search is tuned: a half of each language."""
    by_language: dict[str, list[str]] = {}
    for each in asked:
        by_language.setdefault(each.language, []).append(each.ask)
    return {
        ask
        for asks in by_language.values()
        for ask in sorted(asks, key=lambda each: hashlib.sha256(each.encode()).digest())[: len(asks) // 2]
    }


def mark() -> None:
    """Writes into questions.toml which of them are kept aside."""
    aside = {each: True for each in kept_aside(questions())}
    path = HERE / "questions.toml"
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if not line.startswith("aside = ")]
    marked = []
    for line in lines:
        marked.append(line)
        if line.startswith("ask = ") and tomllib.loads(line)["ask"] in aside:
            marked.append("aside = true")
    path.write_text("\n".join(marked), encoding="utf-8")


# --- the trees


@dataclass(frozen=True)
class Tree:
    root: Path
    texts: Mapping[str, str]  # of the files that are searched, by their paths

    def places(self, want: str) -> list[Place]:
        """Where a wanted definition stands; nowhere if this version of the tree has none of that name."""
        path, _, name = want.rpartition(":")
        return [
            (each, symbol.first, symbol.last)
            for each in self.texts
            if each == path or each.endswith("/" + path) or each == path.partition("/")[2]
            for symbol in self.symbols(each)
            if _qualified(symbol) == name
        ]

    def symbols(self, path: str) -> Sequence[Symbol]:
        return outline(self.texts[path], language_of_path(path)).symbols


def _qualified(symbol: Symbol) -> str:
    return f"{symbol.scope}.{symbol.name}" if symbol.scope else symbol.name


def find_tree(name: str, fetched: Path | None) -> Tree | None:
    """None if it is not there."""
    modules = trees()[name].get("modules")
    ignore: tuple[str, ...] = ()
    if modules == "standard library":
        root, ignore = Path(sysconfig.get_path("stdlib")), LIBRARY_IGNORES
    elif modules:
        spec = importlib.util.find_spec(modules)
        if spec is None or not spec.submodule_search_locations:
            return None
        root = Path(spec.submodule_search_locations[0])
    elif fetched is None or not (fetched / name).is_dir():
        return None
    else:
        root = fetched / name
    return tree_of(root, ignore)


def tree_of(root: Path, ignore: tuple[str, ...] = ()) -> Tree:
    found = [each.path for each in walk(root, Rules(ignore)) if isinstance(each, Found)]
    texts = {path: text for path in found if (text := read(root / path)) is not None}
    return Tree(root, texts)


def laid_out(tree: Tree, folder: Path) -> Tree:
    """The tree with nothing beside what is searched, so that grep reads the same files as the index."""
    for path, text in tree.texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8", newline="")
    return Tree(folder, tree.texts)


def index_tree(tree: Tree, database: Path) -> Search:
    with Store.open(database) as store:
        for path, text in tree.texts.items():
            store.put(tree.root, path, language_of_path(path), text, Stamp(0, len(text)))
    return Search(database)


# --- who answers


def ask_index(search: Search, tree: Tree, question: str) -> list[Place]:
    found = answer(search, question, MOST_ANSWERS, {str(tree.root): Rules()})
    return [(each.path, each.first, each.last) for each in found.citations]


def ask_grep(tree: Tree, words: Sequence[str]) -> list[Place]:
    blocks: list[tuple[str, int, int, set[str]]] = []
    for path, number, line in _grep(tree, words):
        lower = line.lower()
        there = {word for word in words if word in lower}
        if blocks and blocks[-1][0] == path and number - blocks[-1][2] <= NEAR_LINES:
            if number - blocks[-1][1] < MOST_BLOCK:
                blocks[-1] = (path, blocks[-1][1], number, blocks[-1][3] | there)
                continue
        blocks.append((path, number, number, there))
    blocks.sort(key=lambda block: (-len(block[3]), block[2] - block[1]))
    return [block[:3] for block in blocks[:MOST_ANSWERS]]


def _grep(tree: Tree, words: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """The lines that hold any of the words, in the order of files."""
    git = shutil.which("git")
    if git is None:
        for path in sorted(tree.texts):
            for number, line in enumerate(tree.texts[path].split("\n")):
                if any(word in line.lower() for word in words):
                    yield path, number, line
        return
    command = [git, "grep", "--no-index", "-n", "-i", "-I", "-F", "--null", "--no-color"]
    command += [each for word in words for each in ("-e", word)]
    done = subprocess.run(command, cwd=tree.root, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    for line in done.stdout.decode("utf-8", "replace").split("\n"):
        path, _, rest = line.partition("\0")
        number, _, text = rest.partition("\0")
        if path in tree.texts and number.isdigit():
            yield path, int(number) - 1, text


# --- what comes of it


def rank(answers: Sequence[Place], wanted: Sequence[Place]) -> int:
    """Of the first right answer, from 1; 0 if there is none."""
    for number, (path, first, last) in enumerate(answers, 1):
        last = min(last, first + MOST_LINES - 1)
        if any(path == file and first <= end and begin <= last for file, begin, end in wanted):
            return number
    return 0


MEASURES: Mapping[str, Callable[[int], float]] = {
    "first": lambda rank: 100.0 * (rank == 1),
    "in first 5": lambda rank: 100.0 * (0 < rank <= 5),
    "in first 10": lambda rank: 100.0 * (0 < rank <= 10),
    "MRR": lambda rank: 1 / rank if rank else 0.0,
}


def table(title: str, ours: Sequence[int], grep: Sequence[int]) -> str:
    lines = [f"{title}, {len(ours)} questions".ljust(34) + "".join(f"{name:>22}" for name in MEASURES)]
    rows = {
        "tabby-lsp search": [mean([get(each) for each in ours]) for get in MEASURES.values()],
        "git grep": [mean([get(each) for each in grep]) for get in MEASURES.values()],
        "difference": [
            difference([get(each) for each in grep], [get(each) for each in ours]) for get in MEASURES.values()
        ],
    }
    for name, cells in rows.items():
        shown = []
        for each, measure in zip(cells, MEASURES, strict=True):
            digits = 2 if measure == "MRR" else 0
            sign = "+" if name == "difference" else ""
            shown.append(
                f"{each.value:{sign}.{digits}f} [{each.low:{sign}.{digits}f}, {each.high:{sign}.{digits}f}]"
                if each
                else "-"
            )
        lines.append(name.ljust(34) + "".join(f"{each:>22}" for each in shown))
    return "\n".join(lines)


@dataclass(frozen=True)
class Outcome:
    question: Question
    ours: int
    grep: int
    seconds: float


def examine(asked: Sequence[Question], tree: Tree, database: Path) -> Iterator[Outcome]:
    search = index_tree(tree, database)
    for each in asked:
        wanted = [place for want in each.want for place in tree.places(want)]
        if not wanted:
            raise SystemExit(f"{each.tree} has nothing of what is wanted: {each.want} ({each.ask})")
        begun = time.process_time()
        answers = ask_index(search, tree, each.ask)
        seconds = time.process_time() - begun
        yield Outcome(each, rank(answers, wanted), rank(ask_grep(tree, each.words), wanted), seconds)
    search.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trees", type=Path, metavar="DIR", help="where fetch_trees.py has laid them out")
    parser.add_argument("--only", metavar="LANGUAGE")
    parser.add_argument("--misses", action="store_true", help="name the questions without a right first answer (tuned)")
    parser.add_argument("--mark", action="store_true", help="write into questions.toml which are kept aside, no more")
    options = parser.parse_args()
    if options.mark:
        mark()
        return
    outcomes: list[Outcome] = []
    asked = [each for each in questions() if options.only in (None, each.language)]
    for name in dict.fromkeys(each.tree for each in asked):
        tree = find_tree(name, options.trees)
        if tree is None:
            print(f"{name} is left out: it is not there (see fetch_trees.py)", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as temporary:
            mine = [each for each in asked if each.tree == name]
            outcomes += examine(mine, laid_out(tree, Path(temporary, name)), Path(temporary, "index.sqlite"))
    if not outcomes:
        raise SystemExit("None of the trees is there.")
    with tempfile.TemporaryDirectory() as temporary:
        small = list(examine(small_questions(), tree_of(HERE / "small"), Path(temporary, "index.sqlite")))
    print(table("the small tree", [each.ours for each in small], [each.grep for each in small]))
    for title, aside in (("tuned", False), ("kept aside", True)):
        half = [each for each in outcomes if each.question.aside is aside]
        print(table(title, [each.ours for each in half], [each.grep for each in half]))
        foreign = [each for each in half if not each.question.names_it]
        if foreign:
            print(table("- no word of the name", [each.ours for each in foreign], [each.grep for each in foreign]))
    print(
        f"\n{'language':<12}{'questions':>10}{'first':>8}{'in 5':>8}{'MRR':>8}    grep{'first':>8}{'in 5':>8}{'MRR':>8}"
    )
    for language in dict.fromkeys(each.question.language for each in outcomes):
        some = [each for each in outcomes if each.question.language == language]
        cells = [
            f"{sum(get(rank) for rank in ranks) / len(some):>8.{2 if name == 'MRR' else 0}f}"
            for ranks in ([each.ours for each in some], [each.grep for each in some])
            for name, get in MEASURES.items()
            if name != "in first 10"
        ]
        print(f"{language:<12}{len(some):>10}{''.join(cells[:3])}        {''.join(cells[3:])}")
    times = sorted(1000 * each.seconds for each in outcomes)
    slow = times[int(0.95 * (len(times) - 1))]
    print(f"\nprocessor ms a question: median {times[len(times) // 2]:.1f}, 95 % {slow:.1f}")
    if options.misses:
        for each in outcomes:
            if each.ours != 1 and not each.question.aside:
                print(f"{each.ours:>3} {each.grep:>3}  {each.question.tree}: {each.question.ask}")


if __name__ == "__main__":
    main()
