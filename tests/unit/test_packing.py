"""Several documents in one row do not see each other, whoever calls and however."""

import pytest
import torch
from tests.conftest import randomize, tiny_config
from transformers import AutoModelForCausalLM


LENGTHS = (5, 3, 7)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "call", [{}, {"use_cache": True}, {"use_cache": False}, {"mask": True}, {"mask": True, "use_cache": True}]
)
def test_documents_in_one_row_are_read_as_if_alone(architecture, attention, call):
    model = randomize(AutoModelForCausalLM.from_config(tiny_config(architecture)))
    model.set_attn_implementation(attention)
    ids = torch.randint(2, 96, (2, sum(LENGTHS)), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None].expand(2, -1)
    call = dict(call)
    if call.pop("mask", False):
        call["attention_mask"] = torch.ones_like(ids)
    packed = model(ids, position_ids=positions, **call).logits
    alone = torch.cat([model(part).logits for part in ids.split(LENGTHS, dim=1)], dim=1)
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-5)


def test_padding_is_not_mistaken_for_packing():
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("gpt2")))
    ids = torch.randint(2, 96, (1, 8))
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    given = model(ids, attention_mask=mask, position_ids=positions).logits[:, 2:]
    torch.testing.assert_close(given, model(ids[:, 2:]).logits, rtol=0, atol=1e-5)
