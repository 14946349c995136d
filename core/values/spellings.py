"""Spellings of values in categories learned from text: a typed value is matched by value, text as it is written.

A column of booleans or numbers has one text a value ("true", "2"). Where the categories come from text, they may be
spelled otherwise ("True", "2.0"): the typed value is then the category that says it. Text with zeros before its digits
says no number ("007"), and text is never changed.
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
    """The text that a boolean or a number has which `text` says: "true" of "True", "2" of "2.0"; None of other text."""
    if text.lower() in _BOOLEANS:
        return text.lower()
    if _NUMBER.fullmatch(text) and any(character.isdigit() for character in text.lower().partition("e")[0]):
        return text_of(Decimal(text))
    return None


def spellings(categories: Iterable[str]) -> Mapping[str, str]:
    """By the text of a typed value, the category that says it, where that is spelled otherwise.

    A category that is the value's own text comes first; of several others no one is the value's, and it is "".
    """
    known = set(categories)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for category in known:
        text = typed_text(category)
        if text is not None and text not in known:
            found[text].append(category)
    return {text: same[0] if len(same) == 1 else "" for text, same in found.items()}


def several_spellings(categories: Iterable[str]) -> list[tuple[str, ...]]:
    """The categories that say the same value, each group in order: ("True", "true"), ("2", "2.0")."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for category in categories:
        text = typed_text(category)
        if text is not None:
            found[text].append(category)
    return sorted(tuple(sorted(same)) for same in found.values() if len(same) > 1)
