"""What a fault did, from four witnesses: the users' requests, PostgreSQL's log, its connections, and the ledger. Pure.

A request has failed if it was answered with anything but 200, or not at all. It could not be saved if its query had
begun: PostgreSQL had logged its first statement, and nobody but the application may run that again; or it was on its
way, over a connection that lived when the request got it. Nor could it be saved if the fault ended gunicorn's workers
and nobody answered. Every other failure is one that a pool can avoid.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HANGS_S = 3.0  # unanswered for longer than this when the load ends: many times what a request takes
FULL = 0.7  # of the requests per second before the fault
WINDOW_S, STEP_S = 1.0, 0.1
BEGUN = re.compile(rb"INSERT INTO chaos_ledger \(id, part\) SELECT (\d+),")
ENDED = re.compile(rb"^([\d.]+) \[(\d+)\] FATAL:  terminating connection", re.MULTILINE)  # as scene.LOG_SQL has it
GONE = ("no answer: Conn", "no answer: BrokenPipe", "no answer: Remote", "no answer: HTTPConn", "no answer: OSError")


@dataclass(frozen=True)
class Request:
    """One request of a user, in seconds of the epoch; `ended_at_s` is None when it was not answered yet.

    `answer` is what the server said of a failure: a `message`, and, if it had a connection, since when (`held_at_s`)
    and to which process of PostgreSQL's (`backend`).
    """

    id: int
    sent_at_s: float
    ended_at_s: float | None
    outcome: str
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


@dataclass(frozen=True)
class Outcome:
    """What one fault did to one stack.

    `requests` counts those that ended after the fault's beginning, `failed` those of them that failed: `begun` with a
    query that had begun, `gone` with their worker, `refused` by a pool that sheds, the rest could have been avoided;
    `kinds` says how they ended.
    `lasted_s` is the fault itself, `full_s` the seconds from its beginning until requests were answered as fast as
    before (None: not while it was watched). `above` is the most connections that one worker had beyond its MAX_CONNS,
    for `above_s` seconds; `lost` the slots that could not be used afterwards, `running` the queries that PostgreSQL
    still worked on two seconds after the fault. `acknowledged` counts rows, of which `wrong` are missing, doubled or
    half there. `per_second` are the answers in each second, from two before the fault on.
    """

    fault: str
    stack: str
    requests: int
    failed: int
    begun: int
    gone: int
    refused: int
    kinds: Mapping[str, int]
    before_rps: float
    lasted_s: float
    full_s: float | None
    above: int
    above_s: float
    lost: int
    running: int
    acknowledged: int
    wrong: int
    notes: list[str] = field(default_factory=list)
    per_second: list[int] = field(default_factory=list)

    @property
    def avoidable(self) -> int:
        return self.failed - self.begun - self.gone - self.refused

    @property
    def kept(self) -> bool:
        """Whether the pool's promises hold: nobody failed who could be saved, the cap, every slot, every row."""
        return not (self.avoidable or self.above or self.lost or self.running or self.wrong)


@dataclass(frozen=True)
class Moments:
    """When a fault happened to a load, in seconds of the epoch; its rate is looked at for `before_s` before."""

    before_s: float
    began_at_s: float
    ended_at_s: float
    until_s: float


