"""Which files change on the disk: told by the editor, where it can be asked to."""

from __future__ import annotations

import asyncio
import logging

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0  # that a client has to say whether it will


async def watch_files(server: LanguageServer) -> bool:
    """Asks the client to tell of files that change. Whether it will."""
    workspace = server.client_capabilities.workspace
    watching = workspace.did_change_watched_files if workspace else None
    if not (watching and watching.dynamic_registration):
        return False
    method = lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES
    options = lsp.DidChangeWatchedFilesRegistrationOptions([lsp.FileSystemWatcher(glob_pattern="**/*")])
    params = lsp.RegistrationParams([lsp.Registration(f"tabby-lsp/{method}", method, options)])
    try:
        await asyncio.wait_for(server.client_register_capability_async(params), ANSWER_SECONDS)
    except (asyncio.TimeoutError, JsonRpcException) as error:  # the indexer looks by itself
        log.warning("%s cannot be registered: %s", method, error or type(error).__name__)
        return False
    return True
