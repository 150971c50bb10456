"""Which message is answered by what: handlers of a few lines over `TabbyServer`, and the loop that feeds them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException

from tabby_lsp.config import Layer
from tabby_lsp.lsp import conversation_handlers, convert, editing
from tabby_lsp.lsp.chat import on_chat
from tabby_lsp.lsp.dialogue import refuse
from tabby_lsp.lsp.frames import FrameReader
from tabby_lsp.lsp.models import Unclear, wish
from tabby_lsp.lsp.protocol import COMMAND, plain
from tabby_lsp.lsp.server import Read, TabbyServer
from tabby_lsp.lsp.watching import SECTION, watch_configuration
from tabby_lsp.processes import power, streams
from tabby_lsp.processes.streams import Writer

log = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0  # for which the end waits for requests that are being cancelled; they take milliseconds
# Where a word does not trigger the completion menu, these do.
TRIGGER_CHARACTERS = (".", "(", "[", "{", "=", ",", ":", " ")


def create_server(read: Read = lambda: ((), ())) -> TabbyServer:
    """A server with all its handlers. `read` gives the settings that are known before an editor is."""
    server = TabbyServer(read)
    server.feature(lsp.INITIALIZE)(on_initialize)
    server.feature(lsp.INITIALIZED)(on_initialized)
    server.feature(lsp.SHUTDOWN)(on_shutdown)
    server.feature(lsp.WORKSPACE_DID_CHANGE_CONFIGURATION)(on_configuration)
    server.feature(lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(on_folders)
    server.feature(lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES)(on_watched_files)
    server.feature("tabby/status")(on_status)
    server.feature("tabby/chat")(on_chat)
    conversation_handlers.register(server)
    editing.register(server)
    server.command("tabby.status")(status_command)
    server.command("tabby.restart")(restart_command)
    server.command("tabby.reindex")(reindex_command)
    server.command("tabby.models")(models_command)
    server.command("tabby.useModel")(use_model_command)
    server.command("tabby.downloadModel")(download_model_command)
    return server


def on_initialize(ls: TabbyServer, params: lsp.InitializeParams) -> None:
    """Settles the settings and what is announced. Answered before any model is looked at."""
    options = plain(params.initialization_options)
    if options and not isinstance(options, Mapping):
        ls.problems += (f"initializationOptions must be an object, not {options!r}.",)
    elif options:
        ls.editor_layers["options"] = Layer("initializationOptions", options)
    ls.listener.asked = ls.protocol.extensions.get("statusDidChangeListener") is True
    ls.configure()
    text_document = params.capabilities.text_document
    definition = text_document.definition if text_document else None
    if not (definition and definition.dynamic_registration):
        ls.feature(lsp.TEXT_DOCUMENT_DEFINITION)(conversation_handlers.on_definition)
    has_inline = text_document is not None and text_document.inline_completion is not None
    method = ls.settings.completion.method
    # A client that has both would show, and insert, the same text twice.
    ls.menu = method == "menu" or (method == "auto" and not has_inline)
    if ls.menu:
        ls.configure()  # once more: not all settings can hold there
        triggers = lsp.CompletionOptions(trigger_characters=list(TRIGGER_CHARACTERS))
        ls.feature(lsp.TEXT_DOCUMENT_COMPLETION, triggers)(on_completion)
    else:
        # Without options pygls does not announce it.
        ls.feature(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, lsp.InlineCompletionOptions())(on_inline_completion)


def on_initialized(ls: TabbyServer, params: lsp.InitializedParams) -> None:
    ls.spawn(watch_configuration(ls))
    ls.spawn(conversation_handlers.register_definitions(ls))
    ls.spawn(ls.restart())
    ls.spawn(ls.show_loading())
    ls.spawn(ls.start_index())
    ls.spawn(_pull_configuration(ls))
    ls.spawn(ls.models.offer())
    loop = asyncio.get_running_loop()

    def save_energy(reason: str) -> None:
        with contextlib.suppress(RuntimeError):  # the server has just ended
            loop.call_soon_threadsafe(ls.save_energy, reason)

    power.watch(save_energy)


async def _pull_configuration(ls: TabbyServer) -> None:
    """Asks the editor for its settings, if it can be asked. Nobody waits for them: it may take its time."""
    workspace = ls.client_capabilities.workspace
    if not (workspace and workspace.configuration):
        return
    ls.pulls += 1
    pull = ls.pulls
    params = lsp.ConfigurationParams(items=[lsp.ConfigurationItem(section=SECTION)])
    try:
        answer = await ls.workspace_configuration_async(params)
    except JsonRpcException as error:  # the server can do without
        log.warning("workspace/configuration: %.300s", error)
        return
    if pull == ls.pulls:  # else a newer one has been asked for
        _use_editor_settings(ls, "workspace/configuration", answer[0] if answer else None)


def on_configuration(ls: TabbyServer, params: lsp.DidChangeConfigurationParams) -> None:
    settings = plain(params.settings)
    section = settings.get(SECTION) if isinstance(settings, Mapping) else None
    if section is None:
        ls.spawn(_pull_configuration(ls))
    else:
        ls.pulls += 1  # what is still being asked for is older
        _use_editor_settings(ls, "didChangeConfiguration", section)


def _use_editor_settings(ls: TabbyServer, origin: str, values: Any) -> None:
    """What the editor says later. Not trusted with what names a file: see `config`."""
    values = plain(values)
    if isinstance(values, Mapping):
        ls.editor_layers["later"] = Layer(origin, _without_null(values), trusted=False)
        ls.configure()


def _without_null(values: Mapping[str, Any]) -> dict[str, Any]:
    """VS Code sends null for what is not set."""
    return {
        key: _without_null(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def on_folders(ls: TabbyServer, params: lsp.DidChangeWorkspaceFoldersParams) -> None:
    ls.spawn(ls.start_index())


def on_watched_files(ls: TabbyServer, params: lsp.DidChangeWatchedFilesParams) -> None:
    ls.index.changed_on_disk(change.uri for change in params.changes)


async def on_shutdown(ls: TabbyServer, params: Any) -> None:
    await ls.close()


async def on_inline_completion(ls: TabbyServer, params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList | None:
    automatic = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Automatic
    if automatic and ls.settings.completion.trigger == "manual":
        return None
    selected_item = params.context.selected_completion_info
    found = await ls.suggest(params.text_document.uri, params.position, selected_item, invoked=not automatic)
    if found is None:
        return None
    return convert.inline_list(*found)


async def on_completion(ls: TabbyServer, params: lsp.CompletionParams) -> lsp.CompletionList:
    kind = params.context.trigger_kind if params.context else lsp.CompletionTriggerKind.Invoked
    if kind != lsp.CompletionTriggerKind.Invoked and ls.settings.completion.trigger == "manual":
        return lsp.CompletionList(is_incomplete=True, items=[])
    if (names := ls.conversations.names(params.text_document.uri, params.position)) is not None:
        return names
    found = await ls.suggest(params.text_document.uri, params.position)
    if found is None:
        return lsp.CompletionList(is_incomplete=True, items=[])
    return convert.menu_list(*found)


def on_status(ls: TabbyServer, params: Any) -> dict[str, Any]:
    """A client that asks for the status knows what it is, and is told of its changes from then on."""
    asked = plain(params)
    if isinstance(asked, Mapping) and asked.get("recheckConnection") and ls.state.phase == "failed":
        ls.spawn(ls.restart())
    status = ls.status()
    ls.listener.knows(status)
    return status


def status_command(ls: TabbyServer, *arguments: Any) -> dict[str, Any]:
    """The status for editors without custom requests. Whatever arguments an editor sends are passed over."""
    return ls.status()


async def restart_command(ls: TabbyServer, *arguments: Any) -> dict[str, Any]:
    """Starts the engine anew, also one that has stayed down, with config.toml as it is now. Reports progress under the
    client's token, if any."""
    params = COMMAND.get()
    ls.read_settings()
    ls.spawn(ls.restart())
    await asyncio.sleep(0)  # from here on the state is that of the new engine
    ls.spawn(ls.show_loading(params.work_done_token if params else None))
    await ls.settled()
    return ls.status()


