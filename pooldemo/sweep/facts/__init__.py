"""The facts of a sweep: what was planned, what one trial showed, what was concluded. Frozen, and free of behaviour.

Every other module of the sweep speaks in these: plan makes a `Plan`, trial a `TrialResult`, verdict a `Verdict`; the
reports and the rows in the database are made from them. Field names are the keys of `--json`. Nothing here decides,
measures or prints. Bare numbers are counts; `*_cpu` is in cores (1.0: one core busy all through the window).
"""

from pooldemo.sweep.facts.asked import MARGIN, OWN, Limit, Plan, TrialPlan
from pooldemo.sweep.facts.said import FORMAT, SHAPES, STATES, Check, Slo, SweepResult, Verdict
from pooldemo.sweep.facts.seen import Conditions, SizeResult, Step, TrialResult, Warning_

__all__ = [
    "FORMAT",
    "MARGIN",
    "OWN",
    "SHAPES",
    "STATES",
    "Check",
    "Conditions",
    "Limit",
    "Plan",
    "SizeResult",
    "Slo",
    "Step",
    "SweepResult",
    "TrialPlan",
    "TrialResult",
    "Verdict",
    "Warning_",
]
