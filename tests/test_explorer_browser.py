"""The explorer's page in a real browser: it draws what PyTorch draws, and each control changes it."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mnistvae as mv
from mnistvae.explorer import explorer_page, rounded
from mnistvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed: apt-get install chromium")

DIGITS = mv.load_dataset("mnist-mini", "test")[:200]
EXPLORER = "document.querySelector('.explorer').explorer"


def mlp(latent_dim: int = 2, **more: Any) -> mv.VAE:
    parts = {
        "encoder": MLPEncoder(latent_dim, hidden=(16,), **more),
        "decoder": MLPDecoder(latent_dim, hidden=(16,), **more),
    }
    return mv.VAE(latent_dim, **parts, **more)


MODELS = {
    "mlp": mlp,
    "line": lambda: mlp(1),
    "many": lambda: mlp(200),
    "conditional": lambda: mlp(3, num_classes=10),
    "conv": lambda: mv.VAE(4, encoder=ConvEncoder(4, channels=(4, 8)), decoder=ConvDecoder(4, channels=(8, 4))),
    "colour": lambda: mv.VAE(3, (3, 10, 14)),
}


@pytest.fixture(scope="module")
def models() -> dict[str, mv.VAE]:
    torch.manual_seed(0)
    made = {name: rounded(make()).eval() for name, make in MODELS.items()}
    with torch.no_grad():  # of a trained model's spread: an untrained one's ellipse is larger than the plane
        made["mlp"].encoder.network.rest[-1].bias[2:] = -6
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(models: dict[str, mv.VAE], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of each model, as a file."""
    folder, made = tmp_path_factory.mktemp("pages"), {}
    for name, model in models.items():
        data = DIGITS if model.image_shape == (1, 28, 28) else torch.rand(20, *model.image_shape)
        made[name] = folder / f"{name}.html"
        made[name].write_text(explorer_page(model, data), encoding="utf-8")
    crowd = DIGITS.replace(labels=torch.arange(len(DIGITS)) % 40, class_names=None)
    made["crowd"] = folder / "crowd.html"
    made["crowd"].write_text(explorer_page(models["mlp"], crowd), encoding="utf-8")
    made["plane"] = folder / "plane.html"
    made["plane"].write_text(explorer_page(models["mlp"], DIGITS, parts="plane"), encoding="utf-8")
    return made


class Opened:
    """A page in the browser, and what it complained of or asked for."""

    def __init__(self, browser: Any, path: Path, **how: Any) -> None:
        self.tab = browser.new_page(**how)
        self.tab.set_default_timeout(120_000)  # of a busy machine
        self.said: list[str] = []
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", lambda request: self.said.append(request.url))
        self.tab.goto(path.as_uri())
        self.said = [one for one in self.said if one != path.as_uri()]
        self.settle()

    def settle(self) -> None:
        """Wait until everything is drawn."""
        self.wait(f"{EXPLORER}.plane.width && !{EXPLORER}.wanted && !{EXPLORER}.jobs.size")

    def wait(self, condition: str) -> None:
        """Wait for a condition; playwright's own way is against the page's policy."""
        for _ in range(600):
            if self.tab.evaluate(f"Boolean({condition})"):
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(condition)

    def call(self, script: str, *arguments: Any) -> Any:
        return self.tab.evaluate(f"(a) => {{ const e = {EXPLORER}; {script} }}", list(arguments))

    def picture(self, name: str) -> str:
        """What is drawn on a canvas of the page, as a PNG's address."""
        return self.call("return (e.at[a[0]] ?? e.plane[a[0]]).toDataURL()", name)

    def changes(self, action: Any, *names: str) -> None:
        """An action that changes each of some canvases."""
        before = [self.picture(name) for name in names]
        action()
        self.settle()
        for name, then in zip(names, before, strict=True):
            assert self.picture(name) != then, f"{name} is as it was"

    def set(self, selector: str, value: Any) -> None:
        """Move a slider."""
        self.tab.locator(selector).first.evaluate(
            "(one, value) => { one.value = value; one.dispatchEvent(new Event('input', { bubbles: true })); }", value
        )


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Opened]:
    """The page of the model that a test asks for, which must ask for nothing and complain of nothing."""
    page = Opened(browser, pages[getattr(request, "param", "mlp")], viewport={"width": 1200, "height": 1300})
    yield page
    assert page.said == []
    page.tab.close()


