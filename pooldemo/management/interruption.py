"""How a command that takes minutes hears Ctrl-C: once to finish what it is at, twice to stop at once."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed


@contextmanager
def interruption(say: Callable[[str], None]) -> Iterator[list[int]]:
    """The signals to stop that came so far: the first one lets the trial end, the second raises KeyboardInterrupt."""
    signals: list[int] = []

    def take(number: int, _frame: object) -> None:
        signals.append(number)
        if len(signals) == 2:
            raise KeyboardInterrupt
        if len(signals) == 1:
            with contextlib.suppress(RuntimeError):  # it came in the middle of another print
                say("finishing this trial; once more to stop at once")

    # What nohup has made deaf stays so.
    with _given_to(take, *(each for each in STOPS if signal.getsignal(each) != signal.SIG_IGN)):
        yield signals


@contextmanager
def deaf() -> Iterator[None]:
    """No signal to stop is heard, by what is started here neither: what is stopped now would be left running."""
    with _given_to(signal.SIG_IGN, *STOPS):
        yield


@contextmanager
def _given_to(handler: Any, *numbers: int) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
