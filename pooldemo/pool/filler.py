"""Fillers: threads, or greenlets under the monkey patch, that give slots a connection. Who asks for one never connects.

A filler waits until the server has let go of a slot's last connection, and for as long as a server that is down is to
be left alone. Then it connects, or asks a doubtful connection, and the slot goes to whoever is first in the line by
then. Who gave up meanwhile has nothing to undo.
"""

import functools
from typing import TYPE_CHECKING

from . import report
from .errors import PoolError
from .slot import Claim

if TYPE_CHECKING:
    from .pool import Pool

_LEAST_LIMIT_S = 10.0  # for a connect, whatever POOL_TIMEOUT is: who comes next is glad of a slow one
_LIMIT_S = 30.0  # when POOL_TIMEOUT=None: a connect that hangs must not keep its slot for ever
_LONGEST_LOOK_S = 0.02  # between two looks whether a closed connection is gone
_TELL_AFTER_S = 60.0  # that a server does not let go of one: most take a tenth of a second


def call(pool: "Pool") -> None:
    """Start a filler if there is work for one. Does not switch."""
    slots = pool.slots
    started = False
    try:
        work = functools.partial(fill_in_background, pool)
        if slots.call_filler(work):
            pool.start(work)
        started = True
    except RuntimeError:  # the interpreter is ending, or there are too many threads
        pass
    finally:
        if not started:
            slots.ask_to_fill()


def look_for_the_gone(pool: "Pool") -> bool:
    """See which closed connections their server has let go of; whether it did of any. Switches in log handlers only."""
    found = False
    for slot in list(pool.slots.unready):
        leaving = slot.leaving
        if leaving is not None and pool.connector.gone(leaving):
            pool.slots.depart(slot, leaving)
            found = True
        elif leaving is not None and not slot.told and pool.clock() - slot.left_at >= _TELL_AFTER_S:
            slot.told = True
            report.tell_of_leaving(pool, slot, leaving)
    return found


def fill_in_background(pool: "Pool") -> None:
    """What a filler does. Blocks. Whatever stops it, one waiter learns of it."""
    try:
        fill(pool)
    except BaseException as stopped:
        error = PoolError(f"connecting was stopped by {stopped!r}")
        error.__cause__ = stopped
        pool.slots.failed(Claim(), error, False, False, 0.0, 0.0)


def fill(pool: "Pool") -> None:
    """Give slots a connection, one after the other, as long as there is a want of it. Blocks."""
    while _fill_one(pool, Claim()):
        pass


def _fill_one(pool: "Pool", filler: Claim) -> bool:
    """Whether to go on."""
    slots = pool.slots
    try:
        looks = 0
        while pause_s := slots.claim_unready(filler, pool.clock()):
            if not look_for_the_gone(pool):
                looks = min(looks + 1, 10)  # the pause has long been the longest then
                pool.ended.wait(max(pause_s, min(0.001 * 2**looks, _LONGEST_LOOK_S)))
        if filler.slot is None:
            return False
        call(pool)  # while this one works
        return _connect(pool, filler)
    except BaseException:
        if filler.slot is not None and filler.slot.holder is filler:
            pool.discard(filler.slot)  # stopped in the midst of asking, say: who knows what state it is in
        raise
    finally:
        slots.dismiss(filler)
        pool.put(filler, filled=True)


def _connect(pool: "Pool", filler: Claim) -> bool:
    generation = pool.slots.generation  # read first: what the connector of before opens is old
    slot, slots, connector, options = filler.slot, pool.slots, pool.connector, pool.options
    limit_s = max(_LIMIT_S if options.pool_timeout is None else options.pool_timeout, _LEAST_LIMIT_S)
    if slot.connection is not None:
        if pool.clock() < slot.expires_at and connector.ping(slot.connection, limit_s):
            pool.put(filler, fresh=True, filled=True)
            return True
        slots.stats.lost += 1
        pool.discard(slot)
        return True
    started_at = pool.clock()
    slots.stats.connects += 1
    try:
        connection = slot.leaving = connector.new()
        connector.open(connection, limit_s)
        now = pool.clock()
        lifetime_s = options.max_lifetime * (1 - 0.1 * pool.spread()) or float("inf")
        slots.connected(filler, connection, generation, now + lifetime_s, now - started_at)
    except BaseException as error:
        slots.stats.connect_errors += 1
        pool.discard(slot)  # before anybody hears of it
        if not isinstance(error, Exception):
            raise
        return _tell(pool, filler, error)
    pool.put(filler, fresh=True, filled=True)
    return True


def _tell(pool: "Pool", filler: Claim, error: Exception) -> bool:
    first = not any(pool.slots.stats.connect.counts)
    transient = isinstance(error, pool.connector.errors) and pool.connector.is_transient(error, first=first)
    full = transient and pool.connector.is_full(error)
    go_on = pool.slots.failed(filler, error, transient, full, pool.clock(), pool.spread())
    if full:
        report.tell_of_refusal(pool, error)
    if go_on:
        return True
    if pool.options.min_conns:
        report.log(f"MIN_CONNS: {pool!r} cannot connect ahead: {error}")
    return False
