"""Locust's own page, as its user drives it: the form, START, Edit, STOP, and the tab "Pool"."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from locust_page import Page
from served import ROOT, Site, until

from pooldemo.sweep.workloads import WORKLOADS

LENGTHS = ("ms", "think_ms", "pause_ms", "pace_ms")
USERS = {"user_count": "3", "spawn_rate": "3"}


@pytest.fixture(scope="module")
def page(site: Site) -> Iterator[Page]:
    with Page(site.url) as page:
        yield page


@pytest.fixture
def idle(page: Page) -> Page:
    """The page with nothing running."""
    page.post("/stop")
    page.until(lambda stats: stats["state"] in ("ready", "stopped"))
    return page


@pytest.fixture(scope="module")
def distributed(site: Site) -> Iterator[Page]:
    with Page(site.url, "--processes", "2") as page:
        page.until(lambda stats: stats["worker_count"] == 2)
        yield page


def sees(page: Page, name: str) -> None:
    """Requests of that name go on, and nothing fails."""
    more = page.requests(name) + 3
    page.until(lambda stats: any(row["name"] == name and row["num_requests"] > more for row in stats["stats"]))
    assert page.stats()["errors"] == page.exceptions() == []


def test_it_starts_with_the_form_untouched(idle: Page) -> None:
    assert idle.start(pause_ms="")["success"]
    sees(idle, "slow")


def test_its_tab_asks_past_a_proxy_as_its_users_do(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with Page(site.url) as page:
        page.start(workload="fast", **USERS)
        until(lambda: any("Pending" in row for row in page.pool_rows()))


def test_it_starts_and_stops_twice(idle: Page) -> None:
    idle.start(ms="1")
    sees(idle, "slow")
    idle.post("/stop")
    before = idle.until(lambda stats: stats["state"] == "stopped")["stats"][-1]["num_requests"]
    assert idle.start(workload="fast", **USERS)["success"]
    sees(idle, "fast")
    assert idle.requests("slow") == 0, "a new start begins anew"
    assert before > 0


def test_it_runs_each_workload_and_changes_it_while_it_runs(idle: Page) -> None:
    assert idle.start(ms="2", think_ms="1", **USERS)["success"]
    for name in WORKLOADS:
        assert idle.edit(workload=name, ms="2", think_ms="1", **USERS)["success"]
        sees(idle, name)
    assert idle.edit(workload="mix", ms="2", think_ms="1", **USERS)["success"]
    before = {row["name"]: row["num_requests"] for row in idle.stats()["stats"]}
    idle.until(lambda stats: all(row["num_requests"] > before[row["name"]] for row in stats["stats"]))
    assert idle.stats()["errors"] == idle.exceptions() == []


def test_it_asks_for_the_length_of_an_edit(idle: Page) -> None:
    def mean_ms() -> float:
        return max((row["query_ms"] for row in idle.pool_rows()), default=0.0)

    idle.start(ms="1")
    until(lambda: 0 < mean_ms() < 100)
    idle.edit(ms="300")
    idle.post("/stats/reset")
    until(lambda: mean_ms() > 250)
    assert idle.exceptions() == []


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("given", ["abc", "-1", "nan", "inf", "1,5", "0x10", "1 0"])
def test_its_form_refuses_what_is_no_length(idle: Page, name: str, given: str) -> None:
    answer = idle.start(**{name: given})
    assert not answer["success"]
    assert f"{name}: '{given}' is no length, give milliseconds like 20 or 0.5, or nothing" == answer["message"]
    assert idle.stats()["state"] in ("ready", "stopped")


@pytest.mark.parametrize("given", ["0", "1", " 2.5 ", "1e1", ".5", ""])
def test_its_form_takes_what_is_one(idle: Page, given: str) -> None:
    assert idle.start(workload="nodb", **dict.fromkeys(LENGTHS, given))["success"]
    sees(idle, "nodb")


def test_its_form_refuses_other_workloads_and_hosts(idle: Page) -> None:
    assert "'nope' is not known" in idle.start(workload="nope")["message"]
    assert "'localhost:8000' is no address" in idle.start(host="localhost:8000")["message"]
    assert idle.stats()["state"] in ("ready", "stopped")


@pytest.mark.parametrize("name", ["user_count", "spawn_rate"])
@pytest.mark.parametrize("given", ["0", "-3", "nan", "many", ""])
def test_its_form_refuses_what_would_load_nothing(idle: Page, name: str, given: str) -> None:
    shown = idle.form()
    answer = idle.start(**{"ms": "77", name: given})
    assert not answer["success"]
    assert f"'{given}' is no number above 0" in answer["message"]
    assert idle.stats()["state"] in ("ready", "stopped")
    assert idle.form() == shown, "what is refused changes nothing"


def test_its_ratios_are_of_what_is_asked_for(idle: Page) -> None:
    def ratios() -> dict[str, float]:
        found = json.loads(idle.get("/tasks"))["total"]["Visitor"]["tasks"]
        return {name: task["ratio"] for name, task in found.items()}

    idle.start(workload="nodb")
    assert ratios() == {"nodb": 1.0}
    idle.edit(workload="mix")
    assert set(ratios()) == set(WORKLOADS)
    assert ratios()["read"] > ratios()["slow"]


def test_an_edit_of_the_users_keeps_the_rest_though_the_page_was_opened_anew(idle: Page) -> None:
    idle.start(workload="lock", ms="7")
    assert idle.edit(user_count="2")["success"]
    assert {name: idle.form()[name] for name in ("workload", "ms")} == {"workload": "lock", "ms": "7"}
    idle.post("/stats/reset")
    sees(idle, "lock")


def test_a_refused_edit_is_told_in_its_logs(idle: Page) -> None:
    idle.start(workload="nodb")
    idle.edit(ms="much")
    assert "ms: 'much' is no length" in idle.get("/logs")


def test_a_refused_edit_changes_nothing(idle: Page) -> None:
    idle.start(workload="nodb")
    sees(idle, "nodb")
    assert not idle.edit(workload="fast", ms="much")["success"]
    sees(idle, "nodb")
    assert idle.requests("fast") == 0


def listening(page: Page) -> list[Any]:
    return [each.laddr for each in psutil.Process(page.process.pid).net_connections() if each.status == "LISTEN"]


def test_it_listens_on_this_machine_alone(idle: Page) -> None:
    assert ("127.0.0.1", idle.port) in listening(idle)
    assert {address.ip for address in listening(idle)} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8000"},
        {"Origin": "https://other.example"},
        {"Origin": "null"},
        {"Host": "rebound.example"},
    ],
)
def test_it_obeys_no_page_of_another_site(idle: Page, headers: dict[str, str]) -> None:
    """A form there was enough to load whatever it named."""
    form = idle.form()
    with pytest.raises(AssertionError, match="A page of another site asked"):
        idle.post("/swarm", form, **headers)
    assert idle.stats()["state"] in ("ready", "stopped")


def test_beyond_this_machine_it_obeys_no_page_that_has_rebound_its_name(site: Site) -> None:
    """As in a container, which listens on every address of its own, and is published on loopback."""
    with Page(site.url, "--web-host", "0.0.0.0") as page:
        for known in ("127.0.0.1", "[::1]:8089", "localhost", "locust:8089", socket.gethostname()):
            page.get("/stats/requests", Host=known)
        with pytest.raises(AssertionError, match="A page of another site asked"):
            page.get("/stats/requests", Host="rebound.example:8089")  # of which browsers send no Sec-Fetch-Site


def test_it_is_opened_from_a_link_and_obeys_itself(idle: Page) -> None:
    idle.get("/", **{"Sec-Fetch-Site": "cross-site"})
    own = {"Sec-Fetch-Site": "same-origin", "Origin": idle.url}
    assert json.loads(idle.post("/swarm", idle.form({"workload": "nodb"}), **own))["success"]
    sees(idle, "nodb")


def test_whoever_reaches_it_names_no_file(idle: Page, tmp_path: Path) -> None:
    (precious := tmp_path / "precious").write_text("kept")
    posted = {"user_count": "1", "spawn_rate": "1", "host": idle.form()["host"], "timeline": str(precious)}
    answer = json.loads(idle.post("/swarm", posted))
    assert (answer["success"], answer["message"]) == (False, "timeline: give it on the command line")
    idle.post("/stop")
    assert precious.read_text() == "kept"


def test_it_shows_failures_where_nobody_answers(idle: Page) -> None:
    host = idle.form()["host"]
    assert idle.start(host="http://127.0.0.1:9")["success"]
    found = idle.until(lambda stats: stats["errors"])
    assert found["errors"][0]["name"] == "slow (failed)"
    assert "ConnectionRefusedError" in found["errors"][0]["error"]
    idle.post("/stop")
    idle.start(host=host)


def test_it_resets_the_statistics(idle: Page) -> None:
    idle.start(workload="nodb", pace_ms="60000")
    idle.edit(workload="slow", ms="1", **USERS)
    until(idle.pool_rows)
    idle.post("/stop")
    idle.until(lambda stats: stats["state"] == "stopped")
    idle.post("/stats/reset")
    until(lambda: idle.pool_rows() == [] and idle.requests() == 0)


def test_its_workers_come_to_this_machine_alone(distributed: Page) -> None:
    """Who comes as one is told what is sent with each request, a session's cookie among it."""
    assert {address.ip for address in listening(distributed)} == {"127.0.0.1"}


