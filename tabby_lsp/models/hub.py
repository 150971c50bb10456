"""Requests to a model hub: the only code of this project that opens a connection, and it runs only in the process of a
download (`download.py`), which a person has asked for.

The interface of the hub: huggingface_hub (hf_api.py, `model_info`); `HF_ENDPOINT` takes the place of its address. The
token goes to that host alone and is dropped at a redirect. Proxies and certificates are the system's own.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tabby_lsp import __version__
from tabby_lsp.processes import machine

MOST_LISTING = 32 << 20


class HubError(Exception):
    """What a hub will not give; the text says what to do."""


class Interrupted(Exception):
    """What may go better in a while: in `pause` seconds, if the other side has said so."""

    def __init__(self, text: str, pause: float | None = None) -> None:
        super().__init__(text)
        self.pause = pause


class Unreachable(Interrupted):
    """There is no way to the other side, or none now."""


class Beyond(Exception):
    """The file has fewer bytes than are here already."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at a commit: of each file its size and sha256, 0 and "" where the hub does not say."""

    commit: str
    files: dict[str, tuple[int, str]]
    licence: str


def endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def file_address(repository: str, commit: str, path: str) -> str:
    return f"{endpoint()}/{repository}/resolve/{commit}/{urllib.parse.quote(path)}"


def listing(repository: str, revision: str, patience: float) -> Listing:
    """The files of a repository. Raises HubError, Interrupted."""
    address = f"{endpoint()}/api/models/{repository}/revision/{urllib.parse.quote(revision, safe='')}?blobs=true"
    with get(address, patience) as response:
        try:
            data = json.loads(_body(response))
            commit = str(data["sha"])
            files = {}
            for each in data["siblings"]:
                lfs = each.get("lfs") or {}
                files[str(each["rfilename"])] = (int(each.get("size") or 0), str(lfs.get("sha256") or "").lower())
            card = data.get("cardData")
            licence = card.get("license") if isinstance(card, dict) else ""
            if not re.fullmatch("[0-9a-f]{40}", commit):
                raise ValueError(commit)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise HubError(f"{address} does not answer as a model hub does. Is HF_ENDPOINT right?") from None
    return Listing(commit, files, licence if isinstance(licence, str) else "")


def _body(response: Any) -> bytes:
    length = response.headers.get("Content-Length") or ""
    try:
        data = bytes(response.read(MOST_LISTING + 1))
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the connection broke off ({error})") from None
    if len(data) > MOST_LISTING:
        raise HubError("The hub's list of files is larger than 32 MB: that is no model repository.")
    if length.isdigit() and len(data) < int(length):
        raise Interrupted("the connection ended in the middle of the hub's list of files")
    return data


def get(address: str, patience: float, start: int = 0) -> Any:
    """The answer to a request, from byte `start` on. `patience` is how long the other side may be silent, in seconds.

    Raises HubError, Interrupted, Beyond.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise HubError("HF_HUB_OFFLINE is set: nothing is fetched. Unset it and ask again.")
    check_address(address)
    request = urllib.request.Request(address, headers={"User-Agent": f"tabby-lsp/{__version__}"})
    # Compressed, a length would not be that of the file.
    request.add_header("Accept-Encoding", "identity")
    if start:
        request.add_header("Range", f"bytes={start}-")
    token = _token() if _origin(address) == _origin(endpoint()) else ""
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        return _opener().open(request, timeout=patience)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, address, bool(token), start) from None
    except urllib.error.URLError as error:
        raise _unreachable(error.reason, address) from None
    except http.client.InvalidURL as error:
        raise HubError(f"{address} is no address: {error}.") from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"{_host(address)} broke the connection off ({error or type(error).__name__})") from None
    except ValueError as error:
        raise HubError(f"{_host(address)} cannot be asked: {error}.") from None


def pieces(answer: Any, most: int) -> Iterator[bytes]:
    """What an answer brings, as it comes. Raises Interrupted."""
    while True:
        try:
            data = answer.read1(most)
        except TimeoutError:
            raise Interrupted("nothing comes any more") from None
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"the connection broke off ({error or type(error).__name__})") from None
        if not data:
            return
        yield data


def check_address(address: str) -> None:
    """Raises HubError for an address that is neither https nor on this machine."""
    try:
        parts = urllib.parse.urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        raise HubError(f"{address} is no address.") from None
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and (host == "localhost" or _is_loopback(host)):
        return
    raise HubError(f"{parts.scheme}://{host} is not fetched from: only https is safe. Use an https address.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to https, of which nothing secret is carried along."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_address(newurl)
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # Python 3.10 does not know it


def _opener() -> urllib.request.OpenerDirector:
    # Plain http is for the loopback, to which no proxy leads.
    proxies = {scheme: address for scheme, address in urllib.request.getproxies().items() if scheme != "http"}
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _Redirects(),
    )


def _token() -> str:
    given = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if given is None:
        home = os.environ.get("HF_HOME") or machine.home() / ".cache" / "huggingface"
        file = Path(os.path.expanduser(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token"))
        try:
            given = file.read_text(encoding="ascii") if file.is_absolute() else ""
        except (OSError, ValueError):
            given = ""
    token = given.strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise HubError("HF_TOKEN holds characters that no token has. Set it anew, or unset it.")
    return token


def _origin(address: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(address)
    return parts.scheme, parts.netloc.lower()


def _host(address: str) -> str:
    return urllib.parse.urlsplit(address).hostname or address


def _refusal(error: urllib.error.HTTPError, address: str, with_token: bool, start: int) -> Exception:
    host, code = _host(address), error.code
    page = re.sub(r"/(?:resolve/.*|revision/.*)", "", urllib.parse.urlsplit(address).path).replace("/api/models", "")
    where = endpoint() + page
    if code == 401 and not with_token:
        return HubError(
            f"{where} is gated or not there: {host} wants to know who asks (401). If its page exists, accept its terms "
            "there, and set HF_TOKEN to a token of your account."
        )
    if code in (401, 403):
        return HubError(
            f"{host} does not give {where} to the account of HF_TOKEN ({code}). Accept its terms on that page, or use "
            "a token that may read it."
            if with_token
            else f"{host} refuses {where} ({code}). A proxy or the hub forbids it."
        )
    if code in (404, 410):
        return HubError(f"{host} has nothing at {urllib.parse.urlsplit(address).path} ({code}). Check the name.")
    if code == 416 and start:
        return Beyond(f"{host} has fewer bytes than are here already")
    if code == 429:
        pause = _retry_after(error.headers.get("Retry-After"))
        return Interrupted(f"{host} has had too many requests (429)", pause)
    if code >= 500 or code == 408:
        return Interrupted(f"{host} is in trouble ({code})", _retry_after(error.headers.get("Retry-After")))
    if 300 <= code < 400:
        return HubError(f"{host} redirects in a circle, or to no web address ({code}). Try another time.")
    return HubError(f"{host} refuses the request ({code} {error.reason}).")


def _unreachable(reason: object, address: str) -> Exception:
    host = _host(address)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return HubError(
            f"The certificate of {host} is not trusted ({reason.verify_message}). Behind a proxy of your company, set "
            "SSL_CERT_FILE to its certificates."
        )
    if isinstance(reason, TimeoutError):
        return Unreachable(f"{host} does not answer")
    detail = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
    return Unreachable(f"{host} cannot be reached ({detail})")


def _retry_after(value: str | None) -> float | None:
    """Seconds that the other side wants to be left alone for: given as such, or as a date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - time.time())
