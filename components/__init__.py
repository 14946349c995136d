"""Components of Kubeflow and Vertex pipelines, to be called in a `@dsl.pipeline`, together with any other components.

`register` and `deploy` are for a registry folder and for an endpoint on one machine. The components for other platforms
have the same names in their own modules, such as `headrace.components.deploy.vertex.component`. Importing this package
imports no heavy dependency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.core.exports import export

if TYPE_CHECKING:
    from headrace.components.deploy.local.component import deploy
    from headrace.components.evaluate.component import evaluate
    from headrace.components.ingest.component import ingest
    from headrace.components.monitor.component import monitor
    from headrace.components.preprocess.component import preprocess
    from headrace.components.registry.folder.component import register
    from headrace.components.rollback.component import rollback
    from headrace.components.score.component import check, publish, score
    from headrace.components.summarize.component import summarize
    from headrace.components.tick.component import tick
    from headrace.components.train.component import train
    from headrace.components.tune.component import tune

__all__ = [
    "check",
    "deploy",
    "evaluate",
    "ingest",
    "monitor",
    "preprocess",
    "publish",
    "register",
    "rollback",
    "score",
    "summarize",
    "tick",
    "train",
    "tune",
]

export(
    __name__,
    {
        "check": "headrace.components.score.component:check",
        "deploy": "headrace.components.deploy.local.component:deploy",
        "evaluate": "headrace.components.evaluate.component:evaluate",
        "ingest": "headrace.components.ingest.component:ingest",
        "monitor": "headrace.components.monitor.component:monitor",
        "preprocess": "headrace.components.preprocess.component:preprocess",
        "publish": "headrace.components.score.component:publish",
        "register": "headrace.components.registry.folder.component:register",
        "rollback": "headrace.components.rollback.component:rollback",
        "score": "headrace.components.score.component:score",
        "summarize": "headrace.components.summarize.component:summarize",
        "tick": "headrace.components.tick.component:tick",
        "train": "headrace.components.train.component:train",
        "tune": "headrace.components.tune.component:tune",
    },
)
