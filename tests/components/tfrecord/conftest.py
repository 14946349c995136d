"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.components.tfrecord import native


@pytest.fixture(scope="module", params=["compiled", "by columns"])
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that uses it runs with native.c and without it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "by columns":
            patch.setattr(native, "library", lambda: None)
        elif native.library() is None:
            pytest.skip("native.c is not built: install the package where there is a C compiler, such as gcc")
        yield
