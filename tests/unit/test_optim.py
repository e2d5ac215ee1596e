"""Muon with AdamW: the groups, the equality with torch's own two, and what a checkpoint keeps."""

import copy
import io

import pytest
import torch
from tests.conftest import tiny_config
from transformers import AutoModelForCausalLM

from hf_gpt.optim import OPTIMIZERS, OptimizerSettings, group_parameters


SETTINGS = OptimizerSettings(
    lr=0.02, weight_decay=0.1, embedding_lr=0.1, head_lr=0.01, rest_lr=0.05, betas=(0.9, 0.95), eps=1e-8, momentum=0.95
)


def make_model(tied=False):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config("modern", tie_word_embeddings=tied))


def take_step(model, optimizer, seed):
    ids = torch.randint(2, 96, (2, 16), generator=torch.Generator().manual_seed(seed))
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_in_exactly_one_group(tied):
    model = make_model(tied)
    groups = group_parameters(model)
    grouped = [parameter for group in groups.values() for parameter in group]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}
    assert len(grouped) == len({id(p) for p in grouped})
    assert [p.shape for p in groups["embeddings"]] == [(96, 32)]
    assert len(groups["head"]) == (0 if tied else 1)
    assert all(p.ndim == 2 for p in groups["matrices"])


def test_steps_are_those_of_torchs_two_optimizers():
    ours, theirs = make_model(), make_model()
    optimizer = OPTIMIZERS["muon"](ours, SETTINGS)
    groups = group_parameters(theirs)
    muon = torch.optim.Muon(groups["matrices"], lr=0.02, weight_decay=0.1, momentum=0.95)
    adamw = torch.optim.AdamW(
        [
            {"params": groups["embeddings"], "lr": 0.1},
            {"params": groups["head"], "lr": 0.01},
            {"params": groups["rest"], "lr": 0.05},
        ],
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.0,
    )
    for seed in range(3):
        take_step(ours, optimizer, seed)
        ids = torch.randint(2, 96, (2, 16), generator=torch.Generator().manual_seed(seed))
        theirs(ids, labels=ids).loss.backward()
        for other in (muon, adamw):
            other.step()
            other.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters()):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_saved_optimizer_goes_on_to_the_same_bits(name):
    model = make_model()
    optimizer = OPTIMIZERS[name](model, SETTINGS)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for seed in range(2):
        take_step(model, optimizer, seed)
        scheduler.step()
    file = io.BytesIO()
    torch.save((optimizer.state_dict(), scheduler.state_dict()), file)
    file.seek(0)
    other = copy.deepcopy(model)
    restored = OPTIMIZERS[name](other, SETTINGS)
    schedule = torch.optim.lr_scheduler.LambdaLR(restored, lambda step: 1 / (1 + step))
    states = torch.load(file, weights_only=True)
    restored.load_state_dict(states[0])
    schedule.load_state_dict(states[1])
    for seed in range(2, 5):
        take_step(model, optimizer, seed)
        take_step(other, restored, seed)
        scheduler.step()
        schedule.step()
    for mine, others in zip(model.parameters(), other.parameters()):
        assert torch.equal(mine, others)


def test_a_scheduler_reaches_both_halves():
    model = make_model()
    optimizer = OPTIMIZERS["muon"](model, SETTINGS)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    scheduler.step()
    take_step(model, optimizer, 0)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters()))
