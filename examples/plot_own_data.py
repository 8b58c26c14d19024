r"""
Use images of your own
======================

Pictures in a folder for each class are a data set: :func:`~mnistvae.load_dataset` takes the folder's path in place of a
name. This page draws letters into such a folder, and trains on it. What else can be read is in :doc:`/howto/own-data`.

It takes about a quarter of a minute on one CPU core. Run as a script, ``python examples/plot_own_data.py pictures``
writes its figure to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import mnistvae as mv

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

# %%
# A folder of pictures
# --------------------
# A hundred of each letter, in grey, of several sizes, each a little turned:
letters = Path(temporary.name) / "letters"
draws = np.random.default_rng(0)
for letter in "ABCXYZ":
    (letters / letter).mkdir(parents=True)
    for number in range(100):
        size = int(draws.choice([40, 48, 64]))
        picture = Image.new("L", (size, size))
        font = ImageFont.load_default(size * draws.uniform(0.6, 0.9))
        ImageDraw.Draw(picture).text((size / 2, size / 2), letter, 255, font, anchor="mm")
        picture.rotate(draws.uniform(-15, 15), Image.Resampling.BICUBIC).save(letters / letter / f"{number}.png")

# %%
# A data set
# ----------
# They are brought to one size, and the classes are named and numbered by their folders. As there are no folders "train"
# and "test", a tenth of each class is kept for the test, the same one each time.
train, test = (mv.load_dataset(letters, split, image_size=24) for split in ("train", "test"))
print(train)
print(test)

# %%
# A model of it
# -------------
# The recipes' models take their shape from the data. This one is told the letter.
recipe = mv.recipes.get("conditional")
shape = {"image_shape": train.image_shape, "num_classes": train.num_classes}
model = recipe.model(**shape, latent_dim=4, channels=(16, 32), seed=0)
history = recipe.trainer(epochs=30, batch_size=16, progress=False).fit(model, train, validation=test)
first, last = history[0]["validation_loss"], history[-1]["validation_loss"]
print(f"{first:.0f} nats per image after one epoch, {last:.0f} at the end")

# %%
# Letters that it draws, a row for each class:
rows = [model.sample(8, y=number) for number in range(train.num_classes)]
figure = mv.plotting.sample_grid(torch.cat(rows), columns=8)
figure.savefig(folder / "letters.png")

temporary.cleanup()
