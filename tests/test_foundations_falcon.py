"""01-Foundations/Falcon-from-Scratch: its cells equal the library, and a mistake in any of their lines is found."""

import ast
import functools

import nbformat
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, set_seed

from shared.errors import WeightsError
from shared.profile import ROOT, TINY_MODEL

TOLERANCE = 1e-5  # in float64, absolute: the notebook's
DEFINITIONS = (  # the cells that define the models begin with one of these, after their comments
    "import hashlib",
    "@dataclass(frozen=True)",
    "def angles(",
    "def split_heads(",
    "class MLP(",
    "class Falcon(",
    "def build(",
    "def generate(",
    "class LlamaBlock(",
    "class Llama(",
)


@functools.cache
def source() -> str:
    """The definitions in the notebook's cells, without the lines that load, run or print something."""
    cells = nbformat.read(ROOT / "01-Foundations/Falcon-from-Scratch.ipynb", 4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    chosen = [next(text for text in code if start in text) for start in DEFINITIONS]
    return "\n\n".join(map(definitions, chosen))


def definitions(cell: str) -> str:
    """The imports, functions and classes of a cell."""
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return "\n\n".join(ast.unparse(node) for node in ast.parse(cell).body if isinstance(node, kept))


def namespace(old: str = "", new: str = "") -> dict:
    """What the cells define, with `old` replaced by `new` in their source."""
    text = source()
    assert not old or old in text, f"the notebook has no {old}"
    names = {"device": torch.device("cpu"), "__name__": "notebook"}
    exec(compile(text.replace(old, new) if old else text, "notebook", "exec"), names)
    return names


@functools.cache
def falcon():
    return AutoModelForCausalLM.from_pretrained(TINY_MODEL, dtype=torch.float64, attn_implementation="eager").eval()


@functools.cache
def llama():
    set_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 6, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=90, num_hidden_layers=2, initializer_range=0.3, tie_word_embeddings=True, **sizes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)  # a model that was trained has norms that are not all ones
    return model


def rows(vocabulary: int) -> torch.Tensor:
    return torch.randint(3, vocabulary, (2, 40), generator=torch.Generator().manual_seed(0))


def build_falcon(names: dict):
    sizes = names["sizes_of"](AutoConfig.from_pretrained(TINY_MODEL))
    return names["build"](sizes, load_file(TINY_MODEL / "model.safetensors"), torch.float64)


@torch.inference_mode()
def falcon_is_equal(names: dict) -> bool:
    """Same logits at once and in two parts with a cache, and the same greedy tokens."""
    mine, ids = build_falcon(names), rows(1500)
    expected = falcon()(input_ids=ids).logits
    whole, _ = mine(ids)
    first, cache = mine(ids[:, :25])
    second, _ = mine(ids[:, 25:], cache)
    parts = torch.cat([first, second], dim=1)
    if not all((logits - expected).abs().max() < TOLERANCE for logits in (whole, parts)):  # not: nan is no equality
        return False
    answer = falcon().generate(input_ids=ids[:1], max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=1)
    return names["generate"](mine, ids[:1], 12, 2) == answer[0, 40:].tolist()


@torch.inference_mode()
def llama_is_equal(names: dict) -> bool:
    mine, ids = names["Llama"](llama().config).double().eval(), rows(90)
    tensors = llama().state_dict().items()
    mine.load_state_dict({name.removeprefix("model."): t for name, t in tensors if name != "lm_head.weight"})
    return bool((mine(ids)[0] - llama()(input_ids=ids).logits).abs().max() < TOLERANCE)


def test_the_cells_equal_the_library():
    names = namespace()
    assert falcon_is_equal(names)
    assert llama_is_equal(names)


