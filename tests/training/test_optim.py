"""Muon with AdamW: the groups, the equality with torch's own two, and what a checkpoint keeps."""

import copy
import io
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.conftest import tiny_config
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments, get_scheduler

import hf_gpt
from hf_gpt.conversion.convert import import_model
from hf_gpt.errors import InputError
from hf_gpt.planning import hardware
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training import optimizers as optim
from hf_gpt.training.optimizers import OPTIMIZERS, Muon, find_transposed, group_parameters
from hf_gpt.training.preparation import optimizer_arguments


RATES = {
    "lr": 0.02,
    "weight_decay": 0.1,
    "embedding_lr": 0.1,
    "head_lr": 0.01,
    "rest_lr": 0.05,
    "betas": (0.9, 0.95),
    "eps": 1e-8,
}


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


def test_steps_are_those_of_torchs_two_optimizers(monkeypatch):
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype, device: True)
    ours, theirs = make_model(), make_model()
    optimizer = OPTIMIZERS["muon"](ours, **RATES)
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
    optimizer = OPTIMIZERS[name](model, **RATES)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for seed in range(2):
        take_step(model, optimizer, seed)
        scheduler.step()
    file = io.BytesIO()
    torch.save((optimizer.state_dict(), scheduler.state_dict()), file)
    file.seek(0)
    other = copy.deepcopy(model)
    restored = OPTIMIZERS[name](other, **RATES)
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
    optimizer = OPTIMIZERS["muon"](model, **RATES)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    scheduler.step()
    take_step(model, optimizer, 0)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters()))


def one_by_one(parameters, dtype, monkeypatch, **options):
    """Steps of `torch.optim.Muon` on copies of parameters, its bfloat16 replaced by another type."""
    copies = [parameter.detach().clone() for parameter in parameters]
    for copied, parameter in zip(copies, parameters):
        copied.grad = parameter.grad.clone()
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.to(dtype, copy=True))
        torch.optim.Muon(copies, **options).step()
    return copies


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("shape", [(96, 96), (32, 80), (80, 32), (1, 48), (384, 128)])
def test_matrices_of_a_shape_are_taken_at_once_and_come_out_as_one_by_one(shape, is_native, monkeypatch):
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype, device: is_native)
    torch.manual_seed(0)
    model = nn.Module()
    model.layers = nn.ModuleList(nn.ModuleList([nn.Linear(shape[1], shape[0], bias=False)]) for _ in range(5))
    parameters = list(model.parameters())
    # Of very different size, and one of zeros: each has a norm of its own.
    for number, parameter in enumerate(parameters):
        parameter.grad = torch.randn_like(parameter) * (10.0 ** (number - 2) if number else 0.0)
    dtype = torch.bfloat16 if is_native else torch.float32
    expected = one_by_one(parameters, dtype, monkeypatch, lr=0.02, weight_decay=0.1)
    Muon(model, lr=0.02, weight_decay=0.1).step()
    for found, wanted in zip(parameters, expected):
        if is_native:
            assert torch.equal(found, wanted)
        else:
            # In float32, products of a stack may add in another order.
            torch.testing.assert_close(found.detach(), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("is_native", [True, False])
def test_products_have_the_type_that_the_device_multiplies_natively(is_native, monkeypatch):
    asked = []
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype, device: asked.append((dtype, device)) or is_native)
    found = []
    monkeypatch.setattr("hf_gpt.training.optimizers.orthogonalize_", lambda stack: found.append(stack.dtype))
    model = make_model()
    take_step(model, Muon(model), 0)
    assert set(found) == {torch.bfloat16 if is_native else torch.float32}
    assert set(asked) == {(torch.bfloat16, "cpu")}


