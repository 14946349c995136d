"""Lint of damaged specs: whatever value stands in a compiled spec, lint reports or refuses, and never fails."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.errors import UsageError
from headrace.pipelines.lint import backend
from headrace.pipelines.lint.check import PLATFORMS, lint_spec
from headrace.pipelines.lint.parse import parse
from headrace.pipelines.lint.spec import spec_of

GOLDEN = Path(__file__).parents[1] / "golden"
_TEXTS = ["", "x", "{{$.inputs.parameters['x']}}", "9" * 400]
_VALUES: list[Any] = [None, True, 0, -1, 1.5, float("nan"), 10**30, *_TEXTS, [], [None], {}, {"x": None}]
_NAMES = ["", "x", "constant", "tasks", "{{$}}"]


@cache
def specs() -> tuple[list[Any], ...]:
    """The documents of each golden spec."""
    return tuple(list(yaml.safe_load_all(path.read_text())) for path in sorted(GOLDEN.glob("*.yaml")))


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value within a value."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*where, key)
        yield from places(value[key], (*where, key))


@cache
def all_places(number: int) -> list[tuple[Any, ...]]:
    return list(places(specs()[number]))


Damage = tuple[tuple[Any, ...], str, Any]


@st.composite
def damages(draw: st.DrawFn) -> tuple[int, list[Damage]]:
    """The number of a spec, and one to three of its values to replace, to remove or to rename."""
    number = draw(st.integers(0, len(specs()) - 1))
    damage = st.one_of(
        st.tuples(st.sampled_from(all_places(number)), st.just("replace"), st.sampled_from(_VALUES)),
        st.tuples(st.sampled_from(all_places(number)), st.just("remove"), st.none()),
        st.tuples(st.sampled_from(all_places(number)), st.just("rename"), st.sampled_from(_NAMES)),
    )
    return number, draw(st.lists(damage, min_size=1, max_size=3))


def damaged(number: int, edits: list[Damage]) -> list[Any]:
    """The documents of a spec after some damages; one whose place an earlier one removed is left out."""
    documents = copy.deepcopy(specs()[number])
    for (*path, last), kind, value in edits:
        with suppress(KeyError, IndexError, TypeError):
            holder: Any = documents
            for key in path:
                holder = holder[key]
            if kind == "replace":
                holder[last] = value
            elif kind == "remove":
                del holder[last]
            elif isinstance(holder, dict):
                holder[value] = holder.pop(last)
    return documents


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
@max_examples(400)  # 1,200 for each platform in a round of `make fuzz`
@given(damages())
def test_lint_of_a_damaged_spec_ends(platform: str, damage: tuple[int, list[Damage]]) -> None:
    documents = damaged(*damage)
    if not documents or not isinstance(documents[0], dict):
        return
    spec = spec_of(documents)
    with suppress(UsageError):
        for finding in lint_spec(spec, platform, backend="2.15" if platform == "kubeflow" else ""):
            assert finding.text
        backend.least(parse(spec, "kubeflow")[0])
