"""The clean-up of suggestions, drawn: the model's text stands between ├ and ┤ in the document.

What lies behind ┤ on its line is the text right of the cursor. `replaced` is the part of it that the suggestion
takes the place of.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tabby_lsp.completion.filters import (
    clean,
    close_brackets,
    end_string,
    keep_parsing,
)
from tabby_lsp.completion.overtype import before_overtyped, overtyped
from tabby_lsp.data import CompletionContext


def parse(drawing: str) -> tuple[str, CompletionContext]:
    before, _, rest = drawing.partition("├")
    text, _, after = rest.partition("┤")
    line_suffix, newline, below = after.partition("\n")
    return text, CompletionContext(before, line_suffix, newline + below)


def check(drawing: str, expected: str, replaced: str = "") -> None:
    text, context = parse(drawing)
    cleaned = clean(text, context)
    assert cleaned == expected
    assert context.line_suffix[: overtyped(cleaned, context) if cleaned else 0] == replaced


@pytest.mark.parametrize("text", ["", " ", "\n", "  \n\t\n"])
def test_nothing_but_white_space_is_nothing(text: str) -> None:
    check(f"x = ├{text}┤\n", "")


def test_white_space_at_the_end_goes() -> None:
    check("x = ├10  \n\n┤\ny = 2\n", "10")


def test_indentation_and_line_ends_inside_stay() -> None:
    check("def f():├\n\tif x:\n\t\treturn 1┤\n", "\n\tif x:\n\t\treturn 1")


def test_what_repeats_the_lines_below_is_nothing() -> None:
    check("a = 1\n├b = 2\nc = 3┤\nb = 2\nc = 3\nd = 4\n", "")
    check("a = 1\n    ├b = 2┤\n\n    b = 2\n", "")
    check("if x:├\n    y = 1┤\n    y = 1\n", "")


def test_last_lines_that_stand_below_go() -> None:
    check("def f():\n    ├return 1\n\ndef g():┤\n\ndef g():\n    pass\n", "return 1")
    check("def f():\n    ├x = 1\n    return x┤\n    return x\n", "x = 1")


def test_a_closing_bracket_that_also_stands_below_may_belong_to_another_block() -> None:
    check("{\nif (a) {\n    ├b();\n}┤\n}\n", "b();\n}")
    check("if (a) {\n    ├b();\n}┤\n}\n", "b();")


def test_words_right_of_the_cursor_keep_the_suggestion_on_one_line() -> None:
    check("print(├a, b\nprint(c)┤, end='')\n", "a, b")


def test_words_right_of_the_cursor_are_not_repeated() -> None:
    check("x = ├foo(1) + bar┤ + bar\n", "foo(1)")
    check("return ├value + 1┤value + 1\n", "")
    check("def add(a,├ b, c┤ b):\n", "")
    check("def add(├x, ┤a, b):\n", "x, ")
    check("for ├row in range(10):┤ in range(10):\n", "row")


@pytest.mark.parametrize(
    "drawing, expected, replaced",
    [
        ("print(├x)┤)\n", "x)", ")"),
        ("print(├xs┤)\n", "xs", ""),
        ("print(├f(x)┤)\n", "f(x)", ""),
        ("print(├f(x))┤)\n", "f(x))", ")"),
        ("print(f(├x)┤))\n", "x)", ")"),
        ("print(f(├x))┤))\n", "x))", "))"),
        ('print("├hello")┤")\n', 'hello")', '")'),
        ('print("├hello┤")\n', "hello", ""),
        ('print("├:(")┤")\n', ':(")', '")'),
        ('print("it\'s ├(a)")┤")\n', '(a)")', '")'),
        ('d["├key"] = 1┤"]\n', 'key"] = 1', '"]'),
        ("def f(├self, x):┤):\n", "self, x):", "):"),
        ("foo(├a)  # done┤)\n", "a)  # done", ")"),
        ("foo(├a);┤);\n", "a);", ");"),
        ("foo(├a)┤  )\n", "a)", "  )"),
        ("foo(├':)')┤)\n", "':)')", ")"),
        ("x = [├\n    1,\n    2,\n]┤]\n", "\n    1,\n    2,\n]", "]"),
        ("x = {├**a}┤}  \n", "**a}", "}"),
        # The cursor is in a string: what is in it opens and closes nothing behind it.
        ('print("├it\'s")┤")\n', "it's\")", '")'),
        ('print("it\'s ├Ann\'s")┤")\n', "Ann's\")", '")'),
        ('print("├:( sad")┤")\n', ':( sad")', '")'),
        ('print("├hello")┤)\n', 'hello")', ")"),
        ('print("├a" + b["c"])┤)\n', 'a" + b["c"])', ")"),
        ('print("├say \\"it\\" :(")┤")\n', 'say \\"it\\" :(")', '")'),
        ("x.split('\\├\\')┤')\n", "\\')", "')"),
        ("x = f\"{d['├key']}\"┤']}\"\n", "key']}\"", "']}\""),
        ('x = f"{├d[0]}"┤}"\n', 'd[0]}"', '}"'),
        ('print("(├it\'s)")┤)")\n', "it's)\")", ')")'),
        ('print("(├it\'s)┤)")\n', "it's)", ")"),
        ('def f():\n    """├It\'s a "so" (1."""┤"""\n', 'It\'s a "so" (1."""', '"""'),
        ('def f():\n    """Does\n\n    ├it isn\'t."""┤"""\n', 'it isn\'t."""', '"""'),
        ("It's (├so to say)┤)\n", "so to say)", ")"),  # an apostrophe is no string
        ("It's f(├'a', (b))┤)\n", "'a', (b))", ")"),
    ],
)
def test_closers_right_of_the_cursor_are_typed_over(drawing: str, expected: str, replaced: str) -> None:
    check(drawing, expected, replaced)


