"""A random load, a second long; longer with POOL_STRESS_S=1800, again the same with POOL_STRESS_SEED=..."""

import logging
import os
import random
import sys

from .stress import stress
from .world import eventually


def test_it_keeps_every_promise_under_a_random_load(capsys, monkeypatch):
    seed = int(os.environ.get("POOL_STRESS_SEED") or random.SystemRandom().randrange(10**6))
    told = []
    monkeypatch.setattr("pooldemo.pool.report.tell", lambda *words: told.append(words))
    logger = logging.getLogger("pooldemo.pool.upkeep")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        counts = stress(seed, float(os.environ.get("POOL_STRESS_S") or 1))
        # Whoever takes a leak back tells of it a moment after it is counted; the next test wants no word of it.
        eventually(lambda: len(told) == counts["leaked"], "each leak is told")
    finally:
        logger.setLevel(level)
    assert counts["served"] > 100
    if "POOL_STRESS_S" in os.environ:
        with capsys.disabled():
            sys.stdout.write(f"\nseed {seed}: {dict(counts)}\n")
