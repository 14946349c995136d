"""Run section of the report: the steps and their times, the endpoint, and the provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from headrace.pipelines.report import formats
from headrace.pipelines.report.artifacts import Artifacts
from headrace.pipelines.report.flow import Box, chain, flow
from headrace.pipelines.report.values import items, mapping, number, objects, text

STEPS = ("preprocess", "train", "evaluate", "register", "deploy")
_RAN = ("succeeded", "cached", "failed")


@dataclass(frozen=True)
class StepRow:
    """A step's row in the table of times; `import_share` and `work_share` are percentages of the longest step."""

    name: str
    status: str
    time: str
    importing: str
    import_share: float
    work_share: float
    memory: str
    memory_share: float
    identity: str


def step_rows(artifacts: Artifacts) -> list[StepRow]:
    """The steps that ran, with times and memory relative to the maximum."""
    ran = [s for s in artifacts.steps.values() if s.get("status") in _RAN]
    longest = max((number(s.get("seconds")) or 0.0 for s in ran), default=0.0) or 1.0
    largest = max((number(s.get("peak_memory_bytes")) or 0.0 for s in ran), default=0.0) or 1.0
    rows = []
    for step in ran:
        seconds, memory = number(step.get("seconds")), number(step.get("peak_memory_bytes"))
        imports = min(number(step.get("import_seconds")) or 0.0, seconds or 0.0)
        rows.append(
            StepRow(
                name=str(step.get("step")),
                status=str(step.get("status")),
                time=formats.seconds(seconds),
                importing=formats.seconds(imports),
                import_share=100 * imports / longest,
                work_share=100 * ((seconds or 0.0) - imports) / longest,
                memory=formats.size(memory),
                memory_share=100 * (memory or 0.0) / largest,
                identity=text(step.get("identity")) or formats.ABSENT,
            )
        )
    return rows


def pipeline_picture(artifacts: Artifacts) -> Markup:
    """The diagram of the pipeline with the result of each step."""
    if artifacts.counted == "score":
        return chain([_box(name, step, artifacts) for name, step in artifacts.steps.items()])
    evaluation = artifacts.evaluation
    decided = evaluation.get("blessed")
    if decided is None:
        decided = mapping(mapping(artifacts.steps.get("evaluate")).get("result")).get("blessed")
    gate = mapping(evaluation.get("gate"))
    if not gate:
        condition = "" if decided is None else "ungated: always yes"
    else:
        condition = formats.short_name(str(gate.get("metric"))) + bounds_text(gate)
    names = ["tune" if name == "train" and "tune" in artifacts.steps else name for name in STEPS]
    boxes = [_box(name, mapping(artifacts.steps.get(name)), artifacts) for name in names]
    return flow(boxes, decided if isinstance(decided, bool) else None, condition)


def bounds_text(gate: Mapping[str, Any]) -> str:
    """The absolute bounds of a gate, such as " ≤ 1.2"."""
    parts = [(sign, number(gate.get(name))) for sign, name in (("≤", "at_most"), ("≥", "at_least"))]
    bounds = "".join(f" {sign} {formats.plain(bound)}" for sign, bound in parts if bound is not None)
    return bounds + (" vs baseline" if gate.get("beats_baseline") is True else "")


def _box(name: str, step: Mapping[str, Any], artifacts: Artifacts) -> Box:
    status = str(step.get("status") or "skipped")
    time = {"skipped": "not run", "cached": "cached"}.get(status) or formats.seconds(number(step.get("seconds")))
    facts = {
        "preprocess": _rows_fact,
        "train": _train_fact,
        "tune": _tune_fact,
        "evaluate": _evaluate_fact,
        "score": _rows_fact,
        "check": _check_fact,
    }
    fact = ""
    if status in ("succeeded", "cached"):
        fact = facts[name](step, artifacts) if name in facts else _published_fact(step)
    return Box(name, status, time, fact)


def _rows_fact(step: Mapping[str, Any], artifacts: Artifacts) -> str:
    rows = number(artifacts.manifest.get("rows_out")) or number(mapping(step.get("result")).get("rows_out"))
    return "" if rows is None else f"{formats.count(rows)} rows out"


def _train_fact(step: Mapping[str, Any], artifacts: Artifacts) -> str:
    known = artifacts.training or mapping(step.get("result"))
    epochs, best = number(known.get("epochs")), number(known.get("best_epoch"))
    if epochs is None:
        return ""
    return f"{formats.count(epochs)} epochs" + ("" if best is None else f", best {formats.count(best)}")


