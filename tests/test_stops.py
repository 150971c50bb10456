"""Where a suggestion ends, drawn: the model goes on for ever, the text between ├ and ┤ is what is kept.

The rules are asked after every few characters, as they are after every token: what they say must not depend on
where the tokens end.
"""

from __future__ import annotations

import pytest

from tabby_lsp.completion.stops import Stops, indentation, stop_rules
from tabby_lsp.data import CompletionContext


def check(
    drawing: str, reason: str, after: str = "\n", stop_words: tuple[str, ...] = (), language: str = "python"
) -> None:
    before, _, rest = drawing.partition("├")
    kept, _, more = rest.partition("┤")
    line_suffix, newline, below = after.partition("\n")
    rules = stop_rules(CompletionContext(before, line_suffix, newline + below, language=language), stop_words)
    whole = kept + more
    for size in (1, 2, 5, len(whole)):
        stops = Stops(rules)
        for end in range(size, len(whole) + size, size):
            stop = stops.find(whole[:end])
            if stop:
                break
        assert stop is not None, f"never stopped, {size} characters at a time"
        assert (whole[: stop.length], stop.reason) == (kept, reason), f"{size} characters at a time"


def test_a_line_ends_with_the_line() -> None:
    check("x = ├1┤\ny = 2\nz = 3\n", "line end")


def test_a_line_that_is_finished_is_left_alone() -> None:
    check("x = 1├┤\ny = 2\n", "line end")


def test_one_line_only_where_words_stand_right_of_the_cursor() -> None:
    check("if ├x:┤\n    y = 1\n", "line end", after=" and z:\n")


def test_a_block_ends_before_the_line_that_is_not_in_it() -> None:
    check("def f(├x):\n    y = 1\n\n    return y┤\n\n\ndef g():\n", "scope end")
    check("    if ├x:\n        y = 1┤\n    else:\n", "scope end")


def test_a_block_ends_with_its_closer() -> None:
    check("function f(├) {\n  return 1;\n}┤\nfunction g() {\n", "scope end")
    check("x = [├\n    1,\n    2,\n]┤\ny = 3\n", "scope end")


def test_a_name_that_begins_with_end_closes_nothing() -> None:
    check("if ├x:\n    y = 1┤\nendpoint = 2\nz = 3\n", "scope end")
    check("if ├x then\n  y = 1\nend┤\nz = 3\n", "scope end")


def test_a_block_goes_on_behind_a_closer_that_opens_the_next() -> None:
    check("if (a) ├{\n  b();\n} else {\n  c();\n}┤\nd();\n", "scope end")


@pytest.mark.parametrize(
    "language, drawing",
    [
        ("python", "x = f(a, ├b,\n      c)┤\ny = 2\n"),
        ("python", "def f(├a,\n      b):\n    g(a,\n      b)\n\n    return b┤\n\n\nx = 1\n"),
        ("python", "x = {├1: 2,\n     3: [4,\n         5]}┤\ny = 2\n"),
        ("python", "x = a ├+ \\\n    b┤\ny = 2\n"),
        ("python", "if (a ├and\n        b):\n    c()┤\nd()\n"),
        ("javascript", "const x =├\n  a ? b : c┤\nf()\n"),
        ("javascript", "f(├a, function () {\n  b();\n});┤\ng();\n"),
        ("javascript", "if (a) ├{\n  b();\n} else {\n  c();\n}┤\nd();\n"),
        ("typescript", "f(├[\n  1,\n], 2,\n  3)┤\ng();\n"),
        ("go", "func f(├a int,\n\tb int) {\n\tg()\n\n\th()\n}┤\n\nfunc g() {\n"),
        ("rust", "    let x = match y ├{\n        1 => 2,\n    };┤\n    z();\n"),
        ("c", "/*├*\n * Adds.\n */┤\nint add(int a) {\n"),
        ("c", "    if (a ├&&\n        b) {\n        c();\n    }┤\n    d();\n"),
        ("ruby", "def f├(x)\n  if x\n    1\n  end\n\n  x\nend┤\n\ndef g\n"),
        ("ruby", "  if ├x\n    1\n  elsif y\n    2\n  else\n    3\n  end┤\n  elsewhere = 1\n"),
        ("ruby", "x = case ├y\nwhen 1\n  2\nend┤\nz\n"),
        ("ruby", "a.each ├do |b|\n  c\nend┤\nd\n"),
        ("ruby", "def f(x) ├= x┤\nendless = 1\n"),
        ("lua", "local function f├(x)\n  if x then\n    return 1\n  end\nend┤\nlocal y\n"),
        ("lua", "f(├function(x)\n  g(x)\nend)┤\nh()\n"),
        ("lua", "repeat├\n  f()\nuntil x┤\ng()\n"),
        ("elixir", "def f(x) ├do\n  x\nrescue\n  e -> e\nend┤\n\ndef g\n"),
        ("julia", "function f├(x)\n    x\nend┤\nf(1)\n"),
        ("shellscript", "if ├x; then\n  y\nelse\n  z\nfi┤\nfind .\n"),
        ("shellscript", "case $x ├in\n  a) b ;;\nesac┤\necho\n"),
        ("python", "try├:\n    x = 1\nexcept E:\n    x = 2┤\ny = 3\n"),
        ("html", "<ul ├class='a'>\n  <li>b</li>\n\n  <li><br>\n</ul>┤\n<p>c</p>\n"),
        ("javascriptreact", "  return ├(\n    <p>\n      a\n    </p>\n  );┤\n  b\n"),
        ("javascriptreact", "    <p├>\n      {a}\n    </p>┤\n    <b>\n"),
        ("c", "    if (├x)\n        f();┤\n    g();\n"),
        ("java", "    return ├all.stream()\n        .map(x)\n        .toList();┤\n  }\n"),
        ("yaml", "  - name: ├Check out\n    uses: checkout┤\n  - name: Build\n"),
        ("makefile", "all: ├build\n\tcc -o a a.c\n\tstrip a┤\nclean:\n"),
        ("markdown", "- a ├long item\n  goes on┤\n- another\n"),
        ("markdown", "```go\n\tif x ├{\n\t\tf()\n\t}┤\n\tg()\n```\n"),
        ("html", "<ul>\n  <li├>\n    a\n  </li>┤\n  <li>\n"),
        ("html", "<ul>\n  <li├>\n    a┤\n  </p>\n"),
        ("markdown", "```├python\nx = 1\n\ny = f(\n```┤\nText.\n"),
    ],
)
def test_blocks_and_expressions_end_where_their_syntax_does(language: str, drawing: str) -> None:
    check(drawing, "scope end", language=language)


