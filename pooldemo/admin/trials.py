"""Trials in the admin: a list, and a page that tells the course of each in figures and words."""

from typing import Any

from django.contrib import admin
from django.forms import Media
from django.http import HttpRequest, HttpResponse

from pooldemo import records
from pooldemo.admin.drawing import drawn
from pooldemo.admin.measured import Measured
from pooldemo.models import Trial
from pooldemo.sweep.analyse.statistics import digits
from pooldemo.sweep.report import tables, trial_page
from pooldemo.sweep.report.figures import load_of
from pooldemo.sweep.report.moment import moment


@admin.register(Trial)
class TrialAdmin(Measured):
    """One stack at one size: its numbers, and the reasons to doubt them. Nobody changes a measurement, or takes one
    out of the sweep that a verdict was drawn from."""

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
    list_filter = ("stack", "sweep__workload", "size")
    list_select_related = ("sweep",)
    fieldsets = ()

    @property
    def media(self) -> Media:
        return Media(css={"all": ("pooldemo/admin.css",)})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Its course, its latencies, its conditions, in words: nothing of it can be changed."""
        row = self.get_object(request, object_id)
        shown: dict[str, Any] = {}
        if row is not None and self.has_view_permission(request, row):
            sweep = records.result(row.sweep)
            key = (row.stack, row.size, row.repeat, row.workers)
            trial = next(each for each in sweep.trials if (each.stack, each.size, each.repeat, each.workers) == key)
            shown = {
                "title": f"{trial.stack} at MAX_CONNS={trial.size}, repeat {trial.repeat}",
                "subtitle": None,
                "is_nav_sidebar_enabled": False,
                "trial": trial,
                "sweep_number": row.sweep_id,
                "load": load_of(sweep),
                "started_at": moment(trial.started_at),
                "headline": trial_page.headline(trial),
                "words": [] if trial.error else list(trial_page.words(trial, sweep)),
                "figures": drawn(trial_page.figures_of(trial), wide=False),
                "conditions": list(tables.conditions_of(sweep)),
            }
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

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
        return (
            "" if trial.peak_connections is None else f"{trial.peak_connections} of {trial.size * trial.sweep.workers}"
        )

    @admin.display(description="warnings")
    def doubts(self, trial: Trial) -> str:
        return trial.error or ", ".join(warning["code"] for warning in trial.warnings)
