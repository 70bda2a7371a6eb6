"""Text that the model under test wrote, made harmless for prompts.

Where this package makes the token ids itself (`tokens`), control strings are split there and
the judge reads the text as it is. An endpoint that takes text tokenises it out of our sight; for it
control strings are broken here.
"""

import re

REPLACEMENT = "\ufffd"

# The opening of what chat templates use as control tokens: `<|im_end|>`, `</s>`, `<start_of_turn>`,
# `<\uff5cUser\uff5c>` (a full-width bar), `[INST]`, `[gMASK]`. A verdict tag such as `[[A]]` opens
# like that too.
_OPENING = re.compile(r"<(?=[|\uff5c/A-Za-z_])|\[(?=/?[A-Za-z_]+\])")


def without_control_strings(text: str) -> str:
    """Put a space after each bracket that may open a control token of some chat template.

    A control token is one exact string, so none survives, whichever tokenizer the endpoint has.
    """
    return _OPENING.sub(lambda match: f"{match[0]} ", text)
