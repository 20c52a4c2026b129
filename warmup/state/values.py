"""What an ingredient's value may say beside itself: that there is none, or that none was read."""

from __future__ import annotations

NONE = "none"
_UNREADABLE = "unreadable: "
_ASSUMED = "assumed "


def make_unreadable(why: str) -> str:
    """The value of an ingredient that is there and could not be read, for whatever reason: a
    starved host, a permission, a driver in the middle of an upgrade. It proves nothing."""
    return _UNREADABLE + why


def is_unreadable(value: str | None) -> bool:
    return value is not None and value.startswith(_UNREADABLE)


def make_assumed(value: str) -> str:
    """The value of an ingredient that only the machine itself knows, and this is not the machine:
    a profile's or a user's word for it. It is equal to no value that was read."""
    return _ASSUMED + value


def is_assumed(value: str | None) -> bool:
    return value is not None and value.startswith(_ASSUMED)
