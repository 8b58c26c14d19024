"""Encoders and decoders: any image shape, an optional label, any plain ``nn.Module`` as a trunk."""

from mnistvae.networks.blocks import MLP, Conditioned
from mnistvae.networks.decoders import ConvDecoder, Decoder, MLPDecoder, TrunkDecoder
from mnistvae.networks.encoders import ConvEncoder, Encoder, GaussianEncoder, MLPEncoder

__all__ = [
    "MLP",
    "Conditioned",
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Encoder",
    "GaussianEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "TrunkDecoder",
]
