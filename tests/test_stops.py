"""Where a suggestion ends, drawn: the model goes on for ever, the text between ├ and ┤ is what is kept.

The rules are asked after every few characters, as they are after every token: what they say must not depend on
where the tokens end.
"""

from __future__ import annotations

import pytest

from tabby_lsp.completion.stops import find_stop, indentation, stop_rules
from tabby_lsp.data import CompletionContext


def check(drawing: str, reason: str, after: str = "\n", stop_words: tuple[str, ...] = ()) -> None:
    before, _, rest = drawing.partition("├")
    kept, _, more = rest.partition("┤")
    line_suffix, newline, below = after.partition("\n")
    rules = stop_rules(CompletionContext(before, line_suffix, newline + below), stop_words)
    whole = kept + more
    for size in (1, 2, 5, len(whole)):
        for end in range(size, len(whole) + size, size):
            stop = find_stop(whole[:end], rules)
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


def test_statements_on_an_empty_line_end_at_a_blank_one() -> None:
    check("def f():\n    ├x = 1\n    if x:\n        y = 2\n    return x┤\n\n    z = 3\n", "scope end")


def test_statements_end_where_the_block_does() -> None:
    check("def f():\n    ├return 1┤\nx = 2\n", "scope end")


def test_tabs_count_to_the_next_stop() -> None:
    assert [indentation(each) for each in ("x", "\tx", "  \tx", "    x", "\t x", "")] == [0, 4, 4, 4, 5, 0]
    check("func f() {\n\t├a()\n\tb()┤\n}\n", "scope end")


def test_the_line_below_the_cursor_is_not_written_again() -> None:
    check("def f():\n    ├x = 1┤\n    return x\n", "following line", after="\n\n    return x\n")


@pytest.mark.parametrize("unit", ["abc", "x = x + 1, ", "0123456789" * 5])
def test_a_loop_is_left_at_its_first_turn(unit: str) -> None:
    before, text = "y = ", unit * 8
    rules = stop_rules(CompletionContext(before))
    stop = next(stop for end in range(1, len(text)) if (stop := find_stop(text[:end], rules)))
    assert stop.reason == "repetition"
    assert stop.length <= 2 * len(unit)


def test_the_same_line_three_times_is_a_loop() -> None:
    check("def f():\n    ├a()\n    b()┤\n    b()\n    b()\n", "repetition")


def test_the_users_stop_words() -> None:
    check("x = ├1 ┤# END of it\n", "stop word", stop_words=("# END", "never"))
