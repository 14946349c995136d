"""Traffic split: chooses the version of a request by a stable hash of its key, or at random."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping

_UNITS = 10_000
# The first instance is searched near the beginning, so that the choice of a version does not parse the whole body.
_LOOK = 64 << 10
_INSTANCES = b'"instances"'
_DECODER = json.JSONDecoder()


def choose(traffic: Mapping[str, int], live: str, key: str | None, draw: random.Random) -> str:
    """Chooses the version of a request.

    A key gets the same version in every request. When a canary's percentage grows, keys move to it, and none moves
    back. Another canary gets other keys.

    Args:
        traffic: percentage by version; they sum to 100.
        live: the version that gets the rest of the traffic.
        key: key of the request; None for a random choice.
        draw: random number generator.
    """
    if len(traffic) == 1:
        return live if live in traffic else next(iter(traffic))
    others = sorted(version for version in traffic if version != live)
    point = draw.randrange(_UNITS) if key is None else _point(key, others)
    for version in others:
        point -= traffic[version] * _UNITS // 100
        if point < 0:
            return version
    return live


def _point(key: str, others: list[str]) -> int:
    digest = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8, key=",".join(others).encode()[:64])
    return int.from_bytes(digest.digest()) % _UNITS


def key_of(header: bytes | None, body: bytes) -> str | None:
    """The routing key of a request: its header X-Headrace-Key, or the member `key` of its first instance.

    Args:
        header: value of X-Headrace-Key; None if it was not sent.
        body: body of the request.

    Returns:
        The key; None if the request has neither.
    """
    if header:
        return header.decode("latin-1")
    begin = body.find(_INSTANCES, 0, _LOOK)
    begin = body.find(b"{", begin, begin + _LOOK) if begin >= 0 else -1
    if begin < 0:
        return None
    try:
        instance, _ = _DECODER.raw_decode(body[begin : begin + _LOOK].decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    key = instance.get("key") if isinstance(instance, dict) else None
    return None if key is None or isinstance(key, dict | list) else str(key)
