"""Platform interface: the tasks and settings that a platform provides to a pipeline's definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headrace.core.errors import HeadraceError


class Platform(Protocol):
    """A platform for compiled pipelines. Definitions are the same for all platforms.

    The values of `registered` and the tasks are specific to the platform: a definition only passes them on.
    """

    name: str
    # Execution mode of batch scoring, if the platform's options decide it at compile time; else "".
    approach: str
    # Whether `resolve` is a task of its own.
    resolves: bool

    @property
    def doubts(self) -> Sequence[HeadraceError]:
        """Options that the platform may refuse: they are not in headrace's tables, and may be newer."""

    def component(self, component: Any) -> Any:
        """Adapts a `kfp` component to the platform; its inputs and outputs do not change."""

    def configure_task(self, task: Any, *, cache: bool = True) -> Any:
        """Sets the image, machine, retries, labels and caching of a task, by the name of its component.

        A task of another package does not change.

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
        """Adds tasks of a hyperparameter search; returns the best trial's Model."""

    def beam(self) -> str:
        """The Beam runner and its options, as JSON for components with the input `runner`; "" for the local runner."""

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
        """Resolves the inputs of a training: champion, training, data_version and attempt.

        A task that is never cached measures data without a version, and looks up models by their names in the
        platform's registry. `attempt` is an input of every later task that may be cached.
        """

    def champion(self, **inputs: Any) -> Any:
        """Adds tasks that look up the champion; returns the input of `score`, with `data_version` and `attempt`.

        Args:
            given: the inputs of the component `champion`.
        """

    def score(self, *, champion: Any, **inputs: Any) -> Any:
        """Adds tasks that score rows with a model from `champion`.

        Args:
            champion: the model.
            asked: the other inputs of the component `score`.

        Returns:
            The task with the output `predictions`.
        """

    def register(self, *, registry: Any, root: Any, model: Any, evaluation: Any) -> Any:
        """Adds tasks that register a blessed model; returns the input of `deploy`."""

    def deploy(self, *, registered: Any, endpoint: Any, root: Any) -> Any:
        """Adds tasks that deploy a registered model to the endpoint."""

    def renew(
        self,
        *,
        registry: Any,
        endpoint: Any,
        root: Any,
        model: Any,
        evaluation: Any,
        claim: Any,
        canary: Any,
        watch_by_ticks: Any,
        log_share: Any,
    ) -> Any:
        """Adds tasks that register a model, deploy it and make it the champion, of a claimed run of dynamic training.

        Args:
            registry, root, model, evaluation: as of `register`.
            endpoint: as of `deploy`.
            claim: output of the component `claim`, which every task with an effect checks.
            canary, watch_by_ticks, log_share: as `canary`, `by_ticks` and `log_share` of the component
                `rollout.deploy`. At a service, the steps of a canary run in ticks.

        Returns:
            The last task.
        """
