"""The trainer's promises about data: how samples are cut and laid out, what is refused, what is listed."""

from __future__ import annotations

import random
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

if sys.version_info < (3, 11):
    pytest.importorskip("tomli")

from tabby_lsp.models import starter
from tabby_lsp.models.training import corpus, samples
from tabby_lsp.models.training import tokenizer as tok
from tabby_lsp.models.training.corpus import Package, RefusedError, Source
from tabby_lsp.models.training.samples import Cut, Sampler, cut_middle, fim_ids, open_hole

CODE = '''import os


def first(path):
    """The first line of a file, für alle."""
    with open(path, "rb") as file:
        if file.seekable():
            line = file.readline()
            return line.decode()

    return None


class Empty(Exception):
    pass
'''
TEXTS = [CODE, CODE.rstrip("\n"), "\n\n\n", "x", "    ", "def f(a,\n      b):\n\treturn a\n", CODE * 20]
WHOLE = 10**6


def encode(text: str) -> list[int]:
    """A torch-free stand-in for the tokenizer: one id for each character, below the control ids."""
    return [ord(char) % tok.FIRST_CONTROL for char in text]


def decode(ids: Iterable[int]) -> str:
    return "".join(map(chr, ids))


@pytest.mark.parametrize("seed", range(200))
def test_prefix_middle_and_suffix_reassemble_the_file(seed: int) -> None:
    rng = random.Random(seed)
    for text in TEXTS:
        cut = cut_middle(text, rng)
        hole = open_hole(text, cut, WHOLE, WHOLE)
        assert hole.prefix + hole.middle + hole.suffix == text
        near = open_hole(text, cut, rng.randrange(60), rng.randrange(60))
        assert near.middle == hole.middle
        assert hole.prefix.endswith(near.prefix) and hole.suffix.startswith(near.suffix)
        assert near.prefix == hole.prefix or hole.prefix[: len(hole.prefix) - len(near.prefix)].endswith("\n")


def test_most_middles_end_where_the_line_ends() -> None:
    rng = random.Random(0)
    text = CODE * 5
    cuts = [cut_middle(text, rng) for _ in range(2000)]
    at_line_end = sum(cut.end == len(text) or text[cut.end] == "\n" for cut in cuts)
    within_line = sum("\n" not in text[cut.start : cut.end] for cut in cuts)
    assert 0.75 < at_line_end / len(cuts) < 0.95
    assert 0.55 < within_line / len(cuts) < 0.95


def test_a_block_ends_before_the_indentation_falls() -> None:
    start = CODE.index("if file")
    end = samples.block_end(CODE, start, 8)
    assert CODE[start:end].endswith("return line.decode()")
    assert samples.block_end(CODE, start, 2) == CODE.index("\n", CODE.index("line ="))


def test_layouts_put_the_control_tokens_where_the_server_does() -> None:
    p, s = [1, 2], [3]
    assert fim_ids(p, s, suffix_first=False) == [tok.FIM_PREFIX, 1, 2, tok.FIM_SUFFIX, 3, tok.FIM_MIDDLE]
    assert fim_ids(p, s, suffix_first=True) == [tok.FIM_SUFFIX, 3, tok.FIM_PREFIX, 1, 2, tok.FIM_MIDDLE]
    head = samples.repository_ids("demo", [("a.py", "A = 1")], "b.py", encode)
    assert head[0] == tok.REPO_NAME and head.count(tok.FILE_SEP) == 2
    first, second = (at for at, token in enumerate(head) if token == tok.FILE_SEP)
    assert decode(head[1:first]) == "demo\n"
    assert decode(head[first + 1 : second]) == "a.py\nA = 1\n"
    assert decode(head[second + 1 :]) == "b.py\n"


def sampler(seed: int = 3) -> Sampler:
    sources = [Source("demo", f"demo/{n}.py", CODE.replace("first", f"first_{n}") * 6) for n in range(6)]
    return Sampler(sources, encode, seed)


