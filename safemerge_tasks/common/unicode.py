"""Text that every tokenizer and UTF-8 take."""


def valid_unicode(text: str) -> str:
    """Replace lone surrogates, which neither a tokenizer nor UTF-8 accepts."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