@pytest.mark.parametrize(("opened", "name"), [(name, name) for name in MODELS], indirect=["opened"])
def test_the_page_draws_and_encodes_what_pytorch_does(opened: Opened, name: str, models: Any) -> None:
    model = models[name]
    z, x = torch.randn(1, model.latent_dim), torch.rand(1, *model.image_shape)
    for label in [None] if model.num_classes is None else [0, 7]:
        y = None if label is None else torch.tensor([label])
        with torch.no_grad():
            image, code = model.decode(z, y).mean, model.encode(x, y).mean
        script = "return [Array.from(e.decode(a[0], a[2])), Array.from(e.encode(a[1], a[2]).mean)]"
        drawn, encoded = opened.call(script, z.flatten().tolist(), x.flatten().tolist(), label or 0)
        assert np.abs(np.array(drawn) - image.flatten().numpy()).max() < 1e-3
        assert np.abs(np.array(encoded) - code.flatten().numpy()).max() < 1e-3
    drawn = Image.open(io.BytesIO(base64.b64decode(opened.picture("digit").partition(",")[2])))
    shown = np.asarray(drawn.convert("RGB"), dtype=float)
    z = torch.tensor([list(opened.call("return Array.from(e.z)"))])
    with torch.no_grad():
        wanted = model.decode(z, None if label is None else torch.tensor([0])).mean[0].movedim(0, -1).numpy()
    assert np.abs(shown / 255 - wanted).max() < 2.1e-3  # and half a grey level


@pytest.mark.parametrize("opened", ["mlp", "crowd"], indirect=True)
def test_a_saved_plane_has_the_names_of_the_classes(opened: Opened, tmp_path: Path) -> None:
    def more() -> int:
        with opened.tab.expect_download() as download:
            opened.tab.locator("[data-is=savePlane]").click()
        download.value.save_as(tmp_path / "plane.png")
        with Image.open(tmp_path / "plane.png") as picture:
            return picture.height - int(opened.call("return e.plane.under.height"))

    crowd = opened.call("return e.space.classes") > 30
    assert more() >= (60 if crowd else 30)  # rows of names
    assert ("and 10 more classes" in opened.tab.locator(".legend").inner_text()) is crowd
    hint = opened.tab.locator("[data-is=hint]")
    assert "A click on a point" in hint.inner_text()
    opened.tab.locator("input[value=images]").dispatch_event("click")
    opened.settle()
    assert "A click on a point" not in hint.inner_text()
    assert not opened.tab.locator(".legend").is_visible()
    assert more() == 0


@pytest.mark.parametrize("opened", ["line"], indirect=True)
def test_one_dimension_has_a_handle_over_the_whole_height(opened: Opened) -> None:
    drawn = Image.open(io.BytesIO(base64.b64decode(opened.picture("over").partition(",")[2])))
    x = round(opened.call("return e.plane.ratio * e.plane.toPixel(e.plane.seen(e.z))[0]"))
    assert np.asarray(drawn)[:, x, 3].min() > 0


def test_dragging_the_handle(opened: Opened) -> None:
    box = opened.tab.locator(".plane").bounding_box()
    mouse, before = opened.tab.mouse, opened.call("return Array.from(e.z)")

    def drag() -> None:
        mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        mouse.down()
        mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.2 * box["height"], steps=5)
        mouse.up()

    opened.changes(drag, "over", "digit")
    x, y = opened.call("return Array.from(e.z)")
    assert x > before[0]
    assert y > before[1]
    under = opened.picture("under")
    mouse.move(5, 5)  # nothing is held any more
    assert opened.call("return Array.from(e.z)") == [x, y]
    assert opened.picture("under") == under


