"""The chat template that a tokenizer without one is given."""

from transformers import PreTrainedTokenizerBase


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


def add_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer without a chat template ChatML's, and its two tokens; a turn's end is then its end of text."""
    if tokenizer.chat_template is None:
        tokenizer.add_special_tokens({"additional_special_tokens": [TURN_START, TURN_END]})
        tokenizer.chat_template = CHAT_TEMPLATE
        tokenizer.eos_token = TURN_END
