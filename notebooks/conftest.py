"""How `pytest --nbval` compares the chapters' outputs. A cell's tag says what of its text is compared:

- no tag: every character, of a figure its alternative text;
- `compare-words`: the words, for a sentence or table whose numbers come from training and may differ from machine to
  machine; the metrics behind them are compared with the reference by the chapter's last cell, within tolerances;
- `nbval-ignore-output`: nothing, where the words, too, follow the numbers (or a time is shown).
"""

import re
from functools import partial

from nbval.plugin import IPyNbCell

WORDS = "compare-words"
_NUMBER = re.compile(r"[+−±-]?\d[\d.,]*(e[+-]?\d+)?")


def words_of(text):
    """Give the text with every number as `#` and all white space alike; other values pass as they are."""
    return " ".join(_NUMBER.sub("#", text).split()) if isinstance(text, str) else text


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, IPyNbCell) and WORDS in item.cell.metadata.get("tags", ()):
            item.sanitize = words_of
            if any({"text/html", "text/markdown"} & set(output.get("data", ())) for output in item.cell.outputs):
                # The plain face of a table wraps where its numbers are wide; its HTML holds the same words.
                skipped = (*item.parent.skip_compare, "text/plain")
                item.compare_outputs = partial(item.compare_outputs, skip_compare=skipped)
