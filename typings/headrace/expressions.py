"""Expressions for derived columns: `from headrace.expressions import col, hour, log1p`, for `Problem(derive={...})`."""

from headrace.core.expressions.functions import *  # noqa: F403 - the names are listed there, once
from headrace.core.expressions.functions import __all__ as __all__
