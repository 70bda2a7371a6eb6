"""The documentation as a site (Sphinx): `make docs`. Every page is read where it lies."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

project = "safemerge"
author = copyright = "the safemerge authors"  # noqa: A001 (Sphinx's name)
version = release = version_of("safemerge")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "command_reference",
    "site_front",
]

# The sources' root is the repository, so that links between files hold here and on GitHub.
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "docs/reference/**.rst",
    "benchmarks/*.md",
    "task_configs/**.md",
]
exclude_patterns = [".*", "build", "dist", "tests", "merge", "safemerge_tasks", "requirements"]

myst_heading_anchors = 4
# The suites' pages have lm-eval's headings, of which the second level is missing.
suppress_warnings = ["myst.header"]
# `--out` stays what one types.
smartquotes = False
# Single backticks in docstrings are code.
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"safemerge {version}"
html_static_path: list[str] = []
templates_path = ["_templates"]
html_additional_pages = {"index": "front.html"}
html_copy_source = False
html_show_copyright = False
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "EOF"
