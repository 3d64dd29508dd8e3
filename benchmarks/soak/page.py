"""What a soak showed, for people: docs/soak.md with a chart for each quantity, and sentences on what is wrong."""

from benchmarks.soak.hour import SAMPLE_S, TROUBLE_S, Result
from benchmarks.soak.trend import Trend, trend
from pooldemo.sweep.report.charts import Axis, Point, Series, line_chart
from pooldemo.sweep.stacks.stack import ROOT

PAGE = ROOT / "docs" / "soak.md"
WARM_S = 300.0  # caches fill, the heap finds its size: not a trend. A tenth of a shorter look.
JUDGED_S = 4 * WARM_S  # a look that is shorter is all warm-up: its slopes are no leak
# How much in an hour would be a leak, by quantity: its words, and what is allowed.
QUANTITIES = {
    "memory_mb": ("memory of the worker that lives through the hour, MB", 3.0),
    "descriptors": ("its open files and sockets", 1.0),
    "connections": ("connections of the site, as PostgreSQL counts them", 1.0),
    "latency_ms": ("median latency, ms", 3.0),
}
MINUTE = 60.0


def trends(result: Result) -> dict[str, Trend]:
    """By quantity, without the warm-up."""
    warm_s = min(WARM_S, result.seconds / 10)
    return {
        name: trend([(at_s, value) for at_s, value in result.samples[name] if at_s >= warm_s]) for name in QUANTITIES
    }


def complaints(results: list[Result]) -> list[str]:
    """What should not be, a sentence each."""
    found = []
    for result in results:
        for name, each in trends(result).items():
            words, allowed = QUANTITIES[name]
            if result.seconds >= JUDGED_S and each.grows(allowed):
                found.append(f"{result.mode}: {words}: {each}")
        if result.taken:
            found.append(f"{result.mode}: {result.taken} slots did not come home")
        if not result.elder_lived:
            found.append(f"{result.mode}: the worker that was to live through it has ended")
        found += [
            f"{result.mode}: {count} requests were answered with {what}"
            for what, count in result.answers.items()
            if ": 500" in what
        ]
    if results[0].wrong:
        found.append(f"{results[0].wrong} rows of the ledger are wrong")
    return found


def rises(results: list[Result]) -> str:
    """What is shown to grow, if by less than a leak would be: a sentence each."""
    found = [
        f"{words} ({result.mode}) grew by {each.per_hour:.1f} in the hour"
        for name, (words, _) in QUANTITIES.items()
        for result in results
        if (each := trends(result)[name]).low > 0
    ]
    return f"Shown to grow: {'; '.join(found)}." if found else "None of them is shown to grow."


def table(results: list[Result]) -> str:
    """Level, slope an hour and its interval, for each quantity and mode, as a table in Markdown."""
    lines = ["| what | mode | level | in an hour | 95% interval |", "| --- | --- | --- | --- | --- |"]
    for name, (words, _) in QUANTITIES.items():
        for result in results:
            each = trends(result)[name]
            lines.append(
                f"| {words} | {result.mode} | {each.level:.1f} | {each.per_hour:+.2f} "
                f"| {each.low:+.2f} to {each.high:+.2f} |"
            )
    return "\n".join(lines)


def chart(name: str, results: list[Result]) -> str:
    """One quantity over time, a line for each mode; a point is a minute's mean."""
    series = []
    for number, result in enumerate(results):
        minutes: dict[int, list[float]] = {}
        for at_s, value in result.samples[name]:
            minutes.setdefault(int(at_s // (2 * MINUTE)), []).append(value)
        points = tuple(Point(2 * minute + 1, sum(values) / len(values)) for minute, values in sorted(minutes.items()))
        series.append(Series(result.mode, points, number))
    ticks = tuple(float(each) for each in range(0, int(results[0].seconds / MINUTE) + 1, 10))
    words = QUANTITIES[name][0]
    return line_chart(words, f"{words}, by pool mode, over the soak", series, Axis("minutes", ticks), Axis(words))


def write(results: list[Result]) -> None:
    """The page and its charts."""
    pictures = []
    for name, (words, _) in QUANTITIES.items():
        path = ROOT / "docs" / "images" / f"soak-{name.split('_')[0]}.svg"
        path.write_text(chart(name, results) + "\n")
        pictures.append(f"![{words}](images/{path.name})")
    answers = "\n".join(
        f"| {result.mode} | {what} | {count} |" for result in results for what, count in result.answers.items()
    )
    troubles = ", ".join(f"{name.replace('_', ' ')} {count} times" for name, count in results[0].troubles.items())
    acknowledged, taken = sum(each.acknowledged for each in results), sum(each.taken for each in results)
    PAGE.write_text(f"""# An hour of everything

Does anything grow in an hour? `make soak` serves the site in both pool modes side by side, two gunicorn workers each,
on one PostgreSQL of its own. Every {TROUBLE_S:g} s it makes something go wrong: {troubles}.
It takes an hour and about a fifth of a core, and writes this page. `make soak ARGS="--minutes 2"` is a short run that
does not write the page. A run of less than twenty minutes calls no slope a leak.

Each site gets {results[0].rate:g} requests a second. Half of them are writes, each with a number of its own. The others
are reads, transactions that think, requests that run out of time, and clients that hang up. The quantities in the table
are measured every {SAMPLE_S:g} s. One worker of each site is never killed, so that growth in it would show.

{table(results)}

The growth in an hour is the slope of a line through the medians of twelve blocks, after five minutes of warm-up. If its
interval holds zero, no growth is shown. If the interval lies above the limit for a leak (3 MB, 1 descriptor, 1
connection, 3 ms), the command ends with exit code 1. {rises(results)}

**The ledger**: {acknowledged} writes were acknowledged, and {results[0].wrong} of them are wrong: missing, half there,
or there twice. **Slots** that were still taken or waited for at the end, when no request was under way: {taken}.

{chr(10).join(pictures)}

## How requests ended

Requests failed because their query or their worker was ended, or because they ran out of time, as some were made to.

| mode | how | requests |
| --- | --- | --- |
{answers}
""")
