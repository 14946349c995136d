"""Local search: runs trials in parallel processes, prunes them by eval loss, and publishes the best Model."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.components.train.config import TrainResult
from headrace.components.train.loop.interruption import watching
from headrace.components.train.request import TrainingRequest
from headrace.components.tune import trial
from headrace.components.tune.identity import search_identity
from headrace.components.tune.study import Study
from headrace.components.tune.tried import TrialResult, common_error, counted_states, publish
from headrace.components.tune.workers import Worker
from headrace.core import storage
from headrace.core.artifacts.kinds import MODEL
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.model import open_model
from headrace.core.checks import check_count
from headrace.core.errors import HeadraceError, PlatformError, ProblemError, UsageError
from headrace.core.problem.file import ProblemFile
from headrace.core.problem.tuning import Tuning
from headrace.core.progress import Progress, silent
from headrace.core.steps import identity
from headrace.core.storage.lock import locked
from headrace.core.storage.output import check_writable
from headrace.core.storage.output_check import check_output

_SECONDS_BETWEEN_LOOKS = 0.2
# Interval of saving the used hours: a kill loses at most this.
_SECONDS_BETWEEN_NOTES = 30.0


@dataclass(frozen=True)
class TuneConfig:
    """Options of a search.

    Args:
        examples: the Examples artifact.
        output: where the best trial's Model is published.
        folder: on a disk or in a bucket; each search has its own folder below it, from which it resumes when killed.
        trials: number of trials; None for the problem's number.
        parallel: maximum trials at a time, each in a process of its own. With 1 an equal seed gives an equal search.
        request: the options of each trial. Its budget in hours and money is for the whole search, including earlier
            attempts.

    Raises:
        UsageError: a number is outside its range.
    """

    examples: str
    output: str
    folder: str
    trials: int | None = None
    parallel: int = 1
    request: TrainingRequest = field(default_factory=TrainingRequest)

    def __post_init__(self) -> None:
        for name in ("trials", "parallel"):
            value = getattr(self, name)
            if value is not None:
                check_count(value, name)

    def check_output(self, problem: str) -> None:
        """Checks that `output` is unused or holds a Model, and contains neither an input nor the search's folder.

        Raises:
            UsageError: the output holds something else.
        """
        inputs = {"--examples": self.examples, "--folder": self.folder, "--problem": problem}
        check_output(self.output, MODEL, inputs=inputs)


@dataclass(frozen=True)
class TuneResult:
    """Result of a search.

    Attributes:
        best: the trial whose Model was published.
        trials: all trials, by number.
        training: short form of the published training.json.
    """

    best: TrialResult
    trials: tuple[TrialResult, ...]
    training: TrainResult


def tune(file: ProblemFile, config: TuneConfig, report: Progress = silent) -> TuneResult:
    """Tries parameters from the problem's `tuning`, and publishes the Model of the best trial at `config.output`.

    Args:
        file: the Problem file.
        config: of the search.
        report: receives the progress of each trial.

    Raises:
        ProblemError: there is nothing to tune, or every trial failed.
        UsageError, DataError: an error that fails every trial.
        PlatformError: another process runs this search, it was terminated, or no trial finished within its hours.
    """
    config.check_output(file.path)
    tuning = trial.tuning_of(file, config.request)
    name = search_identity(file, identity.examples_identity_of(config.examples), config.request)
    check_writable(config.output)
    folder = storage.join(config.folder, name)
    # In a bucket the journal detects another process that runs the search.
    remote = storage.is_remote(folder)
    with ExitStack() as stack:
        logs = stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-search-")) if remote else folder
        if not remote:
            stack.enter_context(locked(folder, timeout_s=0))
        stack.enter_context(watching())
        search = _Search(file, tuning, config, name, folder, storage.local_path(logs), report)
        search.run()
        return search.publish()


class _Search:
    """The running trials of one search, and the threads that wait for their processes."""

    def __init__(
        self,
        file: ProblemFile,
        tuning: Tuning,
        config: TuneConfig,
        name: str,
        folder: str,
        logs: Path,
        report: Progress,
    ) -> None:
        self._file, self._config, self._name, self._folder, self._report = file, config, name, folder, report
        self._logs = logs
        self._total = config.trials or tuning.trials
        self._study = Study(storage.join(folder, "journal.log"), name, tuning)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._errors: list[HeadraceError] = []

    def run(self) -> None:
        """Runs trials until their number or the hours are reached, or an error fails every trial."""
        shared = self._config.parallel > 1
        workers = [
            Worker(self._logs / f"worker-{number}.log", share_devices=shared) for number in range(self._config.parallel)
        ]
        threads = [threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in workers]
        began, earlier = time.monotonic(), self._study.seconds
        hours = self._config.request.options.budget.hours
        limit, noted = float("inf") if hours is None else hours * 3600, earlier
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) and not self._stopping.is_set():
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                spent = earlier + time.monotonic() - began
                if spent - noted >= _SECONDS_BETWEEN_NOTES:
                    noted = spent
                    with self._lock:
                        self._study.spent(spent)
                if spent >= limit:
                    self._say(f"the budget of {hours:g} hours is used up: all trials stop")
                    self._stopping.set()
        finally:
            self._stopping.set()
            for worker in workers:
                worker.terminate()
            for thread in threads:
                thread.join()
            for worker in workers:
                worker.close()
            self._study.spent(earlier + time.monotonic() - began)
        if self._errors:
            raise self._errors[0]

    def publish(self) -> TuneResult:
        """Publishes the best trial's Model; its training.json then describes the search."""
        tried = self._study.tried()
        best = self._study.best()
        if best is None:
            raise self._nothing(tried)
        # A kill may have happened between the record of a finished trial and the removal of its files.
        for each in tried:
            if each.state != "unfinished" and each.number != best.number:
                self._discard(each.number)
        training = publish(self._model(best.number), self._config.output, self._name, best, tried)
        return TuneResult(best, tuple(tried), training)

    def _work(self, worker: Worker) -> None:
        """Body of a thread: runs one trial after another in the worker's process."""
        try:
            while not self._stopping.is_set():
                with self._lock:
                    trial = self._study.take(self._total)
                if trial is None:
                    return
                self._try(worker, *trial)
        except HeadraceError as error:
            self._errors.append(error)
            self._stopping.set()
        except Exception as error:
            self._errors.append(PlatformError("the search failed", received=f"{type(error).__name__}: {error}"))
            self._stopping.set()
            raise

    def _try(self, worker: Worker, number: int, parameters: Mapping[str, Any]) -> None:
        """Runs a trial to its end; if the search stops before, the trial resumes the next time."""
        finished = self._model(number)
        if is_there("Model", finished):
            self._done(number, open_model(finished).training)
            return
        message = {
            "problem": self._file.path,
            "digest": self._file.training_digest,
            "parameters": parameters,
            "examples": self._config.examples,
            "output": finished,
            "checkpoints": storage.join(self._trial(number), "checkpoints"),
            "training": self._config.request.of_trials().to_json(),
        }
        while not self._stopping.is_set():
            event = worker.run(message, lambda heard: self._listen(number, heard))
            if event["event"] == "done":
                self._done(number, event["record"])
                return
            if event["event"] == "pruned":
                self._end(number, "pruned")
                return
            if self._stopping.is_set():
                return
            error = _error(event, worker.log)
            if isinstance(error, UsageError) or not isinstance(error, ProblemError | PlatformError):
                raise error
            with self._lock:
                again = isinstance(error, PlatformError) and self._study.attempt(number)
            if not again:
                self._end(number, "failed", error)
                return
            self._say(f"trial {number}: {error.what}; it is retried from its last checkpoint")

    def _listen(self, number: int, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if event["event"] == "progress":
            self._report(f"trial {number}: {event['message']}")
            return None
        with self._lock:
            go_on = self._study.judge(number, event["epoch"], event["eval_loss"])
            ended = sum(1 for each in self._study.tried() if each.state != "unfinished")
        message = f"trial {number}: epoch {event['epoch']}, eval loss {event['eval_loss']:.4g}"
        self._report(message, done=ended, total=self._total)
        return {"go_on": go_on}

    def _done(self, number: int, record: Mapping[str, Any]) -> None:
        result = TrainResult.of(record)
        with self._lock:
            before = self._study.best()
            self._study.finish(number, "complete", eval_loss=result.eval_loss)
            best = self._study.best()
            is_best = best is None or best.number == number
            # Models other than the best are removed.
            if not is_best:
                self._discard(number)
            elif before is not None:
                self._discard(before.number)
        mark = ", the best so far" if is_best else ""
        self._say(f"trial {number}: eval loss {result.eval_loss:.4g} after {result.epochs} epochs{mark}")

    def _end(self, number: int, state: str, error: HeadraceError | None = None) -> None:
        with self._lock:
            self._study.finish(number, state, error=error)
        self._discard(number)
        self._say(f"trial {number}: {state}{'' if error is None else f', {error.paragraph}'}")

    def _say(self, text: str) -> None:
        self._report(text, lasting=True)

    def _discard(self, number: int) -> None:
        """Removes the files of a trial; files that cannot be removed now are removed with the search."""
        with suppress(HeadraceError):
            storage.remove(self._trial(number))

    def _trial(self, number: int) -> str:
        return storage.join(self._folder, "trials", f"{number:05d}")

    def _model(self, number: int) -> str:
        return storage.join(self._trial(number), "model")

    def _nothing(self, tried: list[TrialResult]) -> HeadraceError:
        """The error for a search without a best trial."""
        error = common_error(tried)
        if isinstance(error, PlatformError):
            return PlatformError(
                "every trial failed",
                where=self._folder,
                received=error.paragraph,
                fix=f"Remove {self._folder} to start again",
            )
        if error is not None:
            return ProblemError(
                "every trial failed", where=self._file.path, received=error.paragraph, fix="Narrow Tuning(space=...)"
            )
        return PlatformError(
            "no trial was finished",
            where=self._folder,
            received=counted_states(tried),
            fix="Run the same command with more --max-hours, which resumes the search",
        )


def _error(event: Mapping[str, Any], log: Path) -> HeadraceError:
    if event["event"] == "failed":
        return HeadraceError.from_json(dict(event["error"]))
    status = event["status"]
    if status == ProblemError.exit_status:
        # Code of the Problem file ended the process so: a retry would end in the same way.
        return ProblemError(f"its process exited with status {status}", fix=f"Read the last lines of {log}")
    why = f"was killed by signal {-status}, or ran out of memory" if status < 0 else f"exited with status {status}"
    return PlatformError(f"its process {why}", fix=f"Read the last lines of {log}")
