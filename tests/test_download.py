"""A model from a hub: whole or not at all, whatever the hub does. The hub is one on the loopback (`hub.py`)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ggufs
import pytest
from hub import COMMIT, REPOSITORY, Hub, running

from tabby_lsp.models import cache, client, download, finder, transfer
from tabby_lsp.models import hub as network
from tabby_lsp.models.catalogue import Part, Source

MODEL = ggufs.model(300_000)
NAME = "small-q8_0.gguf"
SHA256 = hashlib.sha256(MODEL).hexdigest()
PINNED = Source(repository=REPOSITORY, commit=COMMIT, parts=(Part(NAME, len(MODEL), SHA256),))
# No pauses between attempts. Only where the hub stalls does a connection count as broken soon: one that is well may be
# silent for seconds on a busy machine.
IMPATIENT = {"pauses": [0, 0, 0]}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, and an environment that names no other."""
    for name in (
        "HF_HOME",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "LLAMA_CACHE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running(Hub({NAME: MODEL})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def get(source: Source = PINNED, dry_run: bool = False, silence: float = 20) -> list[dict[str, Any]]:
    """The events of a download in this process."""
    events: list[dict[str, Any]] = []
    patience = {**IMPATIENT, "silence": silence}
    request = {"source": json.loads(json.dumps(asdict(source))), "dry_run": dry_run, "patience": patience}
    download.serve(request, lambda event, **values: events.append({"event": event, **values}))
    return events


def path_of(events: list[dict[str, Any]]) -> Path:
    assert events[-1]["event"] == "done", events[-1]
    return Path(events[-1]["path"])


def refusal(events: list[dict[str, Any]], folder: Path) -> str:
    """The one message of a download that failed, which left no file under its name."""
    assert [each["event"] for each in events].count("error") == 1 and events[-1]["event"] == "error", events
    assert not list(folder.rglob(f"snapshots/**/{NAME}")), "a part must not be taken for the whole"
    assert not list(folder.rglob(f"blobs/{SHA256}"))
    return str(events[-1]["message"])


def test_a_file_lies_where_others_look_for_it(hub: Hub, folder: Path) -> None:
    path = path_of(get())
    repository = folder / "models--org--repo-GGUF"
    assert path == repository / "snapshots" / COMMIT / NAME
    assert path.read_bytes() == MODEL
    assert path.is_symlink() and os.readlink(path) == f"../../blobs/{SHA256}"
    assert (repository / "refs" / "main").read_text() == COMMIT
    assert sorted(each.name for each in (repository / "blobs").iterdir()) == [SHA256], "nothing is left over"
    (found,) = [each for each in finder.everything() if each.place == finder.HUB]
    assert (found.path, found.sha256, found.size) == (path, SHA256, len(MODEL))


def test_huggingface_hub_finds_it(hub: Hub) -> None:
    library = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    path = path_of(get())
    assert library.try_to_load_from_cache(REPOSITORY, NAME, cache_dir=cache.hub_folder()) == str(path)


def test_what_is_known_is_fetched_without_asking_what_there_is(hub: Hub) -> None:
    get()
    assert [path for path, _ in hub.requests] == [f"/{REPOSITORY}/resolve/{COMMIT}/{NAME}"]


def test_a_file_that_is_here_is_not_fetched_again(hub: Hub) -> None:
    first = path_of(get())
    events = get()
    assert path_of(events) == first and events[-1]["fetched"] == 0
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    "asked, expected",
    [("", "a-Q4_K_M.gguf"), ("q8_0", "a-Q8_0.gguf"), ("IQ4_XS", "a-IQ4_XS.gguf")],
)
def test_a_quantisation_is_chosen_as_llama_cpp_does(hub: Hub, asked: str, expected: str) -> None:
    hub.files = {
        name: ggufs.model(2000, i)
        for i, name in enumerate(["a-IQ4_XS.gguf", "a-Q4_K_M.gguf", "a-Q8_0.gguf", "mmproj-a-Q8_0.gguf", "README.md"])
    }
    path = path_of(get(Source(repository=REPOSITORY, quantisation=asked)))
    assert path.name == expected and path.read_bytes() == hub.files[expected]


def test_a_repository_without_what_is_asked_for_says_what_it_has(hub: Hub, folder: Path) -> None:
    message = refusal(get(Source(repository=REPOSITORY, quantisation="Q2_K")), folder)
    assert "does not hold a file of Q2_K" in message and NAME in message
    assert "does not hold x.gguf" in refusal(get(Source(repository=REPOSITORY, parts=(Part("x.gguf"),))), folder)


