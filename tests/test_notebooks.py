"""What notebooks show of a model, a trainer, a history, an evaluation and codes: HTML that is whole, safe and short."""

from __future__ import annotations

import functools
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mnistvae as mv
from mnistvae import _html, analysis
from mnistvae.metrics import Evaluation, Score
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.training import Doctor

EVIL = "<script>alert('x')</script> & \"<b onload=x>"
SHAPE = (1, 8, 8)


class Reader(HTMLParser):
    """The texts of a page, its tables as rows of cells, and whether its tags close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open, f"{self.open} are not closed"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def read(thing: Any) -> Reader:
    """The page of a thing, which has no more than tables and folds."""
    page = thing._repr_html_()
    assert len(page) < 50_000
    page.encode()
    found = Reader(page)
    tags = {"div", "style", "strong", "p", "table", "tr", "th", "td", "details", "summary"}
    assert found.seen <= tags
    assert found.attributes <= {"class", "colspan"}
    return found


def small(**parts: Any) -> mv.VAE:
    encoder = MLPEncoder(2, SHAPE, (8,), num_classes=parts.get("num_classes"))
    return mv.VAE(2, SHAPE, encoder=encoder, **{"decoder": MLPDecoder(2, SHAPE, (8,)), **parts})


def history(epochs: int, **more: Any) -> mv.History:
    return mv.History(
        [{"epoch": n, "loss": 200.0 / n, "images_per_second": 28_123.4} for n in range(1, epochs + 1)], **more
    )


# --- what is in them ------------------------------------------------------------------------------------------------


def test_a_model_shows_its_parts_and_their_sizes() -> None:
    model = small()
    found = read(model)
    sizes = {row[0].strip(): row[2] for row in found.rows}
    for name in ("encoder", "decoder", "likelihood", "prior", "objective"):
        assert sizes[name] == f"{sum(weight.numel() for weight in getattr(model, name).parameters()):,}"
    assert f"{sum(weight.numel() for weight in model.parameters()):,} parameters" in found.text
    assert "VAE(latent_dim=2, image_shape=(1, 8, 8))" in found.text
    assert any("MLP(in_features=64, hidden=(8,), out_features=4)" in row[1] for row in found.rows)
    assert read(model.encoder).rows[0] == ["part", "", "parameters"]


def test_a_model_with_parts_of_any_kind() -> None:
    class Odd(nn.Module):
        def __init__(self, size: int) -> None:  # which it does not keep
            super().__init__()
            self.lazy = nn.LazyLinear(3)

    class Own(mv.networks.MLPDecoder):
        def __init__(self, latent_dim: int, image_shape: Any, odd: Any) -> None:
            super().__init__(latent_dim, image_shape, (8,))
            self.odd = odd

    rows = read(small(decoder=Own(2, SHAPE, nn.Sequential(Odd(3), *(nn.Linear(1, 1) for _ in range(199)))))).rows
    assert ["\u2003\u20030", "Odd(...)", "0"] in rows
    assert ["\u2003\u200311", "Linear(in_features=1, out_features=1, bias=True)", "2"] in rows
    assert ["\u2003\u2003…", "188 more", ""] in rows
    assert rows[-1][0] == "objective"


def test_a_trainer_shows_what_was_set() -> None:
    trainer = mv.Trainer(
        7, optimizer=functools.partial(torch.optim.SGD, momentum=0.9), callbacks=[Doctor()], device="cpu"
    )
    rows = dict(read(trainer).rows[1:6])
    assert rows["epochs"] == "7"
    assert rows["optimizer"] == "SGD(momentum=0.9)"
    assert rows["callbacks"] == "['Doctor']"
    assert rows["device"] == "cpu"
    names = [row[0] for row in read(trainer).rows if row[0] != "setting"]
    assert sorted(names) == sorted(mv.Trainer.setting_names())
    assert repr(mv.Trainer(3, seed=2)) == "Trainer(epochs=3, seed=2)"
    assert repr(mv.Trainer()) == "Trainer()"


def test_a_history_shows_its_last_epochs_and_why_it_ended() -> None:
    found = read(history(200, tag="grey-bce", stopped="no better loss in 5 epochs"))
    assert found.rows[0] == ["epoch", "loss", "images_per_second"]
    assert found.rows[1] == ["…"] * 3
    assert [row[0] for row in found.rows[2:]] == [str(n) for n in range(191, 201)]
    assert found.rows[-1] == ["200", "1", "28123"]
    assert "History of 200 epochs" in found.text
    assert "grey-bce" in found.text
    assert "stopped: no better loss in 5 epochs" in found.text
    assert read(mv.History()).text == "History of 0 epochs"
    assert len(read(history(10)).rows) == 11
    gap = read(mv.History([{"epoch": 1, "loss": float("nan")}, {"epoch": 2, "kl": 3.0}]))
    assert gap.rows == [["epoch", "loss", "kl"], ["1", "nan", ""], ["2", "", "3"]]


def test_an_evaluation_shows_its_table() -> None:
    scores = (Score("nll", 86.812, "nats", "lower", "500 samples", standard_error=0.5), Score("size", 3.0))
    found = read(
        Evaluation(scores, protocol={"dataset": "mnist", "split": "test", "seed": 3}, left_out={"mig": "no labels"})
    )
    assert found.rows[1] == ["↓\u00a0nll", "86.81\u00a0±\u00a00.50", "nats", "500 samples"]
    assert found.rows[2][:2] == ["\u00a0\u00a0size", "3"]
    assert ["mig", "no labels"] in found.rows
    for text in ("Evaluation of mnist, test", "seed: 3", "1 left out"):
        assert text in found.text
    assert read(Evaluation(())).text.startswith("Evaluation")


def test_codes_show_the_first_of_them() -> None:
    def codes(n: int, d: int, *, labels: bool = True) -> analysis.LatentCodes:
        return analysis.LatentCodes(torch.ones(n, d), torch.ones(n, d), torch.arange(n) if labels else None, name=EVIL)

    found = read(codes(9, 2))
    assert found.rows[0] == ["label", "mean_0", "mean_1"]
    assert found.rows[5] == ["4", "1", "1"]
    assert found.rows[6] == ["…"]
    assert len(found.rows) == 7
    assert read(codes(3, 50, labels=False)).rows[0] == [f"mean_{n}" for n in range(12)]


# --- whatever the texts are -----------------------------------------------------------------------------------------


@given(st.text(max_size=40) | st.just(EVIL), st.text(alphabet="\ud800\x00\x1b<&\"'>é", max_size=9))
@settings(max_examples=40, deadline=None)
def test_texts_are_texts(one: str, two: str) -> None:
    shown = [
        Evaluation((Score(one, 1.0, two, "", two),), protocol={"dataset": one, two: one}, left_out={one: two}),
        mv.History([{"epoch": 1, one: two}], tag=one, stopped=two),  # type: ignore[dict-item]
        analysis.LatentCodes(torch.ones(1, 1), torch.ones(1, 1), name=one, split=two),
    ]
    for thing in shown:
        assert "<script" not in thing._repr_html_()
        read(thing)


@given(
    st.lists(
        st.lists(st.text(max_size=9) | st.floats() | st.integers() | st.none(), min_size=2, max_size=2), max_size=9
    )
)
def test_a_table_is_read_back(rows: list[list[Any]]) -> None:
    wanted = [[_html.as_text(cell).replace("\r\n", "\n").replace("\r", "\n") for cell in row] for row in rows]
    found = Reader(_html.table(("a", EVIL), rows)).rows
    assert found[0] == ["a", EVIL]
    assert [[cell.replace("\r\n", "\n").replace("\r", "\n") for cell in row] for row in found[1:]] == wanted
    short = Reader(_html.table(("a", "b"), rows, most=3)).rows
    assert len(short) == 1 + min(len(rows), 3) + (len(rows) > 3)


def test_long_texts_are_cut_and_long_tables_too() -> None:
    long = "x" * 100_000
    read(Evaluation(tuple(Score(f"m{n}", 1.0, protocol="short") for n in range(500))))
    read(Evaluation((Score("m", 1.0, protocol=long),), protocol={"a": long}, left_out={"b": long}))
    read(mv.History([{f"column {n}": 1.0 for n in range(1000)}] * 1000, stopped=long))
    assert long in _html.table(("a",), [[long]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (0.123456, "0.1235"),
        (28123.4, "28123"),
        (1e12, "1e+12"),
        (float("inf"), "inf"),
        (3, "3"),
        ("a", "a"),
    ],
)
def test_cells_as_people_read_them(value: Any, text: str) -> None:
    assert _html.as_text(value) == text
