"""The package's reference for the book, read from its source: nothing is imported, so a build stays quick."""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A public function, class or constant of a module, as its source has it."""

    kind: str  # function, class, method, data
    name: str
    signature: str
    text: str
    members: tuple["Entry", ...] = ()


def modules(package: Path) -> dict[str, Path]:
    """Name → file of the package's public modules, subpackages too, in the order of names."""
    found = {}
    for path in sorted(package.rglob("*.py"), key=lambda path: (len(path.relative_to(package).parts), path.as_posix())):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if not any(part.startswith("_") for part in parts):
            found[".".join(parts)] = path
    return found


def read(path: Path) -> tuple[str, list[Entry]]:
    """A module's docstring and its documented public names, read from its source: nothing is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or "", [entry for node in tree.body if (entry := _entry(node))]


def _entry(node: ast.stmt, *, method: bool = False) -> Entry | None:
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and ast.get_docstring(node):
        decorators = {ast.unparse(one) for one in node.decorator_list}
        arguments = node.args
        if method and "staticmethod" not in decorators:
            arguments.args = arguments.args[1:]
        ends = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        is_property = {"property", "cached_property"} & decorators
        signature = node.name + ("" if is_property else f"({ast.unparse(arguments)}){ends}")
        kind = "property" if is_property else "method" if method else "function"
        return Entry(kind, node.name, signature, _markdown(ast.get_docstring(node)))
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and ast.get_docstring(node):
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        functions = [part for part in node.body if isinstance(part, ast.FunctionDef)]
        start = next((part for part in functions if part.name == "__init__"), None)
        if start:
            start.args.args = start.args.args[1:]
            signature = f"{node.name}({ast.unparse(start.args)})"
        elif any("dataclass" in ast.unparse(one) for one in node.decorator_list):
            values = [ast.unparse(part) for part in fields if "field(" not in ast.unparse(part)]
            signature = f"{node.name}({', '.join(values)})"
        else:
            signature = node.name
        kind = "exception" if any(ast.unparse(base).endswith("Error") for base in node.bases) else "class"
        members = tuple(entry for part in node.body if (entry := _entry(part, method=True)))
        return Entry(kind, node.name, signature, _markdown(ast.get_docstring(node)), members)
    return None


def _markdown(docstring: str | None) -> str:
    """A docstring as Markdown: its "Raises:" block becomes a list."""
    lines, out, inside = inspect.cleandoc(docstring or "").splitlines(), [], False
    for line in lines:
        if re.fullmatch(r"(Raises|Returns|Yields|Args):", line):
            inside = True
            out += ["", f"**{line.rstrip(':')}**", ""]
        elif inside and (match := re.fullmatch(r" {4}([\w.]+): (.*)", line)):
            out.append(f"- `{match[1]}`: {match[2]}")
        elif inside and line.startswith(" "):
            out.append(f"  {line.strip()}")
        else:
            inside = False
            out.append(line)
    return "\n".join(out).strip()


def markdown(name: str, path: Path) -> str:
    """The reference of a module as MyST Markdown, in Sphinx's own layout; empty where nothing in it is public."""
    text, entries = read(path)
    if not entries:
        return ""
    parts = [_markdown(text), "", f"```{{py:currentmodule}} {name}\n```", ""]
    return "\n".join(parts + [line for entry in entries for line in (*_directive(entry, 7), "")])


def _directive(entry: Entry, ticks: int) -> list[str]:
    fence = "`" * ticks
    inner = [line for member in entry.members for line in ("", *_directive(member, ticks - 2))]
    return [f"{fence}{{py:{entry.kind}}} {entry.signature}", "", entry.text, *inner, fence]
