"""What a pool knows of its server: it answers, or is down since when and why. Changed under the pool's lock."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0  # between two attempts: doubles, spread over half its length


class Server:
    """While it is down one filler at a time asks it, with growing pauses; then connects come as a slow start."""

    def __init__(self) -> None:
        self.failure: Exception | None = None  # the last failed connect, while it is down
        self.since = 0.0  # its last sign of life
        self.told_at = float("-inf")  # that it takes no more connections
        self.probe_at = 0.0  # not to be asked before
        self.limit = float("inf")  # fillers at once
        self._pause_s = FIRST_PAUSE_S

    def failed(self, error: Exception, now: float, spread: float) -> None:
        """A connect failed in a way that may pass. `spread`, in [0, 1), keeps processes from asking all at once."""
        if self.failure is None:
            self.since = now
            self._pause_s = FIRST_PAUSE_S
        self.probe_at = now + self._pause_s * (0.5 + 0.5 * spread)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.limit = 1.0
        self.failure = error

    def answered(self, size: int) -> None:
        """A connect worked: 2, 4, 8 ... may be tried at once, until there is no limit again."""
        self.failure = None
        if self.limit != float("inf"):
            self.limit = self.limit + 1 if self.limit < size else float("inf")

    def is_left_alone(self, now: float) -> bool:
        """Whether it is down, and not to be asked yet."""
        return self.failure is not None and now < self.probe_at

    def is_hopeless(self, timeout: float | None, now: float) -> bool:
        """Whether it is down for longer than a quarter of the time that a waiter has."""
        return timeout is not None and now - self.since >= timeout / 4
