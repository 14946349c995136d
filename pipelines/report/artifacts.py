"""Artifact reader of the report: any file may be missing, and unreadable files are reported, not raised."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.core import storage
from headrace.core.errors import HeadraceError
from headrace.pipelines.report.values import items, mapping, objects, text

# Maximum quarantined rows on the page; the files have all of them.
QUARANTINED_ROWS_SHOWN = 12


@dataclass(frozen=True)
class Artifacts:
    """Content of a run's artifacts; an empty mapping where one is missing.

    Args:
        steps: the records of the steps by name, in the order of the pipeline.
        counted: name of the step that accounts for the rows: preprocess, or score.
        manifest: of that step's output: Examples, or Predictions.
        schema: of the Examples.
        statistics: of the Examples.
        quarantined: the first quarantined rows.
        training: of the Model.
        evaluation: of the Evaluation.
        unreadable: (file, reason) of each output file that cannot be read.
    """

    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counted: str = "preprocess"
    manifest: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)
    quarantined: tuple[Mapping[str, Any], ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    unreadable: tuple[tuple[str, str], ...] = ()


def read(summary: Mapping[str, Any]) -> Artifacts:
    """Reads the artifacts that the steps of `summary` name as their outputs."""
    steps = {str(step.get("step")): step for step in objects(summary.get("steps"))}
    unreadable: list[tuple[str, str]] = []

    def read_file(step: str, output: str, file: str) -> Mapping[str, Any]:
        uri = text(mapping(mapping(steps.get(step)).get("outputs")).get(output))
        if uri is None:
            return {}
        try:
            return mapping(storage.read_json(storage.join(uri, file)))
        except (HeadraceError, OSError) as error:
            unreadable.append((storage.join(uri, file), str(error)))
            return {}

    counted, output = ("score", "predictions") if "score" in steps else ("preprocess", "examples")
    manifest = read_file(counted, output, "manifest.json")
    made = text(mapping(mapping(steps.get(counted)).get("outputs")).get(output))
    quarantined: list[Mapping[str, Any]] = []
    for file in items(mapping(manifest.get("quarantine")).get("files")):
        if made is not None and len(quarantined) < QUARANTINED_ROWS_SHOWN:
            try:
                quarantined += _first_lines(storage.join(made, str(file)))
            except (HeadraceError, OSError, ValueError) as error:
                unreadable.append((storage.join(made, str(file)), str(error)))
    return Artifacts(
        steps=steps,
        counted=counted,
        manifest=manifest,
        schema=read_file("preprocess", "examples", "schema.json"),
        statistics=read_file("preprocess", "examples", "statistics.json"),
        quarantined=tuple(quarantined[:QUARANTINED_ROWS_SHOWN]),
        training=read_file("tune" if "tune" in steps else "train", "model", "training.json"),
        evaluation=read_file("evaluate", "evaluation", "evaluation.json"),
        unreadable=tuple(unreadable),
    )


def _first_lines(uri: str) -> list[Mapping[str, Any]]:
    with storage.local_path(uri).open(encoding="utf-8") as file:
        return [mapping(json.loads(line)) for line in itertools.islice(file, QUARANTINED_ROWS_SHOWN)]
