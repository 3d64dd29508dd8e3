"""What queueing theory says about a pool: the bound that no size can beat, and what a measurement leaves unexplained.
Pure.

Little's law (Little 1961): things in a system = arrivals a second x seconds each stays. Of a pool: slots in use =
throughput x hold. Of the whole: users = throughput x (response + think). Everything here is that law, solved for
another letter: X throughput, S seconds a slot is *held* (not: the query's), Z seconds a user thinks between requests,
U users, N slots of all workers.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """The most requests a second that a closed loop can get, and which of `users`, `slots` or `rate` sets it."""

    rps: float
    by: str


def bound(
    size: int, workers: int, users: int, hold_ms: float, think_ms: float = 0.0, rate: float | None = None
) -> Bound:
    """X <= min(U / (Z + S), N / S): asymptotic bounds of a closed system (Denning and Buzen 1978), N = size x workers.

    `rate` is the wanted arrival rate, if there is one: then no more than that arrives. `hold_ms` must be above 0.
    """
    if hold_ms <= 0:
        raise ValueError(f"bound takes hold_ms above 0, not {hold_ms!r}; without a measured hold there is no bound")
    hold_s, think_s = hold_ms / 1000, think_ms / 1000
    bounds = [Bound(users / (think_s + hold_s), "users"), Bound(size * workers / hold_s, "slots")]
    if rate is not None:
        bounds.append(Bound(rate, "rate"))
    return min(bounds, key=lambda each: each.rps)


def residual(rps: float, response_ms: float, users: int, think_ms: float = 0.0) -> float:
    """|U - X (R + Z)| / U: the share of users that Little's law cannot find. Above a few percent something was not
    measured."""
    return abs(users - rps * (response_ms + think_ms) / 1000) / users


def gap(rps: float, bound_rps: float) -> float:
    """How far throughput stays below its bound, relative; below 0 when it beats it, which only an error of
    measurement can do."""
    return 1 - rps / bound_rps


def users_for(slots: int, hold_ms: float, think_ms: float = 0.0) -> int:
    """Users that it takes to keep every slot busy twice over, so that the knee is the pool's and not theirs."""
    return max(2, round(2 * slots * (hold_ms + think_ms) / hold_ms)) if hold_ms > 0 else 2 * slots


def sizes_within(sizes: Iterable[int], workers: int, connections: int) -> tuple[int, ...]:
    """Those sizes at which all workers together fit into the server's `connections` (0: not known, all of them do)."""
    return tuple(size for size in sizes if not connections or size * workers <= connections)
