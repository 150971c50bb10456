"""What a question to the index asks for: words, names, phrases, a regular expression, and where to look.

    retry after a failed connection            words, in any form and order
    shlex.quote   Path.read_text   Cart::total names, with what they are in
    "connection refused"                       a phrase
    /def \\w+_all\\(/                            a regular expression of Python's, with /i in any case
    lang:go path:src/ kind:class               only there; each may be said several times
    uses:quote                                 the lines of files that use a name

What is nothing of this, like `->`, is looked for as it stands there.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from tabby_lsp import languages
from tabby_lsp.index.lines import KIND_OF_WORD
from tabby_lsp.index.parts import Symbol
from tabby_lsp.index.passages import Passage
from tabby_lsp.index.thesaurus import thesaurus
from tabby_lsp.index.words import stem, tokens_of, words

MOST_LENGTH = 2_000  # characters of a question: a longer one is a text, of which the beginning is taken
MOST_WORDS = 40  # of which the longest are asked for
# What another word that means nearly the same counts. Of .1, .2, .3, .5, .7 and 1 it is best on the tuned half of
# tests/eval/questions.toml.
RELATED = 0.3

# What stands in every question. If a question is of nothing else, it is taken by its word.
_COMMON = frozenset(
    "a about all an and any are as at be because been before but by can could did do does done for from had has have"
    " how i if in into is it its itself just like made make may me more must my need no not nobody nothing of off on"
    " one only or other our out over please should show so some tell than that the their them themselves then there"
    " they this those to too two up used was we were what when where whether which while who whose why will with"
    " without would you".split()
)
_KINDS = ("class", "function", "method", "constant", "variable", "module", "type")
KINDS = {**{word: kind for word, kind in KIND_OF_WORD.items() if kind}, **{each: each for each in _KINDS}}
KINDS["section"] = "module"

_FILTER = re.compile(r"(?<!\S)(lang|language|path|file|kind|uses):(\S+)", re.IGNORECASE)
_PATTERN = re.compile(r"/(.+)/(i?)", re.DOTALL)
_PHRASE = re.compile(r'"([^"]*\w[^"]*)"')
_QUALIFIED = re.compile(r"[^\W\d]\w*(?:(?:\.|::|#|->)[^\W\d]\w*)+")
_CODE_NAME = re.compile(r"\w*[^\W_]_\w+|_\w+|\w*[a-z][A-Z]\w*|[A-Z]{2,}[a-z]\w*")  # as nobody writes in prose


class BadQuestion(ValueError):
    """A question that cannot be asked; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Concept:
    """A word of the question by its tokens, and by those of other words with what these count."""

    own: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    concepts: tuple[Concept, ...] = ()
    names: tuple[str, ...] = ()  # of definitions, "a.b.c" with what they are in
    phrases: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    languages: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    used: str = ""  # a name, of which the uses are asked for; the pattern is then that of the name

    @property
    def own_tokens(self) -> list[str]:
        return list(dict.fromkeys(token for concept in self.concepts for token in concept.own))

    @property
    def all_tokens(self) -> list[str]:
        others = [token for concept in self.concepts for token in concept.others]
        return list(dict.fromkeys([*self.own_tokens, *others]))

    def allows(self, passage: Passage) -> bool:
        """Whether a passage is where the question may look."""
        return (
            (not self.languages or passage.language in self.languages)
            and (not self.paths or any(fnmatchcase(passage.path, each) for each in self.globs))
            and (not self.kinds or any(each.kind in self.kinds for each in passage.begun))
        )

    @property
    def globs(self) -> list[str]:
        """Patterns of paths, of which one has to fit, as SQLite and Python read them."""
        begun = [path.replace("[", "[[]") + "*" for path in self.paths]
        return [pattern for each in begun for pattern in (each, f"*/{each}")]

    def is_name_of(self, symbol: Symbol, path: str) -> bool:
        """Whether a definition has one of the names, and is in what stands before it."""
        inside = [*_module(path), *(symbol.scope.split(".") if symbol.scope else ())]
        for name in self.names:
            *around, last = name.split(".")
            if symbol.name == last and (not around or inside[-len(around) :] == around):
                return True
        return False

    def matches(self, passage: Passage) -> bool:
        """Whether the pattern is in a passage."""
        return self.pattern is not None and self.pattern.search(passage.text) is not None


def _module(path: str) -> list[str]:
    """A file's path as programs name it."""
    parts = path.rpartition(".")[0].split("/")
    return parts[:-1] if parts[-1] in ("__init__", "mod", "index", "lib") else parts