def test_large_stacks_are_cut_and_give_the_same_weights(monkeypatch):
    whole, cut = make_model(), make_model()
    take_step(whole, Muon(whole), 0)
    sizes = []
    real = optim.orthogonalize_
    monkeypatch.setattr(
        optim, "orthogonalize_", lambda stack: (sizes.append(stack.numel() * stack.element_size()), real(stack))
    )
    monkeypatch.setattr(optim, "STACK_BYTES", 3000)
    take_step(cut, Muon(cut), 0)
    assert max(sizes) <= max(3000, max(p.numel() for p in cut.parameters()) * 4)
    assert len(sizes) > len({p.shape for p in group_parameters(cut)["matrices"]})
    for mine, other in zip(whole.parameters(), cut.parameters()):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


ARCHITECTURES = {
    "gpt2": ({"n_embd": 16, "n_layer": 2, "n_head": 2}, "transformer.h."),
    "gpt_neox": (
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
        "gpt_neox.layers.",
    ),
    "opt": (
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 8},
        "model.decoder.layers.",
    ),
    "bloom": ({"hidden_size": 16, "n_layer": 2, "n_head": 2}, "transformer.h."),
    "llama": ({"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}, "model.layers."),
}


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_the_blocks_of_any_architecture_are_found(name):
    sizes, blocks = ARCHITECTURES[name]
    config = AutoConfig.for_model(name, vocab_size=50, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    expected = {n for n, p in model.named_parameters() if n.startswith(blocks) and p.ndim == 2}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(parameter)] for parameter in group_parameters(model)["matrices"]} == expected != set()


def test_stacked_experts_are_orthogonalised_matrix_by_matrix(monkeypatch):
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype, device: True)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gpt_oss",
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=24,
        num_local_experts=3,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config)
    groups = group_parameters(model)
    experts = model.model.layers[0].mlp.experts
    assert any(experts.down_proj is parameter for parameter in groups["matrices"])
    assert any(experts.down_proj_bias is parameter for parameter in groups["rest"])
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    # As matrices of `nn.Linear`, which gpt-oss keeps transposed.
    apart = [nn.Parameter(matrix.detach().T.clone()) for matrix in experts.down_proj]
    for matrix, gradient in zip(apart, experts.down_proj.grad):
        matrix.grad = gradient.T.clone()
    torch.optim.Muon(apart, lr=0.02, weight_decay=0.0).step()
    Muon(model, lr=0.02).step()
    assert torch.equal(experts.down_proj.mT, torch.stack(list(apart)))


MIXTURES = {
    "gpt_oss": ({"head_dim": 8, "num_local_experts": 3}, {"gate_up_proj", "down_proj"}),
    "llama4_text": ({"head_dim": 8, "num_local_experts": 3, "intermediate_size_mlp": 24}, {"gate_up_proj", "down_proj"}),
    "mixtral": ({"num_local_experts": 3}, set()),
    "qwen3_moe": ({"num_experts": 3, "moe_intermediate_size": 24}, set()),
}


@pytest.mark.parametrize("name", list(MIXTURES))
def test_experts_that_multiply_from_the_right_are_told_from_those_that_multiply_from_the_left(name):
    sizes, expected = MIXTURES[name]
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 24, **sizes}
    config = AutoConfig.for_model(
        name, vocab_size=50, num_hidden_layers=1, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes
    )
    model = AutoModelForCausalLM.from_config(config)
    ids = find_transposed(model)
    found = {name for name, parameter in model.named_parameters() if id(parameter) in ids and parameter.ndim == 3}
    assert {name.rpartition(".")[2] for name in found} == expected