def test_all_parts_are_fetched(hub: Hub) -> None:
    names = [f"q8/big-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    hub.files = {name: ggufs.model(2000, i) for i, name in enumerate(names)}
    path = path_of(get(Source(repository=REPOSITORY, parts=(Part(names[0]),))))
    assert [each.read_bytes() for each in sorted(path.parent.iterdir())] == list(hub.files.values())
    (found,) = [each for each in finder.everything() if each.place == finder.HUB]
    assert len(found.parts) == 3 and found.size == sum(map(len, hub.files.values()))


def test_a_model_whose_parts_are_not_all_here_is_not_found(hub: Hub) -> None:
    names = [f"big-0000{i}-of-00002.gguf" for i in (1, 2)]
    hub.files = {name: ggufs.model(2000, i) for i, name in enumerate(names)}
    hub.faults = ["", "404"]
    assert get(Source(repository=REPOSITORY, parts=(Part(names[0]),)))[-1]["event"] == "error"
    assert not [each for each in finder.everything() if each.place == finder.HUB]


def test_what_would_be_fetched_is_told_and_not_fetched(hub: Hub, folder: Path) -> None:
    (plan,) = get(Source(repository=REPOSITORY), dry_run=True)
    assert plan["event"] == "plan" and plan["bytes"] == len(MODEL) and plan["licence"] == "apache-2.0"
    assert plan["files"] == [{"path": NAME, "bytes": len(MODEL), "sha256": SHA256}] and plan["commit"] == COMMIT
    assert plan["free"] > 0 and not folder.exists()


# --- interruptions


def test_three_interruptions_and_an_end(hub: Hub, folder: Path) -> None:
    """Each download is broken off for good; the next one, which could be days later, goes on behind it."""
    for _ in range(3):
        hub.faults = ["drop"] + ["503"] * len(IMPATIENT["pauses"]) + ["503"]  # type: ignore[arg-type]
        assert "What has come is kept" in refusal(get(), folder)
    hub.faults = []
    events = get()
    assert path_of(events).read_bytes() == MODEL
    assert events[-1]["fetched"] < len(MODEL) // 4, "what had come was not fetched again"
    assert hub.sent == len(MODEL), "each byte came once"


@pytest.mark.parametrize("fault", ["drop", "stall", "500", "503", "408", "429", "4290", "5030"])
def test_a_passing_fault_is_waited_out(hub: Hub, fault: str) -> None:
    hub.faults = [fault, fault]
    events = get(silence=2 if fault == "stall" else 20)
    assert path_of(events).read_bytes() == MODEL
    assert any(each["event"] == "waiting" for each in events)
    assert hub.sent == len(MODEL)


def test_attempts_that_bring_something_do_not_count(hub: Hub) -> None:
    hub.faults = ["drop"] * 8
    assert path_of(get()).read_bytes() == MODEL


@pytest.mark.parametrize(
    "fault, expected",
    [
        ("404", "has nothing at /org/repo-GGUF/resolve/"),
        ("401", "set HF_TOKEN"),
        ("403", "refuses"),
        ("418", "refuses the request (418"),
        ("html", "A web page came"),
        ("longer", "it is another file"),
        ("fewer", "it is another file"),
        ("other bytes", "The bytes that came are not those of"),
        ("to /circle", "redirects in a circle"),
        ("to http://example.org/x", "only https is safe"),
        ("to file:///etc/passwd", "to no web address"),
        ("4293600", "asked again in 60 minutes"),
    ],
)
def test_a_lasting_fault_is_told_once(hub: Hub, folder: Path, fault: str, expected: str) -> None:
    hub.faults = [fault]
    assert expected in refusal(get(), folder)
    assert len(hub.asked_for_files()) == 1, "it is not tried again"
    assert path_of(get()).read_bytes() == MODEL, "and it leaves nothing behind that harms"


@pytest.mark.parametrize("fault", ["500", "429", "drop"])
def test_a_fault_that_stays_is_told_in_the_end(hub: Hub, folder: Path, fault: str) -> None:
    hub.files[NAME] = MODEL if fault != "drop" else b""
    hub.faults = [fault] * 20
    events = get()
    assert ", 4 times. What has come is kept; ask again" in refusal(events, folder)
    assert not events[-1]["unreachable"]


def test_the_list_of_files_is_asked_for_again_too(hub: Hub) -> None:
    hub.listing_faults = ["500", "drop", "4290"]
    assert path_of(get(Source(repository=REPOSITORY))).read_bytes() == MODEL


@pytest.mark.parametrize(
    "fault, expected",
    [("html", "Is HF_ENDPOINT right?"), ("401", "org/repo-GGUF is gated or not there"), ("404", "404")],
)
def test_a_list_of_files_that_does_not_come(hub: Hub, folder: Path, fault: str, expected: str) -> None:
    hub.listing_faults = [fault]
    assert expected in refusal(get(Source(repository=REPOSITORY)), folder)
    assert not hub.asked_for_files()


def test_a_hub_that_cannot_be_reached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Hub({})) as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.address)
    events = get()
    assert "127.0.0.1 cannot be reached (Connection refused)" in refusal(events, folder)
    assert events[-1]["unreachable"], "for who knows another way"


