"""The end of the stack: a view that recurses without end may come to it anywhere."""

from collections.abc import Callable


def deeper(calls: int, work: Callable[[], None]) -> None:
    """Do `work` after so many calls more."""
    if calls:
        deeper(calls - 1, work)
    else:
        work()


def most_calls() -> int:
    """How many calls can follow here, each in the one before."""
    try:
        return 1 + most_calls()
    except RecursionError:
        return 1
