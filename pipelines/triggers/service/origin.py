"""Origin of a request: detects requests that a page of another site made a browser send (CSRF).

A browser sends its cookies, by which Identity-Aware Proxy identifies the account, also with a request that a page of
another site starts. It marks such a request in Sec-Fetch-Site; an old browser names the site in Origin. Other programs
send neither. The method is that of Go's `net/http.CrossOriginProtection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

_OWN = ("same-origin", "none")


def is_foreign(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a page of another site started a request, which must then change nothing.

    Args:
        headers: headers of the request, with names in lower case.
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
