"""What computes for seconds stops nobody else."""

import contextlib
import io
import time

import gevent
import pytest

from pooldemo.postgresql.aside import aside

from .elsewhere import patched
from .site import Site


@patched
def test_others_run_while_one_computes(site: Site) -> None:
    """A page of thousands of trials stopped its worker for twenty seconds, the health check too."""
    came: list[int] = []

    def compute() -> bool:
        end_s = time.monotonic() + 20
        while not came and time.monotonic() < end_s:
            pass
        return bool(came)

    gevent.spawn(came.append, 1)
    assert aside(compute)


@patched
def test_it_raises_what_the_work_raised(site: Site) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as printed, pytest.raises(ZeroDivisionError):
        aside(divmod, 1, 0)
    assert printed.getvalue() == ""


def test_with_plain_threads_it_is_a_call() -> None:
    assert aside(divmod, 7, 2) == (3, 1)
