"""Ten minutes of the pools, for whoever looks late: every worker's, added up, and no longer than that."""

from pathlib import Path
from typing import Any

from pooldemo.monitor import history
from pooldemo.monitor.history import SPAN_S, Diary, read


def snapshot(at_s: float, pending: int, waits: list[int]) -> dict[str, Any]:
    stats = {"pool_size": 4, "pool_available": 1, "pool_max": 4, "requests_waiting": pending}
    histogram = {"bounds_s": [0.1, 1.0], "counts": waits, "total_s": 1.0}
    return {"pid": 1, "at_s": at_s, "pools": {"default": {"stats": stats, "histograms": {"wait": histogram}}}}


def test_it_adds_up_the_workers_and_keeps_the_most_of_each_step(tmp_path: Path) -> None:
    one, two = Diary(), Diary()
    for second, pending in enumerate((1, 9, 2)):
        one.note(tmp_path / "1.past", snapshot(1000 + second, pending, [second, 0, 0]))
        two.note(tmp_path / "2.past", snapshot(1000 + second, pending, [0, 10 * second, 0]))
    (moment,) = read(tmp_path, 1003)
    assert (moment.at_s, moment.active, moment.pending, moment.max) == (1000, 6, 18, 8)
    assert moment.wait_ms
    assert 900 < moment.wait_ms < 1000, "of the worker where it was longest, in that second alone"


def test_it_leaves_out_what_is_older_and_a_line_that_is_being_written(tmp_path: Path) -> None:
    diary = Diary()
    for second in (0, SPAN_S):
        diary.note(tmp_path / "1.past", snapshot(second, 1, [0, 0, 0]))
    with (tmp_path / "1.past").open("a") as file:
        file.write("650 3")
    assert [each.at_s for each in read(tmp_path, SPAN_S + 10)] == [SPAN_S]
    assert read(tmp_path, SPAN_S)[0].wait_ms is None


def test_it_counts_no_second_twice_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """The chart showed twice the slots that there are."""
    diary = Diary()
    for second in (100, 101, 102, 100, 101, 102):
        diary.note(tmp_path / "1.past", snapshot(second, 2, [0, 0, 0]))
    (moment,) = read(tmp_path, 103)
    assert (moment.active, moment.pending, moment.max) == (3, 2, 4)


def test_its_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(history, "SPAN_S", 10)
    diary, path = Diary(), tmp_path / "1.past"
    for second in range(100):
        diary.note(path, snapshot(second, 1, [0, 0, 0]))
        assert len(path.read_text().splitlines()) <= 20
    assert path.read_text().splitlines()[-1].startswith("99 ")


def test_it_tells_the_wait_of_each_step_alone(tmp_path: Path) -> None:
    diary = Diary()
    diary.note(tmp_path / "1.past", snapshot(100, 5, [0, 90, 0]))
    diary.note(tmp_path / "1.past", snapshot(110, 5, [90, 90, 0]))
    diary.note(tmp_path / "1.past", snapshot(120, 0, [90, 90, 0]))
    long, short, none = read(tmp_path, 121)
    assert long.wait_ms
    assert short.wait_ms
    assert (long.wait_ms > 900, short.wait_ms < 100, none.wait_ms) == (True, True, None)
