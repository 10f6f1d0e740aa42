"""`--nic KEY=VALUE,...`: one card of a guest as people write it."""

from __future__ import annotations

from typing import Any, Final

from segue.errors import Kind, Refused

HELP: Final = (
    "A card, again for each: network=NAME or bridge=NAME, and address=CIDR (again for IPv6), mac=, vlan=, "
    "trunk=20+30-35, mtu=."
)
TEXTS: Final = frozenset({"network", "bridge", "mac"})
NUMBERS: Final = frozenset({"vlan", "mtu"})


def wish(text: str) -> dict[str, Any]:
    """'network=blue,address=10.1.0.2/24' -> the body that the API wants. Raises Refused."""
    made: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, given, value = part.partition("=")
        if not given or not value:
            raise _wrong(text, f"'{part}' is not KEY=VALUE")
        _put(made, text, key.strip(), value.strip())
    return made


def _put(made: dict[str, Any], text: str, key: str, value: str) -> None:
    name = "address6" if key == "address" and ":" in value else key
    if name in made:
        raise _wrong(text, f"{key} is given twice")
    if key == "trunk":
        made[name] = _numbers(text, value)
    elif key in NUMBERS:
        made[name] = _number(text, value)
    elif key in TEXTS or key == "address":
        made[name] = value
    else:
        known = ", ".join(sorted({*TEXTS, *NUMBERS, "address", "trunk"}))
        raise _wrong(text, f"there is no {key}; a card has {known}")


def _numbers(text: str, value: str) -> list[int]:
    """'20+30-32' -> [20, 30, 31, 32]."""
    found: list[int] = []
    for part in value.split("+"):
        first, _, last = part.partition("-")
        low, high = _number(text, first), _number(text, last or first)
        if high - low > 4094:
            raise _wrong(text, f"{part} are more VLANs than there are")
        found += range(low, high + 1)
    return found


def _number(text: str, value: str) -> int:
    if not value.isdecimal():
        raise _wrong(text, f"'{value}' is no number")
    return int(value)


def _wrong(text: str, why: str) -> Refused:
    return Refused(
        what=f"'{text}' was not understood",
        why=why,
        todo="Write a card like --nic network=blue,address=10.1.0.2/24.",
        kind=Kind.USAGE,
    )
