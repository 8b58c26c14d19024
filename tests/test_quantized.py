"""Codes of a codebook's vectors: quantizers, averages and restarts, against loops; priors over tokens; whole models."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from test_distributed import launch
from test_full_normal import digits, trainer
from test_graphs import TapeRecorder, assert_recorded_equals_usual, recorder
from test_resume import StopAt
from torch import Tensor, nn

import mnistvae as mv
from mnistvae._random import noise_for_rows
from mnistvae.distributions import Joint, Quantized, TokenCodes, detached, mean_of, tempered
from mnistvae.distributions.tokens import codes_of, nearest, tokens_of
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.losses import kl_or_estimate, own_terms
from mnistvae.networks import (
    Encoder,
    FiniteScalarEncoder,
    GaussianEncoder,
    JointEncoder,
    MLPEncoder,
    PointEncoder,
    TrunkDecoder,
    VectorQuantizedEncoder,
)
from mnistvae.networks.codebooks import BatchStatistics, Statistics, averaged, moved, statistics_of
from mnistvae.objectives import (
    DIPVAE,
    ELBO,
    IWAE,
    AdversarialAutoencoder,
    BetaTC,
    Consistency,
    DecoderPenalty,
    Denoising,
    FactorVAE,
    InfoVAE,
    LatentVariableModel,
    Objective,
    Terms,
)
from mnistvae.priors import Joint as JointPrior
from mnistvae.priors import StandardNormal, UniformCategorical, UniformTokens
from mnistvae.training import Checkpoint, Interrupted

__all__ = ["recorder"]  # a fixture

SHAPE = (1, 8, 8)
GRID = (2, 3)
K, D = 6, 3


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trunk() -> nn.Module:
    """Images of 8 x 8 to a grid of 2 x 3."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(GRID))


def quantizer(**how: Any) -> VectorQuantizedEncoder:
    torch.manual_seed(2)
    encoder = VectorQuantizedEncoder(trunk(), K, D, GRID, **how)
    encoder.eval()(digits(1))
    return encoder.double().train()


def scalars(levels: tuple[int, ...] = (4, 3), **how: Any) -> FiniteScalarEncoder:
    torch.manual_seed(2)
    encoder = FiniteScalarEncoder(trunk(), levels, GRID, **how)
    encoder(digits(1))
    return encoder.double()


# --- the vectors of a codebook --------------------------------------------------------------------------------------


def test_the_nearest_vectors_are_those_of_a_loop() -> None:
    vectors, book = noise(50, D), noise(K, D, seed=1)
    by_hand = [min(range(K), key=lambda k: float((v - book[k]).square().sum())) for v in vectors]
    assert nearest(vectors, book).tolist() == by_hand
    assert nearest(vectors.float(), book.float()).tolist() == by_hand
    many, close = noise(200, D).float(), noise(500, D, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(many, close), torch.cdist(many.double(), close.double()).argmin(1))
    assert nearest(vectors[:0], book).shape == (0,)


def test_a_code_is_a_grid_with_its_channels_first_and_tokens_are_read_back() -> None:
    book, tokens = noise(K, D), torch.tensor([[0, 5, 2, 2, 1, 3], [1, 1, 1, 4, 0, 0]])
    codes = codes_of(tokens, book)
    grid = codes.reshape(2, D, *GRID)
    for row, height, width in itertools.product(range(2), range(2), range(3)):
        assert torch.equal(grid[row, :, height, width], book[tokens[row, 3 * height + width]])
    back, exact = tokens_of(torch.cat([codes, codes + 1e-3]), book)
    assert torch.equal(back[:2], tokens)
    assert exact.tolist() == [True, True, False, False]


