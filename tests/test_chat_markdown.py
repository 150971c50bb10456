"""What a model writes is made safe to be shown, however it is cut into pieces and whatever it is."""

from __future__ import annotations

import os
import random

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tabby_lsp.chat.markdown import Answer, fenced

ROUNDS = int(os.environ.get("TABBY_LSP_FUZZ", "1000"))

CASES = {
    "plain text, 1 < 2 & 3 > 2": "plain text, 1 < 2 & 3 > 2",
    "it does this [1]. And [2], [3].": "it does this [1]. And [2],.",
    "both [1, 2] or [1][2] or [1, 9] or [9; 8]": "both [1][2] or [1][2] or [1] or",
    "an array[0] and `an[1]` stay": "an array[0] and `an[1]` stay",
    "[12345] is no number of ours, [a] neither, [": "[12345] is no number of ours, [a] neither, [",
    "a <b>bold</b> <!-- word --> <?php": "a \\<b>bold\\</b> \\<!-- word --> \\<?php",
    "![](http://x.y/z.png) and [here](command:rm)": "\\![\\](http://x.y/z.png) and [here\\](command:rm)",
    "[1](http://evil) [1]: http://evil": "[1]\\(http://evil) [1]\\: http://evil",
    "<https://evil> &lt;b&gt;": "\\<https://evil> \\&lt;b\\&gt;",
    "code `a < b<c>` and `` ` <i> `` end": "code `a < b<c>` and `` ` <i> `` end",
    "a ` alone <b>\nb` <b> `c": "a \\` alone \\<b>\nb` <b> `c",
    "\\`<b>` and \\\\<b>": "\\\\`<b>` and \\\\\\<b>",
    "```python\nx[1] = <b>\n```\n<b>": "```python\nx[1] = <b>\n```\n\\<b>",
    "1. so:\n   ```\n   a <b>\n     b\n   ```\n": "1. so:\n```\na <b>\n  b\n```\n",
    "~~~ a`b\n<b>\n```\n~~~\n": "~~~a\n<b>\n```\n~~~\n",
    "````md\n```\n<b>\n```\n````\n<i>": "````md\n```\n<b>\n```\n````\n\\<i>",
    "```\nnever ends": "```\nnever ends\n```\n",
    "- ```\n  <b>\n": "- \\`\\`\\`\n  \\<b>\n",
    "\x1b]8;;command:x\x1b\\ \x9b2J a\r\nb\rc\u202e": "�]8;;command:x�\\ �2J a\nb�c�",
}


def shown(pieces: list[str], markdown: bool = True) -> str:
    answer = Answer({1, 2}, markdown)
    return "".join([*map(answer.feed, pieces), answer.end()])


@pytest.mark.parametrize("text", CASES)
def test_only_code_text_and_numbers_are_left(text: str) -> None:
    assert shown([text]) == CASES[text]
    assert shown(list(text)) == CASES[text]
    for place in range(len(text)):
        assert shown([text[:place], text[place:]]) == CASES[text]


def test_it_is_known_what_is_cited() -> None:
    answer = Answer({1, 2, 3}, link=lambda number: f"[[{number}]](file:///{number})")
    assert answer.feed("See [2] and [1, 7]. `[3]` [2]") + answer.end() == (
        "See [[2]](file:///2) and [[1]](file:///1). `[3]` [[2]](file:///2)"
    )
    assert answer.cited == [2, 1]


def test_a_number_comes_in_one_piece() -> None:
    answer = Answer({1, 12})
    pieces = [answer.feed(each) for each in "so [12] it [1"] + [answer.end()]
    assert "[12]" in "".join(pieces) and any("[12]" in each for each in pieces) and "".join(pieces).endswith("[1")


def test_who_renders_nothing_gets_the_text_as_it_is() -> None:
    text = "a <b> [x](y) ![z](q) `c [1]` \\< &lt; [1] [7]\n  ```py\n  x[7]\n  ```\n"
    assert shown(list(text), markdown=False) == text.replace(" [7]\n", "\n")
    assert shown(["\x1b[2J"], markdown=False) == "�[2J"


def flat(tokens: list[Token]) -> list[Token]:
    return [token for each in tokens for token in (each, *flat(each.children or []))]


def test_nothing_but_text_and_code_is_rendered_of_texts_at_random() -> None:
    """By another reader of Markdown, which sees the pieces of code where we do."""
    random_ = random.Random(5)
    parts = [*"`<>![]()\\&;:*_-#~> \n\t1[", "```", "~~~", "    ", "\n```py\n", "\n```\n", "<b>", "<img src=x>", "&lt;"]
    parts += [
        "![a](b)",
        "[a](b)",
        "[a]: b\n",
        "[1]",
        "[9]",
        "1. ",
        "- ",
        "> ",
        "text",
        "\r\n",
        "<!--",
        "<script>",
        "``",
    ]
    reader = MarkdownIt("commonmark")
    for _ in range(ROUNDS):
        pieces = random_.choices(parts, k=random_.randrange(1, 30))
        text = shown(pieces)
        assert text == shown(["".join(pieces)])
        kinds = {each.type for each in flat(reader.parse(text))}
        assert kinds.isdisjoint({"html_inline", "html_block", "link_open", "image"}), (pieces, text)


def test_a_text_in_a_fence_ends_where_it_ends() -> None:
    for text in ("x = 1", "```\n<b>\n```", "a ````` b", ""):
        code = [each.content for each in MarkdownIt("commonmark").parse(fenced(text, "py")) if each.type == "fence"]
        assert [each.rstrip("\n") for each in code] == [text.rstrip("\n")]
