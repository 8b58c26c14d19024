r"""
Stop a run and go on with it
============================

A run that is stopped in the middle of an epoch and goes on from its checkpoint ends with the weights that it would have
had. Here it is stopped by the signal that a cluster's scheduler sends, and compared with a run that was left alone, bit
by bit. Training on from the saved weights alone, which is what a checkpoint of weights would allow, is shown beside it.

What a run has to have in common with the one that it goes on with is in :doc:`/howto/resume`. It takes about ten
seconds on one CPU core. Run as a script, ``python examples/plot_resume.py pictures`` writes its figure to the folder
``pictures``; without a folder's name it leaves nothing behind.
"""

import copy
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from mnistvae import VAE, Trainer, load_dataset
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.training import Callback, Checkpoint, Interrupted, State

train, test = load_dataset("mnist-mini", "train")[:6000], load_dataset("mnist-mini", "test")

temporary = tempfile.TemporaryDirectory()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary.name)
folder.mkdir(parents=True, exist_ok=True)
saved = Path(temporary.name) / "checkpoints"


# %%
# The run
# -------
# With much that has to be remembered: Adam's moments, a schedule of the learning rate, an average of the weights, and
# pixels that are drawn black and white anew in each batch.
def new_model() -> VAE:
    """The same weights each time."""
    torch.manual_seed(0)
    return VAE(10, encoder=MLPEncoder(10), decoder=MLPDecoder(10))


def trainer(*callbacks: Callback) -> Trainer:
    """The same settings each time."""
    return Trainer(
        epochs=3,
        learning_rate=2e-3,
        schedule="cosine",
        ema=0.99,
        binarization="dynamic",
        seed=0,
        progress=False,
        callbacks=callbacks,
    )


# %%
# Two callbacks. One records the loss of each step; what it remembers is in its ``state_dict``, so a checkpoint holds
# that too. The other sends SIGTERM in the middle of the run, as if somebody else had. Ctrl-C does the same.
class StepLosses(Callback):
    """The mean loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.before = (0.0, 0)  # the epoch's sum and number of images, a step ago

    def on_batch_end(self, state: State, n: int) -> None:
        assert state.sums is not None
        total, images = self.before if state.batch > 1 else (0.0, 0)
        self.before = float(state.sums[0]), state.images  # reading a tensor, for once: on a GPU that waits
        self.losses.append((self.before[0] - total) / (self.before[1] - images))

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "before": list(self.before)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses, self.before = state["losses"], tuple(state["before"])


class Stop(Callback):
    """SIGTERM in the middle of the run."""

    def on_batch_end(self, state: State, n: int) -> None:
        assert state.batches is not None
        if state.step == state.epochs * state.batches // 2:
            signal.raise_signal(signal.SIGTERM)


# %%
# Left alone, and stopped
# -----------------------
# The Trainer finishes the step, has a checkpoint written and raises ``Interrupted``, which says where the run is.
alone, alone_losses = new_model(), StepLosses()
alone_history = trainer(alone_losses).fit(alone, train, test)

stopped, stopped_losses = new_model(), StepLosses()
try:
    trainer(stopped_losses, Stop(), Checkpoint(saved)).fit(stopped, train, test)
except Interrupted as interrupted:
    print(interrupted.what)
print([file.name for file in sorted(saved.iterdir())])

# %%
# Gone on with
# ------------
# As a new process would: a new model of the same kind (its weights are replaced by the checkpoint's), a new Trainer
# with the same settings, and ``resume=``.
resumed, resumed_losses = new_model(), StepLosses()
resumed_history = trainer(resumed_losses, Checkpoint(saved)).fit(resumed, train, test, resume=saved)

# %%
# Everything is the same, but for the seconds.
pairs = list(zip(alone.state_dict().values(), resumed.state_dict().values(), strict=True))
same_weights = all(torch.equal(a, b) for a, b in pairs)
same_steps = alone_losses.losses == resumed_losses.losses
columns = [name for name in alone_history.columns() if name not in {"seconds", "images_per_second"}]
same_history = all(alone_history.column(name) == resumed_history.column(name) for name in columns)
print(f"the same weights: {same_weights}, step losses: {same_steps}, history: {same_history}")

# %%
# From the weights alone
# ----------------------
# The optimizer, the schedule, the order of the images and the noise begin anew, and the average of the weights too.
again, again_losses = copy.deepcopy(stopped), StepLosses()
trainer(again_losses).fit(again, train, test)
done = len(stopped_losses.losses)
rest = len(alone_losses.losses) - done
print(f"stopped after step {done}; {rest} steps to go")

# %%
# The thin lines on the left lie on the thick one, and the difference on the right is exactly 0 in every step. What goes
# on from the weights alone is another run: its images come in another order, and its learning rate is back at the peak.
figure = Figure(figsize=(11, 4), dpi=150, layout="constrained")
left, right = figure.subplots(1, 2)
steps = range(1, len(alone_losses.losses) + 1)
left.plot(steps, alone_losses.losses, color="0.75", linewidth=5, label="left alone")
left.plot(steps[:done], stopped_losses.losses, color="tab:blue", linewidth=1, label="stopped")
left.plot(steps[done:], resumed_losses.losses[done:], color="tab:orange", linewidth=1, label="resumed")
left.set(title="Loss of each step", xlabel="step", ylabel="nats an image", ylim=(150, 300))
runs = {
    "from the weights alone": [*stopped_losses.losses, *again_losses.losses[:rest]],
    "resumed": resumed_losses.losses,
}
for (label, losses), color in zip(runs.items(), ("tab:green", "tab:orange"), strict=True):
    differences = [a - b for a, b in zip(losses, alone_losses.losses, strict=True)]
    right.plot(steps, differences, color=color, linewidth=1, label=label)
right.set(title="Difference from the run that was left alone", xlabel="step", ylabel="nats an image")
for axes in (left, right):
    axes.axvline(done + 0.5, color="0.3", linestyle=":", label="stopped here")
    axes.legend()
figure.savefig(folder / "resume.png")

temporary.cleanup()