def test_quantization_is_that_of_a_loop_to_the_bit() -> None:
    encoder = quantizer().eval()
    vectors = noise(5, 6, D)
    q = encoder.quantize(vectors)
    for row, place in itertools.product(range(5), range(6)):
        distances = [float((vectors[row, place] - e).square().sum()) for e in encoder.codebook]
        number = distances.index(min(distances))
        assert int(q.tokens[row, place]) == number
        assert torch.equal(q.mean.reshape(5, D, 6)[row, :, place], encoder.codebook[number])
    by_hand = (vectors - encoder.codebook[q.tokens]).square().sum((1, 2))
    torch.testing.assert_close(q.distance, by_hand)
    assert encoder(digits(4).double()).tokens.shape == (4, 6)


def test_the_gradient_is_the_straight_through_one_and_that_of_the_commitment() -> None:
    encoder = quantizer(commitment=0.7)
    vectors, weights = noise(5, 6, D).requires_grad_(), noise(5, 6 * D, seed=4)
    q = encoder.quantize(vectors)
    (through,) = torch.autograd.grad((q.rsample() * weights).sum(), vectors, retain_graph=True)
    assert torch.equal(through, weights.reshape(5, D, 6).transpose(1, 2))
    own = own_terms(q)
    assert own is not None
    (pull,) = torch.autograd.grad(own.cost.sum(), vectors)
    torch.testing.assert_close(pull, 2 * 0.7 * (vectors.detach() - codes_as_vectors(q)))
    assert not any(weight.requires_grad for weight in encoder.buffers())


def codes_as_vectors(q: Quantized) -> Tensor:
    return q.mean.detach().reshape(len(q.tokens), D, -1).transpose(1, 2)


def averages_by_hand(book: Tensor, batches: list[Tensor], decay: float) -> Tensor:
    counts, sums = [0.0] * K, [torch.zeros(D, dtype=torch.float64) for _ in range(K)]
    book = book.clone()
    for vectors in batches:
        rows = vectors.flatten(0, 1)
        chosen = [min(range(K), key=lambda k: float((v - book[k]).square().sum())) for v in rows]
        for k in range(K):
            mine = [v for v, token in zip(rows, chosen, strict=True) if token == k]
            counts[k] = decay * counts[k] + (1 - decay) * len(mine)
            sums[k] = decay * sums[k] + (1 - decay) * sum(mine, torch.zeros(D, dtype=torch.float64))
        for k in range(K):
            if counts[k] > 0:
                book[k] = sums[k] / counts[k]
    return book


def test_the_codebook_follows_by_the_averages_of_a_loop() -> None:
    encoder = quantizer(decay=0.8, restart=0.0)
    start, batches = encoder.codebook.clone(), [noise(4, 6, D, seed=seed) for seed in range(5)]
    batches[0] = batches[0].abs() + 3  # far from most, which therefore stay
    for number, vectors in enumerate(batches):  # each sees the codebook that those before it made
        encoder.quantize(vectors)
        torch.testing.assert_close(encoder.codebook, averages_by_hand(start, batches[:number], 0.8))
        if number == 1:
            assert 0 < int(encoder.codebook.eq(start).all(1).sum()) < K, "some had nothing to follow, and stayed"
    still = encoder.codebook.clone()
    with torch.no_grad():
        encoder.quantize(batches[0])
    encoder.eval().quantize(batches[0])
    assert torch.equal(encoder.codebook, still), "it moved where nobody trains"