def test_rows_are_exactly_as_long_as_asked_and_know_the_middle() -> None:
    stream = sampler()
    for length in (64, 513, 2049):
        row = stream.row(length)
        assert len(row.ids) == len(row.middle) == length
    row = stream.row(4096)
    seen = Counter(row.ids)
    assert min(seen[token] for token in (tok.FIM_PREFIX, tok.FIM_SUFFIX, tok.FIM_MIDDLE, tok.END)) > 0
    for at, token in enumerate(row.ids[:-1]):
        if token == tok.FIM_MIDDLE:
            assert not row.middle[at] and row.middle[at + 1]


def test_samples_of_a_row_are_the_file_around_the_middle() -> None:
    stream = sampler()
    found = 0
    for _ in range(40):
        ids = stream.row(1500).ids
        text = "".join(chr(0xE000 + i - tok.FIRST_CONTROL) if i >= tok.FIRST_CONTROL else chr(i) for i in ids)
        layout = (tok.FIM_SUFFIX, tok.FIM_PREFIX, tok.FIM_MIDDLE, tok.END)
        pattern = "([^\ue000-\uf8ff]*)".join(chr(0xE000 + token - tok.FIRST_CONTROL) for token in layout)
        for s, p, m in re.findall(pattern, text):
            found += 1
            assert any(p + m + s in source.text for source in stream._sources)
    assert found > 50


def test_a_step_sees_the_same_rows_however_training_came_to_it() -> None:
    one, other = sampler(), sampler()
    one.rows(1, 2, 700)
    assert one.rows(2, 2, 700) == other.rows(2, 2, 700) != other.rows(3, 2, 700)


@pytest.mark.parametrize(
    ("before", "prose"),
    [("def f(path):\n    ", False), ("with ", False), ("The first", True), ("x = 1  # no", True)],
)
def test_comments_and_docstrings_are_prose(before: str, prose: bool) -> None:
    text = CODE + "x = 1  # nothing\n"
    start = text.index(before) + len(before) if before in text else text.index("path")
    assert samples.is_prose(text, start) is prose


def test_most_middles_are_of_code() -> None:
    rng = random.Random(0)
    text = (CODE + '"""\n' + "Prose that nobody wants completed.\n" * 20 + '"""\n') * 3
    drawn = sum(samples.is_prose(text, samples.pick_start(text, rng)) for _ in range(1000))
    kept = sum(samples.is_prose(text, cut_middle(text, rng).start) for _ in range(1000))
    assert 0.2 < kept / drawn < 0.8


def test_lessons_ask_about_a_function_of_the_file_and_answer_from_it() -> None:
    rng = random.Random(0)
    function = CODE[CODE.index("def first") : CODE.index("\n\n\nclass")]
    documented = function.replace("open(path", "open(\n            path")
    found = {find: None for find in (samples.find_lesson(f"import os\n\n{documented}\n", rng) for _ in range(2000))}
    lessons = [lesson for lesson in found if lesson]
    code = documented.replace('    """The first line of a file, für alle."""\n', "")
    assert len(lessons) == 6  # three kinds, each asked in two ways
    for question, answer in lessons:
        assert (code in question) != (code in answer)
        assert "The first line of a file, für alle." in question + answer


def test_a_lesson_is_laid_out_as_the_chat_template_does() -> None:
    ids = samples.chat_ids("Why?", encode)
    assert ids[0] == tok.IM_START and ids.count(tok.IM_END) == 1
    text = decode(token if token < tok.FIRST_CONTROL else ord("|") for token in ids)
    assert text == "|user\nWhy?|\n|assistant\n"


def test_rows_hold_lessons() -> None:
    stream = sampler()
    ids = [token for _ in range(60) for token in stream.row(2000).ids]
    assert 0 < ids.count(tok.IM_END) == ids.count(tok.IM_START) < ids.count(tok.FIM_MIDDLE) / 2


def test_empty_suffixes_and_prefixes_occur() -> None:
    stream = sampler()
    ids = [token for _ in range(60) for token in stream.row(1500).ids]
    pairs = Counter(pairwise(ids))
    assert pairs[tok.FIM_SUFFIX, tok.FIM_PREFIX] + pairs[tok.FIM_SUFFIX, tok.FIM_MIDDLE] > 0
    assert pairs[tok.FIM_PREFIX, tok.FIM_SUFFIX] + pairs[tok.FIM_PREFIX, tok.FIM_MIDDLE] > 0


