"""HTML page of the service: the run under way, the runs that ended, and a button. It has no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any


def render(overview: Mapping[str, Any], account: str, data_below: Sequence[str]) -> bytes:
    """The page as HTML in UTF-8.

    Args:
        overview: result of `runs.overview`.
        account: e-mail address of the account; "" without a login.
        data_below: URIs or folders below which data may be announced; if not empty, the form has fields for data.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    page = Environment(autoescape=True, trim_blocks=True).from_string(_read("page.html"))
    style = Markup(_read("page.css"))  # noqa: S704 - a file of this package
    return page.render(style=style, account=account, data_below=data_below, **overview).encode()


@cache
def policy() -> bytes:
    """Value of Content-Security-Policy: allows the page's style and form, no script, and no frame around it."""
    digest = base64.b64encode(hashlib.sha256(_read("page.css").encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ).encode()


def _read(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")
