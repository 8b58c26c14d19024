"""
Draw the digit that is asked for
================================

A conditional VAE is told each image's label. Its code then need not say which digit it is, and is left with how it is
written: slant, width, weight of the pen. So one code can be decoded as any digit, in the same hand.

It takes about a quarter of a minute on one CPU core. Run as a script, ``python examples/plot_conditional.py pictures``
writes its figures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

# %%
# Train
# -----
# The data set's labels reach the model by themselves: :class:`~mnistvae.ConditionalVAE` is a :class:`~mnistvae.VAE`
# whose encoder and decoder are given the label.
import sys
import tempfile
from pathlib import Path

import torch

import mnistvae as mv
from mnistvae import ConditionalVAE, Trainer, load_dataset
from mnistvae.networks import MLPDecoder, MLPEncoder

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

torch.manual_seed(0)
encoder, decoder = MLPEncoder(8, num_classes=10), MLPDecoder(8, num_classes=10)
model = ConditionalVAE(latent_dim=8, num_classes=10, encoder=encoder, decoder=decoder)
trainer = Trainer(epochs=4, batch_size=64, learning_rate=2e-3, seed=0, progress=False)
history = trainer.fit(model, train, validation=test)
print(history)

# %%
# One label for all
# -----------------
# ``y`` is one label for all images, or one for each.
threes = model.sample(10, y=3, temperature=0.8, generator=torch.Generator().manual_seed(0))
figure = mv.plotting.sample_grid(threes, columns=10)
figure.savefig(folder / "threes.png")


# %%
# Every digit in the same hand
# ----------------------------
# A row for each digit; each column is one code. The same seed draws the same ten codes for every label.
def write(digit):
    """Ten images of a digit, each time from the same ten codes."""
    generator = torch.Generator().manual_seed(0)
    return model.sample(10, y=digit, temperature=0.8, generator=generator)


rows = torch.cat([write(digit) for digit in range(10)])
figure = mv.plotting.sample_grid(rows, columns=10)
figure.savefig(folder / "all-digits.png")
# sphinx_gallery_thumbnail_number = 2

# %%
# A given hand
# ------------
# The code can also be that of an image. The first column holds test images; beside each are the ten digits, decoded
# from the mean of its posterior.
chosen = [int((test.labels == digit).nonzero()[1]) for digit in (2, 4, 5, 7)]
images, labels = test.images[chosen], test.labels[chosen]

with torch.no_grad():
    codes = model.encode(images, labels).mean  # (4, 8)
    every_label = torch.arange(10).repeat(4)
    written = model.decode(codes.repeat_interleave(10, dim=0), every_label).mean

rows = torch.cat([images[:, None] / 255, written.reshape(4, 10, 1, 28, 28)], dim=1)
figure = mv.plotting.sample_grid(rows.flatten(0, 1), columns=11)
figure.savefig(folder / "given-hands.png")

temporary.cleanup()
