"""Figures within sentences come from receipts, and a page that is out of step with them is noticed."""

import json

import pytest

from shared import figures


@pytest.fixture
def results(tmp_path, monkeypatch):
    (tmp_path / "02-X/results").mkdir(parents=True)
    for name, gib in (("a", 7.481), ("b-1", 30.0)):
        receipt = {"peak": gib, "metrics": {"after": {"value": 0.985}, "by chance": {"value": 0.5}}, "model": "m"}
        (tmp_path / "02-X/results" / f"{name}.json").write_text(json.dumps(receipt))
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    figures._receipt.cache_clear()
    yield
    figures._receipt.cache_clear()


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("a.peak .1f", "7.5"),
        ("a.metrics.after.value .0%", "98%"),
        ("a.metrics.by_chance.value .0%", "50%"),
        ("b-1.peak / a.peak .2f", "4.01"),
        ("b-1.peak - a.peak ,.0f", "23"),
    ],
)
def test_figures(results, source, shown):
    before = f"It takes <!-- = {source} -->1,234<!-- --> and 7.5."
    assert figures.fill_figures(before) == f"It takes <!-- = {source} -->{shown}<!-- --> and 7.5."


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("c.peak .1f", "c: 0 receipts"),
        ("a.peaks .1f", "the receipt a has no peaks"),
        ("a.model .1f", "is no number but 'm'"),
    ],
)
def test_what_no_receipt_holds(results, source, sentence):
    with pytest.raises(figures.FigureError, match=sentence):
        figures.fill_figures(f"<!-- = {source} -->?<!-- -->")
