"""
Sample from where the codes are
===============================

Samples are decoded from the prior, but the decoder has only ever seen the codes of images. Where the KL term has a
small weight, the two differ: the reconstructions are sharp, and the samples are not digits. :func:`mnistvae.fit_prior`
fits a mixture of normals to the codes of the training images and makes it the prior of a copy of the model. Encoder and
decoder stay as they are.

It takes about ten seconds on one CPU core. Run as a script, ``python examples/plot_priors.py pictures`` writes its
figure and its model to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure

import mnistvae as mv
from mnistvae import BetaVAE, Trainer, load_dataset
from mnistvae.networks import MLPDecoder, MLPEncoder

train, test = load_dataset("mnist-mini", "train"), load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

torch.manual_seed(0)
model = BetaVAE(latent_dim=10, beta=0.2, encoder=MLPEncoder(10), decoder=MLPDecoder(10))
trainer = Trainer(epochs=4, batch_size=64, learning_rate=2e-3, seed=0, progress=False)
trainer.fit(model, train)

# %%
# Fit the prior
# -------------
# On the command line this is ``mnistvae fit-prior MODEL``.
fitted = mv.fit_prior(model, train, components=20)
print(fitted.prior)

# %%
# What it changes
# ---------------
# The reconstruction term is the same for both. The KL term, here with its full weight, says how far the posteriors are
# from the prior; both figures are about the 2,000 test digits.
models = {"standard normal": model, "fitted mixture": fitted}
for name, vae in models.items():
    torch.manual_seed(0)
    with torch.no_grad():
        terms = vae.loss(test.images)
    reconstruction, kl = terms.reconstruction.mean(), terms.kl.mean()
    print(f"{name}: reconstruction {reconstruction:.1f}, KL {kl:.1f} nats per image")

# %%
# From the standard normal, many samples are faint or broken; from the mixture most can be read, though a few are still
# two digits in one, where a component covers both.
figure = Figure(figsize=(10, 5.2), dpi=150, layout="constrained")
for (name, vae), part in zip(models.items(), figure.subfigures(1, 2), strict=True):
    digits = vae.sample(64, generator=torch.Generator().manual_seed(0))
    mv.plotting.sample_grid(digits, title=name, figure=part)
figure.savefig(folder / "priors.png")

# %%
# Save and load
# -------------
# The copy is a model like any other.
path = mv.save(fitted, folder / "fitted.safetensors")
same = mv.load(path)
again = [vae.sample(8, generator=torch.Generator().manual_seed(1)) for vae in (fitted, same)]
print("the same samples:", torch.equal(*again))

temporary.cleanup()
