"""What of a conversation goes into a prompt, and what a question points at."""

from __future__ import annotations

import pytest

from tabby_lsp.chat.conversation import (
    ANSWER_TOKENS,
    GAP,
    LEAST_FOUND,
    NOTHING,
    RULES,
    TOKENS_A_MESSAGE,
    Capacity,
    ChatError,
    Excerpt,
    Material,
    Message,
    Prompt,
    checked,
    prompt,
    texts_to_count,
    with_short_notes,
)
from tabby_lsp.chat.references import CHANGES, FILE, SELECTION, SYMBOL, WORKSPACE, Reference, beginning, references

FAST = 1e6


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def asked(
    messages: list[Message], material: Material | None = None, size: int = 8192, rate: float = FAST, most: int = 0
) -> Prompt:
    """With a word for each token."""
    material = material or Material(messages[-1].content)
    counts = [len(each.split()) for each in texts_to_count(messages, material)]
    return prompt(messages, material, counts, Capacity(size, rate), most)


def words(count: int, word: str = "word") -> str:
    return " ".join([word] * count)


def excerpt(path: str, size: int, asked: bool = False) -> Excerpt:
    return Excerpt(path, "\n".join(["x = 1 + 2"] * size), "python", 0, "/work", path, 10, 10 + size - 1, asked)


def test_a_question_stands_behind_its_excerpts() -> None:
    material = Material("what is it?", (excerpt("a.py", 2), excerpt("b.py", 1)), True, ("AGENTS.md", "Use tabs."))
    made = asked([Message("system", "Be brief."), user("what is it?")], material)
    rules, question = made.messages
    assert (
        rules.content
        == f"{RULES}\n\nBe brief.\n\nThe repository's own notes, from its file AGENTS.md:\n```markdown\nUse tabs.\n```"
    )
    assert question.content == (
        "Excerpts of the repository:\n\n[1] a.py\n```python\nx = 1 + 2\nx = 1 + 2\n```\n\n"
        "[2] b.py\n```python\nx = 1 + 2\n```\n\nwhat is it?"
    )  # fmt: skip
    assert [each.number for each in made.excerpts] == [1, 2] and made.max_tokens == ANSWER_TOKENS
    assert made.notes == ()


def test_it_is_said_when_nothing_was_found() -> None:
    assert asked([user("what?")], Material("what?", searched=True)).messages[-1].content == f"{NOTHING}\n\nwhat?"
    assert asked([user("what?")], Material("what?")).messages[-1].content == "what?"


def test_what_was_pointed_at_is_cut_and_what_was_found_is_whole_or_not_there() -> None:
    long, found = excerpt("long.py", 50_000, asked=True), excerpt("found.py", 10)
    made = asked([user("why?")], Material("why?", (long, found), True), size=4096)
    kept = len(made.excerpts[0].text.split("\n"))
    assert [each.path for each in made.excerpts] == ["long.py"] and 300 < kept < 700
    assert (made.excerpts[0].first, made.excerpts[0].last) == (10, 10 + kept - 1)
    assert made.notes == (f"Of long.py, {kept} of 50000 lines are given to the model.",)
    made = asked([user("why?")], Material("why?", (excerpt("much.py", 900), found), True), size=4096)
    assert [each.path for each in made.excerpts] == ["found.py"] and made.notes == ()


def test_a_slow_machine_is_given_what_it_reads_soon() -> None:
    material = Material("why?", tuple(excerpt(f"{each}.py", 50) for each in range(8)), True)
    quick, slow = asked([user("why?")], material), asked([user("why?")], material, rate=1.0)
    assert len(quick.excerpts) == 8
    assert len(slow.excerpts) == LEAST_FOUND // (50 * 5) == 2


def test_what_lies_in_no_file_has_no_number() -> None:
    some = (
        Excerpt("the changes", "+x", "diff", asked=True),
        excerpt("a.py", 1),
        Excerpt("map", "a"),
        excerpt("b.py", 1),
    )
    assert [each.number for each in asked([user("why?")], Material("why?", some)).excerpts] == [0, 1, 0, 2]


