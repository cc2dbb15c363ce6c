"""Self-checks of the exercises: they report "not yet", "right" or "wrong, because ...", and never raise.

A check is the last expression of its cell: what it returns shows itself as one sentence of text.
"""

import copy
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Hints = Mapping[Any, str] | Iterable[tuple[Any, ...]]
_UNFILLED = "fill in the stub above, run its cell, then this one again"
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100


@dataclass(frozen=True, eq=False, repr=False)
class Outcome:
    """What a check found: `.state` is "not yet", "right" or "wrong"; `.message`, its repr, says so in a sentence."""

    state: str
    message: str

    def __repr__(self) -> str:
        return self.message

    def __eq__(self, other: object) -> bool:
        return other == self.state if isinstance(other, str) else self is other

    def __hash__(self) -> int:
        return hash(self.state)


def check(function: Any, cases: Iterable[tuple[Any, Any]], *, name: str, hints: Hints = (),
          compare: Callable[[Any, Any], bool] | None = None) -> Outcome:
    """Call the reader's function with copies of each case's arguments, and compare what it returns.

    cases: (args, expected) pairs; args is a tuple of positional arguments, anything else is one argument.
    compare(answer, expected) -> bool; by default `same`. hints: (args, wrong value, why) triples, args None for any
    case, the wrong value possibly a function (args, answer, expected) -> bool; or {wrong value: why}. An answer that
    a hint recognises is told before one that none does. Raises ValueError where there is no case; whatever the
    function does, nothing else (an interruption by the reader passes).
    """
    cases = [(args if isinstance(args, tuple) else (args,), expected) for args, expected in cases]
    hints = hints if isinstance(hints, Mapping) else list(hints)
    if not cases:
        raise ValueError("a check needs at least one case")
    if _missing(function):
        return Outcome("not yet", f"Not yet: {name} is still {function!r}; {_UNFILLED}.")
    if not callable(function):
        return Outcome("wrong", f"Wrong: {name} is {_short(function)}, because a function is asked for.")
    failures: list[tuple[bool, str]] = []  # whether a hint recognises it, and the sentence
    for number, (args, expected) in enumerate(cases):
        try:
            answer = function(*_copy(args))
        except NotImplementedError:
            answer = NotImplemented
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too, would end the notebook's kernel
            answer = error
        told, hint = f"you returned {_short(answer)}", ""
        if _missing(answer) and not _missing(expected):
            if number == 0:
                return Outcome("not yet", f"Not yet: {name} gives {answer!r}; {_UNFILLED} (a result needs `return`).")
            why = "this case has no result yet: a `return` may be missing"
        elif isinstance(answer, BaseException):
            told, why = f"it raised {_short(answer)}", "of an error in its code"
        elif _holds(compare or same, answer, expected):
            continue
        else:
            hint = _hint(hints, args, answer, expected)
            why = hint or _reason(answer, expected)
        given = ", ".join(map(_short, args))
        failures.append((bool(hint), f"Wrong: for input {given} {told}, expected {_short(expected)}, because {why}."))
    if failures:
        return Outcome("wrong", max(failures, key=lambda failure: failure[0])[1])  # max takes the first of equals
    return Outcome("right", f"Right. {name} returns what is expected, for {len(cases)} input{'s' * (len(cases) > 1)}.")


def check_value(answer: Any, expected: Any, *, name: str, tolerance: float = 0, hints: Hints = ()) -> Outcome:
    """Compare an answer, a number or a word, with the right one, which the sentence does not give away.

    Numbers may differ by `tolerance`; words by case and by space around them. hints: {wrong answer: why}, or
    (wrong answer, why) pairs, matched in the same way. Never raises.
    """
    if _missing(answer):
        return Outcome("not yet", f"Not yet: {name} is still {answer!r}; {_UNFILLED}.")
    if _near(answer, expected, tolerance):
        return Outcome("right", f"Right. {name} is {_short(answer)}.")
    pairs = hints.items() if isinstance(hints, Mapping) else hints
    why = next((why for *_, wrong, why in pairs if _near(answer, wrong, tolerance)), "")
    if not why and _number(answer) is not None and _number(expected) is not None:
        why = "it is too " + ("high" if _number(answer) > _number(expected) else "low")  # type: ignore[operator]
    elif not why:
        kind = "a number" if _number(expected) is not None else "something else"
        kind = "a word" if isinstance(expected, str) else kind
        alike = isinstance(answer, str) and isinstance(expected, str)
        why = "another word is right" if alike else f"{kind} is asked for"
    return Outcome("wrong", f"Wrong: your {name} is {_short(answer)}, because {why}.")


def same(answer: Any, expected: Any) -> bool:
    """Whether two results are equal: arrays and numbers within 1e-5 relative + 1e-6 absolute, the rest exactly.

    Shapes have to agree, and a truth value is no number. Lists and tuples count as each other and, of numbers, as
    arrays; dictionaries need the same keys.
    """
    if isinstance(expected, Mapping):
        return (isinstance(answer, Mapping) and answer.keys() == expected.keys()
                and all(same(answer[key], expected[key]) for key in expected))
    wanted, got = _numbers(expected), _numbers(answer)
    if wanted is not None:
        if got is None or got.shape != wanted.shape:
            return False
        if got.ndim == 0 and (got.dtype == bool) != (wanted.dtype == bool):
            return False
        return bool(np.allclose(got, wanted, rtol=1e-5, atol=1e-6, equal_nan=True))
    if isinstance(expected, list | tuple):
        return (isinstance(answer, list | tuple) and len(answer) == len(expected)
                and all(same(a, e) for a, e in zip(answer, expected, strict=True)))
    return bool(np.all(answer == expected))


