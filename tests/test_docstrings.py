"""Docstrings whose first sentence says what a thing is or does, without the name of an argument or a riddle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mnistvae

SOURCE = Path(mnistvae.__file__).parent
#: Words that open a question, of which the reader would have to guess the answer.
RIDDLE = re.compile(r"(What|Where|How|Whether|Who|Whose|Why|When|Nobody|Which)\b")
#: Sections of a docstring that describe one thing a line.
SECTIONS = re.compile(r"\s*(Args|Raises):$")
#: Beginnings of a description that need the name before it to be read.
FRAGMENT = re.compile(r"(of|to|for|in|as|under|how|what|where|whether|which|that)\b")


def docstrings(source: str) -> Iterator[tuple[str, int, str]]:
    """Name, line and text of each docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "module"), getattr(node, "lineno", 1), text


def riddles(source: str) -> list[str]:
    return [f"{line}: {name}: {text.splitlines()[0]}" for name, line, text in docstrings(source) if RIDDLE.match(text)]


def fragments(source: str) -> list[str]:
    """Descriptions of arguments that cannot be parsed alone, and errors whose occasion is not said."""
    found = []
    for name, line, text in docstrings(source):
        section = ""
        for row in text.splitlines():
            if row and not row.startswith(" "):
                heading = SECTIONS.match(row)
                section = heading[1] if heading else ""
            entry = re.match(r"    (\w+): (.*)", row)
            if entry and section == "Args" and FRAGMENT.match(entry[2]):
                found.append(f"{line}: {name}: {row.strip()}")
            if entry and section == "Raises" and not re.match(r"(If|When|As|Whatever)\b", entry[2]):
                found.append(f"{line}: {name}: {row.strip()}")
    return found


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_summary_stands_alone(path: Path) -> None:
    assert not riddles(path.read_text(encoding="utf-8")), "say what it is or does"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_descriptions_need_no_name_to_be_read(path: Path) -> None:
    assert not fragments(path.read_text(encoding="utf-8")), "write noun phrases, and If ... for what is raised"


def test_riddles_and_fragments_are_found() -> None:
    source = '''
def draw(seed):
    """What is drawn.

    Args:
        seed: of every draw.
        n: Number of draws.

    Raises:
        SettingError: a negative seed.
        DataError: If there is nothing to draw.
    """


class Drawing:
    """A drawing. What it shows is its own affair."""
'''
    assert riddles(source) == ["2: draw: What is drawn."]
    assert fragments(source) == ["2: draw: seed: of every draw.", "2: draw: SettingError: a negative seed."]
