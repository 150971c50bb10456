"""Thoughts are told apart from the answer, however the text is cut into pieces."""

from __future__ import annotations

import itertools

import pytest

from tabby_lsp.chat.thoughts import TAGS, TEXT, THOUGHT, Thoughts, opens_thought

CASES = {
    "an answer": ("", "an answer"),
    "<think>hm</think>\n\nan answer": ("hm", "an answer"),
    "\n <think>\nhm</think>answer": ("\nhm", "answer"),
    "[THINK]a < b[/THINK] c": ("a < b", "c"),
    "<think>one</think><thinking>two</thinking>three": ("onetwo", "three"),
    "<think>never ends </thi": ("never ends </thi", ""),
    "a <think> in an answer": ("", "a <think> in an answer"),
    "<thin ice": ("", "<thin ice"),
    "<thi": ("", "<thi"),
    "": ("", ""),
    "<think></think>": ("", ""),
}


def told_apart(pieces: list[str], within: bool = False) -> tuple[str, str]:
    thoughts = Thoughts(within)
    found = [*itertools.chain.from_iterable(map(thoughts.feed, pieces)), *thoughts.end()]
    assert all(each.text for each in found)
    return tuple("".join(each.text for each in found if each.kind == kind) for kind in (THOUGHT, TEXT))  # type: ignore[return-value]


@pytest.mark.parametrize("text", CASES)
def test_thoughts_are_cut_out_wherever_the_text_is_cut(text: str) -> None:
    assert told_apart([text]) == told_apart(list(text)) == CASES[text]
    for first, second in itertools.combinations(range(len(text) + 1), 2):
        assert told_apart([text[:first], text[first:second], text[second:]]) == CASES[text]


def test_an_answer_may_begin_within_thoughts() -> None:
    assert told_apart(list("hm</think>answer"), within=True) == ("hm", "answer")
    for tag in TAGS:
        assert opens_thought(f"<|im_start|>assistant\n{tag}\n")
    assert not opens_thought("<think>\n\n</think>\n\n")


def test_what_is_known_is_not_held_back() -> None:
    thoughts = Thoughts()
    assert [each.text for each in thoughts.feed("Hello")] == ["Hello"]
    assert [each.text for each in thoughts.feed(" <")] == [" <"], "no tag begins here any more"
