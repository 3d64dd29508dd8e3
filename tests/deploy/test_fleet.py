"""Two hosts behind a balancer: who gets a request, what a rolling replacement costs, what Prometheus is told."""

import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg2
import pytest
import yaml
from psycopg2.extras import wait_select
from served import PATIENCE_S, ROOT, free_port, until

from benchmarks.fleet.faults import FAULTS
from benchmarks.fleet.scene import Fault, left_behind
from benchmarks.fleet.services import Fleet
from deploy.conftest import SECOND
from pooldemo.monitor import readiness

BOARD = ROOT / "deploy/grafana/dashboards/pooldemo.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"


class Askers:
    """Four clients that ask through the balancer until the block ends; what became of each request."""

    def __init__(self, fleet: Fleet, path: str = "/write/") -> None:
        self._fleet, self._path, self._left = fleet, path, threading.Event()
        self.answers: Counter[bool] = Counter()
        self.workers: Counter[int] = Counter()

    def __enter__(self) -> "Askers":
        self._threads = ThreadPoolExecutor(4)
        for _ in range(4):
            self._threads.submit(self._ask)
        return self

    def _ask(self) -> None:
        while not self._left.wait(0.1):
            answer = self._fleet.get(self._fleet.port["BALANCER"], self._path)
            self.answers[bool(answer)] += 1
            if answer:
                self.workers[json.loads(answer)["pid"]] += 1

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._threads.shutdown()


def test_it_spreads_requests_over_the_workers_of_both_hosts(fleet_of_hosts: Fleet) -> None:
    with Askers(fleet_of_hosts, "/slow/?ms=5") as askers:
        until(lambda: len(askers.workers) == 3)
    assert askers.workers.keys() == {*fleet_of_hosts.workers(1), *fleet_of_hosts.workers(2)}
    assert not askers.answers[False]


def test_its_first_line_counts_and_knows_who_stands_between(fleet_of_hosts: Fleet) -> None:
    until(lambda: "hosts x workers x MAX_CONNS = 2 x 2 x 4 = 16 of max_connections" in fleet_of_hosts.log("web1"))
    until(lambda: "2 x 1 x 4 = 8 connections to PgBouncer or another proxy" in fleet_of_hosts.log("web2"))


def test_it_hides_what_is_for_programs_of_the_house(fleet_of_hosts: Fleet) -> None:
    for path in ("/metrics", "/pool/", "/readyz", "/healthz", "/%6Detrics", "/%70ool/", "/read%79z?waiting=9"):
        assert fleet_of_hosts.get(fleet_of_hosts.port["WEB1"], path)
        assert not fleet_of_hosts.get(fleet_of_hosts.port["BALANCER"], path)