def outcome_of(
    fault: str,
    stack: str,
    requests: Sequence[Request],
    when: Moments,
    begun: Callable[[list[Request]], list[Request]],
    gone: Callable[[Request], bool],
    refused: Callable[[Request], bool],
    rows: Callable[[], Mapping[int, Sequence[int]]],
    notes: Sequence[str],
    **seen: Any,
) -> Outcome:
    """What the requests tell, beside what was `seen` of connections and slots. `begun` picks the failures that nobody
    could save; of the others `gone` and `refused` say what each is."""
    during = [each for each in requests if each.ended_at_s is None or each.ended_at_s >= when.began_at_s]
    failed = failures(during, when.until_s)
    lost = begun(failed)
    others = [each for each in failed if each not in lost]
    successes = [each.ended_at_s for each in requests if each.ok and each.ended_at_s is not None]
    before_rps = rate(successes, when.began_at_s - when.before_s, when.began_at_s)
    acknowledged = [each.id for each in requests if each.ok]
    return Outcome(
        fault=fault,
        stack=stack,
        requests=len(during),
        failed=len(failed),
        begun=len(lost),
        gone=sum(map(gone, others)),
        refused=sum(map(refused, others)),
        kinds=kinds(failed),
        before_rps=before_rps,
        lasted_s=round(when.ended_at_s - when.began_at_s, 1),
        full_s=full_again(successes, before_rps, when.began_at_s, when.until_s),
        acknowledged=len(acknowledged),
        wrong=wrong_rows(rows(), acknowledged),
        notes=[*notes, *sorted({each.answer["message"] for each in others if "message" in each.answer})[:3]],
        per_second=[
            round(rate(successes, when.began_at_s + second, when.began_at_s + second + 1))
            for second in range(-2, int(when.until_s - when.began_at_s))
        ],
        **seen,
    )


def failures(requests: Iterable[Request], until_s: float) -> list[Request]:
    """Those that were answered with an error, and those that hang when the load ends at `until_s`."""
    return [
        each
        for each in requests
        if (not each.ok if each.ended_at_s is not None else until_s - each.sent_at_s > HANGS_S)
    ]


def kind(request: Request) -> str:
    return request.outcome or "hangs"


GOODBYE_S = 0.05  # a backend logs its end, in whole milliseconds, before it tells the client: until then it looks alive


def had_begun(failed: Iterable[Request], log: bytes, fault_at_s: float) -> list[Request]:
    """Those whose query had begun, or was on its way over a connection that lived when they got it."""
    logged = {int(number) for number in BEGUN.findall(log)}
    ends_at_s = {int(backend): float(at_s) for at_s, backend in ENDED.findall(log)}

    def lived(answer: Mapping[str, Any]) -> bool:
        if "backend" not in answer:
            return False
        return bool(answer["held_at_s"] <= max(fault_at_s, ends_at_s.get(answer["backend"], 0) + GOODBYE_S))

    return [each for each in failed if each.id in logged or lived(each.answer)]


def kinds(failed: Iterable[Request]) -> dict[str, int]:
    return dict(Counter(map(kind, failed)).most_common())


def rate(ended_at_s: Sequence[float], from_s: float, until_s: float) -> float:
    """Successes per second between two times."""
    return sum(from_s <= each < until_s for each in ended_at_s) / (until_s - from_s)


def full_again(ended_at_s: Sequence[float], before_rps: float, began_at_s: float, until_s: float) -> float | None:
    """Seconds from `began_at_s` until a moment from which on no second had less than FULL of `before_rps`; 0 when
    none ever had, None when there is no such moment before `until_s`."""
    times = sorted(ended_at_s)
    steps = int((until_s - WINDOW_S - began_at_s) / STEP_S)
    thin = [
        step
        for step in range(steps + 1)
        if rate(times, began_at_s + step * STEP_S, began_at_s + step * STEP_S + WINDOW_S) < FULL * before_rps
    ]
    if not thin:
        return 0.0
    return None if thin[-1] == steps else round((thin[-1] + 1) * STEP_S, 1)


def wrong_rows(rows: Mapping[int, Sequence[int]], acknowledged: Collection[int]) -> int:
    """How many requests the ledger has wrong: acknowledged and not there exactly once, or there by half, or twice.

    `rows` are the parts by number; a request has parts 1 and 2.
    """
    lost = sum(sorted(rows.get(number, ())) != [1, 2] for number in acknowledged)
    other = set(rows) - set(acknowledged)
    return lost + sum(sorted(rows[number]) != [1, 2] for number in other)


def read(document: Mapping[str, Any]) -> list[Request]:
    """The requests of Locust's file."""
    return [Request(*row) for row in document["requests"]]
