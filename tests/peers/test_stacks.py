"""Every stack keeps the same contract: the workloads it names, its cap where it has one, names for its connections."""

import pytest
from lacking import missing
from served import PATIENCE_S

from pooldemo.sweep import stacks
from pooldemo.sweep.stacks.stack import Stack

from .conftest import Fleet

MISUSED = "shared-session"  # fails as soon as two requests meet, which is what it is for


@pytest.mark.parametrize("name", stacks.names())
def test_a_stack_says_who_it_is(name: str) -> None:
    stack = stacks.get(name)
    assert stack.name == name
    assert len(stack.about) > 80


def test_an_unknown_stack_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown stack 'nope': known are pooldemo, .*upool"):
        stacks.get("nope")


def test_a_stack_that_lacks_something_says_how_to_have_it() -> None:
    lacking = Stack("mine", "", venv=".venv-nobody-made", programs=("no-such-program",), remedy="make peers")
    assert lacking.missing() == (
        "mine needs the program no-such-program, the environment .venv-nobody-made: make peers"
    )


@pytest.mark.parametrize("name", stacks.names())
def test_it_answers_its_workloads_within_its_cap(fleet: Fleet, name: str) -> None:
    if sentence := missing()[name]:
        pytest.skip(sentence)
    running = fleet.some(name)
    running.server.wait_ready(PATIENCE_S)
    stack = running.server.stack
    for workload in (*stack.workloads, "nodb"):
        if workload != "mix":
            answer = running.get(f"/{workload}/")
            assert (name, workload, answer.status) == (name, workload, 200), answer.text
    answers = running.at_once(12, "/slow/?ms=50")
    if name != MISUSED:
        assert [answer.status for answer in answers] == [200] * 12, (name, answers)
    if stack.capped and name != "geventpool":  # which opens more while it warms up (tests/postgresql)
        assert len(running.connections()) <= running.slots, name
