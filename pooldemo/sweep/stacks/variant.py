"""A stack as it is with other settings, or at another commit: what `sweep --against` measures beside it.

Its name says both: `pooldemo@POOL_MODE=transaction`, `pooldemo@1a2b3c4d5e6f`. A commit lies in a folder of its own,
which `management/checkout.py` makes before the first trial.
"""

import difflib
import os
from dataclasses import replace
from pathlib import Path

from pooldemo.pool.options import ROWS, OptionError, Options
from pooldemo.sweep.plan import label
from pooldemo.sweep.stacks.stack import ROOT, Stack

CHECKOUTS = ROOT / ".local" / "against" / str(os.getpid())  # another sweep may be of another database
OPTIONS = {row.name for row in ROWS}
SWEPT = ("MAX_CONNS", "REUSE_CONNS", "MIN_CONNS", "WEB_CONCURRENCY", "POOL_STACK", "DATABASE_URL", "PGAPPNAME")
"""What a trial sets by itself."""


def is_settings(text: str) -> bool:
    """Whether `--against` was given settings, and not a commit."""
    return "=" in text


def settings_of(text: str) -> dict[str, str]:
    """`POOL_MODE=transaction,RESET=always` as a dictionary.

    Raises ValueError, in a sentence, for what is no setting, cannot be, or is the trial's own.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals or not name.isidentifier():
            raise ValueError(
                f"--against {text}: {part!r} is no setting; give NAME=VALUE, joined by commas, or a commit"
            )
        if name in found:
            raise ValueError(f"--against {text}: {name} is given twice; give each setting once")
        if name in SWEPT:
            raise ValueError(f"--against {text}: {name} is what a trial sets by itself; compare another setting")
        if name not in OPTIONS and (near := difflib.get_close_matches(name.upper(), OPTIONS, cutoff=0.75)):
            raise ValueError(f"--against {text}: {name} is no option of the pool; did you mean {near[0]}?")
        found[name] = value
    try:
        Options.read({name: value for name, value in found.items() if name in OPTIONS})
    except OptionError as error:
        raise ValueError(f"--against {text}: {error}") from error
    return found


def checkout(name: str) -> Path:
    """The folder of a variant's commit."""
    return CHECKOUTS / label(name)


def made(stack: Stack, name: str) -> Stack:
    """The stack under that name: as the name says. Raises ValueError."""
    if not is_settings(label(name)):
        return replace(stack, name=name, about=f"{stack.about} At the commit {label(name)}.", root=checkout(name))
    settings = settings_of(label(name))
    if "POOL_MODE" in settings and stack.name == "pooldemo-transaction":
        raise ValueError(f"--against {label(name)}: {stack.name} is named for its POOL_MODE; give --stack pooldemo")
    options = {each: value for each, value in settings.items() if each in OPTIONS}
    as_typed = {each: value.replace("{", "{{").replace("}", "}}") for each, value in settings.items()}
    return replace(
        stack, name=name, about=f"{stack.about} With {label(name)}.", env={**stack.env, **as_typed}, options=options
    )
