"""The servers that a sweep can compare. Each module of this folder with a `STACK` is one; adding one is adding a file.

`stack.py` says what a stack is; `green.py` is shared by those that bring no gevent support of their own, `peer.py` by
the applications of peers/; `settings.py` puts any Django project on a stack, `variant.py` makes one of another commit.
"""

import importlib
import pkgutil

from pooldemo.sweep.plan import VARIANT, base
from pooldemo.sweep.stacks.stack import DatabaseConfig, Stack
from pooldemo.sweep.stacks.variant import made

__all__ = ["DatabaseConfig", "Stack", "database", "get", "names"]

_SHARED = ("stack", "green", "gunicorn_conf", "peer", "settings", "variant")


def names() -> list[str]:
    """Every stack's name, `pooldemo` first."""
    found = (_name(each.name) for each in pkgutil.iter_modules(__path__) if each.name not in _SHARED)
    return sorted(found, key=lambda name: (name != "pooldemo", name))


def get(name: str) -> Stack:
    """The stack of that name, or a variant of it.

    Raises ValueError that lists the known ones.
    """
    if base(name) not in names() or name == f"{base(name)}{VARIANT}":
        raise ValueError(f"unknown stack {name!r}: known are {', '.join(names())}")
    stack: Stack = importlib.import_module(f"{__name__}.{base(name).replace('-', '_')}").STACK
    return stack if name == base(name) else made(stack, name)


def database(name: str, config: DatabaseConfig) -> DatabaseConfig:
    """The `DATABASES` entry of this Django site for the stack `name`, made from the site's own (which stays as it is).

    Called by the settings, in the process that will serve. Raises ValueError when there is no such stack, or it is
    another application.
    """
    make = get(name).database if name in names() else None
    if make is None:
        known = ", ".join(each for each in names() if get(each).database)
        raise ValueError(f"POOL_STACK={name!r} is not accepted: give a stack of this Django site ({known})")
    return make({**config, "OPTIONS": dict(config.get("OPTIONS", {}))})


def _name(module: str) -> str:
    return module.replace("_", "-")