def test_keys_move_the_handle_and_words_say_where_it_is(opened: Opened) -> None:
    opened.tab.locator(".plane canvas").last.focus()
    x, y = opened.call("return Array.from(e.z)")
    for key in ("ArrowRight", "Shift+ArrowUp"):
        opened.changes(lambda key=key: opened.tab.keyboard.press(key), "digit", "over")
    now = opened.call("return Array.from(e.z)")
    assert np.allclose(now, [x + 0.1, y + 0.5], atol=1e-4)
    opened.wait(f"{EXPLORER}.at.status.textContent.includes('Nearest test image')")
    opened.tab.keyboard.press("Enter")
    opened.settle()
    number = opened.call("return e.space.nearest(e.z)")
    assert opened.call("return Array.from(e.space.code(a[0]))", number) == opened.call("return Array.from(e.z)")


def test_a_click_on_a_point_takes_its_image(opened: Opened) -> None:
    box = opened.tab.locator(".plane").bounding_box()
    x, y = opened.call("return e.plane.toPixel([e.plane.points[14], e.plane.points[15]])")
    opened.changes(lambda: opened.tab.mouse.click(box["x"] + x, box["y"] + y), "digit", "encoded", "rebuilt")
    number = opened.call("return e.space.nearest(e.z)")
    assert opened.call("return Array.from(e.source.pixels)") == pytest.approx(
        (DIGITS.images[number].flatten() / 255).tolist(), abs=1e-6
    )


def test_drawing(opened: Opened) -> None:
    box = opened.tab.locator(".pad").bounding_box()

    def draw() -> None:
        opened.tab.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
        opened.tab.mouse.down()
        opened.tab.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
        opened.tab.mouse.up()

    opened.changes(draw, "pad", "encoded", "rebuilt", "digit", "over")
    pixels = np.array(opened.call("return Array.from(e.source.pixels)")).reshape(28, 28)
    rows, _ = np.nonzero(pixels > 0.5)
    assert 18 <= np.ptp(rows) + 1 <= 21  # as MNIST was made
    weights = pixels / pixels.sum()
    assert abs((weights.sum(0) * (np.arange(28) + 0.5)).sum() - 14) < 0.3
    mean = opened.call("return Array.from(e.encode(e.source.pixels).mean)")
    assert np.allclose(mean, opened.call("return Array.from(e.z)"))
    opened.changes(lambda: opened.tab.get_by_label("centre and scale").uncheck(), "encoded")
    opened.changes(lambda: opened.tab.get_by_role("button", name="Clear").click(), "pad", "encoded", "over")
    opened.changes(lambda: opened.tab.get_by_role("button", name="Take a test image").click(), "encoded", "digit")


def test_each_control_changes_the_page(opened: Opened) -> None:
    tab = opened.tab
    opened.changes(lambda: opened.set(".sliders input", 2.5), "digit", "over")
    assert opened.call("return e.z[0]") == 2.5
    opened.changes(lambda: tab.get_by_label("Spread", exact=True).check(), "digit")
    assert "white is 0." in tab.locator("[data-is=about]").inner_text()
    opened.changes(lambda: tab.get_by_label("Mean", exact=True).check(), "digit")
    opened.changes(lambda: tab.get_by_label("Images", exact=True).check(), "under")
    opened.changes(lambda: tab.get_by_label("Codes", exact=True).check(), "under")
    opened.changes(lambda: opened.set("[data-is=way]", 0.5), "digit", "over")
    opened.changes(lambda: tab.get_by_role("button", name="Set A").click(), "endA", "strip")
    opened.changes(lambda: tab.get_by_role("button", name="Back to the middle").click(), "digit")
    opened.changes(lambda: tab.get_by_role("button", name="Set B").click(), "endB", "strip")
    samples = "return e.drawn.map((one) => Array.from(one.z)).flat()"
    first = opened.call(samples)
    opened.set("[data-is=heat]", 0.5)
    assert np.allclose(opened.call(samples), 0.5 * np.array(first), atol=1e-6)
    tab.get_by_role("button", name="Draw again").click()
    assert not np.allclose(opened.call(samples), 0.5 * np.array(first))
    opened.settle()
    opened.changes(lambda: tab.get_by_role("button", name="Take sample 3").click(), "digit")


