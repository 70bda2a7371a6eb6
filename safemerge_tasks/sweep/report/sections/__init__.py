"""The sections of a report on sweeps, one file each: copy the shortest to add one.

Another package adds its own with an entry point of the group `safemerge.sweep_sections` that names
the module.
"""

from safemerge_tasks.report.registry import Sections
from safemerge_tasks.sweep.report.findings import Sweeps

section: Sections[Sweeps] = Sections(__name__, "safemerge.sweep_sections")
