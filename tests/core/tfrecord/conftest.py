"""What the tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.core.tfrecord import native


@pytest.fixture(scope="module", params=["compiled", "not compiled"])
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that uses it runs with what was compiled from C, and without it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "not compiled":
            patch.setattr(native, "library", lambda: None)
        elif native.library() is None:
            pytest.skip(
                "what is written in C is not built: install the package where there is a C compiler, such as gcc"
            )
        yield
