"""Sweeps that were never run: trials whose truth is known, to hold verdicts against."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.verdicts.truth import POWERS, Curve
from pooldemo.sweep.analyse.judge import judge
from pooldemo.sweep.facts import Conditions, Plan, TrialResult, Verdict

CONDITIONS = Conditions(cpus=2, max_connections=1000, reserved_connections=3, room=997)


def trials_of(
    curve: Curve, sizes: Sequence[int] = POWERS, repeats: int = 3, noise: float = 0.03, seed: int = 0, **fields: Any
) -> tuple[TrialResult, ...]:
    """One trial for each size and repeat, with normal noise. A field may be a value or a function of the size."""
    chance = random.Random(seed)
    return tuple(
        TrialResult(
            stack="pooldemo",
            size=size,
            repeat=repeat,
            rps=max(1e-9, curve(size) * chance.gauss(1, noise)),
            requests=1000,
            **{name: value(size) if callable(value) else value for name, value in fields.items()},
        )
        for repeat in range(1, repeats + 1)
        for size in sizes
    )


def verdict_of(
    curve: Curve, *, plan: Plan | None = None, conditions: Conditions = CONDITIONS, **options: Any
) -> Verdict:
    """What is said of one synthetic sweep of a single stack with more users than slots."""
    trials = trials_of(curve, **options)
    measured = tuple(sorted({each.size for each in trials}))
    return judge(plan or Plan(users=1000, sizes=measured), trials, conditions)[0]


def verdicts_of(curve: Curve, sweeps: int = 300, **options: Any) -> Counter[tuple[str, int | None]]:
    """How often each (shape, size) was said over so many sweeps."""
    return Counter(
        (each.shape, each.max_conns) for each in (verdict_of(curve, seed=n, **options) for n in range(sweeps))
    )
