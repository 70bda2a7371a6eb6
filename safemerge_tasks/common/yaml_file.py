"""YAML files that people write: a key given twice is refused, of which PyYAML takes the last."""

from pathlib import Path
from typing import Any

import yaml

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.utf8_file import read_utf8

_MERGED_IN = "tag:yaml.org,2002:merge"


class _GivenTwiceError(yaml.MarkedYAMLError):
    """A mapping has a key twice."""


class EachKeyOnce(yaml.SafeLoader):
    """YAML of which each mapping has a key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping.

        Raises:
            MarkedYAMLError: it has a key twice.
        """
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGED_IN:
                continue
            if key.value in seen:
                raise _GivenTwiceError(problem=key.value, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(
    path: Path, otherwise: str = "correct it", loader: type[EachKeyOnce] = EachKeyOnce
) -> Any:
    """Return what a YAML file holds.

    Args:
        path: of the file.
        otherwise: what to do about a file that cannot be read.
        loader: knows tags of the file's own.

    Raises:
        SafemergeError: no such file, no YAML, or a key that is given twice in one mapping.
    """
    try:
        return yaml.load(read_utf8(path), loader)  # noqa: S506 - a subclass of SafeLoader
    except FileNotFoundError as error:
        raise SafemergeError(f"{path} does not exist; {otherwise}.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SafemergeError(f"{path} cannot be read ({reason}); {otherwise}.") from error
    except yaml.MarkedYAMLError as error:
        place = f"{path}, line {error.problem_mark.line + 1}" if error.problem_mark else str(path)
        sentence = f"{place} is not YAML ({error.problem}); {otherwise}."
        if isinstance(error, _GivenTwiceError):
            sentence = f"{place}: {error.problem} is given twice; remove one."
        raise SafemergeError(sentence) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Characters that YAML does not allow; a date such as 2026-13-45; nesting without end.
        sentence = " ".join(str(error).split())
        raise SafemergeError(f"{path} is not YAML ({sentence}); {otherwise}.") from error
