"""Encoders and decoders: any image shape, an optional label, any plain ``nn.Module`` as a trunk."""

from mnistvae.networks.backbone import Backbone
from mnistvae.networks.blocks import MLP, Conditioned
from mnistvae.networks.categorical import CategoricalEncoder
from mnistvae.networks.composed import FlowEncoder, JointEncoder, MixtureEncoder
from mnistvae.networks.decoders import ConvDecoder, Decoder, MLPDecoder, TrunkDecoder
from mnistvae.networks.encoders import ConvEncoder, Encoder, FullNormalEncoder, GaussianEncoder, MLPEncoder
from mnistvae.networks.points import PointEncoder
from mnistvae.networks.quantized import FiniteScalarEncoder, TokenEncoder, VectorQuantizedEncoder
from mnistvae.networks.resnet import ResidualBlock, ResNetDecoder, ResNetEncoder
from mnistvae.networks.spherical import VonMisesFisherEncoder

__all__ = [
    "MLP",
    "Backbone",
    "CategoricalEncoder",
    "Conditioned",
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Encoder",
    "FiniteScalarEncoder",
    "FlowEncoder",
    "FullNormalEncoder",
    "GaussianEncoder",
    "JointEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "MixtureEncoder",
    "PointEncoder",
    "ResNetDecoder",
    "ResNetEncoder",
    "ResidualBlock",
    "TokenEncoder",
    "TrunkDecoder",
    "VectorQuantizedEncoder",
    "VonMisesFisherEncoder",
]
