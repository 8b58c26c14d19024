"""
Find clusters and outliers
==========================

Nobody tells a VAE what a digit is; its codes may lie in clusters all the same. Here they are looked for by density, the
centre of each is decoded, and what belongs to none is shown: it is often what a person would call odd, too.

It takes about 20 seconds on one CPU core. Run as a script, ``python examples/plot_clusters.py pictures`` writes
its figures to the folder ``pictures``; without a folder's name it leaves nothing behind.
"""

import sys
import tempfile
from pathlib import Path

import mnistvae as mv
from mnistvae import analysis, load_dataset, plotting

test = load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)

model = mv.pretrained("beta-conv")  # ships with the package, trained on the whole MNIST
codes = analysis.encode_dataset(model, test)
found = analysis.embed(codes.means, "tsne", angle=0.8, max_iter=500)  # coarse, to be quick

# %%
# Clusters
# --------
# HDBSCAN needs no number of clusters. What it was set to came from the data.
clusters = analysis.find_clusters(found.points)
print(clusters.count, "clusters of", clusters.sizes.tolist(), f"codes, {clusters.noise:.1%} noise,", clusters.settings)
print(analysis.agreement(clusters, codes.labels))

# %%
# Each cluster's mean code decodes to the image in its middle; the circles are outliers, by the number of their image.
outliers = analysis.outliers(found.points, clusters, n=8)
images = analysis.decode_centroids(model, codes.means, clusters)
figure = plotting.cluster_map(
    found.points,
    clusters.members,
    images=images,
    outliers={one.index: str(one.index) for one in outliers},
    names=found.names,
)
figure.savefig(folder / "clusters.png")

# %%
# The outliers
# ------------
# Above as they are, below as the model gives them back, with the squared error.
errors = analysis.reconstruction_errors(model, test)
figure = plotting.error_examples(test.images, errors.images, errors.mse, {"outliers": [one.index for one in outliers]})
figure.savefig(folder / "outliers.png")

temporary.cleanup()
