"""Whatever happens, in whatever order, the pool's invariants hold after each step."""

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import PoolMachine


def test_it_keeps_its_invariants_whatever_happens():
    run_state_machine_as_test(PoolMachine, settings=settings.get_profile("pool"))
