"""Parameters of the compiled pipeline of dynamic training, from the settings and the run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.train.request import TrainingRequest
from headrace.core import storage
from headrace.core.ledger.state import LedgerRun
from headrace.pipelines.dynamic.settings import DynamicSettings


def arguments_of(settings: DynamicSettings, run: LedgerRun, started: float) -> dict[str, Any]:
    """The parameters of a run.

    Args:
        settings: settings of the dynamic training.
        run: the run that the ledger names.
        started: start of the run, in seconds since 1970.
    """
    return {
        "name": settings.name,
        "problem": settings.problem,
        **settings.digests,
        "ledger": settings.folder,
        "announced": announced_uri(settings),
        "root": settings.root,
        "registry": settings.registry,
        "endpoint": settings.endpoint,
        "run_id": run.id,
        "started": started,
        "csv": json.dumps(list(settings.csv)) if settings.csv else "",
        "last_spans": settings.last_spans,
        "last_days": settings.last_days,
        "half_life": settings.half_life,
        "withdrawn": list(settings.withdrawn),
        "training": bounded(settings).to_json(),
        "from_scratch_every": settings.from_scratch_every,
        "challenge": settings.challenge.to_json(),
        "canary": {} if settings.canary is None else _within(settings, settings.canary).to_json(),
        "watch_by_ticks": settings.watch_by_ticks,
        "log_share": -1.0 if settings.log_share is None else settings.log_share,
        "deadline_hours": settings.deadline_hours,
        "training_share": settings.training_share,
        "destinations": list(settings.announce),
    }


def announced_uri(settings: DynamicSettings) -> str:
    """URI of the file that stores the last epoch that each destination of model events accepted."""
    return storage.join(settings.folder, "announced.json")


def bounded(settings: DynamicSettings) -> TrainingRequest:
    """The options of the training, with a budget of at most its fraction of the deadline."""
    request = settings.training
    if not settings.deadline_hours:
        return request
    limit = settings.training_share * settings.deadline_hours
    hours = request.options.budget.max_hours
    if hours is not None and hours <= limit:
        return request
    budget = replace(request.options.budget, max_hours=limit)
    return replace(request, options=replace(request.options, budget=budget))


def _within(settings: DynamicSettings, canary: CanarySettings) -> CanarySettings:
    """The settings of the canary, with a deadline within that of the run."""
    if not settings.deadline_hours:
        return canary
    return canary.within((1 - settings.training_share) * settings.deadline_hours * 3600)
