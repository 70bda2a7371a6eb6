"""Questions in the rows of a data set on the Hub."""

from safemerge_tasks.common.errors import SafemergeError, one_line
from safemerge_tasks.common.hub_errors import hub_errors
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.table import Table


def read_hub_rows(spec: SuiteSpec, way_out: str) -> Table:
    """Return the rows of the suite's split.

    Args:
        spec: a suite with `hub` and `split`.
        way_out: ends every error sentence; begins with "or".

    Raises:
        SafemergeError: gated, absent or unreachable, or no such configuration or split.
    """
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HFValidationError

    assert spec.hub is not None
    with hub_errors(
        f"{spec.suite} ({spec.hub})",
        access=spec.access,
        absent=f"is not on the Hub, or not open to you: {spec.access or 'check its Hub page'}",
        way_out=way_out,
    ):
        try:
            rows = datasets.load_dataset(
                spec.hub, spec.config, split=spec.split, revision=spec.revision
            )
        except (HFValidationError, OSError):
            raise
        except (ValueError, DatasetsError) as error:
            # Here `datasets` says which configurations or splits there are.
            raise SafemergeError(f"{spec.suite} ({spec.hub}): {one_line(error)}") from error
    return Table(f"{spec.hub} ({spec.split})", rows.column_names, rows.to_list())
