"""Random mutants of cifar_utils against the tests of the mutated module: which ones does no test notice?

    pip install cosmic-ray
    python benchmarks/mutants.py [--count 50] [--seed 0]

cosmic-ray knows how to change Python by a token (a comparison, a constant, an operator, …); here a seed draws which
changes, and the tests are run as for planted faults, in a copy. Written to runs/mutants.json: module, diff, caught_by.
Survivors are to be read: a missing test, or a change that changes nothing (a faster path, a text for people).
"""

import argparse
import difflib
import random
import shutil
import sys
import tempfile
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from cifar_utils import runs
from cifar_utils.course import faults

ROOT = Path(__file__).resolve().parents[1]
TESTS = {"_download": "data"}  # where a module's tests do not have its name
TYPE_HINTS = "BitOr"  # in this package "|" stands in type hints: such a mutant dies at import and proves nothing


def mutations(code: str) -> list[tuple[str, int]]:
    """Every mutation of a module's code: operator and number of its occurrence."""
    nodes, found = list(ast_nodes(get_ast(code))), []
    for name in operator_names():
        operator_class = get_operator(name)
        if TYPE_HINTS not in name and not operator_class.arguments():
            operator = operator_class()
            found += [(name, k) for k in range(sum(len(list(operator.mutation_positions(node))) for node in nodes))]
    return found


def draw(count: int, seed: int) -> list[tuple[Path, str, int]]:
    """Draw mutations of the modules that notebooks import, all equally likely: module, operator, occurrence."""
    modules = sorted((ROOT / "cifar_utils").glob("*.py"))
    everything = [(path, *found) for path in modules for found in mutations(path.read_text(encoding="utf-8"))]
    return random.Random(seed).sample(everything, count)


def main() -> int:
    """Run the mutants, print each with the test that noticed it, and return 0."""
    parser = argparse.ArgumentParser(description="Random mutants against the tests of the mutated module.")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="cifar-course-mutants-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=faults.LEFT_OUT)
        for number, (path, operator, occurrence) in enumerate(draw(options.count, options.seed), start=1):
            right = path.read_text(encoding="utf-8")
            wrong = mutate_code(right, get_operator(operator)(), occurrence)
            place = copy / path.relative_to(ROOT)
            place.write_text(wrong, encoding="utf-8")
            test = f"tests/test_{TESTS.get(path.stem, path.stem.strip('_'))}.py"
            tests = test if (copy / test).is_file() else "tests"
            caught = next((found for speed in ("not slow", "slow")
                           if (found := faults.caught_by(copy, ["-m", speed, tests]))), None)
            place.write_text(right, encoding="utf-8")
            lines = difflib.unified_diff(right.splitlines(), wrong.splitlines(), lineterm="", n=0)
            diff = [line for line in lines if line[:3] not in ("---", "+++")]
            results.append({"module": path.stem, "operator": operator, "diff": diff, "caught_by": caught})
            print(f"[{number}/{options.count}] {path.stem}: {caught or 'SURVIVES'}\n  " + "\n  ".join(diff), flush=True)
            killed = sum(bool(result["caught_by"]) for result in results)
            totals = {"seed": options.seed, "mutants": len(results), "killed": killed}
            runs.write_json(ROOT / "runs" / "mutants.json", {**totals, "results": results})
    print(f"{killed} of {len(results)} mutants were noticed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
