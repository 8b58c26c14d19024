"""Encoders and decoders: any image shape, an optional label, any plain ``nn.Module`` as a trunk."""

from mnistvae.networks.backbone import Backbone
from mnistvae.networks.blocks import MLP, Conditioned
from mnistvae.networks.composed import FlowEncoder, MixtureEncoder
from mnistvae.networks.decoders import ConvDecoder, Decoder, MLPDecoder, TrunkDecoder
from mnistvae.networks.encoders import ConvEncoder, Encoder, FullNormalEncoder, GaussianEncoder, MLPEncoder
from mnistvae.networks.points import PointEncoder
from mnistvae.networks.resnet import ResidualBlock, ResNetDecoder, ResNetEncoder
from mnistvae.networks.spherical import VonMisesFisherEncoder

__all__ = [
    "MLP",
    "Backbone",
    "Conditioned",
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Encoder",
    "FlowEncoder",
    "FullNormalEncoder",
    "GaussianEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "MixtureEncoder",
    "PointEncoder",
    "ResNetDecoder",
    "ResNetEncoder",
    "ResidualBlock",
    "TrunkDecoder",
    "VonMisesFisherEncoder",
]