def test_dead_vectors_begin_anew_in_the_batch_by_the_seed_and_others_stay() -> None:
    now = Statistics(noise(K, D), torch.tensor([9.0, 0.0, 5.0, 0.01, 8.0, 2.0]).double(), noise(K, D, seed=1))
    batch = BatchStatistics(torch.zeros(K).double(), torch.zeros(K, D).double(), noise(K, D, seed=2))
    after = moved(now, batch, decay=0.5, restart=0.1)
    vectors = averaged(after)
    for k in range(K):
        if k in {1, 3}:
            torch.testing.assert_close(vectors[k], batch.drawn[k])
            torch.testing.assert_close(after.counts[k], 0.1 * 0.5 * now.counts.mean())
        else:
            torch.testing.assert_close(vectors[k], now.sums[k] / now.counts[k])
            assert float(after.counts[k]) == 0.5 * float(now.counts[k])
    never = moved(now, batch, decay=0.5, restart=0.0)
    assert torch.equal(averaged(never)[1], now.vectors[1])
    found = []
    for seed in (0, 0, 1):
        encoder, rows = quantizer(), noise(20, 6, D) + 5
        torch.manual_seed(seed)
        encoder.quantize(rows)
        encoder.quantize(rows)
        found.append(encoder.codebook)
        drawn = [bool((e - rows.flatten(0, 1)).abs().sum(1).min() < 1e-9) for e in encoder.codebook]
        assert sum(drawn) >= K - 2, "all but the few that were used begin in the first batch"
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_codebook_that_nothing_uses_comes_alive() -> None:
    encoder, vectors = quantizer(), noise(40, 6, D)
    encoder.vectors += 100
    for _ in range(30):
        encoder.quantize(vectors)
    q = encoder.eval().quantize(vectors)
    assert len(q.tokens.unique()) == K
    dead = quantizer(restart=0.0)
    dead.vectors += 100
    for _ in range(30):
        dead.quantize(vectors)
    assert len(dead.eval().quantize(vectors).tokens.unique()) < K


def test_the_statistics_of_a_batch_that_processes_share_are_those_of_the_whole() -> None:
    vectors = noise(5, 6, D)
    tokens = nearest(vectors.flatten(0, 1), noise(K, D, seed=1)).reshape(5, 6)
    torch.manual_seed(0)
    whole = statistics_of(vectors.flatten(0, 1), tokens.flatten(), K, 6)
    assert whole.counts.tolist() == tokens.flatten().bincount(minlength=K).tolist()
    assert all(bool((drawn == vectors.flatten(0, 1)).all(1).any()) for drawn in whole.drawn)
    parts = []
    for rows in (slice(0, 3), slice(3, 5), slice(5, 5)):  # a process may have no image of a small batch
        torch.manual_seed(0)
        with noise_for_rows(rows, 5):
            parts.append(statistics_of(vectors[rows].flatten(0, 1), tokens[rows].flatten(), K, 6))
    for total, *shares in zip(whole, *parts, strict=True):
        torch.testing.assert_close(sum(shares), total)


# --- finite scalars -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [(4, 3), (2,), (8, 5, 5), (7, 2, 3)])
def test_finite_scalars_are_those_of_a_loop_and_there_is_a_code_for_each_combination(levels: tuple[int, ...]) -> None:
    encoder = scalars(levels)
    size = math.prod(levels)
    assert encoder.codebook_size == len(encoder.codebook) == len(encoder.codebook.unique(dim=0)) == size
    vectors = 2 * noise(400, 6, len(levels))
    q = encoder.quantize(vectors)
    assert torch.equal(codes_of(q.tokens, encoder.codebook), q.mean)
    values = q.mean.reshape(400, len(levels), 6)
    for number, level in enumerate(levels):
        seen = values[:, number].unique()
        torch.testing.assert_close(seen, torch.linspace(-1, 1, level, dtype=torch.float64))
        by_hand = [
            2 * min(level - 1, math.floor(level / 2 * (math.tanh(float(h)) + 1))) / (level - 1) - 1
            for h in vectors[:3, :, number].flatten()
        ]
        torch.testing.assert_close(values[:3, number].flatten(), torch.tensor(by_hand, dtype=torch.float64))
    assert torch.equal(
        encoder.quantize(torch.full((1, 6, len(levels)), 99.0).double()).mean, torch.ones_like(q.mean[:1])
    )