def test_a_cut_at_the_ends_of_a_file() -> None:
    assert open_hole("ab", Cut(0, 2), 0, 0) == samples.Hole("", "ab", "")
    assert open_hole("ab", Cut(2, 2), WHOLE, WHOLE) == samples.Hole("ab", "", "")


@pytest.mark.parametrize(
    ("expression", "families"),
    [
        ("MIT", {"MIT"}),
        ("Apache-2.0 AND MIT", {"Apache", "MIT"}),
        ("MIT OR Apache-2.0", {"MIT", "Apache"}),
        ("LGPL-2.1 OR MIT", {"MIT"}),
        ("BSD License", {"BSD"}),
        ("MPL-2.0 AND MIT", set()),
        ("GPL-3.0-only", set()),
        ("", set()),
    ],
)
def test_licence_families(expression: str, families: set[str]) -> None:
    assert corpus.licence_families(expression) == families


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x = 1\n" * 30 + b"\0", "binary"),
        ("name = 'für'\n".encode("latin-1") * 30, "not UTF-8"),
        (b"x\n", "nearly empty"),
        (b"x = 1  # " + b"y" * 1000, "minified or data"),
        (b"# Automatically generated, do not edit\n" + b"x = 1\n" * 30, "generated"),
        (b"x = 1\n" * 60_000, "huge"),
    ],
)
def test_files_that_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        corpus.decode_source(data)


def wheel(folder: Path, name: str, licence: str, files: dict[str, bytes]) -> Package:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nLicense-Expression: {licence}\n")
        for path, data in files.items():
            archive.writestr(path, data)
    return Package(name, "1.0", "MIT", "train")


def test_a_package_with_another_licence_is_named_and_skipped(tmp_path: Path) -> None:
    code = CODE.encode()
    cache = tmp_path / "cache"
    good = wheel(cache, "demo_good", "MIT", {"demo_good/a.py": code, "demo_good/_vendor/b.py": code * 2})
    bad = wheel(cache, "demo_bad", "GPL-3.0-only", {"demo_bad/a.py": code * 3})
    copy = b"# a copy\n" + code
    held = wheel(cache, "demo_held", "MIT", {"demo_held/a.py": copy, "demo_held/b.py": b"\0"})
    report = corpus.build_corpus(tmp_path, [good, bad, Package(held.name, "1.0", "MIT", "held-out")])
    assert report["refused"] == ["demo_bad: metadata says 'GPL-3.0-only', the manifest 'MIT'"]
    assert [source.path for source in corpus.load_split(tmp_path, "train")] == ["demo_good/a.py"]
    assert corpus.load_split(tmp_path, "held-out") == []
    assert report["skipped"] == {"duplicate": 1, "binary": 1}


def test_changed_copies_of_held_out_packages_are_left_out(tmp_path: Path) -> None:
    code = CODE.encode()
    other = wheel(tmp_path / "cache", "demo_a", "MIT", {"demo_a/a.py": code, "demo_a/_demo_h/b.py": code + b"x = 1\n"})
    held = wheel(tmp_path / "cache", "demo_h", "MIT", {"demo_h/b.py": code + b"x = 2\n"})
    corpus.build_corpus(tmp_path, [other, replace(held, split="held-out")])
    # A folder named as the held-out package, whatever underscores are before it.
    assert not corpus.carries_a_copy("demo_a/a.py", frozenset({"demo_h"}))
    assert [source.path for source in corpus.load_split(tmp_path, "train")] == ["demo_a/a.py"]


def test_a_corpus_without_text_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="--stage corpus"):
        corpus.load_split(tmp_path, "train")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "demo_broken-1.0-py3-none-any.whl").write_bytes(b"no zip file")
    with pytest.raises(RefusedError, match="no usable text to train on: demo_broken: File is not a zip file"):
        corpus.build_corpus(tmp_path, [Package("demo_broken", "1.0", "MIT", "train")])


