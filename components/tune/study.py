"""Study of a search: the tried parameters and their results, stored in one file that survives a kill.

Optuna chooses, by a tree-structured Parzen estimator (Bergstra et al., 2011), and prunes by the median rule of Vizier
(Golovin et al., 2017). The choice for a trial depends only on the seed, its number and the trials before it: a search
that was killed and resumes makes the same choices.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import TrialState

from headrace.components.tune.tried import TrialResult, best_of
from headrace.core import storage
from headrace.core.errors import DataError, HeadraceError, PlatformError
from headrace.core.problem.tuning import Choice, Range, Tuning
from headrace.core.storage.compare_and_set import create_if_absent, read_with_token, replace_if_unchanged

# A multiplier that separates the seeds of the trials of adjacent seeds.
_SEEDS_APART = 1_000_003
# A trial whose process died twice is not retried.
ATTEMPTS = 2

_OPTUNAS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "unfinished",
}


class Study:
    """The trials of one search, for one process and one thread at a time.

    Args:
        uri: of the journal.
        name: of the search; the file holds other searches under their own names.
        tuning: of the Problem.
    """

    def __init__(self, uri: str, name: str, tuning: Tuning) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._tuning = tuning
        self._study = optuna.create_study(
            storage=JournalStorage(_journal(uri)),
            study_name=name,
            load_if_exists=True,
            # Epochs count from 1.
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=tuning.pruning_trials, n_warmup_steps=tuning.warmup_epochs + 1
            ),
        )
        # Their processes died with the one that had the study open.
        self._orphans = [t for t in self._study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING]
        self._open: dict[int, optuna.Trial] = {}
        self._began: dict[int, float] = {}

    def take(self, trials: int) -> tuple[int, dict[str, Any]] | None:
        """Starts the next trial: its number and parameters; None where `trials` are done or running."""
        if self._orphans:
            trial = self._seeded(self._orphans.pop(0).number)
        elif len(self._study.get_trials(deepcopy=False)) < trials:
            trial = self._seeded(None)
        else:
            return None
        parameters = {name: _suggest(trial, name, values) for name, values in self._tuning.space.items()}
        trial.set_user_attr("parameters", parameters)
        self._open[trial.number] = trial
        self._began[trial.number] = time.monotonic()
        return trial.number, parameters

    def judge(self, number: int, epoch: int, eval_loss: float) -> bool:
        """Stores the eval loss of a trial after an epoch; returns whether the trial continues."""
        trial = self._open[number]
        # A trial that resumed from a checkpoint repeats the epochs after it, with the same loss.
        if epoch not in self._study.get_trials(deepcopy=False)[number].intermediate_values:
            trial.report(eval_loss, epoch)
        return not trial.should_prune()

    def attempt(self, number: int) -> bool:
        """Counts a death of a trial's process; returns whether the trial is retried."""
        trial = self._open[number]
        died = int(trial.user_attrs.get("died", 0)) + 1
        trial.set_user_attr("died", died)
        return died < ATTEMPTS

    def finish(
        self, number: int, state: str, *, eval_loss: float | None = None, error: HeadraceError | None = None
    ) -> None:
        """Stores the result of a trial: complete with its eval loss, pruned, or failed with an error."""
        trial = self._open.pop(number)
        trial.set_user_attr("seconds", round(time.monotonic() - self._began.pop(number), 3))
        if error is not None:
            trial.set_user_attr("error", error.to_json())
        ended = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[state]
        self._study.tell(trial, eval_loss, state=ended)

    def tried(self) -> list[TrialResult]:
        """All trials, by number."""
        return [_tried(trial) for trial in self._study.get_trials(deepcopy=False)]

    def best(self) -> TrialResult | None:
        """The complete trial with the minimum eval loss, the first of ties; None before any is complete."""
        return best_of(self.tried())

    @property
    def seconds(self) -> float:
        """Wall time that earlier processes spent on the search, in seconds."""
        return float(self._study.user_attrs.get("seconds", 0.0))

    def spent(self, seconds: float) -> None:
        """Stores the total wall time, in seconds."""
        self._study.set_user_attr("seconds", seconds)

    def _seeded(self, number: int | None) -> optuna.Trial:
        """A trial whose choices depend on the seed and its number: the existing one with this number, or a new one."""
        trials = self._study.get_trials(deepcopy=False)
        place = len(trials) if number is None else number
        seed = (self._tuning.seed * _SEEDS_APART + place) % (1 << 32)
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self._tuning.pruning_trials)
        return self._study.ask() if number is None else optuna.Trial(self._study, trials[number]._trial_id)


def _suggest(trial: optuna.Trial, name: str, values: Range | Choice) -> Any:
    if isinstance(values, Choice):
        # Optuna accepts no lists as options: each option is represented by its index.
        return values.options[trial.suggest_categorical(name, range(len(values.options)))]
    high = values.greatest
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(high), step=int(values.step or 1), log=values.log)
    return trial.suggest_float(name, values.low, high, step=values.step, log=values.log)


def _tried(trial: optuna.trial.FrozenTrial) -> TrialResult:
    judged = trial.intermediate_values
    value = trial.value if trial.state == TrialState.COMPLETE else min(judged.values(), default=None)
    attributes = trial.user_attrs
    return TrialResult(
        number=trial.number,
        state=_OPTUNAS[trial.state],
        parameters=attributes.get("parameters", {}),
        eval_loss=value,
        epochs=len(judged),
        seconds=attributes.get("seconds"),
        error=attributes.get("error"),
    )


def _journal(uri: str) -> BaseJournalBackend:
    return _SharedJournal(uri) if storage.is_remote(uri) else _Journal(storage.local_path(uri))


class _SharedJournal(BaseJournalBackend):
    """Optuna's journal in an object, one JSON object per line: stored when a call returns, by compare-and-set.

    A store has no lock that ends with a process. If a second search changes the object, the first one detects it.

    Raises:
        DataError: a line is not JSON.
        PlatformError: another process runs the search.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        found = read_with_token(uri)
        self._content = b"" if found is None else found.content
        self._logs = _parsed(self._content, uri)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        content = self._content + _lines(logs)
        now = read_with_token(self._uri)
        if now is None:
            written = not self._content and create_if_absent(self._uri, content)
        else:
            written = now.content == self._content and replace_if_unchanged(self._uri, content, now.token)
        if not written:
            raise PlatformError(
                "another process runs this search",
                where=self._uri,
                fix="Wait for it, or end it, and run the same command again",
            )
        self._content = content
        self._logs += logs


def _lines(logs: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()


def _parsed(content: bytes, where: str) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in content.splitlines()]
    except ValueError as error:
        raise DataError(
            "the journal of the search is damaged",
            where=where,
            expected="one JSON object per line",
            received=str(error),
            fix="Remove its folder to start again",
        ) from error


class _Journal(BaseJournalBackend):
    """Optuna's journal in a file of one process, one JSON object per line, on disk when a call returns.

    An unfinished last line, left by a kill, is removed. Optuna's own file backend does not do that, and uses locks that
    outlive a kill.

    Raises:
        DataError: another line is not JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.is_file() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("rb+") as file:
                file.truncate(whole)
        self._logs = _parsed(content[:whole], str(path))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self._path.open("ab") as file:
            file.write(_lines(logs))
            file.flush()
            os.fsync(file.fileno())
        self._logs += logs
