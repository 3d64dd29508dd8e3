"""What a project with types of its own writes with the package's public names: `mypy --strict` takes it as it is."""

from typing import Any, assert_type

from pooldemo.pool import OptionError, Options
from pooldemo.postgresql import (
    ClientGone,
    DeadlineExceeded,
    DeadlineMiddleware,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    UnavailableMiddleware,
    deadline,
    ends_with_client,
    pools,
    priority,
    view_deadline,
)
from pooldemo.sweep import judge


@view_deadline(2)
@ends_with_client(False)
def view(number: int) -> str:
    with deadline(1.5) as limit, priority("low"):
        assert_type(limit.left_s(), float)
    return str(number)


@priority("low")
def export(rows: list[int]) -> int:
    return len(rows)


assert_type(view(3), str)
assert_type(export([1]), int)
assert_type([pool.get_stats() for pool in pools()], list[dict[str, float]])
assert_type(judge({}, margin=3, slo="p95=300"), dict[str, Any])
assert_type(Options.read({"MAX_CONNS": 3}).max_conns, int)
ERRORS: tuple[type[Exception], ...] = (ClientGone, DeadlineExceeded, PoolClosed, PoolFull, PoolTimeout, OptionError)
MIDDLEWARE = [DeadlineMiddleware, UnavailableMiddleware]