def test_a_hub_that_ignores_ranges_sends_all_of_it_again(hub: Hub) -> None:
    hub.faults = ["drop", "ignore range"]
    events = get()
    assert path_of(events).read_bytes() == MODEL
    assert len(MODEL) < events[-1]["fetched"] < 2 * len(MODEL)


def test_a_file_that_changed_between_two_attempts_is_fetched_anew(hub: Hub) -> None:
    """What is kept does not fit what comes: the sha256 says so, and all of it is fetched once more."""
    path = cache.repository_folder(cache.hub_folder(), REPOSITORY) / "blobs" / f"{SHA256}.incomplete"
    path.parent.mkdir(parents=True)
    path.write_bytes(ggufs.model(300_000, seed=1)[:100_000])
    assert path_of(get()).read_bytes() == MODEL
    assert hub.sent == 2 * len(MODEL) - 100_000


def test_more_than_the_file_is_no_beginning_of_it(hub: Hub) -> None:
    path = cache.repository_folder(cache.hub_folder(), REPOSITORY) / "blobs" / f"{SHA256}.incomplete"
    path.parent.mkdir(parents=True)
    path.write_bytes(MODEL + b"more")
    assert path_of(get()).read_bytes() == MODEL


def test_a_model_that_the_hub_has_replaced_is_not_fetched(hub: Hub, folder: Path) -> None:
    hub.files[NAME] = ggufs.model(300_000, seed=1)
    unpinned = replace(PINNED, commit="")
    message = refusal(get(unpinned), folder)
    assert "now holds another small-q8_0.gguf" in message and f"ask for {REPOSITORY}/{NAME}" in message
    assert not hub.asked_for_files()


def test_without_a_sha256_the_file_is_named_by_its_own(hub: Hub) -> None:
    hub.states_sha256 = False
    hub.faults = ["drop"]
    path = path_of(get(Source(repository=REPOSITORY)))
    assert path.read_bytes() == MODEL and path.resolve().name == SHA256


# --- what comes


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", "is empty"),
        (b"<xml>not a model</xml>", "is not a GGUF file (it begins with b'<xml'"),
        (b"GGUF", "is cut short"),
        (MODEL[:200_000], "it is incomplete"),
        (ggufs.head(keys=1 << 60), "claims to have 1152921504606846976 keys"),
        (ggufs.model(llama__pooling_type=1), "turns text into vectors"),
        (ggufs.model(general__type="mmproj"), "is no model but a part of one (mmproj)"),
    ],
)
def test_a_file_from_which_nothing_can_be_written_is_not_kept(
    hub: Hub, folder: Path, data: bytes, expected: str
) -> None:
    hub.files[NAME] = data
    message = refusal(get(Source(repository=REPOSITORY, parts=(Part(NAME),))), folder)
    assert expected in message and message.startswith(NAME)
    assert not [each for each in folder.rglob("*") if each.is_file() and each.stat().st_size and each.suffix != ".lock"]


def test_a_file_from_an_address(hub: Hub, root: Path) -> None:
    address = f"{hub.address}/plain/{NAME}"
    hub.faults = ["drop"]
    path = path_of(get(Source(url=address, parts=(Part(NAME),))))
    assert path.parent.parent == root / "lsp" / "models" and path.read_bytes() == MODEL
    assert sorted(each.name for each in path.parent.iterdir()) == [".lock", NAME]
    assert get(Source(url=address, parts=(Part(NAME),)))[-1]["fetched"] == 0
    wrong = Source(url=address, parts=(Part(NAME, 0, "0" * 64),))
    assert "not those of" in get(wrong)[-1]["message"]


def test_a_file_at_an_address_that_changed_is_fetched_anew(hub: Hub) -> None:
    source = Source(url=f"{hub.address}/plain/{NAME}", parts=(Part(NAME),))
    hub.faults = ["drop", "404"]
    assert get(source)[-1]["event"] == "error"
    hub.files[NAME] = other = ggufs.model(300_000, seed=1)
    assert path_of(get(source)).read_bytes() == other


