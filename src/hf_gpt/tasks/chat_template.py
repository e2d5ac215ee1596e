"""The chat template that a tokenizer without one is given."""

from transformers import PreTrainedTokenizerBase

from ..data.conversations import conversation_ids, special_names, template_refusals
from ..data.encoding import opening
from ..errors import InputError


TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
# ChatML, with the mark by which a trainer finds what the assistant said.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


# The shortest conversation with an answer.
EXAMPLE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def add_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer without a chat template ChatML's, and its two tokens; a turn's end is then its end of text."""
    if tokenizer.chat_template is None:
        begin = "{{ bos_token }}" if tokenizer.bos_token_id in opening(tokenizer) else ""
        tokenizer.add_special_tokens({"additional_special_tokens": [TURN_START, TURN_END]})
        tokenizer.chat_template = begin + CHAT_TEMPLATE
        tokenizer.eos_token = TURN_END


def turn_ends(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens at which an answer is over: the end of the text, and what the chat template writes at the end of a turn.

    Raises:
        InputError: the template writes no conversation, or one in which no answer is seen to begin where generation begins it.
    """
    with template_refusals("a question and an answer"):
        ids, is_answer, left_out = conversation_ids(tokenizer, EXAMPLE)
    if left_out:
        raise InputError(
            "tokenizer: its chat template writes a question otherwise where an answer follows, so that no answer can be learned: take "
            "the template away to be given ChatML's."
        )
    special = map(tokenizer.convert_tokens_to_ids, special_names(tokenizer))
    last = [token for token, said in zip(ids, is_answer) if said][-1]
    return [tokenizer.eos_token_id, *({last} & set(special) - {tokenizer.eos_token_id})]
