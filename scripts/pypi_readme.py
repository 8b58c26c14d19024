"""The README for PyPI, which has no files beside it: hatchling calls this when it builds, and links become absolute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: A link or a picture of Markdown whose target is a file of the repository.
RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")


def absolute_links(text: str, home: str, version: str) -> str:
    """``text`` with links to the files of a release: as pages, and pictures as they are."""

    def link(match: re.Match[str]) -> str:
        base = home.replace("github.com", "raw.githubusercontent.com") if match[1] else f"{home}/blob"
        return f"{match[1]}[{match[2]}]({base}/v{version}/{match[3]})"

    return RELATIVE.sub(link, text)


class ReadmeHook(MetadataHookInterface):
    """Sets the readme of the package's metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set it; ``metadata`` is the table [project]."""
        root = Path(self.root)
        text = (root / "README.md").read_text(encoding="utf-8")
        version = re.search(r'__version__ = "(.+)"', (root / "src/mnistvae/_version.py").read_text(encoding="utf-8"))
        if version is None:
            raise ValueError("src/mnistvae/_version.py has no __version__")
        readme = absolute_links(text, metadata["urls"]["Source"], version[1])
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
