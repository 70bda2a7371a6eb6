"""Text from outside without anything that controls a terminal, a page or a file.

Ids, categories and responses come from files that a model under test, or anybody, wrote.
"""

import unicodedata


def printable(text: str) -> str:
    """Return text without characters that control anything, each as its code instead.

    Control, format (directions, zero width), surrogate, private and unassigned characters; what is
    left is also valid in XML 1.0.
    """
    return "".join(
        f"\\u{ord(char):04x}"
        if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"
        else char
        for char in text
    )


def printable_lines(text: str) -> str:
    """Return the same with its lines and the indentation in them."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))
