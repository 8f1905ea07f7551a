"""The hand-written codes of Quantization-from-Scratch are bitsandbytes', and its checks notice those that are not."""

import pytest
from safetensors.torch import load_file

from shared.profile import TINY_MODEL
from tests.lessons import chapters, printed, with_mistake


@pytest.fixture(scope="module")
def weight():
    return load_file(TINY_MODEL / "model.safetensors")["transformer.h.2.mlp.dense_h_to_4h.weight"][:256].float()


def lesson() -> list[str]:
    """The chapters that build the pieces: they need no model."""
    constants = ("BLOCK = ", "SCALE_BLOCK = ", "TOLERANCE = ")
    notebook = "01-Foundations/Quantization-from-Scratch.ipynb"
    return chapters(notebook, "## Eight bits", "## The schemes on real weights", constants)


def test_the_lesson_holds(weight, capsys):
    text = printed(lesson(), capsys, weight=weight.clone())
    assert "codes and scales are bitsandbytes': True" in text
    assert "they are bitsandbytes' levels: True" in text
    assert "codes, scales and values are bitsandbytes': True" in text
    assert "codes of the scales but for ties: True" in text
    assert "False" not in text


MUTATIONS = {
    "int8: 128 in place of 127": ("torch.round(weight * (127 / scales))", "torch.round(weight * (128 / scales))"),
    "int8: one scale for all rows": (".amax(dim=1, keepdim=True)\n", ".amax().expand(len(weight), 1)\n"),
    "int8: cut off instead of rounded": (
        "torch.round(weight * (127 / scales))",
        "torch.trunc(weight * (127 / scales))",
    ),
    "int8: scale not divided": ("codes * (scales / 127)", "codes * scales"),
    "no scale": ("levels[codes.int()] * scales.repeat_interleave(block)[: len(codes)]", "levels[codes.int()]"),
    "scale of the block before": ("* scales.repeat_interleave", "* scales.roll(1).repeat_interleave"),
    "scales in the other order": ("scales.repeat_interleave(block)[", "scales.repeat(block)["),
    "largest value without its sign": ("blocks.abs().amax(dim=1)", "blocks.amax(dim=1)"),
    "borders at the levels": ("(levels[1:] + levels[:-1]) / 2", "levels[1:]"),
    "wrong outermost level": ("1 - (1 / 30 + 1 / 32) / 2", "1 - 1 / 30"),
    "seven positive and eight negative": ("-quantile(outermost", "quantile(outermost"),
    "levels not divided by the largest": (" / max(positive)", ""),
    "evenly spaced in place of normal": ("quantile = NormalDist().inv_cdf", "quantile = float"),
    "halves of a byte exchanged": ("codes[0::2] << 4 | codes[1::2]", "codes[1::2] << 4 | codes[0::2]"),
    "mean not subtracted": ("quantize(scales - mean,", "quantize(scales,"),
    "mean not added again": ("SCALE_BLOCK) + mean", "SCALE_BLOCK)"),
    "a decade too many": ("10.0 ** (decade - 6)", "10.0 ** (decade - 7)"),
    "evenly many levels in each decade": ("2**decade + 1", "2**4 + 1"),
    "blocks of 128 scales": ("SCALE_BLOCK = 256", "SCALE_BLOCK = 128"),
    "blocks of 32 weights": ("quantize(weight, NF4, BLOCK)", "quantize(weight, NF4, 32)"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_variant_is_noticed(name, weight, capsys):
    wrong = with_mistake(lesson(), *MUTATIONS[name])
    with pytest.raises((AssertionError, RuntimeError)):  # RuntimeError: shapes that do not fit
        printed(wrong, capsys, weight=weight.clone())
