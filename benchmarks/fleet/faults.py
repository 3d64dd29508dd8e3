"""What goes wrong in a fleet, each a small function of the scene, in the order of the table."""

import contextlib
import http.client
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil

from benchmarks.fleet.scene import NAME, WEBS, Fault, Scene
from benchmarks.fleet.services import ADDRESS

AWAY_S, FROZEN_S = 3.0, 6.0
GUESTS, GUEST_MS = 70, 500  # more than may wait for a host's slots before the balancer prefers another one
TERMINATE_SQL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
FAULTS: list[Fault] = []


def fault(about: str, **traits: bool | str) -> Callable[[Callable[[Scene], None]], Fault]:
    """Put a function into the table, under its own name, with the traits that `Fault` names."""

    def add(happen: Callable[[Scene], None]) -> Fault:
        made = Fault(happen.__name__.replace("_", "-"), about, happen, **traits)  # type: ignore[arg-type]
        FAULTS.append(made)
        return made

    return add


@fault("both hosts are replaced, one after the other: SIGTERM, and another is started")
def hosts_replaced(scene: Scene) -> None:
    for number in range(1, WEBS + 1):
        process = scene.fleet.processes[f"web{number}"]
        process.terminate()
        process.wait()
        scene.serve(number)
        scene.fleet.wait_up()


@fault("one worker of a host is killed with SIGKILL; gunicorn starts another", workers_end=True)
def worker_killed(scene: Scene) -> None:
    psutil.Process(scene.fleet.workers(1)[0]).kill()


@fault(f"a host dies, all its processes at once, and is back after {AWAY_S:g} s", workers_end=True)
def host_killed(scene: Scene) -> None:
    for process in scene.fleet.family("web1"):
        process.kill()
    scene.fleet.processes["web1"].wait()
    time.sleep(AWAY_S)
    scene.serve(1)
    scene.fleet.wait_up()


@fault(f"a host stands still for {FROZEN_S:g} s: SIGSTOP to all its processes, then SIGCONT")
def host_frozen(scene: Scene) -> None:
    family = scene.fleet.family("web1")
    for process in family:
        process.suspend()
    time.sleep(FROZEN_S)
    for process in reversed(family):
        process.resume()
    scene.fleet.wait_up()


@fault(f"{GUESTS} more requests of {GUEST_MS} ms come at once to one host, not through the balancer")
def host_full(scene: Scene) -> None:
    _fill(scene, 1)


@fault(f"{GUESTS} more requests of {GUEST_MS} ms come at once to each host", sheds=True)
def all_hosts_full(scene: Scene) -> None:
    _fill(scene, *range(1, WEBS + 1))


@fault("the balancer is told to read its configuration again (SIGUSR2)")
def balancer_reloaded(scene: Scene) -> None:
    master = scene.fleet.processes["balancer"]
    old = psutil.Process(master.pid).children()
    master.send_signal(signal.SIGUSR2)
    psutil.wait_procs(old, timeout=30)


@fault("PgBouncer is ended, and started again", way="pgbouncer")
def pgbouncer_restarted(scene: Scene) -> None:
    process = scene.fleet.processes["pgbouncer"]
    process.kill()  # SIGTERM and SIGQUIT mean what the version says, and a child of a shell's "&" ignores one
    process.wait()
    scene.fleet.start("pgbouncer")


@fault("every connection of the sites is ended by pg_terminate_backend")
def terminate(scene: Scene) -> None:
    with scene.fleet.sql() as cursor:
        cursor.execute(TERMINATE_SQL, [f"{NAME}/%"])


@fault("PostgreSQL is restarted in its mode fast: it ends every query, and is back within a second or two")
def restart(scene: Scene) -> None:
    _stop(scene, signal.SIGINT)
    scene.postgresql()


@fault("PostgreSQL's first process is killed with SIGKILL, and PostgreSQL is started again, so it must recover")
def kill(scene: Scene) -> None:
    family = scene.fleet.family("db")
    _stop(scene, signal.SIGKILL)
    psutil.wait_procs(family, timeout=30)  # its children notice
    scene.postgresql()


@fault(f"PostgreSQL takes no more connections for {AWAY_S:g} s: another program has taken the rest")
def server_full(scene: Scene) -> None:
    with scene.fleet.full():
        time.sleep(AWAY_S)


def _stop(scene: Scene, how: signal.Signals) -> None:
    process = scene.fleet.processes["db"]
    process.send_signal(how)
    process.wait()


def _fill(scene: Scene, *numbers: int) -> None:
    """Ask those hosts for more than they have slots for. Blocks until all are answered."""

    def ask(port: int) -> None:
        client = http.client.HTTPConnection(ADDRESS, port, timeout=60)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(client):
            client.request("GET", f"/slow/?ms={GUEST_MS}")
            client.getresponse().read()

    ports = [scene.fleet.port[f"WEB{number}"] for number in numbers]
    with ThreadPoolExecutor(GUESTS * len(ports)) as threads:
        list(threads.map(ask, ports * GUESTS))
