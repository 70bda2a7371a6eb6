"""Names of the files that a model folder has beside its weights, as patterns."""

TOKENIZER = (
    "*.jinja",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tekken.json",
    "tokenizer*.json",
    "vocab.*",
)
COMPANIONS = (*TOKENIZER, "*.json", "*.py", "*.txt", "LICENSE*", "NOTICE*", "USE_POLICY*")
"""A derived model needs them too: the tokenizer, code, and the terms it is given under."""