def _tune_fact(step: Mapping[str, Any], _: Artifacts) -> str:
    result = mapping(step.get("result"))
    counts = [number(count) or 0 for count in mapping(result.get("trials")).values()]
    return f"{formats.count(sum(counts))} trials, best {formats.count(number(result.get('trial')))}" if counts else ""


def _evaluate_fact(step: Mapping[str, Any], artifacts: Artifacts) -> str:
    known = artifacts.evaluation or mapping(step.get("result"))
    metrics = mapping(known.get("metrics"))
    metric = text(mapping(known.get("gate")).get("metric")) or next(iter(metrics), None)
    value = number(mapping(metrics.get(metric)).get("value")) if metric is not None else None
    return "" if metric is None or value is None else f"{formats.short_name(metric)} {formats.significant(value)}"


def _check_fact(step: Mapping[str, Any], _: Artifacts) -> str:
    apart = number(mapping(step.get("result")).get("divergence"))
    return "" if apart is None else f"drift {formats.significant(apart, 3)}"


def _published_fact(step: Mapping[str, Any]) -> str:
    result = mapping(step.get("result"))
    url = text(result.get("url")) or ""
    return url.partition("://")[2].split("/")[0] or text(result.get("version")) or ""


@dataclass(frozen=True)
class EndpointView:
    """How to call the endpoint."""

    version: str
    previous: str | None
    url: str | None
    curl: str | None


def endpoint(artifacts: Artifacts) -> EndpointView | None:
    """The endpoint, if the run deployed to one."""
    deployed = mapping(mapping(artifacts.steps.get("deploy")).get("result"))
    version = text(deployed.get("version"))
    if version is None:
        return None
    previous = text(deployed.get("previous"))
    return EndpointView(version, previous, text(deployed.get("url")), text(deployed.get("curl")))


def provenance(summary: Mapping[str, Any], artifacts: Artifacts) -> list[tuple[str, list[tuple[str, str]]]]:
    """Provenance of the run as (heading, [(name, value)])."""
    training, manifest = artifacts.training, artifacts.manifest
    strategy = mapping(training.get("strategy"))
    outputs = {kind: uri for step in artifacts.steps.values() for kind, uri in mapping(step.get("outputs")).items()}
    groups: list[tuple[str, list[tuple[str, Any]]]] = [
        (
            "Run",
            [
                ("Run", summary.get("run_id")),
                ("Pipeline", summary.get("pipeline")),
                ("Headrace", summary.get("release")),
                ("Root", summary.get("root")),
                *((formats.name(kind), uri) for kind, uri in outputs.items()),
                *(("Version of " + k, v) for k, v in sorted(mapping(summary.get("versions")).items())),
            ],
        ),
        (
            "Data and problem",
            [
                ("Data", summary.get("data")),
                ("Baseline", summary.get("baseline")),
                ("CSV", " ".join(map(str, items(summary.get("csv")))) or None),
                ("Data version", manifest.get("data_version") or summary.get("data_version")),
                ("Problem", summary.get("problem")),
                ("Problem file", summary.get("problem_file")),
                ("Problem digest", summary.get("problem_digest")),
                *(
                    (f"Source {s.get('file')}", f"{_count(s.get('rows'))} rows, {formats.size(number(s.get('bytes')))}")
                    for s in objects(manifest.get("source"))[:8]
                ),
            ],
        ),
        (
            "Training",
            [
                ("Model version", training.get("model_version")),
                ("Seed", training.get("seed")),
                ("Strategy", strategy.get("name")),
                ("Why", strategy.get("why")),
                *(
                    (formats.name(k), v if isinstance(v, str) else json.dumps(v))
                    for k, v in mapping(training.get("hardware")).items()
                ),
                *(("Version of " + k, v) for k, v in sorted(mapping(training.get("versions")).items())),
            ],
        ),
        ("Identities", [(name, step.get("identity")) for name, step in artifacts.steps.items()]),
    ]
    shown = [(heading, [(n, text(v)) for n, v in lines]) for heading, lines in groups]
    return [(h, kept) for h, lines in shown if (kept := [(n, v) for n, v in lines if v is not None])]


def _count(value: object) -> str:
    return formats.count(number(value))
