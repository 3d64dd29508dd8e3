"""The rows of sweeps and trials."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import pooldemo.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("pooldemo", "0001_row"),
    ]

    operations = [
        migrations.CreateModel(
            name="Sweep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("interrupted", "Interrupted"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                        ],
                        default="running",
                        max_length=12,
                    ),
                ),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "stacks",
                    models.JSONField(
                        encoder=pooldemo.models.StrictEncoder, help_text="names of the servers under test"
                    ),
                ),
                (
                    "sizes",
                    models.JSONField(
                        encoder=pooldemo.models.StrictEncoder, help_text="MAX_CONNS of one worker, rising"
                    ),
                ),
                ("workload", models.CharField(max_length=12)),
                ("ms", models.FloatField(help_text="milliseconds asked of the workload")),
                ("think_ms", models.FloatField(help_text="milliseconds that hold thinks inside its transaction")),
                ("users", models.PositiveIntegerField()),
                ("workers", models.PositiveIntegerField(help_text="worker processes of each server")),
                ("duration_s", models.FloatField(help_text="seconds of each trial that count")),
                ("warmup_s", models.FloatField(help_text="seconds before them that are dropped")),
                ("repeats", models.PositiveIntegerField()),
                ("seed", models.BigIntegerField()),
                ("slo", models.JSONField(encoder=pooldemo.models.StrictEncoder, blank=True, default=list)),
                (
                    "rate",
                    models.FloatField(
                        blank=True, help_text="wanted arrivals a second; empty: as fast as answers come", null=True
                    ),
                ),
                ("processes", models.PositiveIntegerField(default=1, help_text="of the load generator")),
                ("adaptive", models.BooleanField(default=False)),
                ("conditions", models.JSONField(encoder=pooldemo.models.StrictEncoder, default=dict)),
                ("verdicts", models.JSONField(encoder=pooldemo.models.StrictEncoder, blank=True, default=list)),
                ("notes", models.TextField(blank=True)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="Trial",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stack", models.CharField(max_length=40)),
                ("size", models.PositiveIntegerField()),
                ("repeat", models.PositiveIntegerField()),
                ("rps", models.FloatField(default=0, verbose_name="requests/s")),
                ("p50_ms", models.FloatField(blank=True, null=True)),
                ("p95_ms", models.FloatField(blank=True, null=True)),
                ("p99_ms", models.FloatField(blank=True, null=True)),
                ("max_ms", models.FloatField(blank=True, null=True)),
                ("mean_ms", models.FloatField(blank=True, null=True)),
                ("requests", models.PositiveIntegerField(default=0)),
                ("failures", models.PositiveIntegerField(default=0)),
                (
                    "failures_by_message",
                    models.JSONField(encoder=pooldemo.models.StrictEncoder, blank=True, default=dict),
                ),
                ("wait_p50_ms", models.FloatField(blank=True, null=True)),
                ("wait_p95_ms", models.FloatField(blank=True, null=True)),
                ("wait_mean_ms", models.FloatField(blank=True, null=True)),
                ("hold_mean_ms", models.FloatField(blank=True, null=True)),
                ("query_mean_ms", models.FloatField(blank=True, null=True)),
                ("peak_connections", models.PositiveIntegerField(blank=True, null=True)),
                ("capped", models.BooleanField(default=True, help_text="whether the stack knows a limit")),
                ("efficiency", models.FloatField(blank=True, null=True)),
                ("per_second", models.JSONField(encoder=pooldemo.models.StrictEncoder, blank=True, default=list)),
                (
                    "failures_per_second",
                    models.JSONField(encoder=pooldemo.models.StrictEncoder, blank=True, default=list),
                ),
                ("latencies", models.JSONField(encoder=pooldemo.models.StrictEncoder, blank=True, default=list)),
                ("window_s", models.FloatField(default=0)),
                ("overhead_s", models.FloatField(default=0)),
                ("generator_cpu", models.FloatField(blank=True, null=True)),
                ("worker_cpu", models.FloatField(blank=True, null=True)),
                ("server_cpu", models.FloatField(blank=True, null=True)),
                ("postgresql_cpu", models.FloatField(blank=True, null=True)),
                ("other_cpu", models.FloatField(blank=True, null=True)),
                ("load_before", models.FloatField(blank=True, null=True)),
                ("probe_max_ms", models.FloatField(blank=True, null=True)),
                ("target_rps", models.FloatField(blank=True, null=True)),
                ("little_residual", models.FloatField(blank=True, null=True)),
                ("started_at", models.CharField(blank=True, max_length=40)),
                ("warnings", models.JSONField(encoder=pooldemo.models.StrictEncoder, blank=True, default=list)),
                ("error", models.TextField(blank=True)),
                (
                    "sweep",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="trials", to="pooldemo.sweep"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        models.F("sweep"),
                        models.F("stack"),
                        models.F("size"),
                        models.F("repeat"),
                        name="one_trial_each",
                    )
                ],
            },
        ),
    ]