def test_as_many_workers_as_have_come_share_the_arrivals(site: Site) -> None:
    """Each of them asked for all, unless their number was known before."""
    here = ("--master-bind-host", "127.0.0.1")
    with ExitStack() as stop, Page(site.url, "--master", *here, "--arrivals", "40") as page:
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py"), "--worker"]
        for more in ([], ["--processes", "2"]):
            worker = subprocess.Popen([*command, "--master-port", page.meeting, *more], start_new_session=True)
            stop.callback(worker.wait)
            stop.callback(worker.terminate)
        page.until(lambda stats: stats["worker_count"] == 3)
        began_s = time.monotonic()
        assert page.start(workload="nodb", user_count="8", spawn_rate="8", pause_ms="")["success"]
        page.until(lambda _: page.requests("nodb") >= 120)
        assert page.requests("nodb") <= 40 * (time.monotonic() - began_s) + 2


def test_its_workers_do_what_the_form_says(distributed: Page) -> None:
    assert distributed.start(workload="hold", ms="2", think_ms="", user_count="4", spawn_rate="4")["success"]
    sees(distributed, "hold")
    assert distributed.edit(workload="fast", user_count="4", spawn_rate="4")["success"]
    sees(distributed, "fast")
    assert not distributed.edit(ms="much")["success"]
    distributed.post("/stop")
    distributed.until(lambda stats: stats["state"] == "stopped")
    assert distributed.start()["success"]
    sees(distributed, "slow")


