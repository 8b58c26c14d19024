"""The record of what made a run or a model: recipe, data, settings, versions and machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from mnistvae._version import __version__
from mnistvae.errors import MnistvaeError

if TYPE_CHECKING:
    from mnistvae.data import Binarization, ImageDataset

__all__ = ["Provenance"]

#: The classes of a field's values in JSON, by its annotation up to the first space or bracket.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "Binarization": (str,),
    "Mapping": (Mapping,),
    "float": (int, float),
    "int": (int,),
    "str": (str,),
    "tuple": (list, tuple),
}
#: Fields that JSON has as lists, and the type of their items.
_TUPLES = {"image_size": int, "callbacks": str, "class_names": str}


@dataclass(frozen=True)
class Provenance:
    """The record of what made a run or a model, as ``run.json`` and a model's file hold it.

    Every field may be unknown (None or empty): files of other versions, and models that were saved in Python, say
    less. What a file says beyond these fields is kept in ``notes``.
    """

    #: Name of the recipe, ``module:NAME`` for one of another module.
    recipe: str | None = None
    #: Name of the data set.
    dataset: str | None = None
    #: Height and width that images were brought to; one number for both.
    image_size: tuple[int, ...] = ()
    #: Number of channels that images were brought to.
    image_channels: int | None = None
    #: Value that is white in the archive of the images.
    max_value: float | None = None
    #: Share of the training images that were held out to validate; None where others validated.
    validation_split: float | None = None
    #: Settings of the recipe's model.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Settings of the recipe's Trainer.
    training: Mapping[str, Any] = field(default_factory=dict)
    #: Seed of weights, order and noise.
    seed: int | None = None
    #: Epochs between two pictures of samples; 0 for none.
    samples_every: int | None = None
    #: Names of callbacks of the user's own.
    callbacks: tuple[str, ...] = ()
    #: Number of images that were trained on.
    images: int | None = None
    #: Names of the classes in the order of their numbers, where the data had names.
    class_names: tuple[str, ...] = ()
    #: Fingerprint of those images and their labels.
    fingerprint: int | None = None
    #: Treatment of grey pixels: "none", "static", "dynamic" or "threshold"; "larochelle" for his, from files.
    binarization: Binarization | None = None
    #: Number of epochs that were done.
    epochs: int | None = None
    #: Images a batch.
    batch_size: int | None = None
    #: The learning rate, or the peak of its schedule.
    learning_rate: float | None = None
    #: Tag of the losses, see :class:`mnistvae.History`.
    tag: str | None = None
    #: Losses of the last epoch.
    last_epoch: Mapping[str, Any] = field(default_factory=dict)
    #: The data, seed, kind and settings of a prior that was fitted afterwards.
    fitted_prior: Mapping[str, Any] = field(default_factory=dict)
    #: Version of mnistvae.
    mnistvae: str | None = None
    #: Version of torch.
    torch: str | None = None
    #: Version of Python.
    python: str | None = None
    #: Device of the training.
    device: str | None = None
    #: Number of torch's threads.
    threads: int | None = None
    #: Whatever else a file says.
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Provenance:
        """The record in what a file holds; values of an unexpected type count as notes.

        Args:
            metadata: A dictionary, as JSON has it.

        Example:
            >>> record = Provenance.from_metadata({"recipe": "conv", "seed": "lucky", "by": "me"})
            >>> record.recipe, record.seed, record.notes
            ('conv', None, {'seed': 'lucky', 'by': 'me'})
        """
        kinds = {one.name: _KINDS[re.split(r"[ \[]", str(one.type))[0]] for one in fields(cls) if one.name != "notes"}
        known: dict[str, Any] = {}
        notes: dict[str, Any] = {}
        for name, value in metadata.items():
            fits = isinstance(value, kinds.get(name, ())) and not isinstance(value, bool)
            if fits and name in _TUPLES:
                fits = all(isinstance(item, _TUPLES[name]) for item in value)
            (known if fits else notes)[name] = value
        for name in known.keys() & {"settings", "training"}:
            known[name] = {key: _decoded(value) for key, value in known[name].items()}
        for name in known.keys() & _TUPLES.keys():
            known[name] = tuple(known[name])
        return cls(**known, notes=notes)

    def to_metadata(self) -> dict[str, Any]:
        """The record as a dictionary that JSON can hold, without what is not known.

        Raises:
            ComponentError: If a setting is something that JSON cannot hold, such as a function.
        """
        from mnistvae._component import to_spec

        found = self.to_dict()
        for name in found.keys() & {"settings", "training"}:
            found[name] = {key: to_spec(value) for key, value in found[name].items()}
        for name in found.keys() & _TUPLES.keys():
            found[name] = list(found[name])
        return found

    def to_dict(self) -> dict[str, Any]:
        """The fields that are known, and the notes, in order.

        Example:
            >>> Provenance(recipe="conv", seed=0, notes={"by": "me"}).to_dict()
            {'recipe': 'conv', 'seed': 0, 'by': 'me'}
        """
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "notes"}
        known = {name: value for name, value in found.items() if value not in (None, {}, ())}
        return {**known, **{name: value for name, value in self.notes.items() if name not in known}}

    def stamp(self, data: ImageDataset, device: str) -> Provenance:
        """A copy that says of which data it is, and where and with which versions it is made.

        Args:
            data: Images that are trained on.
            device: Name of the device, "auto" for the one that is there.

        Raises:
            SettingError: If this machine has no such device.
        """
        import platform

        import torch

        from mnistvae.data import Batches
        from mnistvae.devices import resolve_device

        place = resolve_device(device)
        named = f"{place} ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place)
        return replace(
            self,
            images=len(data),
            class_names=data.class_names or (),
            fingerprint=Batches(data).fingerprint,
            mnistvae=__version__,
            torch=torch.__version__,
            python=platform.python_version(),
            device=named,
            threads=torch.get_num_threads(),
        )


def _decoded(value: Any) -> Any:
    """A setting as it was before it became JSON; as it is, if it is not of this format."""
    if not isinstance(value, dict | list):
        return value
    from mnistvae._bounds import Bounds
    from mnistvae._component import class_finder, from_spec

    try:
        with Bounds(0, 0):  # a setting is a small part, such as a prior
            return from_spec(value, class_finder())
    except (MnistvaeError, TypeError, ValueError, KeyError, AttributeError):
        return value
