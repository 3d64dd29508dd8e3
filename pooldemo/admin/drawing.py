"""Figures as a template shows them."""

from collections.abc import Mapping
from typing import Protocol

from django.utils.safestring import SafeString, mark_safe


class Drawn(Protocol):
    """What can be seen wide, and narrow."""

    @property
    def svg(self) -> str: ...

    @property
    def narrow(self) -> str: ...


def drawn(figures: Mapping[str, Drawn], wide: bool = True) -> list[tuple[str, SafeString]]:
    """Each figure's name and its SVG, which has escaped whatever it shows: the first wide, and narrow for a phone, the
    others narrow, to stand side by side."""
    first = next(iter(figures), "") if wide else ""
    return [
        (name, mark_safe((each.svg if name == first else "") + each.narrow))  # noqa: S308
        for name, each in figures.items()
    ]