def test_it_hears_of_the_pool_from_its_workers(distributed: Page) -> None:
    distributed.start(ms="5", user_count="4", spawn_rate="4")
    rows = until(lambda: [row for row in distributed.pool_rows() if row["workload"] == "slow" and "Active" in row])
    assert rows[0]["query_ms"] > 0


def test_it_starts_by_itself(site: Site) -> None:
    with Page(
        site.url, "--autostart", "--workload", "nodb", "-u", "2", "--exclude-tags", "sleeps", "--ms", "1",
        "--pause-ms", "20",
    ) as page:  # fmt: skip
        sees(page, "read")
        assert page.requests("slow") == page.requests("hold") == 0
        page.post("/stop")
        page.until(lambda stats: stats["state"] == "stopped")
        page.start()
        sees(page, "cpu")


def test_it_shows_wait_query_and_the_rest_of_each_workload_and_the_pools_now(idle: Page) -> None:
    idle.start(ms="5", **USERS)
    [row] = until(lambda: [row for row in idle.pool_rows() if row["size"] and "Active" in row])
    assert row["workload"] == "slow"
    assert row["query_ms"] >= 5
    assert row["wait_ms"] >= 0
    assert row["rest_ms"] > 0
    assert row["requests"] > 0
    assert row["since"].count(":") == 2
    assert row["Max"] == int(row["size"])
    assert row["Active"] + row["Idle"] <= row["Max"]
    assert row["Pending"] >= 0
    assert '"extended_tabs": [{"key": "pool", "title": "Pool"}]' in idle.get("/")


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[str]]]:
    """A site that knows nothing of us: its address, and what it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_it_does_not_disturb_a_site_that_sends_no_server_timing(stranger: tuple[str, list[str]]) -> None:
    host, asked = stranger
    with Page(host, "--autostart", "-u", "4", "-r", "4", "--ms", "5", "--pause-ms", "100") as page:
        page.until(lambda stats: stats["stats"][-1]["num_requests"] > 90)  # for two seconds
        assert page.pool_rows() == []
        assert page.stats()["errors"] == []
    assert set(asked) == {"/slow/?ms=5"}
