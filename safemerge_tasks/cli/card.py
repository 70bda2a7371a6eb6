"""The `safemerge card` command."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._outputs import refuse_overwriting
from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError

app = typer.Typer(add_completion=False)


class Relationship(StrEnum):
    """Of who evaluated to the model, in Every Eval Ever's words."""

    FIRST_PARTY = "first_party"
    THIRD_PARTY = "third_party"
    COLLABORATIVE = "collaborative"
    OTHER = "other"


@app.command()
def card(
    model: Annotated[Path, typer.Argument(help="The model's folder, whose README.md is the card.")],
    results: Annotated[Path, typer.Option(help="The model's results, as lm_eval wrote them.")],
    baseline: Annotated[
        Path | None, typer.Option(help="Results to compare with, such as the base model's.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="What decides; needs --baseline. See `check init`.")
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="What may differ; see `safemerge check --help`.")
    ] = None,
    bom: Annotated[
        Path | None, typer.Option(help="Write the figures as a CycloneDX 1.6 bill of materials.")
    ] = None,
    every_eval_ever: Annotated[
        Path | None, typer.Option(help="Write the figures as a record of Every Eval Ever.")
    ] = None,
    organization: Annotated[
        str, typer.Option(help="Who evaluated, for Every Eval Ever.")
    ] = "unknown",
    relationship: Annotated[
        Relationship, typer.Option(help="Of who evaluated to the model, for Every Eval Ever.")
    ] = Relationship.OTHER,
    annex_iv: Annotated[
        Path | None,
        typer.Option(help="Write what Annex IV of the EU AI Act asks of testing, as Markdown."),
    ] = None,
) -> None:
    """Write a model's figures into its card, as text and as the metadata that the Hub reads.

    What else is in the card stays. No question and no answer is written anywhere.

    Example: safemerge card merged --results results/merged --baseline results/base
    """
    from safemerge_tasks.gate.pairing import accepted_words
    from safemerge_tasks.gate.policy import Policy, read_policy
    from safemerge_tasks.report.document import Name
    from safemerge_tasks.report.documents.card import annex_document, card_document
    from safemerge_tasks.report.exports import as_cyclonedx, as_every_eval_ever
    from safemerge_tasks.report.measured import measured
    from safemerge_tasks.report.model_card import CARD, write_card
    from safemerge_tasks.report.printable import printable
    from safemerge_tasks.report.reading import against_first, read_models
    from safemerge_tasks.report.release import DEFAULT_POLICY
    from safemerge_tasks.report.renderers.markdown import as_markdown

    for option, given in (("--policy", policy), ("--accept", accept)):
        if given and not baseline:
            raise SafemergeError(f"{option} {given} is about a comparison; add --baseline DIR.")
    refuse_overwriting(
        {
            "": model / CARD,
            "--bom": bom,
            "--every-eval-ever": every_eval_ever,
            "--annex-iv": annex_iv,
        },
        (results, baseline, policy),
    )
    asked = read_policy(policy) if policy else Policy()
    words = accepted_words(accept or [])
    models = read_models([baseline, results] if baseline else [results], asked.cluster_by)
    if len(models) != (2 if baseline else 1):
        places = f"{results} and {baseline}" if baseline else str(results)
        raise SafemergeError(
            f"in {places} are results of these models: {', '.join(one.label for one in models)}; "
            "give the folder of one each."
        )
    found = models[-1]
    figures = measured(found)
    told = {one.task.name for one in figures}
    for name, task in found.tasks.items():
        if task.result.asks_questions and name not in told:
            raise SafemergeError(
                f"{results} has no verdict on any question of {name}, which a card would not say; "
                "run `safemerge judge` first."
            )
    releases = against_first(models, asked, words)
    release = releases[0] if releases else None
    named = Name(str(policy)) if policy else DEFAULT_POLICY
    block = as_markdown(card_document(found, release, named), level=2)
    path = write_card(model, figures, block)
    if bom:
        write_file(bom, as_cyclonedx(found))
    if every_eval_ever:
        write_file(every_eval_ever, as_every_eval_ever(found, organization, relationship))
    if annex_iv:
        write_file(annex_iv, as_markdown(annex_document(found, release, named)))
    said = f"{path}: {len(figures)} figures of {found.label}"
    print(printable(said), file=sys.stderr)
