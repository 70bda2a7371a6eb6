"""ASR against how many tokens of the answer were begun for the model: a line a model.

A model whose rate rises with the first tokens is safe in those alone (arXiv 2406.05946).
"""

from collections.abc import Collection, Sequence
from pathlib import PurePath

from safemerge_tasks.attacks.names import PLAIN
from safemerge_tasks.report.figures.canvas import (
    PNG,
    canvas,
    color_of,
    encoded,
    in_percent,
    reach,
    short,
)
from safemerge_tasks.report.under_attack import COMPLIANCE, Attacked, UnderAttack
from safemerge_tasks.results.evaluation import MAIN

_PREFILL = "prefill"
_CALLED = {
    MAIN: "attack success rate (lower is safer)",
    COMPLIANCE: "questions not refused (fewer is safer)",
}


def prefilled(attack: str) -> float | None:
    """Return how many tokens an attack begins the answer with; all of them are infinitely many."""
    name, _, tokens = attack.partition(":")
    if name == PLAIN:
        return 0
    if name != _PREFILL:
        return None
    return float(tokens) if tokens else float("inf")


def curve(attacks: Sequence[Attacked]) -> list[tuple[float, Attacked]]:
    """Return the attacks that begin answers, with how many tokens, fewest first."""
    found = [(prefilled(one.attack), one) for one in attacks]
    told = [(k, one) for k, one in found if k is not None and one.rate.value is not None]
    return sorted(told, key=lambda pair: pair[0])


def last_parts(models: Collection[str]) -> dict[str, str]:
    """Return what models are called without their folders, where that still tells them apart."""
    found = {model: PurePath(model).name for model in models}
    return found if len(set(found.values())) == len(models) else {one: one for one in models}


def draw_prefill_curve(models: Sequence[UnderAttack], suffix: str = PNG) -> bytes:
    """Return the figure; numbers of tokens are equally far apart."""
    tokens = sorted({k for one in models for k, _ in curve(one.attacks)})
    several = {one.task for one in models}, {one.judge for one in models}
    called = last_parts({one.model for one in models})
    with canvas(1, 4.5) as (figure, (axes,)):
        for number, one in enumerate(models):
            points = curve(one.attacks)
            values = [attacked.rate.value or 0.0 for _, attacked in points]
            ends = [a.rate.low for _, a in points], [a.rate.high for _, a in points]
            names = [called[one.model], *((one.task,) if len(several[0]) > 1 else ())]
            names += [one.judge] if len(several[1]) > 1 else []
            axes.errorbar(
                [tokens.index(k) for k, _ in points],
                values,
                yerr=reach(values, *ends),
                fmt="o-",
                capsize=3,
                color=color_of(number),
                label=", ".join(map(short, names)),
            )
        labels = ["all" if k == float("inf") else f"{k:g}" for k in tokens]
        axes.set_xticks(range(len(tokens)), labels=labels)
        axes.set(
            xlabel="tokens of the answer that were begun for the model",
            ylabel=" or ".join(sorted({_CALLED[one.metric] for one in models})),
            ylim=(-0.03, 1.03),
        )
        axes.yaxis.set_major_formatter(in_percent)
        axes.grid(alpha=0.3)
        axes.legend()
        return encoded(figure, suffix)
