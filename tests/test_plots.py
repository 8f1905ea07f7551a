"""Plots say what they were given."""

from shared import plots
from shared.evaluation import Score


def test_panels_against_gpus_share_names_markers_and_lines():
    speed = {"ddp-lora": [(1, 10.0), (2, 19.0)], "fsdp-full": [(2, 12.0)], "fsdp-lora": [(2, 11.0)]}
    figure = plots.against_gpus({"tokens/s": speed, "GiB": {"fsdp-full": [(2, 3.0)]}})
    first, second = figure.axes
    assert [line.get_xydata().tolist() for line in first.lines] == [[[1, 10], [2, 19]], [[2, 12]], [[2, 11]]]
    assert first.lines[1].get_marker() == second.lines[0].get_marker() != first.lines[0].get_marker()
    assert first.lines[0].get_color() == first.lines[2].get_color() != first.lines[1].get_color()
    assert first.lines[1].get_linestyle() == first.lines[2].get_linestyle() != first.lines[0].get_linestyle()
    assert list(first.get_xticks()) == [1, 2] and second.get_ylabel() == "GiB"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ddp-lora", "fsdp-full", "fsdp-lora"]


def test_every_curve_is_drawn_and_can_be_told_from_the_others():
    lines = plots.loss_curve({name: [(1, 2.0), (2, 1.0)] for name in "abcd"}).axes[0].lines
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 4


def test_bars_say_how_many_there_are_of_each():
    few, many = (Score("right", 0.5, n, 0.4, 0.6) for n in (50, 100))
    assert "(n=50 to 100," in plots.score_bars({"few": few, "many": many}).axes[0].get_xlabel()
    assert "(n=50," in plots.score_bars({"few": few}).axes[0].get_xlabel()
