"""Legal options of `manage.py sweep` in many combinations, each run for a second: every one must end with a document.

    python tests/sweep/grid.py [--seed 1] [--minutes 10]     a table of outcomes; exit code 1 when one is not right

Every pair of values stands in some case, as far as the minutes allow: what breaks, breaks nearly always in two options
that meet. The database is made for this and dropped afterwards. `test_grid.py` runs a few cases of it.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
VALUES: dict[str, tuple[str, ...]] = {
    "workload": ("slow", "cpu", "read", "write", "lock", "hold", "think", "fast", "nodb", "mix"),
    "stack": ("pooldemo", "geventpool", "persistent", "per-request", "pooldemo,geventpool"),
    "sizes": ("1", "3", "1,2", "4-5"),
    "users": ("1", "2", "8", "40"),
    "repeats": ("1", "2"),
    "warmup": ("0", "0.3", "1"),
    "workers": ("1", "2"),
    "ms": ("0", "5", "2500"),  # the last is longer than the window: no request may end in it
    "think-ms": ("0", "20"),
    "arrivals": ("", "0.5", "20"),
    "processes": ("1", "2"),
    "slo": ("", "p95=300", "p50=0.001ms,errors=0%", "max=1s,errors=100%"),
    "seed": ("1", "-5", "9223372036854775807"),
    "adaptive": ("", "yes"),
    "quiet": ("", "yes"),
    "report": ("json", "-", "all"),
}
MOST_TRIALS = 2
CANDIDATES = 60
Case = dict[str, str]


def is_legal(case: Case) -> bool:
    """Not what the command refuses, and nothing that takes minutes."""
    if int(case["users"]) < int(case["processes"]):
        return False
    sizes = {"1": 1, "3": 2 if case["adaptive"] else 1}.get(case["sizes"], 3 if case["adaptive"] else 2)
    return len(case["stack"].split(",")) * sizes * int(case["repeats"]) <= MOST_TRIALS


def cases(seed: int) -> Iterator[Case]:
    """Case after case, each with as many pairs of values as can be had that none before it had; until none is left."""
    dice = random.Random(seed)
    seen: set[frozenset[tuple[str, str]]] = set()
    barren = 0
    while barren < 20:
        drawn = [{name: dice.choice(values) for name, values in VALUES.items()} for _ in range(CANDIDATES)]
        best = max(filter(is_legal, drawn), key=lambda case: len(pairs(case) - seen), default=None)
        if best is None or not pairs(best) - seen:
            barren += 1
            continue
        barren = 0
        seen |= pairs(best)
        yield best


def pairs(case: Case) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for pair in itertools.combinations(case.items(), 2)}


def arguments(case: Case, folder: Path) -> list[str]:
    """The case as it is typed; its documents go to `folder`."""
    typed = ["--duration", "1"]
    for name, value in case.items():
        if name == "report" or not value:
            continue
        typed += [f"--{name}"] if value == "yes" else [f"--{name}={value}"]
    kinds = ("json", "csv", "html", "markdown") if case["report"] == "all" else ("json",)
    for kind in kinds:
        typed += [f"--{kind}", "-" if case["report"] == "-" else str(folder / f"sweep.{kind}")]
    return typed


def strict(text: str) -> Any:
    """JSON as the standard has it: no NaN, no infinity."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def faults(case: Case, code: int, said: str, document: str, folder: Path) -> list[str]:
    """What is not as promised of a sweep that ended with `code`; empty: all is."""
    found = ["a traceback"] if "Traceback" in said else []
    try:
        sweep = strict(document)
    except ValueError as error:
        return [*found, f"no document: {error}"]
    verdict = sweep["verdicts"][0]
    state = verdict["slo"]["state"] if verdict["slo"] else "met"
    expected = 3 if verdict["shape"] == "invalid" else {"met": 0, "missed": 1, "undecided": 3}[state]
    if code != expected:
        found.append(f"exit code {code}, not {expected}")
    if sweep["sweep"]["status"] not in ("done", "failed"):
        found.append(f"status {sweep['sweep']['status']}")
    if errors := {trial["error"].splitlines()[-1] for trial in sweep["trials"] if trial["error"]}:
        found.append(f"a trial failed: {errors.pop()[:100]}")
    if case["report"] == "all":
        texts = [(folder / f"sweep.{kind}").read_text(encoding="utf-8") for kind in ("csv", "html", "markdown")]
        if any(not text for text in texts) or any(bad in text for text in texts for bad in ("inf,", "nan", " inf ")):
            found.append("an empty report, or one with an infinity")
    return found


