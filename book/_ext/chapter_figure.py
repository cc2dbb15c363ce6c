"""Sphinx extension: a figure of a chapter shown on another page, taken from the notebook's stored output.

    ```{chapter-figure} 02_mlp
    :shows: its pixels permuted
    A caption.
    ```

`shows` is a part of the figure's alternative text that no other figure of the chapter has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class ChapterFigure(SphinxDirective):
    """The figure of a notebook whose alternative text holds `shows`, with a caption."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"shows": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Return the figure, its picture inside the page."""
        path = Path(self.env.srcdir) / "notebooks" / f"{self.arguments[0]}.ipynb"
        self.env.note_dependency(str(path))
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found = [cell for cell in cells if self.options["shows"] in self.alt(cell)]
        if len(found) != 1:
            raise self.error(f"{path.name} has {len(found)} figures that show “{self.options['shows']}”")
        outputs = (output["data"] for output in found[0]["outputs"] if "data" in output)
        picture = next("".join(data["image/png"]) for data in outputs if "image/png" in data).replace("\n", "")
        text = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, text)
        caption = nodes.caption("", "", *(child for block in text.children for child in block.children))
        image = nodes.image(uri=f"data:image/png;base64,{picture}", alt=self.alt(found[0]))
        return [nodes.figure("", image, caption)]

    @staticmethod
    def alt(cell: dict[str, Any]) -> str:
        """The alternative text of a cell's figure, or nothing."""
        return cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("chapter-figure", ChapterFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
