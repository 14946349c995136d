"""This machine as a platform: kfp.local runs the compiled spec, each task in a process of its own."""

import io
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Any

from headrace.core.errors import PlatformError
from headrace.core.steps.identity import release
from headrace.core.steps.step import ENGINE_PID, parse_event
from headrace.core.storage import writing
from headrace.pipelines.platforms.folder_registry import FolderRegistry
from headrace.pipelines.platforms.images import is_ours

# kfp.local says on its log, and nowhere else, that it took a task's outputs from the cache.
_CACHE_HIT = re.compile(r"Task (\S+) cache hit")

# Called with each event of a step: `event` (started, progress, finished, failed, cached), `step`, `message`, details.
Listener = Callable[[dict[str, Any]], None]


class LocalPlatform(FolderRegistry):
    """Tasks run in the current environment, one after another."""

    name = "local"
    resolves = False

    def component(self, component: Any) -> Any:
        """As it is."""
        return component

    def place(self, task: Any, *, cache: bool = True) -> Any:
        """Names the release as the image: kfp.local runs none, but its cache looks at it."""
        if not is_ours(task):
            return task
        task.set_container_image(f"headrace-python:{release()}")
        return task if cache else task.set_caching_options(False)

    def resolve(self, **given: Any) -> Mapping[str, Any]:
        """As they are, without a task: `headrace run` has measured the data."""
        names = ("champion", "training", "data_version")
        return {**{name: given[name] for name in names}, "attempt": given["data_version"]}

    def tune(self, **given: Any) -> Any:
        """The search runs its trials in processes of its own."""
        from headrace.components.tune.component import tune

        return self.place(tune(**given)).outputs["model"]

    def beam(self) -> str:
        """Beam within the task's own process."""
        return ""

    def deploy(self, *, registered: Any, endpoint: Any, root: Any) -> Any:
        """The endpoint is a folder, and a server on this machine."""
        from headrace.components.deploy.local.component import deploy

        return self.place(deploy(model=registered, endpoint_folder=endpoint, root=root), cache=False)


def run(spec: str, arguments: Mapping[str, Any], *, root: str, logs: str, listener: Listener) -> None:
    """Runs a compiled pipeline to its end; what came of it is in the records and the summary that its tasks write.

    Args:
        spec: path of the compiled YAML.
        arguments: the pipeline's parameters.
        root: local folder for the tasks' outputs and the cache, by which a run that was killed resumes.
        logs: local folder for one log file a step, and `engine.log`.
        listener: hears the steps' events as they happen.

    Raises:
        PlatformError: the engine itself failed, not one of its tasks.
    """
    with writing(logs):
        Path(logs).mkdir(parents=True, exist_ok=True)
    output = _StepOutput(Path(logs), listener)
    root_logger = logging.getLogger()
    handler = logging.StreamHandler(output)
    level = root_logger.level
    before = os.environ.get(ENGINE_PID)
    try:
        with redirect_stdout(output), redirect_stderr(output):
            # kfp warns at import and talks while it runs: all of it belongs in the log.
            from kfp import components, local

            root_logger.addHandler(handler)
            root_logger.setLevel(logging.INFO)
            os.environ[ENGINE_PID] = str(os.getpid())
            local.init(
                local.SubprocessRunner(use_venv=False),
                pipeline_root=os.path.join(root, "pipeline"),  # noqa: PTH118
                raise_on_error=False,
                enable_caching=True,
                cache_root=os.path.join(root, "pipeline", "cache"),  # noqa: PTH118
            )
            try:
                components.load_component_from_file(spec)(**arguments)
            except (RuntimeError, OSError, ValueError, TypeError) as error:
                raise PlatformError(
                    "the pipeline engine failed", where=spec, received=f"{type(error).__name__}: {error}"
                ) from error
    finally:
        root_logger.removeHandler(handler)
        root_logger.setLevel(level)
        if before is None:
            os.environ.pop(ENGINE_PID, None)
        else:
            os.environ[ENGINE_PID] = before
        output.close()


class _StepOutput(io.TextIOBase):
    """Takes all that kfp and the tasks print: events go to the listener, the rest to the log of the running step."""

    def __init__(self, logs: Path, listener: Listener) -> None:
        self._logs = logs
        self._listener = listener
        self._log: IO[str] = (logs / "engine.log").open("a", encoding="utf-8")
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
            self._log.flush()

    def close(self) -> None:
        if not self.closed:
            if self._line:
                self._take(self._line)
            self._log.close()
        super().close()

    def _take(self, line: str) -> None:
        event = parse_event(line)
        cached = _CACHE_HIT.search(line)
        if event is not None:
            if event["event"] == "started":
                self._switch(f"{event['step']}.log")
            self._listener(event)
            if event["event"] in ("finished", "failed"):
                self._log.write(event["message"] + "\n")
                self._switch("engine.log")
        elif cached is not None:
            self._listener({"event": "cached", "step": cached[1], "message": "taken from the cache"})
        elif line.strip():
            self._log.write(line + "\n")

    def _switch(self, name: str) -> None:
        self._log.close()
        self._log = (self._logs / name).open("a", encoding="utf-8")
