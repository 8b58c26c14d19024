"""Extra terms of a loss: columns of the history, in the logs, the bar and the figure, in every kind of step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_compiled import asked, traces
from test_graphs import TapeRecorder, recorder
from test_graphs import train as recorded_run
from test_graphs import vae as small
from test_optimizers import SHAPE, certain, trainer
from test_resume import StopAt, data, told
from torch import Tensor, nn

from mnistvae import VAE, History
from mnistvae.errors import ComponentError, SettingError
from mnistvae.objectives import ELBO, BetaTC, Terms
from mnistvae.plotting import loss_curves
from mnistvae.training import Callback, Checkpoint, CSVLog, Interrupted, JSONLinesLog, Progress, State

__all__ = ["asked", "recorder"]  # fixtures
NAMES = ["double_kl", "offset"]


class Extra(ELBO):
    """Two terms more, one of which costs something."""

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms = super().forward(model, x, y)
        extra = {"double_kl": 2 * terms.kl, "offset": terms.kl - terms.reconstruction}
        return Terms(terms.loss + 0.1 * extra["double_kl"], terms.reconstruction, terms.kl, extra)


def model(objective: Any = None) -> VAE:
    return small(objective=Extra() if objective is None else objective)


def timeless(history: History) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if "second" not in name} for record in history]


def test_extra_terms_are_columns_of_training_and_validation() -> None:
    history = trainer().fit(model(), data(20), data(16))
    assert list(history[0])[:6] == ["epoch", "loss", "reconstruction", "kl", *NAMES]
    for prefix in ("", "validation_"):
        kl, reconstruction = history.column(prefix + "kl"), history.column(prefix + "reconstruction")
        assert history.column(prefix + "double_kl") == pytest.approx([2 * value for value in kl])
        offsets = [a - b for a, b in zip(kl, reconstruction, strict=True)]
        assert history.column(prefix + "offset") == pytest.approx(offsets, rel=1e-4)


def test_the_total_correlation_objective_shows_its_parts() -> None:
    history = trainer().fit(small(objective=BetaTC()), data(20), data(16))
    (record, _) = history
    parts = [name for name in record if name not in {"epoch", "loss", "reconstruction", "kl"} and "second" not in name]
    assert "mutual_information" in parts
    assert "validation_mutual_information" in parts


def test_without_extra_terms_nothing_is_added() -> None:
    history = trainer().fit(certain(), data(20), data(16))
    assert history.columns() == [*History([{**record} for record in history]).columns()]
    assert not any(name.startswith("extra") for name in history[0])
    assert len(history[0]) == 10


def test_callbacks_see_names_and_sums() -> None:
    seen: list[tuple[tuple[str, ...], int, dict[str, float]]] = []

    class Look(Callback):
        def on_epoch_end(self, state: State) -> None:
            seen.append((state.terms, len(state.sums), state.means()))

    history = trainer(Look()).fit(model(), data(20))
    for (terms, count, means), record in zip(seen, history, strict=True):
        assert list(terms) == ["loss", "reconstruction", "kl", *NAMES]
        assert count == 5
        assert means == {name: record[name] for name in terms}


def test_extra_terms_are_logged(tmp_path: Path) -> None:
    logs = CSVLog(tmp_path / "a.csv"), JSONLinesLog(tmp_path / "a.jsonl")
    history = trainer(*logs, validate_every=2).fit(model(), data(20), data(16))
    assert timeless(History.from_csv(tmp_path / "a.csv")) == timeless(history)
    assert "validation_offset" in (tmp_path / "a.csv").read_text().splitlines()[0]
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines == history.records


def test_extra_terms_have_panels_in_the_loss_figure() -> None:
    history = trainer().fit(model(), data(20), data(16))
    figure = loss_curves(history)
    assert [ax.get_title() for ax in figure.axes][3:5] == ["double kl", "offset"]
    (line, held_out) = figure.axes[3].lines
    assert list(line.get_ydata()) == history.column("double_kl")
    assert list(held_out.get_ydata()) == history.column("validation_double_kl")


@pytest.mark.parametrize(("extra", "shown"), [(False, []), (True, NAMES), (["offset"], ["offset"])])
def test_the_bar_shows_extra_terms_on_request(extra: Any, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (record, _) = trainer(Progress(extra=extra), progress=True).fit(model(), data(20))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, "this bar replaces the usual one"
    for name in NAMES:
        text = f"{name.replace('_', ' ')} {record[name]:.4g}"
        assert (text in lines[0]) == (name in shown)


def test_a_bar_of_terms_that_there_are_not() -> None:
    with pytest.raises(SettingError, match="extra terms of the objective: double_kl, offset, got offsets"):
        trainer(Progress(extra=["offsets"])).fit(model(), data(20))
    for bad in ("offset", [1], 3):
        with pytest.raises((SettingError, TypeError), match=r"extra as True|not iterable"):
            Progress(extra=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_resumed_run_has_the_same_extra_terms(step: int, tmp_path: Path) -> None:
    whole, part, rest = model(), model(), model()
    history = trainer(Checkpoint(tmp_path / "whole")).fit(whole, data(20), data(16))
    with pytest.raises(Interrupted):
        trainer(Checkpoint(tmp_path / "part"), StopAt(step)).fit(part, data(20), data(16))
    again = trainer(Checkpoint(tmp_path / "part")).fit(rest, data(20), data(16), resume=tmp_path / "part")
    assert timeless(again) == timeless(history)
    assert all(torch.equal(tensor, rest.state_dict()[name]) for name, tensor in whole.state_dict().items())


class Changing(Extra):
    """Another extra term from the third step on."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0

    def advance(self, step: int) -> None:
        self.step = step

    def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
        terms = super().forward(model, x, y)
        return terms if self.step < 3 else Terms(*terms[:3], {"other": terms.kl})