def run(case: Case, database_url: str, folder: Path) -> tuple[int, str, list[str]]:
    """Run one case: its exit code, its shape, its faults. Blocks."""
    command = [sys.executable, "manage.py", "sweep", *arguments(case, folder)]
    env = os.environ | {"DATABASE_URL": database_url, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    path = folder / "sweep.json"
    document = done.stdout if case["report"] == "-" else path.read_text() if path.exists() else ""
    found = faults(case, done.returncode, done.stdout + done.stderr, document, folder)
    shape = "" if found and not document else "/".join(each["shape"] for each in json.loads(document)["verdicts"])
    if found:
        found.append((done.stderr.strip() or done.stdout.strip()).splitlines()[-1][:200])
    return done.returncode, shape, found


def pages() -> Iterable[str]:
    """Faults of the admin's pages of every sweep in the database, in this process."""
    from django.contrib.auth.models import User
    from django.test import Client

    from pooldemo import models

    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("grid"))
    numbers = list(models.Sweep.objects.values_list("pk", flat=True))
    paths = ["/admin/pooldemo/sweep/", "/admin/pooldemo/trial/", "/"]
    for number in numbers:
        paths.append(f"/admin/pooldemo/sweep/{number}/change/")
        paths += [f"/admin/pooldemo/sweep/{number}/sweep.{kind}" for kind in ("json", "csv", "html")]
    paths += [f"/admin/pooldemo/sweep/compare/?sweeps={a},{b}" for a, b in itertools.pairwise(numbers)]
    for path in paths:
        answer = client.get(path)
        text = answer.content.decode() if not answer.streaming else ""
        if answer.status_code != 200:
            yield f"{path}: {answer.status_code}"
        elif any(bad in text for bad in ("Infinity", "NaN", ">inf", ">nan", '"nan', '"inf"')):
            yield f"{path}: an infinity or NaN"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection
    from django.test.utils import setup_databases, setup_test_environment, teardown_databases
    from served import address_of

    if settings.EMBEDDED is not None:
        settings.EMBEDDED.ensure()
    setup_test_environment()
    made = setup_databases(verbosity=0, interactive=False)
    url = address_of(settings.DATABASE_URL, connection.settings_dict["NAME"])
    began_s, wrong, count = time.monotonic(), 0, 0
    seen: set[frozenset[tuple[str, str]]] = set()
    everything = set().union(*map(pairs, cases(options.seed)))
    try:
        for case in cases(options.seed):
            if time.monotonic() - began_s > 60 * options.minutes:
                break
            count += 1
            seen |= pairs(case)
            with tempfile.TemporaryDirectory() as folder:
                code, shape, found = run(case, url, Path(folder))
            wrong += bool(found)
            typed = " ".join(arguments(case, Path())[2:-2])
            say(f"{count:>3}  {code}  {shape:<16} {'; '.join(found) or 'ok'}\n        {typed}")
        for fault in pages():
            wrong += 1
            say(fault)
    finally:
        connection.close()
        teardown_databases(made, verbosity=0)
        if settings.EMBEDDED is not None:
            settings.EMBEDDED.stop(unless_asked=True)
    say(f"{count} sweeps, {len(seen)} of {len(everything)} pairs, {time.monotonic() - began_s:.0f} s, {wrong} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
