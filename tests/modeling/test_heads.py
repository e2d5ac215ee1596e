"""One head for each task: made from a causal checkpoint, blind to padding, used by its pipeline, and what its loss is."""

import warnings

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from tests.conftest import randomize, tiny_config
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DynamicCache,
    pipeline,
)

import hf_gpt
from hf_gpt.data.tokenizer import train_tokenizer


OWN_WEIGHTS = {
    AutoModelForCausalLM: set(),
    AutoModelForMaskedLM: set(),
    AutoModelForSequenceClassification: {"score.weight"},
    AutoModelForTokenClassification: {"score.weight", "score.bias"},
    AutoModelForQuestionAnswering: {"qa_outputs.weight", "qa_outputs.bias"},
    AutoModelForMultipleChoice: {"score.weight"},
}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def causal(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal")
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("modern", tie_word_embeddings=request.param)))
    model.save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize("auto_class", OWN_WEIGHTS, ids=lambda auto_class: auto_class.__name__)
def test_a_causal_checkpoint_lacks_only_what_is_the_heads_own(causal, auto_class):
    folder, trunk = causal
    model, told = auto_class.from_pretrained(folder, output_loading_info=True)
    assert set(told["missing_keys"]) == OWN_WEIGHTS[auto_class]
    assert not told["mismatched_keys"]
    for name, tensor in trunk.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], tensor)


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("given", ["mask", "pad_token_id"])
def test_padding_on_either_side_changes_no_class(architecture, given, pooling):
    config = tiny_config(architecture, num_labels=3, classifier_pooling=pooling)
    model = randomize(AutoModelForSequenceClassification.from_config(config))
    text = torch.randint(2, 96, (1, 6))
    padding = torch.zeros(1, 3, dtype=torch.long)
    wanted = model(text).logits
    for ids, mask in (
        (torch.cat([padding, text], 1), torch.tensor([[0] * 3 + [1] * 6])),
        (torch.cat([text, padding], 1), torch.tensor([[1] * 6 + [0] * 3])),
    ):
        # Learned positions count from the first token, so padding on the left has to be told by a mask.
        if given == "pad_token_id" and ids[0, 0] == 0:
            continue
        logits = model(ids, **({"attention_mask": mask} if given == "mask" else {})).logits
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-5)


def test_the_pooled_vector_is_the_last_tokens_or_the_mean():
    ids = torch.randint(2, 96, (2, 5))
    for pooling, pooled in (("last", lambda hidden: hidden[:, -1]), ("mean", lambda hidden: hidden.mean(1))):
        config = tiny_config("modern", num_labels=3, classifier_pooling=pooling)
        model = randomize(AutoModelForSequenceClassification.from_config(config))
        wanted = model.score(pooled(model.model(ids).last_hidden_state))
        torch.testing.assert_close(model(ids).logits, wanted, rtol=0, atol=1e-6)


def test_a_batch_whose_padding_cannot_be_told_is_refused():
    model = AutoModelForSequenceClassification.from_config(tiny_config("gpt2", pad_token_id=None))
    with pytest.raises(ValueError, match="pad_token_id=None and no attention_mask"):
        model(torch.full((2, 4), 5))


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("ends", [1, [5, 1]])
def test_a_padding_token_that_ends_texts_is_text_where_no_mask_says_otherwise(ends, pooling):
    config = tiny_config("modern", num_labels=3, pad_token_id=1, eos_token_id=ends, classifier_pooling=pooling)
    model = randomize(AutoModelForSequenceClassification.from_config(config))
    text = torch.tensor([[1, 7, 8, 1, 9, 1]])
    assert torch.equal(model(text).logits, model(text, attention_mask=torch.ones_like(text)).logits)
    padded, mask = torch.tensor([[1, 7, 8, 1, 9, 1, 1]]), torch.tensor([[1] * 6 + [0]])
    torch.testing.assert_close(model(padded, attention_mask=mask).logits, model(text).logits, rtol=0, atol=1e-5)
    choices = randomize(AutoModelForMultipleChoice.from_config(config))
    for head, rows in ((model, text.expand(2, -1)), (choices, text.expand(1, 2, -1))):
        with pytest.raises(ValueError, match="pad_token_id=1, which ends texts, too, and no attention_mask"):
            head(rows)


