"""The models that have names, the heads of their files, and where on a machine they are found."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import ggufs
import pytest

from tabby_lsp.completion import fim
from tabby_lsp.data import OwnModel
from tabby_lsp.engine import gguf
from tabby_lsp.models import cache, catalogue, finder, registry, starter
from tabby_lsp.models.catalogue import Entry, Part, Source

MODEL = ggufs.model(5000)
SHA256 = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it, and an environment that names no other place."""
    for name in (
        *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "LLAMA_CACHE"),
        *("OLLAMA_MODELS", "TABBY_MODEL_CACHE_ROOT"),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# --- the registry


def test_the_registry_is_whole() -> None:
    entries = catalogue.registry()
    assert len(entries) == len({each.name.lower() for each in entries}) > 40
    families = {each.name for each in fim.FAMILIES}
    for entry in entries:
        assert entry.roles and set(entry.roles) <= {"completion", "chat"}, entry.name
        assert not entry.family or entry.family in families, entry.name
        assert entry.sources, entry.name
        if entry.licence:
            assert entry.commercial in ("yes", "terms", "no"), entry.name
        for source in entry.sources:
            assert bool(source.repository) != bool(source.packages)
            assert source.parts or source.quantisation
            assert not source.commit or len(source.commit) == 40
            for part in source.parts:
                assert len(part.sha256) in (0, 64) and part.path.endswith(".gguf"), entry.name
            if source.parts:
                assert catalogue.part_paths(source.parts[0].path) == [part.path for part in source.parts]


def test_every_model_of_tabby_has_its_name() -> None:
    """TabbyML/registry-tabby 7a9d54e, models.json: all but the two that embed."""
    completion = """StarCoder-1B StarCoder-3B StarCoder-7B StarCoder2-3B StarCoder2-7B CodeLlama-7B CodeLlama-13B
        DeepSeekCoder-1.3B DeepSeekCoder-6.7B CodeGemma-2B CodeGemma-7B CodeQwen-7B Qwen2.5-Coder-0.5B
        Qwen2.5-Coder-1.5B Qwen2.5-Coder-3B Qwen2.5-Coder-7B Qwen2.5-Coder-14B Codestral-22B DeepSeek-Coder-V2-Lite"""
    chat = """Mistral-7B CodeGemma-7B-Instruct CodeQwen-7B-Chat Qwen2.5-Coder-0.5B-Instruct Qwen2.5-Coder-1.5B-Instruct
        Qwen2.5-Coder-7B-Instruct Qwen2.5-Coder-14B-Instruct Qwen2.5-Coder-32B-Instruct Qwen2-1.5B-Instruct Qwen3-0.6B
        Qwen3-1.7B Qwen3-4B Qwen3-8B Qwen3-14B Qwen3-32B Qwen3-30B-A3B Qwen3-235B-A22B Codestral-22B
        Yi-Coder-9B-Chat"""
    for role, names in (("completion", completion), ("chat", chat)):
        for name in names.split():
            entry = catalogue.look_up(name, catalogue.registry())
            assert entry and entry.name == name and role in entry.roles


def test_names_are_found_in_any_case_and_in_old_spellings() -> None:
    for name in ("starcoder-1b", "TabbyML/StarCoder-1B", "tabbyml/STARCODER-1B"):
        found = catalogue.look_up(name, catalogue.registry())
        assert found and found.name == "StarCoder-1B"
    old = catalogue.look_up("DeepseekCoder-1.3B", catalogue.registry())
    assert old and old.name == "DeepSeekCoder-1.3B"
    assert catalogue.look_up("smollm2", catalogue.registry()) and not catalogue.look_up("", catalogue.registry())


def test_a_licence_that_forbids_commercial_use_says_so() -> None:
    by_name = {each.name: each for each in catalogue.registry()}
    assert by_name["Qwen2.5-Coder-1.5B"].commercial == "yes"
    assert by_name["Qwen2.5-Coder-3B"].commercial == by_name["Codestral-22B"].commercial == "no"
    assert by_name["StarCoder-1B"].commercial == "terms"