def test_every_code_of_finite_scalars_is_alike() -> None:
    encoder = scalars((4, 3, 2))
    uniform = 2 * torch.rand(4000, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    counts = encoder.quantize(uniform.atanh()).tokens.flatten().bincount(minlength=24)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_the_gradient_of_finite_scalars_is_that_of_the_line_through_the_steps() -> None:
    encoder = scalars((4, 3))
    vectors, weights = noise(5, 6, 2).requires_grad_(), noise(5, 12, seed=4)
    q = encoder.quantize(vectors)
    (through,) = torch.autograd.grad((q.rsample() * weights).sum(), vectors)
    slope = (1 - vectors.detach().tanh().square()) * torch.tensor([4 / 3, 3 / 2]).double()
    torch.testing.assert_close(through, weights.reshape(5, 2, 6).transpose(1, 2) * slope)
    # Over one step the line rises as much as the code does.
    low, high = (encoder.quantize(torch.full((1, 6, 2), value).double().atanh()).mean for value in (-0.25, 0.25))
    assert float((high - low)[0, 0]) == pytest.approx(2 / 3)
    own = own_terms(q)
    assert own is not None
    assert not bool(own.cost.any())


# --- the distributions ----------------------------------------------------------------------------------------------


def test_a_quantized_posterior_is_one_code_and_its_divergence_is_that_of_its_tokens() -> None:
    encoder = quantizer().eval()
    q = encoder.quantize(noise(5, 6, D))
    assert torch.equal(q.rsample(), q.mean)
    assert torch.equal(q.sample(torch.Size([2])), q.mean.expand(2, 5, -1))
    assert torch.equal(mean_of(q), q.mode)
    assert float(q.variance.max()) == float(q.entropy().max()) == 0
    assert q.log_prob(q.rsample(torch.Size([3]))).tolist() == [[0.0] * 5] * 3
    assert q.log_prob(q.mean.flip(0))[0] == -math.inf
    assert q.expand((4, 5)).log_prob(q.mean).shape == (4, 5)
    assert not detached(encoder.quantize(noise(5, 6, D).requires_grad_())).rsample().requires_grad
    p = UniformTokens(K, GRID).double()(encoder=encoder)
    torch.testing.assert_close(kl_or_estimate(q, p, q.mean), torch.full((5,), 6 * math.log(K)).double())
    torch.testing.assert_close(p.log_prob(q.rsample(torch.Size([2]))), torch.full((2, 5), -6 * math.log(K)).double())
    assert p.log_prob(q.mean + 0.1).tolist() == [-math.inf] * 5
    assert "6 vectors of a codebook of 6" in repr(q)
    assert repr(q.support) == repr(p.support)
    assert bool(q.support.check(q.mean).all())


def test_draws_of_even_tokens_are_made_of_the_codebook() -> None:
    encoder = quantizer()
    p = UniformTokens(K, GRID).double()(encoder=encoder)
    torch.manual_seed(0)
    z = p.sample(torch.Size([3000]))
    tokens, exact = tokens_of(z, encoder.codebook)
    assert bool(exact.all())
    assert stats.chisquare(tokens.flatten().bincount(minlength=K).numpy()).pvalue > 1e-3
    assert isinstance(tempered(p, 0.5), TokenCodes)
    assert p.sample().shape == (18,)
    with pytest.raises(NotImplementedError, match="one distribution of tokens for all images"):
        p.expand((3,))
    assert p.expand(()) is p


def test_usage_and_perplexity_are_those_of_the_frequencies() -> None:
    tokens = torch.tensor([[0, 0, 1, 1], [3, 3, 3, 3]])
    code, distance = torch.zeros(2, 4), torch.tensor([1.0, 3.0])
    own = own_terms(Quantized(code, tokens, distance, codebook_size=5, commitment=0.5))
    assert own is not None
    assert own.extra["usage"].tolist() == pytest.approx([3 / 5] * 2)
    shares = [2 / 8, 2 / 8, 4 / 8]
    assert own.extra["perplexity"].tolist() == pytest.approx([math.exp(-sum(f * math.log(f) for f in shares))] * 2)
    assert torch.equal(own.cost, 0.5 * distance)
    assert torch.equal(own.extra["commitment"], distance)
    both = own_terms(Joint([Quantized(code, tokens, distance, 5, 0.5), Quantized(code, tokens, distance, 8, 0.5)]))
    assert both is not None
    assert torch.equal(both.cost, distance)
    assert list(both.extra)[::3] == ["commitment", "commitment_2"]
    assert both.extra["usage_2"].tolist() == pytest.approx([3 / 8] * 2)
    none = Quantized(code[:0], tokens[:0], distance[:0], codebook_size=5)
    assert own_terms(none).extra["perplexity"].shape == (0,)  # type: ignore[union-attr]


# --- the model ------------------------------------------------------------------------------------------------------


def vq_vae(parts: Callable[[], dict[str, Any]] = dict, **how: Any) -> mv.VAE:
    torch.manual_seed(2)
    decoder = TrunkDecoder(nn.Linear(6 * D, 64), 6 * D, SHAPE)
    encoder = VectorQuantizedEncoder(trunk(), K, D, GRID, **how)
    own = {"encoder": encoder, "decoder": decoder, "prior": UniformTokens(K, GRID)}
    return mv.VAE(6 * D, SHAPE, **own | parts())


def fsq_vae(parts: Callable[[], dict[str, Any]] = dict) -> mv.VAE:
    torch.manual_seed(2)
    decoder = TrunkDecoder(nn.Linear(12, 64), 12, SHAPE)
    own = {"encoder": FiniteScalarEncoder(trunk(), (4, 3), GRID), "decoder": decoder, "prior": UniformTokens(12, GRID)}
    return mv.VAE(12, SHAPE, **own | parts())


def joint_vae(parts: Callable[[], dict[str, Any]] = dict) -> mv.VAE:
    torch.manual_seed(2)
    blocks = [VectorQuantizedEncoder(trunk(), K, D, GRID), GaussianEncoder(nn.Flatten(), 2)]
    prior = JointPrior([UniformTokens(K, GRID), StandardNormal(2)])
    own = {"encoder": JointEncoder(blocks), "decoder": TrunkDecoder(nn.Linear(20, 64), 20, SHAPE), "prior": prior}
    return mv.VAE(20, SHAPE, **own | parts())


MODELS: dict[str, Callable[..., mv.VAE]] = {"vq": vq_vae, "fsq": fsq_vae, "joint": joint_vae}
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "samples": lambda: {"objective": ELBO(num_samples=2)},
    "weights": lambda: {"objective": IWAE(2)},
    "info": lambda: {"objective": InfoVAE(weight=1.0)},
    "dip": lambda: {"objective": DIPVAE()},
    "factor": lambda: {"objective": FactorVAE(2.0, hidden=(4,))},
    "adversarial": lambda: {"objective": AdversarialAutoencoder(hidden=(4,))},
    "consistency": lambda: {"objective": Consistency(max_shift=1.0)},
    "denoising": lambda: {"objective": Denoising()},
    "penalty": lambda: {"objective": DecoderPenalty(weights=1e-3, gradient=0.1)},
}


