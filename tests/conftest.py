"""What the tests share: async tests without a plug-in, a Tabby folder of their own, the model to use."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tabby_lsp.models import starter

# Another GGUF of the starter's vocabulary may be tried with the whole suite.
MODEL = Path(os.environ.get("TABBY_LSP_TEST_MODEL", starter.MODEL))
# Far beyond what any test takes but the long runs, which variables of the environment ask for.
SECONDS = float(os.environ.get("TABBY_LSP_TEST_SECONDS", "120"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs `async def` tests."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), timeout=SECONDS))
    return True


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Tabby folder for this test alone."""
    folder = tmp_path / "tabby-root"
    folder.mkdir()
    monkeypatch.setenv("TABBY_ROOT", str(folder))
    yield folder


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What the test starts hears Ctrl-C, also where a shell runs the tests in its background: it has them and all that
    they start ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def model() -> Path:
    return MODEL
