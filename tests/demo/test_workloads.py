"""The workloads: on a session that only notes, and through Django's test client."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from pooldemo.demo import views
from pooldemo.monitor.views import Pass
from pooldemo.sweep import workloads
from pooldemo.sweep.workloads import READ_SQL, ROUNDS_PER_MS, ROWS, WORKLOADS, WRITE_SQL, BadParameter, milliseconds


class Notes:
    """A session that writes down what it is asked to do."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self.lines.append((sql, tuple(parameters)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.lines.append(("BEGIN",))
        yield
        self.lines.append(("COMMIT",))

    def think(self, seconds: float) -> None:
        self.lines.append(("think", seconds))


def notes_of(name: str, **parameters: float) -> list[tuple[Any, ...]]:
    notes, workload = Notes(), WORKLOADS[name]
    workload.perform(notes, **{**workload.parameters, **parameters})
    return notes.lines


def test_its_cpu_work_is_a_count_that_only_ms_decides() -> None:
    assert notes_of("cpu", ms=10) == notes_of("cpu", ms=10) == [(workloads.CPU_SQL, (10 * ROUNDS_PER_MS,))]


def test_it_keeps_the_hot_row_locked_while_it_sleeps() -> None:
    update, sleep = (WRITE_SQL, (workloads.HOT_ROW,)), (workloads.SLEEP_SQL, (0.02,))
    assert notes_of("lock", ms=20) == [("BEGIN",), update, sleep, ("COMMIT",)]


def test_it_thinks_inside_the_transaction() -> None:
    query, think = (workloads.SLEEP_SQL, (0.005,)), ("think", 0.03)
    assert notes_of("hold", query_ms=5, think_ms=30) == [("BEGIN",), query, think, ("COMMIT",)]


def test_it_thinks_outside_of_a_transaction_where_it_is_told_to() -> None:
    assert notes_of("think") == [(workloads.SLEEP_SQL, (0.005,)), ("think", 0.05)]


def test_it_reads_only_rows_that_are_there() -> None:
    for _ in range(200):
        [(_sql, (first, last))] = notes_of("read")
        assert 1 <= first <= last <= ROWS
        assert last - first + 1 == workloads.READ_ROWS


def test_it_asks_nothing_for_nodb() -> None:
    assert notes_of("nodb") == []


@pytest.mark.parametrize("name", WORKLOADS)
def test_it_uses_the_defaults_where_a_parameter_is_missing(name: str) -> None:
    assert WORKLOADS[name].parse([]) == WORKLOADS[name].parameters


@pytest.mark.parametrize("text", ["abc", "-1", "nan", "inf", "-inf", "1e9", "60000.1", "", "1_000", "٣", "0x10", "1,5"])
def test_it_refuses_what_is_no_length(text: str) -> None:
    with pytest.raises(BadParameter) as refusal:
        milliseconds("ms", text)
    assert f"ms={text}:" in str(refusal.value)
    assert "0 to 60000" in str(refusal.value)


@pytest.mark.parametrize(("text", "ms"), [("0", 0), ("60000", 60000), ("1e3", 1000), ("0.5", 0.5), (" 7 ", 7)])
def test_it_takes_any_length_up_to_a_minute(text: str, ms: float) -> None:
    assert math.isclose(milliseconds("ms", text), ms)


@pytest.mark.django_db
@pytest.mark.parametrize("name", WORKLOADS)
def test_it_answers_with_its_name_its_times_and_its_process(client: Client, name: str) -> None:
    parameters = dict.fromkeys(WORKLOADS[name].parameters, 2)
    response = client.get(f"/{name}/", parameters)
    answer = response.json()
    assert (response.status_code, answer["workload"]) == (200, name)
    assert set(answer) == {"workload", "wait_ms", "query_ms", "pid"}
    assert answer["query_ms"] > 0 if name != "nodb" else answer["query_ms"] == 0
    wait, hold, query = response["Server-Timing"].split(", ")
    assert (wait, query) == (f"wait;dur={answer['wait_ms']:.3f}", f"query;dur={answer['query_ms']:.3f}")
    assert (float(hold.removeprefix("hold;dur=")) > answer["query_ms"]) == (name != "nodb")
    assert response["X-Robots-Tag"] == "noindex, nofollow"
    assert reverse(name) == f"/{name}/"


