"""How the race against other ways to train is tuned, and that a peer is what its description says."""

import argparse

import pytest
import torch
from benchmarks.speed import runs, systems
from benchmarks.speed.nanochat import NanoChat, Size
from transformers import set_seed

from hf_gpt.recipe.parser import load_recipe


def test_a_grid_goes_on_while_its_best_is_at_an_edge():
    tried: list[float] = []

    def loss_at(rate: float) -> float:
        tried.append(rate)
        return abs(rate - best)

    for best, grid, expected in ((0.5, (1.0, 2.0), [1.0, 2.0, 0.5, 0.25]), (8.0, (1.0, 2.0), [1.0, 2.0, 4.0, 8.0])):
        assert runs.search(loss_at, grid) == best
        assert tried == expected
        tried.clear()
    best = 2.0
    assert runs.search(loss_at, (1.0, 2.0, 4.0)) == 2.0
    assert tried == [1.0, 2.0, 4.0]
    tried.clear()
    assert runs.search(loss_at, (1.0,)) == 1.0
    assert tried == [1.0]


def test_every_run_of_ours_has_a_name_of_its_own():
    for plan in runs.PLANS.values():
        assert len({runs.own_name(share) for share in plan.shares}) == len(plan.shares)


def test_nanochat_sees_no_later_token_and_begins_with_equal_chances():
    set_seed(0)
    model = NanoChat(Size(width=32, layers=2, heads=2, vocabulary=64, block=16))
    ids = torch.randint(64, (2, 16))
    # From zero, the output matrix gives every token the same chance.
    torch.testing.assert_close(model(ids, ids), torch.tensor(64.0).log())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    changed = ids.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 64
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])
    assert before.abs().max() < 15.0
    # The order of what came before is seen: positions are there.
    swapped = ids.clone()
    swapped[:, [2, 3]] = swapped[:, [3, 2]]
    assert (ids[:, 2] != ids[:, 3]).any()
    assert not torch.allclose(before[:, 8], model(swapped)[:, 8])


@pytest.mark.parametrize(("system", "build"), [("gpt2-groups", systems.untied_gpt2), ("qwen3-groups", systems.stock_qwen3)])
def test_peers_that_know_what_we_know_have_the_betas_and_the_first_embeddings_of_our_recipe(system, build, monkeypatch):
    monkeypatch.setattr(systems, "train_by_stock", lambda model, corpus, clock, arguments, optimizers: (model, optimizers[0]))
    model, optimizer = systems.train_in_groups(system, build, systems.Run(40, 1e-3, 0, 1), None, None)
    recipe = load_recipe("pretrain/speed")
    initial = recipe.model.config["embedding_initializer_range"]
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(initial, rel=0.01)
    assert {group["betas"] for group in optimizer.param_groups} == {(recipe.training.adam_beta1, recipe.training.adam_beta2)}


@pytest.mark.parametrize(
    ("flag", "tuned_in", "text"), [("--poems", "speed-informed", "chinese-poetry-tang"), ("--long", "speed", None)]
)
def test_another_text_and_an_hour_have_the_rates_that_were_found_before(flag, tuned_in, text, monkeypatch):
    called: dict = {}
    monkeypatch.setattr(runs.hardware, "multiplies_natively", lambda: True)
    monkeypatch.setattr(runs, "tune", lambda plan: called.update(tuned=plan))
    monkeypatch.setattr(runs, "measure", lambda plan, tuned: called.update(measured=plan))
    monkeypatch.setattr(runs, "apart", lambda function, system, run, name, text: called.update(text=text))
    parser = argparse.ArgumentParser()
    runs.add_options(parser)
    runs.run(parser.parse_args([flag]))
    assert called["tuned"].folder == tuned_in
    assert called["tuned"].peers == called["measured"].peers
    for plan, expected in ((called["tuned"], runs.FILM_REVIEWS), (called["measured"], text or runs.FILM_REVIEWS)):
        plan.start("ours", runs.Run(1, 0.02, 0, 1), "name")
        assert called["text"] == expected
