"""What a file defines, imports and uses: by the grammar of its language, or else line by line.

The queries in `queries/` name what they find; this module knows those names and no grammar:

- `@definition.<kind>` a definition, with its `@name` and, where it has one, its `@body`, or the end of its `@head`;
  `@receiver` is the type that a method names. Matches of the same node are parts of one definition, and the most
  telling kind counts.
- `@scope` gives a name to what is in it, and is not a symbol.
- `@outer` and `@decorated` begin before the definition that is first in them and belong to it; what is `@outer`
  belongs to its signature too. `@attached` and `@comment` belong to the definition in the line below.
- `@doc` is a docstring, if a body begins with it.
- `@import`, with `@import.module`, `.name` and `.alias`; with `.function` only if it is one that imports. What of a
  pattern is in its `@import.statement` belongs to each `@import` there. References are not looked for in an import,
  nor in `@import.whole`.
- `@reference` is any identifier. In an `@error` the lines are read, too.

Patterns marked "older" or "newer" are of one generation of grammars (see `tabby_lsp.syntax`).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import accumulate

from tabby_lsp import languages, syntax
from tabby_lsp.index.chunks import chunks
from tabby_lsp.index.comments import first_paragraph
from tabby_lsp.index.lines import is_keyword, read_lines
from tabby_lsp.index.parts import Definition, Import, Outline, Symbol, nest, symbols_of
from tabby_lsp.syntax import Capture, Reading
from tabby_lsp.text import split_lines

__all__ = ["Import", "Outline", "Symbol", "outline"]

_KINDS = ("class", "function", "module", "type", "constant", "variable", "")  # the most telling first
_IS_TYPE = {kind: kind in ("class", "type") for kind in _KINDS}
_STATEMENT = "import.statement"
_IMPORTING = {"require", "require_relative", "load", "autoload"}
_SINGLE = ("decorated", "outer", "attached", "comment", "doc", "import.whole", "error")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]+")
_ECMASCRIPT, _C_FAMILY = "ecmascript", "c_family"  # what is the same in several grammars
_QUERIES_OF = {
    "javascript": (_ECMASCRIPT, "javascript"),
    "typescript": (_ECMASCRIPT, "typescript"),
    "tsx": (_ECMASCRIPT, "typescript"),
    "c": (_C_FAMILY, "c"),
    "cpp": (_C_FAMILY, "cpp"),
}
# What a header is in truth is not in its name: here is what it may be instead, and the words that say so.
_MAY_BE = {"c": ("cpp", re.compile(r"^\s*(?:class|namespace|template|(?:public|private|protected)\s*:)", re.MULTILINE))}
_HEAD_REACH = 80  # characters before a definition in which words like `export` are looked for
_NAME = re.compile(r"(?:[\w$#.@~:]|\\)+[?!=]?|operator\W+|[^\w\s()]+")
_WORDS = re.compile(r"[\w\s]*")
_QUOTED = re.compile(r"([\"'`])(.+)\1")


def outline(text: str, language: str) -> Outline:
    """Never fails: what no grammar can read is read by its lines."""
    lines = split_lines(text)
    found = _read(text, lines, language)
    definitions, imports, references = found or read_lines(lines, language)
    tops = nest(definitions)
    return Outline(symbols_of(tops), tuple(imports), tuple(references), chunks(lines, tops), found is not None)


def _read(
    text: str, lines: Sequence[str], language: str
) -> tuple[list[Definition], list[Import], Iterable[str]] | None:
    """What the grammar says; None where there is none or it cannot be used."""
    reading = _reading(text, language)
    if reading is None:
        return None
    single: dict[str, list[Capture]] = {name: [] for name in _SINGLE}
    patterns: dict[int, list[Capture]] = {}
    for each in reading.captures:
        if each.name in single:
            single[each.name].append(each)
        else:
            patterns.setdefault(each.pattern, []).append(each)
    things = [thing for number in sorted(patterns) for thing in _parted(patterns[number], reading.names[number])]
    imports, spans = _imports(text, things)
    definitions, names = _definitions(text, things)
    definitions = [each for each in definitions if (each.start, each.end) not in spans]  # `const a = require("a")`
    _extend(definitions, text, single)
    _comment(definitions, text, single)
    spans.update((each.start, each.end) for each in single["import.whole"])
    if single["error"]:
        definitions.extend(_missed(definitions, lines, language, single["error"]))
    return definitions, imports, _references(text, lines, reading, spans, names)


def _reading(text: str, language: str) -> Reading | None:
    if not query(language):
        return None
    found = syntax.read(text, language, query(language))
    if found is None or language not in _MAY_BE:
        return found
    name, words = _MAY_BE[language]
    unclear, said = len(_unclear(found.captures)), words.search(text) is not None
    other = _reading(text, name) if unclear or said else None
    return other if other is not None and len(_unclear(other.captures)) < unclear + said else found


def _unclear(captures: Iterable[Capture]) -> set[int]:
    """The lines that the grammar does not understand."""
    return {line for each in captures if each.name == "error" for line in range(each.first, each.last + 1)}


@cache
def query(language: str) -> str:
    """The text of the query for a language; "" if there is none."""
    grammar = languages.language(language).grammar
    folder = files("tabby_lsp.index").joinpath("queries")
    names = _QUERIES_OF.get(grammar, (grammar,))
    found = [folder.joinpath(f"{name}.scm") for name in names]
    return "\n".join(each.read_text(encoding="utf-8") for each in found if each.is_file())


Thing = tuple[Capture, Sequence[Capture]]  # what is defined or imported, and its parts


@dataclass(slots=True)
class _Node:
    """What the patterns say of one node that defines something."""

    node: Capture
    kinds: set[str] = field(default_factory=set)
    names: list[Capture] = field(default_factory=list)
    body: int = -1
    head: int = -1
    receiver: str = ""


def _definitions(text: str, things: Iterable[Thing]) -> tuple[list[Definition], set[int]]:
    """The definitions in order of the file, and where the names stand that they define."""
    nodes: dict[tuple[int, int], _Node] = {}
    for whole, parts in things:
        if whole.name == "import":
            continue
        node = nodes.setdefault((whole.start, whole.end), _Node(whole))
        node.kinds.add(whole.name.partition(".")[2])
        for each in parts:
            if each.name == "name" and _NAME.fullmatch(text, each.start, each.end):
                node.names.append(each)
            elif each.name == "body":
                node.body = each.start
            elif each.name == "head":
                node.head = max(node.head, each.end)
            elif each.name == "receiver":
                node.receiver = text[each.start : each.end]
    found: list[Definition] = []
    places: set[int] = set()
    for key in sorted(nodes, key=lambda key: (key[0], -key[1])):
        for name, place in _names(text, nodes[key].names).items():
            definition = _definition(text, nodes[key], name)
            if definition.kind:
                places.add(place)
            if not (found and _is_twin(found[-1], definition)):
                found.append(definition)
    return found, places


def _parted(captures: Sequence[Capture], names: frozenset[str]) -> Iterator[Thing]:
    """The things that a pattern finds, each with what belongs to it: what is in it and in none that is further inside,
    and what is only in the statement around several. Those that lack one of the pattern's names were not found.
    """
    wholes = {name for name in names if name in ("import", "scope") or name.startswith("definition.")}
    things: list[tuple[Capture, list[Capture], list[Capture]]] = []
    around: list[tuple[Capture, list[Capture]]] = []  # the nodes with parts, from the outermost on
    ranks = {_STATEMENT: 0, **dict.fromkeys(wholes, 1)}
    for each in sorted(set(captures), key=lambda each: (each.start, -each.end, ranks.get(each.name, 2))):
        while around and around[-1][0].end < each.end:
            around.pop()
        if each.name in ranks:
            parts: list[Capture] = []
            if each.name in wholes:
                things.append((each, parts, around[-1][1] if around and around[-1][0].name == _STATEMENT else []))
            around.append((each, parts))
        elif around:
            # A body that is all of a thing inside of it is none of that thing's, which has a name besides it.
            thing = around[-1][0]
            is_around = (each.start, each.end) == (thing.start, thing.end) and len(names) > 2 and len(around) > 1
            around[-2 if is_around else -1][1].append(each)
    for whole, parts, shared in things:
        if {_STATEMENT, whole.name, *(each.name for each in (*parts, *shared))} >= names:
            yield whole, [*shared, *parts]


def _names(text: str, captures: Iterable[Capture]) -> dict[str, int]:
    return {text[each.start : each.end]: each.start + text[each.start : each.end].rfind("::") + 1 for each in captures}


def _definition(text: str, node: _Node, name: str) -> Definition:
    start, end = node.node.start, node.node.end
    kind = min(node.kinds, key=_KINDS.index)
    receiver, _, last_name = name.rpartition("::")
    if kind == "variable" and _CONSTANT.fullmatch(name):
        kind = "constant"
    return Definition(
        name=last_name,
        kind=kind,
        start=start,
        end=end,
        first=node.node.first,
        last=node.node.last,
        line=node.node.first,
        signature=_signature(text, start, start, _head_end(node)),
        receiver=node.receiver or receiver.replace("::", "."),
        whole=kind not in ("constant", "variable") and node.node.last > node.node.first,
        body=node.body,
        head=_head_end(node),
    )


def _head_end(node: _Node) -> int:
    return node.body if node.body >= 0 else node.head if node.head >= 0 else node.node.end


def _is_twin(around: Definition, inner: Definition) -> bool:
    """Whether two say the same, as in `typedef struct a {} a` or `const a = function a() {}`."""
    return (
        around.name == inner.name
        and _IS_TYPE[around.kind] is _IS_TYPE[inner.kind]
        and around.first == inner.first
        and inner.end <= around.end
    )


def _signature(text: str, first: int, start: int, end: int) -> str:
    """The text of a head, with words of the line that stand before it, like `export`."""
    reach = max(0, first - _HEAD_REACH)
    line = max(text.rfind("\n", reach, first), text.rfind("\r", reach, first)) + 1
    if (line or not reach) and _WORDS.fullmatch(text, line, first):
        first = line
    return text[first:end].strip()


def _extend(definitions: list[Definition], text: str, single: dict[str, list[Capture]]) -> None:
    """Gives definitions what is around them: decorators, `template <…>`, `export`."""
    starts = [each.start for each in definitions]
    for wrapper in (*single["decorated"], *single["outer"]):
        place = bisect_left(starts, wrapper.start)
        if place == len(starts) or definitions[place].end > wrapper.end:
            continue
        each = definitions[place]
        each.first = min(each.first, wrapper.first)
        if wrapper.name == "outer":
            each.signature = _signature(text, wrapper.start, each.start, each.head)
            each.whole = each.whole or (each.kind not in ("constant", "variable") and wrapper.last > wrapper.first)


def _comment(definitions: list[Definition], text: str, single: dict[str, list[Capture]]) -> None:
    """Gives definitions their documentation, and the lines of comments and attributes directly above."""
    docs = {each.start: each for each in single["doc"]}
    above = {each.last: each for each in (*single["attached"], *single["comment"]) if _begins_line(text, each)}
    for definition in definitions:
        comments: list[str] = []
        while (each := above.get(definition.first - 1)) is not None:
            definition.first = each.first
            if each.name == "comment":
                comments.append(text[each.start : each.end])
        doc = docs.get(definition.body)
        raw = "\n".join(reversed(comments)) if doc is None else text[doc.start : doc.end]
        definition.doc = first_paragraph(raw)


def _begins_line(text: str, node: Capture) -> bool:
    before = text[max(0, node.start - _HEAD_REACH) : node.start]
    return not before[max(before.rfind("\n"), before.rfind("\r")) + 1 :].strip()


def _missed(
    definitions: Sequence[Definition], lines: Sequence[str], language: str, errors: Iterable[Capture]
) -> list[Definition]:
    """What begins in lines that the grammar does not understand, as behind a bracket that is yet to be closed."""
    known = {line for each in definitions if each.kind for line in (each.first, each.line)}
    unclear = _unclear(errors) - known
    starts = [0, *accumulate(map(len, lines))]
    found = []
    for each in read_lines(lines, language)[0]:
        if each.line in unclear and each.kind in ("class", "function"):
            each.start, each.end = starts[each.line], starts[each.last + 1]
            found.append(each)
    return found


def _imports(text: str, things: Iterable[Thing]) -> tuple[list[Import], set[tuple[int, int]]]:
    """The imports in order of the file, and where they stand."""
    nodes: dict[tuple[int, int], list[Capture]] = {}
    for whole, parts in things:
        if whole.name != "import" or any(
            each.name == "import.function" and text[each.start : each.end] not in _IMPORTING for each in parts
        ):
            continue
        nodes.setdefault((whole.start, whole.end), []).extend(parts)
    said = {
        key: {name: _texts(text, parts, f"import.{name}") for name in ("module", "name", "alias")}
        for key, parts in nodes.items()
    }
    found = []
    spans = sorted((key for key in said if said[key]["module"]), key=lambda key: (key[0], -key[1]))
    for place, key in enumerate(spans):
        names, aliases = said[key]["name"], said[key]["alias"]
        inner = spans[place + 1] if place + 1 < len(spans) else key
        if not names and not aliases and inner[0] < key[1] and inner != key:
            continue  # a statement whose parts say it all
        module = _unquoted(said[key]["module"][0])
        found.append(Import(module, tuple(_unquoted(name) for name in names), aliases[0] if aliases else ""))
    return found, set(spans)


def _texts(text: str, captures: Iterable[Capture], name: str) -> list[str]:
    """What is called so, each once and in the order of the text."""
    places = sorted((each.start, each.end) for each in captures if each.name == name)
    return list(dict.fromkeys(text[start:end] for start, end in places))


def _unquoted(text: str) -> str:
    quoted = _QUOTED.search(text)
    return quoted[2] if quoted else text.strip("<>() \t")


def _references(
    text: str, lines: Sequence[str], reading: Reading, imports: set[tuple[int, int]], defined: set[int]
) -> Iterable[str]:
    """Distinct identifiers outside of imports, but for those that stand there to be defined."""
    found: dict[str, None] = {}
    imported = sorted(imports, reverse=True)
    unclear = _unclear(reading.captures)  # where a grammar takes its own keywords for names
    ends = list(accumulate(map(len, lines))) if unclear else []
    end = -1  # of the imports that began so far
    for start, stop in sorted(reading.identifiers):
        while imported and imported[-1][0] <= start:
            end = max(end, imported.pop()[1])
        if start >= end and start not in defined:
            name = text[start:stop]
            if not unclear or not is_keyword(name) or bisect_right(ends, start) not in unclear:
                found[name] = None
    return found
