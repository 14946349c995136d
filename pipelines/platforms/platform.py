"""What a pipeline's definition asks of the platform that it is compiled for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Platform(Protocol):
    """A place where compiled pipelines run. Definitions read the same for all of them.

    What `registered` and the tasks are, the platform alone knows: a definition hands them on.
    """

    name: str
    # The approach of batch scoring, where the platform's options settle it when a pipeline is compiled; else "".
    approach: str
    # Whether `resolve` is a task of its own.
    resolves: bool

    def component(self, component: Any) -> Any:
        """A `kfp` component in the platform's own form: what it is called with, and its outputs, stay."""

    def place(self, task: Any, *, cache: bool = True) -> Any:
        """Gives a task its image, its machine, retries, labels, and whether it may be taken from the cache.

        Which ones, follows from the name of its component. A task that is not of headrace is left as it is.

        Returns:
            The same task.
        """

    def tune(
        self,
        *,
        problem: Any,
        tuning_digest: Any,
        root: Any,
        examples: Any,
        trials: Any,
        parallel: Any,
        training: Any,
        attempt: Any,
    ) -> Any:
        """Tasks that search for better parameters of training; what comes back is the best trial's Model."""

    def beam(self) -> str:
        """The Beam runner and its options, as JSON for the components that take `runner`; "" for the local one."""

    def resolve(
        self,
        *,
        registry: Any,
        root: Any,
        champion: Any,
        training: Any,
        data: Any,
        data_version: Any,
        csv: Any,
        cache: Any,
    ) -> Mapping[str, Any]:
        """What the inputs of a training mean now: champion, training, data_version and attempt.

        A task that is never cached measures data without a version, and finds models that are given by names of the
        platform's registry. `attempt` is an input of every later task that may be cached.
        """

    def champion(self, **given: Any) -> Any:
        """Tasks that find the model in use; what comes back is what `score` takes, with `data_version` and `attempt`.

        Args:
            given: the inputs of the component `champion`.
        """

    def score(self, *, champion: Any, **asked: Any) -> Any:
        """Tasks that score rows with a model that `champion` found.

        Args:
            champion: the model.
            asked: the other inputs of the component `score`.

        Returns:
            The task that has the output `predictions`.
        """

    def register(self, *, registry: Any, root: Any, model: Any, evaluation: Any) -> Any:
        """Tasks that keep a blessed model in the registry; what comes back is what `deploy` takes."""

    def deploy(self, *, registered: Any, endpoint: Any, root: Any) -> Any:
        """Tasks that put a registered model behind the endpoint."""
