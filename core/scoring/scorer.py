"""Scorer: rows to predictions by a SavedModel, shared by batches, streams and all runners."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.errors import PlatformError
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.fault import RuleViolation
from headrace.core.rules.mode import Mode
from headrace.core.saved_model.binding import MODEL_VERSION, and_key, declared, keyed, with_key_input, with_optional
from headrace.core.saved_model.constants import with_constants
from headrace.core.saved_model.digest import saved_model_digest
from headrace.core.saved_model.find import find_source
from headrace.core.saved_model.interface import SERVING_DEFAULT, Feeding, ModelBinding, ModelInput, refuse_per_call
from headrace.core.scoring.answered import FaultCause, InputRows, ModelAnswers, ScoredBatch, in_order
from headrace.core.scoring.bisect import RowsFailed, answered
from headrace.core.scoring.distinct_texts.coded_model import CodedModel
from headrace.core.scoring.feeds import Feed, Feeds, rows_of_one_shape
from headrace.core.scoring.predictor import BLOCK_ROWS, Predictor
from headrace.core.scoring.row_faults import RowFaults, key_faults
from headrace.core.scoring.rule_faults import derived_faults
from headrace.core.scoring.to_columns import Answer, columns_of, joined, same, type_of
from headrace.core.scoring.to_tensors import feeds_of
from headrace.core.scoring.trial import PROOFS, prove
from headrace.core.sources.source import Rows
from headrace.core.storage.local_copy import LocalCopy
from headrace.core.tensorflow_import import import_tensorflow
from headrace.core.values.mixed import as_plain_text

# If the predictions of 1 % of the rows differed by a bit, about ten of these rows would show it.
_MIXED_ROWS = 20 * BLOCK_ROWS


class RowScorer:
    """Rows to predictions around a local or remote model; a subclass implements the call.

    Attributes:
        takes: the model's inputs, outputs and columns.
        model_version: the model's version.
    """

    def __init__(self, takes: ModelBinding, inputs: Sequence[ModelInput], model_version: str) -> None:
        """Prepares to score.

        Args:
            takes: the model's inputs and outputs.
            inputs: the inputs that the model gets: all, and the key's if needed.
            model_version: the model's version.
        """
        self.takes = takes
        self.model_version = model_version
        self._inputs = tuple(inputs)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads: the key, then the inputs' columns."""
        return self.takes.columns

    def schema(self, key_type: pa.DataType | None = None) -> pa.Schema:
        """The schema of predictions.

        Args:
            key_type: type of the key's column.
        """
        fields = [] if self.takes.key is None else [(self.takes.key, key_type or pa.string())]
        fields += [(given.name, type_of(given)) for given in self.takes.outputs]
        return pa.schema([*fields, (MODEL_VERSION, pa.dictionary(pa.int32(), pa.string()))])

    def score(self, rows: Rows) -> ScoredBatch:
        """Scores a batch of rows; each row is either predicted or quarantined.

        Rows on which the model fails are found by bisection; the rest of their batch is scored.

        Raises:
            DataError: a column is missing, or its type does not fit the model's input.
            PlatformError: the model fails for a reason that is not in the rows.
        """
        prepared = self.prepare(rows)
        return self.finish(prepared, self._by_shape(prepared.feeds, len(prepared.at)))

    def prepare(self, rows: Rows) -> InputRows:
        """The inputs of the model for the rows without a fault.

        Raises:
            DataError: a column is missing, or its type does not fit the model's input.
        """
        batch = rows.batch
        faults = RowFaults(rows)
        feeds = feeds_of(batch, self._inputs)
        keys = key_faults(batch, self.takes.key, ruled=self.takes.rules is not None)
        found, derived = self._in_order([*keys, *feeds.faults], feeds)
        faults.add(found, columns=derived)
        at, chosen = np.arange(feeds.rows), feeds.feeds
        if faults.any:
            good = faults.good
            at, chosen = at[good], [feed.where(good) for feed in chosen]
        return InputRows(rows, faults, at, chosen, found)

    def finish(self, prepared: InputRows, answered: ModelAnswers) -> ScoredBatch:
        """The scored batch, from the model's answers."""
        rows, faults, at = prepared.rows, prepared.faults, prepared.at
        for row, message in answered.failed.items():
            faults.blame(int(at[row]), message)
        at = at[answered.at]
        faults.add(answered.faults, at)
        finite = faults.good[at]
        arrays = answered.arrays if finite.all() else [array.filter(pa.array(finite)) for array in answered.arrays]
        at = at[finite]
        quarantined = (*rows.refused, *faults.rows(self.columns))
        return ScoredBatch(
            self._predictions(rows.batch, at, arrays),
            rows.numbers[at],
            tuple(sorted(quarantined, key=lambda row: row.row)),
            RuleCounts.of(prepared.found, faults.good)
            if self.takes.rules is not None and prepared.found
            else RuleCounts(),
        )

    def _in_order(self, found: list[RuleViolation], feeds: Feeds) -> tuple[list[RuleViolation], Mapping[str, pa.Array]]:
        """Faults in preprocessing's order, including those of derived features; and the derived features."""
        rules = self.takes.rules
        if rules is None:
            return found, {}
        more, derived = derived_faults(rules, feeds.feeds, feeds.rows)
        names = {taken.columns[0]: taken.name for taken in self.takes.inputs}
        return sorted([*found, *more], key=lambda f: rules.position(names.get(str(f.column), f.column))), derived

    def _by_shape(self, feeds: list[Feed], rows: int) -> ModelAnswers:
        """The answers as columns; rows whose lists have equal lengths are in one call."""
        groups = rows_of_one_shape(feeds) if rows else None
        if groups is None:
            return self._of_one_shape(feeds, rows)
        return in_order([(at, self._of_one_shape([f.take(at) for f in feeds], len(at))) for at in groups])

    def _of_one_shape(self, feeds: list[Feed], rows: int) -> ModelAnswers:
        answers, failed = self._answers(feeds, rows)
        at = np.delete(np.arange(rows), list(failed))
        made = columns_of(answers, self.takes.outputs, len(at))
        return ModelAnswers(at, made.arrays, failed, made.faults)

    def _predictions(
        self, batch: pa.RecordBatch, kept: npt.NDArray[np.int64], arrays: list[pa.Array]
    ) -> pa.RecordBatch:
        key_type = None
        if self.takes.key is not None:
            key = as_plain_text(batch.column(self.takes.key))
            key_type = key.type
            arrays = [key if len(kept) == len(key) else key.take(pa.array(kept)), *arrays]
        version = pa.DictionaryArray.from_arrays(np.zeros(len(kept), np.int32), [self.model_version])
        return pa.RecordBatch.from_arrays([*arrays, version], schema=self.schema(key_type))

    def _answers(self, feeds: list[Feed], rows: int) -> tuple[dict[str, Answer], Mapping[int, FaultCause]]:
        """The model's answers for the rows on which it does not fail, and its errors for the others."""
        pieces: list[dict[str, Answer]] = []
        failed: dict[int, str] = {}
        step = self.takes.batch or max(rows, 1)
        for first in range(0, rows, step):

            def call(begin: int, end: int, first: int = first) -> dict[str, Answer]:
                return self._call([f.slice(first + begin, first + end) for f in feeds], end - begin)

            answers, bad = answered(call, min(step, rows - first))
            pieces += answers
            failed.update({first + row: said for row, said in bad.items()})
        return joined(pieces, self.takes.outputs), failed

    def _call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        """The answers of one call of the model, by output.

        Raises:
            RowsFailed: the model failed, possibly because of some of the rows.
            PlatformError: it failed for another reason, or did not answer every row.
        """
        raise NotImplementedError