def test_both_files_of_a_name_are_known() -> None:
    """Tabby's file and llama.cpp's own have not the same bytes."""
    (entry,) = [each for each in catalogue.registry() if each.name == "Qwen2.5-Coder-1.5B"]
    assert [each.repository for each in entry.sources] == [
        "ggml-org/Qwen2.5-Coder-1.5B-Q8_0-GGUF",
        "ikw/Qwen2.5-Coder-1.5B-GGUF",
    ]
    assert entry.size == 1_646_573_056
    assert len({each.parts[0].sha256 for each in entry.sources}) == 2


@pytest.mark.parametrize(
    "asked, nearest",
    [
        ("StarCodr-1B", "StarCoder-1B"),
        ("qwen2.5-coder", "Qwen2.5-Coder-0.5B"),
        ("Qwen2.5-Coder-1.5", "Qwen2.5-Coder-1.5B"),
        ("TabbyML/StarCoder1B", "StarCoder-1B"),
    ],
)
def test_a_nearly_right_name_is_answered_with_a_right_one(asked: str, nearest: str) -> None:
    assert nearest in catalogue.suggestions(asked, catalogue.registry())
    assert nearest in finder.advice(asked)


def test_a_name_like_no_other_suggests_nothing() -> None:
    assert catalogue.suggestions("zzz", catalogue.registry()) == []
    assert "`tabby-lsp models` lists the names" in finder.advice("zzz")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("org/repo-GGUF", Source(repository="org/repo-GGUF")),
        ("org/repo-GGUF:Q8_0", Source(repository="org/repo-GGUF", quantisation="Q8_0")),
        ("org/repo/q8/a-Q8_0.gguf", Source(repository="org/repo", parts=(Part("q8/a-Q8_0.gguf"),))),
        ("https://huggingface.co/org/repo", Source(repository="org/repo")),
        (
            f"https://huggingface.co/org/repo/resolve/{'a' * 40}/q8/a.gguf?download=true",
            Source(repository="org/repo", commit="a" * 40, parts=(Part("q8/a.gguf"),)),
        ),
        ("https://hf.co/org/repo/blob/main/a.gguf", Source(repository="org/repo", parts=(Part("a.gguf"),))),
        (
            "https://example.org/x/..%2fa b.gguf?key=1",
            Source(url="https://example.org/x/..%2fa b.gguf?key=1", parts=(Part("_2fa_b.gguf"),)),
        ),
        *(
            (text, None)
            for text in (
                "StarCoder-1B",
                "/a/b.gguf",
                "~/a.gguf",
                "../a/b",
                "a/../b.gguf",
                "C:/a/b.gguf",
                "models/a.gguf",
                "",
            )
        ),
    ],
)
def test_what_names_a_repository_or_an_address(text: str, expected: Source | None) -> None:
    assert catalogue.elsewhere(text) == expected


def test_the_file_that_a_quantisation_means_is_that_of_llama_cpp() -> None:
    paths = ["a-f16.gguf", "a-q4_k_m.gguf", "a-q8_0-00002-of-00002.gguf", "a-q8_0-00001-of-00002.gguf", "b.txt"]
    assert catalogue.chosen(paths, "") == "a-q4_k_m.gguf"
    assert catalogue.chosen(paths, "Q8_0") == "a-q8_0-00001-of-00002.gguf"
    assert catalogue.chosen(paths, "F1") is None, "the whole of it is meant"
    assert catalogue.chosen(["mmproj-q4_k_m.gguf", "x.gguf"], "") == "x.gguf"
    assert catalogue.chosen([], "") is None


def test_a_users_own_models_come_first() -> None:
    own = (
        OwnModel("Mine", "org/repo:Q8_0", roles=("chat",), licence="apache-2.0"),
        OwnModel("StarCoder-1B", "https://example.org/s.gguf", sha256="AB" * 32),
        OwnModel("Here", "~/models/here.gguf"),
    )
    entries = catalogue.entries(own)
    assert [each.name for each in entries[:3]] == ["Mine", "StarCoder-1B", "Here"]
    assert len(entries) == len(catalogue.registry()) + 2, "a name of the registry's is taken over"
    assert entries[0].roles == ("chat",) and entries[0].commercial == "yes"
    assert entries[1].sources[0].parts == (Part("s.gguf", 0, "ab" * 32),)
    assert entries[2].path == "~/models/here.gguf"


