"""Where a text begins and ends: in which string, behind which brackets."""

from __future__ import annotations

import pytest

from tabby_lsp.completion.brackets import inside

DOCUMENTED = '''def first():
    """Begins here.

    And ends there.
    """
    return """a
text"""


def second():
    """One line."""
    x = 1
'''


@pytest.mark.parametrize("line", range(12))
def test_a_window_that_begins_in_a_docstring_is_not_read_inside_out(line: int) -> None:
    """A document that is longer than the window is cut at some line, whatever that line is in."""
    document = DOCUMENTED * 3
    window = "\n".join(document.split("\n")[line:])
    assert inside(window, "python") == ""
    assert inside(window + '    """Not ended\n', "python") == '"""'