class Clock:
    """The views' own, on which a millisecond of thinking lasts an hour, and of ours nothing: no query lasts so."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept_s += 3_600_000 * seconds

    def perf_counter(self) -> float:
        return time.perf_counter() + self.slept_s


HOUR_MS = 3_600_000


@pytest.mark.django_db
def test_it_counts_the_query_but_not_the_thinking(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "time", Clock())
    answer = client.get("/hold/?query_ms=5&think_ms=1").json()
    assert 5 <= answer["query_ms"] < HOUR_MS


@pytest.mark.django_db(transaction=True)
def test_it_tells_by_server_timing_whether_the_slot_is_held_while_it_thinks(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "time", Clock())
    without_work_ms = []
    for mode in ("request", "transaction"):
        connection.close()
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "POOL_MODE", mode)
        answer = client.get("/think/?query_ms=1&think_ms=1")
        hold_ms = float(answer["Server-Timing"].split("hold;dur=")[1].split(",")[0])
        without_work_ms.append(hold_ms - answer.json()["query_ms"])
    connection.close()
    assert without_work_ms[1] < HOUR_MS <= without_work_ms[0]


@pytest.mark.django_db
def test_it_sleeps_in_postgresql_for_ms(client: Client) -> None:
    assert client.get("/slow/?ms=30").json()["query_ms"] >= 30


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "given", "accepted"),
    [
        ("/slow/?ms=abc", "ms=abc", "0 to 60000"),
        ("/slow/?ms=-1", "ms=-1", "0 to 60000"),
        ("/slow/?ms=nan", "ms=nan", "0 to 60000"),
        ("/slow/?ms=inf", "ms=inf", "0 to 60000"),
        ("/slow/?ms=1e9", "ms=1e9", "0 to 60000"),
        ("/slow/?ms", "ms=", "0 to 60000"),
        ("/slow/?ms=1&ms=2", "ms=2", "once"),
        ("/slow/?sec=1", "sec=1", "accepted: ms"),
        ("/hold/?ms=1", "ms=1", "query_ms and think_ms"),
        ("/fast/?ms=1", "ms=1", "none"),
        ("/slow/?ms=%FF", "ms=", "0 to 60000"),
    ],
)
def test_it_says_what_was_given_and_what_is_accepted(client: Client, address: str, given: str, accepted: str) -> None:
    response = client.get(address)
    assert response.status_code == 400
    assert response.json()["error"] == "BadParameter"
    assert given in response.json()["message"]
    assert accepted in response.json()["message"]


@pytest.mark.parametrize("accept", ["*/*", "text/html,application/xhtml+xml"])
def test_it_takes_nothing_but_get(client: Client, accept: str) -> None:
    """A browser's form got an error of the site."""
    response = client.post("/write/", headers={"Accept": accept})
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")
    assert "it is asked for with GET alone" in response.content.decode()


@pytest.mark.django_db
def test_it_writes_one_row_for_each_write(client: Client) -> None:
    def written() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(value) FROM pooldemo_row")
            return int(cursor.fetchone()[0])

    before = written()
    for _ in range(3):
        client.get("/write/")
    client.get("/lock/?ms=0")
    assert written() == before + 4


@pytest.mark.django_db
@pytest.mark.parametrize(("sql", "parameters"), [(READ_SQL, (500, 519)), (WRITE_SQL, (500,))])
def test_its_table_is_large_enough_for_its_index(sql: str, parameters: tuple[int, ...]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        plan = json.dumps(cursor.fetchone()[0])
    assert "pooldemo_row_pkey" in plan
    assert "Seq Scan" not in plan


def test_it_is_off_where_the_site_has_a_name_and_says_how_to_switch_it_on(settings: Any) -> None:
    settings.WORKLOADS = False
    answer = Client().get("/nodb/")
    assert answer.status_code == 404
    assert answer.json()["error"] == "WorkloadsOff"
    assert "WORKLOADS=on" in answer.json()["message"]


def test_it_tells_of_its_pools_to_this_projects_commands_alone_where_others_reach_the_site(
    settings: Any, client: Client
) -> None:
    assert client.get("/pool/").status_code == 200
    settings.EXPOSED = True
    assert client.get("/pool/").status_code == 403
    assert client.get("/pool/", headers=Pass()).status_code == 200
