"""Every option is read strictly: what is not accepted stops the program with what was given and what is accepted."""

import pytest

from pooldemo.pool import NAMES, ROWS, OptionError, Options

GOOD = {
    "MAX_CONNS": [1, "7", 3.0],
    "REUSE_CONNS": [None, "None", "none", 0, "4"],
    "MIN_CONNS": [0, 4],
    "POOL_TIMEOUT": [None, "None", 0, 2.5, "30", 1e9],
    "MAX_WAITING": [0, "12"],
    "MAX_LIFETIME": [0, 0.5, "3600"],
    "MAX_IDLE": [0, 600],
    "MAX_USES": [0, 10],
    "HEALTH_CHECK": ["auto", "always", "never"],
    "RESET": ["dirty", "always", "never"],
    "SETUP_SQL": ["SET x = 1", [], ["a", "b"], ("a",)],
    "LEAK_THRESHOLD": [0, 1.5],
    "OVERLOAD": ["queue", "shed"],
    "POOL_MODE": ["request", "transaction"],
}
NO_NUMBERS = ["", "many", True, False, [], float("nan"), float("inf"), "nan", object, 10**400]
BAD = {
    "MAX_CONNS": [0, -1, 1.5, "0", None, *NO_NUMBERS],
    "REUSE_CONNS": [-1, 2.5, *NO_NUMBERS],
    "MIN_CONNS": [-1, 0.5, None, *NO_NUMBERS],
    "POOL_TIMEOUT": [-1, "-0.1", 3e9, "3e9", *NO_NUMBERS],
    "MAX_WAITING": [-1, 1.5, None, *NO_NUMBERS],
    "MAX_LIFETIME": [-1, None, *NO_NUMBERS],
    "MAX_IDLE": [-1, None, *NO_NUMBERS],
    "MAX_USES": [-1, 1.5, None, *NO_NUMBERS],
    "HEALTH_CHECK": ["AUTO", "", None, True, 1, []],
    "RESET": ["clean", "", None, True, 1, []],
    "SETUP_SQL": [None, 1, [""], ["a", 1], {"a"}, "", "  "],
    "LEAK_THRESHOLD": [-1, None, *NO_NUMBERS],
    "OVERLOAD": ["drop", "", None, True, 1, []],
    "POOL_MODE": ["session", "", None, True, 1, []],
}


def cases(table):
    return [pytest.param(name, value, id=f"{name}={value!r}") for name, values in table.items() for value in values]


def test_it_has_a_case_for_each_option():
    assert set(GOOD) == set(BAD) == NAMES == {row.name for row in ROWS}


@pytest.mark.parametrize(("name", "value"), cases(GOOD))
def test_it_accepts(name, value):
    assert Options.read({name: value}) is not None


@pytest.mark.parametrize(("name", "value"), cases(BAD))
def test_it_refuses_what_is_not_accepted_and_says_what_is(name, value):
    accepted = next(row.accepted for row in ROWS if row.name == name)
    with pytest.raises(OptionError) as caught:
        Options.read({name: value})
    assert str(caught.value) == f"{name}={value!r} is not accepted: give {accepted}."


def test_it_has_its_own_defaults_among_those_accepted():
    options = Options.read()
    assert (options.max_conns, options.keep_idle, options.pool_timeout, options.max_lifetime) == (4, 4, 30, 3600)


def test_it_reads_what_strings_spell():
    options = Options.read(MAX_CONNS="20", POOL_TIMEOUT="none", MAX_IDLE="1.5", SETUP_SQL="SET x = 1")
    assert (options.max_conns, options.pool_timeout, options.max_idle) == (20, None, 1.5)
    assert options.setup_sql == ("SET x = 1",)


@pytest.mark.parametrize("name", ["MAXCONNS", "max_conns", "POOL_TIMEOUTS", "SIZE"])
def test_it_refuses_an_option_that_does_not_exist(name):
    with pytest.raises(OptionError, match=f"unknown pool option '{name}'.*Accepted: HEALTH_CHECK, LEAK"):
        Options.read({name: 1})


def test_it_suggests_the_option_that_was_meant():
    with pytest.raises(OptionError, match="did you mean MAX_CONNS"):
        Options.read({"MAXCONNS": 1})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"MAX_CONNS": 2, "REUSE_CONNS": 3}, "REUSE_CONNS=3 .* at most MAX_CONNS, which is 2"),
        ({"MAX_CONNS": 2, "MIN_CONNS": 3}, "MIN_CONNS=3 .* at most REUSE_CONNS, which is 2"),
        ({"MAX_CONNS": 9, "REUSE_CONNS": 1, "MIN_CONNS": 2}, "MIN_CONNS=2 .* at most REUSE_CONNS, which is 1"),
    ],
)
def test_it_refuses_options_that_contradict_each_other(given, text):
    with pytest.raises(OptionError, match=text):
        Options.read(given)
