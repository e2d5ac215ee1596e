"""A mixture of experts is kept in balance while it trains, and the log says how its experts were used."""

import pytest
import torch
from tests.conftest import tiny_config
from tests.helpers.figures import watch_figures
from tests.helpers.recipes import recipe_values
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import MoeCausalLMOutputWithPast

from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports.record_fields import check_fields
from hf_gpt.training.balance import ExpertUse
from hf_gpt.training.run import run


def mixture(coefficient):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("oss", router_aux_loss_coef=coefficient))
    with torch.no_grad():
        for block in model.model.layers:
            # One expert has every token.
            block.mlp.router.bias[0] = 4.0
    return model.train()


def largest_share(coefficient):
    model, ids = mixture(coefficient), torch.randint(2, 96, (4, 16), generator=torch.Generator().manual_seed(0))
    optimizer, use = torch.optim.AdamW(model.parameters(), lr=1e-2), ExpertUse(2)
    for _ in range(60):
        outputs = model(ids, labels=ids, output_router_logits=True)
        use.take()
        use.add(outputs)
        outputs.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return max(max(layer) for layer in use.take()[1])


def test_the_loss_of_balance_spreads_the_tokens():
    assert largest_share(1.0) < 1.5
    assert largest_share(0.0) > 1.7


def test_what_is_counted_is_the_share_of_each_expert():
    use = ExpertUse(1)
    first = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(6, 1)
    second = torch.eye(4)[[0, 1, 2, 3, 3, 3]]
    use.add(MoeCausalLMOutputWithPast(router_logits=(first, second), aux_loss=torch.tensor(3.0)))
    use.add(MoeCausalLMOutputWithPast(router_logits=(first.flip(-1), second), aux_loss=torch.tensor(1.0)))
    assert use.take() == (2.0, [[2.0, 0.0, 0.0, 2.0], [0.667, 0.667, 0.667, 2.0]])
    assert use.take() is None
    # As of a model that is evaluated.
    use.add(MoeCausalLMOutputWithPast())
    assert use.take() is None


def test_without_labels_the_balance_is_what_is_left_for_label_smoothing():
    model, ids = mixture(0.5), torch.randint(2, 96, (2, 12))
    outputs = model(ids)
    assert outputs.loss.item() == pytest.approx(0.5 * outputs.aux_loss.item())
    assert model.eval()(ids).loss is None


def test_a_run_logs_and_draws_how_experts_are_used(corpus, tmp_path, monkeypatch):
    drawn = watch_figures(monkeypatch)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = {**sizes, "num_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 128}
    values = recipe_values(
        corpus, tmp_path / "run", preset="oss-8m", config=config, max_steps=6, logging_steps=2, ngram_orders=[]
    )
    record = run(parse_recipe({**values, "eval_steps": 3, "save_steps": 6, "label_smoothing_factor": 0.1}))
    check_fields(record, "train")
    active = f"{record['parameters']:,} parameters, {record['active_parameters']:,} of them active"
    assert active in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    rows = [row for row in record["history"] if "loss" in row]
    assert len(rows) == 3
    for row in rows:
        assert row["aux_loss"] >= 2 - 1e-3
        assert [len(layer) for layer in row["expert_use"]] == [4, 4]
        assert all(sum(layer) == pytest.approx(4, abs=0.01) for layer in row["expert_use"])
    assert not any("aux_loss" in row for row in record["history"] if "eval_loss" in row)
    assert [axis.get_ylabel() for axis in drawn[-1].axes] == [
        "loss (nats per token)",
        "learning rate",
        "tokens of an expert\n(1 is equal)",
        "tokens/s",
    ]