class Scorer(RowScorer):
    """A model that scores batches of rows; safe to call from several threads at a time.

    The constructor loads the model, which takes seconds. Make one per model and process: each holds it in memory.

    Attributes:
        takes: what the model takes and gives, and from which columns.
        model_version: version of a Model artifact, or a digest of the files of another SavedModel.
        source: the loaded model.
    """

    def __init__(
        self,
        model: str,
        *,
        signature: str = SERVING_DEFAULT,
        key: str | None = None,
        inputs: Feeding | Sequence[str] | None = None,
        optional: Collection[str] = (),
        constants: Mapping[str, Any] | None = None,
        whole: bool = False,
        intra_op_threads: int | None = None,
        rules: Mode = "enforce",
    ) -> None:
        """Loads a model and makes first predictions, which are slower than later ones.

        They also check that a prediction does not depend on the other rows of a batch.

        Args:
            model: a Model artifact, an Endpoint folder (its live version), or any SavedModel.
            signature: the SavedModel's signature.
            key: the column that identifies a row; it passes through. By default, a Model's key.
            inputs: the column or columns, in order, of each input that is not fed from the column of its name; or only
                columns, for a model with one dense input.
            optional: inputs whose values may be missing (NaN, or ""); a Model declares them itself.
            constants: a value for each input of shape [], the same for all rows.
            whole: each call has exactly all rows, which may depend on each other.
            intra_op_threads: maximum threads per operation, before TensorFlow has started; None for all cores.
            rules: "enforce" quarantines rows that break a Model's rules, "warn" predicts and counts them.

        Raises:
            UsageError: there is no model, or inputs and columns do not match.
            DataError: the SavedModel is damaged or does not fit columns, or its rows are not independent.
            PlatformError: a Model fails on its own golden rows.
        """
        # TensorFlow reads this at import. It would log each failing call to stderr, which is in quarantine anyway.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import_tensorflow()
        from headrace.core.saved_model import loaded
        from headrace.core.scoring.tensors import per_row_of

        self.source = find_source(model, name="model", rules=rules)
        loaded.configure(intra_op_threads)
        # It lives as long as the model, which may read its assets in any call.
        self._files = LocalCopy(self.source.saved_model)
        self._model = loaded.SavedModel(self._files.path, signature)
        ours = self.source.interface is not None and signature == SERVING_DEFAULT
        takes = declared(with_key_input(self._model.takes(), key, ours=ours), self.source)
        if inputs is not None:
            takes = takes.fed(inputs) if isinstance(inputs, Mapping) else takes.dense(inputs)
        takes = keyed(with_optional(with_constants(takes, constants or {}), optional), key)
        # A Model only returns its key, so it need not be converted.
        passes = takes.key_input is not None and (takes.declared or takes.key is None)
        self._blank = takes.key_input if passes else None
        self._coded: CodedModel | None = None
        version = self.source.version if takes.declared else saved_model_digest(self._files.path)
        super().__init__(takes, takes.inputs if passes else and_key(takes), version)
        self._predictor = Predictor(self._model, version, [given.name for given in takes.outputs])
        self._constants = loaded.constant_tensors(takes.constants)
        if not whole:
            refuse_per_call(takes, self._files.path, "score all rows in one call with --batch whole, which repeats it")
        self._per_row = per_row_of(takes.outputs)
        self._whole = whole
        self._unproven = 0
        self._lock = threading.Lock()
        self._warm_up()

    def _answers(self, feeds: list[Feed], rows: int) -> tuple[dict[str, Answer], Mapping[int, FaultCause]]:
        with self._lock:
            due = self._unproven > 0 and rows > 0
            self._unproven -= due
        if due and self._prove(feeds, rows):
            self._unproven = 0
        return super()._answers(feeds, rows)

    def _call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        """The answers of one call for `rows` rows, padded to whole blocks or to the fixed call size.

        Raises:
            RowsFailed: the model failed, possibly because of some of the rows.
            PlatformError: it failed for another reason, or did not answer every row.
        """
        from headrace.core.scoring.tensors import to_binary

        every = self.takes.batch or (rows if self._whole else None)
        chosen = self._predictor.call(lambda filled: self._outputs(feeds, rows, filled), rows, every)
        return {n: to_binary(t) if t.dtype.name == "string" else t.numpy() for n, t in chosen.items()}

    def call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        """As `_call`."""
        return self._call(feeds, rows)

    def _outputs(self, feeds: list[Feed], rows: int, filled: int) -> dict[str, Any]:
        from headrace.core.scoring.tensors import tensors_of

        outputs = None if self._coded is None else self._coded(feeds, rows, filled)
        return self._run(tensors_of(feeds, rows, filled, self._blank)) if outputs is None else outputs

    def _run(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        return self._per_row(self._model({**tensors, **self._constants}), tensors)

    def _warm_up(self) -> None:
        """Calls the model once: on a Model's golden rows, or on zeros, which another SavedModel may refuse."""
        golden = self.source.warm_up if self.takes.declared else ()
        names = [taken.name for taken in self.takes.inputs]
        if golden and all(name in golden[0] for name in names):
            batch = pa.RecordBatch.from_pydict({name: [row.get(name) for row in golden] for name in names})
            feeds = feeds_of(batch, [replace(taken, columns=(taken.name,)) for taken in self.takes.inputs])
            try:
                self._call(feeds.feeds, feeds.rows)
            except RowsFailed as error:
                raise PlatformError(
                    "the model fails on its own golden rows", where=self.source.saved_model, received=str(error)
                ) from error
            if not self._whole:
                self._prove(feeds.feeds, feeds.rows)
            self._code(feeds)
            return
        from headrace.core.saved_model.independence import answers_to, check_independence, trial_rows, with_binary
        from headrace.core.scoring.tensors import zeros

        with suppress(RowsFailed):
            self._call([zeros(taken) for taken in self._inputs], 1)
        rows, batch = trial_rows(self.takes), self.takes.batch
        if self._whole:
            answers = answers_to(self._run, rows, batch)
        else:
            companions = trial_rows(self.takes, companions=True)
            answers = check_independence(self._run, rows, companions, batch, self.source.saved_model)
            # The first real rows may show a dependence that synthetic rows do not.
            self._unproven = PROOFS
        self.takes = with_binary(self.takes, answers, lambda: self._model.graph.makes_bytes())

    def _prove(self, feeds: list[Feed], rows: int) -> bool:
        """Whether there were enough rows to check independence; see `trial.prove`."""
        return prove(self._run, feeds, rows, self._blank, self.takes.batch, self.source.saved_model)

    def _code(self, golden: Feeds) -> None:
        """Uses codes from now on, if that changes no bit of the predictions for a mixture of golden rows."""
        coded = CodedModel.of(self._model.signatures) if self._model.signature == SERVING_DEFAULT else None
        if coded is None:
            return
        chance = np.random.default_rng(0)
        mixed = [feed.take(chance.integers(golden.rows, size=_MIXED_ROWS)) for feed in golden.feeds]
        whole = self._call(mixed, _MIXED_ROWS)
        self._coded = coded
        try:
            answers = self._call(mixed, _MIXED_ROWS)
        except RowsFailed:
            self._coded = None
            return
        if not all(same(whole[name], answers[name]) for name in whole):
            self._coded = None
