"""What makes a trial doubtful, in a sentence whose numbers stand apart: so that many trials can share it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pooldemo.sweep.analyse.statistics import digits, two_digits


@dataclass(frozen=True)
class Number:
    """A number of a sentence, and as it is printed."""

    value: float
    text: str


@dataclass(frozen=True)
class Doubt:
    """What makes one trial doubtful: a sentence in pieces, its numbers apart, and the cure."""

    cause: tuple[str | Number, ...]
    cure: str

    @property
    def words(self) -> tuple[str, ...]:
        """The sentence without its numbers: where these are the same, two doubts are one of two sizes."""
        return tuple("" if isinstance(each, Number) else each for each in self.cause)

    @property
    def numbers(self) -> tuple[float, ...]:
        return tuple(each.value for each in self.cause if isinstance(each, Number))


def number(value: float) -> Number:
    return Number(value, digits(value))


def cores(value: float) -> Number:
    return Number(value, two_digits(value))


def percent(value: float) -> Number:
    return Number(value, f"{value:.0%}")


def count(value: int) -> Number:
    return Number(value, str(value))


def sentence(doubts: Sequence[Doubt]) -> str:
    """The sentence of doubts that have the same words, with the range of each number."""
    places = zip(*(each.cause for each in doubts), strict=True)
    return "".join(
        first if isinstance(first, str) else ranged([first, *(each for each in others if isinstance(each, Number))])
        for first, *others in places
    )


def ranged(numbers: Iterable[Number]) -> str:
    """`0.3 to 2.5`, or one number where they are printed the same."""
    rising = [each.text for each in sorted(numbers, key=lambda each: each.value)]
    return rising[0] if rising[0] == rising[-1] else f"{rising[0]} to {rising[-1]}"
