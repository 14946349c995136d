"""The search: trials in processes beside each other, pruned by their eval loss, and the best one's Model published."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.components.train.config import TrainResult
from headrace.components.train.loop.interruption import watching
from headrace.components.train.request import Request
from headrace.components.tune import trial
from headrace.components.tune.identity import search_identity
from headrace.components.tune.study import Study
from headrace.components.tune.tried import Tried, common_error, counted_states, publish
from headrace.components.tune.workers import Worker
from headrace.core import storage
from headrace.core.artifacts.kinds import MODEL
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.model import open_model
from headrace.core.errors import HeadraceError, PlatformError, ProblemError, UsageError
from headrace.core.problem.file import ProblemFile
from headrace.core.problem.tuning import Tuning
from headrace.core.progress import Progress, silent
from headrace.core.steps import identity
from headrace.core.storage.lock import locked
from headrace.core.storage.output import check_writable
from headrace.core.storage.output_check import check_output

_SECONDS_BETWEEN_LOOKS = 0.2
# A kill loses this much of the count of hours.
_SECONDS_BETWEEN_NOTES = 30.0


@dataclass(frozen=True)
class TuneConfig:
    """Where a search reads, writes and keeps what it knows, and what it may take.

    Args:
        examples: the Examples artifact.
        output: where the best trial's Model is published.
        folder: a local folder; each search has one of its own below it, and goes on from there when it was killed.
        trials: how many, instead of what the problem says; None takes that.
        parallel: trials at a time, each in a process of its own. With 1 the same seed gives the same search.
        request: the options of each trial. Its budget in hours and money is the whole search's, earlier attempts of the
            same search included.

    Raises:
        UsageError: a number outside its range.
    """

    examples: str
    output: str
    folder: str
    trials: int | None = None
    parallel: int = 1
    request: Request = field(default_factory=Request)

    def __post_init__(self) -> None:
        for name in ("trials", "parallel"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is wrong", expected="a whole number, 1 or more", received=repr(value))

    def check_output(self, problem: str) -> None:
        """Checks that there is nothing at `output` but a Model, and that it holds nothing of what is read or kept.

        Raises:
            UsageError: it does.
        """
        inputs = {"--examples": self.examples, "--folder": self.folder, "--problem": problem}
        check_output(self.output, MODEL, inputs=inputs)


@dataclass(frozen=True)
class TuneResult:
    """What a search came to.

    Attributes:
        best: the trial whose Model was published.
        trials: all of them, by number.
        training: what the published training.json says in short.
    """

    best: Tried
    trials: tuple[Tried, ...]
    training: TrainResult


def tune(file: ProblemFile, config: TuneConfig, report: Progress = silent) -> TuneResult:
    """Tries parameters from the problem's `tuning`, and publishes the Model of the best trial at `config.output`.

    Args:
        file: the problem.
        config: where, and how much.
        report: told of each trial.

    Raises:
        ProblemError: there is nothing to tune, or every trial failed.
        UsageError, DataError: what would fail every trial.
        PlatformError: another process runs this search, it was asked to end, or no trial was finished in its hours.
    """
    config.check_output(file.path)
    tuning = trial.tuning_of(file, config.request)
    name = search_identity(file, identity.examples_identity_of(config.examples), config.request)
    check_writable(config.output)
    folder = storage.join(config.folder, name)
    with locked(folder, timeout_s=0), watching():
        search = _Search(file, tuning, config, name, storage.local_path(folder), report)
        search.run()
        return search.publish()


class _Search:
    """The trials of one search under way, and the threads that wait for their processes."""

    def __init__(
        self, file: ProblemFile, tuning: Tuning, config: TuneConfig, name: str, folder: Path, report: Progress
    ) -> None:
        self._file, self._config, self._name, self._folder, self._report = file, config, name, folder, report
        self._total = config.trials or tuning.trials
        self._study = Study(folder / "journal.log", name, tuning)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._errors: list[HeadraceError] = []

    def run(self) -> None:
        """Runs trials until there are enough, the hours are used up, or something fails every trial."""
        shared = self._config.parallel > 1
        workers = [
            Worker(self._folder / f"worker-{number}.log", share_devices=shared)
            for number in range(self._config.parallel)
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
                    self._say(f"the budget of {hours:g} hours is used up: no trial goes on")
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
        """Publishes the best trial's Model, whose training.json then tells of the search."""
        tried = self._study.tried()
        best = self._study.best()
        if best is None:
            raise self._nothing(tried)
        # A kill may have come between the word that a trial is done and the removal of its files.
        for each in tried:
            if each.state != "unfinished" and each.number != best.number:
                shutil.rmtree(self._trial(each.number), ignore_errors=True)
        training = publish(str(self._model(best.number)), self._config.output, self._name, best, tried)
        return TuneResult(best, tuple(tried), training)

    def _work(self, worker: Worker) -> None:
        """A thread: one trial after another, in the worker's process."""
        try:
            while not self._stopping.is_set():
                with self._lock:
                    taken = self._study.take(self._total)
                if taken is None:
                    return
                self._try(worker, *taken)
        except HeadraceError as error:
            self._errors.append(error)
            self._stopping.set()
        except Exception as error:
            self._errors.append(PlatformError("the search failed", received=f"{type(error).__name__}: {error}"))
            self._stopping.set()
            raise

    def _try(self, worker: Worker, number: int, parameters: Mapping[str, Any]) -> None:
        """A trial, to its end; where the search stops before, it is left as it is, and goes on the next time."""
        finished = str(self._model(number))
        if is_there("Model", finished):
            self._done(number, open_model(finished).training)
            return
        asked = {
            "problem": self._file.path,
            "digest": self._file.training_digest,
            "parameters": parameters,
            "examples": self._config.examples,
            "output": str(self._model(number)),
            "checkpoints": str(self._trial(number) / "checkpoints"),
            "training": self._config.request.of_trials().to_json(),
        }
        while not self._stopping.is_set():
            event = worker.run(asked, lambda heard: self._listen(number, heard))
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
            self._say(f"trial {number}: {error.what}; it is tried again from its last checkpoint")

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
            # Only the best Model is kept.
            if not is_best:
                shutil.rmtree(self._trial(number), ignore_errors=True)
            elif before is not None:
                shutil.rmtree(self._trial(before.number), ignore_errors=True)
        mark = ", the best so far" if is_best else ""
        self._say(f"trial {number}: eval loss {result.eval_loss:.4g} after {result.epochs} epochs{mark}")

    def _end(self, number: int, state: str, error: HeadraceError | None = None) -> None:
        with self._lock:
            self._study.finish(number, state, error=error)
        shutil.rmtree(self._trial(number), ignore_errors=True)
        self._say(f"trial {number}: {state}{'' if error is None else f', {error.paragraph}'}")

    def _say(self, text: str) -> None:
        self._report(text, lasting=True)

    def _trial(self, number: int) -> Path:
        return self._folder / "trials" / f"{number:05d}"

    def _model(self, number: int) -> Path:
        return self._trial(number) / "model"

    def _nothing(self, tried: list[Tried]) -> HeadraceError:
        """Why there is no best trial."""
        error = common_error(tried)
        if isinstance(error, PlatformError):
            return PlatformError(
                "every trial failed",
                where=str(self._folder),
                received=error.paragraph,
                fix=f"Remove {self._folder} to begin anew",
            )
        if error is not None:
            return ProblemError(
                "every trial failed", where=self._file.path, received=error.paragraph, fix="Narrow Tuning(space=...)"
            )
        return PlatformError(
            "no trial was finished",
            where=str(self._folder),
            received=counted_states(tried),
            fix="The same command with more --max-hours goes on where this one ended",
        )


def _error(event: Mapping[str, Any], log: Path) -> HeadraceError:
    if event["event"] == "failed":
        return HeadraceError.from_json(dict(event["error"]))
    status = event["status"]
    why = f"was killed by signal {-status}, or ran out of memory" if status < 0 else f"ended with status {status}"
    return PlatformError(f"its process {why}", fix=f"The last lines of {log} say more")
