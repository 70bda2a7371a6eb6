"""The sections of a report on models, one file each: copy the shortest to add one.

Another package adds its own with an entry point of the group `safemerge.report_sections` that names
the module. A section that shows text of questions or responses asks `evaluated.redact` first.
"""

from safemerge_tasks.report.reading import Evaluated
from safemerge_tasks.report.registry import Sections

section: Sections[Evaluated] = Sections(__name__, "safemerge.report_sections")
