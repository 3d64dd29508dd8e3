"""How the tests are dealt out to workers."""

import os
from pathlib import Path

import workers


def test_it_gives_each_process_a_number_of_its_own_and_a_dead_ones_again(tmp_path: Path) -> None:
    first, lock = workers.take_number(tmp_path)
    second, other = workers.take_number(tmp_path)
    os.close(lock)
    again, last = workers.take_number(tmp_path)
    for each in (other, last):
        os.close(each)
    assert (first, second, again) == (1, 2, 1)


def test_it_keeps_together_what_shares_processes() -> None:
    assert workers.room("tests/peers/test_seeds.py::test_x[a::b]") == workers.room("tests/peers/test_stacks.py::test_y")
    assert workers.room("tests/pool/test_cap.py::test_x[a::b]") == "tests/pool/test_cap.py"


def test_it_names_only_what_exists() -> None:
    root = Path(__file__).resolve().parents[1]
    for start in (*workers.TOGETHER, *workers.FIRST):
        assert list(root.glob(f"{start}*")), f"{start} moved: it has no place of its own any more"