@pytest.mark.parametrize(
    "language, drawing",
    [
        ("python", "x = ├'('┤\n    y\n"),
        ("python", "x = 1  ├# (see┤\n    y\n"),
        ("javascript", "i ├++;┤\n  j\n"),
        ("javascript", "i ├++┤\nj\n"),
        ("shellscript", "X├=┤\n\nY=\n"),
        ("html", "  <p>├a<br>┤\n  b\n"),
        ("html", "  <p>├a</p>┤\n  b\n"),
        ("typescript", "const x: ├Array<string>┤\ny\n"),
        ("markdown", "(see ├below┤\nand above)\n"),
        ("ruby", "x = 1 ├if y┤\nz\n"),
        ("lua", "local f = ├function(x) return x end┤\ny\n"),
        ("python", "# TODO: ├undo┤\n    x\n"),
        ("yaml", "on: ├push┤\n\njobs:\n"),
    ],
)
def test_a_complete_line_is_one_line(language: str, drawing: str) -> None:
    check(drawing, "line end", language=language)


def test_a_block_between_brackets_that_the_editor_has_closed() -> None:
    check("if (a) {├\n  b();\n}┤\nc();\n", "scope end", after="}\n", language="javascript")
    check("f(├a,\n  b)┤\nc()\n", "scope end", after=")\n")


@pytest.mark.parametrize("language", ["ruby", "julia", "html", "lua", "c"])
@pytest.mark.parametrize("unit", ["= if ", "/*", "<a ", "function ", "do |", "(", " "])
def test_no_line_stalls(language: str, unit: str) -> None:
    context = CompletionContext(unit * (24_000 // len(unit)), language=language)
    assert Stops(stop_rules(context)).find("x\ny\n") is not None


def test_statements_on_an_empty_line_end_at_a_blank_one() -> None:
    check("def f():\n    ├x = 1\n    if x:\n        y = 2\n    return x┤\n\n    z = 3\n", "scope end")


def test_statements_end_where_the_block_does() -> None:
    check("def f():\n    ├return 1┤\nx = 2\n", "scope end")


def test_tabs_count_to_the_next_stop() -> None:
    assert [indentation(each) for each in ("x", "\tx", "  \tx", "    x", "\t x", "")] == [0, 4, 4, 4, 5, 0]
    check("func f() {\n\t├a()\n\tb()┤\n}\n", "scope end")


def test_the_line_below_the_cursor_is_not_written_again() -> None:
    check("def f():\n    ├x = 1┤\n    return x\n", "following line", after="\n\n    return x\n")


@pytest.mark.parametrize("unit", ["abc", "x = x + 1, ", "0123456789" * 5, ".1.1"])
def test_a_loop_is_left_at_its_first_turn(unit: str) -> None:
    before, text = "y = ", unit * 8
    stops = Stops(stop_rules(CompletionContext(before)))
    stop = next(stop for end in range(1, len(text)) if (stop := stops.find(text[:end])))
    assert stop.reason == "repetition"
    assert stop.length <= 2 * len(unit)


def test_the_same_line_three_times_is_a_loop() -> None:
    check("def f():\n    ├a()\n    b()┤\n    b()\n    b()\n", "repetition")


def test_the_users_stop_words() -> None:
    check("x = ├1 ┤# END of it\n", "stop word", stop_words=("# END", "never"))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "# " + "-" * 77),
        ("restructuredtext", "=" * 60),
        ("markdown", "| ---- | ---- | ---- | ---- | ---- | ---- |"),
        ("solidity", "address x = 0x" + "0" * 40 + ";"),
        ("python", "    0, 0, 0, 0, 0, 0, 0, 0,\n    0, 0, 0, 0, 0, 0, 0, 0,\n    0, 0, 0, 0, 0, 0, 0, 0,\n    1"),
    ],
)
def test_a_ruler_zeros_and_the_rows_of_a_table_are_no_loop(language: str, text: str) -> None:
    stops = Stops(stop_rules(CompletionContext("", language=language)))
    assert all(stops.find(text[:end]) is None for end in range(1, len(text) + 1))


def test_a_ruler_without_an_end_is_a_loop() -> None:
    stop = Stops(stop_rules(CompletionContext("# ", language="python"))).find("-" * 200)
    assert stop is not None and stop.reason == "repetition"