# --- heads


def head_of(data: bytes, tmp_path: Path) -> gguf.Header:
    path = tmp_path / "head.gguf"
    path.write_bytes(data)
    return gguf.check(path)


def test_the_head_of_the_starter() -> None:
    header = gguf.check(starter.MODEL)
    assert (header.architecture, header.name, header.quantisation) == ("qwen2", "tabby-starter", "Q8_0")
    assert (header.layers, header.width, header.vocabulary, header.context_length) == (6, 192, 8192, 2048)
    assert header.heads == 3 and header.heads_kv == 1 and header.key_length == header.value_length == 64
    assert 3_900_000 < header.parameters < 4_000_000


def test_heads_are_read_as_the_gguf_package_reads_them(tmp_path: Path) -> None:
    library = pytest.importorskip("gguf")
    reader = library.GGUFReader(starter.MODEL)
    header = gguf.check(starter.MODEL)
    assert header.parameters == sum(int(each.n_elements) for each in reader.tensors)
    assert header.layers == reader.fields["qwen2.block_count"].contents()
    sizes = {int(kind): tuple(size) for kind, size in library.GGML_QUANT_SIZES.items()}
    assert {kind: sizes[kind] for kind in gguf.BLOCKS} == gguf.BLOCKS
    assert {int(each): each.name.removeprefix("MOSTLY_") for each in library.LlamaFileType}.items() >= {
        kind: name for kind, name in gguf.QUANTISATIONS.items() if kind not in (0, 38)
    }.items()


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", "is empty"),
        (b"GG", "is not a GGUF file"),
        (b"PK\3\4....", "is not a GGUF file (it begins with b'PK"),
        (b"GGUF", "cut short"),
        (ggufs.head(version=1), "GGUF version 1"),
        (ggufs.head(version=77), "GGUF version 77"),
        (ggufs.head(tensors=1 << 63), "claims to have 9223372036854775808 tensors"),
        (ggufs.head(tensors=(1 << 64) - 1), "claims to have 18446744073709551615 tensors"),  # -1
        (ggufs.head(keys=1) + struct.pack("<Q", 4 << 30), "claims to have 4294967296 bytes in one text"),
        (ggufs.head(keys=1) + struct.pack("<Q", 60 << 20), "cut short"),
        (ggufs.head(keys=1) + ggufs.text("a") + struct.pack("<I", 99), "a value of the kind 99"),
        (ggufs.head(keys=1) + ggufs.text("a") + struct.pack("<IIQ", 9, 9, 1), "a list of lists"),
        (ggufs.head(keys=1) + ggufs.text("a") + struct.pack("<IIQ", 9, 8, 1 << 40), "items in one list"),
        (ggufs.head(keys=1) + ggufs.text("a") + struct.pack("<IIQ", 9, 4, 1 << 20), "cut short"),
        (ggufs.head(tensors=1) + ggufs.text("t") + struct.pack("<I", 4000), "dimensions of a tensor"),
        (
            ggufs.head(tensors=1) + ggufs.text("t") + struct.pack("<I4Q", 4, *[1 << 40] * 4) + bytes(12),
            "weights in one tensor",
        ),
        (ggufs.head(tensors=1) + ggufs.text("t") + struct.pack("<IQIQ", 1, 1 << 43, 0, 0), "it is incomplete"),
        (ggufs.model(general__alignment=0), "aligned to 0 bytes"),
        (MODEL[:-1], "it is incomplete"),
        (MODEL[:200], "cut short"),
        (ggufs.model(llama__pooling_type=2), "turns text into vectors (llama)"),
        (ggufs.model(llama__attention__causal=False), "turns text into vectors"),
        (ggufs.model(general__type="adapter"), "no model but a part of one (adapter)"),
    ],
)
def test_a_head_that_cannot_be(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(gguf.HeaderError) as error:
        head_of(data, tmp_path)
    assert expected in str(error.value)


def test_damaged_heads_cost_an_error_at_most(tmp_path: Path) -> None:
    """Any byte of the head may be any other: there is a head or a HeaderError, and nothing else."""
    draw = random.Random(7)
    whole = MODEL[:1200]
    for _ in range(600):
        data = bytearray(whole + MODEL[1200:])
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(450)] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        try:
            header = head_of(bytes(data), tmp_path)
        except gguf.HeaderError:
            continue
        assert header.parameters < 1 << 60


