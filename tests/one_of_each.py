"""Asks a copy of the code, in which `test_one_source` has added one of each, who knows it; the answers are JSON."""

import json
import re
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.core.management import load_command_class
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

NUMBERS = ("pool_available", "pool_size", "pool_max", "pool_min", "requests_waiting", "requests_timeouts")


def answers() -> dict[str, Any]:
    """By who was asked."""
    from benchmarks.workloads.page import about_table
    from pooldemo.demo.views import DIRECT
    from pooldemo.monitor.metrics import exposition
    from pooldemo.pool import NAMES, Options
    from pooldemo.sweep import judge, plan, stacks
    from pooldemo.sweep.analyse import document
    from pooldemo.sweep.facts import Plan
    from pooldemo.sweep.report import figures, files, formats

    sweep = files.read("slow.json")
    plan.check(replace(Plan(), workload="nap", stacks=("nap",)))
    parser = load_command_class("pooldemo", "sweep").create_parser("manage.py", "sweep")
    help_text = " ".join(parser.format_help().split())
    options: Any = Options.read({"MAX_NAPS": 2})
    judged = judge(json.loads(Path("slow.json").read_text()))
    page = formats.FORMATS["html"].write(document.read_document(judged))
    napping = replace(sweep, plan=replace(sweep.plan, workload="nap"))
    return {
        "the site": "/nap/" in DIRECT,
        "sweep --help": [text in help_text for text in ("nap,", "--haiku", "(default 7.5)", "three lines")],
        "the load in words": figures.load_of(napping),
        "the docs": "| `nap` | it naps | the bed |" in about_table(),
        "each stack": ["nap" in stacks.names(), *("nap" in stacks.get(name).workloads for name in ("nap", "upool"))],
        "the options": [options.max_naps, "MAX_NAPS" in NAMES],
        "the margin": [Plan().margin, judged["sweep"]["margin"], re.findall(r"at most [\d.]+% less", page)],
        "the formats": formats.FORMATS["haiku"].write(sweep),
        "the figures": ["Naps" in formats.FORMATS["html"].write(sweep), "nap" in figures.figures_of(sweep)],
        "Prometheus and OpenTelemetry": [b"db_client_connection_naps" in exposition([]), metric("naps")],
        "Locust": locust(),  # last: it patches the process
    }


def metric(name: str) -> bool:
    """Whether the SDK is told it."""
    from pooldemo.monitor import instruments, snapshots

    pool = {"stats": dict.fromkeys(NUMBERS, 1), "reuse_conns": 1}
    snapshots.take = lambda: {"pools": {"default": pool}}
    reader = InMemoryMetricReader()
    instruments.instrument(MeterProvider([reader]))
    data = reader.get_metrics_data()
    return data is not None and f"db.client.connection.{name}" in data.to_json()


def locust() -> list[Any]:
    locustfile: Any = import_module("locustfile")
    return ["nap" in locustfile.CHOICES, [each.weight for each in locustfile.WORKLOADS if each.name == "nap"]]


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(answers()))
