"""Runs of the load until something was noted: what Locust itself counted, and the timeline."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust_page import Page
from served import Site, until


class Run:
    """A run of six users: what Locust itself counted, and the timeline. It ends when each of `names` was asked for
    several times and what was noted is `enough`."""

    def __init__(
        self,
        site: Site,
        folder: Path,
        names: set[str],
        enough: Callable[[dict[tuple[Any, ...], Any]], bool],
        *arguments: str,
    ) -> None:
        timeline, rows = folder / "timeline.json", folder / "rows"
        with Page(
            site.url, "--autostart", "-u", "6", "-r", "6", "--pause-ms", "100", "--exit-code-on-error", "0",
            "--timeline", str(timeline), "--json-file", str(rows), *arguments,
        ) as page:  # fmt: skip
            page.until(lambda stats: stats["user_count"] == 6 and names <= asked(stats))
            until(lambda: enough(page.noted()), every_s=0.1)
            page.post("/stop")
            page.until(lambda stats: stats["state"] == "stopped" and not stats["user_count"])
        assert page.process.returncode == 0, page.log
        self.timeline: dict[str, Any] = json.loads(timeline.read_text())
        self.rows: dict[str, Any] = {row["name"]: row for row in json.loads(Path(f"{rows}.json").read_text())}

    def histogram(self, workload: str, outcome: str) -> dict[str, int]:
        """Of all seconds."""
        total: dict[str, int] = {}
        for second in self.timeline["seconds"]:
            for bucket, count in second["workloads"].get(workload, {}).get("outcomes", {}).get(outcome, {}).items():
                total[bucket] = total.get(bucket, 0) + count
        return total

    def outcomes(self) -> set[str]:
        found = set()
        for second in self.timeline["seconds"]:
            for facts in second["workloads"].values():
                found |= set(facts["outcomes"])
        return found


def asked(stats: dict[str, Any]) -> set[str]:
    """The rows that have several requests."""
    return {row["name"] for row in stats["stats"] if row["num_requests"] > 5}


def steady(generators: int, facts: dict[tuple[Any, ...], Any]) -> bool:
    """Whether each of them has counted a whole second in which all six users ran: one that waits for its core misses
    some."""
    full = {key[1] for key, value in facts.items() if key[2:] == ("users",) and value == 6}
    counted: dict[str, set[int]] = {}
    for mark, *path in facts:
        if mark == "generators":
            counted.setdefault(path[0], set()).add(path[-1])
    whole = {second for second in full if second + 1 in full}
    return len(counted) == generators and all(map(whole.intersection, counted.values()))


def more_than_a_second_late(facts: dict[tuple[Any, ...], Any]) -> bool:
    return any("late_ms" in key and key[-1] > 1000 for key in facts)


def served_in_two_seconds(facts: dict[tuple[Any, ...], Any]) -> bool:
    return any("carried" in key for key in facts)
