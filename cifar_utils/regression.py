"""This run's metrics against the stored reference: what a chapter's last cell does."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from cifar_utils import runs
from cifar_utils.claims import Ledger
from cifar_utils.runs import Run

ROUNDING = 1e-9  # numbers that agree to so large a share are the same: processors add in different orders


class RegressionError(AssertionError):
    """Metrics or verdicts lie outside what the reference allows."""


def reference(chapter: str) -> dict[str, Any] | None:
    """Give what `cifar-course reference` measured of a chapter: its parameters, metrics and verdicts; None: nothing."""
    path = runs.project_root() / "notebooks" / "reference" / "tolerances.json"
    return runs.read_json(path)["chapters"].get(chapter) if path.exists() else None


def compare(metrics: dict[str, float], reference: dict[str, dict[str, Any]]) -> list[str]:
    """List what is missing, new, or outside its tolerance, a Markdown table row each; an empty list: all agree.

    reference: metric → {"mean": expected value, "tolerance": how far off it may be}; None as tolerance: any value.
    """
    rows = []
    for name in sorted(reference.keys() | metrics.keys()):
        if name not in metrics:
            rows.append(f"| {name} | {reference[name]['mean']:.6g} | missing | |")
        elif name not in reference:
            rows.append(f"| {name} | | not in the reference | |")
        elif (allowed := reference[name]["tolerance"]) is not None:
            expected = reference[name]["mean"]
            off = abs(metrics[name] - expected)
            if off > allowed + ROUNDING * max(allowed, abs(expected)):
                rows.append(f"| {name} | {expected:.6g} | {metrics[name]:.6g} | {off:.3g} > {allowed:.3g} |")
    return rows


def changed_verdicts(ledger: Ledger, reference: dict[str, list[str]]) -> list[str]:
    """List the claims whose verdict none of the reference's runs gave: old → new; a claim of one side only, too."""
    decided = {name: claim.verdict for name, claim in ledger.claims.items()}
    return [f"{name}: {' or '.join(reference.get(name, ['absent']))} → {decided.get(name, 'absent')}"
            for name in sorted(decided.keys() | reference.keys())
            if decided.get(name) not in reference.get(name, [])]


def finish(run: Run, ledger: Ledger) -> None:
    """Store the chapter's metrics and claims, compare them with the reference, and say the outcome in one sentence.

    Nothing is compared where the parameters are not those of the reference, or another chapter's weights are not those
    of a quick run; a run that is to replace the reference may differ.

    Raises:
        RegressionError: with a table of metric, expected, got, and how far off; or of verdicts that changed.
    """
    runs.write_json(run.path("claims.json"), ledger.to_json())
    used = {"peak_memory_mb": peak_memory_mb(), "seconds": time.time() - run.started}
    runs.write_json(run.path("resources.json"), used)
    runs.write_json(run.path("metrics.json"), dict(sorted(run.metrics.items())))  # last: its presence says "finished"
    stored = reference(run.chapter)
    becomes = os.environ.get("CIFAR_COURSE_REFERENCE") == "off"
    if stored is None:
        print("There is no measured reference of this chapter yet, so nothing was compared.")
    elif stored["parameters"] != run.parameters:
        print("The parameters are not those of the reference, so nothing was compared.")
    elif others := [model for model, path in run.weights.items() if not _as_in_reference(path)]:
        print(f"The weights of {', '.join(sorted(others))} are not those of a quick run of their chapter, so "
              "nothing was compared.")
    elif not (complaint := _complaint(run, ledger, stored)):
        print("Every metric lies within its tolerance of the reference, and every verdict is the same.")
    elif becomes:
        print("This run differs from the reference and replaces it.")
    else:
        raise RegressionError(complaint)


def _as_in_reference(weights: Path | None) -> bool:
    """Whether another chapter's weights come from a run of it with the reference's parameters."""
    if weights is None or (stored := reference(weights.parent.name)) is None:
        return False
    parameters = weights.with_name("parameters.json")
    return parameters.is_file() and runs.read_json(parameters) == stored["parameters"]


def _complaint(run: Run, ledger: Ledger, stored: dict[str, Any]) -> str:
    """Say which metrics lie outside their tolerance, else which verdicts changed; empty where all agree."""
    rows = compare(run.metrics, stored["metrics"])
    if rows:
        table = "\n".join(["| metric | expected | got | off by > allowed |", "|:--|--:|--:|--:|", *rows])
        return f"{len(rows)} metrics lie outside their tolerance:\n{table}"
    changed = changed_verdicts(ledger, stored["verdicts"])
    return "verdicts changed against the reference: " + "; ".join(changed) if changed else ""


def peak_memory_mb() -> float:
    """Give the most memory that this process has held so far, in MB."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
