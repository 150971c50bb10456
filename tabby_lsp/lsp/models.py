"""The commands that show, use and fetch a model, and the offer of one for whom the starter serves."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabby_lsp.config_file import CannotEdit
from tabby_lsp.engines import COMPLETION, NOT_YET, ROLES
from tabby_lsp.lsp.dialogue import Result, ask, refuse, tell
from tabby_lsp.lsp.fetching import DOWNLOAD, NOT_NOW, Fetching
from tabby_lsp.models import catalogue, choice, finder, offer, overview, starter
from tabby_lsp.models.catalogue import Entry
from tabby_lsp.models.choice import Chosen
from tabby_lsp.models.overview import Row

if TYPE_CHECKING:
    from tabby_lsp.lsp.server import TabbyServer

# How long nothing must have been typed before a person is asked something. Those who study writing count a pause of two
# seconds as the end of a burst of keys; five times that is one who reads.
QUIET_SECONDS = 10.0
MOST_CHOICES = 8  # editors show them as buttons in one line
SMALL = "SmolLM2-135M-Instruct"  # for machines that reach no hub
USE, NEVER, STOP, GO_ON = "Use it", "Never", "Stop", "Go on"


class Unclear(Exception):
    """A command's arguments mean nothing; the text says what they should be."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a command was given: a model's name (empty: let me choose), a role (empty: that which it was made for),
    whether the person has seen what would be fetched, and whether a download is to be stopped."""

    name: str = ""
    role: str = ""
    confirmed: bool = False
    stop: bool = False


def wish(arguments: Sequence[Any]) -> Wish:
    """`[name]`, `[name, role]` or `[{name, role, confirmed, stop}]`. Raises Unclear."""
    if arguments and isinstance(arguments[0], Mapping):
        given = dict(arguments[0])
    else:
        given = dict(zip(("name", "role"), arguments, strict=False))
    values = {key: value for key, value in given.items() if value is not None}
    texts = isinstance(values.get("name", ""), str) and values.get("role", COMPLETION) in ROLES
    flags = all(isinstance(values.get(key, False), bool) for key in ("confirmed", "stop"))
    if not texts or not flags or not values.keys() <= {"name", "role", "confirmed", "stop"}:
        raise Unclear("The argument is a model's name, or {name, role}, where role is `completion` or `chat`.")
    return Wish(**{**values, "name": values.get("name", "").strip()})


def role_of(asked: Wish, thing: Entry | Path) -> str:
    """The role that a model is to have."""
    made_for = thing.roles if isinstance(thing, Entry) else ()
    return asked.role or (COMPLETION if not made_for or COMPLETION in made_for else made_for[0])


class Models:
    """Those of one connection."""

    def __init__(self, server: TabbyServer) -> None:
        self._server = server
        self._moved = float("inf")  # when something was last typed or opened
        self._fetching: Fetching | None = None
        self._switching = asyncio.Lock()

    def moved(self) -> None:
        """Somebody types."""
        self._moved = time.monotonic()

    # --- the offer

    async def offer(self) -> None:
        """Offers a real model to whom the starter serves, when nothing is typed, unless that was asked before."""
        await self._server.settled()
        await self._quiet()
        if self._fetching or not self._starter_serves():
            return
        offered = await asyncio.to_thread(offer.suitable, self._server.settings)
        await self._quiet()
        if offered is None or not await asyncio.to_thread(offer.may_ask, datetime.date.today()):
            return
        name = offered.entry.name
        here = ", and is here already" if offered.found else ""
        text = f"Suggestions come from the small starter model. {name} {offered.facts} would suit this machine{here}"
        action = USE if offered.found else DOWNLOAD
        answer = await ask(self._server, text, action, NOT_NOW, NEVER)
        if answer in (None, NEVER):  # a message is no question, and is not shown twice
            await asyncio.to_thread(offer.never_again)
        if answer is None:
            command, verb = ("tabby.useModel", "use") if offered.found else ("tabby.downloadModel", "get")
            tell(self._server, f"{text}: the command `{command}`, or `tabby-lsp models {verb} {name}` in a terminal.")
        elif answer == action and offered.found:
            await self._use(name, COMPLETION)
        elif answer == action:
            await self._fetch(offered.entry, COMPLETION, True, None)

    async def _quiet(self) -> None:
        """Waits until nothing has been typed for a while, in something that is open."""
        while (left := self._moved + QUIET_SECONDS - time.monotonic()) > 0:
            await asyncio.sleep(min(left, QUIET_SECONDS))

    def _starter_serves(self) -> bool:
        """Whether nobody has chosen a model, and the one that comes with the program has been loaded."""
        info = self._server.state.info
        chosen = self._server.settings.model.completion.local.model_id
        return not chosen and info is not None and info.path == str(starter.MODEL)

    # --- tabby.models

    async def show(self, everything: bool, silent: bool) -> Result:
        """The table of models; its rows are those of `tabby-lsp models --json`."""
        rows, problems = await asyncio.to_thread(overview.table, self._server.settings)
        shown = [row for row in rows if everything or row.place or row.recommended]
        if not silent:
            lines = ["models", *map(_line, shown), *problems, "`tabby.useModel` and `tabby.downloadModel` change it."]
            tell(self._server, "\n".join(lines))
        return {"models": [self._as_data(row) for row in shown]}

    def _as_data(self, row: Row) -> Result:
        """A row in the manner of JSON, with the name by which the other commands know the model."""
        return {_camel(key): value for key, value in asdict(row).items()} | {"modelId": self._id_of(row)}

    def _id_of(self, row: Row) -> str:
        named = catalogue.look_up(row.name, catalogue.entries(self._server.settings.models))
        return row.name if named or not row.path else row.path

    # --- tabby.useModel

    async def use(self, asked: Wish, token: int | str | None) -> Result:
        """Has a model that is here take over a role; one that is not is offered."""
        name = asked.name or await self._choose_from_here(asked.role or COMPLETION)
        if not name:
            return {}
        try:
            thing = await asyncio.to_thread(choice.meant, name, self._server.settings.models)
        except choice.NoModel as error:
            return refuse(self._server, str(error))
        if isinstance(thing, Entry) and thing.sources:
            if not await asyncio.to_thread(finder.on_this_machine, thing):
                return await self.get(Wish(name, asked.role, asked.confirmed), token)
        return await self._use(name, role_of(asked, thing))

    async def _choose_from_here(self, role: str) -> str:
        rows, _ = await asyncio.to_thread(overview.table, self._server.settings)
        here = [row for row in rows if row.place and (role in row.roles or not row.roles) and role not in row.used_for]
        if not here:
            tell(self._server, "There is no other model on this machine: `tabby.downloadModel` fetches one.")
            return ""
        return await self._choose(f"Which model is to serve {role}?", here, "use")

    async def _choose(self, question: str, among: Sequence[Row], action: str) -> str:
        """The name of the model that a person chooses, empty if none; who cannot be asked is told which there are."""
        by_title = {_title(row): row for row in among}
        answer = await ask(self._server, question, *list(by_title)[:MOST_CHOICES])
        if answer is None:
            advice = f"In a terminal: `tabby-lsp models {action} NAME`; here `tabby.restart` then takes it."
            tell(self._server, "\n".join([question, *by_title, advice]))
        row = by_title.get(answer or "")
        return self._id_of(row) if row else ""

    async def _use(self, name: str, role: str) -> Result:
        """Writes a model into the settings and loads it; one that cannot be loaded is taken out again."""
        server = self._server
        async with self._switching:
            before = await asyncio.to_thread(choice.written, role)
            try:
                chosen = await asyncio.to_thread(choice.on_this_machine, name, role, server.settings.models)
                await asyncio.to_thread(choice.write, chosen.model_id, role)
            except (choice.NoModel, choice.NotHere, CannotEdit) as error:
                return refuse(server, str(error))
            except OSError as error:
                return refuse(server, f"{error.filename or name}: {error.strerror or error}.")
            server.read_settings()
            file = choice.settings_file()
            if role != COMPLETION:
                await server.restart((role,))
                return tell(server, f"{chosen.name} serves {role} from now on. {NOT_YET} {chosen.doubt}".strip())
            if server.settings.model.completion.local.model_id != chosen.model_id:
                return refuse(
                    server,
                    f"{chosen.name} is written into {file}, but this editor starts the server with another model: take "
                    "`--model` or `model_id` out of its settings.",
                )
            await self._load_anew()
            if server.state.phase == "failed":
                return await self._go_back(chosen, before)
            return tell(server, f"{chosen.name} is loaded, and completes from now on. {chosen.doubt}".strip())

    async def _go_back(self, chosen: Chosen, before: str) -> Result:
        """The server has said why the model cannot be loaded, as it does at its start."""
        reason = self._server.state.reason
        try:
            await asyncio.to_thread(choice.write, before, COMPLETION)
        except (CannotEdit, OSError) as error:
            file = choice.settings_file()
            return refuse(self._server, f"{chosen.name} cannot be loaded, and is still named in {file}: {error}")
        self._server.read_settings()
        await self._load_anew()
        said = refuse(self._server, f"{chosen.name} cannot be loaded. The model before it is in use again.")
        return {**said, "reason": reason}

    async def _load_anew(self) -> None:
        """Loads the model that the settings name, and waits until it is there or given up."""
        await self._server.restart((COMPLETION,))
        self._server.spawn(self._server.show_loading())
        await self._server.settled()

    # --- tabby.downloadModel

    async def get(self, asked: Wish, token: int | str | None) -> Result:
        """Fetches a model and has it take over a role. What it is, how large and under which licence is shown first."""
        if self._fetching:
            return await self._while(self._fetching, asked.stop)
        if asked.stop:
            return tell(self._server, "No model is being fetched.")
        name = asked.name or await self._choose_elsewhere(asked.role or COMPLETION)
        if not name:
            return {}
        try:
            thing = await asyncio.to_thread(choice.meant, name, self._server.settings.models)
        except choice.NoModel as error:
            return refuse(self._server, str(error))
        if not isinstance(thing, Entry) or not thing.sources:  # a file that is here
            return await self._use(name, role_of(asked, thing))
        return await self._fetch(thing, role_of(asked, thing), asked.confirmed or not asked.name, token)

    async def _while(self, fetching: Fetching, stop: bool) -> Result:
        """What is said of a download that is under way to who asks for one."""
        said = f"{fetching.entry.name} is being fetched: {fetching.said}."
        if not stop:
            answer = await ask(self._server, said, STOP, GO_ON)
            if answer is None:
                return tell(self._server, f"{said} `tabby.downloadModel` with {{stop: true}} stops it.")
            if answer != STOP:
                return {"message": said}
        fetching.stop()
        return {}

    async def _choose_elsewhere(self, role: str) -> str:
        rows, _ = await asyncio.to_thread(overview.table, self._server.settings)
        names = (*overview.SUITABLE[role], SMALL)
        missing = [row for row in rows if row.name in names and not row.place and row.fits is not False]
        missing.sort(key=lambda row: (not row.recommended, names.index(row.name)))
        if not missing:
            tell(self._server, f"Each model that is recommended for {role} and fits this machine is here already.")
            return ""
        return await self._choose(f"Which model is to be fetched for {role}?", missing, "get")

    async def _fetch(self, entry: Entry, role: str, confirmed: bool, token: int | str | None) -> Result:
        found = await asyncio.to_thread(finder.on_this_machine, entry)
        source = choice.to_fetch(entry, found)
        if self._fetching:  # begun while this was looked up
            return await self._while(self._fetching, False)
        if source is not None:
            self._fetching = Fetching(self._server, entry, source)
            try:
                refusal = await self._fetching.run(confirmed, token)
            finally:
                self._fetching = None
            if refusal is not None:
                return refusal
        return await self._use(entry.name, role)


def _title(row: Row) -> str:
    return f"{row.name} ({overview.size_text(row.size, row.estimated)}{', ' + row.licence if row.licence else ''})"


def _line(row: Row) -> str:
    used = f", in use for {' and '.join(row.used_for)}" if row.used_for else ""
    return f"{_title(row)}: {row.place or 'recommended'}{used}"


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(each.capitalize() for each in rest)
