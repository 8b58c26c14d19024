"""The report: its files, what its page says and leaves out, and that a browser shows it without a network."""

from __future__ import annotations

import base64
import csv
import re
import shutil
import subprocess
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from readback import content, png

import mnistvae as mv
from mnistvae import VAE, ConditionalVAE, History, ImageDataset, commands
from mnistvae.commands import Run
from mnistvae.errors import DataError, OutputError, SettingError
from mnistvae.metrics import Evaluation, Metric
from mnistvae.report import SECTIONS, Report, Section, write_report

pytestmark = pytest.mark.filterwarnings(
    "ignore:MLPClassifier was not done",
    "ignore:the mutual information",
    "ignore:the log-likelihood of",
    "ignore:.*biased upwards",
)

#: The names that people of notebook D look for.
NAMED = (
    "generated_samples.png",
    "interpolation.png",
    "latent_space_per_digit.png",
    "ssim_distribution.png",
    "psnr_distribution.png",
    "vae_mnist_complete_analysis.png",
)


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.scripts = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"] or "")
            assert values["alt"]
        if "href" in values:
            self.links.append(values["href"] or "")
        if "id" in values:
            self.ids.append(values["id"] or "")
        assert tag not in {"link", "iframe"}
        assert "src" not in values or tag == "img"  # scripts are in the page, none is loaded
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:  # what scripts and styles are made of is not said
            self.words += data


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    train = mv.load_dataset("mnist-mini", "train")
    folder = tmp_path_factory.mktemp("run") / "run"
    how: dict[str, Any] = {"hidden": (128,), "epochs": 6, "batch_size": 64, "progress": False, "device": "cpu"}
    return commands.train(recipe="mlp", dataset=train, out=folder, **how)


@pytest.fixture(scope="module")
def folder(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("report") / "report"
    train, test = (mv.load_dataset("mnist-mini", split)[:n] for split, n in (("train", 4000), ("test", 600)))
    commands.report(trained.folder.model, dataset=test, out=target, train=train, num_samples=5, progress=False)
    return target


def test_every_picture_is_a_file_and_in_the_page(folder: Path) -> None:
    page = Page(folder / "report.html")
    pictures = sorted(path.name for path in folder.glob("*.png"))
    assert set(NAMED) <= set(pictures)
    assert len(page.images) == len(pictures) == 20
    files = {path.read_bytes() for path in folder.glob("*.png")}
    for source in page.images:
        prefix, encoded = source.split(",", 1)
        assert prefix == "data:image/png;base64"
        assert base64.b64decode(encoded) in files
    for name in pictures:
        assert name in page.words
        assert png(folder / name).std() > 1, name


def test_the_page_needs_nothing_else(folder: Path) -> None:
    page = Page(folder / "report.html")
    sections = [link for link in page.links if link.startswith("#")]
    assert sections == [f"#{name}" for name in page.ids]
    assert len(page.ids) == 10
    files = {path.name for path in folder.iterdir() if path.suffix in {".png", ".csv"}} - {"by_class.csv"}
    assert sorted(set(page.links) - set(sections)) == sorted(files)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r'base64,[^"]*|"arrays":"[^"]*"', "", text))


def test_the_latent_plane_is_the_explorers(folder: Path, trained: Run) -> None:
    view = mv.View(trained.model, mv.load_dataset("mnist-mini", "test")[:600])
    page = folder / "report.html"
    assert mv.explorer.explorer_block(view) in page.read_text(encoding="utf-8")
    assert Page(page).scripts == 2  # the data, and the script


def test_a_model_that_no_page_runs(tmp_path: Path) -> None:
    class Sorted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sort().values

    trunk = torch.nn.Sequential(torch.nn.Linear(2, 64), Sorted())
    model = VAE(2, (1, 8, 8), decoder=mv.networks.TrunkDecoder(trunk, 2, (1, 8, 8)))
    page = Page(write_report(model, images(), tmp_path / "a", num_samples=2))
    assert "There is no plane to move on: expected layers that a page can run, got decoder.trunk.1" in page.words
    assert page.scripts == 0
    assert "latent_space.png" in written(tmp_path / "a")


