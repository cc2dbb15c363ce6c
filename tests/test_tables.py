"""Tables for reading: what is written, what stays."""

import pandas as pd
import pytest

from cifar_utils.tables import table

FRAME = pd.DataFrame({"network": ["a", "b"], "accuracy": [0.5, float("nan")], "parameters": [1000, 2_000_000]})


def test_fractions_are_written_and_whole_numbers_stay():
    shown = table(FRAME, "{:.1%}")
    assert list(shown.index) == ["a", "b"] and shown.index.name is None
    assert shown.to_html().count(">network</th>") == 1, "in the corner"
    assert shown["accuracy"].tolist() == ["50.0%", ""]
    assert shown["parameters"].tolist() == [1000, 2_000_000]


def test_a_form_a_column_and_no_index():
    shown = table(FRAME, {"parameters": "{:,}"}, index=None)
    assert shown["parameters"].tolist() == ["1,000", "2,000,000"]
    assert shown["network"].tolist() == ["a", "b"] and shown["accuracy"].iloc[0] == 0.5
    assert FRAME["parameters"].iloc[0] == 1000, "the frame itself is not changed"


def test_an_unknown_column_is_named():
    with pytest.raises(KeyError, match="colour"):
        table(FRAME, {"colour": "{}"})