def test_a_long_history_loses_its_middle() -> None:
    talk = [each for n in range(40) for each in (user(f"q{n} {words(50)}"), assistant(f"a{n} {words(50)}"))]
    made = asked([*talk, user("and now?")], size=4096)
    said = [each.content.split()[0] for each in made.messages[1:-1]]
    assert said[:2] == ["q0", "a0"] and said[2].startswith("q") and said[-1] == "a39"
    assert said[2:] == [f"{side}{n}" for n in range(int(said[2][1:]), 40) for side in "qa"]
    assert made.messages[2].content.endswith(GAP)
    assert made.notes == (f"{80 - len(said)} messages of this conversation are left out: there is no room for them.",)
    taken = sum(len(each.content.split()) + TOKENS_A_MESSAGE for each in made.messages)
    assert 4096 - 1024 - 200 < taken <= 4096 - 1024 + 50
    short = asked([*talk[:6], user("and now?")], size=4096)
    assert [each.content for each in short.messages[1:-1]] == [each.content for each in talk[:6]] and short.notes == ()


def test_a_prompt_begins_as_the_last_one_did() -> None:
    """So that what was said before is read once."""
    first = asked([user("one?")], Material("one?", (excerpt("a.py", 3),), True))
    second = asked([user("one?"), assistant("1"), user("two?")], Material("two?", (excerpt("b.py", 3),), True))
    third = asked([*second.messages[1:-1], user("two?"), assistant("2"), user("three?")], Material("three?"))
    assert second.messages[0] == first.messages[0] and third.messages[:3] == second.messages[:3]


def test_long_notes_of_a_project_leave_room_for_the_question() -> None:
    notes = ("AGENTS.md", "\n".join(["use tabs here"] * 500))
    short = with_short_notes(Material("why?", project=notes), 1024)
    assert 300 < len(short.project[1]) <= 512 and short.project[1].endswith("\nuse tabs here")
    assert short.notes == ("Of AGENTS.md, only the beginning is given to the model.",)
    assert with_short_notes(Material("why?", project=notes), 32_768).project == notes


def test_a_question_that_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ChatError, match="context_size"):
        asked([user(words(5000))], size=4096)
    for messages in ([], [assistant("hm")], [user("  \n")], [user("a"), assistant("b")], [Message("system", "a")]):
        with pytest.raises(ChatError, match="question"):
            checked(messages)
    with pytest.raises(ChatError, match="tool"):
        checked([Message("tool", "x"), user("a")])
    assert checked([user(" a\n"), assistant(" "), user("b ")]) == (user("a"), user("b"))
    assert asked([user("a")], size=512, most=10_000).max_tokens == 256


@pytest.mark.parametrize(
    "question, spoken, found",
    [
        ("explain @selection", "explain the selection", [Reference(SELECTION)]),
        ("@file .env why?", "`.env` why?", [Reference(FILE, ".env")]),
        ("see @file:a/b.py.", "see `a/b.py`.", [Reference(FILE, "a/b.py")]),
        ('@file "a b.py" @file `c d.py`', "`a b.py` `c d.py`", [Reference(FILE, "a b.py"), Reference(FILE, "c d.py")]),
        ("(@symbol Cart.total)", "(`Cart.total`)", [Reference(SYMBOL, "Cart.total")]),
        ("@symbol: std::move?", "`std::move`?", [Reference(SYMBOL, "std::move")]),
        ("@changes in @workspace", "the changes in the workspace", [Reference(CHANGES), Reference(WORKSPACE)]),
        ("a@file.py and @filed and me@changes", "a@file.py and @filed and me@changes", []),
        ("what is @property?", "what is @property?", []),
        ("@file", "@file", []),
        ("```\n@file a.py\n```\n@file b.py", "```\n@file a.py\n```\n`b.py`", [Reference(FILE, "b.py")]),
        ("@file a.py @file a.py", "`a.py` `a.py`", [Reference(FILE, "a.py")]),
    ],
)  # fmt: skip
def test_a_question_says_what_it_points_at(question: str, spoken: str, found: list[Reference]) -> None:
    assert references(question) == (spoken, tuple(found))


def test_the_beginning_of_a_reference_can_be_completed() -> None:
    assert (beginning("see @"), beginning("see @se"), beginning("see"), beginning("me@x"), beginning("@file a")) == (
        "", "se", None, None, None
    )  # fmt: skip
