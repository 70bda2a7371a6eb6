"""The three families of Farn et al. 2024: their chat templates, and what these make of two turns.

The strings are written out, not rendered, so that template and expectation check each other.
"""

BOS = "<bos>"

TEMPLATES = {
    "llama-3": (
        "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
        "{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "gemma-2": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}{% if (message['role'] == 'assistant') %}"
        "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "qwen-2.5": (
        "{% if messages[0]['role'] == 'system' %}"
        "{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}{% else %}"
        "{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
        "assistant.<|im_end|>\n' }}{% endif %}"
        "{% for message in messages %}{% if message.role == 'user' %}"
        "{{ '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
}


def llama_3(system: str, user: str) -> str:
    """Return two turns as Llama 3's template has them: contents are stripped."""
    return (
        f"<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>"
        f"<|start_header_id|>user<|end_header_id|>\n\n{user.strip()}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def gemma_2(user: str) -> str:
    """Return the one turn that Gemma 2's template has, stripped."""
    return f"<start_of_turn>user\n{user.strip()}<end_of_turn>\n<start_of_turn>model\n"


def qwen_2_5(system: str, user: str) -> str:
    """Return two turns as Qwen 2.5's template has them: contents as they are."""
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def in_family(family: str, system: str, before: str, user: str) -> str:
    """Return a prompt as the authors send it.

    Args:
        family: of `TEMPLATES`.
        system: for the families with a system role.
        before: what they put before the question for Gemma.
        user: the user's turn.
    """
    if family == "gemma-2":
        return gemma_2(before + user)
    return (llama_3 if family == "llama-3" else qwen_2_5)(system, user)
