"""Redraws a second of the explorer's page, in headless Chromium.

    python benchmarks/explorer.py                         # the recipes mlp-2d and conv, untrained
    python benchmarks/explorer.py runs/first resnet-flow  # models, or recipes

A redraw is what a drag costs: the decoder, the image, the plane's handle, the sliders. Two figures are given: redraws
one after the other, and frames a second while the handle moves in each, of which a screen shows 60.
Needs playwright and Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

import mnistvae as mv
from mnistvae.explorer import explorer_page

BACK_TO_BACK = """() => {
  const explorer = document.querySelector('.explorer').explorer, start = performance.now();
  let number = 0;
  for (; performance.now() - start < 2000; number++) {
    explorer.z = explorer.z.map((_, n) => Math.sin(number / 20 + n));
    explorer.redraw();
  }
  return (1000 * number) / (performance.now() - start);
}"""
FRAMES = """() => new Promise((done) => {
  const explorer = document.querySelector('.explorer').explorer, start = performance.now();
  let number = 0;
  const move = () => {
    if (performance.now() - start > 2000) return done((1000 * number) / (performance.now() - start));
    explorer.take(explorer.z.map((_, n) => Math.sin(number / 20 + n)));
    number++;
    requestAnimationFrame(move);
  };
  move();
})"""


def model_of(name: str) -> mv.VAE:
    """A model from a file or a run, or that of a recipe, untrained."""
    if Path(name).exists():
        return mv.load(Path(name) / "model.safetensors" if Path(name).is_dir() else name)
    return mv.recipes.get(name).model(seed=0)


def main() -> None:
    data = mv.load_dataset("mnist-mini", "test")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name in sys.argv[1:] or ("mlp-2d", "conv"):
            model = model_of(name)
            start = time.perf_counter()
            page = explorer_page(model, data)
            made = time.perf_counter() - start
            path = Path(folder) / "page.html"
            path.write_text(page, encoding="utf-8")
            tab = browser.new_page(viewport={"width": 1200, "height": 1000})
            tab.set_default_timeout(120_000)
            tab.goto(path.as_uri())
            tab.wait_for_timeout(1500)
            alone = tab.evaluate(BACK_TO_BACK)
            frames = tab.evaluate(FRAMES)
            size = len(page.encode()) / 1e6
            print(
                f"{name}: {alone:.0f} redraws a second, {frames:.0f} frames a second in a drag; "
                f"{size:.1f} MB, made in {made:.1f} s"
            )
            tab.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