def test_what_the_page_says(folder: Path) -> None:
    words = Page(folder / "report.html").words
    for title in (
        "Model",
        "Scores",
        "Training",
        "Reconstruction",
        "Generation",
        "Latent space",
        "Classifiers of the codes",
    ):
        assert title in words
    assert "mlp on mnist-mini" in words
    assert "recipe" in words
    assert "6 epochs" in words
    found = Evaluation.from_json(folder / "metrics.json")
    for figure in found:
        assert figure.text() in words
    assert found.left_out == {}


def test_what_is_to_be_known_of_a_figure_is_in_the_page(trained: Run, tmp_path: Path) -> None:
    """Forty images are too few for some figures, which warnings say; the reader of the page has not seen them.

    Said or not, a report is repeatable.
    """
    test = mv.load_dataset("mnist-mini", "test")[:40]
    with pytest.warns(UserWarning, match="pass more images|are too few") as told:
        write_report(trained.model, test, tmp_path / "a", num_samples=2, seed=3)
    words = " ".join(Page(tmp_path / "a" / "report.html").words.split())
    for warning in told:
        said = str(warning.message)
        assert said[1:] in words
    assert len(told) > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_report(trained.model, test, tmp_path / "b", num_samples=2, seed=3)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_golden_run(folder: Path) -> None:
    """A small network, a few epochs, 16 dimensions: what its codes are good for."""
    rows = {row["classifier"]: row for row in csv.DictReader((folder / "classifiers.csv").read_text().splitlines())}
    assert set(rows) == {"knn", "logistic", "mlp", "random-forest"}
    assert float(rows["random-forest"]["accuracy"]) > 0.85
    assert float(rows["random-forest"]["micro ROC-AUC"]) > 0.98
    found = {row["method"]: row for row in csv.DictReader((folder / "clusters.csv").read_text().splitlines())}
    assert set(found) == {"dbscan", "hdbscan"}
    assert float(found["hdbscan"]["adjusted Rand index"]) > 0.3
    by_class = list(csv.DictReader((folder / "by_class.csv").read_text().splitlines()))
    assert [row["class"] for row in by_class] == [str(n) for n in range(10)]


def test_a_report_is_not_written_over(trained: Run, folder: Path) -> None:
    before = content(folder)
    with pytest.raises(OutputError, match=r"a folder without report\.html"):
        commands.report(trained.model, dataset=mv.load_dataset("mnist-mini", "test")[:20], out=folder)
    assert content(folder) == before


# --- what is left out -----------------------------------------------------------------------------------------------


def small(latent_dim: int = 2) -> VAE:
    torch.manual_seed(0)
    shape = (1, 8, 8)
    encoder, decoder = mv.networks.MLPEncoder(latent_dim, shape, (8,)), mv.networks.MLPDecoder(latent_dim, shape, (8,))
    return VAE(latent_dim, shape, encoder=encoder, decoder=decoder)


def images(n: int = 30, *, labels: bool = True) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    return ImageDataset(torch.rand(n, 1, 8, 8, generator=generator), torch.arange(n) % 3 if labels else None)


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_images_without_labels(tmp_path: Path) -> None:
    words = Page(write_report(small(), images(labels=False), tmp_path / "a", num_samples=2)).words
    assert "The images have no labels, so nothing is said by class." in words
    assert "Classifiers of codes are left out, since the data have no labels." in words
    assert "there is no history beside the model" in words
    assert "Left out: mig, since the data have no labels." in words
    assert not written(tmp_path / "a") & {"latent_space_per_digit.png", "by_class.csv", "classifiers.csv", "loss.png"}
    assert "latent_space.png" in written(tmp_path / "a")


