"""nanoGPT's `ckpt.pt`, against a model written from its description: GPT-2 with linear layers and an optional bias."""

import pytest
import torch
from tests.helpers.parity_references import random_ids
from torch import nn
from torch.nn import functional as F

from hf_gpt import export_checkpoint, import_checkpoint


SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 24, "vocab_size": 61}


class Norm(nn.Module):
    def __init__(self, size, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Block(nn.Module):
    def __init__(self, size, heads, bias):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = Norm(size, bias), Norm(size, bias)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(size, 3 * size, bias), "c_proj": nn.Linear(size, size, bias)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(size, 4 * size, bias), "c_proj": nn.Linear(4 * size, size, bias)})

    def forward(self, x):
        query, key, value = self.attn["c_attn"](self.ln_1(x)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.attn["c_proj"](mixed)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class NanoGPT(nn.Module):
    def __init__(self, n_layer, n_head, n_embd, block_size, vocab_size, bias):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab_size, n_embd),
                "wpe": nn.Embedding(block_size, n_embd),
                "h": nn.ModuleList(Block(n_embd, n_head, bias) for _ in range(n_layer)),
                "ln_f": Norm(n_embd, bias),
            }
        )
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, ids):
        x = self.transformer["wte"](ids) + self.transformer["wpe"].weight[: ids.shape[1]]
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


def checkpoint_of(bias, prefix=""):
    torch.manual_seed(0)
    model = NanoGPT(**SIZES, bias=bias)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    checkpoint = {
        "model": {prefix + key: tensor for key, tensor in model.state_dict().items()},
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "model_args": {**SIZES, "bias": bias, "dropout": 0.1},
        "iter_num": 2000,
        "best_val_loss": torch.tensor(1.47),
        "config": {"dataset": "shakespeare_char", "compile": True},
    }
    return model, checkpoint


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize("bias", [False, True])
def test_logits(bias, prefix, tmp_path):
    theirs, checkpoint = checkpoint_of(bias, prefix)
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    for path in (tmp_path, tmp_path / "ckpt.pt", str(tmp_path / "ckpt.pt")):
        ours = import_checkpoint(path)
        assert ours.config.use_bias == bias
        assert ours.config.resid_dropout == ours.config.embd_dropout == ours.config.attention_dropout == 0.1
        with torch.no_grad():
            expected, found = theirs(random_ids()), ours(random_ids()).logits
        assert expected.std() > 0.5
        assert (expected - found).abs().max() <= 1e-5
    assert export_checkpoint(ours, tmp_path / "gpt2") == "gpt2"


def test_buffers_without_flash_attention(tmp_path):
    theirs, checkpoint = checkpoint_of(bias=False)
    checkpoint["model"] |= {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 24, 24).tril() for i in range(2)}
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    with torch.no_grad():
        assert (theirs(random_ids()) - import_checkpoint(tmp_path)(random_ids()).logits).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c.pop("model_args"), "no dictionary 'model_args'"),
        (lambda c: c.pop("model"), "no dictionary 'model'"),
        (lambda c: c["model_args"].pop("block_size"), "lacks block_size in model_args"),
        (lambda c: c["model"].pop("transformer.ln_f.weight"), "transformer.ln_f.weight"),
        (lambda c: c["model_args"].update(bias=True), "transformer.h.0.ln_1.bias"),
        (lambda c: c["model"].update(extra=torch.ones(1)), "extra"),
    ],
)
def test_what_is_missing_is_named(spoil, words, tmp_path):
    _, checkpoint = checkpoint_of(bias=False)
    spoil(checkpoint)
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    with pytest.raises(ValueError, match=words):
        import_checkpoint(tmp_path)


def test_truncated_file(tmp_path):
    path = tmp_path / "ckpt.pt"
    torch.save(checkpoint_of(bias=False)[1], path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="truncated or damaged"):
        import_checkpoint(path)
