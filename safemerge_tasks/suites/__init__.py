"""Question suites: where they come from, one normal form, checks."""

from safemerge_tasks.suites.load import load_suite
from safemerge_tasks.suites.sampling import Question
from safemerge_tasks.suites.spec import SuiteSpec

__all__ = ["Question", "SuiteSpec", "load_suite"]