def test_a_code_of_one_dimension(tmp_path: Path) -> None:
    words = Page(write_report(small(1), images(), tmp_path / "a", train=images(60), num_samples=2)).words
    assert "A code of one dimension has no map." in words
    assert not written(tmp_path / "a") & {"latent_plane.png", "clusters.png", "latent_space.png"}
    assert {"traversals.png", "classifiers.csv", "interpolation.png"} <= written(tmp_path / "a")


def test_one_class_and_few_images(tmp_path: Path) -> None:
    data = images(9)
    one = data[data.labels == 1]  # type: ignore[index]
    words = Page(write_report(small(), one, tmp_path / "a", train=images(), num_samples=2)).words
    assert "Classifiers of codes are left out, since the data have one class." in words
    assert "fewer than five images" in words


def test_a_class_with_one_member(tmp_path: Path) -> None:
    data = ImageDataset(images(31).images, torch.tensor([0] * 15 + [1] * 15 + [2]))
    write_report(small(), data, tmp_path / "a", train=images(60), num_samples=2)
    assert {"latent_space_per_digit.png", "roc_curves.png"} <= written(tmp_path / "a")


def test_a_conditional_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = ConditionalVAE(3, 3, (1, 8, 8))
    history = History([{"epoch": 1, "loss": 1.0, "reconstruction": 1.0, "kl": 0.0}])
    write_report(vae, images(), tmp_path / "a", train=images(60), num_samples=2, history=history)
    assert {"latent_plane.png", "clusters.png", "loss.png"} <= written(tmp_path / "a")
    assert Page(tmp_path / "a" / "report.html").words.count("the decoder is told class 0") == 2
    with pytest.raises(DataError, match="labels for a conditional model"):
        write_report(vae, images(labels=False), tmp_path / "b")


def test_binarized_as_in_training(tmp_path: Path) -> None:
    sections = [one for one in SECTIONS if one.title == "Scores"]
    page = write_report(small(), images(), tmp_path / "a", binarization="dynamic", num_samples=2, sections=sections)
    assert "binarized-dynamic" in Page(page).words


