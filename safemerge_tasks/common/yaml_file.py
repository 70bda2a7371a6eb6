"""YAML in which a mapping has a key once: of two, YAML's own reader silently keeps the last."""

from pathlib import Path
from typing import Any

import yaml

from safemerge_tasks.common.utf8_file import read_utf8


class _EachKeyOnce(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            # `<<` may be there several times, and what it brings may be set anew.
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} is given twice; remove one", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return a file's content.

    Raises:
        OSError: it cannot be read.
        SafemergeError: it is not UTF-8.
        yaml.YAMLError: it is no YAML, or a mapping has a key twice.
    """
    return yaml.load(read_utf8(path), Loader=_EachKeyOnce)  # noqa: S506 (a SafeLoader)