def test_a_big_endian_head(tmp_path: Path) -> None:
    keys = struct.pack(">Q", 20) + b"general.architecture" + struct.pack(">I", 8) + struct.pack(">Q", 5) + b"llama"
    assert head_of(b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + keys, tmp_path).architecture == "llama"


# --- what is on this machine


def put(path: Path, data: bytes = MODEL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def hub_file(hub: Path, repository: str = "org/repo-GGUF", name: str = "a-Q8_0.gguf", data: bytes = MODEL) -> Path:
    blob = put(cache.repository_folder(hub, repository) / "blobs" / hashlib.sha256(data).hexdigest(), data)
    visible = cache.snapshot(hub, repository, "c" * 40, name)
    cache.publish(blob, visible)
    return visible


def others() -> list[finder.Found]:
    return [each for each in finder.everything() if each.place != finder.STARTER and "package" not in each.place]


def test_the_starter_is_always_there() -> None:
    assert finder.everything()[0].path == starter.MODEL


def test_nothing_is_found_where_nothing_is() -> None:
    assert others() == []


@pytest.mark.parametrize(
    "place, name, path",
    [
        ("llama.cpp", "org_repo_a-Q8_0.gguf", ".cache/llama.cpp/org_repo_a-Q8_0.gguf"),
        ("LM Studio", "org/repo/a.gguf", ".lmstudio/models/org/repo/a.gguf"),
        ("LM Studio", "org/repo/a.gguf", ".cache/lm-studio/models/org/repo/a.gguf"),
        ("GPT4All", "a.gguf", ".local/share/nomic.ai/GPT4All/a.gguf"),
    ],
)
@pytest.mark.skipif(os.sys.platform != "linux", reason="the places are those of Linux")  # type: ignore[attr-defined]
def test_files_that_other_programs_keep_as_they_are(home: Path, place: str, name: str, path: str) -> None:
    put(home / path)
    put((home / path).with_name("mmproj-a.gguf"))
    put((home / path).with_name("half.gguf"), b"GGU")
    put((home / path).with_name("b-00001-of-00002.gguf"))
    assert [(each.place, each.name, each.size) for each in others()] == [(place, name, len(MODEL))]


def test_lm_studio_may_have_moved(home: Path, tmp_path: Path) -> None:
    put(home / ".lmstudio-home-pointer", str(tmp_path / "studio").encode() + b"\n")
    path = put(tmp_path / "studio" / "models" / "org" / "repo" / "a.gguf")
    assert [each.path for each in others()] == [path]


def test_jan_names_its_file(home: Path) -> None:
    data = home / ".local" / "share" / "Jan" / "data"
    path = put(data / "llamacpp" / "models" / "org" / "a" / "model.gguf")
    put(path.with_name("model.yml"), b'name: a\nmodel_path: "llamacpp/models/org/a/model.gguf"\nsize: 1\n')
    put(data / "llamacpp" / "models" / "b" / "model.yml", b"name: b\n")
    put(data / "llamacpp" / "models" / "c" / "model.yml", b"\xff\xfe model_path")
    assert [(each.place, each.name, each.path) for each in others()] == [("Jan", "org/a", path)]


def ollama(home: Path, manifest: object, folder: str = "manifests", name: str = "library/qwen/1.5b") -> None:
    put(home / ".ollama/models" / folder / "registry.ollama.ai" / name, json.dumps(manifest).encode())


def blob(home: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    put(home / ".ollama" / "models" / "blobs" / f"sha256-{digest}", data)
    return f"sha256:{digest}"


def test_ollama_says_which_blob_is_which_model(home: Path) -> None:
    model = {"mediaType": finder.OLLAMA_MODEL, "digest": blob(home, MODEL)}
    template = {"mediaType": "application/vnd.ollama.image.template", "digest": blob(home, b"text")}
    ollama(home, {"layers": [template, model]})
    ollama(home, {"layers": [{"mediaType": finder.OLLAMA_MODEL, "digest": blob(home, b"no model")}]}, name="a/b/c")
    for damaged in (
        [],
        {"layers": 3},
        {"layers": [{"digest": "sha256:../../x"}]},
        {"manifests": [3]},
        {"layers": [[]]},
    ):
        ollama(home, damaged, name=f"x/y/{len(str(damaged))}")
    (found,) = others()
    assert (found.place, found.name, found.sha256) == ("Ollama", "qwen:1.5b", SHA256)


def test_ollamas_newer_manifests(home: Path) -> None:
    child = {"layers": [{"mediaType": finder.OLLAMA_MODEL, "digest": blob(home, MODEL)}]}
    other = {"digest": "sha256:" + "0" * 64, "format": "safetensors"}
    listed = {"manifests": [other, {"digest": blob(home, json.dumps(child).encode()), "format": "gguf"}]}
    ollama(home, listed, "manifests-v2")
    ollama(home, child)  # the older place names the same file
    assert [each.name for each in others()] == ["qwen:1.5b"]


def test_tabbys_own_models(root: Path) -> None:
    path = put(root / "models" / "TabbyML" / "StarCoder-1B" / "ggml" / "model-00001-of-00001.gguf")
    (found,) = others()
    assert (found.place, found.name, found.path) == ("Tabby", "TabbyML/StarCoder-1B", path)
    assert finder.named("starcoder-1b") == found


def test_the_caches_of_the_hub(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_file(home / ".cache" / "huggingface" / "hub")
    again = cache.snapshot(home / ".cache" / "huggingface" / "hub", "org/repo-GGUF", "d" * 40, "a-Q8_0.gguf")
    cache.publish(path.resolve(), again)
    gone = cache.snapshot(home / ".cache" / "huggingface" / "hub", "org/repo-GGUF", "d" * 40, "gone-Q4_0.gguf")
    gone.symlink_to("../../blobs/" + "0" * 64)
    (found,) = others()
    assert (found.place, found.name, found.sha256) == (finder.HUB, "org/repo-GGUF/a-Q8_0.gguf", SHA256)
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    other = hub_file(tmp_path / "llama", "org/other", data=ggufs.model(5000, 2))
    assert {each.path for each in others()} == {path, other}


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/c", "HF_HOME": "/b"}, "/c"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/d"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"HF_HUB_CACHE": "relative", "HF_HOME": ""}, "{home}/.cache/huggingface/hub"),
    ],
)
def test_where_the_cache_of_the_hub_is(environment: dict[str, str], expected: str, home: Path) -> None:
    assert str(cache.hub_folder(environment)) == expected.format(home=home)


