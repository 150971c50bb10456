"""`python -m tabby_lsp` is the same program as `tabby-lsp`."""

import sys

from tabby_lsp.cli import main

if __name__ == "__main__":
    sys.exit(main())