@pytest.mark.parametrize("parts", PARTS)
def test_every_objective_adds_the_cost_of_the_commitment(parts: str) -> None:
    model, x = vq_vae(PARTS[parts], commitment=0.4).eval(), digits(5)
    with torch.no_grad():
        torch.manual_seed(0)
        terms, distance = model.loss(x), model.encode(x).distance
        torch.testing.assert_close(terms.extra["commitment"], distance)
        model.encoder.commitment = 0.0
        torch.manual_seed(0)
        without = model.loss(x)
    assert "commitment" not in without.extra
    torch.testing.assert_close(terms.loss, without.loss + 0.4 * distance)
    if parts == "plain":
        torch.testing.assert_close(without.loss, without.reconstruction + without.kl)
        torch.testing.assert_close(without.kl, torch.full((5,), 6 * math.log(K)))


def test_an_objective_of_ones_own_has_to_add_it() -> None:
    class Forgetful(Objective):
        def forward(self, model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Terms:
            z = model.encode(x, y).rsample()
            reconstruction = -model.decode(z, y).log_prob(x)
            return Terms(reconstruction, reconstruction, reconstruction)

    message = r"an objective that adds the encoder's own cost to its loss, got a Forgetful without it: return with_own"
    with pytest.raises(ComponentError, match=message):
        vq_vae(lambda: {"objective": Forgetful()})
    assert mv.VAE(2, SHAPE, objective=Forgetful()).loss(digits(2)).loss.shape == (2,)


@pytest.mark.parametrize(("kind", "parts"), [("vq", parts) for parts in PARTS] + [("fsq", "plain"), ("joint", "plain")])
def test_it_trains_and_a_resumed_run_ends_as_the_whole_one(kind: str, parts: str, tmp_path: Path) -> None:
    whole = MODELS[kind](PARTS[parts])
    history = trainer(ema=0.5).fit(whole, digits(), digits(8))
    assert history[3]["reconstruction"] < history[0]["reconstruction"]
    assert {"usage", "perplexity", "validation_usage"} <= set(history[0])
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path), StopAt(7), ema=0.5).fit(MODELS[kind](PARTS[parts]), digits(), digits(8))
    resumed = MODELS[kind](PARTS[parts])
    again = trainer(Checkpoint(tmp_path), ema=0.5).fit(resumed, digits(), digits(8), resume=tmp_path)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())
    assert again.column("perplexity") == history.column("perplexity")
    if kind == "vq":
        assert {"encoder.vectors", "encoder.counts", "encoder.sums"} <= set(whole.state_dict())
        assert not torch.equal(whole.encoder.vectors, vq_vae().encoder.vectors)


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_recorded_steps_move_the_codebook(kind: str, recorder: TapeRecorder) -> None:
    assert_recorded_equals_usual(MODELS[kind], recorder)