def test_no_place_lies_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative variables would be counted from where the editor stands."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HUB_CACHE", "LLAMA_CACHE", "OLLAMA_MODELS", "TABBY_MODEL_CACHE_ROOT"):
        monkeypatch.setenv(name, "trap")
    hub_file(tmp_path / "trap")
    put(tmp_path / "trap" / "TabbyML" / "StarCoder-1B" / "ggml" / "model.gguf")
    assert others() == []


def test_finding_changes_nothing(home: Path) -> None:
    hub_file(home / ".cache" / "huggingface" / "hub")
    put(home / ".lmstudio" / "models" / "org" / "repo" / "a.gguf", ggufs.model(5000, 1))

    def state() -> list[tuple[str, int, int]]:
        return [(str(each), each.lstat().st_mtime_ns, each.lstat().st_size) for each in sorted(home.rglob("*"))]

    before = state()
    assert len(others()) == 2
    assert state() == before


# --- which model a file is

ENTRY = Entry(
    "Small",
    (
        Source("org/repo-GGUF", parts=(Part("a-Q8_0.gguf", len(MODEL), SHA256),)),
        Source("org/chosen-GGUF", quantisation="Q4_K_M"),
    ),
)


def test_a_file_is_known_by_its_sha256_wherever_it_lies(home: Path) -> None:
    ollama(home, {"layers": [{"mediaType": finder.OLLAMA_MODEL, "digest": blob(home, MODEL)}]})
    found = finder.on_this_machine(ENTRY)
    assert found and found.place == "Ollama"


