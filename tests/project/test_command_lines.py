"""Whatever is typed behind a command of ours: a verdict, or one clear sentence and exit code 2. Never a traceback."""

import argparse
import contextlib
import io
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, get_commands, load_command_class
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pooldemo.management.commands import pool
from pooldemo.sweep.measure import run

OURS = sorted(name for name, app in get_commands().items() if app == "pooldemo")
NOT_ASKED = {"demo", "postgres"}  # take the machine over; what they accept is a closed list of words and two numbers
DJANGOS = {
    *("help", "version", "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks"),
}
# What no option of ours means, and what nearly is what some of them do.
ODD = [
    "", " ", "-", "--", "0", "-1", "1", "2", "007", "1.5", "1e309", "nan", "inf", "-inf", "9" * 30, "9" * 300, "1_000",
    "٣", ",", "1,", "1,1", "1-3", "3-1", "1--3", "1-999999999999", "+5", "+", "max", "all", "slow", "nodb", "mix",
    "a b", "ü", "\udcff", "[/red]", "/", "//", "/x?y=%", "\\", "..", "/dev/null", "/nonexistent/x", ".", "http://",
    "http://[", "http://[::1", "http://a:b", "http://a:99999", "http://127.0.0.1:9", "http://127.0.0.1:9/ü",
    "http://ü..ü/", "http://" + "a" * 300, "https://127.0.0.1:9", "ftp://x", "127.0.0.1:9", "127.0.0.1:99999", ":",
    "p95", "p95=", "p95=300", "p95=nan", "p95=300,p95=2", "errors=0.1%", "=", "A=", "=B", "HEAD", "--help",
    "pooldemo", "geventpool,pooldemo", "X: y", "X:", ": y", "X: \u2028", "{}", "[]", '{"format": 1}', "%s", "{0}",
    "9" * 5000,
]  # fmt: skip
NUMBERS = ["0", "-1", "1", "2", "3", "2.5", "61", "5000", "1e5", "nan", "9" * 30]
TEXTS = st.sampled_from(ODD) | st.text(
    st.characters(exclude_characters="\0", codec="utf-8"), max_size=6
)  # an argument holds no NUL


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [each for each in parser._actions if each.dest not in DJANGOS]


@st.composite
def lines(draw: st.DrawFn, name: str) -> list[str]:
    """A command line: some of the command's options, in any order, with values that mostly make no sense."""
    typed: list[str] = []
    for action in draw(
        st.lists(st.sampled_from(options_of(load_command_class("pooldemo", name).create_parser("", name))), max_size=5)
    ):
        typed += action.option_strings[:1]
        if action.nargs != 0:
            fitting = sorted(action.choices) if action.choices else NUMBERS if action.type in (int, float) else ODD
            typed.append(draw(st.sampled_from(fitting) | TEXTS))
    if name == "sweep" and "--list" not in typed:
        typed.append("--dry-run")
    return typed + draw(st.lists(TEXTS, max_size=1))


def outcome(name: str, typed: list[str]) -> tuple[int, str]:
    """The exit code, and what stood on standard error."""
    command: Any = load_command_class("pooldemo", name)
    command._called_from_command_line = True
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            options = vars(command.create_parser("manage.py", name).parse_args(typed))
            command.execute(*options.pop("args", ()), **options)
        except CommandError as error:
            return error.returncode, str(error)
        except SystemExit as end:
            return int(end.code or 0), errors.getvalue() + out.getvalue()
    return 0, ""


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is measured, nobody is waited for, and what is written is written here."""
    monkeypatch.chdir(tmp_path)

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.Run, "__init__", stop)
    monkeypatch.setattr(pool, "time", SimpleNamespace(sleep=stop, monotonic=time.monotonic, strftime=time.strftime))
    monkeypatch.setattr("pooldemo.management.commands.burst.Server", stop)
    monkeypatch.setattr("pooldemo.management.commands.sweep.try_out", stop)
    monkeypatch.setattr("pooldemo.management.commands.burst.MAX_REQUESTS", 3)


@pytest.mark.parametrize("name", [each for each in OURS if each not in NOT_ASKED])
def test_it_refuses_in_a_sentence_what_makes_no_sense(name: str, db: None, harmless: None) -> None:
    @settings(max_examples=EXAMPLES, report_multiple_bugs=True, suppress_health_check=[HealthCheck.too_slow])
    @given(lines(name))
    def holds(typed: list[str]) -> None:
        code, said = outcome(name, typed)
        assert code in (0, 1, 2, 3, 130), said
        assert code in (0, 130) or said.strip(), "no word of why"
        assert "Traceback" not in said

    holds()


EXAMPLES = int(os.environ.get("POOLDEMO_FUZZ", "25"))  # more of them look further


@pytest.mark.parametrize(("name", "typed"), [("sweep", ["--sizes=--"]), ("judge", ["x.json", "--slo=--"])])
def test_it_refuses_two_dashes_as_a_value(name: str, typed: list[str]) -> None:
    """Python before 3.13 takes them away, and ended in a traceback: the page of a sweep showed its last line."""
    code, said = outcome(name, typed)
    assert (code, "'--' is no value" in said) == (2, True)