def question(text: str) -> Question:
    """What a text asks for. Raises BadQuestion."""
    text = text.strip()[:MOST_LENGTH]
    said: dict[str, list[str]] = {"languages": [], "paths": [], "kinds": [], "uses": []}
    for key, value in _FILTER.findall(text):
        if key.lower() == "kind":
            said["kinds"].append(_kind(value))
        elif key.lower() == "uses":
            said["uses"].append(_used(value))
        elif key.lower() in ("path", "file"):
            said["paths"].append(value.replace("\\", "/").removeprefix("./"))
        else:
            said["languages"].append(_language(value))
    where = Question(languages=tuple(said["languages"]), paths=tuple(said["paths"]), kinds=tuple(said["kinds"]))
    text = _FILTER.sub(" ", text).strip()
    if said["uses"]:
        name = said["uses"][-1]
        if text or len(said["uses"]) > 1:
            raise BadQuestion("`uses:` asks for one name and nothing else, as in uses:quote lang:python.")
        return replace(where, used=name, pattern=re.compile(rf"(?<!\w){re.escape(name)}(?!\w)"))
    if not text:
        if where == Question():
            raise BadQuestion("There is nothing to search for: give a name, words, or a /regular expression/.")
        return where
    pattern = _PATTERN.fullmatch(text)
    if pattern:
        return replace(where, pattern=_compiled(pattern[1], re.IGNORECASE if pattern[2] else 0))
    phrases = tuple(" ".join(each.split()) for each in _PHRASE.findall(text))
    concepts = _concepts(text)
    if not concepts:
        return replace(where, pattern=_compiled(re.escape(text), 0))
    return replace(where, concepts=concepts, names=_names(text), phrases=phrases)


def _kind(value: str) -> str:
    kind = KINDS.get(value.lower())
    if kind is None:
        raise BadQuestion(f"`kind:{value}` is nothing that is known: it can be {', '.join(_KINDS)}.")
    return kind


def _language(value: str) -> str:
    """The id of a language by itself, by its name or by an extension."""
    value = value.lower().lstrip(".")
    found = languages.find(value)
    if found is None:
        raise BadQuestion(
            f"`lang:{value}` is no language that is known: give its LSP id or an extension, as in lang:go."
        )
    return found


def _used(value: str) -> str:
    """The last part of a name: that is what stands where it is used."""
    parts = [part for part in re.split(r"\.|::|#|->", value.removesuffix("()")) if part]
    if not parts or not re.fullmatch(r"[\w$]+[?!]?", parts[-1]):
        raise BadQuestion(f"`uses:{value}` is no name: give one as in uses:quote.")
    return parts[-1]


def _compiled(pattern: str, flags: int) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a pattern may mean one day
            return re.compile(pattern, flags | re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadQuestion(f"/{pattern}/ is no regular expression: {error}.") from None


def _names(text: str) -> tuple[str, ...]:
    """What can only be the name of a definition; a single word may be one, too."""
    found = [re.sub(r"::|#|->", ".", each) for each in _QUALIFIED.findall(text)]
    rest = _QUALIFIED.sub(" ", text)
    found += _CODE_NAME.findall(rest)
    alone = words(text)
    if not found and len(alone) == 1:
        found = alone
    return tuple(dict.fromkeys(found))


def telling(text: str) -> list[str]:
    """The words of a text that do not stand in every question, each once."""
    return [word for word in dict.fromkeys(words(text)) if word.lower() not in _COMMON]


def _concepts(text: str) -> tuple[Concept, ...]:
    said = list(dict.fromkeys(words(text)))
    lower = [word.lower() for word in words(text)]
    told = telling(text) or said
    told = sorted(sorted(told, key=len, reverse=True)[:MOST_WORDS], key=said.index)
    found = [_concept(tokens_of(word)) for word in told]
    stems = [stem(word) for word in lower]
    for count in (2, 3):  # several words may mean what is one elsewhere: "try again", "time out"
        for place in range(len(stems) - count + 1):
            others = thesaurus().get(tuple(stems[place : place + count]))
            if others:
                found.append(Concept(("".join(lower[place : place + count]),), tuple(sorted(others))))
    return tuple(dict.fromkeys(concept for concept in found if concept.own))[: 2 * MOST_WORDS]


def _concept(own: Sequence[str]) -> Concept:
    others = {other for token in own for other in thesaurus().get((token,), ())}
    return Concept(tuple(own), tuple(sorted(others.difference(own))))
