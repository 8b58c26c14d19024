"""Sphinx's settings. Build with ``python -m sphinx -b html -n -W --keep-going docs docs/_build/html``."""

from __future__ import annotations

import builtins
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import mnistvae

project = "mnistvae"
author = "The mnistvae authors"
project_copyright = author
version = release = mnistvae.__version__

extensions = [
    "mnistvae_docs",
    "citations",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_ext", "live"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# The reference: one page a module, types beside the arguments.
autosummary_generate = False
autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"  # of attributes; mnistvae_docs moves those of arguments
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"
# References to other projects are links only where their inventories can be fetched. mnistvae's own must resolve.
if os.environ.get("DOCS_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|matplotlib|PIL|click|collections|contextlib|enum|os|pathlib|sklearn|typing)\..+"),
    ("py:.*", "|".join(vars(builtins))),
    ("py:class", r"[A-Z]"),  # variables of types
    ("py:class", r"mnistvae\.distributions\.tokens\.TokenSource"),  # a protocol, which is not public
    ("py:class", r"mnistvae\.ladders\.(levels\.Level(Step)?|distributions\.Walk)"),  # an alias, and what is not public
    ("py:class", r"mnistvae\.objectives\.around\.Around"),
    ("py:class", r"mnistvae\.distributions\.(pixels\.Pixels|autoregressive\.Conditionals)"),
    ("py:class", r"mnistvae\.likelihoods\.autoregressive\._Walk"),
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "within_subsection_order": "mnistvae_docs.ReadingOrder",
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "image_scrapers": ("mnistvae_docs.returned_figures",),
    "ignore_repr_types": r"ReturnedFigure",
    "capture_repr": ("__repr__",),
    "reset_modules": (),
    "remove_config_comments": True,
    "thumbnail_size": (320, 320),
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "first_notebook_cell": "%pip install -q mnistvae",
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "mnistvae"
html_static_path = ["_static"]
html_extra_path = ["live"]  # the report that mnistvae_docs makes
html_css_files = ["mnistvae.css"]
html_js_files = [("copy.js", {"defer": "defer"})]
html_favicon = "_static/favicon.svg"
templates_path = ["_templates"]
html_show_sourcelink = False
html_show_sphinx = False
html_sidebars = {
    "index": [],
    "get-started": [],
    "results": [],
    "theory": [],
    "command-line": [],
    "conventions": [],
    "bibliography": [],
    "changelog": [],
}
html_theme_options = {
    "logo": {"text": "mnistvae"},
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["notebook", "page-toc"],
}
