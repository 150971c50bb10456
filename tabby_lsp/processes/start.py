"""How our processes start: none of them imports anything from the folder that the user happens to stand in.

Python puts the working folder, or the script's, in front of everything that is imported, and an empty entry of
PYTHONPATH does the same. For an editor that folder is the workspace: a `numpy.py` in it, of a cloned repository say,
would be run. So the first line of the server takes it out (`leave_working_folder`), and its children are given the
server's search path and another working folder (`python`). What Python itself imports before our first line cannot be
kept from it; the script `tabby-lsp` has no such folder on its path, `python -m tabby_lsp` has.

Imports nothing but what Python has loaded by then.
"""

import os
import sys
from collections.abc import Iterable

# Takes over the search path before anything is imported. `importlib` is loaded by then, whatever the path is.
_FIRST_LINE = (
    "import os, sys; sys.path[:] = sys.argv.pop(1).split(os.pathsep); "
    "from importlib import import_module; sys.exit(import_module(sys.argv.pop(1)).main())"
)

PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Children stand here: what they leave behind, such as a core dump, is not written into the workspace, and a library
# that looks for plugins where it stands finds none of the workspace's.
NEUTRAL_FOLDER = sys.prefix


def leave_working_folder() -> None:
    """Takes the working folder out of what this process imports from, and out of what its children will."""
    sys.path[:] = without_working_folder(sys.path)


def without_working_folder(path: Iterable[str]) -> list[str]:
    """The entries of a search path that are not the working folder.

    Where Python's own library or this program lies in the working folder itself it is asked last.
    """
    try:
        here = _real(os.getcwd())
    except OSError:  # the folder is gone: nothing can be imported from it
        here = ""
    entries = list(dict.fromkeys(each for each in path if os.path.isabs(each)))
    kept = [each for each in entries if _real(each) != here]
    needed = [each for each in (*_libraries(), PACKAGE_FOLDER) if _real(each) == here]
    return kept + needed[:1]


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs `main` of one of our modules in a Python that imports what this one does."""
    path = os.pathsep.join(without_working_folder(sys.path))
    return [sys.executable, "-c", _FIRST_LINE, path, module, *arguments]


def _libraries() -> list[str]:
    """Folders from which Python and its packages are imported, wherever one stands."""
    packages = getattr(sys.modules.get("site"), "getsitepackages", list)
    return [os.path.dirname(os.__file__), *packages()]


def _real(folder: str) -> str:
    return os.path.normcase(os.path.realpath(folder))