@pytest.mark.parametrize("kind", MODELS)
def test_a_file_evaluation_and_draws_of_it(kind: str, tmp_path: Path) -> None:
    model, x = MODELS[kind](), digits(12)
    trainer(epochs=1).fit(model, digits())
    mv.save(model, tmp_path / "model.safetensors")
    same = mv.load(tmp_path / "model.safetensors")
    assert repr(same) == repr(model)
    drawn = []
    for one in (model, same):
        torch.manual_seed(0)
        drawn.append((one.encode(x).mean, one.sample(3), one.sample(3, temperature=0.5)))
    assert all(map(torch.equal, *drawn))
    assert model.reconstruct(x).shape == x.shape
    assert model.interpolate(x[0], x[1], 3).shape == (3, *SHAPE)
    graph = torch.export.load(mv.export(model, tmp_path / "x.pt2", part="reconstruct", format="pt2")).module()
    torch.testing.assert_close(graph(x), model.reconstruct(x), rtol=0, atol=1e-5)
    assert model.tag() == "grey-bce-point"
    assert model.replace(objective=ELBO(beta=2.0)).tag("dynamic") == "binarized-dynamic-point"
    scores = mv.metrics.evaluate(model, mv.ImageDataset(x, torch.arange(12) % 2), num_samples=20)
    assert "the encoder gives points, which have no density" in repr(scores)
    estimate = mv.metrics.importance_sampled_nll(model, x, num_samples=20)
    if kind == "joint":  # one of whose blocks is a normal
        assert (estimate.effective_samples < 20).all()
    else:
        kept = mv.ImageDataset(x).images / 255  # an image is kept in 256 levels
        q = model.encode(kept)
        point = -model.decode(q.mean).log_prob(kept) - model.latent_prior().log_prob(q.mean)
        torch.testing.assert_close(estimate.nll, point.double())
        assert (estimate.effective_samples == 20).all()
        assert scores["nll"] == pytest.approx(scores["negative_elbo"])


