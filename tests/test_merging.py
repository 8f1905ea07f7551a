"""A GGUF file holds the model that was exported: read back by transformers it gives the same logits."""

import pytest
import torch
from gguf import GGUFReader, TokenType
from transformers import AutoModelForCausalLM, FalconConfig, FalconForCausalLM, LlamaConfig, LlamaForCausalLM, set_seed

from shared import merging
from shared.checkpoints import DiskFull
from shared.evaluation import generate
from shared.merging import GGUFError, export_gguf, unexportable
from shared.models import load_model, load_tokenizer
from shared.profile import TINY_MODEL

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
TOKENIZER = load_tokenizer(TINY_MODEL)
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 1540}


def llama(**changes) -> LlamaForCausalLM:
    set_seed(0)
    config = LlamaConfig(**SIZES | {"intermediate_size": 96, "num_key_value_heads": 2} | changes)
    return LlamaForCausalLM(config).eval()


def falcon(**changes) -> FalconForCausalLM:
    set_seed(0)
    return FalconForCausalLM(FalconConfig(**SIZES | changes)).eval()


@torch.inference_mode()
def error(path, model) -> float:
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    expected = model(input_ids=IDS).logits
    return ((read(input_ids=IDS).logits - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize(
    "model",
    [
        llama(tie_word_embeddings=True, initializer_range=0.2),
        llama(tie_word_embeddings=False, rope_theta=5e4),
        falcon(),
    ],
    ids=["tied", "untied", "falcon"],
)
def test_read_back_the_logits_are_the_same(model, tmp_path):
    size = export_gguf(model, TOKENIZER, tmp_path / "model.gguf")
    assert size == (tmp_path / "model.gguf").stat().st_size
    assert error(tmp_path / "model.gguf", model) < 2e-3  # float16 has 11 bits
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_queries_in_another_order_are_another_model(tmp_path, monkeypatch):
    """The test above would notice the layout that is easiest to get wrong."""
    monkeypatch.setattr(merging, "_interleave", lambda weight, heads: weight)
    model = llama(initializer_range=0.2)  # attention that attends
    export_gguf(model, TOKENIZER, tmp_path / "model.gguf")
    assert error(tmp_path / "model.gguf", model) > 0.05


def test_rotated_pairs_stand_side_by_side():
    rows = torch.arange(8.0)[:, None]  # two heads of four rows: halves 0 1 | 2 3
    assert merging._interleave(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_what_stands_in_the_file(tmp_path):
    export_gguf(llama(), TOKENIZER, tmp_path / "model.gguf")
    reader = GGUFReader(tmp_path / "model.gguf")
    value = {name: field.contents() for name, field in reader.fields.items()}
    assert value["general.architecture"] == "llama" and value["llama.attention.head_count_kv"] == 2
    assert value["tokenizer.ggml.pre"] == "smollm" and value["tokenizer.ggml.eos_token_id"] == TOKENIZER.eos_token_id
    tokens, kinds = value["tokenizer.ggml.tokens"], value["tokenizer.ggml.token_type"]
    assert tokens[:2] == ["<|endoftext|>", "<|pad|>"] and kinds[:3] == [TokenType.CONTROL, TokenType.CONTROL, 1]
    assert tokens[1536:] == [f"[PAD{n}]" for n in range(1536, 1540)] and kinds[1536] == TokenType.UNUSED
    assert value["tokenizer.ggml.merges"][0] == 'Ġ "'
    assert value["tokenizer.chat_template"] == TOKENIZER.chat_template
    names = {tensor.name for tensor in reader.tensors}
    assert {"token_embd.weight", "blk.1.attn_k.weight", "blk.0.ffn_gate.weight", "output_norm.weight"} <= names
    assert {t.tensor_type.name for t in reader.tensors if t.name.endswith("norm.weight")} == {"F32"}


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (llama(attention_bias=True), "this llama has attention_bias=True"),
        (llama(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}), "rope_type=linear"),
        (falcon(new_decoder_architecture=True), "this falcon has new_decoder_architecture=True"),
        (falcon(multi_query=False), "multi_query=False"),
    ],
)
def test_what_is_not_known_is_refused(model, sentence, tmp_path):
    with pytest.raises(GGUFError, match=f"{sentence}.*convert_hf_to_gguf.py"):
        export_gguf(model, TOKENIZER, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_other_models_and_tokenizers_are_refused(tmp_path):
    assert "dequantise it first" in unexportable(load_model(TINY_MODEL, quantize="nf4"), TOKENIZER)
    other = llama()
    other.config.model_type = "gpt2"
    assert "the architecture gpt2 is none of llama, falcon" in unexportable(other, TOKENIZER)
    from tokenizers.pre_tokenizers import Whitespace

    spaces = load_tokenizer(TINY_MODEL)
    spaces.backend_tokenizer.pre_tokenizer = Whitespace()
    assert "tokenizer" in unexportable(llama(), spaces)
    assert unexportable(llama(), TOKENIZER) == ""


def test_nothing_is_left_of_a_file_that_failed(tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_text("of an earlier run")
    large = llama()
    large.model.layers[1].mlp.up_proj.weight.data[0, 0] = 1e6
    with pytest.raises(GGUFError, match=r"blk.1.ffn_up.weight holds NaN, or values beyond"):
        export_gguf(large, TOKENIZER, path)

    def full(self, tensor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging.GGUFWriter, "write_tensor_data", full)
    with pytest.raises(DiskFull, match="No space left on device"):
        export_gguf(llama(), TOKENIZER, path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.gguf"] and path.read_text() == "of an earlier run"


def test_llama_cpp_answers_as_transformers_does(tmp_path):
    import xllamacpp

    model = load_model(TINY_MODEL, dtype=torch.float32)
    export_gguf(model, TOKENIZER, tmp_path / "model.gguf")
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.n_ctx = str(tmp_path / "model.gguf"), 512
    server = xllamacpp.Server(settings)
    prompts = ["Message: Hello, this is Ada Byron. Please send me 3 kettles.\nJSON:", "Q: What is 47 + 38?\n"]
    expected = generate(model, TOKENIZER, prompts, max_new_tokens=24, batch_size=1)
    for prompt, answer in zip(prompts, expected, strict=True):
        request = {"prompt": prompt, "max_tokens": 24, "temperature": 0.0, "top_k": 1}
        assert server.handle_completions(request)["choices"][0]["text"] == answer
