"""Chat templates are rendered in a process of its own: nothing else can be stopped while it loops or fills the memory.

`form_of` runs this module for a limited time. The process is told the template and the roles on its stdin, and writes
the form to its stdout. It is started beside the loop, by whoever drives a conversation, never by the process that
computes: neither the editor nor a suggestion waits for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache

from tabby_lsp.chat.template import Form, TemplateError, chatml_form, own_form, plain_form
from tabby_lsp.data import Dialect, to_json
from tabby_lsp.processes import machine
from tabby_lsp.processes.child import LOWEST_TIMES
from tabby_lsp.processes.start import NEUTRAL_FOLDER, python

# A template takes milliseconds, the process a fifth of a second; on a machine that has much else to do, some seconds.
RENDER_SECONDS = 10.0
COMPUTED_SECONDS = 3  # of its own computing, where the system counts that: on a busy machine it has longer to wait
RENDER_BYTES = 1 << 30  # of addresses: Python and Jinja take a quarter of it


def form_of(dialect: Dialect, roles: tuple[str, ...]) -> Form:
    """The form of a conversation, by the model's own template if that can be used. Waits for a process."""
    if not dialect.template:
        return _instead(dialect, roles)
    try:
        return _rendered(dialect, roles)
    except TemplateError as error:
        return _instead(dialect, roles, str(error))


def _instead(dialect: Dialect, roles: Sequence[str], *why: str) -> Form:
    return chatml_form(roles, *why) if dialect.chatml else plain_form(roles, *why)


@lru_cache(maxsize=64)  # of those that could be: what was too slow once may not be the next time
def _rendered(dialect: Dialect, roles: tuple[str, ...]) -> Form:
    process = subprocess.Popen(
        python("tabby_lsp.chat.rendering"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=NEUTRAL_FOLDER,
    )
    seconds = RENDER_SECONDS * (LOWEST_TIMES if machine.has_lowest_priority() else 1)
    try:
        asked = {**to_json(dialect), "roles": list(roles)}
        output, _ = process.communicate(json.dumps(asked).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise TemplateError(f"its chat template has not come to an end in {seconds:.0f} seconds.") from None
    try:
        said = json.loads(output)
    except ValueError:
        raise TemplateError("its chat template has ended the process that rendered it.") from None
    if "why" in said:
        raise TemplateError(said["why"])
    return Form(tuple(said["parts"]), said["note"], tuple(said["stop"]), said["thinks"])


def main() -> None:
    machine.limit_memory(RENDER_BYTES)
    machine.limit_computing(COMPUTED_SECONDS)
    asked = json.load(sys.stdin.buffer)
    try:
        said = to_json(own_form(asked["template"], asked["roles"], asked["bos"], asked["eos"]))
    except TemplateError as error:
        said = {"why": str(error)}
    sys.stdout.buffer.write(json.dumps(said).encode())


if __name__ == "__main__":
    main()