def test_a_broken_model_is_named(tmp_path: Path) -> None:
    vae = small()
    with torch.no_grad():
        next(vae.encoder.parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match="NaN"):
        write_report(vae, images(), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.filterwarnings("ignore")  # of a model whose codes say nothing
def test_a_collapsed_posterior(tmp_path: Path) -> None:
    vae = small(3)
    with torch.no_grad():
        for weight in vae.encoder.parameters():
            weight.zero_()
    write_report(vae, images(), tmp_path / "a", train=images(60), num_samples=2)
    assert {"latent_space_tsne.png", "report.html"} <= written(tmp_path / "a")


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    for bad in ({"binarization": "x"}, {"num_samples": 0}, {"seed": -1}):
        with pytest.raises(SettingError):
            write_report(small(), images(), tmp_path / "a", **bad)  # type: ignore[arg-type]
        assert not (tmp_path / "a").exists()


def test_many_classes_have_a_legend_that_fits(tmp_path: Path) -> None:
    points, labels = torch.randn(260, 2), torch.arange(260) % 26
    figure = mv.plotting.latent_map(points, labels)
    figure.canvas.draw()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    box, whole = legend.get_window_extent(), figure.bbox
    assert box.y0 >= whole.y0
    assert box.y1 <= whole.y1
    assert figure.axes[0].get_window_extent().width > 0.4 * whole.width


# --- sections and metrics of one's own -------------------------------------------------------------------------------


QUICK: dict[str, Any] = {"include": ["reconstruction"], "num_samples": 2}


def brightness(report: Report) -> None:
    """A text, a picture and a table."""
    values = report.view.shown.images.float().flatten(1).mean(1) / 255
    report.page.text(f"Brightness {values.mean():.3f} <of all>")
    report.page.picture("brightness.png", mv.plotting.histogram(values, "brightness"), "How bright they are.")
    report.page.table("brightness.csv", ["image", "brightness"], [[n, values[n]] for n in range(3)])


def shift(x: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    return (reconstruction - x).flatten(1).mean(1)


def test_a_section_and_a_metric_of_ones_own(tmp_path: Path) -> None:
    metric = Metric("shift", "grey", "lower", per="reconstruction", compute=shift, protocol="mean difference")
    scores = next(one for one in SECTIONS if one.title == "Scores")
    sections = [scores, Section("Light", brightness)]
    path = write_report(small(), images(), tmp_path / "a", metrics=[metric], sections=sections, **QUICK)
    page = Page(path)
    found = Evaluation.from_json(tmp_path / "a" / "metrics.json")
    assert found.names() == ["mse", "mae", "psnr", "ssim", "shift"]
    assert found.score("shift").text() in page.words
    assert page.ids == ["s0", "s1"]
    assert "Light" in page.words
    assert "Brightness 0.5" in page.words
    assert "<of all>" in page.words  # which HTML would take for a tag
    assert len(page.images) == 1
    rows = list(csv.reader((tmp_path / "a" / "brightness.csv").read_text().splitlines()))
    assert rows[0] == ["image", "brightness"]
    assert float(rows[1][1]) == pytest.approx(float(images().images[0].float().mean() / 255))
    assert written(tmp_path / "a") == {
        *("report.html", "metrics.json", "by_class.csv", "scores.csv", "brightness.png", "brightness.csv")
    }


def test_sections_are_in_the_order_of_the_list(tmp_path: Path) -> None:
    chosen = [brightness, *(one for one in reversed(SECTIONS) if one.title in {"Model", "Scores"})]
    text = write_report(small(), images(), tmp_path / "a", sections=chosen, **QUICK).read_text()
    assert re.findall("<h2>([^<]*)</h2>", text) == ["Brightness", "Scores", "Model"]


def test_a_section_that_fails_says_so_and_the_rest_is_written(tmp_path: Path) -> None:
    def broken(report: Report) -> None:
        report.page.text("before")
        raise ValueError("no such thing")

    with pytest.warns(UserWarning, match=r"the section 'Broken' of the report could not be finished: ValueError: no"):
        path = write_report(small(), images(), tmp_path / "a", sections=[broken, brightness], **QUICK)
    words = Page(path).words
    assert "before" in words
    assert "This section could not be finished. ValueError: no such thing (test_report.py, line " in words
    assert "brightness.png" in written(tmp_path / "a")


def test_a_file_is_written_once(tmp_path: Path) -> None:
    for name in ("brightness.png", "metrics.json", "../a.png", "", "..", 3):

        def second(report: Report, name: Any = name) -> None:
            report.page.table(name, ["a"], [[1]])

        with pytest.warns(UserWarning, match="expected the name of a new file in the report's folder"):
            write_report(small(), images(), tmp_path / "a", sections=[brightness, second], **QUICK)
    assert png(tmp_path / "a" / "brightness.png").std() > 1
    Evaluation.from_json(tmp_path / "a" / "metrics.json")


def test_a_table_with_rows_of_several_lengths_is_refused_before_it_is_written(tmp_path: Path) -> None:
    def ragged(report: Report) -> None:
        report.page.table("ragged.csv", ["a", "b", "c"], [[1, 2, 3], [4, 5]])

    with pytest.warns(
        UserWarning, match="rows of a table with 3 cells, as many as its header, got 2 in row number 1: "
    ):
        write_report(small(), images(), tmp_path / "a", sections=[ragged, brightness], **QUICK)
    assert "ragged.csv" not in written(tmp_path / "a")


def test_a_disk_that_is_full_ends_a_report(tmp_path: Path) -> None:
    def full(report: Report) -> None:
        raise OutputError("to write a.png", "no space left on the disk")

    with pytest.raises(OutputError, match="no space"):
        write_report(small(), images(), tmp_path / "a", sections=[full], **QUICK)


@pytest.mark.parametrize("bad", [None, "Model", 3, ["Model"], [Section], [3], {"a": brightness}])
def test_sections_that_are_none(bad: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="expected sections"):
        write_report(small(), images(), tmp_path / "a", sections=bad)
    assert not (tmp_path / "a").exists()


def test_a_section_has_a_title_and_a_function() -> None:
    for title, write in ((3, brightness), ("Light", 3)):
        with pytest.raises(SettingError):
            Section(title, write)  # type: ignore[arg-type]


# --- each thing is computed once -------------------------------------------------------------------------------------


def test_a_report_computes_each_thing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images encoded and classified, reconstructions decoded, samples drawn, classifiers fitted."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    n, known, num_samples = 60, 100, 3
    train, test = (mv.load_dataset("mnist-mini", split)[:size] for split, size in (("train", known), ("test", n)))
    torch.manual_seed(0)
    vae = VAE(8, encoder=mv.networks.MLPEncoder(8, (1, 28, 28), (16,)))
    encoded, decoded = [], []
    counts = {"sampled": 0, "classified": 0, "fitted": 0}
    vae.encoder.register_forward_hook(lambda module, given, found: encoded.append(given[0].detach()))
    vae.decoder.register_forward_hook(lambda module, given, found: decoded.append(given[0].detach()))

    def counted(owner: Any, name: str, key: str, size: Any) -> None:
        method = getattr(owner, name)

        def replaced(self: Any, *given: Any, **settings: Any) -> Any:
            counts[key] += size(given[0])
            return method(self, *given, **settings)

        monkeypatch.setattr(owner, name, replaced)

    counted(VAE, "sample", "sampled", int)
    counted(mv.metrics.DigitClassifier, "features", "classified", len)
    for kind in (KNeighborsClassifier, RandomForestClassifier, MLPClassifier):
        counted(kind, "fit", "fitted", lambda codes: 1)
    write_report(vae, test, tmp_path / "a", train=train, num_samples=num_samples)

    seen = torch.cat(encoded).flatten(1)
    images = torch.cat([test.images, train.images]).flatten(1) / 255
    assert len(seen) == len(images)  # each once, and no other
    assert all(int((seen == image).all(1).sum()) == 1 for image in images)
    codes, means = torch.cat(decoded), mv.analysis.encode_dataset(vae, test).means
    ends = set(mv.data.going_round(test, 6).tolist())  # which the interpolation decodes, too
    assert [int((codes == means[i]).all(1).sum()) for i in range(n) if i not in ends] == [1] * (n - len(ends))
    assert counts == {"sampled": n + 40, "classified": n + n, "fitted": 3}  # 40 for pictures
    # The page's plane, samples, drawn codes, interpolation, plane, traversals:
    others = 1 + 40 + 10 + 6 * 10 + 15 * 15 + 8 * 9
    found = list(csv.DictReader((tmp_path / "a" / "clusters.csv").read_text().splitlines()))
    assert len(codes) == n * (3 + num_samples) + others + int(
        found[-1]["clusters"]
    )  # bound, reconstructions and samples, likelihood


# --- in a browser ---------------------------------------------------------------------------------------------------


def test_a_browser_shows_every_picture(folder: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium to open the page in")
    # This copy of the page counts the pictures that came out, and what was asked of a network.
    count = """<script>addEventListener('load', () => {
        const all = [...document.images], shown = all.filter(image => image.complete && image.naturalWidth > 100)
        const fetched = performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('data:'))
        document.title = `${shown.length} of ${all.length} pictures, ${fetched.length} fetched`
    })</script>"""
    copy = tmp_path / "page.html"
    copy.write_text((folder / "report.html").read_text(encoding="utf-8") + count, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run(  # noqa: S603 (the browser that was found)
        [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<title>([^<]*)</title>", done.stdout)
    assert found is not None
    assert found[1] == "20 of 20 pictures, 0 fetched"