def test_folders_to_train_on_need_a_permissive_licence(tmp_path: Path) -> None:
    mit = "Permission is hereby granted, free of charge,\nto any person obtaining a copy"
    folders = {"mine": mit, "theirs": "GNU GENERAL PUBLIC LICENSE\n" + mit, "nobodys": None}
    for name, text in folders.items():
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src" / "a.py").write_text(CODE, encoding="utf-8")
        (tmp_path / name / "src" / "b.py").write_bytes(b"\0" * 200)
        if text:
            (tmp_path / name / "LICENSE").write_text(text)
    mine = corpus.folder_package(tmp_path / "mine")
    assert mine.licence == "MIT"
    assert [path for path, _ in corpus.read_package(mine, tmp_path)] == ["src/a.py", "src/b.py"]
    for name in ("theirs", "nobodys"):
        with pytest.raises(RefusedError, match="no LICENSE or COPYING"):
            corpus.folder_package(tmp_path / name)
    with pytest.raises(RefusedError, match="no such folder"):
        corpus.folder_package(tmp_path / "gone")


def test_what_is_held_out_is_weighed_alike() -> None:
    sources = [Source("big", f"{n}.py", "x" * 100) for n in range(50)] + [Source("small", "a.py", "x" * 300)]
    chars = Counter[str]()
    for source in corpus.balanced(sources):
        chars[source.package] += len(source.text)
    assert chars == {"big": 300, "small": 300}


def test_the_ngrams_back_off_as_the_formula_says() -> None:
    ngrams = pytest.importorskip("tabby_lsp.models.training.ngrams")
    found = ngrams.count_ngrams([ngrams.np.array([1, 2, 1, 3]), ngrams.np.array([1, 2])], 4)
    one = [(0 + 3 / 4) / 9, (3 + 3 / 4) / 9, (2 + 3 / 4) / 9, (1 + 3 / 4) / 9]  # 6 tokens of 3 kinds
    assert found.probabilities([]) == pytest.approx(one)
    after_one = [(count + 2 * p) / (3 + 2) for count, p in zip((0, 0, 2, 1), one, strict=True)]
    assert found.probabilities([1]) == pytest.approx(after_one)
    assert found.probabilities([3, 1]) == pytest.approx(after_one)  # never seen: what is known after 1
    assert found.probabilities([2, 1]) == pytest.approx(
        [(c + p) / 2 for c, p in zip((0, 0, 0, 1), after_one, strict=True)]
    )
    for history in ([], [1], [2, 1, 3], [0, 0], [1, 2, 1]):
        assert found.probabilities(history).sum() == pytest.approx(1.0)
    assert found.bits([1, 2]) == pytest.approx(-ngrams.np.log2(after_one[2]))


def test_the_manifest_names_only_permissive_licences() -> None:
    packages = corpus.read_manifest()
    assert all(corpus.licence_families(package.licence) for package in packages)
    assert len({package.name for package in packages}) == len(packages)
    assert 3 <= sum(package.split == "held-out" for package in packages) <= 5


def test_the_cards_table_is_the_manifest() -> None:
    card = starter.MODEL.with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+?) \| (train|held-out) \|", card, re.MULTILINE)
    assert rows == [(p.name, p.version, p.licence, p.split) for p in corpus.read_manifest()]


def test_the_model_is_shipped_and_small() -> None:
    assert starter.MODEL.read_bytes()[:4] == b"GGUF"
    assert starter.MODEL.stat().st_size < 10_000_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tok.Tokenizer:
    pytest.importorskip("tokenizers")
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    rng = random.Random(1)
    words = ("".join(rng.choices("abcdefghijklmnopqrst", k=9)) for _ in range(12_000))
    return tok.train_tokenizer([" ".join(words)], path)


def test_control_text_in_user_code_is_plain_text(trained: tok.Tokenizer) -> None:
    for control in tok.CONTROLS:
        ids = trained.encode(f"x = '{control}'")
        assert max(ids) < tok.FIRST_CONTROL
        assert trained.decode(ids) == f"x = '{control}'"
    assert trained.tokens[tok.FIM_MIDDLE] == "<|fim_middle|>"


