"""A section of a report, and the material that it is written from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mnistvae._checks import check_instance, listed
from mnistvae.errors import OutputError, SettingError, raised_text, type_name
from mnistvae.metrics import Evaluation
from mnistvae.report.page import Page
from mnistvae.view import View

if TYPE_CHECKING:
    from mnistvae.training import History

__all__ = ["Report", "Section", "as_sections", "write_section"]


@dataclass(frozen=True)
class Report:
    """The material of a report, which each section is given."""

    #: The model and the data set; each thing that is asked of it is computed once, for all sections.
    view: View
    #: The page to write on.
    page: Page
    #: The scores of the model.
    evaluation: Evaluation
    #: History of the training, if it is known.
    history: History | None = None
    #: Further facts about the model, by name.
    about: Mapping[str, Any] = field(default_factory=dict)
    #: Warnings about the scores.
    reservations: Sequence[str] = ()
    #: True if there is to be a map by UMAP, too.
    umap: bool = False
    #: Reason why there is none, though one was asked for.
    without_umap: str = ""


def _nothing(view: View) -> None:
    """Prepare nothing: the section asks for what it needs as it is written."""


@dataclass(frozen=True)
class Section:
    """A section of a report: one of the package's, or one of your own.

    Args:
        title: Title of the section on the page.
        write: Function that is given the :class:`Report` and adds texts, pictures and tables to its ``page``.
        prepare: Function that is given the view before anything is measured, to say what to keep (``view.keep``), or
            to compute what takes long.

    Raises:
        SettingError: If the title is not a text, or ``write`` is not a function.

    Example:
        >>> def brightness(report):
        ...     images = report.view.data.images.float() / 255
        ...     report.page.text(f"The images have a mean brightness of {images.mean():.2f}.")
        >>> Section("Brightness", brightness).title
        'Brightness'
    """

    title: str
    write: Callable[[Report], object]
    prepare: Callable[[View], object] = _nothing

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", check_instance("title of a section as a text", self.title, str))
        for name in ("write", "prepare"):
            if not callable(value := getattr(self, name)):
                raise SettingError(f"{name}, of the section {self.title!r}, as a function", type_name(value))


def as_sections(sections: Sequence[Section | Callable[[Report], object]]) -> list[Section]:
    """Return sections; a bare function has its own name as its title.

    Raises:
        SettingError: If something else is among them.
    """
    found = listed(sections)
    if found is None:
        raise SettingError("sections as a list", type_name(sections), "such as [*SECTIONS, my_section]")
    return [one if isinstance(one, Section) else _section_of(one) for one in found]


def _section_of(function: Any) -> Section:
    if not callable(function) or isinstance(function, type):
        raise SettingError("sections, or functions of a report", type_name(function), "Section(title, function)")
    name = getattr(function, "__name__", type(function).__name__)
    return Section(name.strip("_").replace("_", " ").capitalize(), function)


def write_section(section: Section, report: Report) -> None:
    """Write a section; if it raises an error, the page and a warning say so, and the report goes on.

    Raises:
        OutputError: If a file cannot be written.
    """
    report.page.section(section.title)
    try:
        section.write(report)
    except OutputError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever somebody's own section raises)
        said = raised_text(error)
        report.page.text(f"This section could not be finished. {said}")
        warnings.warn(f"the section {section.title!r} of the report could not be finished: {said}", stacklevel=4)
