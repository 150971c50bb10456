"""What a question asks for."""

from __future__ import annotations

import pytest

from tabby_lsp.index.question import BadQuestion, question


def own(text: str) -> list[str]:
    return question(text).own_tokens


def test_words_are_asked_for_by_their_stems_and_those_of_the_same_meaning() -> None:
    asked = question("where are the folders deleted")
    assert own("where are the folders deleted") == ["fold", "delet"]
    assert {"dir", "rm", "unlink"} <= set(asked.all_tokens)


def test_several_words_may_mean_one() -> None:
    assert {"tryagain", "retri"} <= set(question("try again").all_tokens)


def test_common_words_are_asked_for_only_where_there_are_no_others() -> None:
    assert own("what is the total of a cart") == ["tot", "cart"]
    assert own("to be or not to be") == ["to", "be", "or", "not"]


@pytest.mark.parametrize(
    "text, names",
    [
        ("shlex.quote", ("shlex.quote",)),
        ("what does Path.read_text return", ("Path.read_text",)),
        ("Cart::total and Cart#items and cart->next", ("Cart.total", "Cart.items", "cart.next")),
        ("where is parse_args called by runMain", ("parse_args", "runMain")),
        ("quote", ("quote",)),
        ("Circle area", ()),
        ("the ISO date", ()),
    ],
)
def test_names_are_told_from_words(text: str, names: tuple[str, ...]) -> None:
    assert question(text).names == names


def test_a_question_says_where_to_look() -> None:
    asked = question("lang:py LANG:Go path:src/ file:./cart.go kind:struct kind:func total")
    assert asked.languages == ("python", "go")
    assert asked.paths == ("src/", "cart.go")
    assert asked.kinds == ("class", "function")
    assert asked.own_tokens == ["tot"]
    assert question("kind:class").concepts == ()


def test_phrases_and_patterns() -> None:
    assert question('say "connection  refused" twice').phrases == ("connection refused",)
    assert question('an unclosed "quote').phrases == ()
    asked = question("lang:go /func \\w+All\\(/i")
    assert asked.pattern is not None and asked.pattern.search("FUNC readAll(") and asked.languages == ("go",)


def test_what_is_no_word_is_looked_for_as_it_stands_there() -> None:
    for text in ("->", "+=", "?.", "()", "\0", "💥"):
        asked = question(text)
        assert asked.pattern is not None and asked.pattern.fullmatch(text.strip())


@pytest.mark.parametrize(
    "text, fragment",
    [
        ("", "nothing to search for"),
        (" \n\t", "nothing to search for"),
        ("lang:klingon total", "`lang:klingon` is no language"),
        ("kind:thing total", "it can be class, function, method, constant, variable, module, type."),
        ("/(unclosed/", "is no regular expression: missing )"),
        ("/" + "(" * 500 + "/", "is no regular expression"),
    ],
)
def test_what_cannot_be_asked_says_what_to_do(text: str, fragment: str) -> None:
    with pytest.raises(BadQuestion) as raised:
        question(text)
    assert fragment in str(raised.value)


def test_of_a_long_text_some_words_are_asked_for() -> None:
    asked = question(" ".join(f"word{number}" for number in range(10_000)))
    assert 1 <= len(asked.concepts) <= 80
    assert len(asked.all_tokens) < 1_000
