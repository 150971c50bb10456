"""The program: the script `tabby-lsp` and `python -m tabby_lsp` begin here."""

import sys

from tabby_lsp.processes.start import leave_working_folder


def main() -> int:
    leave_working_folder()
    from tabby_lsp.cli import main as run  # only now: what it imports must not come from the working folder

    return run()


if __name__ == "__main__":
    sys.exit(main())
