"""Sweeps and trials in the admin: lists that can be read, rows that are looked at and not made here.

A trial is a measurement: nobody adds or changes one. Of a sweep the notes alone are a person's.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from pooldemo.models import Sweep, Trial
from pooldemo.sweep.statistics import digits


class Measured(admin.ModelAdmin):
    """Rows that a sweep writes: not added here, and read-only but for `editable`."""

    editable: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields if field.name not in self.editable]


@admin.register(Sweep)
class SweepAdmin(Measured):
    """What was measured, and what to do about it."""

    editable = ("notes",)
    list_display = ("__str__", "status", "started_at", "load", "verdict")
    list_filter = ("status", "workload", "started_at")
    search_fields = ("notes",)
    date_hierarchy = "started_at"

    @admin.display(description="load")
    def load(self, sweep: Sweep) -> str:
        return f"{sweep.users} users, {sweep.ms:g} ms, {sweep.workers} x MAX_CONNS {', '.join(map(str, sweep.sizes))}"

    @admin.display(description="verdict")
    def verdict(self, sweep: Sweep) -> str:
        return "; ".join(
            f"{each['stack']}: {each['shape']}" + (f", MAX_CONNS={each['max_conns']}" if each["max_conns"] else "")
            for each in sweep.verdicts
        )


@admin.register(Trial)
class TrialAdmin(Measured):
    """One stack at one size: its numbers, and the reasons to doubt them."""

    list_display = (
        "sweep_id",
        "stack",
        "size",
        "repeat",
        "throughput",
        "p50",
        "p95",
        "p99",
        "opened",
        "failures",
        "doubts",
    )
    list_display_links = ("stack",)
    list_filter = ("stack", "size", "sweep")
    list_select_related = ("sweep",)

    @admin.display(description="requests/s", ordering="rps")
    def throughput(self, trial: Trial) -> str:
        return digits(trial.rps)

    @admin.display(description="p50 ms", ordering="p50_ms")
    def p50(self, trial: Trial) -> str:
        return digits(trial.p50_ms)

    @admin.display(description="p95 ms", ordering="p95_ms")
    def p95(self, trial: Trial) -> str:
        return digits(trial.p95_ms)

    @admin.display(description="p99 ms", ordering="p99_ms")
    def p99(self, trial: Trial) -> str:
        return digits(trial.p99_ms)

    @admin.display(description="connections: opened of allowed", ordering="peak_connections")
    def opened(self, trial: Trial) -> str:
        allowed = str(trial.size * trial.sweep.workers) if trial.capped else "any"
        return "" if trial.peak_connections is None else f"{trial.peak_connections} of {allowed}"

    @admin.display(description="warnings")
    def doubts(self, trial: Trial) -> str:
        return trial.error or ", ".join(warning["code"] for warning in trial.warnings)
