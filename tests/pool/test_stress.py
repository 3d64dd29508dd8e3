"""A random load, a second long; longer with POOL_STRESS_S=1800, again the same with POOL_STRESS_SEED=..."""

import logging
import os
import random
import sys
import warnings

from .stress import stress


def test_it_keeps_every_promise_under_a_random_load(capsys):
    seed = int(os.environ.get("POOL_STRESS_SEED") or random.SystemRandom().randrange(10**6))
    logger = logging.getLogger("pooldemo.pool.upkeep")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # its leaks are on purpose, and counted
            counts = stress(seed, float(os.environ.get("POOL_STRESS_S") or 1))
    finally:
        logger.setLevel(level)
    assert counts["served"] > 100
    if "POOL_STRESS_S" in os.environ:
        with capsys.disabled():
            sys.stdout.write(f"\nseed {seed}: {dict(counts)}\n")
