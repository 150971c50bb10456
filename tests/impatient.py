"""The server's own command line, which asks a person something after so many seconds without a key (the first
argument) instead of those that it waits for elsewhere."""

from __future__ import annotations

import sys

from tabby_lsp import cli
from tabby_lsp.lsp import models

if __name__ == "__main__":
    models.QUIET_SECONDS = float(sys.argv[1])
    sys.exit(cli.main(sys.argv[2:]))
