"""What platforms have alike whose registry is a folder: the folder names its champion, and a model is a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class _Places(Protocol):
    def place(self, task: Any, *, cache: bool = True) -> Any: ...


class FolderRegistry:
    """Methods of `platform.Platform`, for a class that places tasks."""

    approach = ""
    resolves = True

    def resolve(self: _Places, **given: Any) -> Mapping[str, Any]:
        """Models as they are: a folder has no names for them. A task measures the data."""
        from headrace.components.registry.folder.component import resolve

        wanted = {name: value for name, value in given.items() if name in resolve.component_spec.inputs}
        outputs = self.place(resolve(**wanted), cache=False).outputs
        return {
            "champion": given["champion"],
            "training": given["training"],
            "data_version": outputs["data_version"],
            "attempt": outputs["attempt"],
        }

    def champion(self: _Places, **given: Any) -> Any:
        """What the folder says now."""
        from headrace.components.registry.folder.component import champion

        return self.place(champion(**given), cache=False).outputs

    def score(self: _Places, *, champion: Any, **asked: Any) -> Any:
        """One task."""
        from headrace.components.score.component import score

        return self.place(score(model=champion["model"], **asked))

    def register(self: _Places, *, registry: Any, root: Any, model: Any, evaluation: Any) -> Any:
        """A version in the folder."""
        from headrace.components.registry.folder.component import register

        task = register(registry=registry, root=root, model=model, evaluation=evaluation)
        return self.place(task, cache=False).output
