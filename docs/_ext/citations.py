"""Papers that a text names by authors and year, as links to their place in ``bibliography.md``.

A name with "and" or "et al." that has no place there is a warning, and so an error of the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

LIST = "bibliography"
NAME = r"[A-Z][\w-]+"
#: Kingma and Welling (2014); Burda, Grosse and Salakhutdinov (2016); He et al. 2016; White (2016).
CITATION = re.compile(rf"({NAME})((?:,\s+{NAME})*,?\s+(?:and\s+{NAME}|et\s+al\.))?,?\s+\(?((?:19|20)\d\d)\b\)?")
#: Text in which names stay as they are.
PLAIN = (nodes.reference, nodes.literal, nodes.literal_block, nodes.title, nodes.comment, nodes.raw)


def link_citations(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn names of papers into links."""
    if docname in {LIST, "changelog"}:
        return
    known = app.env.get_domain("std").anonlabels  # type: ignore[attr-defined]
    for text in list(doctree.findall(nodes.Text)):
        if any(isinstance(node, PLAIN) for node in _parents(text)):
            continue
        parts = list(_pieces(app, text, docname, known))
        if len(parts) > 1:
            text.parent.replace(text, parts)


def _parents(node: Any) -> Iterator[Any]:
    while node is not None:
        yield node
        node = node.parent


def _pieces(app: Sphinx, text: nodes.Text, docname: str, known: Any) -> Iterator[nodes.Node]:
    """The text in pieces, of which those that name a paper are links."""
    start, string = 0, str(text)
    for found in CITATION.finditer(string):
        label = f"paper-{found[1].lower()}-{found[3]}"
        if label not in known:
            if found[2]:
                place = logging.getLogger(__name__)
                place.warning("%r has no place in %s.md", found[0], LIST, location=(docname, None))
            continue
        yield nodes.Text(string[start : found.start()])
        target, anchor = known[label]
        yield make_refnode(app.builder, docname, target, anchor, nodes.Text(found[0]))
        start = found.end()
    yield nodes.Text(string[start:])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", link_citations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
