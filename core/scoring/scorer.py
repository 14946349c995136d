"""Rows to predictions by a SavedModel: the core that batches, streams and any runner share."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts import quarantine
from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import DataError, PlatformError
from headrace.core.rules.column import bytes_fault, key_fault
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.fault import Fault
from headrace.core.rules.mode import Mode
from headrace.core.saved_model.binding import MODEL_VERSION, and_key, declared, keyed, with_key_input, with_optional
from headrace.core.saved_model.digest import saved_model_digest
from headrace.core.saved_model.find import find_source
from headrace.core.saved_model.interface import SERVING_DEFAULT, Feeding, ModelInput, Takes
from headrace.core.scoring.bisect import RowsFailed, answered
from headrace.core.scoring.distinct_texts.coded_model import CodedModel
from headrace.core.scoring.predictor import BLOCK_ROWS, Predictor
from headrace.core.scoring.row_faults import RowFaults
from headrace.core.scoring.rule_faults import derived_faults
from headrace.core.scoring.to_columns import Answer, columns_of, joined, same, type_of
from headrace.core.scoring.to_tensors import Feed, Feeds, feeds_of
from headrace.core.sources.source import Rows
from headrace.core.storage.local_copy import LocalCopy
from headrace.core.tensorflow_import import import_tensorflow
from headrace.core.values.columns import texts

# Of a model whose predictions are other ones by a bit for one in a hundred rows, ten would be found.
_MIXED_ROWS = 20 * BLOCK_ROWS

# Of a row without an answer: what the model said, or the faults for which a server refused it.
Said: TypeAlias = str | Sequence[quarantine.Fault]


@dataclass(frozen=True)
class Scored:
    """What came of a batch.

    Attributes:
        predictions: for each row that has one: the key under its own name, the outputs, `model_version`.
        numbers: the rows' numbers in their file, [rows].
        quarantined: the other rows, in order, refused ones too.
        counts: rows that broke a rule of the Model.
    """

    predictions: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    quarantined: tuple[QuarantinedRow, ...] = ()
    counts: RuleCounts = field(default_factory=RuleCounts)


class RowScorer:
    """Rows to predictions around a model, wherever that is: a subclass says how it is called.

    Attributes:
        takes: what the model takes and gives, and from which columns.
        model_version: which model it is.
    """

    def __init__(self, takes: Takes, inputs: Sequence[ModelInput], model_version: str) -> None:
        """Prepares to score.

        Args:
            takes: what the model takes and gives.
            inputs: those that the model is given: all, and the key's where it needs it.
            model_version: which model it is.
        """
        self.takes = takes
        self.model_version = model_version
        self._inputs = tuple(inputs)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads: the key, then those of the inputs."""
        return self.takes.columns

    def schema(self, key_type: pa.DataType | None = None) -> pa.Schema:
        """The schema of predictions.

        Args:
            key_type: of the key's column, as it is read.
        """
        fields = [] if self.takes.key is None else [(self.takes.key, key_type or pa.string())]
        fields += [(given.name, type_of(given)) for given in self.takes.outputs]
        return pa.schema([*fields, (MODEL_VERSION, pa.dictionary(pa.int32(), pa.string()))])

    def score(self, rows: Rows) -> Scored:
        """Predictions for a batch of rows, each of which comes out either with one or quarantined.

        Rows on which the model fails are found by halves; the others of their batch are scored.

        Raises:
            DataError: a column is not there, or of a type that cannot be what the model takes.
            PlatformError: the model fails for a reason that is not in the rows.
        """
        batch = rows.batch
        faults = RowFaults(rows)
        feeds = feeds_of(batch, self._inputs)
        found, derived = self._in_order([*self._key_faults(batch), *feeds.faults], feeds)
        faults.add(found, columns=derived)
        at, chosen = np.arange(feeds.rows), feeds.feeds
        if faults.any:
            good = faults.good
            at, chosen = at[good], [feed.where(good) for feed in chosen]
        answers, failed = self._answers(chosen, len(at))
        for row, message in failed.items():
            faults.blame(int(at[row]), message)
        at = np.delete(at, list(failed))
        made = columns_of(answers, self.takes.outputs, len(at))
        faults.add(made.faults, at)
        finite = faults.good[at]
        arrays = made.arrays if finite.all() else [array.filter(pa.array(finite)) for array in made.arrays]
        at = at[finite]
        quarantined = (*rows.refused, *faults.rows(self.columns))
        return Scored(
            self._predictions(batch, at, arrays),
            rows.numbers[at],
            tuple(sorted(quarantined, key=lambda row: row.row)),
            RuleCounts.of(found, faults.good) if self.takes.rules is not None and found else RuleCounts(),
        )

    def _in_order(self, found: list[Fault], feeds: Feeds) -> tuple[list[Fault], Mapping[str, pa.Array]]:
        """Faults in the order in which preprocess reports them, those of derived features too; and these features."""
        rules = self.takes.rules
        if rules is None:
            return found, {}
        more, derived = derived_faults(rules, feeds.feeds, feeds.rows)
        names = {taken.columns[0]: taken.name for taken in self.takes.inputs}
        return sorted([*found, *more], key=lambda f: rules.position(names.get(str(f.column), f.column))), derived

    def _predictions(
        self, batch: pa.RecordBatch, kept: npt.NDArray[np.int64], arrays: list[pa.Array]
    ) -> pa.RecordBatch:
        key_type = None
        if self.takes.key is not None:
            key = batch.column(self.takes.key)
            key_type = key.type
            arrays = [key if len(kept) == len(key) else key.take(pa.array(kept)), *arrays]
        version = pa.DictionaryArray.from_arrays(np.zeros(len(kept), np.int32), [self.model_version])
        return pa.RecordBatch.from_arrays([*arrays, version], schema=self.schema(key_type))

    def _key_faults(self, batch: pa.RecordBatch) -> list[Fault]:
        name = self.takes.key
        if name is None:
            return []
        if name not in batch.schema.names:
            raise DataError(
                "the rows lack the key's column", where=name, received=f"columns {', '.join(batch.schema.names)}"
            )
        column = batch.column(name)
        found: list[Fault] = []
        if self.takes.rules is not None and (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
            column, bad = texts(column)
            found = [bytes_fault(name, bad)] if bad.any() else []
            column = pc.if_else(pa.array(bad), "-", column)
        missing = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            missing = missing | pc.equal(column, "").fill_null(False).to_numpy(zero_copy_only=False)
        return [*found, key_fault(name, missing)] if missing.any() else found

    def _answers(self, feeds: list[Feed], rows: int) -> tuple[dict[str, Answer], Mapping[int, Said]]:
        """What the model answers the rows on which it does not fail, and for the others what it said."""
        pieces, failed = answered(
            lambda begin, end: self._call([f.slice(begin, end) for f in feeds], end - begin), rows
        )
        return joined(pieces, self.takes.outputs), failed

    def _call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        """The answers of one call of the model, by output.

        Raises:
            RowsFailed: the model failed, perhaps for the sake of some of the rows.
            PlatformError: it failed for another reason, or did not answer every row.
        """
        raise NotImplementedError


class Scorer(RowScorer):
    """A model that scores batches of rows; safe to call from several threads at a time.

    It is loaded when it is made, which takes seconds, and holds the model's memory: a process needs one of a kind.

    Attributes:
        takes: what the model takes and gives, and from which columns.
        model_version: of a Model artifact; of another SavedModel, a digest of its files.
        source: what was loaded.
    """

    def __init__(
        self,
        model: str,
        *,
        signature: str = SERVING_DEFAULT,
        key: str | None = None,
        inputs: Feeding | Sequence[str] | None = None,
        optional: Collection[str] = (),
        intra_op_threads: int | None = None,
        rules: Mode = "enforce",
    ) -> None:
        """Loads a model and makes a first prediction, which is slower than those after it.

        Args:
            model: a Model artifact, an Endpoint folder (its live version), or a SavedModel of anybody's.
            signature: of the SavedModel.
            key: the column that identifies a row; it passes through. By default the one that a Model names.
            inputs: the column or columns, in order, of each input that is not fed from the column of its name; or only
                columns, for a model with one dense input.
            optional: inputs of a SavedModel that is not ours of which values may be missing (NaN, or ""); a Model says
                it itself.
            intra_op_threads: that one operation may use; None for all cores. It is set before TensorFlow starts, or
                not at all.
            rules: "enforce" quarantines rows that break a Model's rules, "warn" predicts and counts them.

        Raises:
            UsageError: nothing that can be loaded is there, or inputs and columns do not go together.
            DataError: the SavedModel is damaged, or takes or gives what columns cannot hold.
            PlatformError: a Model fails on its own golden rows.
        """
        # TensorFlow reads this when it is imported. It would say on stderr of each failing call what is in quarantine.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import_tensorflow()
        from headrace.core.saved_model import loaded

        self.source = find_source(model, name="model", rules=rules)
        loaded.configure(intra_op_threads)
        # It stays as long as the model, which may read its assets whenever it is called.
        self._files = LocalCopy(self.source.saved_model)
        self._model = loaded.SavedModel(self._files.path, signature)
        takes = declared(with_key_input(self._model.takes()), self.source)
        if inputs is not None:
            takes = takes.fed(inputs) if isinstance(inputs, Mapping) else takes.dense(inputs)
        takes = keyed(with_optional(takes, optional), key)
        # A Model gives its key back and does no more with it, so none need be made for it.
        passes = takes.key_input is not None and (takes.declared or takes.key is None)
        self._blank = takes.key_input if passes else None
        self._coded: CodedModel | None = None
        version = self.source.version if takes.declared else saved_model_digest(self._files.path)
        super().__init__(takes, takes.inputs if passes else and_key(takes), version)
        self._predictor = Predictor(self._model, version, [given.name for given in takes.outputs])
        self._warm_up()

    def _call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        """The answers of one call, to `rows` rows that are filled up to whole blocks.

        Raises:
            RowsFailed: the model failed, perhaps for the sake of some of the rows.
            PlatformError: it failed for another reason, or did not answer every row.
        """
        from headrace.core.scoring.tensors import to_binary

        chosen = self._predictor.call(lambda filled: self._outputs(feeds, rows, filled), rows)
        return {n: to_binary(t) if t.dtype.name == "string" else t.numpy() for n, t in chosen.items()}

    def _outputs(self, feeds: list[Feed], rows: int, filled: int) -> dict[str, Any]:
        from headrace.core.scoring.tensors import tensors_of

        outputs = None if self._coded is None else self._coded(feeds, rows, filled)
        return self._model(tensors_of(feeds, rows, filled, self._blank)) if outputs is None else outputs

    def _warm_up(self) -> None:
        """Calls the model once: on what a Model was exported with, or on zeros, which another's may well refuse."""
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
            self._code(feeds)
        else:
            from headrace.core.scoring.tensors import zeros

            with suppress(RowsFailed):
                self._call([zeros(taken) for taken in self._inputs], 1)

    def _code(self, golden: Feeds) -> None:
        """Gives the model codes from now on, if that changes no bit of the predictions for a mixture of golden rows."""
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
