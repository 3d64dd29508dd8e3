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
from pooldemo.sweep.report import answer, tables, trial_page, words
from pooldemo.sweep.report.figures import load_of
from pooldemo.sweep.report.moment import moment


@admin.register(Trial)
class TrialAdmin(Measured):
    """One stack at one size: its numbers, and the reasons to doubt them. Nobody changes a measurement, or takes one
    out of the sweep that a verdict was drawn from."""

    list_display = ("what", "sweep_id", "throughput", "percentiles", "opened", "failures", "doubts")
    list_display_links = ("what",)
    list_filter = ("stack", "sweep__workload", "size")
    fieldsets = ()

    @property
    def media(self) -> Media:
        return Media(css={"all": ("pooldemo/admin.css",)})

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Without what no list shows, and is ten times as large as the rest."""
        changes = super().get_changelist_instance(request)
        changes.result_list = changes.result_list.defer("latencies", "per_second", "failures_per_second", "waits", "io")
        return changes

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Its course, its latencies, its conditions, in words: nothing of it can be changed."""
        row = self.get_object(request, object_id)
        shown: dict[str, Any] = {"subtitle": None, "is_nav_sidebar_enabled": False}
        if row is not None and self.has_view_permission(request, row):
            try:
                shown |= _shown(row)
            except records.Unreadable as error:
                shown |= {"title": str(row), "unreadable": error}
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="trial", ordering="stack")
    def what(self, trial: Trial) -> str:
        return str(trial)

    @admin.display(description="requests/s", ordering="rps")
    def throughput(self, trial: Trial) -> str:
        return digits(trial.rps)

    @admin.display(description="p50, p95, p99 ms", ordering="p95_ms")
    def percentiles(self, trial: Trial) -> str:
        return ", ".join(map(digits, (trial.p50_ms, trial.p95_ms, trial.p99_ms)))

    @admin.display(description="connections, of allowed", ordering="peak_connections")
    def opened(self, trial: Trial) -> str:
        return "" if trial.peak_connections is None else f"{trial.peak_connections} of {trial.size * trial.workers}"

    @admin.display(description="warnings")
    def doubts(self, trial: Trial) -> str:
        return trial.error or ", ".join(
            str(each["code"]) for each in trial.warnings if isinstance(each, dict) and "code" in each
        )


def _shown(row: Trial) -> dict[str, Any]:
    """What its page shows."""
    sweep = records.alone(row)
    (trial,) = sweep.trials
    return {
        "title": str(trial.key).replace(" at ", " at MAX_CONNS=", 1),
        "trial": trial,
        "sweep_number": row.sweep_id,
        "load": load_of(sweep),
        "started_at": moment(trial.started_at),
        "headline": answer.unbroken(trial_page.headline(trial)),
        "told": [] if trial.error else list(trial_page.words(trial, sweep)),
        "words": words.of_plans(sweep.plan).items(),
        "figures": drawn(trial_page.figures_of(trial), wide=False),
        "conditions": list(tables.conditions_of(sweep)),
    }
