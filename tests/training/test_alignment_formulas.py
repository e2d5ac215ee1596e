"""Each formula of what InstructGPT adds, in plain torch beside TRL's trainer."""

import pytest
import torch
from tests.helpers.recipes import asking, ranking, task_values, write_rows
from tests.helpers.runs import trainer_of


pytest.importorskip("trl", reason="trl needs Python 3.11")
LORA = {"lora": {"r": 4}}
GROUP = 8


def test_the_pairwise_loss_is_trls(base, tmp_path):
    """-log sigmoid(r_chosen - r_rejected), the mean over pairs (Ouyang et al. 2022, equation 1), each answer read by itself."""
    job, model, trainer = trainer_of(task_values(base, write_rows(tmp_path, ranking), tmp_path / "run", "reward", **LORA))
    rows = [job.encoded["train"][number] for number in range(5)]
    batch = trainer.data_collator(rows)
    with torch.no_grad():
        found = trainer.compute_loss(trainer.model.eval(), batch)
        chosen, rejected = (
            torch.stack([model(input_ids=torch.tensor([row[name]])).logits[0, 0] for row in rows])
            for name in ("chosen_ids", "rejected_ids")
        )
    assert (chosen - rejected).abs().max() > 1e-3
    torch.testing.assert_close(found, -torch.log(torch.sigmoid(chosen - rejected)).mean())


def log_probs(model, prompt, answer):
    """Of each token of an answer, one text at a time."""
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])[:, 0]


def drawn(base, tmp_path, algorithm, **adapter):
    """Answers of a model that has gone some way from its reference, as the trainer prepares them; and their parts one by one."""
    values = task_values(base, write_rows(tmp_path, asking), tmp_path / "run", "reinforcement", algorithm=algorithm, **adapter)
    job, model, trainer = trainer_of({**values, "kl_coefficient": 0.5, "reward_pattern": "(?s).*e.*e.*"})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_((0.1 if adapter else 0.02) * torch.randn_like(parameter))
    rows = [job.encoded["train"][number] for number in (0, 1) for _ in range(GROUP)]
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    if algorithm == "grpo":
        # Of two lengths: a mean over tokens is another than one over answers.
        batch["completion_mask"][::2, 2:] = 0
    parts = []
    now = {name: value.clone() for name, value in model.state_dict().items()}
    for number, row in enumerate(rows):
        answer = batch["completion_ids"][number][batch["completion_mask"][number] == 1].tolist()
        with torch.no_grad():
            policy = log_probs(model, row["prompt"], answer)
            model.load_state_dict(before)
            reference = log_probs(model, row["prompt"], answer)
            model.load_state_dict(now)
        parts.append((policy, reference))
    rewards = torch.tensor(list(trainer._logs["rewards"]["format"])).view(-1, GROUP)
    assert rewards.std(1).max() > 0, "a group whose answers are worth the same would show nothing"
    return trainer, batch, parts, rewards


@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_the_advantage_and_the_objective_of_grpo_are_trls(adapter, base, tmp_path):
    """A = (r - mean) / std within a group; the loss is -A for each token's ratio of 1, and beta times the KL divergence to the
    reference (Shao et al. 2024, equations 3 and 4)."""
    trainer, batch, parts, rewards = drawn(base, tmp_path, "grpo", **adapter)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).flatten()
    torch.testing.assert_close(batch["advantages"], advantages)
    losses, distances = [], []
    for advantage, (policy, reference) in zip(advantages, parts):
        distance = torch.exp(reference - policy) - (reference - policy) - 1
        losses.append((-advantage + 0.5 * distance).mean())
        distances.append(distance)
    assert torch.cat(distances).mean() > 1e-3
    with torch.no_grad():
        trainer.current_gradient_accumulation_steps = 1
        found = trainer._compute_loss(trainer.model, batch)
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)
    assert trainer._metrics["train"]["kl"][-1] == pytest.approx(torch.cat(distances).mean().item(), rel=1e-3)


def test_the_baseline_and_the_objective_of_rloo_are_trls(base, tmp_path):
    """r = reward - beta log(pi / pi_ref) of the whole answer, less the mean of the others of its group (Ahmadian et al. 2024,
    equations 3 and 8); the gradient is that of -A log pi."""
    trainer, batch, parts, rewards = drawn(base, tmp_path, "rloo", **LORA)
    distances = torch.stack([(policy - reference).sum() for policy, reference in parts])
    penalised = rewards - 0.5 * distances.view(-1, GROUP)
    others = (penalised.sum(1, keepdim=True) - penalised) / (GROUP - 1)
    advantages = (penalised - others).flatten()
    torch.testing.assert_close(batch["advantages"], advantages, rtol=1e-4, atol=1e-4)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    trainer._compute_loss(trainer.model, batch).backward()
    found = [parameter.grad.clone() for parameter in trained]
    trainer.model.zero_grad()
    rows = [(ids[mask == 1].tolist(), said[kept == 1].tolist()) for ids, mask, said, kept in by_row(batch)]
    loss = -torch.stack([a * log_probs(trainer.model, *row).sum() for a, row in zip(advantages, rows)]).mean()
    loss.backward()
    for parameter, gradient in zip(trained, found):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)


def by_row(batch):
    return zip(*(batch[name] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")))
