"""What the index needs of this machine: `python -m tabby_lsp.index.checkup` writes it to stdout as JSON.

In a process of its own, since a grammar that was built for another machine takes its process along.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing

from tabby_lsp import languages, syntax


def main() -> None:
    table = languages.built_in().languages
    broken = [id for id, each in table.items() if each.grammar and syntax.errors("\n", id) is None]
    grammars = sum(bool(each.grammar) for each in table.values())
    said = {"sqlite": sqlite3.sqlite_version, "fts5": _why_no_fts5(), "grammars": grammars, "broken": broken}
    sys.stdout.write(json.dumps(said))


def _why_no_fts5() -> str:
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute("CREATE VIRTUAL TABLE probe USING fts5 (text)")
    except sqlite3.Error as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