FALCON_MISTAKES = {
    "a cached position too early": ("start = cache[0][0].shape[2]", "start = cache[0][0].shape[2] - 1"),
    "a cached position too late": ("start = cache[0][0].shape[2]", "start = cache[0][0].shape[2] + 1"),
    "keys one position late": ("rotate(key, angle)", "rotate(key, angle + angle[1:2] - angle[:1])"),
    "keys not turned": ("rotate(query, angle), rotate(key, angle)", "rotate(query, angle), key"),
    "turned the wrong way": ("second * cos + first * sin", "second * cos - first * sin"),
    "another theta": ("1.0 / theta **", "1.0 / (1.1 * theta) **"),
    "missing scale": (" / math.sqrt(query.shape[-1])", ""),
    "scale of the width": ("math.sqrt(query.shape[-1])", "math.sqrt(query.shape[-1] * query.shape[1])"),
    "keys and values swapped": (
        "return (parts[:, :heads], parts[:, heads:heads + 1], parts[:, heads + 1:])",
        "return (parts[:, :heads], parts[:, heads + 1:], parts[:, heads:heads + 1])",
    ),
    "query heads in reverse": ("return (parts[:, :heads],", "return (parts[:, :heads].flip(1),"),
    "sees the next token": (".tril(keys - queries)", ".tril(keys - queries + 1)"),
    "does not see itself": (".tril(keys - queries)", ".tril(keys - queries - 1)"),
    "mask without the cache": (".tril(keys - queries)", ".tril()"),
    "norm left out": ("normed = self.input_layernorm(x)", "normed = x"),
    "a chain, not parallel": (
        "x + (self.mlp(normed) + attended)",
        "x + attended + self.mlp(self.input_layernorm(x + attended))",
    ),
    "attention not added": ("self.mlp(normed) + attended", "self.mlp(normed)"),
    "residual left out": (
        "return (x + (self.mlp(normed) + attended), seen)",
        "return (self.mlp(normed) + attended, seen)",
    ),
    "the other GELU": ("gelu(self.dense_h_to_4h(x))", "gelu(self.dense_h_to_4h(x), approximate='tanh')"),
    "last norm left out": ("self.ln_f(x) @", "x @"),
    "heads joined in another order": (
        "attended.transpose(1, 2).flatten(2)",
        "attended.transpose(2, 3).reshape(x.shape)",
    ),
    "another epsilon": ("eps=sizes.epsilon", "eps=0.001"),
}


@pytest.mark.parametrize(("old", "new"), FALCON_MISTAKES.values(), ids=FALCON_MISTAKES)
def test_a_mistake_in_the_falcon_is_found(old, new):
    try:
        assert not falcon_is_equal(namespace(old, new))
    except RuntimeError as error:  # shapes that do not fit are found, too
        assert "size" in str(error) or "shape" in str(error)


LLAMA_MISTAKES = {
    "gate and up swapped": (
        "silu(self.mlp.gate_proj(normed)) * self.mlp.up_proj(normed)",
        "silu(self.mlp.up_proj(normed)) * self.mlp.gate_proj(normed)",
    ),
    "gate without SiLU": ("silu(self.mlp.gate_proj(normed))", "self.mlp.gate_proj(normed)"),
    "GELU in place of SiLU": ("silu(self", "gelu(self"),
    "groups interleaved": (
        "kept.repeat_interleave(self.heads // self.groups, dim=1)",
        "kept.repeat(1, self.heads // self.groups, 1, 1)",
    ),
    "the first norm twice": ("self.post_attention_layernorm(x)", "self.input_layernorm(x)"),
    "parallel, not a chain": (
        "normed = self.post_attention_layernorm(x)",
        "normed = self.post_attention_layernorm(normed)",
    ),
    "missing scale": (" / math.sqrt(query.shape[-1])", ""),
    "keys not turned": (
        "key = rotate(part.k_proj(normed).unflatten(-1, (self.groups, -1)).transpose(1, 2), angle)",
        "key = part.k_proj(normed).unflatten(-1, (self.groups, -1)).transpose(1, 2)",
    ),
    "LayerNorm in place of RMSNorm": (
        "self.norm = nn.RMSNorm(config.hidden_size",
        "self.norm = LayerNorm(config.hidden_size",
    ),
}


@pytest.mark.parametrize(("old", "new"), LLAMA_MISTAKES.values(), ids=LLAMA_MISTAKES)
def test_a_mistake_in_the_llama_is_found(old, new):
    class LayerNorm(torch.nn.LayerNorm):
        def __init__(self, size, eps):
            super().__init__(size, eps, bias=False)

    names = namespace(old, new)
    names["LayerNorm"] = LayerNorm
    assert not llama_is_equal(names)


def test_shifting_all_positions_is_no_mistake():
    """Rotary positions are relative: only a shift of queries against keys can be seen."""
    names = namespace("return positions[:, None].float()", "return (positions[:, None] + 1).float()")
    with torch.inference_mode():
        off = (build_falcon(names)(rows(1500))[0] - falcon()(input_ids=rows(1500)).logits).abs().max()
    assert off < 1e-3


def test_other_kinds_of_falcon_are_refused():
    config = AutoConfig.from_pretrained(TINY_MODEL)
    config.alibi = True
    with pytest.raises(WeightsError, match="MODEL"):
        namespace()["sizes_of"](config)


def test_the_falcon_is_about_a_hundred_lines():
    cells = nbformat.read(ROOT / "01-Foundations/Falcon-from-Scratch.ipynb", 4).cells
    starts = ("def angles(", "def split_heads(", "class MLP(", "class Falcon(")
    code = "\n".join(next(c.source for c in cells if c.cell_type == "code" and start in c.source) for start in starts)
    assert 60 <= sum(bool(line.strip()) for line in code.splitlines()) <= 120
