"""Settings that reach a task through lm-eval's `--metadata`, or the environment."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from safemerge_tasks.common.validation import validated

_ENVIRONMENT = "SAFEMERGE_"


class TaskSettings(BaseModel):
    """Every field is `<prefix><field>` in `--metadata`, and in capitals in the environment.

    Attributes:
        prefix: begins the key of every field, such as `judge_`.
        bare: field → the key of a field that goes without the prefix.
        thing: what a key is, such as "a setting of a judge".
        never_from_environment: fields that only the command line may set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    prefix: ClassVar[str]
    bare: ClassVar[Mapping[str, str]] = {}
    thing: ClassVar[str]
    never_from_environment: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> Self:
        """Read the settings from lm-eval's metadata, else from `SAFEMERGE_<KEY>`.

        Raises:
            SafemergeError: an unknown key (with the nearest known one) or an impossible value.
        """
        environment = os.environ if environment is None else environment
        variables = {
            name.removeprefix(_ENVIRONMENT).lower(): value
            for name, value in environment.items()
            if name.startswith(_ENVIRONMENT)
        }
        given = cls._fields(variables)
        for field in cls.never_from_environment:
            given.pop(field, None)
        return cls.checked({**given, **cls._fields(metadata)})

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Self:
        """Validate plain values; lm-eval turns `1234567` into a number, so strings are restored.

        Raises:
            SafemergeError: an unknown key or an impossible value.
        """
        values = {field: str(value) for field, value in given.items() if value is not None}
        return validated(cls, values, thing=cls.thing, spelt=cls.key_of)

    @classmethod
    def key_of(cls, field: str) -> str:
        """Return what a field is called in `--metadata`."""
        return cls.bare.get(field, f"{cls.prefix}{field}")

    @classmethod
    def _fields(cls, keys: Mapping[str, Any]) -> dict[str, Any]:
        """Return field → value of the keys that are ours."""
        fields = {key: field for field, key in cls.bare.items()}
        return {
            fields.get(key, key.removeprefix(cls.prefix)): value
            for key, value in keys.items()
            if key in fields or key.startswith(cls.prefix)
        }
