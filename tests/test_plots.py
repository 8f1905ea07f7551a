"""Plots say what they were given."""

from shared import plots


def test_panels_against_gpus_share_names_markers_and_lines():
    speed = {"ddp": [(1, 10.0), (2, 19.0)], "fsdp": [(2, 12.0)]}
    figure = plots.against_gpus({"tokens/s": speed, "GiB": {"fsdp": [(2, 3.0)]}})
    first, second = figure.axes
    assert [line.get_xydata().tolist() for line in first.lines] == [[[1, 10], [2, 19]], [[2, 12]]]
    assert first.lines[1].get_marker() == second.lines[0].get_marker() != first.lines[0].get_marker()
    assert list(first.get_xticks()) == [1, 2] and second.get_ylabel() == "GiB"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ddp", "fsdp"]
