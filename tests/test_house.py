"""Sizes that fit the head: modules of 350 lines, classes of 200, functions of 50.

What is longer says why in the docstring of its module, in a paragraph that begins with "Longer than usual".
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mnistvae

SOURCE = Path(mnistvae.__file__).parent
MODULE, CLASS, FUNCTION = 350, 200, 50
EXCUSE = "Longer than usual"


def lines_of(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a class, or of a function without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if isinstance(node, ast.ClassDef) or ast.get_docstring(node) is None:
        return lines
    text = node.body[0]
    return lines - ((text.end_lineno or text.lineno) - text.lineno + 1)


def too_long(source: str) -> list[str]:
    tree = ast.parse(source)
    if f"\n{EXCUSE}" in (ast.get_docstring(tree) or ""):
        return []
    length = len(source.splitlines())
    found = [f"the module has {length} lines"] if length > MODULE else []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            most = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if lines_of(node) > most:
                found.append(f"{node.name} in line {node.lineno} has {lines_of(node)} lines")
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_everything_fits_the_head(path: Path) -> None:
    assert not too_long(path.read_text(encoding="utf-8")), f"split it, or say why: {EXCUSE}: ..."


def test_what_is_too_long_is_found() -> None:
    body = "\n".join("    x = 1" for _ in range(FUNCTION))
    doc = '    """Many.\n' + "\n" * 60 + '    """\n'
    assert too_long(f"def f():\n{body}\n") == [f"f in line 1 has {FUNCTION + 1} lines"]
    assert not too_long(f"def f():\n{doc}{body[: -len('    x = 1')]}")
    assert too_long("class A:\n" + "    x = 1\n" * CLASS) == [f"A in line 1 has {CLASS + 1} lines"]
    assert too_long("x = 1\n" * (MODULE + 1)) == [f"the module has {MODULE + 1} lines"]
    assert not too_long(f'"""A module.\n\n{EXCUSE}: it is a table.\n"""\n' + "x = 1\n" * MODULE)
