"""Local platform: kfp.local runs the compiled spec on this machine, each task in a process of its own.

The processes of headrace's own steps are forked from servers that have imported what the steps need.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Any

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.core.errors import PlatformError
from headrace.core.rules.mode import Mode, check_mode
from headrace.core.signals import SignalForwarder, forwarding_sigterm
from headrace.core.steps.identity import code_digest, release
from headrace.core.steps.step import ENGINE_PID, ENGINE_RUN, ENGINE_SOURCE, parse_event
from headrace.core.storage import writing
from headrace.core.storage.unfinished import remove_abandoned
from headrace.pipelines.platforms.folder_registry import FolderRegistry
from headrace.pipelines.platforms.images import is_ours
from headrace.pipelines.platforms.task_processes import TaskProcesses

# kfp.local reports a cache hit only in its log.
_CACHE_HIT = re.compile(r"Task (\S+) cache hit")

# Called with each event of a step: `event` (started, progress, finished, failed, cached), `step`, `message`, details.
Listener = Callable[[dict[str, Any]], None]


class LocalPlatform(FolderRegistry):
    """Tasks run in the current environment, one after another.

    Args:
        rules: the mode in which the endpoint applies the Model's rules.
        canary: settings of the canary of a deployed model if another version is live; None to deploy without a canary.
    """

    name = "local"
    resolves = False

    def __init__(self, rules: Mode = "enforce", canary: CanarySettings | None = None) -> None:
        check_mode(rules)
        self._rules = rules
        self._canary = canary

    @property
    def decided_by_canary(self) -> bool:
        """Whether a registered version becomes the champion by a canary."""
        return self._canary is not None

    def component(self, component: Any) -> Any:
        """Returns the component unchanged."""
        return component

    def configure_task(self, task: Any, *, cache: bool = True) -> Any:
        """Sets the release as the image: kfp.local runs no image, but its cache key includes it."""
        if not is_ours(task):
            return task
        task.set_container_image(f"headrace-python:{release()}")
        return task if cache else task.set_caching_options(False)

    def resolve(self, **inputs: Any) -> Mapping[str, Any]:
        """Passes the inputs unchanged, without a task: `headrace run` has measured the data."""
        names = ("champion", "training", "data_version")
        return {**{name: inputs[name] for name in names}, "attempt": inputs["data_version"]}

    def tune(self, **inputs: Any) -> Any:
        """Runs the search in one task, whose trials are processes."""
        from headrace.components.tune.component import tune

        return self.configure_task(tune(**inputs)).outputs["model"]

    def beam(self) -> str:
        """No runner: Beam runs within the task's process."""
        return ""

    def deploy(self, *, registered: Any, endpoint: Any, root: Any) -> Any:
        """Deploys to an endpoint folder with a server on this machine."""
        from headrace.components.deploy.local.component import deploy
        from headrace.components.rollout.component import deploy as roll_out

        chosen = {} if self._rules == "enforce" else {"rules": self._rules}
        if self._canary is None:
            task = deploy(model=registered, endpoint=endpoint, root=root, **chosen)
        else:
            settings = self._canary.to_json()
            task = roll_out(model=registered, endpoint=endpoint, root=root, canary=settings, must_hold=True, **chosen)
        return self.configure_task(task, cache=False)

    def renew(
        self, *, claim: Any, canary: Any, watch_by_ticks: Any, log_share: Any, endpoint: Any, **inputs: Any
    ) -> Any:
        """Registers a version, and deploys it by a canary, which makes it the champion."""
        from headrace.components.rollout.component import deploy

        registered = self.register(**inputs, claim=claim, promote=False)
        task = deploy(
            model=registered,
            endpoint=endpoint,
            registry=inputs["registry"],
            root=inputs["root"],
            rules=self._rules,
            claim=claim,
            canary=canary,
            log_share=log_share,
            by_ticks=watch_by_ticks,
        )
        return self.configure_task(task, cache=False)


