"""A mixture of experts is kept in balance while it trains, and the log says how its experts were used."""

import pytest
import torch
from tests.conftest import tiny_config
from tests.helpers.figures import watch_figures
from tests.helpers.recipes import TASKS, recipe_values, task_values, write_base, write_rows
from transformers import AutoModelForCausalLM, MixtralConfig
from transformers.modeling_outputs import MoeCausalLMOutputWithPast

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports.record_fields import check_fields
from hf_gpt.tasks import TASKS as ALL_TASKS
from hf_gpt.training.balance import ExpertUse, check_balance
from hf_gpt.training.distributed import read_launch
from hf_gpt.training.finetuning import Finetuning
from hf_gpt.training.label_smoothing import WholeLabelSmoother
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


def test_with_smoothed_labels_a_step_in_parts_is_balanced_as_much_as_one_at_once():
    model, ids = mixture(0.5), torch.randint(2, 96, (4, 12))
    smoother, count = WholeLabelSmoother(0.1, is_causal=True), torch.tensor(4 * 11)
    model.config.output_router_logits, parts = True, []
    for part in ids.split(2):
        outputs = model(part, num_items_in_batch=count)
        without = smoother({"logits": outputs.logits}, part, num_items_in_batch=count)
        parts.append(smoother(outputs, part, num_items_in_batch=count) - without)
        torch.testing.assert_close(parts[-1], 0.25 * outputs.aux_loss)


@pytest.fixture(scope="module")
def mixture_base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("mixture"), "oss", router_aux_loss_coef=0.25)


def values_of(base, folder, task, **changes):
    return task_values(base, write_rows(folder, TASKS[task][0], 60), folder / "run", task, **changes)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("chat", {}),
        ("chat", {"label_smoothing_factor": 0.1}),
        ("text-to-text", {"lora": {"r": 2}}),
        ("preference", {}),
        ("preference", {"lora": {"r": 2}}),
        ("reinforcement", {}),
        ("reinforcement", {"algorithm": "rloo"}),
    ],
    ids=str,
)
def test_a_language_model_is_balanced_by_every_task_while_it_trains_and_scored_without(task, changes, mixture_base, tmp_path):
    pytest.importorskip("trl", reason="trl needs Python 3.11")
    job = Finetuning(parse_recipe(values_of(mixture_base, tmp_path, task, **changes)))
    job.prepare_data(read_launch(1))
    trainer = job.build_trainer(job.build_model())
    rows = [job.encoded["train"][number] for number in range(2) for _ in range(8 if task == "reinforcement" else 1)]
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    is_drawn = task == "reinforcement"
    batch = trainer._generate_and_score_completions(rows) if is_drawn else trainer.data_collator(rows)
    loss = trainer._compute_loss if is_drawn else trainer.compute_loss
    trained = loss(trainer.model, dict(batch))
    trainer.model.eval()
    with torch.no_grad():
        scored = loss(trainer.model, dict(batch))
    (balance,) = trainer._metrics["train"]["aux_loss"]
    assert balance >= 2 - 1e-3
    # Of smoothed labels the model's own, which is of each layer, where TRL's is of all together.
    assert trained.item() == pytest.approx(
        scored.item() + 0.25 * balance, abs=0.03 if "label_smoothing_factor" in changes else 1e-4
    )
    assert not trainer._metrics["eval"].get("aux_loss")
    assert trainer.model.config.output_router_logits is False


def test_a_run_of_a_task_logs_the_balance_that_it_adds(mixture_base, tmp_path):
    pytest.importorskip("trl", reason="trl needs Python 3.11")
    changes = {"max_steps": 2, "logging_steps": 1, "eval_steps": 2, "save_steps": 2}
    record = run(parse_recipe(values_of(mixture_base, tmp_path, "chat", **changes)))
    trained = [row for row in record["history"] if "loss" in row]
    assert all(row["aux_loss"] >= 2 - 1e-3 for row in trained)
    assert not any("aux_loss" in name for row in record["history"] if "eval_loss" in row for name in row)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run").config.output_router_logits is False


UNBALANCED = ["text-classification", "token-classification", "multiple-choice", "question-answering", "reward"]


@pytest.mark.parametrize("task", UNBALANCED)
def test_a_task_that_cannot_balance_says_so(task, mixture_base, tmp_path, capsys):
    values, auto_class = values_of(mixture_base, tmp_path, task), ALL_TASKS[task].auto_class
    config = tiny_config("oss", router_aux_loss_coef=0.25)
    check_balance(parse_recipe(values), config, auto_class)
    told = f"config.router_aux_loss_coef=0.25: task='{task}' adds no load-balancing loss to that of {auto_class}"
    assert capsys.readouterr().out == f"{told}: experts are trained without it.\n"
    with pytest.raises(InputError) as refused:
        check_balance(parse_recipe({**values, "config": {"router_aux_loss_coef": 0.25}}), config, auto_class)
    assert str(refused.value) == f"{told}: leave it out."
    check_balance(parse_recipe(values), tiny_config("oss", router_aux_loss_coef=0.0), auto_class)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("task", UNBALANCED[:1])
def test_a_weight_that_would_weigh_nothing_is_refused_before_a_model_is_loaded(task, mixture_base, tmp_path):
    job = Finetuning(parse_recipe(values_of(mixture_base, tmp_path, task, config={"router_aux_loss_coef": 0.5})))
    with pytest.raises(InputError, match="adds no load-balancing loss"):
        job.check()


def test_an_encoder_and_a_stock_model_that_do_not_balance_are_told_of_too(corpus, tmp_path):
    values = recipe_values(corpus, tmp_path / "run", config={"router_aux_loss_coef": 0.5})
    with pytest.raises(InputError, match=r"of AutoModelForMaskedLM: leave it out\.$"):
        check_balance(parse_recipe(values), tiny_config("oss", router_aux_loss_coef=0.5), "AutoModelForMaskedLM")
    stock = MixtralConfig(router_aux_loss_coef=0.5)
    with pytest.raises(InputError, match=r"set config\.output_router_logits=true\.$"):
        check_balance(parse_recipe(values), stock, "AutoModelForCausalLM")
    stock.output_router_logits = True
    check_balance(parse_recipe(values), stock, "AutoModelForCausalLM")


@pytest.mark.parametrize("task", ["language-modeling", "chat", "preference", "reinforcement"])
def test_checkpointing_that_would_lose_the_balance_is_refused_before_the_first_step(task, corpus, tmp_path):
    is_pretraining = task == "language-modeling"
    values = recipe_values(corpus, tmp_path / "run") if is_pretraining else values_of(tmp_path / "base", tmp_path, task)
    config = tiny_config("oss", router_aux_loss_coef=0.5)
    values |= {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    with pytest.raises(InputError, match=r"router_aux_loss_coef=0\.5.*use_reentrant=true: set it to false"):
        check_balance(parse_recipe(values), config, "AutoModelForCausalLM")
    check_balance(parse_recipe({**values, "gradient_checkpointing_kwargs": None}), config, "AutoModelForCausalLM")