def test_one_label_several_labels_and_numbers():
    logits = {}
    for problem, labels, loss in (
        ("single_label_classification", torch.tensor([2, 0]), torch.nn.functional.cross_entropy),
        (
            "multi_label_classification",
            torch.tensor([[1.0, 0, 1], [0, 0, 1]]),
            torch.nn.functional.binary_cross_entropy_with_logits,
        ),
        ("regression", torch.tensor([[0.5, 1, 2], [0, 1, 0]]), torch.nn.functional.mse_loss),
    ):
        config = tiny_config("gpt2", num_labels=3, problem_type=problem)
        model = randomize(AutoModelForSequenceClassification.from_config(config))
        outputs = model(torch.randint(2, 96, (2, 5)), labels=labels)
        assert outputs.loss.item() == pytest.approx(loss(outputs.logits, labels).item(), abs=1e-6)
        logits[problem] = outputs.logits
    assert all(tensor.shape == (2, 3) for tensor in logits.values())


@pytest.mark.parametrize("tied", [True, False])
def test_the_auxiliary_loss_is_the_language_models_times_lambda(tied):
    """L_3 = L_2 + lambda * L_1 (Radford et al. 2018, equation 5); padding is not predicted."""
    config = tiny_config("modern", num_labels=3, tie_word_embeddings=tied, auxiliary_lm_weight=0.5)
    model = randomize(AutoModelForSequenceClassification.from_config(config))
    ids = torch.randint(2, 96, (2, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    labels = torch.tensor([1, 2])
    alone = model.eval()(ids, attention_mask=mask, labels=labels).loss
    language_model = hf_gpt.GPTForCausalLM(tiny_config("modern", tie_word_embeddings=tied)).eval()
    language_model.model.load_state_dict(model.model.state_dict())
    if not tied:
        language_model.lm_head.load_state_dict(model.lm_head.state_dict())
    other = language_model(ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
    together = model.train()(ids, attention_mask=mask, labels=labels).loss
    assert together.item() == pytest.approx((alone + 0.5 * other).item(), abs=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_the_auxiliary_loss_knows_padding_as_the_pooling_does_and_needs_tokens(tied):
    config = tiny_config("modern", num_labels=3, tie_word_embeddings=tied, auxiliary_lm_weight=0.5)
    model = randomize(AutoModelForSequenceClassification.from_config(config)).train()
    ids, labels = torch.randint(2, 96, (2, 7)), torch.tensor([1, 2])
    ids[1, 4:] = 0
    masked = model(ids, attention_mask=(ids != 0).long(), labels=labels).loss
    torch.testing.assert_close(model(ids, labels=labels).loss, masked, rtol=0, atol=1e-6)
    embeds = model.get_input_embeddings()(ids)
    prompted = get_peft_model(model, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)).train()
    for head, given in ((model, {"inputs_embeds": embeds}), (prompted, {"input_ids": ids})):
        with pytest.raises(ValueError, match=r"auxiliary_lm_weight=0\.5 with inputs_embeds"):
            head(**given, attention_mask=(ids != 0).long(), labels=labels)
    model.eval()(inputs_embeds=embeds, labels=labels)


def test_each_choice_is_scored_as_if_alone():
    model = randomize(AutoModelForMultipleChoice.from_config(tiny_config("gpt1")))
    ids = torch.randint(2, 96, (2, 3, 6))
    mask = torch.ones_like(ids)
    mask[0, 1, 4:] = 0
    outputs = model(ids, attention_mask=mask, labels=torch.tensor([0, 2]))
    assert outputs.logits.shape == (2, 3)
    alone = model(ids[:1, 1:2, :4]).logits
    torch.testing.assert_close(outputs.logits[0, 1], alone[0, 0], rtol=0, atol=1e-5)
    assert outputs.loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(outputs.logits, torch.tensor([0, 2])).item(), abs=1e-6
    )


def test_a_masked_model_sees_both_sides():
    model = randomize(AutoModelForMaskedLM.from_config(tiny_config("modern", is_causal=False)))
    ids = torch.randint(2, 96, (1, 8))
    changed = ids.clone()
    changed[0, 6] = (ids[0, 6] - 1) % 94 + 2
    assert (model(ids).logits[0, 2] - model(changed).logits[0, 2]).abs().max() > 1e-3


@pytest.mark.parametrize("auto_class", OWN_WEIGHTS, ids=lambda auto_class: auto_class.__name__)
def test_a_cache_may_be_named_to_every_head_and_changes_nothing(auto_class):
    is_masked, is_choice = auto_class is AutoModelForMaskedLM, auto_class is AutoModelForMultipleChoice
    model = randomize(auto_class.from_config(tiny_config("modern", num_labels=3, is_causal=not is_masked)))
    ids = torch.randint(2, 96, (2, 3, 8) if is_choice else (2, 8))
    mask = torch.ones_like(ids)
    # The first field behind a loss, whatever it is called.
    wanted = model(ids, attention_mask=mask)[0]
    for values in ({"use_cache": False}, {"use_cache": True}, {"use_cache": None}):
        assert torch.equal(model(ids, attention_mask=mask, **values)[0], wanted)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        for name in ("cache", "past_key_values"):
            assert torch.equal(model(ids, attention_mask=mask, **{name: None}, use_cache=False)[0], wanted)
            assert torch.equal(model(ids, attention_mask=mask, **{name: DynamicCache(config=model.config)})[0], wanted)


@pytest.mark.parametrize("auto_class", [AutoModelForTokenClassification, AutoModelForQuestionAnswering])
def test_a_head_of_each_token_goes_on_from_a_cache(auto_class):
    model = randomize(auto_class.from_config(tiny_config("modern", num_labels=3)))
    ids, cache = torch.randint(2, 96, (2, 8)), DynamicCache(config=model.config)
    parts = [model(part, cache=cache, use_cache=True)[0] for part in ids.split(5, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), model(ids)[0], rtol=0, atol=1e-5)
    for other in (AutoModelForMaskedLM, AutoModelForMultipleChoice):
        with pytest.raises(ValueError, match="takes no cache, and the one given has 8 tokens"):
            other.from_config(tiny_config("modern", is_causal=False))(ids, past_key_values=cache)


PIPELINES = {
    "text-classification": (
        AutoModelForSequenceClassification,
        "a small text",
        lambda result: result[0]["label"] == "LABEL_0",
    ),
    "token-classification": (
        AutoModelForTokenClassification,
        "a small text",
        lambda result: {"word", "score"} <= set(result[0]),
    ),
    "fill-mask": (AutoModelForMaskedLM, "a <|mask|> text", lambda result: len(result) == 5),
    "text-generation": (AutoModelForCausalLM, "a small", lambda result: result[0]["generated_text"].startswith("a small")),
}


@pytest.mark.parametrize("task", PIPELINES)
def test_each_head_works_in_its_pipeline(task):
    auto_class, text, is_right = PIPELINES[task]
    tokenizer = train_tokenizer(iter([["a small text of a few words"]]), 280, 64)
    tokenizer.add_special_tokens({"mask_token": "<|mask|>"})
    config = tiny_config(
        "modern", vocab_size=300, is_causal=task != "fill-mask", num_labels=1 if task == "text-classification" else 3
    )
    model = randomize(auto_class.from_config(config))
    options = {"max_new_tokens": 3} if task == "text-generation" else {}
    assert is_right(pipeline(task, model=model, tokenizer=tokenizer)(text, **options))
