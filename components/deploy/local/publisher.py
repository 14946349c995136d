"""Local deployment: publishes a version, starts its process, checks its golden rows over HTTP, and switches to it.

Every step is under the endpoint's lock. The state is `endpoint.json`, to which an intent is written before its first
effect. A killed process leaves the old or the new state, and the same command completes the change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headrace.components.deploy import registries
from headrace.components.deploy.local import control
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.intent import begin, give_up
from headrace.components.deploy.local.switch import LocalDeployResult, Switch, read_golden
from headrace.components.deploy.serving import ServerOptions
from headrace.components.deploy.state import EndpointState, PendingChange
from headrace.components.registry.origin import origin
from headrace.components.serve.tables.pinned import is_pinned, read_pinned
from headrace.components.serve.tables.place import name_and_version
from headrace.core import storage
from headrace.core.artifacts.kinds import ENDPOINT
from headrace.core.artifacts.model import complete_version
from headrace.core.artifacts.registered import verify
from headrace.core.checks import check_count, check_not_negative, check_positive
from headrace.core.errors import DataError, HeadraceError, UsageError
from headrace.core.ledger.claim import Claim, check
from headrace.core.progress import Progress, silent
from headrace.core.rules.mode import Mode
from headrace.core.saved_model.find import declared_serving
from headrace.core.serving_mode import Serving as ProblemServing
from headrace.core.storage.lock import locked
from headrace.core.storage.output_check import check_output

# The name becomes a part of URLs and an argument of a command.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


@dataclass(frozen=True)
class LocalDeployConfig:
    """Options of a local deployment.

    Args:
        model: path or URI of a Model, or of a folder from `serve.modes.pin`, which serves a table without a model.
        endpoint: the endpoint's folder; created if it does not exist.
        name: the model's name in URLs; None for the endpoint's current name, or at first the Problem's name.
        start_timeout_s: maximum time until the server responds, in seconds, above 0.
        lock_timeout_s: maximum time to wait for another deployment to the same endpoint, in seconds, 0 or more.
        keep_versions: number of stored versions besides those in use; older ones are removed.
        rules: "enforce" refuses rows that break the Model's rules; "warn" predicts and counts those whose values are
            out of bounds or unknown.
        table: folder of published prediction tables, in which the servers look up rows first; "" for no table. None for
            the table that the Model's Problem declares, or else that of the endpoint.
        cache_rows: maximum number of computed predictions that a server with `table` caches; 0 for no cache.
        log_share: fraction of the predicted rows that the servers log in `requests/` of the folder, in [0, 1]; None for
            the endpoint's current fraction, at first 0.
        port: port of the endpoint; 0 for its current port, or at first a free one.
        registry: registry of the Model; "" for the one whose folder contains the Model.
        why: reason for the history.
        claim: claim of the run that deploys; None for a run outside dynamic training. A superseded run changes nothing.

    Raises:
        UsageError: the name, a timeout, the number of versions, the port, the rules or the fraction is not valid, or
            there is a cache without a table.
    """

    model: str
    endpoint: str
    name: str | None = None
    start_timeout_s: float = 120.0
    lock_timeout_s: float = 300.0
    keep_versions: int = 3
    rules: Mode = "enforce"
    table: str | None = None
    cache_rows: int = 0
    log_share: float | None = None
    port: int = 0
    registry: str = ""
    why: str = ""
    claim: Claim | None = None

    def __post_init__(self) -> None:
        ServerOptions(self.rules, self.table or "", self.cache_rows, self.log_share or 0.0)
        control.check_port(self.port)
        if self.name is not None and not _NAME.match(self.name):
            raise UsageError(
                "the model name is not valid",
                where="LocalDeployConfig.name",
                expected="1 to 128 letters, digits, ., - and _, starting with a letter or a digit",
                received=repr(self.name),
            )
        check_positive(self.start_timeout_s, "start_timeout_s", where="LocalDeployConfig")
        check_not_negative(self.lock_timeout_s, "lock_timeout_s", where="LocalDeployConfig")
        check_count(self.keep_versions, "keep_versions", minimum=0, where="LocalDeployConfig")

    def serving(self, state: EndpointState | None) -> ServerOptions:
        """Options of the endpoint's servers.

        Args:
            state: state of the endpoint; None for a new endpoint.

        Raises:
            UsageError: the Model's Problem declares a mode that needs another deployment.
            DataError: its problem.json is damaged.
        """
        share = self.log_share if self.log_share is not None else 0.0 if state is None else state.log_share
        if self.table is not None:
            return ServerOptions(self.rules, self.table, self.cache_rows, share)
        had = (
            ServerOptions(self.rules, log_share=share)
            if state is None
            else replace(state.serving, rules=self.rules, log_share=share)
        )
        declared = None if is_pinned(self.model) else _declared(self.model)
        if declared is None:
            return had
        if declared.mode == "static":
            raise UsageError(
                "the Problem of the Model declares static serving, which uses no model",
                where=self.model,
                expected="a table alone as the version of the endpoint",
                fix="Score with the Model, publish the table, and then `headrace deploy --model MODEL --endpoint DIR`; "
                "with `--prediction-table none` the Model answers",
            )
        if declared.mode == "hybrid" and not (declared.table or had.table):
            raise UsageError(
                "the Problem of the Model declares hybrid serving, and no table is named",
                where=self.model,
                expected="Serving(table=...) in the Problem, or --prediction-table TABLE",
            )
        table = declared.table or (had.table if declared.mode == "hybrid" else "")
        return ServerOptions(self.rules, table, declared.cache_rows, share)


def deploy(config: LocalDeployConfig, report: Progress = silent) -> LocalDeployResult:
    """Makes a Model live: publishes it, starts its process, checks its golden rows over HTTP, and switches to it.

    The version that was live becomes `previous`, and its process is stopped after its last request, so that no request
    fails. A failure before the switch does not change the traffic. Another call completes a killed deployment. A
    version that is already live and healthy is not changed.

    Raises:
        UsageError: the folder contains no Model, the endpoint's folder cannot be written, or the port is in use.
        GateRefused: the version is marked as bad.
        DataError: the Model is damaged.
        PlatformError: the process does not start, its predictions differ from the golden rows, the lock is held, a
            rollback is unfinished, or a canary is under way.
    """
    check_output(config.endpoint, ENDPOINT, option="--endpoint", inputs={"--model": config.model})
    version = version_in(config.model)
    registry = config.registry or registries.registry_of(config.model)
    usable = registries.refuse_bad(registry, version)
    verify(config.model)
    folder = EndpointFolder(config.endpoint, config.claim)
    by = origin(config.why)
    with locked(config.endpoint, timeout_s=config.lock_timeout_s) as lock:
        check(config.claim)
        state = folder.read()
        name = config.name or (state.name if state is not None else _problem_name(config.model))
        config.serving(state).check_table()
        read_golden(config.model)
        if state is not None:
            state = begin(folder, state, version, registry, usable, PendingChange("deploy", version, **vars(by)))
        publish(folder, config.model, version, state, report)
        switch = Switch(folder, lock, config.start_timeout_s, report, config.serving(state), config.port)
        try:
            result = switch.to(version, name, "deploy", by, state)
        except HeadraceError:
            give_up(folder, version)
            raise
        _record_registry(folder, registry)
        folder.clean(folder.read(), config.keep_versions)
        return result


def version_in(model: str) -> str:
    """The version of a Model or of a pinned table. Raises the errors of `complete_version` and `read_pinned`."""
    return read_pinned(model).version if is_pinned(model) else complete_version(model)


def static_table(model: str, table: str | None) -> str | None:
    """The published tables whose current one is deployed, for a Model whose Problem declares static serving.

    Args:
        model: path or URI of the Model.
        table: the folder that an option names; "" if the option requests the Model itself; None without the option.

    Returns:
        The folder; None if the Model itself is deployed.

    Raises:
        UsageError: no table is named, the folder has no published table, or the table is of another model.
        DataError: the Model or the published folder is damaged.
    """
    version = version_in(model)
    declared = None if is_pinned(model) else _declared(model)
    if table == "" or declared is None or declared.mode != "static":
        return None
    found = table or declared.table
    if not found:
        raise UsageError(
            "the Problem of the Model declares static serving, and no table is named",
            where=model,
            expected="Serving(table=...) in the Problem, or --prediction-table TABLE",
        )
    made_by = name_and_version(found, None)[1]
    if made_by != version:
        raise UsageError(
            "the Problem of the Model declares static serving, and the table is of another model",
            where=f"--prediction-table {found}",
            expected=f"predictions of version {version}",
            received=f"predictions of version {made_by}",
            fix="Score with the Model and --sink table, and publish that with `headrace predictions table`, or name "
            "--prediction-table none, with which the Model answers",
        )
    return found


def publish(folder: EndpointFolder, model: str, version: str, state: EndpointState | None, report: Progress) -> None:
    """Copies a Model into the endpoint's folder. A valid copy of a version in use is not replaced."""
    used = () if state is None else (state.live, state.previous, *state.traffic)
    if version not in used or not _whole(folder.version_path(version)):
        report("publishing the model")
        folder.publish(model, version)


def _record_registry(folder: EndpointFolder, registry: str) -> None:
    state = folder.read()
    if state is not None and registry and state.registry != registry:
        folder.write(replace(state, registry=registry), state)


def _problem(model: str) -> tuple[Mapping[str, Any], str]:
    """The Problem of a Model as JSON, and the URI of its file."""
    where = storage.join(model, "problem.json")
    problem = storage.read_json(where)
    return (problem if isinstance(problem, dict) else {}), where


def _declared(model: str) -> ProblemServing | None:
    return declared_serving(*_problem(model))


def _problem_name(model: str) -> str:
    if is_pinned(model):
        return read_pinned(model).name
    problem, where = _problem(model)
    name = problem.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise DataError("the problem has no name", where=where, expected="a name", received=repr(name))
    return name


def _whole(version: Path) -> bool:
    """Whether a version's copy exists and is not damaged."""
    try:
        verify(str(version))
    except DataError:
        return False
    return version.is_dir()
