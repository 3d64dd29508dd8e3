"""Verdicts and comparisons as JUnit's XML, which CI servers show as tests: what is missed or worse is a failure, what
nobody can tell an error. Pure."""

from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree as ET

from pooldemo.sweep.analyse.compare import compare_sides
from pooldemo.sweep.analyse.comparison import Comparison
from pooldemo.sweep.analyse.slo import describe_check, describe_limit
from pooldemo.sweep.facts import SweepResult, Verdict
from pooldemo.sweep.report.comparison import lines_of, worse_of

FAILURE, ERROR = "failure", "error"


class Case(NamedTuple):
    """A test: of what, what of it, how it ended (empty: well) and why."""

    of: str
    name: str
    ended: str
    text: str


def of_sweep(sweep: SweepResult) -> str:
    """A test for each verdict, for each clause of the SLO, and whether B is worse where the sweep compared two."""
    found = compare_sides(sweep)
    cases = [case for verdict in sweep.verdicts for case in _of_verdict(verdict)]
    return _document([*cases, *(_of_comparison(found) if found else ())])


def of_comparison(found: Comparison) -> str:
    """A test whether B is worse, and one for each thing that is."""
    return _document([*_of_comparison(found)])


def _of_verdict(verdict: Verdict) -> Iterator[Case]:
    yield Case(verdict.stack, "verdict", ERROR if verdict.shape == "invalid" else "", verdict.because)
    states = {"met": "", "missed": FAILURE, "undecided": ERROR}
    for check in verdict.checks:
        yield Case(verdict.stack, describe_limit(check.limit), states[check.state], describe_check(check))


def _of_comparison(found: Comparison) -> Iterator[Case]:
    *_, total = lines_of(found)
    if worse := worse_of(found):
        for line in worse:
            name, _, text = line.partition(":")
            yield Case("compare", name, FAILURE, text.strip())
    else:
        yield Case("compare", "B is not worse", "" if found.is_known else ERROR, total)


def _printable(text: str) -> str:
    """Without what no XML may hold: a server's log has colours."""
    return "".join(each if each.isprintable() else " " for each in text)


def _document(cases: list[Case]) -> str:
    counts = {f"{kind}s": str(sum(case.ended == kind for case in cases)) for kind in (FAILURE, ERROR)}
    suite = ET.Element("testsuite", {"name": "sweep", "tests": str(len(cases))} | counts)
    for case in cases:
        test = ET.SubElement(suite, "testcase", classname=f"sweep.{case.of}", name=case.name)
        if case.ended:
            ET.SubElement(test, case.ended, message=_printable(case.text))
        else:
            ET.SubElement(test, "system-out").text = _printable(case.text)
    ET.indent(suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suite, encoding="unicode")}\n'