def test_quotes_in_prose_are_apostrophes() -> None:
    text, context = parse("It's there (├really), isn't it┤)\n")
    assert overtyped(text, replace(context, language="markdown")) == 1


def test_a_suggestion_that_may_not_replace_ends_before_the_closer() -> None:
    for drawing, before in (
        ("print(├x)┤)\n", "x"),
        ("print(├f(x), y┤)\n", "f(x), y"),
        ('print("├a :)")┤)\n', 'a :)"'),
        ('print("├it\'s")┤")\n', "it's"),
    ):
        assert before_overtyped(*parse(drawing)) == before


def test_a_clean_text_is_left_as_it_is() -> None:
    for drawing in ("x = ├10┤\n", "def f(├a, b):\n    return a┤\n", "print(├'a' + b)┤)\n"):
        text, context = parse(drawing)
        once = clean(text, context)
        assert once and clean(once, context) == once


@pytest.mark.parametrize(
    ("drawing", "ended"),
    [
        ('def f():\n    ├"""Does it.┤\n    return 1\n', '"""Does it."""'),
        ('def f():\n    ├"""Does it.┤\n    """\n    return 1\n', '"""Does it.'),
        ('def f():\n    ├"""┤\n    return 1\n', '"""'),
        ("raise Error(├'no such┤)\n", "'no such'"),
        ("raise Error(├'no such┤')\n", "'no such"),
        ("raise Error('├no such┤)\n", "no such"),  # not this text's to end
        ("├x = 'a' + \"b\"┤\n", "x = 'a' + \"b\""),
        ("├x = 1  # don't┤\n", "x = 1  # don't"),
        ("├x = '''a\nb┤\n", "x = '''a\nb'''"),
        (
            'def f():\n    ├"""Does it.\n    It does so when it is┤\n    return 1\n',
            '"""Does it."""',
        ),
        ('def f():\n    ├"""Does `it`. So (e.g.┤\n    return 1\n', '"""Does `it`."""'),
        ('def f():\n    ├"""Does it,\n    and so┤\n    return 1\n', '"""Does it,\n    and so\n    """'),
        ('def f():\n    ├x = 1\n\n    """┤\n    return 1\n', "x = 1\n"),
        ("├x = '''a\nb'''┤\n", "x = '''a\nb'''"),
        ("├x = \"it's┤\n", 'x = "it\'s"'),
    ],
)
def test_a_string_that_is_begun_is_ended(drawing: str, ended: str) -> None:
    text, context = parse(drawing)
    context = replace(context, language="python")
    assert end_string(text, context) == ended
    assert end_string(ended, context) == ended


@pytest.mark.parametrize("language", ["markdown", "plaintext", "html", "clojure"])
def test_an_apostrophe_begins_no_string(language: str) -> None:
    assert (
        end_string("what I don't know", CompletionContext("Say ", "", "\n", language=language)) == "what I don't know"
    )


def test_a_method_far_below_its_class_is_parsed_by_itself() -> None:
    """What is parsed must not begin within a string, nor in the middle of a method."""
    above = 'SCRIPT = """\nif test (\n"""\n\n\nclass A:\n' + "".join(
        f'    def f{number}(self):\n        return """(\nnot a statement\n"""\n\n' for number in range(200)
    )
    below = "\n\n" + above[above.index("    def") :]
    context = CompletionContext(above + "    def last(self):\n        ", "", below, language="python")
    for text in ("return self.f1()", "rows = [\n            1,\n        ]\n        return rows"):
        assert keep_parsing(text, context) == text
    assert keep_parsing("return 1\n        return 2 3", context) == "return 1"
    assert keep_parsing("return 2 3", context) == ""


@pytest.mark.parametrize(
    ("drawing", "closed"),
    [
        ("x = ├f(a, [1┤\n", "f(a, [1])"),
        ("x = f(├g(a┤)\n", "g(a)"),
        ("x = f(├g(a)┤\n", "g(a)"),  # not this text's to close
        ("├x = f(┤\n    1,\n)\n", "x = f("),
        ("├if x:\n    y = f(1┤\n", "if x:\n    y = f(1)"),
        ("├x = {┤\n", "x = {"),  # lines follow
        ("    ├run(\n        [1,\n         2],┤\n", "run(\n        [1,\n         2],\n    )"),
        ("    ├run(\n        [1, f(2┤\n", "run(\n        [1, f(2)]\n    )"),
        ("├x = f(1)┤\n", "x = f(1)"),
    ],
)
def test_brackets_that_are_opened_last_are_closed(drawing: str, closed: str) -> None:
    text, context = parse(drawing)
    context = replace(context, language="python")
    assert close_brackets(text, context) == closed
    assert close_brackets(closed, context) == closed
