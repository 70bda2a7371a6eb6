"""The sections of a report on models, one file each: copy the shortest to add one."""

from safemerge_tasks.report.reading import Evaluated
from safemerge_tasks.report.registry import Sections

section: Sections[Evaluated] = Sections(__name__, "safemerge.report_sections")