def test_a_file_of_which_nothing_is_known_is_not_gone_on_with(hub: Hub, root: Path) -> None:
    """Without a sha256 and an ETag nobody knows whether it is still the same; and it is not begun again for ever."""
    hub.has_etags = False
    source = Source(url=f"{hub.address}/plain/{NAME}", parts=(Part(NAME),))
    hub.faults = ["drop"]
    events = get(source)
    assert path_of(events).read_bytes() == MODEL and events[-1]["fetched"] == len(MODEL) * 3 // 2
    path_of(events).unlink()
    hub.faults = ["drop"] * 50
    assert "the connection ended after" in get(source)[-1]["message"] and len(hub.faults) > 40


def test_only_https_is_fetched_from(folder: Path) -> None:
    for address in ("http://example.org/a.gguf", "http://10.0.0.1/a.gguf", "ftp://example.org/a.gguf", "http://[::1/a"):
        message = refusal(get(Source(url=address, parts=(Part("a.gguf"),))), folder)
        assert "only https is safe" in message or "is no address" in message


# --- who may know what


def test_the_token_goes_to_the_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running(Hub({NAME: MODEL})) as store:
        hub.faults = [f"to {store.address}/plain/{NAME}"]
        path_of(get(Source(repository=REPOSITORY)))
        assert [headers.get("Authorization") for _, headers in hub.requests] == ["Bearer hf_secret"] * 2
        assert [headers.get("Authorization") for _, headers in store.requests] == [None]
        path_of(get(Source(url=f"{store.address}/plain/{NAME}", parts=(Part(NAME),))))
        assert [headers.get("Authorization") for _, headers in store.requests] == [None] * 2