def run(
    spec: str,
    arguments: Mapping[str, Any],
    *,
    root: str,
    logs: str,
    listener: Listener,
    hidden: Sequence[str] = (),
    processes: TaskProcesses | None = None,
) -> bool:
    """Runs a compiled pipeline to its end; the results are in the records and the summary that its tasks write.

    SIGTERM goes to the running step, or else to the next one; the exit task then still writes the summary.

    Args:
        spec: path of the compiled YAML.
        arguments: the pipeline's parameters.
        root: local folder for the tasks' outputs and the cache, from which a killed run resumes.
        logs: local folder for one log file per step, and `engine.log`.
        listener: receives the steps' events as they happen.
        hidden: values that no log holds: kfp logs the inputs of each task.
        processes: of the tasks, where the caller has started them already; None starts them for this run.

    Returns:
        Whether SIGTERM arrived.

    Raises:
        PlatformError: the engine itself failed, not one of its tasks.
    """
    with writing(logs):
        Path(logs).mkdir(parents=True, exist_ok=True)
    # A killed run's outputs are in folders of their own, which no later step writes to.
    remove_abandoned(path for each in ("pipeline", "checkpoints") for path in Path(root, each).glob("*/*/.*"))
    with forwarding_sigterm() as forwarding, contextlib.ExitStack() as started:
        processes = processes or started.enter_context(TaskProcesses())
        _run(spec, arguments, root, _StepOutput(Path(logs), listener, hidden, forwarding), processes)
    return forwarding.received


def _run(spec: str, arguments: Mapping[str, Any], root: str, output: _StepOutput, processes: TaskProcesses) -> None:
    root_logger = logging.getLogger()
    handler = logging.StreamHandler(output)
    level = root_logger.level
    own = {ENGINE_PID: str(os.getpid()), ENGINE_RUN: secrets.token_hex(8), ENGINE_SOURCE: code_digest()}
    before = {name: os.environ.get(name) for name in own}
    try:
        with redirect_stdout(output), redirect_stderr(output):
            # kfp warns at import and prints while it runs: all of it belongs in the log.
            from kfp import components, local

            root_logger.addHandler(handler)
            root_logger.setLevel(logging.INFO)
            os.environ.update(own)
            local.init(
                local.SubprocessRunner(use_venv=False),
                pipeline_root=os.path.join(root, "pipeline"),  # noqa: PTH118
                raise_on_error=False,
                enable_caching=True,
                cache_root=os.path.join(root, "pipeline", "cache"),  # noqa: PTH118
            )
            try:
                with processes.used_by_kfp():
                    components.load_component_from_file(spec)(**arguments)
            except (RuntimeError, OSError, ValueError, TypeError) as error:
                raise PlatformError(
                    "the pipeline engine failed", where=spec, received=f"{type(error).__name__}: {error}"
                ) from error
    finally:
        output.write(processes.output())
        root_logger.removeHandler(handler)
        root_logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        output.close()


class _StepOutput(io.TextIOBase):
    """Receives all output of kfp and the tasks: events go to the listener, the rest to the log of the running step.

    A log that cannot be written, as on a full disk, is lost: the steps report that themselves, in their events.
    """

    def __init__(self, logs: Path, listener: Listener, hidden: Sequence[str], forwarding: SignalForwarder) -> None:
        self._logs = logs
        self._forwarding = forwarding
        # In a line of JSON too.
        self._hidden = {form for secret in hidden if secret for form in (secret, json.dumps(secret)[1:-1])}
        self._listener = listener
        self._log: IO[str] = io.StringIO()
        self._switch("engine.log")
        self._line = ""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)

    def flush(self) -> None:
        if not self._log.closed:
            with contextlib.suppress(OSError):
                self._log.flush()

    def close(self) -> None:
        if not self.closed:
            if self._line:
                self._take(self._line)
            self._close_log()
        super().close()

    def _take(self, line: str) -> None:
        for secret in self._hidden:
            line = line.replace(secret, "***")
        event = parse_event(line)
        cached = _CACHE_HIT.search(line)
        if event is not None:
            if event["event"] == "started":
                self._forwarding.begin(event["pid"])
                self._switch(f"{event['step']}.log")
            if event["event"] in ("finished", "failed"):
                self._forwarding.end()
            self._listener(event)
            if event["event"] in ("finished", "failed"):
                self._write_log(event["message"])
                self._switch("engine.log")
        elif cached is not None:
            self._listener({"event": "cached", "step": cached[1], "message": "cached"})
        elif line.strip():
            self._write_log(line)

    def _write_log(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._log.write(line + "\n")

    def _close_log(self) -> None:
        with contextlib.suppress(OSError):
            self._log.close()

    def _switch(self, name: str) -> None:
        self._close_log()
        try:
            self._log = (self._logs / name).open("a", encoding="utf-8", errors="backslashreplace")
        except OSError:
            self._log = io.StringIO()
