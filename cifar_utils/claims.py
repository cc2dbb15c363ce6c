"""The ledger of claims: what a source says, what was measured, and the verdict, by one rule.

*Confirmed*: the source's value, give or take its rounding, lies in the 95 % prediction interval of the measured runs.
*Refuted*: it lies outside. *Corrected*: refuted, and the right value follows from definition or count. *Undecided*: the
runs cannot tell. *Not tested*: this profile does not run the source's setting. Counts are exact and need no interval.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from cifar_utils.runs import Run, Text

SOURCES = ("TDSE-03", "Exercise 4", "Exercise 5", "VAE exercise", "Error analysis")
VERDICTS = ("confirmed", "corrected", "refuted", "undecided", "not tested")
MARKS = {"confirmed": "✔", "corrected": "✎", "refuted": "✘", "undecided": "?", "not tested": "–"}
FEWEST_RUNS = 3  # with fewer, the interval of the runs is so wide that everything would be confirmed


@dataclass(frozen=True)
class Claim:
    """One decided claim."""

    id: str
    source: str
    says: str
    measured: str
    verdict: str
    guess: str = ""  # what the source left open and the course had to fix


def prediction_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Give the interval in which one more run lies with this probability, the runs being normal (Student's t).

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"a prediction interval needs at least two values, got {len(values)}")
    center, spread, n = float(np.mean(values)), float(np.std(values, ddof=1)), len(values)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * spread * (1 + 1 / n) ** 0.5
    return center - half, center + half


class Ledger:
    """The claims of one chapter, in the order in which they were decided."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.claims: dict[str, Claim] = {}

    def _add(self, claim: Claim) -> Claim:
        if claim.source not in SOURCES:
            raise ValueError(f"the source must be one of {', '.join(SOURCES)}, got {claim.source!r}")
        if claim.verdict not in VERDICTS:
            raise ValueError(f"the verdict must be one of {', '.join(VERDICTS)}, got {claim.verdict!r}")
        self.claims[claim.id] = claim
        return claim

    def count(self, id: str, source: str, says: str, value: float, measured: float, unit: str = "") -> Claim:
        """Decide a claim about a count or another exact value: confirmed, or corrected by the right one."""
        verdict = "confirmed" if value == measured else "corrected"
        return self._add(Claim(id, source, says, f"{measured:,} {unit}".strip(), verdict))

    def value(self, id: str, source: str, says: str, low: float, high: float, measured: Sequence[float], *,
              unit: str = "", tested: bool = True, guess: str = "") -> Claim:
        """Decide a claim about a measured value; `low` and `high` are the source's value give or take its rounding.

        `unit`: what the values are in; "%" and "points" (of per cent) write shares and differences of shares times 100.
        `tested=False` says that this profile does not run the source's setting: what was measured is shown, and
        nothing is decided.
        """
        words = _mean_and_spread(measured, unit)
        if not tested:
            return self._add(Claim(id, source, says, words, "not tested", guess))
        if len(measured) < FEWEST_RUNS:
            return self._add(Claim(id, source, says, words, "undecided", guess))
        bottom, top = prediction_interval(measured)
        verdict = "confirmed" if low <= top and high >= bottom else "refuted"
        words += f"; 95 % of runs in {_range(bottom, top, measured, unit)}"
        return self._add(Claim(id, source, says, words, verdict, guess))

    def direction(self, id: str, source: str, says: str, differences: Sequence[float], *, unit: str = "",
                  tested: bool = True, guess: str = "") -> Claim:
        """Decide the claim that a paired difference is positive, by the 95 % interval of its mean over seeds."""
        words = "difference " + _mean_and_spread(differences, unit)
        if not tested:
            return self._add(Claim(id, source, says, words, "not tested", guess))
        if len(differences) < FEWEST_RUNS:
            return self._add(Claim(id, source, says, words, "undecided", guess))
        n = len(differences)
        half = float(stats.t.ppf(0.975, n - 1)) * float(np.std(differences, ddof=1)) / n ** 0.5
        bottom, top = float(np.mean(differences)) - half, float(np.mean(differences)) + half
        verdict = "confirmed" if bottom > 0 else "refuted" if top < 0 else "undecided"
        words += f"; 95 % interval of the mean {_range(bottom, top, differences, unit)}"
        return self._add(Claim(id, source, says, words, verdict, guess))

    def judgement(self, id: str, source: str, says: str, verdict: str, because: str, **numbers: Any) -> Claim:
        """Enter a claim that is decided by definition or by a demonstration; `because` may hold the run's numbers."""
        return self._add(Claim(id, source, says, str(self.run.text(because, **numbers)), verdict))

    def to_json(self) -> list[dict[str, str]]:
        """Give all claims as plain data."""
        return [asdict(claim) for claim in self.claims.values()]

    def table(self) -> Text:
        """Give the claims as a Markdown table."""
        lines = ["| source | says | measured | verdict |", "|:--|:--|:--|:--|"]
        for claim in self.claims.values():
            guess = f" *(assumed: {claim.guess})*" if claim.guess else ""
            cells = (claim.source, claim.says, claim.measured + guess, f"{MARKS[claim.verdict]} **{claim.verdict}**")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return Text("\n".join(lines))


def _mean_and_spread(values: Sequence[float], unit: str) -> str:
    if len(values) == 0:
        return "not measured"
    mean = float(np.mean(values))
    if len(values) == 1:
        return f"{_number(mean, _places(mean, unit) + 1, unit)}{_named(unit)} (one run)"
    spread = float(np.std(values, ddof=1))
    places = _places(spread or mean, unit)
    return f"{_number(mean, places, unit)} ± {_number(spread, places, unit)}{_named(unit)} ({len(values)} runs)"


def _range(bottom: float, top: float, values: Sequence[float], unit: str) -> str:
    places = _places(float(np.std(values, ddof=1)) or top, unit)
    return f"{_number(bottom, places, unit)} to {_number(top, places, unit)}{_named(unit)}"


def _scale(unit: str) -> int:
    return 100 if unit in ("%", "points") else 1


def _places(value: float, unit: str) -> int:
    """How many decimal places show two digits of a value: of the spread, since what lies below it is chance."""
    return min(4, max(0, 1 - math.floor(math.log10(abs(value) * _scale(unit))))) if value else 0


def _number(value: float, places: int, unit: str) -> str:
    rounded = round(value * _scale(unit), places) + 0.0  # not -0.0
    return f"{rounded:,.{places}f}".replace("-", "−")


def _named(unit: str) -> str:
    return f" {unit}" if unit else ""
