"""A conversation as a document: what stands there is what is told, and numbers lead to lines."""

from __future__ import annotations

import pytest

from tabby_lsp.chat import document
from tabby_lsp.chat.conversation import Message
from tabby_lsp.chat.document import Reference

WORKSPACE = "file:///home/me/a%20project"
TALK = """<!-- tabby-lsp chat about file:///home/me/a%20project -->
# Chat about a project

## You

How is the cache cleared?

## Tabby

By `clear` [1], see [2](https://x.y) and [9].

```md
## You
[1] is text here
```

[1]: file:///home/me/a%20project/src/cache.py#L10-L20 "clear"
[2]: file:///home/me/a%20project/README.md

## You

And when?

## You

I mean `clear`.
"""


def test_a_new_document_has_room_for_a_question() -> None:
    text = document.begun(WORKSPACE, "Chat about a project")
    assert document.workspace_of(text) == WORKSPACE
    assert document.messages(text) == [] and document.question(text) == ""
    asked = document.begun(WORKSPACE, "Chat", "What is this?")
    assert document.question(asked) == "What is this?"


@pytest.mark.parametrize("text", ["", "# Notes\n", "<!-- a comment -->\n## You\n", "\n" + TALK])
def test_another_document_is_no_conversation(text: str) -> None:
    assert document.workspace_of(text) is None


def test_what_was_said_is_what_a_model_is_told() -> None:
    said = document.messages(TALK)
    assert [each.role for each in said] == ["user", "assistant", "user"]
    assert said[1].content.startswith("By `clear` [1]") and said[1].content.endswith("[1] is text here\n```")
    assert said[2] == Message("user", "And when?\n\nI mean `clear`.")
    assert document.question(TALK) == said[2].content
    assert document.workspace_of(TALK) == WORKSPACE


def test_numbers_lead_to_lines_and_those_in_code_do_not() -> None:
    clear = Reference(1, "file:///home/me/a%20project/src/cache.py", 10, 20, "clear")
    assert document.references(TALK) == {1: clear, 2: Reference(2, "file:///home/me/a%20project/README.md", 1, 0)}
    found = document.links(TALK)
    lines = TALK.split("\n")
    assert [(lines[each.line][each.begin : each.end], each.reference.number) for each in found[:1]] == [("[1]", 1)]
    assert [each.reference.number for each in found] == [1, 1, 2], "one in the text, and both references"
    assert document.next_number(TALK) == 3


@pytest.mark.parametrize(
    "reference",
    [
        Reference(12, "file:///c%3A/a%20b/(x).py", 3, 3, "say it"),
        Reference(1, "file:///%C3%BC.md", 1, 0),
        Reference(7, "file:///a%23b.py", 5, 9, "x"),
        Reference(8, "vscode-remote://ssh+host/a.py?x=1", 5, 9, "x"),
    ],
)
def test_references_are_read_as_they_are_written(reference: Reference) -> None:
    assert document.references(document.reference_line(reference)) == {reference.number: reference}


def test_what_no_uri_and_no_title_holds_is_written_otherwise() -> None:
    line = document.reference_line(Reference(1, "file:///a b#c.py", 1, 2, 'say "it"\nnow'))
    assert document.references(line) == {1: Reference(1, "file:///a%20b%23c.py", 1, 2, "say 'it' now")}


def test_an_answer_goes_on_before_its_mark_and_ends_with_room_for_the_next_question() -> None:
    text = document.begun(WORKSPACE, "Chat", "Why?")
    assert not document.is_writing(text)
    text += document.answer_begun()
    at = document.writing_at(text)
    assert at is not None and document.messages(text) == [Message("user", "Why?")]
    lines = text.split("\n")
    lines[at:at] = ["Because [1].", "", "```py", "x", "```", ""]
    text = "\n".join(lines)
    assert document.is_writing(text) and document.messages(text)[1].content.startswith("Because [1].")
    ended = text.replace(document.WRITING, document.answer_ended([Reference(1, "file:///a.py", 1, 2)], "stopped"))
    assert not document.is_writing(ended) and document.question(ended) == ""
    assert document.messages(ended)[1].content.endswith("*stopped*")
    asked = ended + "And then?\n"
    assert document.question(asked) == "And then?"
    assert [each.reference.uri for each in document.links(asked)] == ["file:///a.py", "file:///a.py"]


def test_an_answer_with_a_fence_that_is_open_goes_on_within_it() -> None:
    text = document.begun(WORKSPACE, "Chat", "Why?") + document.answer_begun()
    at = document.writing_at(text)
    lines = text.split("\n")
    assert at is not None
    lines[at:at] = ["```py", "x = 1"]
    assert document.writing_at("\n".join(lines)) == at + 2
    assert document.writing_at("\n".join(line for line in lines if line != document.WRITING)) is None
