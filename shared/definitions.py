"""Functions and classes that stand in a notebook's cells, for use in another notebook: no second copy that could drift."""

import ast
from pathlib import Path
from types import SimpleNamespace

import nbformat

from shared.errors import CourseError


def definitions(notebook: Path, names: list[str], **given: object) -> SimpleNamespace:
    """The functions, classes and constants `names` of `notebook`, defined as its cells define them, in their order.

    Nothing else of the notebook is run. `given`: what they refer to and the notebook imports. Raises CourseError where a
    name is not defined at the top level of a cell.
    """
    found: dict[str, object] = {"__name__": notebook.stem, **given}
    for cell in nbformat.read(notebook, 4).cells:
        if cell.cell_type != "code" or "%" in cell.source[:1]:
            continue
        for node in ast.parse(cell.source).body:
            targets = (
                [node.name] if hasattr(node, "name") else [getattr(t, "id", "") for t in getattr(node, "targets", [])]
            )
            if set(targets) & set(names):
                exec(compile(ast.Module([node], []), str(notebook), "exec"), found)
    if missing := [name for name in names if name not in found]:
        raise CourseError(
            f"{notebook.name} defines no {', '.join(missing)}: its cells have changed, and so must this call."
        )
    return SimpleNamespace(**{name: found[name] for name in names})
