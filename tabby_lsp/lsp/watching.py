"""Files and settings that change: told by the editor, where it can be asked to."""

from __future__ import annotations

import asyncio
import logging

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

log = logging.getLogger(__name__)

SECTION = "tabby-lsp"  # of the editor's settings
ANSWER_SECONDS = 10.0  # that a client has to say whether it will


async def watch_files(server: LanguageServer) -> bool:
    """Asks the client to tell of files that change. Whether it will."""
    workspace = server.client_capabilities.workspace
    watching = workspace.did_change_watched_files if workspace else None
    if not (watching and watching.dynamic_registration):
        return False
    options = lsp.DidChangeWatchedFilesRegistrationOptions([lsp.FileSystemWatcher(glob_pattern="**/*")])
    return await register_later(server, lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)


async def watch_configuration(server: LanguageServer) -> bool:
    """Asks the client to tell of settings that change, where it wants to be asked. Whether it will."""
    workspace = server.client_capabilities.workspace
    watching = workspace.did_change_configuration if workspace else None
    if not (watching and watching.dynamic_registration):
        return False
    options = lsp.DidChangeConfigurationRegistrationOptions(section=SECTION)
    return await register_later(server, lsp.WORKSPACE_DID_CHANGE_CONFIGURATION, options)


async def register_later(server: LanguageServer, method: str, options: object) -> bool:
    """Registers a capability behind `initialize`, for a client that takes that. Whether it does."""
    params = lsp.RegistrationParams([lsp.Registration(f"tabby-lsp/{method}", method, options)])
    try:
        await asyncio.wait_for(server.client_register_capability_async(params), ANSWER_SECONDS)
    except (asyncio.TimeoutError, JsonRpcException) as error:  # the server can do without
        log.warning("%s cannot be registered: %.300s", method, error or type(error).__name__)
        return False
    return True
