"""The site. `make docs` builds it from the repository's root: links between pages are those of the repository."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import scorefield

project = "scorefield"
author = copyright = "The scorefield authors"
release = version = scorefield.__version__

root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md"]
exclude_patterns = [
    ".venv",
    "build",
    "dist",
    "runs",
    "src",
    "tests",
    "docs/builder",
    "docs/course",
    "**/out",
    "**sg_execution_times.rst",
]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery", "builder"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]  # the gallery's configuration holds a function

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

toc_object_entries = False  # copied into every page otherwise: half of the build

html_theme = "furo"
html_static_path = ["builder/static"]
html_css_files = ["wide.css"]
html_title = f"scorefield {release}"
html_math_renderer = "mathml"  # drawn by the browser: no script, nothing fetched
html_copy_source = False
html_show_sphinx = False

sphinx_gallery_conf = {
    "examples_dirs": "docs/course",
    "gallery_dirs": "docs/lessons",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("builder.pictures",),
    "capture_repr": (),
    "reset_modules": (),
    "copyfile_regex": "",
    "download_all_examples": True,
    "show_signature": False,
    "abort_on_example_error": True,
    "min_reported_time": 10**6,
}
