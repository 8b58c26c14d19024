"""Tables of evaluations in the forms that texts and papers take."""

from __future__ import annotations

import csv

import pytest

from mnistvae.errors import SettingError
from mnistvae.metrics import Evaluation, Score, compare


def evaluation(value: float, unlike: str = "") -> Evaluation:
    scores = [
        Score("mse", value, "", "lower", "mean", standard_error=0.001),
        Score("psnr", 20 * value, "dB", "higher", "mean", tag=unlike),
    ]
    return Evaluation(tuple(scores), {"dataset": "digits"})


PAIR = {"a_1": evaluation(0.1), "50 % | b": evaluation(0.2)}


def test_markdown() -> None:
    head, rule, mse, psnr = compare(PAIR, "markdown").splitlines()
    assert head == r"|  | a_1 | 50 % \| b |"
    assert rule == "| --- | ---: | ---: |"
    assert mse == r"| ↓ mse | 0.1000 ± 0.0010 \* | 0.2000 ± 0.0010 |"
    assert psnr.startswith("| ↑ psnr dB | 2 | 4 |")


def test_latex_escapes_what_is_not_text() -> None:
    lines = compare(PAIR, "latex").splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}"
    assert lines[2] == r" & a\_1 & 50 \% | b \\"
    assert lines[4] == r"$\downarrow$ mse & 0.1000 $\pm$ 0.0010 $^{*}$ & 0.2000 $\pm$ 0.0010 \\"
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_csv_is_read_back() -> None:
    rows = list(csv.reader(compare(PAIR, "csv").splitlines()))
    assert rows[0] == ["", "a_1", "50 % | b"]
    assert rows[1] == ["↓ mse", "0.1000 ± 0.0010 *", "0.2000 ± 0.0010"]


def test_what_is_not_compared_is_a_note() -> None:
    unlike = {"a": evaluation(0.1, "grey-bce"), "b": evaluation(0.2, "binarized-static")}
    reason = "psnr is not compared: tags 'binarized-static' and 'grey-bce'"
    assert compare(unlike).splitlines()[-1] == reason
    assert compare(unlike, "latex").splitlines()[-1] == f"% {reason}"
    assert compare(unlike, "markdown").splitlines()[-1] == reason
    assert reason not in compare(unlike, "csv")


def test_an_unknown_style() -> None:
    with pytest.raises(SettingError, match="style"):
        compare(PAIR, "html")  # type: ignore[arg-type]