def test_the_token_does_not_pass_a_redirect_to_the_hub_itself(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.faults = [f"to /plain/{NAME}"]
    path_of(get())
    assert [headers.get("Authorization") for _, headers in hub.requests] == ["Bearer hf_secret", None]


def test_a_token_that_is_refused(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for code in ("401", "403"):
        hub.faults = [code]
        message = refusal(get(), folder)
        assert "Accept its terms on that page" in message and "hf_secret" not in message
    monkeypatch.setenv("HF_TOKEN", "two\nlines")
    assert "HF_TOKEN holds characters that no token has" in refusal(get(), folder)


def test_offline_is_offline(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in refusal(get(), folder)
    assert not hub.requests


def test_a_proxy_is_not_asked_for_the_loopback(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert path_of(get()).read_bytes() == MODEL


def test_certificates_are_the_systems_or_those_of_ssl_cert_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes a certificate, is not installed")
    made = tmp_path / "certificate.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *options.split(), "-keyout", made, "-out", tmp_path / "c"], check=True, capture_output=True
    )
    made.write_text(made.read_text() + (tmp_path / "c").read_text())
    with running(Hub({NAME: MODEL}), made) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        message = refusal(get(), folder)
        assert "The certificate of 127.0.0.1 is not trusted" in message and "SSL_CERT_FILE" in message
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c"))
        assert path_of(get()).read_bytes() == MODEL


def test_a_proxy_is_asked_for_everything_else(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HTTPS_PROXY", hub.address)
    monkeypatch.setenv("https_proxy", hub.address)
    assert "hub.invalid cannot be reached" in refusal(get(), folder)
    assert {path for path, _ in hub.requests} == {"hub.invalid:443"}
    assert not any("Authorization" in headers for _, headers in hub.requests)
    hub.requests.clear()
    monkeypatch.setenv("no_proxy", "hub.invalid")
    get()
    assert not hub.requests


# --- the disk


def test_no_room_is_said_before_anything_comes(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, len(MODEL)))  # type: ignore[attr-defined]
    assert "GB are free at" in refusal(get(), folder)
    assert not hub.requests


def test_a_disk_that_fills_up_keeps_what_came(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = network.pieces

    def until_full(answer: Any, most: int) -> Iterator[bytes]:
        for count, data in enumerate(whole(answer, most)):
            if count == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield data

    monkeypatch.setattr(network, "pieces", until_full)
    assert "The disk is full. What has come is kept" in refusal(get(), folder)
    monkeypatch.setattr(network, "pieces", whole)
    assert 0 < get()[-1]["fetched"] < len(MODEL)


def test_a_cache_that_cannot_be_written(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for place in (file / "hub", Path("/proc/hub")):
        monkeypatch.setenv("HF_HUB_CACHE", str(place))
        (*_, last) = get()
        assert last["event"] == "error" and "cannot be written" in last["message"] and "HF_HOME" in last["message"]


def test_a_cache_that_cannot_be_written_is_read(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(get())

    def read_only(*_: object, **__: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(transfer, "held", read_only)
    monkeypatch.setattr(Path, "write_text", read_only)
    assert path_of(get()) == path


@pytest.mark.parametrize("damage", ["no blob", "wrong bytes", "no link"])
def test_a_damaged_cache_is_mended(hub: Hub, damage: str) -> None:
    path = path_of(get())
    if damage == "no blob":
        path.resolve().unlink()
        assert not finder.on_this_machine(_entry()), "a link that leads nowhere is no model"
    elif damage == "wrong bytes":  # as huggingface_hub keeps them
        path.resolve().write_bytes(ggufs.model(300_000, seed=1))
    else:
        path.unlink()
    events = get()
    assert path_of(events).read_bytes() == MODEL
    assert events[-1]["fetched"] == (0 if damage == "no link" else len(MODEL))


def test_where_links_are_not_allowed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)
    path = path_of(get())
    assert path.read_bytes() == MODEL and not path.is_symlink()
    assert get()[-1]["fetched"] == 0


def _entry() -> Any:
    from tabby_lsp.models.catalogue import Entry

    return Entry("small", (PINNED,))


# --- several processes


def start(source: Source = PINNED) -> subprocess.Popen[str]:
    request = json.dumps({"source": asdict(source), "patience": {"silence": 20}})
    process = subprocess.Popen(
        [sys.executable, "-m", "tabby_lsp.models.download"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    process.stdin.write(request + "\n")
    process.stdin.flush()
    return process


def events_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    assert process.stdout
    with process.stdout:
        events = [json.loads(line) for line in process.stdout]
    process.communicate()
    return events


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_fetch_a_file_once(hub: Hub) -> None:
    hub.faults = ["stall"]
    first = start()
    wait_for(lambda: hub.sent)
    second = start()
    assert second.stdout
    told = [json.loads(second.stdout.readline()) for _ in range(2)]
    assert told[1]["message"] == "another process is fetching this file"
    hub.ended.set()
    results = [events_of(first), events_of(second)]
    assert [path_of(each).read_bytes() for each in results] == [MODEL, MODEL]
    assert hub.sent == len(MODEL), "each byte came once"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_dies_holds_nobody_up(hub: Hub, interruptible: None, how: signal.Signals) -> None:
    hub.files[NAME] = data = ggufs.model(3_000_000)
    source = replace(PINNED, parts=(Part(NAME, len(data), hashlib.sha256(data).hexdigest()),))
    hub.faults = ["stall"]
    process = start(source)
    blobs = cache.repository_folder(cache.hub_folder(), REPOSITORY) / "blobs"
    wait_for(lambda: any(each.stat().st_size > 1_000_000 for each in blobs.glob("*.incomplete")))
    process.send_signal(how)
    events = events_of(process)
    assert events[-1]["event"] == ("plan" if how == signal.SIGKILL else "stopped") or events[-1]["event"] == "progress"
    hub.ended.set()
    events = get(source)
    assert path_of(events).read_bytes() == data
    assert events[-1]["fetched"] < len(data) - 1_000_000


def test_the_client_hands_on_what_is_told(hub: Hub) -> None:
    events = list(client.download(PINNED))
    assert [events[0]["event"], events[-1]["event"]] == ["plan", "done"]
    assert path_of(events).read_bytes() == MODEL
    assert [each["event"] for each in client.download(PINNED, dry_run=True)] == ["plan"]


def test_a_client_that_turns_away_ends_the_process(hub: Hub) -> None:
    hub.faults = ["stall"]
    events = client.download(PINNED)
    assert next(events)["event"] == "plan"
    events.close()  # type: ignore[attr-defined]
    hub.ended.set()
    assert path_of(get()).read_bytes() == MODEL, "its lock is free"


def test_a_download_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false") or "false")
    (event,) = client.download(PINNED)
    assert event["event"] == "error" and "ended without a word (exit status 1)" in event["message"]


def test_no_module_of_the_working_folder_is_imported(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "workspace"
    trap.mkdir()
    for name in ("hashlib", "json", "ssl", "urllib", "tomli", "shutil"):
        (trap / f"{name}.py").write_text(f"open({str(trap / 'trace')!r}, 'w')")
    monkeypatch.chdir(trap)
    assert path_of(list(client.download(PINNED))).read_bytes() == MODEL
    assert not (trap / "trace").exists()
