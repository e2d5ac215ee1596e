"""What `python -m benchmarks gpu` makes of what its processes measured; that they run is its `--smoke`."""

import pytest
import torch
from benchmarks.gpu.parts import with_one_projection
from benchmarks.gpu.race import OURS, STOCK, cosine, linear_end, seconds_until
from benchmarks.gpu.run import JOBS, figures, lines_of
from benchmarks.gpu.systems import SYSTEMS, TINY, ours


def row(speed, **more):
    return {"tokens_per_second": speed, "step_seconds": 0.1, "first_step_seconds": 40.0, **more}


def test_the_goals_are_of_what_was_measured_and_what_was_not_is_left_out():
    found = {
        "gpt2": row(300.0, flops_per_token=2.0),
        "stock GPT-2": row(200.0, flops_per_token=9.0),
        "modern-124m, Muon": row(100.0, flops_per_token=1.0, optimizer_seconds=0.005),
        STOCK: {"curve": [[60.0, 1, 5.0], [120.0, 2, 4.0]], "steps": 2},
        OURS: {"curve": [[20.0, 1, 4.5], [40.0, 2, 3.5]], "steps": 2},
    }
    told = figures(found, 1000.0)
    assert told == {
        "gpt2 beside stock GPT-2": 1.5,
        # Of ours alone.
        "MFU, the best": pytest.approx(0.6),
        "Muon's share of a step": pytest.approx(0.05),
        "first step, seconds": 40.0,
        "race, times as fast": pytest.approx(4.0),
    }
    assert figures({}, None) == {}
    assert lines_of("gpt2", found["gpt2"])[0] == "gpt2: 300 tokens/s"


@pytest.mark.parametrize(("loss", "seconds"), [(5.0, 10.0), (4.5, 15.0), (4.0, 20.0), (3.0, None)])
def test_a_loss_is_reached_between_two_scores(loss, seconds):
    assert seconds_until([[10.0, 0, 5.0], [20.0, 0, 4.0]], loss) == seconds


@pytest.mark.parametrize(("factor", "last"), [(cosine, 0.1), (linear_end, 0.0)])
def test_rates_of_a_race_begin_low_and_end_low(factor, last):
    assert (factor(0.0), factor(1.0)) == (0.0, pytest.approx(last))
    assert max(factor(share / 1000) for share in range(1001)) == pytest.approx(1.0)


def test_every_system_is_a_job():
    assert set(SYSTEMS) < set(JOBS)
    assert len(JOBS) == len(set(JOBS))


def test_one_projection_gives_what_three_give():
    model = ours("modern-124m")(TINY).eval()
    block, states = model.model.layers[0], torch.randn(1, 8, 768)
    rotary = model.model.embed_positions(states, torch.arange(8)[None])[1]
    # The copy is made of weights that say something: residual projections begin at zero.
    torch.nn.init.normal_(block.self_attn.o_proj.weight, std=0.02)
    torch.testing.assert_close(with_one_projection(block)(states, rotary=rotary), block(states, rotary=rotary))
