"""What a file defines and uses as far as its lines show it: for languages without a grammar, and for broken files.

A definition is a line that begins like one, and reaches as far as the lines below are indented more. Knows the words
with which most languages begin a definition, the few languages in which it begins otherwise, and the words that a user
names for a language of his own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from tabby_lsp import languages
from tabby_lsp.index.comments import first_paragraph
from tabby_lsp.index.parts import Definition, Import

MOST_LINE = 1000  # characters of a line that are looked at: nobody wrote a longer one

_KIND_OF = {
    "class": "class struct enum interface trait protocol object record union contract actor data newtype defprotocol",
    "function": "def defp defmacro defmacrop fn func fun function sub proc procedure subroutine macro method task",
    "module": "module namespace package defmodule library",
    "type": "type typealias typedef",
    "": "extension impl",  # a scope that is no symbol
    "variable": "let var",
    "constant": "const val",
}
KIND_OF_WORD = {word: kind for kind, words in _KIND_OF.items() for word in words.split()}
_MODIFIERS = (
    "export default pub public private protected internal static final abstract open override async inline suspend "
    "data sealed case virtual extern local fileprivate mutating unsafe partial lazy implicit global mut comptime "
    "companion external const constexpr indirect nonisolated noncomputable pure recursive elemental rec"
)
_NAME = r"[^\W\d][\w$]*"
_BEFORE = rf"\s*(?:(?:{'|'.join(_MODIFIERS.split())})(?:\([\w\s]*\))?\s+)*"
_BEGINS = re.compile(
    rf"{_BEFORE}(?P<keyword>{'|'.join(sorted(KIND_OF_WORD, key=len, reverse=True))})\s+"
    rf"(?:<[^<>]*>\s*|\([^()]*\)\s*)?(?P<name>{_NAME}(?:[.:]+{_NAME})*[?!]?)(?P<rest>.*)"
)
_ASSIGNED = re.compile(
    rf"\s*(?:(?:local|const|let|var|val|export)\s+)*(?P<name>{_NAME}(?:[.:]{_NAME})*)\s*(?:=|:=|<-|::)\s*"
    r"(?:async\s+)?(?:function|fn|func|proc|\([^()]*\)\s*(?:=>|->)|\\)(?!\w)"
)
# With a type before the name and a brace behind the parentheses, as in C and its kin.
_TYPED = re.compile(
    rf"\s*(?:[\w<>\[\],?*&:~]+\s+)+[*&]*(?P<name>{_NAME}(?:::~?{_NAME})*)\s*\([^;{{}}]*\)[^;(){{}}=]*\{{?\s*"
)
_NO_TYPE = re.compile(
    r"\s*(?:if|else|for|foreach|while|until|switch|return|catch|new|do|try|case|when|elif|elseif|throw)\b"
)
_OWN: dict[str, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "shellscript": (("function", re.compile(r"\s*(?:function\s+)?(?P<name>[\w:.-]+)\s*\(\s*\)\s*[{(]?")),),
    "makefile": (
        ("variable", re.compile(rf"(?:export\s+)?(?P<name>{_NAME})\s*(?:[:?+!]|::)?=")),
        ("function", re.compile(r"(?P<name>[^\s:#=$.][^\s:#=]*)(?:\s+[^\s:#=]+)*\s*::?(?!=)")),
    ),
    "sql": tuple(
        (
            kind,
            re.compile(
                r"\s*create\s+(?:or\s+replace\s+)?(?:(?:temp|temporary|unlogged|materialized|virtual)\s+)*"
                rf"(?:{words})\s+(?:if\s+not\s+exists\s+)?[\"`\[]?(?P<name>[\w.]+)",
                re.IGNORECASE,
            ),
        )
        for kind, words in (
            ("class", "table|view"),
            ("function", "function|procedure|trigger"),
            ("type", "type|domain"),
        )
    ),
    "clojure": (("function", re.compile(r"\s*\((?:s/)?def(?!ault)[\w-]*\s+(?:\^\S+\s+)?(?P<name>[^\s()\[\]]+)")),),
    "haskell": (("function", re.compile(r"(?P<name>[a-z_][\w']*)\s*::")),),
    "elm": (("function", re.compile(r"(?P<name>[a-z_]\w*)\s*:(?!:)")),),
    "r": (("variable", re.compile(r"(?P<name>[\w.]+)\s*(?:<-|=)\s*(?!function)")),),
    "tex": (("module", re.compile(r"\s*\\(?:chapter|(?:sub)*section)\*?\{(?P<name>[^{}]+)\}")),),
}
_IMPORT = re.compile(
    r"\s*(?:import|using|use|include|#include|#import|open|alias|require|from|source|library)\b"
    r"\s*(?:static\s+|qualified\s+|type\s+)?(?:\(?\s*(?P<quote>[\"'<]))?(?P<module>[@\w.][\w./:@\\-]*)"
)
_REQUIRE = re.compile(
    rf"\s*(?:(?:local|const|let|var)\s+)?(?P<alias>{_NAME})\s*=\s*@?(?:require|import)\b\s*\(?\s*[\"'](?P<module>[^\"']+)"
)

_STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`\n]*`")
_WORD = re.compile(_NAME)
_KEYWORDS = set(KIND_OF_WORD) | set(_MODIFIERS.split())
_KEYWORDS |= set(
    "if then else elif elseif elsif fi for foreach in of do done while until loop repeat break continue return yield "
    "switch case when match with esac default end endif endfor begin and or not is as try catch except finally raise "
    "throw throws rescue ensure import from include require use using true false nil null none None True False self "
    "this super new delete void int bool char float double long short unsigned signed where extends implements impl "
    "extension init deinit guard defer unless echo select insert update into values set create replace table view "
    "index primary key local get goto exit lambda typeof instanceof sizeof await auto mutable readonly lateinit".split()
)
_CLOSER = re.compile(r"\s*(?:[)\]}]|end\w*\b|END\w*\b|fi\b|done\b|esac\b|\$\$|--\s*\}|\]\])")
_OPENS = re.compile(r"(?:[{(\[]|\b(?:do|then|begin|is|as|AS|BEGIN)|=>?|->)\s*$")
_ATTRIBUTE = re.compile(r"\s*(?:@[\w.:]+|#\[|\[\w)")


def read_lines(lines: Sequence[str], language: str) -> tuple[list[Definition], list[Import], Iterable[str]]:
    """Definitions, imports and references of a text; nothing is certain."""
    facts = languages.language(language)
    language, marker, keywords = facts.id, facts.comment, facts.keywords
    if language == "markdown":
        return _sections(lines), [], ()
    definitions: list[Definition] = []
    imports: list[Import] = []
    references: dict[str, None] = {}
    for number, line in enumerate(lines):
        line = line[:MOST_LINE].rstrip()
        if not line or _is_comment(line, marker):
            continue
        found = _definition(lines, number, line, language)
        if found:
            definitions.append(found)
        if not facts.has_statements:
            continue
        imported = None if found or language == "sql" else _import(line)
        if imported:
            imports.append(imported)
            continue
        words = dict.fromkeys(_WORD.findall(_code(line, marker)))
        for name in (found.name, found.receiver) if found else ():
            words.pop(name, None)
        references.update(words)
    _measure(definitions, lines, marker)
    _comment(definitions, lines, marker)
    return definitions, imports, [name for name in references if not (is_keyword(name) or name in keywords)]


def is_keyword(name: str) -> bool:
    """Whether a word is one in many languages."""
    return name in _KEYWORDS or (name.isupper() and name.lower() in _KEYWORDS)


def _definition(lines: Sequence[str], number: int, line: str, language: str) -> Definition | None:
    found = _begins(lines, number, line, language)
    if found is None:
        return None
    kind, name = found
    receiver, last_name = "", name
    if kind == "function":
        receiver, _, last_name = name.replace("::", ".").replace(":", ".").rpartition(".")
    if kind == "variable" and last_name.isupper() and len(last_name) > 1:
        kind = "constant"
    signature = line.strip().removesuffix("{").rstrip()
    return Definition(last_name, kind, number, number + 1, number, number, number, signature, receiver=receiver)


def _begins(lines: Sequence[str], number: int, line: str, language: str) -> tuple[str, str] | None:
    """The kind and name of what a line defines."""
    for kind, pattern in _OWN.get(language, ()):
        if found := pattern.match(line):
            return kind, found["name"]
    facts = languages.language(language)
    if not facts.has_statements or language in ("makefile", "sql"):
        return None
    if found := _ASSIGNED.match(line):
        return "function", found["name"]
    if found := _BEGINS.match(line):
        kind = KIND_OF_WORD[found["keyword"]]
        if language == "shellscript" and found["keyword"] != "function":
            return None
        if kind not in ("variable", "constant") or not line[:1].isspace():
            return kind, found["name"]
    elif facts.typed and line[-1] in "{)" and not _NO_TYPE.match(line) and (found := _TYPED.fullmatch(line)):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if line.endswith("{") or following == "{":
            return "function", found["name"]
    return _begins_as_said(lines, number, line, facts.keywords) if facts.keywords else None


def _begins_as_said(lines: Sequence[str], number: int, line: str, keywords: tuple[str, ...]) -> tuple[str, str] | None:
    """The same by the words of a user, who may have named every keyword of the language."""
    pattern = _pattern_of(keywords)
    found = pattern.match(line) if pattern and not _IMPORT.match(line) else None
    if not found or is_keyword(found["name"]) or found["name"] in keywords:
        return None
    following = lines[number + 1][:MOST_LINE].rstrip() if number + 1 < len(lines) else ""
    has_body = _OPENS.search(line) or following.strip() == "{" or _indent(following) > _indent(line)
    if not has_body and line[:1].isspace():
        return None  # a statement, as far as one can tell
    if found["rest"].lstrip().startswith("("):
        return "function", found["name"]
    return "class" if has_body else "variable", found["name"]


@cache
def _pattern_of(keywords: tuple[str, ...]) -> re.Pattern[str] | None:
    """Of those that are not keywords elsewhere, too: what these begin is known."""
    own = sorted((each for each in keywords if not is_keyword(each)), key=len, reverse=True)
    words = "|".join(re.escape(each) for each in own)
    return re.compile(rf"{_BEFORE}(?:{words})\s+(?P<name>{_NAME}(?:[.:]+{_NAME})*)(?P<rest>.*)") if own else None


def _measure(definitions: Sequence[Definition], lines: Sequence[str], marker: str) -> None:
    """Gives definitions their last lines, by indentation; closing words and brackets belong to what they close."""
    beginning = {each.first: each for each in definitions}
    waiting: list[tuple[int, Definition]] = []  # with their indentations, the deepest last
    last = -1  # the last line with content
    for number, line in enumerate(lines):
        line = line[:MOST_LINE].rstrip()
        if not line:
            continue
        indent = _indent(line)
        closing = _CLOSER.match(line) is not None
        goes_on = line.strip() == "{" or (closing and _OPENS.search(line) is not None)
        while waiting and waiting[-1][0] >= indent:
            if waiting[-1][0] == indent and goes_on:
                break
            depth, each = waiting.pop()
            _end(each, number if closing and depth == indent else last)
        if number in beginning:
            waiting.append((indent, beginning[number]))
        if not _is_comment(line, marker) or (waiting and waiting[-1][0] < indent):
            last = number
    for _, each in waiting:
        _end(each, last)


def _end(definition: Definition, last: int) -> None:
    definition.last = max(definition.first, last)
    definition.end = definition.last + 1
    definition.whole = definition.kind not in ("constant", "variable") and definition.last > definition.first


def _indent(line: str) -> int:
    blank = line[: len(line) - len(line.lstrip())]
    return len(blank.expandtabs(4))


def _comment(definitions: Sequence[Definition], lines: Sequence[str], marker: str) -> None:
    """Gives definitions the lines of comments and attributes directly above, and their documentation."""
    for definition in definitions:
        comments: list[str] = []
        above = definition.first - 1
        while above >= 0 and (line := lines[above][:MOST_LINE].strip()):
            if _is_comment(line, marker):
                comments.append(line)
            elif not _ATTRIBUTE.match(line):
                break
            above -= 1
        definition.first = above + 1
        definition.doc = first_paragraph("\n".join(reversed(comments)))


def _is_comment(line: str, marker: str) -> bool:
    line = line.lstrip()
    if marker in ("//", ""):
        return line.startswith(("//", "/*", "*/", "* ")) or line == "*"
    return line.startswith(marker)


def _code(line: str, marker: str) -> str:
    """A line without its strings and its comment."""
    line = _STRING.sub('""', line)
    return line.partition(marker)[0] if marker else line


def _import(line: str) -> Import | None:
    if found := _REQUIRE.match(line):
        return Import(found["module"], (), found["alias"])
    found = _IMPORT.match(line)
    if not found or (not found["quote"] and line[found.end() : found.end() + 1] in ("(", "=", "[")):
        return None
    return Import(found["module"].rstrip(".:"), ())


def _sections(lines: Sequence[str]) -> list[Definition]:
    """The sections of a Markdown document: each reaches to the next heading that is not below it."""
    found: list[Definition] = []
    waiting: list[tuple[int, Definition]] = []
    fence = ""
    last = -1
    for number, line in enumerate(lines):
        text = line[:MOST_LINE].strip()
        if fence:
            fence = "" if text.startswith(fence) else fence
        elif text.startswith(("```", "~~~")):
            fence = text[:3]
        elif heading := re.match(r"(#{1,6})[ \t]+(.+?)[ \t]*#*$", text):
            while waiting and waiting[-1][0] >= len(heading[1]):
                _end(waiting.pop()[1], last)
            found.append(Definition(heading[2], "module", number, number + 1, number, number, number, text))
            waiting.append((len(heading[1]), found[-1]))
        if text:
            last = number
    for _, each in waiting:
        _end(each, last)
    return found