def test_a_point_of_a_continuum_beside_tokens_has_no_weights() -> None:
    torch.manual_seed(0)
    blocks = [VectorQuantizedEncoder(trunk(), K, D, GRID), PointEncoder(nn.Flatten(), 2)]
    own = {"encoder": JointEncoder(blocks), "decoder": TrunkDecoder(nn.Linear(20, 64), 20, SHAPE)}
    model = mv.VAE(20, SHAPE, **own, prior=JointPrior([UniformTokens(K, GRID), StandardNormal(2)])).eval()
    found = "posteriors with a density, for importance weights, got points, of a JointEncoder: "
    with pytest.raises(ComponentError, match=found):
        mv.metrics.importance_sampled_nll(model, digits(3))


@pytest.mark.parametrize("kind", MODELS)
def test_it_trains_in_bf16(kind: str) -> None:
    plain, other = (trainer(**more).fit(MODELS[kind](), digits()) for more in ({}, {"precision": "bf16"}))
    assert other[1]["loss"] == pytest.approx(plain[1]["loss"], rel=0.03)
    model = MODELS[kind]()
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.loss(digits(4))
    assert terms.loss.dtype is model.encode(digits(4)).mean.dtype is torch.float32
    half = MODELS[kind]().bfloat16().eval()
    assert half.sample(3).dtype is half.loss(digits(4)).loss.dtype is torch.bfloat16


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # torch's own, while it compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # as well
@pytest.mark.slow
def test_it_trains_compiled(kind: str) -> None:
    plain, other = (trainer(**more).fit(MODELS[kind](), digits()) for more in ({}, {"compile": True}))
    assert other[3]["loss"] == pytest.approx(plain[3]["loss"], rel=1e-3)
    assert other[3]["perplexity"] == pytest.approx(plain[3]["perplexity"], rel=1e-2)


