"""Spellings of values in categories learned from text: a typed value is matched by value, text as it is written.

A column of booleans or numbers has one text per value ("true", "2"). Categories learned from text may have another
spelling ("True", "2.0"): the typed value is then matched with the category of equal value. Text with leading zeros
("007") is not a number, and text is never changed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

from headrace.core.values.scalars import text_of

_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,39})?(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")
_BOOLEANS = {"true": "true", "false": "false"}


def typed_text(text: str) -> str | None:
    """The text of the boolean or number that `text` spells: "true" for "True", "2" for "2.0"; None for other text."""
    if text.lower() in _BOOLEANS:
        return text.lower()
    if _NUMBER.fullmatch(text) and any(character.isdigit() for character in text.lower().partition("e")[0]):
        return text_of(Decimal(text))
    return None


def spellings(categories: Iterable[str]) -> Mapping[str, str]:
    """The category with another spelling, by the text of its typed value.

    A category equal to the value's text takes precedence; for several other spellings the result is "".
    """
    known = set(categories)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for category in known:
        text = typed_text(category)
        if text is not None and text not in known:
            found[text].append(category)
    return {text: same[0] if len(same) == 1 else "" for text, same in found.items()}


def several_spellings(categories: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of categories with equal values, each in order: ("True", "true"), ("2", "2.0")."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for category in categories:
        text = typed_text(category)
        if text is not None:
            found[text].append(category)
    return sorted(tuple(sorted(same)) for same in found.values() if len(same) > 1)
