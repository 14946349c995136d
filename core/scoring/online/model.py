"""Online model: a loaded SavedModel with its JSON interface and version, from numpy columns to outputs and faults.

It scores through the same `Predictor` as batches and streams, with the same padding: a row has the same prediction, bit
for bit, in a request, in a batch of requests and in batch scoring.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace.core import storage
from headrace.core.errors import DataError, HeadraceError, PlatformError
from headrace.core.saved_model.binding import with_key_input
from headrace.core.saved_model.constants import with_constants
from headrace.core.saved_model.find import ServableModel
from headrace.core.saved_model.interface import KEY, SERVING_DEFAULT, ModelBinding, refuse_per_call
from headrace.core.saved_model.json.columns import Interface, columns_from_instances
from headrace.core.saved_model.json.refused_rows import RowsRefused
from headrace.core.saved_model.json.tensors import TensorInput
from headrace.core.scoring.online.engine import Unsuitable, prove, synthetic_rows, trial_columns, worst_difference
from headrace.core.scoring.online.session import SessionModel
from headrace.core.scoring.online.trial import DependentRows, Trial
from headrace.core.scoring.predictor import BatchPredictions, Predictor
from headrace.core.serving_mode import Engine
from headrace.core.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from headrace.core.saved_model.loaded import SavedModel

_log = logging.getLogger("headrace.serve")

Columns = Mapping[str, npt.NDArray[Any]]
_KINDS = {"float32": "numeric", "float64": "numeric", "string": "categorical"}


class OnlineModel:
    """A loaded model; safe to use from several threads at a time.

    Attributes:
        name: of the model in URLs.
        version: of the model in responses.
        source: where it was found.
        interface: its inputs, as JSON has them.
        signature: of the SavedModel.
        signature_def: inputs and outputs in the form of TensorFlow Serving's metadata.
        binary: the outputs that hold bytes, not text.
        whole: whether its rows depend on each other, so that each request must be a call of its own.
        engine: what computes its predictions, and why, as a clause.
    """

    def __init__(
        self,
        source: ServableModel,
        *,
        signature: str = SERVING_DEFAULT,
        constants: Mapping[str, Any] | None = None,
        engine: Engine = "tensorflow",
        like: OnlineModel | None = None,
        warm_up: bool = True,
    ) -> None:
        """Loads the SavedModel of `source` and makes a first prediction, which is slower than later ones.

        Args:
            source: of the model.
            signature: of the SavedModel.
            constants: a value for each input of shape [], which is one for all rows.
            engine: litert lets LiteRT compute a Model behind its text features, if its predictions are TensorFlow's
                within a relative tolerance of 1e-5.
            like: the model in use, which answers meanwhile; if its session was proven equal, so is that of a model
                with the same operations.
            warm_up: whether the golden rows are predicted first, which must succeed.

        Raises:
            DataError: it cannot be loaded, or JSON rows cannot hold an input or an output.
            UsageError: the constants are not those that it reads.
            PlatformError: its first prediction failed.
        """
        # TensorFlow reads this at import; its notes on CPU instructions are of no use here.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import_tensorflow()
        from headrace.core.saved_model import loaded

        self.source, self.signature = source, signature
        self.name, self.version = source.name, source.version
        # A loaded model is in memory, with its vocabularies: a local copy of its files is removed.
        with storage.at_hand(source.saved_model) as folder:
            # A model with a proven session is not loaded for eager calls, too.
            known = like._model if like is not None and like.operations else None
            model = loaded.SavedModel(str(folder), signature, like=known)
            self._model: SavedModel = model
            fixed, synthetic = self._load(model, constants or {})
            session = self._session(model, fixed, beside=like is not None)
            if session is not None and like is not None and session.operations == like.operations:
                self._predictor.session = session
            if warm_up:
                self._warm_up()
            if session is not None and self._predictor.session is None:
                self._prove(session, synthetic)
            self.engine = "TensorFlow (--engine litert tries LiteRT)"
            if engine == "litert":
                self.engine = self._engine(model)
            elif self.operations and self._trial is None:
                # No call is eager any more, so that its variables are not in memory twice.
                model.unload()
            if not self.operations:
                model.load()

    def _load(self, model: SavedModel, constants: Mapping[str, Any]) -> tuple[Mapping[str, Any], Columns]:
        """Binds the signature; returns its constants' tensors, and rows to try a model without golden rows with."""
        from headrace.core.saved_model import loaded

        source, inputs, signature = self.source, model.inputs, self.signature
        if source.interface is not None and signature == SERVING_DEFAULT:
            self.interface = _declared(source, source.interface, inputs)
            takes = ModelBinding(signature, (), ())
        else:
            takes = with_key_input(model.takes(any_outputs=True), None)
            self.interface = Interface(tuple(map(TensorInput.of, takes.inputs)), takes_key=takes.key_input is not None)
        refuse_per_call(takes, model.path, "score in batches with --batch whole, which repeats it in each row")
        takes = with_constants(takes, constants)
        fixed = loaded.constant_tensors(takes.constants)
        self.whole = False
        self._fixed = takes.batch is not None
        self._trial: Trial | None = None
        if takes.inputs:
            takes = self._tried(model, takes, fixed)
        self.binary = frozenset(given.name for given in takes.outputs if given.binary)
        self._dtypes = {name: _numpy_dtype(spec) for name, spec in inputs.items() if name not in fixed}
        # The key comes first, as readers look for it.
        outputs = sorted(model.outputs, key=lambda name: (name != KEY, name))
        self._predictor = Predictor(
            model, source.version, outputs, constants=fixed, batch=takes.batch, whole=self.whole
        )
        self._whole_predictor = Predictor(model, source.version, outputs, constants=fixed, whole=True)
        self.signature_def = {
            "inputs": {name: _tensor_info(spec) for name, spec in inputs.items()},
            "outputs": {name: _tensor_info(spec) for name, spec in sorted(model.outputs.items())},
            "method_name": "tensorflow/serving/predict",
        }
        return fixed, synthetic_rows(takes) if takes.inputs and not self.whole else {}

    def predict(self, columns: Columns) -> BatchPredictions:
        """Predictions for rows.

        Args:
            columns: a column per feature, of one length, as the JSON converters return them; `key` is optional where
                the model only returns it.

        Returns:
            The outputs, with `key` only if it is in `columns`, and the faults by row: of rows on which the model fails
            alone, and of predictions that are not finite.

        Raises:
            PlatformError: the model failed for a reason that is not in the rows, or did not answer every row.
            DependentRows: these first rows show that rows depend on each other. From now on, `whole` is true, and the
                same call succeeds for the rows of one request.
        """
        keyed = KEY in columns or not self.interface.takes_key
        if not keyed:
            columns = {**columns, KEY: np.full(len(next(iter(columns.values()))), "", dtype=object)}
        typed = {name: _typed(columns[name], dtype) for name, dtype in self._dtypes.items()}
        self._try(typed)
        try:
            predicted = self._predictor.predict(typed)
        except DataError as error:
            # The request is valid: the model is at fault.
            raise PlatformError(
                error.what, where=error.where, expected=error.expected, received=error.received
            ) from error
        if keyed:
            return predicted
        outputs = {name: values for name, values in predicted.outputs.items() if name != KEY}
        return BatchPredictions(outputs, predicted.at, predicted.faults, predicted.model_version)

    def _tried(self, model: SavedModel, takes: ModelBinding, fixed: Mapping[str, Any]) -> ModelBinding:
        """Calls a model of which no rows are known: this shows outputs of bytes, and rows that depend on each other.

        Raises:
            DataError: its rows depend on each other, and it requires a fixed number of them, which copies fill up.
        """
        from headrace.core.saved_model.independence import answers_to, check_independence, trial_rows, with_binary

        def call(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
            return model({**tensors, **fixed})

        rows, companions = trial_rows(takes), trial_rows(takes, companions=True)
        try:
            answers = check_independence(call, rows, companions, takes.batch, model.path)
        except DataError:
            if takes.batch is not None:
                raise
            self.whole = True
            answers = answers_to(call, rows, None)
        if not self.whole:
            self._trial = Trial(call, takes.batch, model.path)
        return with_binary(takes, answers, lambda: model.graph.makes_bytes())

    def _try(self, typed: Columns) -> None:
        """Checks first rows; errors as of `predict`."""
        # Another thread may end the trial meanwhile.
        trial = self._trial
        if trial is None:
            return
        try:
            trial.check(typed)
        except DependentRows as error:
            cause = error.__cause__
            if self._fixed and isinstance(cause, DataError):
                # Other rows fill up each call, so no call is right.
                raise PlatformError(
                    cause.what, where=cause.where, expected=cause.expected, received=cause.received
                ) from error
            self.whole, self._predictor, self._trial = True, self._whole_predictor, None
            raise

    def _proof_rows(self) -> Columns:
        """Rows that prove an engine equal: golden rows, and variants; none for a model that is not a Model."""
        if self.source.interface is None or not self.source.warm_up or self.signature != SERVING_DEFAULT:
            return {}
        columns = columns_from_instances(self.source.warm_up, self.interface)
        return trial_columns({name: _typed(columns[name], dtype) for name, dtype in self._dtypes.items()})

    @property
    def operations(self) -> str:
        """Digest of the operations that a session calls; "" for eager calls."""
        session = self._predictor.session
        return session.operations if isinstance(session, SessionModel) else ""

    def _session(self, model: SavedModel, fixed: Mapping[str, Any], *, beside: bool) -> SessionModel | None:
        """A session that may call the model, which is not proven yet."""
        try:
            if self.whole:
                raise Unsuitable("its rows depend on each other")
            return SessionModel(model, tuple(self._dtypes), self._predictor.outputs, fixed, beside=beside)
        except Unsuitable as error:
            self._without_session(error)
            return None

    def _prove(self, session: SessionModel, synthetic: Columns) -> None:
        """Calls the model in a session from now on, if that is equal, bit for bit, and faster."""
        try:
            prove(self._predictor, session, self._proof_rows() or synthetic)
        except (Unsuitable, HeadraceError) as error:
            self._predictor.session = None
            self._without_session(error)

    def _without_session(self, why: Exception) -> None:
        _log.info("%s is called without a session: %s", self.name, why)

    def _engine(self, model: SavedModel) -> str:
        """Uses LiteRT if it is proven equal, and returns what is used, and why."""
        from headrace.core.scoring.online.lite import LiteModel

        try:
            tried = self._proof_rows()
            if not tried:
                raise Unsuitable("it is not a Model with golden rows, which parity is proven with")
            theirs = self._predictor.predict(tried)
            self._predictor.engine = LiteModel(model)
            ours = self._predictor.predict(tried)
            difference = worst_difference(ours, theirs)
            if difference:
                raise Unsuitable(difference)
        except Unsuitable as error:
            self._predictor.engine = None
            return f"TensorFlow, not LiteRT: {error}"
        rows = len(next(iter(tried.values())))
        return f"LiteRT behind the text features: equal to TensorFlow within a relative 1e-5 on {rows} rows"

    def _warm_up(self) -> None:
        if not self.source.warm_up:
            return
        where = self.source.saved_model
        try:
            predicted = self.predict(columns_from_instances(self.source.warm_up, self.interface))
        except RowsRefused as error:
            raise PlatformError(error.what, where=where, received=error.received) from error
        for fault in predicted.faults.values():
            raise PlatformError("the model fails on its own golden rows", where=where, received=fault.message)


def _declared(source: ServableModel, declared: Interface, inputs: Mapping[str, Any]) -> Interface:
    """The interface that the artifact declares, checked against the signature."""
    kinds = {}
    for name, spec in inputs.items():
        if spec.dtype.name not in _KINDS or spec.shape.rank != 1:
            raise DataError(
                "the type of the signature's input is not supported",
                where=f"{source.saved_model}, {name}",
                expected="float32, float64 or string of shape [None]: one value per row",
                received=f"{spec.dtype.name} of shape {spec.shape}",
            )
        kinds[name] = _KINDS[spec.dtype.name]
    takes_key = kinds.get(KEY) == "categorical"
    features = {name: kind for name, kind in kinds.items() if name != KEY or not takes_key}
    wanted = {i.name: str(i.kind) for i in declared.inputs}
    if wanted != features or takes_key != declared.takes_key:
        raise DataError(
            "the SavedModel and schema.json of the Model disagree",
            where=source.saved_model,
            expected=_list(wanted) + (", key" if declared.takes_key else ""),
            received=_list(features) + (", key" if takes_key else ""),
        )
    return declared


def _numpy_dtype(spec: Any) -> Any:
    """The dtype of an input's column: TensorFlow's bfloat16 is one for numpy, too; None for strings."""
    return None if spec.dtype.name == "string" else spec.dtype.as_numpy_dtype


def _typed(column: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    if dtype is None or column.dtype == dtype:
        return column
    if column.dtype != object:
        return column.astype(dtype)
    # Lists of several lengths are one array per row.
    rows = np.empty(len(column), object)
    rows[:] = [row.astype(dtype) for row in column]
    return rows


def _list(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items()))


def _tensor_info(spec: Any) -> dict[str, Any]:
    sizes = spec.shape.as_list() if spec.shape.rank is not None else []
    return {
        "dtype": f"DT_{_DTYPES.get(spec.dtype.name, spec.dtype.name.upper())}",
        "tensor_shape": {
            "dim": [{"size": str(-1 if size is None else size), "name": ""} for size in sizes],
            "unknown_rank": spec.shape.rank is None,
        },
        "name": spec.name or "",
    }


_DTYPES = {"float32": "FLOAT", "float64": "DOUBLE"}
