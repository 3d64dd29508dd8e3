"""N requests of 5 s at once on 20 slots, and the waves in which their answers come."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.sweeps import site_on
from pooldemo.demo.burst import fire, waves
from pooldemo.sweep import stacks
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server

SLOTS, MS = 20, 5000
BURSTS = (
    ("flask-sqlalchemy", 5), ("pooldemo", 5), ("flask-sqlalchemy", 30), ("pooldemo", 30), ("connect-each", 30),
    ("upool", 30),
)  # fmt: skip
TAKES_S = 30  # all of them, about


def run(database_url: str, folder: Path) -> list[dict[str, Any]]:
    """All bursts, each on a server of its own, at the same time: they mostly sleep. Blocks."""
    with ExitStack() as stop:
        servers = []
        for number, (name, _) in enumerate(BURSTS):
            ledger = Ledger(folder / str(number))
            servers.append(stop.enter_context(Server(stacks.get(name), SLOTS, 1, 30, site_on(database_url), ledger)))
        for server in servers:
            server.wait_ready()
        with ThreadPoolExecutor(len(servers)) as threads:
            return list(threads.map(_burst, servers, BURSTS))


def _burst(server: Server, burst: tuple[str, int]) -> dict[str, Any]:
    name, count = burst
    arrivals = fire(f"http://127.0.0.1:{server.port}/slow/?ms={MS}", count, 60, lambda _: None)
    good = [each.after_s for each in arrivals if each.status == 200]
    found = [[wave.count, wave.first_s, wave.last_s] for wave in waves(good, MS / 1000)]
    return {"stack": name, "requests": count, "failed": count - len(good), "waves": found}


def told(found: Sequence[Sequence[float]]) -> str:
    """The waves in words: `20 at 5.05-5.07 s, 10 at 10.06-10.11 s`."""
    return ", ".join(f"{count} at {first_s:.2f}-{last_s:.2f} s" for count, first_s, last_s in found)
