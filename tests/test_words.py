"""What texts are found by: tokens, stems and words of the same meaning."""

from __future__ import annotations

import pytest

from tabby_lsp.index.thesaurus import thesaurus
from tabby_lsp.index.words import stem, tokens


@pytest.mark.parametrize(
    "text, expected",
    [
        ("parseHTTPHeader", "parsehttpheader pars http head"),
        ("parse_http_header", "parse_http_header pars http head"),
        ("parsing the headers of HTTP", "pars the head of http"),
        ("MAX_SIZE", "max_size max siz"),
        ("__init__ _private", "init privat"),
        ("a i x1 utf8", "x1 utf8 utf"),
        ("größe_in_mm naïveCafé", "größe_in_mm größe in mm naïvecafé"),
        ("foo.foo(Foo)", "foo foo foo"),
        ("error 404, 12 0xff 3.14 1.2.3 7 123456789", "err 404 12 xff"),
        ("连接失败 retry 重", "连接 接失 失败 retri 重"),
        ("A" * 65 + " b2", "b2"),
        ("", ""),
    ],
)
def test_a_name_is_found_by_itself_and_by_its_parts(text: str, expected: str) -> None:
    assert tokens(text) == expected.split()


@pytest.mark.parametrize(
    "family",
    [
        "parse parses parsed parsing parser parsers",
        "serialize serializes serializing serializer serialization",
        "connect connects connected connecting connection connections",
        "directory directories",
        "run running",
        "redirect redirects redirected redirection",
        "class classes",
        "retry retries",
        "try tries tried trying",
        "write writes wrote written writing",
        "keep keeps kept keeping",
        "child children",
    ],
)
def test_the_forms_of_a_word_have_one_stem(family: str) -> None:
    assert len(set(map(stem, family.split()))) == 1, [stem(word) for word in family.split()]


@pytest.mark.parametrize(
    "words", ["status state", "string strict", "bus but", "pass past", "import important", "bound bind", "left leave"]
)
def test_other_words_have_other_stems(words: str) -> None:
    one, other = words.split()
    assert stem(one) != stem(other)


def test_words_of_the_same_meaning_find_each_other() -> None:
    table = thesaurus()
    assert stem("folder") in table[stem("directory"),] and stem("directory") in table[stem("folder"),]
    assert "rm" in table[stem("delete"),]
    assert stem("retry") in table[stem("try"), stem("again")]
    assert all(not others.intersection(own) for own, others in table.items())
