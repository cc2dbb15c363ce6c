"""This run's metrics against the stored reference: what a chapter's last cell does."""

import fnmatch
import os
import sys
import time
from pathlib import Path
from typing import Any

from cifar_utils import runs
from cifar_utils.claims import Ledger
from cifar_utils.runs import Run

NOT_COMPARED = ("*.seconds", "*.std", "*.seeds")  # times are the machine's; deviations have few degrees of freedom


class RegressionError(AssertionError):
    """Metrics or verdicts lie outside what the reference allows."""


def reference_folder(profile: str) -> Path:
    """Give the folder of a committed reference run."""
    return runs.project_root() / "notebooks" / "reference" / profile


def tolerance(name: str, expected: float, rules: list[dict[str, Any]]) -> float | None:
    """Give how far a metric may lie from the reference: the first rule whose pattern fits its name; None: any.

    A rule has a `pattern`, and `absolute` or `relative`; a metric that no rule names must agree exactly.
    """
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in NOT_COMPARED):
        return None
    for rule in rules:
        if fnmatch.fnmatchcase(name, rule["pattern"]):
            return rule["absolute"] if "absolute" in rule else rule["relative"] * abs(expected)
    return 0.0


def compare(metrics: dict[str, float], expected: dict[str, float], rules: list[dict[str, Any]]) -> list[str]:
    """List what is missing, new, or outside its tolerance, a Markdown table row each; an empty list: all agree."""
    rows = []
    for name in sorted(expected.keys() | metrics.keys()):
        if name not in metrics or name not in expected:
            got = "missing" if name not in metrics else "not in the reference"
            rows.append(f"| {name} | {expected.get(name, '')} | {got} | |")
            continue
        allowed = tolerance(name, expected[name], rules)
        off = abs(metrics[name] - expected[name])
        if allowed is not None and off > allowed + 1e-12:
            rows.append(f"| {name} | {expected[name]:.6g} | {metrics[name]:.6g} | {off:.3g} > {allowed:.3g} |")
    return rows


def finish(run: Run, ledger: Ledger) -> None:
    """Store the chapter's metrics and claims, compare them with the reference, and say the outcome in one sentence.

    Nothing is compared where the parameters are not those of the reference, or where the run is to become it.

    Raises:
        RegressionError: with a table of metric, expected, got, and how far off; or of verdicts that changed.
    """
    runs.write_json(run.path("claims.json"), ledger.to_json())
    used = {"peak_memory_mb": peak_memory_mb(), "seconds": time.time() - run.started}
    runs.write_json(run.path("resources.json"), used)
    runs.write_json(run.path("metrics.json"), dict(sorted(run.metrics.items())))  # last: its presence says "finished"
    profile = os.environ.get("CIFAR_COURSE_PROFILE", "quick")
    if os.environ.get("CIFAR_COURSE_REFERENCE") == "off":
        print("This run becomes the reference: later runs are compared with its metrics and verdicts.")
        return
    folder = reference_folder(profile)
    summary = folder / "summary.json"
    stored = runs.read_json(summary)["chapters"].get(run.chapter) if summary.exists() else None
    if stored is None:
        print(f"There is no {profile} reference of this chapter yet, so nothing was compared.")
        return
    if stored["parameters"] != run.parameters:
        print("The parameters are not those of the reference, so nothing was compared.")
        return
    rules = runs.read_json(folder.parent / "tolerances.json")
    rows = compare(run.metrics, runs.read_json(folder / run.chapter / "metrics.json"), rules)
    if rows:
        table = "\n".join(["| metric | expected | got | off by > allowed |", "|:--|--:|--:|--:|", *rows])
        raise RegressionError(f"{len(rows)} metrics lie outside their tolerance:\n{table}")
    verdicts = {claim["id"]: claim["verdict"] for claim in runs.read_json(folder / run.chapter / "claims.json")}
    changed = [f"{name}: {verdicts.get(name, 'absent')} → {claim.verdict}"
               for name, claim in ledger.claims.items() if verdicts.get(name) != claim.verdict]
    if changed:
        raise RegressionError("verdicts changed against the reference: " + "; ".join(changed))
    print("Every metric lies within its tolerance of the reference, and every verdict is the same.")


def peak_memory_mb() -> float:
    """Give the most memory that this process has held so far, in MB."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
