"""Pipeline parameters on a platform, derived from the Problem file, the data and the root."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.components.train.request import TrainingRequest
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.problem import copies, places
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.steps import workspace

# The command's options by the parameters derived from them, for a message about a missing one.
OPTIONS = {
    "problem": "--problem FILE",
    "problem_digest": "--problem FILE",
    "schema_digest": "--problem FILE",
    "training_digest": "--problem FILE",
    "tuning_digest": "--problem FILE",
    "evaluation_digest": "--problem FILE",
    "data": "--data PATH",
    "data_version": "--data PATH",
    "root": "--root PATH",
    "registry": "--problem FILE and --root PATH",
    "destination": "--problem FILE and --root PATH",
    "endpoint": "--problem FILE and --root PATH",
}
# URIs that tasks on a platform can read.
_REMOTE = re.compile(r"[a-z0-9]+://")
# A model in Vertex AI's registry: a name, a version or an alias; or the mount of buckets in every task.
_REGISTERED = re.compile(r"projects/[^/]+/locations/[^/]+/models/[^/]+\Z|[A-Za-z0-9][A-Za-z0-9-]*\Z|/gcs/")


@dataclass(frozen=True)
class Inputs:
    """Inputs of the user.

    Attributes:
        problem: the Problem file, local or on gs://.
        data: the rows, as paths or URIs of the tasks.
        root: pipeline root, as a path or URI of the tasks.
        data_version: of data that cannot be read from here; measured if "".
        data_later: whether each run measures the data that exists then.
        champion, baseline: as of `headrace run static`, on gs:// or as paths of the tasks; on Vertex AI a champion
            may be a name in the Model Registry.
        csv: dialect of CSV, as NAME=VALUE.
        given: explicit parameters, which take precedence.
    """

    problem: str = ""
    data: str = ""
    root: str = ""
    data_version: str = ""
    data_later: bool = False
    champion: str = ""
    baseline: str = ""
    csv: Sequence[str] = ()
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """Platform and location of a run.

    Attributes:
        platform: "vertex" or "kubeflow".
        project, location: of Vertex AI.
        namespace: of Kubernetes.
    """

    platform: str
    project: str = ""
    location: str = ""
    namespace: str = ""


@dataclass(frozen=True)
class RunParameters:
    """The parameters of a run.

    Attributes:
        values: by name; all known parameters that the pipeline declares.
        name: of the problem, or "".
        upload: files to write before the run starts, by URI: the Problem file and the modules that it imports.
    """

    values: dict[str, Any]
    name: str
    upload: Mapping[str, bytes]


def fill(inputs: Inputs, target: Target, definitions: Mapping[str, Any]) -> RunParameters:
    """Derives the parameters that a pipeline declares from the inputs.

    Args:
        inputs: of the user.
        target: platform and location.
        definitions: the pipeline's parameters.

    Raises:
        UserError: the Problem file or the data is wrong, or the platform cannot read it.
    """
    _check_reach(inputs, target)
    known: dict[str, Any] = {
        "root": inputs.root,
        "data": inputs.data,
        "champion": inputs.champion,
        "baseline": inputs.baseline,
        "csv": json.dumps(list(inputs.csv)) if inputs.csv else "",
    }
    file = load_problem(inputs.problem) if inputs.problem else None
    upload: Mapping[str, bytes] = {}
    if file is not None:
        if "destination" in definitions:
            # Batch scoring reads no Problem file, and has the problem's name as a parameter.
            known["problem"] = file.problem.name
        else:
            known["problem"], upload = _problem_place(inputs, file)
        known |= file.digests
        if inputs.root:
            known["registry"], endpoint = destinations(inputs.root, target, file.problem.name)
            # A registry that is optional for a pipeline is not the target of its model.
            if "defaultValue" not in definitions.get("endpoint", {}):
                known["endpoint"] = endpoint
            known["destination"] = workspace.predictions_uri(inputs.root, file.problem.name)
    if inputs.data and "data_version" in definitions:
        measured = "" if inputs.data_version or inputs.data_later else _measured(inputs, file)
        known["data_version"] = inputs.data_version or measured
    if inputs.baseline and "baseline_version" in definitions:
        known["baseline_version"] = _baseline_version(inputs.baseline)
    # Without a data version the run measures the data; other omitted parameters have defaults.
    values = {n: value for n, value in known.items() if n in definitions and (value or n == "data_version")}
    unused = [name for name in ("data", "problem", "champion", "baseline", "csv") if known.get(name)]
    unused = [name for name in unused if name not in definitions]
    if unused:
        raise UsageError(
            "the pipeline does not have this input",
            where=", ".join(f"--{name}" for name in unused),
            expected=f"one of its parameters: {', '.join(sorted(definitions)) or 'none'}",
        )
    if "problem_digest" in definitions and "training" in inputs.given:
        request = TrainingRequest.from_json(inputs.given["training"])
        if file is not None:
            request.check(file.problem)
    return RunParameters({**values, **inputs.given}, "" if file is None else file.problem.name, upload)


def pipeline_root(root: str, pipeline: Mapping[str, Any], platform: str) -> str:
    """Where the platform stores the tasks' outputs; "" for its default.

    Raises:
        UsageError: no bucket is given for Vertex AI.
    """
    place = storage.join(root, "pipeline") if _REMOTE.match(root) else ""
    place = place or str(pipeline.get("defaultPipelineRoot", ""))
    if platform == "vertex" and not place.startswith("gs://"):
        raise UsageError(
            "Vertex AI requires a bucket for the tasks' outputs",
            where="--root",
            expected="gs://BUCKET/FOLDER, in the region of --region",
            received=repr(root),
        )
    return place


def _check_reach(inputs: Inputs, target: Target) -> None:
    """Refuses inputs that only this machine can read, before they are read."""
    for option in ("data", "root", "champion", "baseline"):
        value = getattr(inputs, option)
        if option == "champion" and target.platform == "vertex" and _REGISTERED.match(value):
            continue
        local = bool(value) and not _REMOTE.match(value)
        if local and target.platform == "vertex":
            raise UsageError(
                "Vertex AI cannot read the path", where=f"--{option}", expected="gs://...", received=repr(value)
            )
        if local and not posixpath.isabs(value):
            raise UsageError(
                "a path of the cluster must be absolute",
                where=f"--{option}",
                expected="a path below the claim's mount, or in an object store",
                received=repr(value),
            )


def _problem_place(inputs: Inputs, file: ProblemFile) -> tuple[str, Mapping[str, bytes]]:
    """URI of the Problem file for the tasks; a local one, or one with local imports, is copied below the root."""
    if "problem" in inputs.given or (storage.is_remote(inputs.problem) and file.is_together):
        return inputs.problem, {}
    if not storage.is_remote(inputs.root):
        raise UsageError(
            "the Problem file cannot be copied to a place that the tasks can read",
            where="--root",
            expected="gs://... or s3://...; or --parameter problem=PATH, where the tasks can read the same file",
            received=repr(inputs.root),
        )
    return places.template(inputs.root), copies.contents(file, inputs.root)


def destinations(root: str, target: Target, problem: str) -> tuple[str, str]:
    """Registry and endpoint of a problem on a platform."""
    if target.platform == "vertex":
        from headrace.pipelines.platforms.vertex import resource_name
        from headrace.pipelines.platforms.vertex_options import VertexOptions

        options = VertexOptions(project=target.project, location=target.location)
        return resource_name(options, "models", problem), resource_name(options, "endpoints", problem)
    name = problem.replace("_", "-").rstrip("-")
    return workspace.registry_uri(root, problem), f"kserve://{target.namespace or 'kubeflow'}/{name}"


def _measured(inputs: Inputs, file: ProblemFile | None) -> str:
    """Measures the data's version; with a Problem, the first rows are checked too."""
    from headrace.components.preprocess.check import check_data
    from headrace.core.rows.prepare import Prepare
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version, list_paths

    if not (storage.is_remote(inputs.data) or inputs.data.startswith("bigquery://")) and not Path(inputs.data).exists():
        raise UsageError(
            "the data's version cannot be measured from here",
            where="--data",
            expected="gs://..., s3://..., bigquery://... or a path that exists here too",
            received=inputs.data,
            fix="Set --data-version: any text that changes with the data, such as its date",
        )
    dialect = CsvDialect.parse(tuple(inputs.csv))
    files = (
        list_paths(inputs.data) if file is None else check_data(file.problem, inputs.data, dialect, Prepare.of(file))
    )
    return data_version(files, dialect)


def _baseline_version(baseline: str) -> str:
    from headrace.components.preprocess.limits import baseline_version

    return baseline_version(baseline)
