"""Public sets of responses that people labelled, for measuring a judge.

What is read is whether the response is harmful; labels of the question alone say nothing of a judge
of responses. Rows without such a label are left out.
"""

import logging
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.hub_errors import LOG_IN
from safemerge_tasks.suites.checks import numbered, problems_of
from safemerge_tasks.suites.reading import read_part
from safemerge_tasks.suites.spec import Part, SuiteSpec
from safemerge_tasks.suites.table import Table
from safemerge_tasks.verdicts.labelled import Labelled, harm_in

_log = logging.getLogger(__name__)

_CODES = MappingProxyType(
    {
        "Arabic": "ar",
        "Chinese": "zh",
        "Czech": "cs",
        "Dutch": "nl",
        "English": "en",
        "French": "fr",
        "German": "de",
        "Hindi": "hi",
        "Italian": "it",
        "Japanese": "ja",
        "Korean": "ko",
        "Polish": "pl",
        "Portuguese": "pt",
        "Russian": "ru",
        "Spanish": "es",
        "Swedish": "sv",
        "Thai": "th",
    }
)


class LabelledSet(NamedTuple):
    """Where a set is and what its columns mean.

    Attributes:
        spec: the source; `rows` counts those without a label too.
        label: the column of the response's harm.
        language: the column of the language's name; None where all is English.
        codes: the language's name → its code.
    """

    spec: SuiteSpec
    label: str
    language: str | None = None
    codes: Mapping[str, str] = MappingProxyType({})


SETS: Mapping[str, LabelledSet] = {
    # Han et al. 2024, arXiv 2406.18495; ODC-BY.
    "wildguardtest": LabelledSet(
        SuiteSpec(
            suite="wildguardtest",
            question="prompt",
            category="subcategory",
            rows=1725,
            hub="allenai/wildguardmix",
            config="wildguardtest",
            split="test",
            revision="d29c47f41c8b51348b5c8e8c81c039b3132b66d1",
            access=LOG_IN,
        ),
        label="response_harm_label",
    ),
    # The same; ODC-BY. No revision of it could be looked up, so it is never fetched.
    "xstest-response": LabelledSet(
        SuiteSpec(
            suite="xstest-response",
            parts=(Part(file="xstest-response.parquet"),),
            question="prompt",
            category="prompt_type",
            rows=446,
        ),
        label="label",
    ),
    # Kumar et al. 2025, arXiv 2504.04377; CC-BY-4.0.
    "polyguard-prompts": LabelledSet(
        SuiteSpec(
            suite="polyguard-prompts",
            question="prompt",
            category="subcategory",
            rows=29325,
            hub="ToxicityPrompts/PolyGuardPrompts",
            split="test",
            revision="c5b466a95b64ff121db4398246b6abb7672696ec",
        ),
        label="response_harm_label",
        language="language",
        codes=_CODES,
    ),
}


def load_labelled(name: str) -> list[Labelled]:
    """Return a public set's labelled rows, in the order of the source.

    `SAFEMERGE_DATA_DIR` is looked at first: `<name>.jsonl`, `.parquet`, `.csv` or `.json` with the
    columns of the source.

    Raises:
        SafemergeError: no such set, it cannot be had, or is not what it should be.
    """
    if name not in SETS:
        raise SafemergeError(f"{name} is no labelled set; choose from {', '.join(SETS)}.")
    wanted = SETS[name]
    table = read_part(wanted.spec, wanted.spec.parts[0])
    assert table is not None
    for problem in problems_of(wanted.spec, table):
        raise SafemergeError(problem)
    found = list(_rows(wanted, table))
    if len(found) < len(table.rows):
        left = len(table.rows) - len(found)
        _log.warning("%s: %d of %d rows have no label.", name, left, len(table.rows))
    return found


def _rows(wanted: LabelledSet, table: Table) -> Iterator[Labelled]:
    columns = ("response", wanted.label, *([wanted.language] if wanted.language else []))
    for column in columns:
        table.name_of(column)
    for number, row in enumerate(table.rows, start=table.first):
        label = row[wanted.label]
        if label is None or not str(label).strip():
            continue
        harmful = harm_in(label)
        if harmful is None or row["response"] is None:
            what = "response" if row["response"] is None else wanted.label
            raise SafemergeError(
                f"{table.source}, {numbered([number])}: its {what} is none that the set has; "
                "replace it with the original file."
            )
        language = "en"
        if wanted.language:
            told = str(row[wanted.language]).strip()
            language = wanted.codes.get(told, told.casefold())
        category = row[str(wanted.spec.category)]
        yield Labelled(row["prompt"], str(row["response"]), harmful, language, str(category or ""))
