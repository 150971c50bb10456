"""A regular expression over all that is indexed, in a process of its own: nothing else can be stopped while it matches.

`scanned` runs this module for a limited time and takes what it has found by then. The process is told the question on
its stdin, and writes a line of JSON for each citation to its stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path

from tabby_lsp.data import from_json, to_json
from tabby_lsp.index.citation import Citation, cited_line
from tabby_lsp.index.current import Current
from tabby_lsp.index.passages import Passage
from tabby_lsp.index.question import Question, question
from tabby_lsp.index.search import Search
from tabby_lsp.index.walk import Rules
from tabby_lsp.processes.start import NEUTRAL_FOLDER, python

SCAN_SECONDS = 10.0  # CPython's library takes one
MOST_A_FILE = 20  # lines: a pattern that is on every one of them says no more


def scanned(
    database: Path, text: str, limit: int, rules: Mapping[str, Rules], seconds: float = SCAN_SECONDS
) -> tuple[list[Citation], bool]:
    """The first lines where the pattern of a question begins to match, and whether everything was looked at."""
    asked = {"database": str(database), "question": text, "limit": limit}
    asked["rules"] = {root: to_json(each) for root, each in rules.items()}
    process = subprocess.Popen(
        python("tabby_lsp.index.scan"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=NEUTRAL_FOLDER
    )
    try:
        output, _ = process.communicate(json.dumps(asked).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    # What stands behind the last line end was cut off with the process.
    found = [from_json(Citation, json.loads(line)) for line in output.split(b"\n")[:-1]]
    return found, process.returncode == 0


def main() -> None:
    asked = json.load(sys.stdin.buffer)
    rules = {root: from_json(Rules, each) for root, each in asked["rules"].items()}
    search = Search(Path(asked["database"]))
    found = _citations(search, question(asked["question"]), Current(rules, SCAN_SECONDS))
    for each in islice(found, asked["limit"]):
        sys.stdout.buffer.write(json.dumps(to_json(each)).encode() + b"\n")
        sys.stdout.buffer.flush()  # this process may end at any moment
    search.close()


def _citations(search: Search, asked: Question, current: Current) -> Iterator[Citation]:
    for _, passages in groupby(search.texts(asked), lambda each: (each.root, each.path)):
        indexed = list(passages)
        if any(asked.matches(each) for each in indexed):
            found = (line for each in current.passages(indexed) for line in _lines(each, asked))
            yield from islice(found, MOST_A_FILE)


def _lines(passage: Passage, asked: Question) -> Iterator[Citation]:
    """One for each line where a match begins."""
    before = -1
    for match in asked.pattern.finditer(passage.text) if asked.pattern else ():
        line = passage.first + passage.text.count("\n", 0, match.start())
        if line > before and line <= passage.last:
            before = line
            yield cited_line(passage, line)


if __name__ == "__main__":
    main()
