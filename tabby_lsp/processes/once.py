"""A process of ours that says one thing and ends."""

from __future__ import annotations

import os
import subprocess

from tabby_lsp.processes.child import ENVIRONMENT, ending
from tabby_lsp.processes.start import NEUTRAL_FOLDER, python


class Died(Exception):
    """It did not end well; the text says how."""


def output_of(module: str, seconds: float) -> str:
    """What a module's `main` writes to stdout, in a process of its own. Raises Died."""
    environment = {**os.environ, **ENVIRONMENT}
    try:
        done = subprocess.run(
            python(module),
            cwd=NEUTRAL_FOLDER,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise Died(f"it takes longer than {seconds:.0f} s") from None
    except OSError as error:
        raise Died(str(error)) from None
    if done.returncode != 0:
        raise Died(ending(done.returncode, done.stderr.splitlines()))
    return done.stdout