@pytest.mark.parametrize(
    "path, size, expected",
    [
        (".lmstudio/models/x/y/a-Q8_0.gguf", 5000, True),
        (".lmstudio/models/x/y/a-Q8_0.gguf", 6000, False),  # another file of that name
        (".lmstudio/models/x/y/ba-Q8_0.gguf", 5000, False),
        (".cache/llama.cpp/org_repo-GGUF_a-Q8_0.gguf", 5000, True),
    ],
)
def test_a_file_is_known_by_its_name_and_length(home: Path, path: str, size: int, expected: bool) -> None:
    put(home / path, ggufs.model(size))
    assert bool(finder.on_this_machine(ENTRY)) == expected


def test_a_file_is_known_by_its_repository(home: Path) -> None:
    hub = home / ".cache" / "huggingface" / "hub"
    hub_file(hub, "org/chosen-GGUF", "b-Q8_0.gguf", ggufs.model(5000, 1))
    assert not finder.on_this_machine(ENTRY)
    path = hub_file(hub, "org/chosen-GGUF", "b-Q4_K_M.gguf", ggufs.model(5000, 2))
    found = finder.on_this_machine(ENTRY)
    assert found and found.path == path
    assert finder.named("org/chosen-GGUF:q8_0") and finder.named("ORG/chosen-GGUF/b-Q8_0.gguf")
    assert not finder.named("org/chosen-GGUF:Q2_K")


# --- from a name in the settings to a file


def test_a_model_id_may_be_any_name(home: Path, root: Path, tmp_path: Path) -> None:
    path = hub_file(home / ".cache/huggingface/hub", "ikw/Qwen2.5-Coder-0.5B-GGUF", "qwen2.5-coder-0.5b-q8_0.gguf")
    assert registry.find("qwen2.5-coder-0.5b", root) == path
    assert registry.find("ikw/Qwen2.5-Coder-0.5B-GGUF:Q8_0", root) == path
    own = (OwnModel("Mine", str(put(tmp_path / "mine.gguf"))),)
    assert registry.find("mine", root, own) == tmp_path / "mine.gguf"


@pytest.mark.parametrize(
    "model_id, expected",
    [
        ("StarCoder-1B", "`tabby-lsp models get StarCoder-1B` fetches it"),
        ("StarCodr-1B", "did you mean StarCoder-1B"),
        ("org/repo:Q8_0", "`tabby-lsp models get org/repo:Q8_0` fetches it"),
        ("mine", "must be a GGUF file with its whole path"),
    ],
)
def test_a_model_that_is_not_here_says_how_to_get_it(root: Path, model_id: str, expected: str) -> None:
    with pytest.raises(registry.ModelNotFound) as error:
        registry.find(model_id, root, (OwnModel("Mine", "mine.gguf"),))
    assert expected in str(error.value)


def test_settings_name_models(root: Path) -> None:
    from tabby_lsp import config
    from tabby_lsp.config import Layer

    tables: list[Any] = [{"name": "Mine", "source": "org/repo", "roles": ["chat"]}, {"name": "No source"}, 3]
    settings, problems = config.merge([Layer("config.toml", {"models": tables})])
    assert settings.models == (OwnModel("Mine", "org/repo", roles=("chat",)),)
    assert len(problems) == 2 and all("a `name` and a `source`" in each for each in problems)
    refused = Layer("didChangeConfiguration", {"models": tables}, trusted=False)
    assert config.merge([refused])[0].models == () and "is refused" in config.merge([refused])[1][0]
