"""Which strings structure a judge's prompt, found in the prompt itself."""

import re

# `<END CONVERSATION>`, `<|eot_id|>`, `<<SYS>>`, `[/INST]`, `[Start Context]`
_TAG = re.compile(r"<[^<>\n]{1,60}>|\[/?[A-Za-z][A-Za-z ]{0,40}\]")


def structural_markers(text: str) -> tuple[str, ...]:
    """Return the tags, labels and closing lines of a prompt with `{prompt}` and `{response}`.

    Inside a response they would forge the end of the conversation, another turn of it, or the
    section in which the judge answers. Labels and lines count only where a line begins, as they
    stand in the prompt, so that ordinary text keeps its tokens.
    """
    before, _, rest = text.partition("{prompt}")
    between, _, after = rest.partition("{response}")
    # Right before a field; a role between two tags is no label, its tags are markers.
    labels = [_TAG.split(part.rpartition("\n")[2])[-1] for part in (before, between)]
    # A line ends with its text: `Answer: [/INST]` is the line `Answer:` and a tag.
    closing = [_TAG.split(line)[0] for line in after.split("\n")]
    lines = [f"\n{line.rstrip()}" for line in (*labels, *closing) if len(line.strip()) > 1]
    return tuple(dict.fromkeys([*_TAG.findall(f"{before}{between}{after}"), *lines]))
