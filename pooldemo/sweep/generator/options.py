"""What the options of `locustfile.py` ask for, wherever they come from: its command line, its page, a file."""

import contextlib
import json
import os
import random
import re
from argparse import Namespace
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pooldemo.sweep.generator import PREFIX, THEIRS
from pooldemo.sweep.workloads import CHOICES, MIX
from pooldemo.sweep.workloads import WORKLOADS as ALL

HOST = "http://127.0.0.1:8000"
LENGTH = re.compile(r"(\d{1,15}(\.\d*)?|\.\d+)(e[+-]?\d{1,2})?", re.ASCII)


class Workload(NamedTuple):
    """One kind of request: `name` is its path, `weight` its share in a mix, `parameters` those that the options set."""

    name: str
    weight: int
    tags: set[str]
    parameters: tuple[str, ...] = ()


WORKLOADS = [Workload(each.name, each.weight, {each.name, *each.tags}, (*each.parameters,)) for each in ALL.values()]
TAGS = sorted(set().union(*(workload.tags for workload in WORKLOADS)))
LENGTHS = {  # options in milliseconds; their help is short enough for the page's form
    "ms": "of slow, cpu and lock, of hold's and think's query; empty: the site's own",
    "think_ms": "hold and think do so long something else; empty: the site's own",
    "pause_ms": "how long a user pauses after each answer",
    "pace_ms": "from one request of a user to its next; empty: no pace",
}


class Load(NamedTuple):
    """What the options ask for; `cards` deals the workloads to all users of this process."""

    workload: str  # or mix, or tags
    workloads: list[Workload]
    lengths: dict[str, Any]
    headers: dict[str, str]
    cards: Iterator[Workload]


@lru_cache(maxsize=1)  # users ask before each request
def is_host(text: str) -> bool:
    """Whether a path may be put behind it as it is."""
    with contextlib.suppress(ValueError):  # of a port that is none, or of half a pair of brackets
        return urlsplit(text).port != 0 and bool(re.fullmatch(r"https?://[^/\s](\S*[^/\s])?", text))
    return False


def own(options: Any) -> Any:
    """The options with ours by their names, also beside another locustfile, whose own may be called the same."""
    if THEIRS not in os.environ:
        return options
    given = vars(options)
    return Namespace(**given | {name.removeprefix(PREFIX): given[name] for name in given if name.startswith(PREFIX)})


def load_of(options: Any) -> Load:
    """Read the options, strings wherever they come from. Users ask before each request, so that the page's Edit changes
    what they do. Raises ValueError, in one sentence, for a bad one."""
    if options.host and not is_host(options.host):
        raise ValueError(f"host: {options.host!r} is no address, give one like {HOST}, without a slash at its end")
    given = (str(getattr(options, name) or "").strip() for name in ("workload", *LENGTHS))
    tags = ((), ()) if THEIRS in os.environ else (tuple(options.tags or ()), tuple(options.exclude_tags or ()))
    return _load(options.urls, options.headers, *tags, *given)


@lru_cache(maxsize=1)
def _load(urls: str, headers: str, tags: tuple[str, ...], without: tuple[str, ...], workload: str, *given: str) -> Load:
    for kind, names, known in (("workload", [workload], CHOICES), ("tags", [*tags, *without], TAGS)):
        for name in {*names} - {*known}:
            raise ValueError(f"{kind}: {name!r} is not known, give {', '.join(known[:-1])} or {known[-1]}")
    if tags or without:
        workload = "tags"
    elif workload != MIX:
        tags = (workload,)
    kept = [each for each in WORKLOADS if each.tags & {*(tags or TAGS)} and not each.tags & {*without}]
    if urls:
        workload, kept = "urls", [Workload(url, 1, set()) for url in read("urls", urls, '["/orders/"]')]
    if not kept:
        raise ValueError("tags: none of the workloads is left, exclude fewer")
    lengths = dict.fromkeys(LENGTHS, None) | {"pause_ms": 0.0, "pace_ms": 0.0}  # None is left to the site
    for name, text in zip(LENGTHS, given, strict=True):
        if text and not LENGTH.fullmatch(text):
            raise ValueError(f"{name}: {text!r} is no length, give milliseconds like 20 or 0.5, or nothing")
        lengths[name] = float(text) if text else lengths[name]
    return Load(workload, kept, lengths, read("headers", headers, '{"Cookie": "a=b"}') if headers else {}, deal(kept))


def read(name: str, text: str, example: str) -> Any:
    """JSON of strings, like the example. Raises ValueError, in one sentence, for what is not."""
    with contextlib.suppress(ValueError, AttributeError):
        found = json.loads(text)
        if found and {*map(type, found.values() if example[0] == "{" else found)} == {str}:
            return found
    raise ValueError(f"{name}: {text!r} is no JSON like {example}")


def deal(workloads: list[Workload]) -> Iterator[Workload]:
    """A deck of cards, shuffled anew when all are dealt: chance draws no workload too often, nor too seldom."""
    cards = [workload for workload in workloads for _ in range(workload.weight)]
    while True:
        yield from random.sample(cards, len(cards))
