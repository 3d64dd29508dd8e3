"""The faults, each a small function of the scene, in the order of the table."""

import contextlib
import http.client
import random
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from benchmarks.chaos.scene import MS, SIZE, WORKERS, Fault, Scene

FROZEN_S = 5.0
ROTATIONS = 3
AWAY_S = 2.0  # for networks that are cut, and for a limit
CAP = WORKERS * SIZE
CAPACITY_RPS = CAP / MS * 1000
OVERLOAD = 2.0  # times that
TERMINATE_SQL = """
    SELECT count(pg_terminate_backend(pid)) FROM
    (SELECT pid FROM pg_stat_activity WHERE starts_with(application_name, %s) LIMIT %s) AS ours
"""
FAULTS: list[Fault] = []


def fault(about: str, **traits: bool) -> Callable[[Callable[[Scene], None]], Fault]:
    """Put a function into the table, under its own name, with the traits that `Fault` names."""

    def add(happen: Callable[[Scene], None]) -> Fault:
        made = Fault(happen.__name__.replace("_", "-"), about, happen, **traits)
        FAULTS.append(made)
        return made

    return add


@fault("PostgreSQL is restarted in its mode fast: it ends every query, and is back within a second")
def restart(scene: Scene) -> None:
    scene.postgresql.stop(force=True)
    scene.postgresql.ensure()


@fault("PostgreSQL's first process is killed with SIGKILL, and PostgreSQL is started again, so it must recover")
def kill(scene: Scene) -> None:
    scene.postgres_processes()[0].kill()
    time.sleep(0.1)
    scene.postgresql.ensure()


@fault(f"all of PostgreSQL's processes are stopped for {FROZEN_S:g} s with SIGSTOP, and go on")
def freeze(scene: Scene) -> None:
    frozen = []
    try:
        for process in scene.postgres_processes():  # the parent first: it starts no more
            process.send_signal(signal.SIGSTOP)
            frozen.append(process)
        time.sleep(FROZEN_S)
    finally:
        for process in frozen:
            process.send_signal(signal.SIGCONT)


@fault("every connection of the server is ended by pg_terminate_backend")
def terminate(scene: Scene) -> None:
    with scene.sql() as cursor:
        cursor.execute(TERMINATE_SQL, [f"{scene.name}/", 1000])


@fault(f"the network resets every connection, and new ones for {AWAY_S:g} s", proxied=True)
def network_resets(scene: Scene) -> None:
    scene.proxy.refuse(True)
    scene.proxy.reset()
    time.sleep(AWAY_S)
    scene.proxy.refuse(False)


@fault("the network drops every connection, once", proxied=True)
def network_drops(scene: Scene) -> None:
    scene.proxy.drop()


@fault(f"nothing passes the network for {AWAY_S:g} s, and neither side gets an error", proxied=True)
def network_stalls(scene: Scene) -> None:
    scene.proxy.stall(True)
    time.sleep(AWAY_S)
    scene.proxy.stall(False)


@fault(f"the role's CONNECTION LIMIT becomes {CAP - 6} for {AWAY_S:g} s, and 6 of {CAP} connections are terminated")
def limit(scene: Scene) -> None:
    with scene.sql() as cursor:
        cursor.execute(f"ALTER ROLE pooldemo CONNECTION LIMIT {CAP - 6}")
        try:
            cursor.execute(TERMINATE_SQL, [f"{scene.name}/", 6])
            time.sleep(AWAY_S)
        finally:
            cursor.execute("ALTER ROLE pooldemo CONNECTION LIMIT -1")


@fault(
    "each login takes 1 s; every connection is terminated, and 30 more clients send queries for 4 s, which a "
    "request timeout of 0.5 to 1.5 s ends, most of them while they connect",
    logins=True,
)
def slow_login(scene: Scene) -> None:
    with scene.sql() as cursor:
        try:
            cursor.execute("ALTER SYSTEM SET post_auth_delay = 1")
            cursor.execute("SELECT pg_reload_conf()")
            stop_logins(scene, cursor, 4.0)
        finally:
            cursor.execute("ALTER SYSTEM RESET post_auth_delay")
            cursor.execute("SELECT pg_reload_conf()")


def stop_logins(scene: Scene, cursor: Any, for_s: float) -> None:
    """Terminate what is open, as soon as it has logged in, while clients give up connecting."""
    ends_s = time.monotonic() + for_s

    def give_up(seed: int) -> None:
        chance = random.Random(seed)
        while (left_s := ends_s - time.monotonic()) > 0:
            if seed % 31 == 0:
                cursor.execute(TERMINATE_SQL, [f"{scene.name}/", 1000])
                time.sleep(min(left_s, 1.3))  # time to log in, and a little
            else:
                _post(
                    scene, f"/chaos/?id={chance.getrandbits(62)}&ms=100&limit_s={chance.choice([0.5, 0.9, 1.2, 1.5])}"
                )

    _by_many(31, give_up)