@pytest.mark.parametrize("opened", ["conditional"], indirect=True)
def test_the_class_and_the_axes(opened: Opened) -> None:
    opened.changes(lambda: opened.tab.get_by_label("7", exact=True).check(), "digit", "under", "strip", "endA")
    z = opened.call("return Array.from(e.z)")
    opened.changes(lambda: opened.tab.locator("[data-is=across]").select_option("2"), "under")
    assert opened.call("return Array.from(e.z)") == z  # a look from elsewhere moves nothing
    box = opened.tab.locator(".plane").bounding_box()
    opened.tab.mouse.click(box["x"] + 200, box["y"] + 30)
    seen = opened.call("return e.plane.toPixel(e.plane.seen(e.z))")
    assert np.allclose(seen, [200, 30], atol=1.5) or opened.call("return e.source") is not None
    opened.tab.locator("[data-is=up]").select_option("2")  # of two equal axes the other one moves
    assert opened.tab.locator("[data-is=across]").input_value() == "p1"


@pytest.mark.parametrize("opened", ["line"], indirect=True)
def test_a_latent_space_of_one_dimension(opened: Opened) -> None:
    box = opened.tab.locator(".plane").bounding_box()
    opened.changes(lambda: opened.tab.mouse.click(box["x"] + 40, box["y"] + 10), "digit")
    opened.changes(lambda: opened.tab.get_by_label("Images", exact=True).check(), "under")


@pytest.mark.parametrize("opened", ["many"], indirect=True)
def test_a_latent_space_of_200_dimensions(opened: Opened) -> None:
    assert opened.tab.locator(".slide input:visible").count() == 11  # and the temperature
    opened.tab.get_by_text("190 more dimensions").click()
    opened.tab.locator(".sliders input").nth(199).wait_for(state="attached")  # made when they are first shown
    assert opened.tab.locator(".sliders input").count() == 200


@pytest.mark.parametrize("opened", ["colour"], indirect=True)
def test_colours_are_drawn_and_not_drawn_with(opened: Opened) -> None:
    assert not opened.tab.locator(".pad").is_visible()
    assert "colours" in opened.tab.locator("[data-is=noPad]").inner_text()
    opened.changes(lambda: opened.tab.get_by_role("button", name="Take a test image").click(), "encoded", "digit")


def test_pictures_are_saved(opened: Opened) -> None:
    for name in ("digit.png", "plane.png"):
        with opened.tab.expect_download() as download:
            opened.tab.get_by_role("button", name="Save PNG").nth(1 - (name == "plane.png")).click()
        assert download.value.suggested_filename == name
        assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    opened.said = [one for one in opened.said if not one.startswith("blob:")]


def test_light_dark_and_a_phone(browser: Any, pages: dict[str, Path]) -> None:
    papers = []
    for scheme in ("light", "dark"):
        page = Opened(browser, pages["conditional"], viewport={"width": 360, "height": 700}, color_scheme=scheme)
        papers.append(page.call("return e.theme.paper"))
        assert page.tab.evaluate("document.documentElement.scrollWidth") == 360  # nothing sticks out
        page.tab.close()
    assert papers == ["#ffffff", "#16181b"]


def test_everything_has_a_name_for_those_who_listen(opened: Opened) -> None:
    nameless = opened.tab.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas[role]')].filter((one) => one.offsetParent &&"
        " !(one.getAttribute('aria-label') || one.labels?.[0]?.textContent.trim() || one.textContent.trim()))"
        ".map((one) => one.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize("opened", ["plane"], indirect=True)
def test_the_plane_alone(opened: Opened) -> None:
    box = opened.tab.locator(".plane").bounding_box()
    opened.changes(lambda: opened.tab.mouse.click(box["x"] + 60, box["y"] + 90), "digit", "over")
    x, y = opened.call("return e.plane.toPixel([e.plane.points[0], e.plane.points[1]])")
    opened.changes(lambda: opened.tab.mouse.click(box["x"] + x, box["y"] + y), "digit", "over")
    opened.changes(lambda: opened.tab.get_by_label("Images", exact=True).check(), "under")
    assert opened.tab.get_by_text("Your own").count() == 0
