"""What sweeps found, in rows: one Sweep, a Trial for each of its trials, saved as it ends.

The columns are the facts of `pooldemo.sweep.facts` under the same names, so `records/rows.py` only copies. Lists and
histograms are JSON: they are read whole, or not at all.
"""

from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone


class StrictEncoder(DjangoJSONEncoder):
    """No infinity and no NaN: they are no JSON, and PostgreSQL would refuse the row after the measurement."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"allow_nan": False}))


class Sweep(models.Model):
    """A set of trials over sizes and repeats, and the verdicts drawn from them."""

    class Status(models.TextChoices):
        RUNNING = "running"
        INTERRUPTED = "interrupted"
        DONE = "done"
        FAILED = "failed"

    status = models.CharField(max_length=12, choices=Status, default=Status.RUNNING)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    stacks = models.JSONField(encoder=StrictEncoder, help_text="names of the servers under test")
    sizes = models.JSONField(encoder=StrictEncoder, help_text="MAX_CONNS of one worker, rising")
    workload = models.CharField(max_length=12)
    ms = models.FloatField(help_text="milliseconds asked of the workload")
    think_ms = models.FloatField(help_text="milliseconds that hold thinks inside its transaction")
    users = models.PositiveIntegerField()
    workers = models.PositiveIntegerField(help_text="worker processes of each server")
    duration_s = models.FloatField(help_text="seconds of each trial that count")
    warmup_s = models.FloatField(help_text="seconds before them that are dropped")
    warmup_cycles = models.FloatField(default=0, help_text="or so often as each user takes to be served once")
    window_cycles = models.FloatField(default=0, help_text="or so many times as long as its requests need")
    repeats = models.PositiveIntegerField()
    seed = models.BigIntegerField()
    slo = models.JSONField(encoder=StrictEncoder, default=list, blank=True)
    rate = models.FloatField(
        null=True, blank=True, help_text="wanted arrivals a second; empty: as fast as answers come"
    )
    processes = models.PositiveIntegerField(default=1, help_text="of the load generator")
    adaptive = models.BooleanField(default=False)
    blocks = models.JSONField(
        encoder=StrictEncoder, default=list, blank=True, help_text="sizes of each repeat; empty: all in each"
    )
    poisson = models.BooleanField(default=False, help_text="arrivals at random, not evenly spaced")
    search = models.BooleanField(default=False, help_text="for the highest rate that meets the SLO")
    splits = models.JSONField(
        encoder=StrictEncoder, default=list, blank=True, help_text="numbers of workers; empty: one alone"
    )
    margin = models.FloatField(default=5, help_text="percent that a size may carry less than the best")
    urls = models.JSONField(encoder=StrictEncoder, default=list, blank=True, help_text="asked for in turn")
    locustfile = models.TextField(blank=True, help_text="that said what users do")
    wsgi = models.TextField(blank=True, help_text="what gunicorn served")
    host = models.TextField(blank=True, help_text="the site that ran already")
    conditions = models.JSONField(encoder=StrictEncoder, default=dict)
    verdicts = models.JSONField(encoder=StrictEncoder, default=list, blank=True)
    notes = models.TextField(blank=True)
    shared = models.CharField(max_length=43, blank=True, editable=False, help_text="secret of the link to its report")

    class Meta:
        ordering = ("-id",)
        permissions = (("run_sweep", "Can start and stop sweeps on this machine"),)

    def __str__(self) -> str:
        stacks = ", ".join(map(str, self.stacks)) if isinstance(self.stacks, list) else self.stacks
        return f"sweep {self.pk}: {self.workload}, {stacks}"


class Trial(models.Model):
    """One stack at one size under one load for a fixed time; `error` tells why it failed, and is empty when it ran."""

    sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="trials")
    stack = models.CharField(max_length=200)
    size = models.PositiveIntegerField()
    repeat = models.PositiveIntegerField()
    workers = models.PositiveIntegerField(default=1)
    order = models.PositiveIntegerField(default=0, help_text="its place in the sweep, from 1; 0: not known")
    rps = models.FloatField("requests/s", default=0)
    p50_ms = models.FloatField(null=True, blank=True)
    p95_ms = models.FloatField(null=True, blank=True)
    p99_ms = models.FloatField(null=True, blank=True)
    max_ms = models.FloatField(null=True, blank=True)
    mean_ms = models.FloatField(null=True, blank=True)
    requests = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    failures_by_message = models.JSONField(encoder=StrictEncoder, default=dict, blank=True)
    wait_p50_ms = models.FloatField(null=True, blank=True)
    wait_p95_ms = models.FloatField(null=True, blank=True)
    wait_mean_ms = models.FloatField(null=True, blank=True)
    hold_mean_ms = models.FloatField(null=True, blank=True)
    query_mean_ms = models.FloatField(null=True, blank=True)
    peak_connections = models.PositiveIntegerField(null=True, blank=True)
    capped = models.BooleanField(default=True, help_text="whether the stack knows a limit")
    efficiency = models.FloatField(null=True, blank=True)
    uneven = models.FloatField(null=True, blank=True, help_text="between two workers' efficiencies, at most")
    per_second = models.JSONField(encoder=StrictEncoder, default=list, blank=True)
    failures_per_second = models.JSONField(encoder=StrictEncoder, default=list, blank=True)
    latencies = models.JSONField(encoder=StrictEncoder, default=list, blank=True)
    window_s = models.FloatField(default=0)
    overhead_s = models.FloatField(default=0)
    generator_cpu = models.FloatField(null=True, blank=True)
    worker_cpu = models.FloatField(null=True, blank=True)
    server_cpu = models.FloatField(null=True, blank=True)
    postgresql_cpu = models.FloatField(null=True, blank=True)
    other_cpu = models.FloatField(null=True, blank=True)
    steal_cpu = models.FloatField(null=True, blank=True, help_text="cores that the machine's host gave to others")
    throttled = models.FloatField(null=True, blank=True, help_text="share of a container's periods without quota left")
    waits = models.JSONField(encoder=StrictEncoder, default=dict, blank=True)
    io = models.JSONField(encoder=StrictEncoder, default=dict, blank=True, help_text="of PostgreSQL's client backends")
    load_before = models.FloatField(null=True, blank=True)
    probe_max_ms = models.FloatField(null=True, blank=True)
    late_p95_ms = models.FloatField(null=True, blank=True, help_text="how late requests of an open loop were sent")
    steps = models.JSONField(encoder=StrictEncoder, default=list, blank=True, help_text="rates that a search tried")
    target_rps = models.FloatField(null=True, blank=True)
    little_residual = models.FloatField(null=True, blank=True)
    started_at = models.CharField(max_length=40, blank=True)
    warnings = models.JSONField(encoder=StrictEncoder, default=list, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("id",)
        # --resume runs what is missing: a trial that was saved twice would count twice.
        constraints = (models.UniqueConstraint("sweep", "stack", "size", "repeat", "workers", name="one_trial_each"),)

    def __str__(self) -> str:
        workers = f" x {self.workers} workers" if self.workers > 1 else ""  # as facts.TrialPlan, which rows do not know
        return f"{self.stack} at {self.size}{workers}, repeat {self.repeat}"