def test_extra_terms_stay_the_same() -> None:
    expected = "the same terms in each step: loss, reconstruction, kl, double_kl, offset, got loss, .*, other: give"
    with pytest.raises(ComponentError, match=expected):
        trainer().fit(model(Changing()), data(20))


def test_extra_terms_are_one_value_an_image() -> None:
    class Mean(ELBO):
        def forward(self, model: Any, x: Tensor, y: Tensor | None = None) -> Terms:
            terms = super().forward(model, x, y)
            return Terms(*terms[:3], {"mean": terms.kl.mean()}) if self.training else terms

    with pytest.raises(ComponentError, match="one mean for each of 8 images"):
        trainer().fit(model(Mean()), data(20))


def test_extra_terms_of_recorded_steps(recorder: TapeRecorder) -> None:
    plain, recorded = model(), model()
    usual = recorded_run(plain, cuda_graph=False)
    played = recorded_run(recorded, cuda_graph=True)
    assert recorder.recordings == 2
    assert timeless(played) == timeless(usual)
    assert NAMES[0] in played[0]
    assert all(torch.equal(tensor, recorded.state_dict()[name]) for name, tensor in plain.state_dict().items())


@traces
def test_extra_terms_of_a_step_compiled_as_a_whole(asked: list[bool]) -> None:
    plain, compiled = small(objective=BetaTC()), small(objective=BetaTC())
    expected = trainer().fit(plain, data(24), data(16))
    history = trainer(compile=True).fit(compiled, data(24), data(16))
    assert asked == [False, True]
    assert list(history[0]) == list(expected[0])
    for name in history[0]:
        if "second" not in name:
            assert history.column(name) == pytest.approx(expected.column(name), rel=1e-3, abs=1e-4)


class Supervised(VAE):
    """A classifier on the code, whose cost is seen."""

    uses_labels = True

    def __init__(self) -> None:
        super().__init__(2, SHAPE)
        self.head = nn.Linear(2, 3)

    def loss(self, x: Any, y: Any = None) -> Terms:
        terms = super().loss(x)
        cost = nn.functional.cross_entropy(self.head(self.encode(x).mean), y, reduction="none")
        return Terms(terms.loss + cost, terms.reconstruction, terms.kl, {"classification": cost})


def test_a_supervised_term_is_seen() -> None:
    history = trainer().fit(Supervised(), told(24), told(24))
    for record in history:
        for prefix in ("", "validation_"):
            parts = [record[prefix + name] for name in ("reconstruction", "kl", "classification")]
            assert record[prefix + "loss"] == pytest.approx(sum(parts), rel=1e-4)
            assert parts[-1] > 0