def test_any_text_survives_the_tokenizer(trained: tok.Tokenizer) -> None:
    for text in (*TEXTS, "é\u0301 \U0001f40d\r\n\tx", "a  b   "):
        assert trained.decode(trained.encode(text)) == text


def test_worker_processes_draw_the_rows_that_the_trainer_would(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tabby_lsp.models.training.train import Feed, Plan

    plan = Plan(workers=2, batch_tokens=256)
    feed = Feed(sampler(), plan)
    try:
        for step, length in ((0, 64), (1, 64), (2, 128), (3, 128)):
            assert feed.rows(step, length) == sampler().rows(step, 256 // length, length + 1)
    finally:
        feed.close()


def test_a_shipped_model_can_be_trained_on_from(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("gguf")
    from tabby_lsp.models.training.export import ExportError, export, read_gguf
    from tabby_lsp.models.training.model import logits

    weights, config, _ = read_gguf(starter.MODEL, tmp_path / "tokenizer.json")
    tokenizer = tok.Tokenizer(tmp_path / "tokenizer.json")
    sitting = {"machine": "cpu", "minutes": 1.5, "step": 3, "tokens": 24576}
    compared = export(weights, config, tokenizer, tmp_path, [sitting])  # raises if llama.cpp computes otherwise
    assert [one.kind for one in compared] == ["f16", "q8_0"]
    again, found, history = read_gguf(tmp_path / "tabby-starter-f16.gguf", tmp_path / "again.json")
    assert found == config and history == [sitting]
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    ids = torch.tensor([tokenizer.encode(CODE)])
    assert torch.allclose(logits(weights, config, ids), logits(again, config, ids), atol=0.05)

    broken = {name: weight + (0.1 if name == "blk.2.ffn_up.weight" else 0) for name, weight in weights.items()}
    (tmp_path / "broken").mkdir()
    with pytest.raises(ExportError, match="differs from the trained model"):
        from tabby_lsp.models.training import export as module

        module.compare("f16", tmp_path / "tabby-starter-f16.gguf", broken, config, tokenizer)


def test_all_of_the_model_is_on_the_device_of_its_weights() -> None:
    """torch's meta device computes nothing, but refuses to mix with another."""
    torch = pytest.importorskip("torch")
    from tabby_lsp.models.training.model import Config, losses, new_weights

    config = Config(layers=2, width=64, heads=2, hidden=64)
    weights = {name: weight.to("meta") for name, weight in new_weights(config, 1).items()}
    ids = torch.zeros((2, 9), dtype=torch.long, device="meta")
    assert losses(weights, config, ids).shape == (2, 8)


def test_the_model_for_a_gpu_can_be_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shape suits the K-quants, and the best of these that is small enough is taken and compared."""
    pytest.importorskip("torch")
    pytest.importorskip("gguf")
    from tabby_lsp.models.training import export
    from tabby_lsp.models.training.model import Config, new_weights
    from tabby_lsp.models.training.train import MACHINES

    config = MACHINES["gpu"].config
    sides = [shape for shape in config.shapes().values() if len(shape) == 2]
    parameters = sum(rows * columns for rows, columns in sides)
    assert 50e6 < parameters < 100e6 and all(columns % 256 == 0 for _, columns in sides)
    assert parameters * 5.7 / 8 < export.MOST_BYTES, "in Q5_K_M"

    small = Config(layers=2, width=256, heads=4, hidden=512)
    weights = new_weights(small, 1)
    export.read_gguf(starter.MODEL, tmp_path / "tokenizer.json")
    tokenizer = tok.Tokenizer(tmp_path / "tokenizer.json")
    sizes = {}
    for most in (10**9, 3_300_000, 2_900_000):
        monkeypatch.setattr(export, "MOST_BYTES", most)
        compared = export.export(weights, small, tokenizer, tmp_path, [])
        sizes[compared[1].kind] = export.shipped_file(tmp_path).stat().st_size
        assert export.shipped_file(tmp_path).stat().st_size <= most
    assert list(sizes) == sorted(sizes, key=lambda kind: -sizes[kind]) and "q8_0" in sizes and len(sizes) > 1
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    with pytest.raises(export.ExportError, match="no quantisation"):
        export.export(weights, small, tokenizer, tmp_path, [])
