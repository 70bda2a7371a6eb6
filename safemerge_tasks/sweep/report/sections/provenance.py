"""Every number with the files it is from, and how all of them were made."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.provenance import is_secret, plain
from safemerge_tasks.report.wording import cell
from safemerge_tasks.sweep.manifest import MANIFEST, Manifest
from safemerge_tasks.sweep.report.findings import Findings, Sweeps
from safemerge_tasks.sweep.report.sections import section

DEPTH = 6
"""Settings nested deeper are shown as one text."""

DIFFERENT = 8
"""A setting with more values than that is one of each result's own."""


@section(100)
def provenance(sweeps: Sweeps) -> Section:
    """Return two folded tables a sweep."""
    tables = []
    head = ("variant", "split", "task", "metric, filter", "value", "file below the sweep's")
    for findings in sweeps.findings:
        title = sweeps.title(findings)
        numbers = tuple(_numbers(findings))
        tables.append(Table(head, numbers, (*title, "every number"), folded=True))
        settings = tuple(_settings(findings))
        title = (*title, "settings and versions")
        tables.append(Table(("what", "value", "of"), settings, title, folded=True))
    return Section("Provenance", (), tuple(tables))


def _numbers(findings: Findings) -> Iterator[tuple[Words, ...]]:
    for _, split, found in findings.survey.cells():
        for task, value in found.values.items():
            yield (
                Name(found.variant.id),
                split,
                Name(task.task),
                Name(f"{task.metric}, {value.filter}"),
                cell(value.measure),
                ", ".join(value.samples or value.results),
            )


def _settings(findings: Findings) -> Iterator[tuple[Words, ...]]:
    manifest = findings.survey.manifest
    yield ("sweep", Name(manifest.name), "")
    yield ("base", Name(manifest.base), "")
    yield ("judge", Name(manifest.judge), "")
    yield from _of_manifest(manifest)
    values = (value for _, _, found in findings.survey.cells() for value in found.values.values())
    of_results = Counter(setting for value in values for setting in value.settings)
    for (what, text), count in of_results.items():
        yield (what, Name(text), f"{count:,} results")


def _of_manifest(manifest: Manifest) -> Iterator[tuple[Words, ...]]:
    """Yield the manifest's own provenance, what is the same in all variants once."""
    variants = frozenset(one.id for one in manifest.variants)
    found: dict[str, Counter[str]] = {}
    for what, text in _flat(manifest.provenance, (), variants):
        found.setdefault(what, Counter())[text] += 1
    for what, counts in found.items():
        if len(counts) > DIFFERENT:
            yield (Name(what), f"{len(counts):,} different ones, in {MANIFEST}", "")
            continue
        for text, count in counts.items():
            yield (Name(what), Name(text), f"{count:,} times" if count > 1 else "")


def _flat(value: Any, path: tuple[str, ...], variants: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield what a nested value says: where, and its text; without credentials."""
    if path and is_secret(path[-1]):
        yield ".".join(path), plain(value, path[-1])
    elif isinstance(value, Mapping) and len(path) < DEPTH:
        # What is kept by variant is shown without it.
        by_variant = bool(value) and variants.issuperset(value)
        for key, inner in value.items():
            yield from _flat(inner, path if by_variant else (*path, str(key)), variants)
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        for one in value:
            yield from _flat(one, path, variants)
    elif text := plain(value, path[-1] if path else ""):
        yield ".".join(path), text