def _missing(value: Any) -> bool:
    return value is None or value is ... or value is NotImplemented


def _holds(compare: Callable[..., Any], *values: Any) -> bool:
    """Whether a comparison holds; one that fails on a strange answer does not."""
    try:
        return bool(compare(*values))
    except Exception:
        return False


def _near(answer: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(answer, str) and isinstance(expected, str):
        return answer.strip().casefold() == expected.strip().casefold()
    a, e = _number(answer), _number(expected)
    if a is None or e is None:
        return _holds(same, answer, expected)
    return abs(a - e) <= tolerance + 1e-9 * abs(e)


def _number(value: Any) -> float | None:
    array = _numbers(value)
    return float(array) if array is not None and array.shape == () and array.dtype != bool else None


def _numbers(value: Any) -> np.ndarray | None:
    """An array of the numbers or truth values of a tensor, array, list or number; None for anything else."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.float() if "bfloat16" in str(value.dtype) else value
        array = np.asarray(value)
    except Exception:  # ragged lists and strange objects
        return None
    return array if array.dtype.kind in "buif" else None


def _hint(hints: Hints, args: tuple[Any, ...], answer: Any, expected: Any) -> str:
    triples = [(None, wrong, why) for wrong, why in hints.items()] if isinstance(hints, Mapping) else hints
    for where, wrong, why in triples:
        where = where if where is None or isinstance(where, tuple) else (where,)
        if where is not None and not _holds(same, args, where):
            continue
        if _holds(wrong, args, answer, expected) if callable(wrong) else _holds(same, answer, wrong):
            return str(why)
    return ""


def _reason(answer: Any, expected: Any) -> str:
    """The reason that can be seen in the numbers themselves, where no hint knows better."""
    try:
        with np.errstate(all="ignore"):
            return _seen(answer, expected)
    except Exception:
        return "it is not the same"


def _seen(answer: Any, expected: Any) -> str:
    got, wanted = _numbers(answer), _numbers(expected)
    if wanted is None or got is None:
        if type(answer) is not type(expected):
            return f"it is of type {type(answer).__name__}, and {type(expected).__name__} is asked for"
        return "it is not the same"
    if got.shape != wanted.shape:
        return f"its shape is {got.shape}, and {wanted.shape} is asked for"
    got, wanted = got.astype(float), wanted.astype(float)
    if not np.isfinite(got).all():
        return "not all of it is finite"
    if _holds(same, -got, wanted):
        return "the sign is the other way round"
    factors = np.unique(np.round(got[wanted != 0] / wanted[wanted != 0], 6))
    if len(factors) == 1 and factors[0] and not got[wanted == 0].any():
        return f"it is {factors[0]:g} times what is right"
    if got.size > 1 and _holds(same, got - wanted, np.full(got.shape, (got - wanted).flat[0])):
        return f"each value is {abs((got - wanted).flat[0]):g} too {'high' if got.flat[0] > wanted.flat[0] else 'low'}"
    if got.size > 1 and _holds(same, np.sort(got, None), np.sort(wanted, None)):
        return "the values are right and stand in the wrong order"
    if got.size == 1:
        return f"it is {abs(float((got - wanted).flat[0])):g} too {'high' if got.flat[0] > wanted.flat[0] else 'low'}"
    wrong = ~np.isclose(got, wanted, rtol=1e-5, atol=1e-6)
    place = tuple(np.argwhere(wrong)[0].tolist())
    first = f"the first at {list(place)}: {got[place]:g} instead of {wanted[place]:g}"
    return f"{wrong.sum()} of {wrong.size} values differ, {first}"


def _copy(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copies, so that a function that changes its arguments spoils no later comparison."""
    try:
        return copy.deepcopy(args)
    except Exception:
        return args


def _short(value: Any) -> str:
    """A value in a few words: small arrays whole, large ones by shape and range."""
    try:
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {_cut(value)}".rstrip(": ")
        array = None if isinstance(value, Mapping | str) else _numbers(value)
        if array is None:
            text = getattr(value, "__name__", "") or _REPR.repr(value)
            unnamed = " at 0x" in text  # an address says nothing, and differs from run to run
            return f"an object of type {type(value).__name__}" if unnamed else _cut(text)
        if array.shape == ():
            return str(array) if array.dtype.kind != "f" else f"{float(array):.6g}"
        if array.size <= 12:
            return np.array2string(array, precision=4, separator=", ", max_line_width=10_000).replace("\n", "")
        return f"an array of shape {array.shape} with values from {array.min():.4g} to {array.max():.4g}"
    except Exception:
        return f"an object of type {type(value).__name__}"


def _cut(value: Any, length: int = 160) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"
