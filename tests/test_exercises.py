"""Self-checks tell right from wrong; and every exercise of every notebook: stub, solution, and the wrong
answers beside the tests.

`python tests/test_exercises.py notebooks/02_mlp.ipynb` runs one notebook's exercises and prints what their
checks say.
"""

import ast
import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cifar_utils.exercises import Outcome, check, check_value, same

PROJECT = Path(__file__).resolve().parent.parent
WRONG_ANSWERS = Path(__file__).resolve().parent / "wrong_answers"
PARTS = ("exercise", "check", "solution")


def exercises_of(notebook: Path) -> SimpleNamespace:
    """The imports and, by name, the stub, check and solution sources of a notebook; AssertionError where one
    is missing or double.
    """
    found: dict[str, dict[str, str]] = {}
    imports = []
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        for tag in cell["metadata"].get("tags", ()):
            part, _, name = tag.partition("-")
            if tag == "imports":
                imports.append(source)
            if part not in PARTS or not name:
                continue
            kind = "markdown" if part == "solution" else "code"
            assert cell["cell_type"] == kind, f"{notebook.name}: {tag} is a {cell['cell_type']} cell, {kind} is needed"
            assert part not in found.setdefault(name, {}), f"{notebook.name}: two cells are tagged {tag}"
            if part == "solution":
                assert re.search(r"<details>.*</details>", source, re.S), (
                    f"{notebook.name}: {tag} is not folded in <details>"
                )
                fences = re.findall(r"^```python\n(.*?)^```", source, re.S | re.M)
                assert len(fences) == 1, f"{notebook.name}: {tag} needs one ```python fence, has {len(fences)}"
                source = fences[0]
            found[name][part] = source
    for name, parts in found.items():
        assert set(parts) == set(PARTS), f"{notebook.name}: {name} lacks {set(PARTS) - set(parts)}"
    assert imports or not found, f"{notebook.name}: no cell is tagged `imports`"
    return SimpleNamespace(imports=imports, found=found)


def run(imports: list[str], answer: str, check_cell: str) -> Outcome:
    """What the check says of an answer, in a namespace that holds the imports only."""
    names: dict = {"__name__": "__main__"}
    for source in [*imports, answer]:
        exec(compile(source, "<cell>", "exec"), names)
    *body, last = ast.parse(check_cell).body
    assert isinstance(last, ast.Expr), "the last line of a check cell is the call of the check"
    exec(compile(ast.Module(body, []), "<check>", "exec"), names)
    outcome = eval(compile(ast.Expression(last.value), "<check>", "eval"), names)
    assert isinstance(outcome, Outcome), f"the check cell returns {outcome!r}"
    return outcome


def verify(imports: list[str], parts: dict[str, str], wrong_answers: list[str], say=lambda *_: None) -> None:
    """Stub not yet, solution right, each wrong answer wrong, for a reason."""
    sources = [("not yet", parts["exercise"]), ("right", parts["solution"]), *(("wrong", w) for w in wrong_answers)]
    for state, source in sources:
        outcome = run(imports, source, parts["check"])
        say(f"  {outcome}")
        assert outcome.state == state, f"{state!r} was expected of\n{source}\nand the check says: {outcome}"
        assert state != "wrong" or " because " in outcome.message, f"no reason is given: {outcome}"
    assert len(wrong_answers) >= 2, "two plausible wrong answers are needed"


def wrong_answers_of(notebook: Path) -> dict[str, list[str]]:
    path = WRONG_ANSWERS / f"{notebook.stem}.py"
    return runpy.run_path(str(path))["WRONG"] if path.exists() else {}


NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_of_the_notebooks(notebook):
    exercises, wrong = exercises_of(notebook), wrong_answers_of(notebook)
    assert set(wrong) == set(exercises.found), (
        f"{notebook.stem}: tests/wrong_answers and the notebook name different exercises"
    )
    for name, parts in exercises.found.items():
        verify(exercises.imports, parts, wrong[name])


def notebook_with(
    folder,
    solution="def double(x):\n    return 2 * x",
    check_line='check(double, [((1,), 2), ((3,), 6)], name="double")',
):
    def cell(kind, tag, source):
        return {"cell_type": kind, "metadata": {"tags": [tag]}, "source": source.splitlines(keepends=True)}

    cells = [
        cell("code", "imports", "from cifar_utils.exercises import check"),
        cell("code", "exercise-double", "def double(x):\n    ..."),
        cell("code", "check-double", check_line),
        cell(
            "markdown",
            "solution-double",
            f"<details><summary>Solution</summary>\n\n```python\n{solution}\n```\n\n</details>",
        ),
    ]
    path = folder / "99_made.ipynb"
    path.write_text(json.dumps({"cells": cells}), "utf-8")
    return path


def test_the_harness_itself(tmp_path):
    wrong = ["def double(x):\n    return x + 1", "def double(x):\n    return x"]
    made = exercises_of(notebook_with(tmp_path))
    verify(made.imports, made.found["double"], wrong)
    for answers, complaint in (
        ([*wrong, made.found["double"]["solution"]], "'wrong' was expected"),
        (wrong[:1], "two plausible"),
    ):
        with pytest.raises(AssertionError, match=complaint):
            verify(made.imports, made.found["double"], answers)
    bad = exercises_of(notebook_with(tmp_path, solution="def double(x):\n    return x"))
    with pytest.raises(AssertionError, match="'right' was expected"):
        verify(bad.imports, bad.found["double"], wrong)
    lenient = exercises_of(notebook_with(tmp_path, check_line='check(double, [(1, 2)], name="double")'))
    with pytest.raises(AssertionError, match="'wrong' was expected"):  # 1 + 1 is 2
        verify(lenient.imports, lenient.found["double"], wrong)


