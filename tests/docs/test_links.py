"""Links, anchors and names of files in the documentation: each leads to what exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from support.documents import ROOT, documents, files, prose

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s#]*)(?:#([^)\s]+))?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_CODE = re.compile(r"`([^`\s]+)`")
# What a reader puts in: NAME, and any part of a path.
_PLACEHOLDER = re.compile(r"[A-Z]{3,}|\*+")
_FILE = re.compile(r"\.(c|h|html|json|jinja|md|png|py|sh|svg|toml|txt|yaml)\Z")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in _HEADING.findall(prose(text)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("document", documents())
def test_links_lead_somewhere(document: str) -> None:
    here = ROOT / document
    text = prose(here.read_text())
    for target, anchor in _LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        page = (here.parent / target).resolve() if target else here
        assert page.exists(), target
        assert page.is_relative_to(ROOT), target
        if anchor and page.suffix == ".md":
            assert anchor in anchors(page.read_text()), f"{target}#{anchor}"
    for target in _IMAGE.findall(text):
        assert "://" in target or (here.parent / target).is_file(), target


@pytest.mark.parametrize("document", documents())
def test_files_of_the_repository_have_their_names(document: str) -> None:
    """`core/retry.py` exists where a page names it; CONTRIBUTING names some by the end of their paths."""
    tops = {path.partition("/")[0] for path in files() if "/" in path}
    for name in _CODE.findall(prose((ROOT / document).read_text())):
        path = _PLACEHOLDER.sub("*", name.partition("::")[0].rstrip("/"))
        if path.partition("/")[0] in tops and "/" in path:
            assert any(True for _ in ROOT.glob(path)), name
        elif document == "CONTRIBUTING.md" and _FILE.search(path):
            assert any(Path(each).match(path) for each in files()), name


def test_anchors_are_those_of_github() -> None:
    text = "# Runs, `headrace runs`\n## [Key](key.md) = id\n## Runs\n## Runs\n```\n# no heading\n```\n"
    assert anchors(text) == {"runs-headrace-runs", "key--id", "runs", "runs-1"}
