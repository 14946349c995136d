"""Origin of a request: whether a page of another site made a browser send it.

A browser sends its cookies, by which Identity-Aware Proxy knows the account, also with a request that a page of
another site starts. It names that site in Sec-Fetch-Site, or, if it is an old one, in Origin. Other programs send
neither. The method is that of Go's `net/http.CrossOriginProtection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

_OWN = ("same-origin", "none")


def is_foreign(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request that changes something was started by a page of another site.

    Args:
        headers: of the request, names in lower case.
    """
    found = {name: value.decode("latin-1") for name, value in headers}
    site = found.get(b"sec-fetch-site")
    if site:
        return site not in _OWN
    origin = found.get(b"origin")
    if not origin:
        return False
    try:
        return not urlsplit(origin).netloc or urlsplit(origin).netloc != found.get(b"host", "")
    except ValueError:
        return True