SCRIPT = """
import json, os, pathlib, sys
import torch
from test_full_normal import digits
from test_quantized import vq_vae
from mnistvae import Trainer

torch.set_num_threads(1)
model = vq_vae()
how = {"epochs": 3, "learning_rate": 1e-2, "progress": False, "device": "cpu", "seed": 1}
history = Trainer(batch_size=4, **how).fit(model, digits(33))
found = {"loss": history.column("loss"), "vectors": model.encoder.vectors.tolist()}
(pathlib.Path(sys.argv[1]) / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_have_the_codebook_of_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch(script, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    alone = vq_vae()
    how = {"epochs": 3, "learning_rate": 1e-2, "progress": False, "device": "cpu", "seed": 1}
    history = mv.Trainer(batch_size=8, **how).fit(alone, digits(33))
    assert first["loss"] == pytest.approx(history.column("loss"), rel=1e-4)
    torch.testing.assert_close(torch.tensor(first["vectors"]), alone.encoder.vectors, rtol=1e-3, atol=1e-4)


# --- what makes no sense --------------------------------------------------------------------------------------------


def test_settings_that_make_no_sense() -> None:
    for how, message in (
        ({"codebook_size": 1}, "codebook_size as an integer of at least 2, got 1"),
        ({"code_dim": 0}, "code_dim as an integer of at least 1"),
        ({"grid": (7,)}, r"grid as a height and a width, got \(7,\)"),
        ({"grid": (0, 7)}, "grid as one or more positive integers"),
        ({"commitment": -0.1}, "a finite commitment of at least 0"),
        ({"decay": 1.0}, "decay from 0 to below 1, got 1.0"),
        ({"restart": 1.0}, "restart from 0 to below 1, got 1.0"),
    ):
        with pytest.raises(SettingError, match=message):
            VectorQuantizedEncoder(nn.Identity(), **how)  # type: ignore[arg-type]
    for levels, message in (((8, 1), "at least 2 levels of each component"), ((), "levels as one or more positive")):
        with pytest.raises(SettingError, match=message):
            FiniteScalarEncoder(nn.Identity(), levels)
    for make in (lambda: UniformTokens(1), lambda: UniformTokens(4, (2, 2, 2))):
        with pytest.raises(SettingError, match=r"codebook_size as|a height and a width"):
            make()
    with pytest.raises(ComponentError, match=r"trunk as a torch.nn.Module, got a builtin_function_or_method"):
        VectorQuantizedEncoder(torch.relu)  # type: ignore[arg-type]


def test_grids_that_do_not_fit() -> None:
    for encoder, message in (
        (VectorQuantizedEncoder(nn.Identity(), 4, 2, (9, 4)), r"a grid of at most 8 x 8, as the images are, got grid="),
        (VectorQuantizedEncoder(trunk(), 4, 2, (3, 2)), r"features \(B, channels, 3, 2\), on the grid, got shape \(1"),
        (
            FiniteScalarEncoder(nn.Flatten(), (4,), (2, 2)),
            r"features \(B, channels, 2, 2\), on the grid, got shape \(1, 6",
        ),
    ):
        with pytest.raises(ComponentError, match=message):
            mv.VAE(encoder.latent_dim, SHAPE, encoder=encoder, prior=UniformTokens(4, encoder.grid))


def test_a_codebook_that_is_larger_than_the_data() -> None:
    torch.manual_seed(0)
    encoder = VectorQuantizedEncoder(trunk(), 100, D, GRID)
    decoder = TrunkDecoder(nn.Linear(6 * D, 64), 6 * D, SHAPE)
    model = mv.VAE(6 * D, SHAPE, encoder=encoder, decoder=decoder, prior=UniformTokens(100, GRID))
    message = r"at least 100 vectors of images for a codebook of as many, got 16 images of 6: take a smaller"
    with pytest.raises(DataError, match=message):
        trainer().fit(model, digits(16))
    trainer(epochs=1).fit(model, digits(17))


def test_priors_and_encoders_that_do_not_fit_each_other() -> None:
    torch.manual_seed(0)
    encoder = VectorQuantizedEncoder(trunk(), K, D, GRID)
    joint = JointEncoder([VectorQuantizedEncoder(trunk(), K, D, GRID), MLPEncoder(2, SHAPE)])
    models: list[tuple[int, Encoder, Any, str]] = [
        (18, encoder, None, "codes, 6 vectors of a codebook of 6, got one over numbers"),
        (18, encoder, UniformTokens(7, GRID), r"codebook_size=6 and grid=\(2, 3\), as the encoder has, got codebook_s"),
        (18, encoder, UniformTokens(K, (3, 2)), r"grid=\(2, 3\), as the encoder has"),
        (18, encoder, UniformCategorical(6, 3), "got one over one-hot blocks"),
        (18, MLPEncoder(18, SHAPE), UniformTokens(K, GRID), "encoder of tokens for a UniformTokens, got an MLPEncoder"),
        (20, joint, JointPrior([StandardNormal(2), UniformTokens(K, GRID)]), "got an MLPEncoder: take a TokenEncoder"),
        (
            20,
            joint,
            JointPrior([UniformTokens(K, GRID)]),
            "a joint encoder of 1 blocks, as the prior has, got one of 2",
        ),
    ]
    for size, part, prior, message in models:
        with pytest.raises(ComponentError, match=message):
            mv.VAE(size, SHAPE, encoder=part, prior=prior)
    with pytest.raises(ComponentError, match=r"got none: call it through the model: model.latent_prior\(\)"):
        UniformTokens(K, GRID)()
    with pytest.raises(ComponentError, match="a posterior whose dimensions are independent"):
        vq_vae(lambda: {"objective": BetaTC()})


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_what_is_no_number_gets_no_token_for_one(kind: str) -> None:
    model, x = MODELS[kind]().eval(), digits(3)
    x[1] = math.nan
    with torch.no_grad():
        codes = model.encode(x).mean
    assert codes[1].isnan().all()
    assert codes[[0, 2]].isfinite().all()


def test_the_doctor_counts_no_active_dimensions_of_tokens() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mv.Trainer(epochs=4, progress=False, callbacks=[mv.training.Doctor()]).fit(vq_vae(), digits(20))
    scores = mv.metrics.evaluate(vq_vae(), mv.ImageDataset(digits(12)), include=["latent"])
    assert "active_units" not in scores