def raise_(error):
    raise error


class Strange:
    def __eq__(self, other):
        raise RuntimeError("not comparable")

    def __repr__(self):
        raise RuntimeError("not printable")


@pytest.mark.parametrize(
    "function,state,words",
    [
        (lambda x: None, "not yet", "gives None"),
        (lambda x: ..., "not yet", "Ellipsis"),
        (lambda x: NotImplemented, "not yet", "NotImplemented"),
        (lambda x: raise_(NotImplementedError), "not yet", "gives NotImplemented"),
        (None, "not yet", "still None"),
        (lambda x: x**2, "right", "Right. square"),
        (lambda x: torch.tensor(float(x) ** 2), "right", "2 inputs"),
        (4, "wrong", "a function is asked for"),
        (lambda x: 2 * x, "wrong", "for input 3 you returned 6, expected 9, because this doubles"),
        (lambda x: -(x**2), "wrong", "sign"),
        (lambda x: [x**2], "wrong", "shape is (1,)"),
        (lambda x: str(x**2), "wrong", "type str"),
        (lambda x: x**2 if x < 3 else None, "wrong", "`return` may be missing"),
        (lambda x: float("nan"), "wrong", "finite"),
        (lambda x: 1 / 0, "wrong", "ZeroDivisionError"),
        (lambda x: raise_(SystemExit(3)), "wrong", "SystemExit"),
        (lambda: 4, "wrong", "TypeError"),
        (lambda x: Strange(), "wrong", "an object of type Strange"),
        (lambda x: np.ma, "wrong", "because"),
    ],
)
def test_a_function_is_checked_and_nothing_raises(function, state, words):
    hints = [((3,), 6, "this doubles, and a square is asked for")]
    outcome = check(function, [((2,), 4), ((3,), 9)], name="square", hints=hints)
    assert outcome == state and outcome.state == state and outcome != "" and outcome != "wronger"
    assert words in repr(outcome) and "\n" not in repr(outcome)


def test_arrays_are_compared_by_shape_and_value_and_told_in_short():
    image = torch.arange(3072.0).reshape(3, 32, 32)
    cases = [((image,), image.mean((1, 2)))]
    assert check(lambda x: x.mean((1, 2)).numpy() + 1e-7, cases, name="mean") == "right"
    assert "shape is ()" in repr(check(lambda x: x.mean(), cases, name="mean"))
    large = check(lambda x: 2 * x, [((image,), image)], name="same")
    assert (
        "shape (3, 32, 32) with values from 0 to 6142" in large.message
        and "2 times" in large.message
        and len(large.message) < 400
    )
    assert "1 too high" in repr(check(lambda x: x + 1, [((image,), image)], name="same"))
    assert "wrong order" in repr(check(lambda x: x.flip(0), [((image,), image)], name="same"))
    one = check(lambda x: x * (x != 5), [((image,), image)], name="same")
    assert "1 of 3072 values differ, the first at [0, 0, 5]: 0 instead of 5" in one.message
    assert (
        check(lambda x: x.mul_(0), [((image,), image * 0)] * 2, name="zero") == "right" and image.sum() > 0
    )  # got a copy
    assert check(lambda x: {"a": [1, "b"]}, [((0,), {"a": (1, "b")})], name="nest") == "right"
    flexible = check(lambda x: "Frog", [((0,), "frog")], name="word", compare=lambda a, b: a.lower() == b)
    assert flexible == "right"
    by_rule = check(
        lambda x: x.sum(0), cases, name="mean", hints=[(None, lambda args, got, want: got.ndim == 2, "pixels go, too")]
    )
    assert "because pixels go, too" in by_rule.message
    assert not same(True, 1) and same(np.float32(1), 1) and not same("1", 1) and same({1, 2}, {2, 1})


@pytest.mark.parametrize(
    "answer,state,words",
    [
        (None, "not yet", "still None"),
        (..., "not yet", "Ellipsis"),
        (789258, "right", "789258"),
        (789258.0, "right", ""),
        (np.int64(789258), "right", ""),
        (torch.tensor(789259), "right", ""),
        (788992, "wrong", "because the biases"),
        (1, "wrong", "too low"),
        ("789258", "wrong", "a number is asked for"),
        (True, "wrong", "a number"),
        (Strange(), "wrong", "because"),
    ],
)
def test_a_number_is_checked(answer, state, words):
    hints = {788_992: "the biases are missing"}
    outcome = check_value(answer, 789_258, name="parameter count", tolerance=1, hints=hints)
    assert outcome == state and words in outcome.message
    assert state == "right" or "789258," not in outcome.message.replace("'", "").replace(
        "is 789258,", ""
    )  # not given away


def test_a_word_is_checked():
    hints = [("over", "the two curves lie close together")]
    assert check_value(" Under ", "under", name="verdict", hints=hints) == "right"
    assert "the two curves" in repr(check_value("Over", "under", name="verdict", hints=hints))
    assert "another word" in repr(check_value("both", "under", name="verdict", hints=hints))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        made = exercises_of(Path(argument))
        for name, parts in made.found.items():
            print(name)
            verify(made.imports, parts, wrong_answers_of(Path(argument)).get(name, []), print)
