"""What a model computes: with a cache, with padding, of packed documents, in an engine, and while it is trained."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.trainer_pt_utils import LabelSmoother

from .small_copy import SmallCopy
from .verdicts import RAISED, FaultError, NotApplicableError, require_equal


# ------------------------------------------------------------------------------------------------------ forward passes


def check_decoding(small: SmallCopy) -> str | None:
    if not small.model.can_generate():
        raise NotApplicableError("the class does not derive from GenerationMixin, and cannot generate")
    ids, steps = small.ids(2, 7), 6
    options = {
        "do_sample": False,
        "use_cache": True,
        "return_dict_in_generate": True,
        "output_logits": True,
        "pad_token_id": 0,
    }
    # A cache has a place for each layer; of what has layers, Trainer has turned it off in many a config.
    options["use_cache"] = hasattr(small.model.config, "num_hidden_layers")
    mask = torch.ones_like(ids)
    written = small.model.generate(ids, attention_mask=mask, max_new_tokens=steps, min_new_tokens=steps, **options)
    if written.get("cache") is None and written.get("past_key_values") is None:
        raise NotApplicableError("it keeps no cache: each step is a pass over the whole text")
    wanted = small.logits(written.sequences)[:, ids.shape[1] - 1 : -1]
    fix = (
        "generating with a cache gives other logits than a pass over the whole text: add new keys and values by "
        "`cache.update(key, value, layer_idx)`, attend to what it gives back, and count positions from what it holds."
    )
    require_equal(torch.stack(written.logits, 1), wanted, fix)
    return None


def check_left_padding(small: SmallCopy) -> str | None:
    if not small.takes("attention_mask"):
        raise FaultError(
            "forward takes no attention_mask, so texts of several lengths cannot be one batch: take it and mask keys."
        )
    ids, padding = small.ids(1, 7), 4
    mask = pad(torch.ones_like(ids), (padding, 0))
    given: dict[str, Any] = {"attention_mask": mask}
    if small.takes("position_ids"):
        given["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    fix = (
        "a text with padding before it gets other logits than alone: hide padded keys (create_causal_mask(config=..., "
        "attention_mask=...)), and take the positions from position_ids."
    )
    padded, wanted = pad(ids, (padding, 0), value=int(ids[0, 0])), small.logits(ids)
    # Without a cache masks are also made from positions, which may hide that padding is not.
    for use_cache in (False, True):
        require_equal(small.logits(padded, use_cache=use_cache, **given)[:, padding:], wanted, fix)
    return None


def check_packing(small: SmallCopy) -> str | None:
    if not small.takes("position_ids"):
        raise NotApplicableError("forward takes no position_ids, so packed rows are refused rather than wrong")
    first, second = small.ids(1, 12).split((7, 5), dim=1)
    positions = torch.cat((torch.arange(7), torch.arange(5)))[None]
    found = small.logits(torch.cat((first, second), 1), position_ids=positions)
    wanted = torch.cat((small.logits(first), small.logits(second)), 1)
    fix = (
        "documents in one row, whose position_ids start again, see each other or are counted on: give position_ids to "
        "create_causal_mask and to the position embedding; until then train without packing."
    )
    require_equal(found, wanted, fix)
    return None


ENGINE = "hf_gpt_doctor"


def check_engine_attention(small: SmallCopy) -> str | None:
    model = small.model
    if small.is_native:
        raise NotApplicableError("engines run the architectures of transformers by code of their own")
    if not model._supports_attention_backend:
        raise NotApplicableError("the class does not say `_supports_attention_backend = True`: vLLM and SGLang refuse it")
    if any(hasattr(module, "sinks") for module in model.modules()):
        raise NotApplicableError("the attention of engines has no sinks, which this model needs")
    ids = small.ids(1, 4)
    wanted, seen = small.logits(ids), []

    def attend(module, query, key, value, attention_mask, scaling=None, **given):
        seen.append([name for name in ("s_aux", "softcap") if given.get(name) is not None])
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        output = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        # As vLLM's and SGLang's: all tokens in one row, all heads in one dimension.
        return output.transpose(1, 2).reshape(query.shape[-2], -1), None

    AttentionInterface.register(ENGINE, attend)
    before = model.config._attn_implementation
    model.set_attn_implementation(ENGINE)
    fix = (
        "vLLM and SGLang return attention as (tokens, heads * head_dim): write `output.reshape(*hidden_states.shape[:-1], -1)` "
        "before the output projection."
    )
    try:
        found = small.logits(ids, position_ids=torch.arange(4)[None])
    except RAISED as error:
        raise FaultError(fix) from error
    finally:
        model.set_attn_implementation(before)
    if not seen:
        raise FaultError(
            "attention is not computed by ALL_ATTENTION_FUNCTIONS.get_interface(...), which engines replace: call that."
        )
    # What has sinks or caps scores attends otherwise than this stand-in: then only the shapes are compared.
    require_equal(found, wanted if not any(seen) else found, fix)
    return None


# ------------------------------------------------------------------------------------------------------------ training


def shifted_loss(logits: torch.Tensor, ids: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    return cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), label_smoothing=smoothing)


def check_loss(small: SmallCopy) -> str | None:
    if not small.takes("labels"):
        raise NotApplicableError("forward takes no labels")
    ids = small.ids(2, 9)
    with torch.no_grad():
        loss = small.model(input_ids=ids, labels=ids).loss
    fix = "the loss of labels is not that of the next token: shift in the model, as self.loss_function(...) does; Trainer does not."
    require_equal(loss, shifted_loss(small.logits(ids), ids), fix)
    return None


def is_shifted_by_trainer(model: Any) -> bool:
    """Return whether `Trainer.compute_loss` shifts the labels of label smoothing: it looks the name of the class up in this table."""
    return model._get_name() in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def check_label_smoothing(small: SmallCopy) -> str | None:
    ids, smoothing = small.ids(2, 9), 0.1
    output = {"logits": small.logits(ids)}
    wanted = shifted_loss(output["logits"], ids, smoothing)
    found = LabelSmoother(smoothing)(output, ids, shift_labels=is_shifted_by_trainer(small.model))
    name = type(small.model).__name__
    fix = (
        f"with label_smoothing_factor Trainer teaches {name} to repeat its input: enter the name from the model's own file, "
        f"`MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.setdefault({small.config.model_type!r}, {name!r})`."
    )
    require_equal(found, wanted, fix)
    if is_shifted_by_trainer(torch.compile(small.model, backend="eager")):
        return None
    return "but not with torch_compile: Trainer then shifts no labels, of stock models neither; use one of the two."


def check_checkpointing(small: SmallCopy) -> str | None:
    model, ids = small.model, small.ids(2, 9)
    if not model.supports_gradient_checkpointing:
        raise NotApplicableError("the class does not say `supports_gradient_checkpointing = True`")

    def gradients() -> torch.Tensor:
        torch.manual_seed(0)
        given = {"use_cache": False} if small.takes("use_cache") else {}
        shifted_loss(model(input_ids=ids, **given).logits, ids).backward()
        found = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        model.zero_grad()
        return torch.cat(found)

    model.train()
    try:
        stored = gradients()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        recomputed = gradients()
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
    fix = (
        "gradients differ when activations are recomputed: derive blocks from GradientCheckpointingLayer, and let a second pass "
        "through a block do what the first did."
    )
    require_equal(recomputed, stored, fix)
    return None


def check_padding_token(small: SmallCopy) -> str | None:
    frozen = getattr(small.model.get_input_embeddings(), "padding_idx", None)
    if frozen is None:
        return None
    config, in_texts = small.model.config, set()
    for field in ("bos_token_id", "eos_token_id"):
        value = getattr(config, field, None)
        in_texts |= set(value if isinstance(value, list) else [value])
    if frozen in in_texts:
        raise FaultError(
            "the embedding has padding_idx at the token that begins or ends a text, which is never learned: leave padding_idx out."
        )
    return None
