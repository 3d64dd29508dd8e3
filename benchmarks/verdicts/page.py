"""The tables of docs/verdicts.md."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.markdown import table
from benchmarks.verdicts.score import LOSS, OFF, Beside, Held, Said
from benchmarks.verdicts.truth import CURVES, NOISES, ODD, POWERS, UNEVEN
from pooldemo.sweep.stacks.stack import ROOT

PAGE = ROOT / "docs" / "verdicts.md"
CLEAR = {"hinge at 16": ("knee", 16), "hinge at 8": ("knee", 8), "flat": ("flat", 1), "power 0.5": ("rising", 64)}
"""Curves that leave no room for another answer, on the powers of two."""


def tables(said: Sequence[Said], odd: Sequence[Said], held: Sequence[Held], beside: Sequence[Beside]) -> dict[str, str]:
    return {
        "noises": of_noises(said), "odd": of_odd(odd), "curves": of_curves(said), "objectives": of_objectives(held),
        "beside": of_beside(beside),
    }  # fmt: skip


def of_noises(said: Sequence[Said]) -> str:
    rows = []
    for noise, made in NOISES.items():
        own = [each for each in said if each.noise == noise]
        clear = [each for each in own if each.curve in CLEAR and each.grid == "powers of two"]
        right = sum((each.shape, each.size) == CLEAR[each.curve] for each in clear) / len(clear)
        held = sum(each.held for each in own) / sum(each.of for each in own)
        rows.append([
            f"{noise}: {made.about}", share(right), share(sum(each.shape == "invalid" for each in own) / len(own)),
            *costly(own), share(held), share(sum(each.left_out > 0 for each in own) / len(own)),
        ])  # fmt: skip
    head = (
        "noise", "clear curves right", "invalid", "costs more than 5%", "more than 10%", "truth in the interval",
        "an outlier named",
    )  # fmt: skip
    return table(head, rows)


def of_odd(said: Sequence[Said]) -> str:
    rows = []
    for noise, (curve, _) in ODD.items():
        own = [each for each in said if each.noise == noise]
        rows.append([f"{curve}, {noise}", answers_of(own), costly(own)[0]])
    return table(("curve, and what is odd", "said", "costs more than 5%"), rows)


def answers_of(said: Sequence[Said]) -> str:
    answers = Counter(f"{each.shape} {each.size or ''}".strip() for each in said)
    return ", ".join(f"{answer} {share(count / len(said))}" for answer, count in answers.most_common(4))


def of_curves(said: Sequence[Said]) -> str:
    rows = []
    for curve, carries in CURVES.items():
        own = [each for each in said if each.curve == curve]
        on_powers = [each for each in own if each.grid == "powers of two"]
        best = max(map(carries, POWERS))
        enough = min(size for size in POWERS if carries(size) >= 0.95 * best)
        rows.append([curve, str(enough), answers_of(on_powers), *costly(own)])
    head = (
        "curve",
        "smallest size within 5%, on the powers of two",
        "said there",
        "costs more than 5%",
        "more than 10%",
    )
    return table(head, rows)


def of_objectives(held: Sequence[Held]) -> str:
    rows = []
    for noise, (made, _) in UNEVEN.items():
        for repeats in (2, 3):
            row = [f"{noise}: {made.about}", str(repeats)]
            for off in OFF:
                own = [each.met for each in held if (each.noise, each.repeats, each.off) == (noise, repeats, off)]
                row.append(share(sum(own) / len(own)))
            rows.append(row)
    return table(("noise", "repeats", "2% above the limit, called met", "5% below it, called met", "10% below"), rows)


def of_beside(beside: Sequence[Beside]) -> str:
    rows = []
    for noise in NOISES:
        equal, lost = ([each for each in beside if (each.noise, each.lost) == (noise, loss)] for loss in (0.0, LOSS))
        rows.append([
            noise, share(sum(each.worse for each in equal) / len(equal)),
            share(sum(not each.worse and not each.known for each in equal) / len(equal)),
            share(sum(each.worse for each in lost) / len(lost)),
            share(sum(each.known and not each.worse for each in lost) / len(lost)),
        ])  # fmt: skip
    head = (
        "noise",
        "equal, called worse",
        "equal, nobody can tell",
        "5% lost, called worse",
        "5% lost, called not worse",
    )
    return table(head, rows)


def costly(said: Sequence[Said]) -> tuple[str, str]:
    """The shares of sweeps whose size costs more than the margin, and more than twice of it."""
    costs = [each.cost or 0.0 for each in said]
    return share(sum(cost > 0.0501 for cost in costs) / len(costs)), share(
        sum(cost > 0.1001 for cost in costs) / len(costs)
    )


def share(value: float) -> str:
    return f"{100 * value:.1f}%"