@pytest.mark.usefixtures("fleet_of_hosts")  # and left out with it
def test_its_balancer_tells_a_host_of_a_visitor_who_has_gone(tmp_path: Path) -> None:
    """HAProxy by itself waits on for the answer, and the host sees that its client, the balancer, is there."""
    asked, gone = threading.Event(), threading.Event()

    class Host(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow/":
                asked.set()
                with contextlib.suppress(ConnectionResetError):
                    self.connection.recv(1)
                gone.set()
            else:
                self.send_response(200)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    ports = {name: str(free_port()) for name in ("BALANCER_PORT", "BALANCER_STATS_PORT")}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        given = {"LISTEN": "127.0.0.1", "STATE_DIR": str(tmp_path), "WEB_SERVERS": f"127.0.0.1:{host.server_port}"}
        given["PATH"] = f"{os.environ['PATH']}:/usr/sbin"  # where HAProxy is, and no user's path leads
        with subprocess.Popen(
            [ROOT / "deploy/services/balancer"], cwd=ROOT, env={**os.environ, **ports, **given}
        ) as ours:
            try:
                until(lambda: answers(int(ports["BALANCER_PORT"])))
                with socket.create_connection(("127.0.0.1", int(ports["BALANCER_PORT"]))) as visitor:
                    visitor.sendall(b"GET /slow/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    until(asked.is_set)
                until(gone.is_set, patience_s=50)  # sooner than its own `timeout server`
            finally:
                ours.terminate()
        host.shutdown()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_it_is_loaded_by_locusts_master_and_worker(fleet_of_hosts: Fleet) -> None:
    options = ("--headless", "--users", "2", "--expect-workers", "1", "--run-time", "2s", "--only-summary")
    master = fleet_of_hosts.start("locust", *options, "--ms", "5")
    worker = fleet_of_hosts.start("locust-worker")
    assert (master.wait(), worker.wait()) == (0, 0), fleet_of_hosts.log("locust")
    (total,) = re.findall(r"^ +Aggregated +(\d+) +(\d+)\(", fleet_of_hosts.log("locust"), re.MULTILINE)
    assert int(total[0]) > 0
    assert total[1] == "0"


def test_it_keeps_its_hosts_where_postgresql_takes_no_more_connections(fleet_of_hosts: Fleet) -> None:
    """Each probe opens one, past the pool, whose own connections serve."""
    fleet = fleet_of_hosts
    with Askers(fleet, "/slow/?ms=5") as askers:
        until(lambda: {*fleet.workers(1), *fleet.workers(2)} <= askers.workers.keys())
    with fleet.full():
        with pytest.raises(psycopg2.OperationalError, match="connection slots are reserved|too many"):
            psycopg2.connect(fleet.url)
        psycopg2.connect(fleet.url.replace("pooldemo", "monitor", 1)).close()  # else nobody would see that it is full
        look = [str(ROOT / "deploy/services/manage"), "pool", "--server"]
        as_monitor = {**fleet.environment, "DATABASE_ROLE": "monitor"}
        assert b" are left" in subprocess.run(look, cwd=ROOT, env=as_monitor, capture_output=True, check=True).stdout
        with Askers(fleet, "/slow/?ms=5") as askers:
            for _ in range(3):
                time.sleep(readiness.FRESH_S)  # or the answer is the one of before
                assert fleet.get(fleet.port["WEB1"], "/readyz?waiting=50") == b"ready\n"
        assert not askers.answers[False]


def test_it_says_so_where_workers_die_with_a_request_whatever_the_connection(fleet_of_hosts: Fleet) -> None:
    """On one that was kept open the balancer closed it without a word, and browsers send even a POST once more."""
    fleet = fleet_of_hosts
    asked = "FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60%'"
    with (
        fleet.sql() as cursor,
        contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", fleet.port["BALANCER"], timeout=PATIENCE_S)
        ) as visitor,
    ):
        for ms, status in ((0, 200), (60_000, 502)):
            visitor.request("GET", f"/slow/?ms={ms}")
            if ms:
                until(lambda: cursor.execute(f"SELECT pid {asked}") or cursor.fetchone())
                for pid in (*fleet.workers(1), *fleet.workers(2)):
                    psutil.Process(pid).kill()
            with contextlib.closing(visitor.getresponse()) as answer:
                assert (answer.read() and answer.status) == status
        cursor.execute(f"SELECT pg_terminate_backend(pid) {asked}")  # it has not noticed
    fleet.wait_up()


def test_it_loses_no_request_while_both_hosts_are_replaced(fleet_of_hosts: Fleet) -> None:
    fleet = fleet_of_hosts
    with Askers(fleet) as askers:
        until(lambda: askers.answers[True] > 20)
        for number, more in ((1, {}), (2, SECOND)):
            old, said = fleet.workers(number), f"web{number} is DOWN, reason: Layer7 wrong status, code: 503"
            before = fleet.log("balancer").count(said)
            fleet.processes[f"web{number}"].terminate()
            until(lambda: fleet.log("balancer").count(said) > before)  # noqa: B023  called at once
            fleet.processes[f"web{number}"].terminate()  # what DRAIN_S is for has happened
            until(lambda: fleet.processes[f"web{number}"].poll() is not None)  # noqa: B023
            assert fleet.processes[f"web{number}"].returncode == 0, fleet.log(f"web{number}")
            assert not [pid for pid in old if psutil.pid_exists(pid)]
            if number == 1:
                with fleet.sql() as cursor:
                    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'web1'")
                    assert cursor.fetchone() == (0,), "it left something at the server"
            fleet.web(number, **more)
            until(lambda: set(fleet.servers().values()) == {"UP"})
        until(lambda: {*fleet.workers(1), *fleet.workers(2)} <= askers.workers.keys())
    assert askers.answers[False] == 0, askers.answers


def test_its_pgbouncer_shows_the_site_what_it_does_and_obeys_nobody(fleet_of_hosts: Fleet) -> None:
    """Whoever had the site's password could stop it for all."""
    fleet = fleet_of_hosts
    its_own = fleet.url.replace(f":{fleet.port['DB']}/pooldemo", f":{fleet.port['PGBOUNCER']}/pgbouncer")
    with contextlib.closing(psycopg2.connect(its_own)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SHOW POOLS")
        assert "pooldemo" in {row[0] for row in cursor.fetchall()}
        with pytest.raises(psycopg2.Error, match="admin access needed"):
            cursor.execute("PAUSE")


def test_its_pgbouncer_forgets_a_query_whose_client_has_died_before_postgresql_ends_it(fleet_of_hosts: Fleet) -> None:
    """No pool of ours asks here. So its pool may be exceeded by as many as died, and only those does a fleet excuse."""
    fleet = fleet_of_hosts
    through = fleet.url.replace(f":{fleet.port['DB']}/", f":{fleet.port['PGBOUNCER']}/")
    known = through.removesuffix("pooldemo") + "pgbouncer"
    asked = "FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(61)' AND state = 'active'"
    with (
        fleet.sql() as cursor,
        contextlib.closing(psycopg2.connect(known)) as pgbouncer,
        contextlib.closing(psycopg2.connect(through, async_=True)) as client,
    ):
        pgbouncer.autocommit = True
        wait_select(client)
        client.cursor().execute("SELECT pg_sleep(61)")

        def working() -> set[int]:
            cursor.execute(f"SELECT pid {asked}")
            return {pid for (pid,) in cursor.fetchall()}

        def held() -> set[int]:
            looks = pgbouncer.cursor()
            looks.execute("SHOW SERVERS")
            names = [column.name for column in looks.description or ()]
            return {row[names.index("remote_pid")] for row in looks.fetchall()}

        (pid,) = until(working)
        assert pid in held()
        client.close()
        until(lambda: pid not in held())
        assert working() == {pid}
        cursor.execute(f"SELECT pg_terminate_backend(pid) {asked}")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.name)
def test_it_excuses_connections_above_the_cap_by_pgbouncer_alone_and_where_workers_die(fault: Fault) -> None:
    assert left_behind(fault, "straight", 3) == 0
    assert left_behind(fault, "pgbouncer", 3) == (3 if fault.name in ("worker-killed", "host-killed") else 0)


@pytest.mark.parametrize(("service", "asked"), [("balancer", "BALANCER"), ("pgbouncer", "WEB2")])
def test_it_ends_what_is_under_way_where_one_of_them_is_stopped(
    service: str, asked: str, fleet_of_hosts: Fleet
) -> None:
    """By the signal that the compose file stops it with; SIGTERM cuts it off."""
    fleet = fleet_of_hosts
    how = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][service]["stop_signal"]

    def is_asked() -> Any:
        with fleet.sql() as cursor:
            cursor.execute("SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(1.5)' AND state = 'active'")
            return cursor.fetchone()

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(fleet.get, fleet.port[asked], "/slow/?ms=1500")
        while not is_asked():
            if answer.done():  # before anybody could look, on a busy machine
                answer = thread.submit(fleet.get, fleet.port[asked], "/slow/?ms=1500")
        fleet.processes[service].send_signal(signal.Signals[how])
        fleet.processes[service].wait()
        assert answer.result()
    fleet.start(service)
    until(lambda: fleet.get(fleet.port[asked], "/slow/?ms=1"))
    fleet.wait_up()


