"""Prompts that are not shipped: read at run time from a pinned revision of their source."""

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.local_data import DATA_DIR, data_dir
from safemerge_tasks.common.pinned_download import fetch_pinned

FOLDER = "judges"
"""Where such files lie below the user's data folder."""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file with a prompt in it.

    Attributes:
        name: its name in the data folder.
        url: where it stands, at a commit.
        sha256: of its content.
    """

    name: str
    url: str
    sha256: str

    def text(self) -> str:
        """Return its content, from `SAFEMERGE_DATA_DIR/judges` or else fetched once.

        Raises:
            SafemergeError: it cannot be had, or is another file.
        """
        folder = data_dir()
        path = folder / FOLDER / self.name if folder else None
        if path is None or not path.is_file():
            path = fetch_pinned(
                self.url,
                f"The judge's prompt ({self.name})",
                f"or put the file at ${DATA_DIR}/{FOLDER}/{self.name} (set {DATA_DIR} to that "
                "folder).",
            )
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise SafemergeError(f"{path} is not the file at {self.url}: replace it.")
        return content.decode("utf-8")


def strings_in(source: str) -> Mapping[str, str]:
    """Return the strings that Python source assigns to names; runs nothing.

    Of a name's several the first counts, and one outside of classes and functions before others.
    """
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    found.setdefault(target.id, node.value.value)
    return found
