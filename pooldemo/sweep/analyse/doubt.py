"""What makes a trial doubtful, in a sentence whose numbers stand apart: so that many trials can share it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pooldemo.sweep.analyse.statistics import counted, digits, two_digits


@dataclass(frozen=True)
class Number:
    """A number of a sentence, as it is printed, and what it counts, if that stands after it."""

    value: float
    text: str
    noun: str = ""


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


def cores(value: float, noun: str = "") -> Number:
    return Number(value, two_digits(value), noun)


def percent(value: float) -> Number:
    return Number(value, f"{value:.0%}")


def count(value: int, noun: str = "") -> Number:
    return Number(value, str(value), noun)


def sentence(doubts: Sequence[Doubt]) -> str:
    """The sentence of doubts that have the same words, with the range of each number."""
    places = zip(*(each.cause for each in doubts), strict=True)
    return "".join(
        first if isinstance(first, str) else ranged([first, *(each for each in others if isinstance(each, Number))])
        for first, *others in places
    )


def ranged(numbers: Iterable[Number]) -> str:
    """`0.3 to 2.5`, or one number where they are printed the same."""
    rising = sorted(numbers, key=lambda each: each.value)
    least, most = rising[0], rising[-1]
    told = least.text if least.text == most.text else f"{least.text} to {most.text}"
    return counted(told, least.noun) if least.noun else told