def reindex_command(ls: TabbyServer, *arguments: Any) -> dict[str, Any]:
    """Looks at all files again, and starts an indexer that has stayed down."""
    if not ls.index.rescan():
        ls.spawn(ls.start_index())
    return ls.status()


async def models_command(ls: TabbyServer, *arguments: Any) -> dict[str, Any]:
    """The models that there are: shown, unless `silent`, and as data; with `all` every one that has a name."""
    wanted = arguments[0] if arguments and isinstance(arguments[0], Mapping) else {}
    return await ls.models.show(wanted.get("all") is True, wanted.get("silent") is True)


async def use_model_command(ls: TabbyServer, *arguments: Any) -> dict[str, Any]:
    """Has a model complete that is on this machine; without a name the user chooses one."""
    return await _done_or_begun(ls, ls.models.use, arguments)


async def download_model_command(ls: TabbyServer, *arguments: Any) -> dict[str, Any]:
    """Fetches a model and has it complete; without a name the user chooses one."""
    return await _done_or_begun(ls, ls.models.get, arguments)


async def _done_or_begun(ls: TabbyServer, work: Any, arguments: Sequence[Any]) -> dict[str, Any]:
    """The result of something that may take an hour, for a client that follows its progress by a token of its own; such
    a token lives no longer than its request. The others are answered at once: some give a command ten seconds."""
    params = COMMAND.get()
    token = params.work_done_token if params else None
    try:
        asked = wish(arguments)
    except Unclear as error:
        return refuse(ls, str(error))
    if token is not None:
        return dict(await work(asked, token))
    ls.spawn(work(asked, None))
    return {}


async def serve(server: TabbyServer, read_from: int, write_to: int) -> int:
    """Serves on two descriptors until the client says exit or closes its end. Returns the exit status."""
    writer = Writer(write_to)
    server.protocol.set_writer(writer)
    frames = FrameReader()
    code = 0
    try:
        async for data in streams.read(read_from):
            for body in frames.feed(data):
                server.protocol.receive(body)
                # A handler that has just been started takes the text it is about before its first await. Let it,
                # before the next message changes that text.
                await asyncio.sleep(0)
    except SystemExit as exit:  # the protocol's answer to the exit notification
        code = exit.code if isinstance(exit.code, int) else 0
    await server.close()
    await server.protocol.settle(SETTLE_SECONDS)
    writer.close()
    return code
