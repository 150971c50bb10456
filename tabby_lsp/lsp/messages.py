"""Messages of JSON-RPC as they come, before they have a type: what is none, and what can be read all the same.

Knows nothing of pygls, nor of what a method does.
"""

from __future__ import annotations

from typing import Any

LARGEST = 2**31 - 1  # of LSP's `integer` and `uinteger`


def fault_of(data: Any) -> str:
    """What keeps a value from being a message at all, if anything does."""
    if not isinstance(data, dict) or data.get("jsonrpc") != "2.0":
        return "The message is not JSON-RPC 2.0."
    if not isinstance(data.get("method", ""), str):
        return "The method must be a string."
    if "id" in data and id_of(data) is None:
        return "The id must be a string or a whole number."
    return "" if "method" in data or "id" in data else "The message has neither a method nor an id."


def id_of(data: Any) -> int | str | None:
    """The id of a message, if it has one by which it can be answered."""
    id = data.get("id") if isinstance(data, dict) else None
    if isinstance(id, float) and id.is_integer():  # some JSON libraries know no whole numbers
        return int(id)
    return id if isinstance(id, int | str) and not isinstance(id, bool) else None


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def bound(params: Any) -> None:
    """Moves positions and versions into the range of LSP's numbers.

    lsprotocol refuses a message with any other, and a change that is dropped leaves another text than the editor's.
    """
    todo = [params]
    while todo:  # no recursion: a message may be nested as deep as Python's stack
        each = todo.pop()
        items = each.items() if isinstance(each, dict) else enumerate(each) if isinstance(each, list) else ()
        for key, value in items:
            if key in ("line", "character", "version") and isinstance(value, int | float):
                each[key] = int(min(max(value, -LARGEST if key == "version" else 0), LARGEST))
            elif isinstance(value, dict | list):
                todo.append(value)


def extensions(params: Any) -> dict[str, Any]:
    """What is Tabby's of a client's capabilities: in `tabby`, as tabby-agent has it, or in LSP's `experimental`."""
    found: dict[str, Any] = {}
    capabilities = params.get("capabilities") if isinstance(params, dict) else None
    for holder in (capabilities, capabilities.get("experimental") if isinstance(capabilities, dict) else None):
        tabby = holder.get("tabby") if isinstance(holder, dict) else None
        found |= tabby if isinstance(tabby, dict) else {}
    return found
