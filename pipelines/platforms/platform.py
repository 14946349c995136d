"""What a pipeline's definition asks of the platform that it is compiled for."""

from typing import Any, Protocol


class Platform(Protocol):
    """A place where compiled pipelines run."""

    name: str

    def place(self, task: Any) -> Any:
        """Gives a `kfp.dsl.PipelineTask` its image, and what the platform lets it ask for; returns the same task."""
