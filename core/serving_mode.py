"""Serving mode: whether answers come from the model, from a table of predictions, or from the table first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from headrace.core.checks import check_count, check_word
from headrace.core.errors import ProblemError

Mode = Literal["dynamic", "static", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)
# What computes a model's predictions.
Engine = Literal["tensorflow", "litert"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
# A server looks for a new table of its version this often, in seconds: one is published after its model is deployed.
FOLLOW_S = 30


@dataclass(frozen=True)
class Serving:
    """How models are served where no option of the server says otherwise.

    Args:
        mode: "dynamic" answers with the model, "static" from a table of predictions by key, "hybrid" from the table
            first and else with the model.
        table: folder of published prediction tables, for static and hybrid: an absolute path, gs:// or s3://, as it is
            read wherever the model is served; "" where an option of the server names it.
        cache_rows: maximum number of the model's answers that hybrid mode caches.

    Raises:
        ProblemError: a value is not valid, or they do not go together.
    """

    mode: Mode = "dynamic"
    table: str = ""
    cache_rows: int = 0

    def __post_init__(self) -> None:
        check_word(self.mode, "the serving mode", MODES, error=ProblemError)
        check_count(self.cache_rows, "cache_rows of serving", minimum=0, error=ProblemError)
        if not isinstance(self.table, str) or (self.table and not self.table.startswith(("/", "gs://", "s3://"))):
            raise ProblemError(
                "the table of serving is wrong",
                expected="an absolute path, gs://... or s3://..., as it is read wherever the model is served",
                received=repr(self.table),
            )
        if self.mode == "dynamic" and self.table:
            raise ProblemError(
                "dynamic serving has no table", expected='mode="static" or mode="hybrid"', received=self.table
            )
        if self.cache_rows and self.mode != "hybrid":
            raise ProblemError(
                "a cache belongs to hybrid serving", expected='mode="hybrid"', received=f"mode={self.mode!r}"
            )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that give a server in a container this mode."""
        table = {"HEADRACE_TABLE": self.table, "HEADRACE_FOLLOW": str(FOLLOW_S)} if self.table else {}
        cache = {"HEADRACE_CACHE": str(self.cache_rows)} if self.cache_rows else {}
        return {"HEADRACE_MODE": self.mode, **table, **cache}


def serving_of(fields: Mapping[str, Any]) -> Serving | None:
    """A Serving from an input of a task, whose numbers protobuf made floats; None for {}.

    Raises:
        ProblemError: a field does not exist, or as of `Serving`.
    """
    if not fields:
        return None
    try:
        values: dict[str, Any] = {n: int(value) if isinstance(value, float) else value for n, value in fields.items()}
        return Serving(**values)
    except TypeError as error:
        raise ProblemError("the serving mode is not valid", where="serving", received=str(error)) from error
