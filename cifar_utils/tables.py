"""Tables for reading: data frames whose numbers are written out."""

import pandas as pd


def table(frame: pd.DataFrame, form: str | dict[str, str], *, index: int | None = 0) -> pd.DataFrame:
    """Write the numbers of a table in a form such as `"{:.1%}"`; missing ones stay empty.

    Args:
        form: of all columns of fractions, or {column: form}; other columns stay as they are.
        index: number of the column that names the rows, and whose own name goes into the corner; None keeps the
            frame's own index.
    """
    forms = form if isinstance(form, dict) else dict.fromkeys(frame.select_dtypes("float").columns, form)
    shown = frame.astype({column: object for column in forms})
    for column, written in forms.items():
        shown[column] = ["" if pd.isna(value) else written.format(value) for value in frame[column]]
    if index is None:
        return shown
    name = shown.columns[index]
    return shown.set_index(name).rename_axis(index=None, columns=name)