@fault(
    f"the role's password is changed {ROTATIONS} times, in the file from which the site takes it and in PostgreSQL, "
    "and every connection is terminated",
    password=True,
)
def rotate(scene: Scene) -> None:
    assert scene.password
    with scene.passwords_asked(), scene.sql() as cursor:
        for number in range(ROTATIONS):
            scene.password.write_text(f"number {number}")
            cursor.execute(f"ALTER ROLE pooldemo PASSWORD 'number {number}'")
            cursor.execute(TERMINATE_SQL, [f"{scene.name}/", 1000])
            time.sleep(1)


@fault(
    "PostgreSQL's primary is stopped, its standby is promoted, and its address leads to the standby",
    proxied=True,
    led=True,
)
def promote(scene: Scene) -> None:
    assert scene.leader
    scene.leader.switch()
    scene.proxy.lead(str(scene.postgresql.place.sockets[0]))


@fault("one of the workers is killed with SIGKILL; gunicorn starts another", workers_end=True)
def worker_killed(scene: Scene) -> None:
    scene.master.children()[0].kill()


@fault("SIGHUP to gunicorn: it starts new workers, and the old ones finish what they began", workers_end=True)
def sighup(scene: Scene) -> None:
    old = scene.master.children()
    scene.master.send_signal(signal.SIGHUP)
    psutil.wait_procs(old, timeout=20)


@fault("SIGTERM to gunicorn, which finishes what it began; then it is started again", workers_end=True)
def sigterm(scene: Scene) -> None:
    master = scene.master
    family = [master, *master.children()]
    master.send_signal(signal.SIGTERM)
    psutil.wait_procs(family, timeout=20)
    scene.serve()


@fault("10 more clients send requests of 200 ms for 3 s, and hang up after 0 to 500 ms, some in mid-header")
def hang_ups(scene: Scene) -> None:
    hang_up(scene, 3.0)


def hang_up(scene: Scene, for_s: float) -> None:
    ends_s = time.monotonic() + for_s

    def hang_up_often(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < ends_s:
            with socket.create_connection(("127.0.0.1", scene.port)) as client:
                path = f"/chaos/?id={chance.getrandbits(62)}&ms=200"
                request = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
                client.sendall(request if chance.random() < 0.8 else request[:40])
                time.sleep(chance.uniform(0, 0.5))

    _by_many(10, hang_up_often)


@fault("20 more clients send queries of 5 s for 3 s, which a request timeout of 1 s ends")
def timeouts(scene: Scene) -> None:
    ends_s = time.monotonic() + 3

    def run_out(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < ends_s:
            _post(scene, f"/chaos/?id={chance.getrandbits(62)}&ms=5000&limit_s=1")

    _by_many(20, run_out)


@fault("20 more clients send queries of 5 s for 3 s, with an X-Request-Timeout of 0.5 to 1.5 s")
def deadlines(scene: Scene) -> None:
    ends_s = time.monotonic() + 3

    def be_late(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < ends_s:
            path = f"/chaos/?id={chance.getrandbits(62)}&ms=5000"
            _post(scene, path, X_Request_Timeout=f"{chance.uniform(0.5, 1.5):.2f}")

    _by_many(20, be_late)


@fault("6 more clients ask for queries of 5 s by GET for 3 s, hang up after 0.2 s, and ask again")
def retries(scene: Scene) -> None:
    ends_s = time.monotonic() + 3

    def ask_again(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < ends_s:
            _get(scene, f"/chaos/?id={chance.getrandbits(62)}&ms=5000", patience_s=0.2)

    _by_many(6, ask_again)


@fault(f"for 4 s {OVERLOAD:g} times as many requests come as the slots can carry, by GET, and hang up after 1 s")
def overload(scene: Scene) -> None:
    come_too_often(scene, 4.0)


@fault("the same, with OVERLOAD 'shed'", sheds=True)
def overload_shed(scene: Scene) -> None:
    come_too_often(scene, 4.0)


def come_too_often(scene: Scene, for_s: float) -> None:
    ends_s, chance = time.monotonic() + for_s, random.Random(time.time_ns())
    with ThreadPoolExecutor(int(2 * OVERLOAD * CAPACITY_RPS)) as threads:
        while time.monotonic() < ends_s:
            time.sleep(chance.expovariate(OVERLOAD * CAPACITY_RPS))
            threads.submit(_get, scene, f"/chaos/?id={chance.getrandbits(62)}&ms={MS:g}", 1.0)


def _get(scene: Scene, path: str, patience_s: float) -> None:
    """Ask, and hang up when the answer does not come in time."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", scene.port)) as client:
        client.settimeout(patience_s)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        client.recv(65536)


def _post(scene: Scene, path: str, **headers: str) -> None:
    client = http.client.HTTPConnection("127.0.0.1", scene.port, timeout=20)
    try:
        client.request("POST", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        client.getresponse().read()
    except OSError:
        pass  # no answer in 20 s: the users, who wait as well, are counted
    finally:
        client.close()


def _by_many(clients: int, body: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(body, [time.time_ns() % 10**9 + number for number in range(clients)]))
