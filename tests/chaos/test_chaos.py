"""The quickest faults of `make chaos`: real PostgreSQL, gunicorn and Locust, and what must hold afterwards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from own_folders import folder_of_servers

from benchmarks.chaos import outcome, scene
from benchmarks.chaos.faults import FAULTS, TERMINATE_SQL, hang_up, stop_logins, terminate
from benchmarks.chaos.outcome import Request
from benchmarks.chaos.scene import Fault, Scene
from pooldemo.embedded import EmbeddedPostgres
from pooldemo.sweep.measure.process import Ledger


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[Any]:
    """A server that may be harmed, with the ledger in it."""
    with folder_of_servers("pooldemo chäos ") as folder:
        server = EmbeddedPostgres(folder / ".local", tell=lambda sentence: None)
        server.ensure()
        scene.prepare(server)
        yield server


def ended_and_hung_up(scene: Scene) -> None:
    """Every connection is terminated, and clients hang up in mid-request."""
    terminate.happen(scene)
    hang_up(scene, 1.0)


def test_it_keeps_cap_slots_and_acknowledged_rows_when_connections_end_and_clients_hang_up(
    own_postgresql: Any, tmp_path: Path
) -> None:
    """And no request fails that could be saved: a second look, since whose query had begun is told from two clocks."""
    fault = Fault("both", "", ended_and_hung_up)
    looks: list[outcome.Outcome] = []
    while len(looks) < 2 and (not looks or looks[-1].avoidable):
        looks.append(scene.run(fault, "pooldemo", own_postgresql, Ledger(tmp_path), before_s=0.5, after_s=0.5))
        assert (looks[-1].above, looks[-1].lost, looks[-1].wrong, looks[-1].running) == (0, 0, 0, 0), looks
    assert looks[-1].avoidable == 0, looks
    assert looks[-1].acknowledged > 0
    assert looks[-1].begun > 0, f"no query was hit: {looks}"


def slow_and_new_password(scene: Scene) -> None:
    """Logins take a second, and need another password than the one before; clients give up in the middle of them."""
    assert scene.password
    with scene.passwords_asked(), scene.sql() as cursor:
        try:
            cursor.execute("ALTER SYSTEM SET post_auth_delay = 1")
            cursor.execute("SELECT pg_reload_conf()")
            scene.password.write_text("another")
            cursor.execute("ALTER ROLE pooldemo PASSWORD 'another'")
            cursor.execute(TERMINATE_SQL, [f"{scene.name}/", 1000])
            stop_logins(scene, cursor, 4.0)
        finally:
            cursor.execute("ALTER SYSTEM RESET post_auth_delay")
            cursor.execute("SELECT pg_reload_conf()")


def test_it_keeps_the_cap_when_slow_logins_are_given_up_and_the_password_is_new(
    own_postgresql: Any, tmp_path: Path
) -> None:
    fault = Fault("slow", "", slow_and_new_password, logins=True, password=True)
    look = scene.run(fault, "pooldemo", own_postgresql, Ledger(tmp_path), before_s=0.5, after_s=0.5)
    assert (look.above, look.lost, look.wrong, look.running) == (0, 0, 0, 0), look
    assert look.acknowledged > 0


def test_it_does_not_take_the_superusers_logins_for_those_of_the_pool(own_postgresql: Any, tmp_path: Path) -> None:
    def ask_for_passwords(scene: Scene) -> None:
        for _ in range(100):
            with scene.passwords_asked(), scene.sql() as cursor:
                cursor.execute("SELECT")

    fault = Fault("asked", "", ask_for_passwords, logins=True)
    look = scene.run(fault, "pooldemo", own_postgresql, Ledger(tmp_path), before_s=0.5, after_s=0.5)
    assert look.above == 0, look


def test_it_loses_nothing_when_a_standby_takes_over(own_postgresql: Any, tmp_path: Path) -> None:
    fault = next(each for each in FAULTS if each.name == "promote")
    look = scene.run(fault, "pooldemo", own_postgresql, Ledger(tmp_path), before_s=0.5, after_s=0.5)
    assert (look.above, look.lost, look.wrong, look.running) == (0, 0, 0, 0), look
    assert look.acknowledged > 0


def test_it_excuses_a_failure_only_when_the_query_had_begun() -> None:
    log = b"99.9 [7] LOG:  statement: INSERT INTO chaos_ledger (id, part) SELECT 1, part FROM x\n"
    log += b"100.2 [8] FATAL:  terminating connection due to administrator command\n"

    def failed(number: int, **answer: float) -> Request:
        return Request(number, 99.0, 101.0, "503 DatabaseDown", answer)

    begun, on_its_way = failed(1), failed(2, backend=8, held_at_s=100.1)
    early = failed(3, backend=9, held_at_s=99.9)
    dead, without = failed(4, backend=9, held_at_s=100.1), failed(5)
    assert outcome.had_begun([begun, on_its_way, early, dead, without], log, 100.0) == [begun, on_its_way, early]


def test_it_knows_lost_doubled_and_half_rows() -> None:
    rows = {1: [1, 2], 2: [1], 3: [1, 2, 2], 4: [1, 2], 5: [2]}
    assert outcome.wrong_rows(rows, {1}) == 3
    assert outcome.wrong_rows(rows, {1, 2, 3, 4, 6}) == 4


def test_it_counts_who_hangs_as_failed() -> None:
    hung, young = Request(1, 90.0, None, ""), Request(2, 99.0, None, "")
    refused, fine = Request(3, 90.0, 91.0, "503 PoolTimeout"), Request(4, 90.0, 91.0, "ok")
    assert outcome.failures([hung, young, refused, fine], 100.0) == [hung, refused]
    assert outcome.kinds([hung, refused]) == {"hangs": 1, "503 PoolTimeout": 1}


@pytest.mark.parametrize(("gap", "full_s"), [((0, 0), 0.0), ((0, 3), 3.0), ((2, 4), 4.0), ((3, 11), None)])
def test_it_says_when_throughput_was_full_again(gap: tuple[int, int], full_s: float | None) -> None:
    """100 a second but for a gap; a second counts as full from 70% on, so it may begin 0.3 s before the gap ends."""
    ended_at_s = [at_s for at_s in (100 + each / 100 for each in range(1000)) if not gap[0] <= at_s - 100 < gap[1]]
    seen = outcome.full_again(ended_at_s, 100.0, 100.0, 110.0)
    assert (seen is None) if full_s is None else (seen is not None and full_s - 0.4 < seen <= full_s), seen
