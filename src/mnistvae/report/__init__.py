"""Everything about one trained model: pictures, tables, and one page that shows them all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistvae._files import as_path, output_folder
from mnistvae._process import sharing_cores
from mnistvae.analysis.embedding import umap_class
from mnistvae.data import Binarization, ImageDataset
from mnistvae.errors import SettingError
from mnistvae.metrics import GROUPS, Evaluation, Group, Metric, evaluate_view
from mnistvae.models import VAE
from mnistvae.report.latent_space import without_umap
from mnistvae.report.page import Page
from mnistvae.report.section import Report, Section, as_sections, write_section
from mnistvae.report.sections import SECTIONS
from mnistvae.view import View

if TYPE_CHECKING:
    from mnistvae.training import History

__all__ = ["SECTIONS", "Page", "Report", "Section", "write_report"]

#: Files that the report writes beside those of its sections.
_FILES = ("report.html", "metrics.json", "by_class.csv")


def write_report(
    model: VAE,
    data: ImageDataset,
    folder: str | Path,
    *,
    train: ImageDataset | None = None,
    history: History | None = None,
    binarization: Binarization = "none",
    about: Mapping[str, Any] | None = None,
    include: Sequence[Group] = GROUPS,
    metrics: Sequence[Metric | str] = (),
    sections: Sequence[Section | Callable[[Report], object]] = SECTIONS,
    num_samples: int = 50,
    umap: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Measure and draw everything about a model, as PNG, CSV, JSON and one self-contained page, ``report.html``.

    Parts that the data or the model do not allow are left out, and the page says so: without labels there are no scores
    by class and no classifiers, with one latent dimension there is no plane. The map by UMAP is left out, with a
    warning, where umap-learn is not installed. A section that raises an error is left unfinished; the page and a
    warning say why.

    Args:
        model: The model, on the device to compute on.
        data: Images that it was not trained on.
        folder: Folder of the files; it is made if need be, and files of the same names are replaced.
        train: Images that it was trained on; classifiers of codes learn from the first 10,000 of them.
        history: History of its training.
        binarization: How training turned grey images into black and white.
        about: Further facts about the model by name, for its table.
        include: Families of the package's metrics.
        metrics: Metrics of your own, see :class:`mnistvae.metrics.Metric`.
        sections: Sections of the page in their order: :data:`SECTIONS`, some of them, or sections of your own.
        num_samples: Number of importance samples for each image, for the likelihood.
        umap: Whether to embed the codes by UMAP, too, which the extra ``[umap]`` installs.
        seed: Seed of all that is drawn.
        progress: Whether to show a bar for each stage.

    Returns:
        The path of the page.

    Raises:
        DataError: If the data do not fit the model, or a value is not finite.
        SettingError: If a setting, a metric or a section makes no sense.
        OutputError: If the folder cannot be written.
    """
    chapters = as_sections(sections)
    view = View(
        model, data, train=train, binarization=binarization, num_samples=num_samples, seed=seed, progress=progress
    )
    reason = _without_umap(view) if umap else ""  # said before anything else takes its time
    with output_folder(as_path(folder), "", "") as target:
        name = (about or {}).get("recipe") or type(model).__name__
        page = Page(target, f"{name} on {view.data.name}", taken=_FILES)
        view.keep("reconstructions")
        for section in chapters:
            with suppress(Exception):  # which comes again where the section, or a score, asks for the same
                section.prepare(view)
        with sharing_cores() as look:
            evaluation, reservations = _evaluate(view, include, metrics, look)
            evaluation.to_json(target / "metrics.json")
            if evaluation.by_class:
                evaluation.to_csv(target / "by_class.csv")
            report = Report(view, page, evaluation, history, about or {}, reservations, umap and not reason, reason)
            for section in chapters:
                look()
                with view.bar(section.title, 1) as done:
                    write_section(section, report)
                    done(1)
        return page.write("report.html")


def _without_umap(view: View) -> str:
    """The reason why there is no map by UMAP, which a warning says, too; "" where there can be one."""
    if view.model.latent_dim > 2:
        try:
            umap_class()
        except SettingError as error:
            reason = without_umap(error)
            warnings.warn(reason, stacklevel=3)
            return reason
    return ""


def _evaluate(
    view: View, include: Sequence[Group], metrics: Sequence[Metric | str], before_each: Callable[[], object]
) -> tuple[Evaluation, list[str]]:
    """All scores, and the warnings about them, which the reader of the page has not seen."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluation = evaluate_view(view, include=include, metrics=metrics, before_each=before_each)
    for warning in caught:  # for the one who waits for the report
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    said = (str(one.message) for one in caught if one.category is UserWarning)
    return evaluation, list(dict.fromkeys(said))
