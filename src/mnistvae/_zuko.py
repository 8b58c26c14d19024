"""The library zuko, of normalizing flows, imported without its changes to torch's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from mnistvae.errors import ComponentError

__all__ = ["start_as_identity", "zuko_flows"]


@contextmanager
def zuko_flows() -> Iterator[Any]:
    """The flows of zuko; importing it changes defaults of torch's Distribution, which are put back."""
    names = ("_validate_args", "arg_constraints")
    before = {name: Distribution.__dict__[name] for name in names}
    try:
        import zuko.flows
    except ImportError as error:
        raise ComponentError("the library zuko for a flow", str(error), 'pip install "mnistvae[flows]"') from error
    finally:
        for name, value in before.items():
            setattr(Distribution, name, value)
    yield zuko.flows


def start_as_identity(transform: nn.Module) -> None:
    """Set the last layers of a transform's networks to zero, with which it changes nothing."""
    for network in transform.modules():
        layers = [layer for layer in network.children() if isinstance(getattr(layer, "weight", None), Tensor)]
        own = network.parameters(recurse=False) if isinstance(network, nn.ParameterList) else ()
        for last in (*layers[-1:], *own):  # of a transform's network; or, for one dimension, its parameters
            for parameter in last.parameters() if isinstance(last, nn.Module) else (last,):
                nn.init.zeros_(parameter)
