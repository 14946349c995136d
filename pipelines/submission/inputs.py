"""What our pipelines' parameters are on a platform: what follows from the Problem file, the data and the root."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.components.train.request import Request
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.problem import copies, places
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.steps import workspace

# The options of the command by the parameters that follow from them, for a message about one that is missing.
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
# What a platform's tasks read by themselves, wherever they run.
_REMOTE = re.compile(r"[a-z0-9]+://")
# What Vertex AI's registry finds a model by: its name, a version or an alias; or the bucket's folder in every task.
_REGISTERED = re.compile(r"projects/[^/]+/locations/[^/]+/models/[^/]+\Z|[A-Za-z0-9][A-Za-z0-9-]*\Z|/gcs/")


@dataclass(frozen=True)
class Inputs:
    """What the user gives.

    Attributes:
        problem: the Problem file, here or on gs://.
        data: the rows, as the tasks will read them.
        root: where the run's records are kept, as the tasks will reach it.
        data_version: of data that cannot be read from here; measured if "".
        data_later: whether it is left to each run to measure the data that is there then.
        champion, baseline: as `headrace run static` takes them, on gs:// or as the tasks see them; on Vertex AI a
            champion may be a name in the Model Registry.
        csv: how CSV is written, as NAME=VALUE.
        given: parameters that are given as they are, which win.
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
    """Where a run's model goes.

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
class Filled:
    """The parameters of a run.

    Attributes:
        values: by name; all that the pipeline declares and that is known.
        name: the problem's, or "" without one.
        upload: what has to be written before the run starts, by URI: the Problem file and the modules that it imports.
    """

    values: dict[str, Any]
    name: str
    upload: Mapping[str, bytes]


def fill(inputs: Inputs, target: Target, definitions: Mapping[str, Any]) -> Filled:
    """The parameters that follow from the inputs, of those that a pipeline declares.

    Args:
        inputs: what the user gives.
        target: where the model goes.
        definitions: the pipeline's parameters.

    Raises:
        UserError: the Problem file or the data is wrong, or is where the platform does not reach it.
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
            # Batch scoring reads no Problem file: it is told the problem's name.
            known["problem"] = file.problem.name
        else:
            known["problem"], upload = _problem_place(inputs, file)
        known |= file.digests
        if inputs.root:
            known["registry"], endpoint = _destinations(inputs.root, target, file.problem.name)
            # Where a pipeline can do without one, it is no place that its model goes to.
            if "defaultValue" not in definitions.get("endpoint", {}):
                known["endpoint"] = endpoint
            known["destination"] = workspace.predictions_uri(inputs.root, file.problem.name)
    if inputs.data and "data_version" in definitions:
        measured = "" if inputs.data_version or inputs.data_later else _measured(inputs, file)
        known["data_version"] = inputs.data_version or measured
    if inputs.baseline and "baseline_version" in definitions:
        known["baseline_version"] = _baseline_version(inputs.baseline)
    # No version of the data is what lets the run measure it; other parameters have defaults for what is not given.
    values = {n: value for n, value in known.items() if n in definitions and (value or n == "data_version")}
    unused = [name for name in ("data", "problem", "champion", "baseline", "csv") if known.get(name)]
    unused = [name for name in unused if name not in definitions]
    if unused:
        raise UsageError(
            "the pipeline has no such input",
            where=", ".join(f"--{name}" for name in unused),
            expected=f"one of its parameters: {', '.join(sorted(definitions)) or 'none'}",
        )
    if "problem_digest" in definitions and "training" in inputs.given:
        request = Request.from_json(inputs.given["training"])
        if file is not None:
            request.check(file.problem)
    return Filled({**values, **inputs.given}, "" if file is None else file.problem.name, upload)


def pipeline_root(root: str, pipeline: Mapping[str, Any], platform: str) -> str:
    """Where the platform keeps the tasks' outputs; "" for its own place.

    Raises:
        UsageError: Vertex AI is told of no bucket.
    """
    place = storage.join(root, "pipeline") if _REMOTE.match(root) else ""
    place = place or str(pipeline.get("defaultPipelineRoot", ""))
    if platform == "vertex" and not place.startswith("gs://"):
        raise UsageError(
            "Vertex AI needs a bucket for the tasks' outputs",
            where="--root",
            expected="gs://BUCKET/FOLDER, in the region of --region",
            received=repr(root),
        )
    return place


def _check_reach(inputs: Inputs, target: Target) -> None:
    """Refuses what only this machine can read, before it is read."""
    for option in ("data", "root", "champion", "baseline"):
        value = getattr(inputs, option)
        if option == "champion" and target.platform == "vertex" and _REGISTERED.match(value):
            continue
        local = bool(value) and not _REMOTE.match(value)
        if local and target.platform == "vertex":
            raise UsageError(
                "Vertex AI does not reach it", where=f"--{option}", expected="gs://...", received=repr(value)
            )
        if local and not posixpath.isabs(value):
            raise UsageError(
                "a path of the cluster is absolute",
                where=f"--{option}",
                expected="a path below the claim's mount, or in an object store",
                received=repr(value),
            )


def _problem_place(inputs: Inputs, file: ProblemFile) -> tuple[str, Mapping[str, bytes]]:
    """Where the tasks find the Problem file; one that is here, or imports what is here, goes below the root."""
    if "problem" in inputs.given or (storage.is_remote(inputs.problem) and file.is_together):
        return inputs.problem, {}
    if not storage.is_remote(inputs.root):
        raise UsageError(
            "the Problem file cannot be put where the tasks find it",
            where="--root",
            expected="gs://...; or --parameter problem=PATH, where the tasks see the same file",
            received=repr(inputs.root),
        )
    return places.template(inputs.root), copies.contents(file, inputs.root)


def _destinations(root: str, target: Target, problem: str) -> tuple[str, str]:
    """The registry and the endpoint."""
    if target.platform == "vertex":
        from headrace.pipelines.platforms.vertex import resource_name
        from headrace.pipelines.platforms.vertex_options import VertexOptions

        options = VertexOptions(project=target.project, location=target.location)
        return resource_name(options, "models", problem), resource_name(options, "endpoints", problem)
    name = problem.replace("_", "-").rstrip("-")
    return workspace.registry_uri(root, problem), f"kserve://{target.namespace or 'kubeflow'}/{name}"


def _measured(inputs: Inputs, file: ProblemFile | None) -> str:
    """The data's version, after a look at its first rows where a Problem says what they are."""
    from headrace.components.preprocess.check import check_data
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version, list_paths

    if not inputs.data.startswith(("gs://", "bigquery://")) and not Path(inputs.data).exists():
        raise UsageError(
            "the data's version cannot be measured from here",
            where="--data",
            expected="gs://..., bigquery://... or a path that is here too",
            received=inputs.data,
            fix="Give --data-version: any text that is another one when the data is, such as its date",
        )
    dialect = CsvDialect.parse(tuple(inputs.csv))
    files = list_paths(inputs.data) if file is None else check_data(file.problem, inputs.data, dialect)
    return data_version(files, dialect)


def _baseline_version(baseline: str) -> str:
    from headrace.components.preprocess.limits import baseline_version

    return baseline_version(baseline)
