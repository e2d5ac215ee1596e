"""Loss, perplexity and bits per byte of a language model on packed blocks."""

import math
from dataclasses import asdict, dataclass

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..errors import InputError


@dataclass(frozen=True)
class LanguageModelScore:
    """What a language model costs on a text.

    Attributes:
        loss: Mean of -log P(token | tokens before it), in nats per token.
        perplexity: exp(loss): the size of a fair die that would surprise as much. It depends on the tokenizer.
        bits_per_byte: The same cost in bits for each byte of the text. Two models with different tokenizers are compared by
            this one: fewer, longer tokens make each token dearer and the text no cheaper.
        tokens: Number of predicted tokens.
    """

    loss: float
    perplexity: float
    bits_per_byte: float
    tokens: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def score(total_loss: float, tokens: int, bytes_per_token: float) -> LanguageModelScore:
    """Return a score from the sum of the losses.

    Args:
        total_loss (`float`): Sum over the predicted tokens, in nats.
        tokens (`int`): Their number.
        bytes_per_token (`float`): UTF-8 bytes of the text divided by its number of tokens, end-of-text tokens included: their
            cost is part of the cost of the text.
    """
    loss = total_loss / tokens
    # exp overflows beyond 709 nats, and a loss that large has no meaningful perplexity.
    perplexity = math.exp(loss) if loss < 700 else math.inf
    return LanguageModelScore(loss, perplexity, loss / math.log(2) / bytes_per_token, tokens)


@torch.inference_mode()
def evaluate_language_model(
    model: PreTrainedModel, blocks: Dataset, bytes_per_token: float, batch_size: int = 16, bf16: bool = False
) -> LanguageModelScore:
    """Score every token of each block but its first, given the tokens of the block before it.

    Args:
        model (`PreTrainedModel`): A causal language model; its mode is left as it was.
        blocks (`Dataset`): `input_ids` of equal length.
        bytes_per_token (`float`): See `score`.
        bf16 (`bool`): Whether matrix multiplications run in bfloat16; the losses are float32 all the same.

    Raises:
        InputError: a block is longer than the model's position table.
    """
    length = len(blocks[0]["input_ids"])
    # Not every architecture has a limit.
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and length > limit:
        raise InputError(
            f"block_size={length} is more than the model's max_position_embeddings={limit}: evaluate shorter blocks."
        )
    was_training = model.training
    model.eval()
    device = model.device
    total, tokens = 0.0, 0
    loader = DataLoader(blocks.with_format("torch"), batch_size=batch_size)
    for batch in tqdm(loader, desc="Evaluating", unit="batch", leave=False):
        input_ids = batch["input_ids"].to(device=device, dtype=torch.long)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(input_ids=input_ids, use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), input_ids[:, 1:].flatten(), reduction="sum"
        )
        total += losses.item()
        tokens += input_ids[:, 1:].numel()
    model.train(was_training)
    return score(total, tokens, bytes_per_token)


@torch.inference_mode()
def evaluate_masked_language_model(
    model: PreTrainedModel,
    blocks: Dataset,
    bytes_per_token: float,
    mask_token_id: int,
    batch_size: int = 16,
    bf16: bool = False,
    positions_per_block: int = 4,
    seed: int = 0,
) -> LanguageModelScore:
    """Score tokens of each block given all others: the pseudo-likelihood (Besag 1975; of masked models, Salazar et al. 2020).

    Of the same tokens that `evaluate_language_model` scores, some are drawn, each is masked alone, and the mean of
    -log P(token | all other tokens of its block) goes through the same `score`. So the units are the same, and what they measure is
    not: a causal model's conditionals multiply to the probability of the text, and its bits per byte are what an arithmetic coder
    would need. A masked model's conditionals each know the tokens on both sides; their product is no probability of the text, sums to
    no known number over all texts, and codes nothing. It is lower at the same knowledge of the language: compare it among masked
    models, never with a causal or an n-gram model.

    Args:
        model (`PreTrainedModel`): A masked language model; its mode is left as it was.
        blocks (`Dataset`): `input_ids` of equal length.
        bytes_per_token (`float`): See `score`.
        mask_token_id (`int`): What is in place of the token that is scored.
        bf16 (`bool`): Whether matrix multiplications run in bfloat16; the losses are float32 all the same.
        positions_per_block (`int`): Tokens of each block that are scored, each with a forward pass of its own. They are a sample: over
            n tokens whose losses spread by s, the standard error of the loss is s / sqrt(n).
        seed (`int`): Of the draw.
    """
    length = len(blocks[0]["input_ids"])
    was_training = model.training
    model.eval()
    device = model.device
    generator = torch.Generator().manual_seed(seed)
    total, tokens = 0.0, 0
    loader = DataLoader(blocks.with_format("torch"), batch_size=batch_size)
    for batch in tqdm(loader, desc="Evaluating", unit="batch", leave=False):
        input_ids = batch["input_ids"].to(device=device, dtype=torch.long)
        rows = torch.arange(len(input_ids), device=device)
        drawn = torch.rand(len(input_ids), length - 1, generator=generator).argsort(-1)[:, :positions_per_block] + 1
        for positions in drawn.to(device).unbind(-1):
            masked = input_ids.index_put((rows, positions), torch.tensor(mask_token_id, device=device))
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits = model(input_ids=masked).logits[rows, positions]
            total += torch.nn.functional.cross_entropy(logits.float(), input_ids[rows, positions], reduction="sum").item()
            tokens += len(rows)
    model.train(was_training)
    return score(total, tokens, bytes_per_token)