def step_of_stock_gpt2(change=lambda model, optimizer: (model, optimizer)):
    """Return how far one step moves the matrices of GPT-2's first block, each as `nn.Linear` has it, in transformers and imported."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gpt2", vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=1
    )
    stock = AutoModelForCausalLM.from_config(config).eval()
    moved = []
    for model in (stock, import_model(stock).eval()):
        model, optimizer = change(model, Muon(model, lr=0.02))
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        ids = torch.randint(2, 96, (8, 32), generator=torch.Generator().manual_seed(0))
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        moved.append({name: tensor - before[name] for name, tensor in model.state_dict().items()})
    theirs = {"qkv": "attn.c_attn", "o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    theirs = {name: moved[0][f"transformer.h.0.{part}.weight"].T for name, part in theirs.items()}
    ours = {name.removeprefix("model.layers.0."): step for name, step in moved[1].items()}
    ours = {
        "qkv": torch.cat([ours[f"self_attn.{name}_proj.weight"] for name in "qkv"]),
        "o": ours["self_attn.o_proj.weight"],
        "up": ours["mlp.up_proj.weight"],
        "down": ours["mlp.down_proj.weight"],
    }
    return theirs, ours


@pytest.mark.parametrize("is_copied", [False, True])
def test_matrices_that_are_stored_transposed_move_as_far_as_those_of_an_import(is_copied, monkeypatch):
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype, device: False)
    copied = (lambda *pair: copy.deepcopy(pair)) if is_copied else (lambda *pair: pair)
    theirs, ours = step_of_stock_gpt2(copied)
    for name in ("o", "up", "down"):
        torch.testing.assert_close(theirs[name], ours[name], rtol=0, atol=1e-4)
    # One matrix of three, and three: not the same step, but one as long.
    assert theirs["qkv"].norm().item() == pytest.approx(ours["qkv"].norm().item(), rel=0.1)


def test_an_adapter_of_transposed_matrices_moves_as_one_of_any_others():
    config = AutoConfig.for_model("gpt2", vocab_size=96, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=1)
    model = get_peft_model(AutoModelForCausalLM.from_config(config), LoraConfig(target_modules=["c_fc"], fan_in_fan_out=True))
    matrices = Muon(model).param_groups[0]
    assert (len(matrices["params"]), matrices["is_transposed"]) == (4, False)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("adapter", "is_of_head_too"),
    [
        ({"trainable_token_indices": [3, 4]}, True),
        ({"target_modules": ["q_proj", "embed_tokens"]}, False),
        ({"modules_to_save": ["embed_tokens"]}, False),
    ],
)
def test_what_an_adapter_trains_of_a_table_has_the_rate_of_tables(adapter, is_of_head_too, tied):
    model = get_peft_model(make_model(tied), LoraConfig(r=2, **{"target_modules": ["q_proj"], **adapter}))
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups = group_parameters(model)
    assert {id(p) for p in groups["embeddings"]} == {id(p) for name, p in trained.items() if "embed_tokens" in name} != set()
    assert groups["head"] == []
    rates = {id(p): group["lr"] for group in Muon(model, lr=0.02).param_groups for p in group["params"]}
    rate = 0.03 if tied and is_of_head_too else 0.1
    assert [rates[id(p)] for p in groups["embeddings"]] == pytest.approx([rate] * len(groups["embeddings"]))


def test_filters_of_a_convolution_are_no_matrices():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.proj = nn.Conv1d(4, 4, 3), nn.Linear(4, 4)
            self.decays = nn.Parameter(torch.ones(4, 2))

    model = nn.Module()
    model.layers = nn.ModuleList([Block(), Block()])
    assert [p.shape for p in group_parameters(model)["matrices"]] == [(4, 4)] * 2


def test_a_low_rank_adapter_alone_can_be_trained():
    model = get_peft_model(make_model(), LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["o_proj", "down_proj"]))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    take_step(model, Muon(model), 0)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed
    assert all("lora_B" in name for name in changed)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(InputError, match=r"no matrix inside the repeated blocks of Linear.*use adamw"):
        Muon(nn.Linear(4, 4))
    with pytest.raises(InputError, match="lr=-1 must be at least 0"):
        Muon(make_model(), lr=-1)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("options", [{"min_lr": 0.002}, {"min_lr_rate": 0.1}])
def test_a_floor_of_the_rate_is_the_same_share_of_every_groups_own(options, optimizer):
    made = OPTIMIZERS[optimizer](make_model(), **RATES)
    bases = [group["lr"] for group in made.param_groups]
    assert len(set(bases)) == 4
    scheduler = get_scheduler(
        "cosine_with_min_lr", made, num_warmup_steps=2, num_training_steps=10, scheduler_specific_kwargs=options
    )
    shares = []
    for _ in range(10):
        made.step()
        scheduler.step()
        found = [group["lr"] / base for group, base in zip(made.param_groups, bases)]
        assert found == pytest.approx([found[0]] * 4)
        shares.append(found[0])
    assert max(shares) > 0.9
    assert shares[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(("tied", "rate"), [(False, 0.1), (True, 0.03)])
def test_other_rates_follow_the_one_that_is_given(tied, rate):
    made = hf_gpt.Muon(make_model(tied), lr=0.02)
    assert made.param_groups[0]["lr"] == 0.02
    assert made.param_groups[1]["lr"] == pytest.approx(rate)
    assert made.param_groups[-1]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("through", ["optimizers", "optimizer_cls_and_kwargs"])
def test_the_stock_trainer_takes_it_in_one_line(through, tmp_path):
    model = make_model()
    given = {
        "optimizers": lambda: (hf_gpt.Muon(model, lr=0.02), None),
        "optimizer_cls_and_kwargs": lambda: (lambda: hf_gpt.Muon, {"lr": 0.02}),
    }
    rows = [{"input_ids": [row, 5, 6, 7], "labels": [row, 5, 6, 7]} for row in range(2, 18)]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=8, report_to="none", use_cpu=True, logging_steps=1, disable_tqdm=True
    )
    trainer = Trainer(model, arguments, train_dataset=rows, **{through: given[through]()})
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[-1] < losses[0] - 0.2


def test_a_checkpoint_of_torchs_muon_is_taken_up():
    """As written before matrices were stacked: the groups hold the options of `torch.optim.Muon`."""
    model = make_model()
    groups = group_parameters(model)
    optimizer = Muon(model, **RATES)
    take_step(model, optimizer, 0)
    state = optimizer.state_dict()
    old = torch.optim.Muon(groups["matrices"], lr=0.02, weight_decay=0.1, momentum=0.95).state_dict()["param_groups"][0]
    state["param_groups"][0] = {**old, "half": "muon", "params": state["param_groups"][0]["params"]}
    restored = Muon(model, **RATES)
    restored.load_state_dict(state)
    for parameter in groups["matrices"]:
        assert set(restored.state[parameter]) == {"momentum_buffer"}
        assert torch.equal(restored.state[parameter]["momentum_buffer"], optimizer.state[parameter]["momentum_buffer"])
    take_step(model, restored, 1)


def test_the_momentum_of_a_recipe_reaches_the_matrices():
    values = {"preset": "modern-5m", "dataset": "movie-reviews", "output_dir": "runs/x", "optimizer": "muon"}
    for given, expected in (({}, 0.95), ({"muon_momentum": 0.9}, 0.9)):
        make, arguments = optimizer_arguments(parse_recipe({**values, **given}))
        optimizer = make()(make_model(), **arguments)
        assert optimizer.param_groups[0]["momentum"] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("lr", "embedding_lr", "head_lr", "rest_lr", "weight_decay")
            for value in (-1.0, math.nan, math.inf)
        ),
        *(("momentum", value) for value in (-0.1, 1.0, 1.5, math.nan)),
        *(("betas", value) for value in ((1.0, 0.9), (0.9, math.nan))),
        *(("eps", value) for value in (-1e-8, math.nan)),
    ],
)
def test_numbers_outside_of_their_range_are_refused(name, value):
    with pytest.raises(InputError, match=rf"^{name}.*=.* must be at least 0"):
        Muon(make_model(), **{**RATES, name: value})


def test_parameters_in_place_of_the_model_are_refused():
    with pytest.raises(InputError, match="model is generator, and no module: give the model itself"):
        Muon(make_model().parameters(), lr=0.02)
