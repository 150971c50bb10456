"""The types of what a file consists of. Knows nothing of how it is found."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_SIGNATURE = 400
MOST_DOC = 300


@dataclass(frozen=True, slots=True)
class Symbol:
    """`kind` is "class" for all that has members (struct, enum, interface, trait), "type" for other names of types,
    "module" for namespaces and the like (and sections of a document), else "function", "method", "constant" or
    "variable".
    """

    name: str
    kind: str
    scope: str  # names around it joined with ".", "" at the top
    first: int  # its lines, from 0; decorators and doc comments directly above belong to it
    last: int  # included
    signature: str  # its head up to the body, as it stands in the file
    doc: str  # first paragraph of its docstring or doc comment


@dataclass(frozen=True, slots=True)
class Import:
    module: str  # as written ("a.b", "./x", "fmt", "java.util.List")
    names: tuple[str, ...]  # names it brings in, as written there; () for a whole module
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Outline:
    symbols: tuple[Symbol, ...]  # in the order of the file
    imports: tuple[Import, ...]
    references: tuple[str, ...]  # distinct identifiers, in order of first use, definitions excluded
    chunks: tuple[tuple[int, int], ...]  # lines (first, last) that cover the file's content along its syntax
    parsed: bool  # by a grammar, or line by line


@dataclass(slots=True)
class Definition:
    """A symbol in the making: what a grammar or the lines say of it. A scope that is no symbol has an empty kind."""

    name: str
    kind: str
    start: int  # where it begins and ends, in characters or in lines, for what contains what
    end: int
    first: int
    last: int
    line: int  # the first one without what stands above it
    signature: str = ""
    doc: str = ""
    receiver: str = ""  # the type that a method names itself, as Go and C++ have it
    whole: bool = False  # of several lines: a chunk of its own
    body: int = -1  # where its body begins, if it has one
    head: int = -1  # where its signature ends
    scope: str = ""
    children: list[Definition] = field(default_factory=list)


MEMBERED = ("class", "")  # kinds whose functions are methods
MOST_SCOPES = 20  # of names in a scope: nesting without end would cost memory with its square


def nest(definitions: list[Definition]) -> list[Definition]:
    """Gives definitions their scopes and children; returns those at the top, in order."""
    tops: list[Definition] = []
    around: list[Definition] = []
    for each in sorted(definitions, key=lambda each: (each.start, -each.end)):
        # Names of one declaration have the same place, and none of them contains another.
        while around and (around[-1].end <= each.start or _is_beside(around[-1], each)):
            around.pop()
        if each.kind == "function" and (each.receiver or (around and around[-1].kind in MEMBERED)):
            each.kind = "method"
        if around:
            each.scope = around[-1].scope
            if len(around) <= MOST_SCOPES:
                each.scope = _joined(each.scope, around[-1].name)
        each.scope = _joined(each.scope, each.receiver)
        (around[-1].children if around else tops).append(each)
        around.append(each)
    return tops


def _is_beside(left: Definition, right: Definition) -> bool:
    return (left.start, left.end) == (right.start, right.end)


def _joined(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope and name else scope or name


def symbols_of(tops: list[Definition]) -> tuple[Symbol, ...]:
    """All symbols below, in the order of the file; of a variable that is set again, the first place."""
    found: list[Symbol] = []
    variables: set[tuple[str, str]] = set()
    pending = tops[::-1]
    while pending:
        each = pending.pop()
        pending.extend(reversed(each.children))
        again = each.kind in ("constant", "variable") and (each.scope, each.name) in variables
        if each.kind and not again:
            signature, doc = shortened(each.signature, MOST_SIGNATURE), shortened(each.doc, MOST_DOC)
            found.append(Symbol(each.name, each.kind, each.scope, each.first, each.last, signature, doc))
            variables.add((each.scope, each.name))
    return tuple(found)


def shortened(text: str, most: int) -> str:
    """At most so many characters, up to the end of a line or of a word where there is one."""
    if len(text) <= most:
        return text
    text = text[: most + 1]
    cut = max(text.rfind("\n"), text.rfind(" "))
    return text[: cut if cut > most // 2 else most].rstrip()
