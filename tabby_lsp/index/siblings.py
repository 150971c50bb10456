"""The files that belong to a file by their names: its tests, what it tests, the header of a source."""

from __future__ import annotations

_ECMASCRIPT = ("ts", "tsx", "js", "jsx", "mts", "mjs", "cts", "cjs", "vue", "svelte")
_C_SOURCES, _C_HEADERS = ("c", "cc", "cpp", "cxx", "m", "mm"), ("h", "hh", "hpp", "hxx")
# How the tests of "{}" are called, for files of these extensions.
_TESTS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("py",), ("test_{}", "{}_test", "{}_tests")),
    (("go",), ("{}_test",)),
    (_ECMASCRIPT, ("{}.test", "{}.spec", "{}_test")),
    (("java", "kt", "scala", "groovy"), ("{}Test", "{}Tests", "Test{}", "{}IT", "{}Spec")),
    (("cs", "fs", "vb"), ("{}Tests", "{}Test", "{}Spec")),
    (("rb",), ("{}_spec", "{}_test", "test_{}")),
    (("php",), ("{}Test", "{}Spec")),
    (("rs",), ("{}_test", "{}_tests", "test_{}")),
    (_C_SOURCES, ("{}_test", "test_{}", "{}_unittest", "{}Test", "{}_tests")),
    (("swift",), ("{}Tests", "{}Test")),
    (("dart", "zig", "jl", "erl"), ("{}_test",)),
    (("ex", "exs"), ("{}_test",)),
    (("hs",), ("{}Spec", "{}Test")),
    (("lua", "nim", "cr"), ("{}_spec", "{}_test", "test_{}")),
)

TEST, TESTED, HEADER, SOURCE = (
    "test of this file",
    "tested by this file",
    "header of this file",
    "source of this header",
)


def siblings(name: str) -> dict[str, str]:
    """Names that siblings of a file of this name may have, and what each would be to it."""
    stem, _, extension = name.rpartition(".")
    if not stem:
        return {}
    found: dict[str, str] = {}
    for extensions, patterns in _TESTS:
        # Tests of C are programs, those of a header too.
        if extension not in extensions and not (extensions is _C_SOURCES and extension in _C_HEADERS):
            continue
        ends = [extension, *(each for each in extensions if each != extension)]
        found |= {f"{tested}.{end}": TESTED for tested in _tested(stem, patterns) for end in ends}
        found |= {f"{pattern.format(stem)}.{end}": TEST for pattern in patterns for end in ends}
    for others, one, said in ((_C_HEADERS, _C_SOURCES, HEADER), (_C_SOURCES, _C_HEADERS, SOURCE)):
        if extension in one:
            found |= {f"{stem}.{end}": said for end in others}
    return found


def _tested(stem: str, patterns: tuple[str, ...]) -> list[str]:
    found = []
    for pattern in patterns:
        before, after = pattern.split("{}")
        if stem.startswith(before) and stem.endswith(after) and len(stem) > len(before) + len(after):
            found.append(stem[len(before) : len(stem) - len(after)])
    return found
