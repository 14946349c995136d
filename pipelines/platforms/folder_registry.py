"""Folder registry tasks: shared by platforms whose registry is a folder, where a model is a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headrace.core.errors import HeadraceError


class _Places(Protocol):
    @property
    def decided_by_canary(self) -> bool: ...

    def configure_task(self, task: Any, *, cache: bool = True) -> Any: ...


class FolderRegistry:
    """Methods of `platform.Platform`, for a class that places tasks."""

    approach = ""
    resolves = True
    doubts: Sequence[HeadraceError] = ()

    def resolve(self: _Places, **inputs: Any) -> Mapping[str, Any]:
        """Passes models unchanged, as a folder has no names for them. A task measures the data."""
        from headrace.components.registry.folder.component import resolve

        wanted = {name: value for name, value in inputs.items() if name in resolve.component_spec.inputs}
        outputs = self.configure_task(resolve(**wanted), cache=False).outputs
        return {
            "champion": inputs["champion"],
            "training": inputs["training"],
            "data_version": outputs["data_version"],
            "attempt": outputs["attempt"],
        }

    def champion(self: _Places, **inputs: Any) -> Any:
        """Looks up the champion in the folder."""
        from headrace.components.registry.folder.component import champion

        return self.configure_task(champion(**inputs), cache=False).outputs

    def score(self: _Places, *, champion: Any, **inputs: Any) -> Any:
        """Scores in one task."""
        from headrace.components.score.component import score

        return self.configure_task(score(model=champion["model"], **inputs))

    def register(
        self: _Places,
        *,
        registry: Any,
        root: Any,
        model: Any,
        evaluation: Any,
        claim: Any = None,
        promote: bool = True,
    ) -> Any:
        """Registers a version in the folder; with a claim, as a task of dynamic training.

        Where a canary decides about it, the champion stays.
        """
        from headrace.components.registry.folder.component import register

        claimed: dict[str, Any] = {}
        if claim is not None:
            claimed = {"claim": claim, "promote": promote}
        elif self.decided_by_canary:
            claimed = {"promote": False}
        task = register(registry=registry, root=root, model=model, evaluation=evaluation, **claimed)
        return self.configure_task(task, cache=False).output