def queries() -> list[str]:
    """Those of the board, and of each alert the part that is compared."""
    board = json.loads(BOARD.read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    return [*shown, *(re.split(r" (?:>|==) ", rule["expr"])[0] for rule in rules)]


def test_prometheus_answers_every_query_of_the_board_and_of_the_alerts(fleet_of_hosts: Fleet) -> None:
    """Also when a worker was killed and another recycled: nothing is counted backwards."""
    fleet = fleet_of_hosts

    def ask(query: str) -> list[dict[str, Any]]:
        text = query.replace("$__rate_interval", "1m")
        answer = json.loads(fleet.get(fleet.port["PROMETHEUS"], f"/api/v1/query?query={quote(text)}") or "{}")
        return answer.get("data", {}).get("result", [])

    killed, recycled = fleet.workers(1)[0], fleet.workers(2)[0]
    psutil.Process(killed).kill()
    psutil.Process(recycled).terminate()
    with Askers(fleet) as askers:
        until(lambda: killed not in fleet.workers(1) and recycled not in fleet.workers(2))
        new = {*fleet.workers(1), *fleet.workers(2)}
        until(lambda: new <= askers.workers.keys())
        deadline_s = time.monotonic() + PATIENCE_S
        silent = queries()
        while silent and time.monotonic() < deadline_s:
            time.sleep(1)
            silent = [query for query in silent if not ask(query)]
    assert silent == []
    served = ask("sum(increase(db_client_connection_use_time_seconds_count[5m]))")
    assert 0 < float(served[0]["value"][1]) < 100_000, "a counter that fell would have been taken for a new beginning"
    assert {each["metric"]["instance"] for each in ask("up{job='pooldemo'} == 1")} == {
        f"127.0.0.1:{fleet.port[name]}" for name in ("WEB1", "WEB2")
    }
    until(lambda: {each["metric"]["pid"] for each in ask("db_client_connection_max")} == {str(pid) for pid in new})


def test_the_rules_wake_people_when_they_should_and_only_then(promtool: str) -> None:
    command = [promtool, "test", "rules", str(ROOT / "deploy/prometheus/alerts.test.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
    tried = (ROOT / "deploy/prometheus/alerts.test.yml").read_text()
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        assert [rule["alert"] for rule in group["rules"] if f"alertname: {rule['alert']}\n" not in tried] == []


def test_the_board_counts_a_worker_once_however_many_databases_it_has(promtool: str, tmp_path: Path) -> None:
    """Each pool of each worker was a worker."""
    (panel,) = [each for each in json.loads(BOARD.read_text())["panels"] if each["title"] == "Workers"]
    series = [
        f'db_client_connection_max{{instance="a",pid="{pid}",db_client_connection_pool_name="{pool}"}}'
        for pid in (1, 2) for pool in ("default", "replica")
    ]  # fmt: skip
    two = {"labels": '{instance="a"}', "value": 2}
    test = {
        "interval": "5s",
        "input_series": [{"series": each, "values": "20x3"} for each in series],
        "promql_expr_test": [{"expr": panel["targets"][0]["expr"], "eval_time": "5s", "exp_samples": [two]}],
    }
    (tmp_path / "board.yml").write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", str(tmp_path / "board.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_has_a_place_for_each_panel_and_the_provisioned_source() -> None:
    board = json.loads(BOARD.read_text())
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/datasources/prometheus.yml").read_text())["datasources"]
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        across = range(place["x"], place["x"] + place["w"])
        own = {(x, y) for x in across for y in range(place["y"], place["y"] + place["h"])}
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == source["uid"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
