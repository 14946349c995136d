"""LiteRT engine: the part of a Model behind its text features, converted and proven equal when the Model is loaded.

The text features stay TensorFlow's: what they make of a combination of texts is cached, so that a call whose texts were
seen before needs TensorFlow for nothing.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace.core.saved_model.interface import KEY
from headrace.core.saved_model.signatures import (
    MAX_COMBINATIONS,
    PREDICT_BY_CODE,
    TEXT_TABLES,
    Group,
    code_input,
    groups_of,
    number_input,
    texts_input,
)
from headrace.core.scoring.online.engine import UNKNOWN, Arrays, Unsuitable
from headrace.core.scoring.predictor import filled_rows

if TYPE_CHECKING:
    from headrace.core.saved_model.loaded import SavedModel

# Combinations of texts that are cached per group, and characters of a text: they bound the memory of the cache.
_MAX_CACHED = 1 << 16
_MAX_LENGTH = 256
# Distinct primes tell from a table's size which texts are combined in it.
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


class LiteModel:
    """A Model that LiteRT computes behind its text features; safe to call from several threads at a time.

    Args:
        model: a Model's SavedModel.

    Raises:
        Unsuitable: it is not split at its text features, or LiteRT cannot convert it.
    """

    def __init__(self, model: SavedModel) -> None:
        if not {TEXT_TABLES, PREDICT_BY_CODE} <= set(model.signatures):
            raise Unsuitable("the SavedModel is not split behind text features, as `headrace train` splits a model")
        self._text_tables, by_code = model.signatures[TEXT_TABLES], model.signatures[PREDICT_BY_CODE]
        specs = by_code.structured_input_signature[1]
        columns = sorted(name for name in model.inputs if name != KEY)
        self._texts = [name for name in columns if model.inputs[name].dtype.name == "string"]
        numbers = [name for name in columns if name not in self._texts]
        self._numbers = {name: specs[number_input(at)].dtype.as_numpy_dtype for at, name in enumerate(numbers)}
        if len(self._texts) > len(_PRIMES):
            raise Unsuitable(f"it has more than {len(_PRIMES)} columns of texts")
        self._has_key = KEY in model.outputs
        absent = set(model.outputs) - {KEY} - set(by_code.structured_outputs)
        if absent:
            raise Unsuitable(f"the part behind its text features has no output {min(absent)}")
        self._codes = [code_input(group) for group in groups_of(specs)]
        self._constant, self._groups = self._split()
        # One call lasts some 50 us: threads take turns.
        self._lock = threading.Lock()
        self._run = _converted(model, by_code)

    def __call__(self, columns: Arrays, begin: int, end: int) -> dict[str, npt.NDArray[Any]] | None:
        """The outputs for some rows.

        Args:
            columns: by input of the serving signature, of its dtype.
            begin, end: the rows.

        Returns:
            The outputs, [end - begin, ...]; None where the rows have so many new texts that TensorFlow is faster, or a
            text that is too long to be cached.
        """
        rows, filled = end - begin, filled_rows(end - begin)
        texts = {name: columns[name][begin:end].tolist() for name in self._texts}
        with self._lock:
            if not self._learn(texts):
                return None
            inputs = dict(self._constant)
            for group in self._groups:
                inputs |= group.tables_of([texts[self._texts[at]] for at in group.columns], filled)
            inputs |= dict.fromkeys(self._codes, np.arange(filled, dtype=np.int32))
            for at, (name, dtype) in enumerate(self._numbers.items()):
                inputs[number_input(at)] = _filled(columns[name][begin:end].astype(dtype, copy=False), filled)
            try:
                outputs = self._run(**inputs)
            except (RuntimeError, ValueError):
                return None
        found = {name: values[:rows] for name, values in outputs.items()}
        if self._has_key:
            found[KEY] = np.array([_as_bytes(key) for key in columns[KEY][begin:end]], object)
        return found

    def _tables(self, words: Sequence[Sequence[Any]]) -> dict[str, npt.NDArray[Any]]:
        import tensorflow as tf

        given = {texts_input(at): tf.constant(list(map(_as_bytes, each)), tf.string) for at, each in enumerate(words)}
        return {name: table.numpy() for name, table in self._text_tables(**given).items()}

    def _split(self) -> tuple[dict[str, npt.NDArray[Any]], list[_Group]]:
        """The tables that no text changes, and those of each group of columns."""
        one = self._tables([[""]] * len(self._texts))
        sizes = _PRIMES[: len(self._texts)]
        several = self._tables([[f"{UNKNOWN} {word}" for word in range(size)] for size in sizes])
        constant, groups = {}, dict[Group, _Group]()
        for name, table in one.items():
            if len(several[name]) == len(table):
                constant[name] = table
                continue
            times = len(several[name]) // len(table)
            columns = tuple(at for at, size in enumerate(sizes) if times % size == 0)
            if times != math.prod(sizes[at] for at in columns):
                raise Unsuitable("the sizes of its tables of texts are not those of combinations")
            groups.setdefault(columns, _Group(columns)).stored[name] = np.zeros((0, len(table)), table.dtype)
        return constant, list(groups.values())

    def _learn(self, texts: Mapping[str, Sequence[Any]]) -> bool:
        """Caches new combinations of texts by one call of TensorFlow; False where they are too many or too long."""
        missing = [group.missing([texts[self._texts[at]] for at in group.columns]) for group in self._groups]
        if not any(missing):
            return True
        words: list[dict[Any, int]] = [{} for _ in self._texts]
        for group, combinations in zip(self._groups, missing, strict=True):
            for combination in combinations:
                for at, text in zip(group.columns, combination, strict=True):
                    if len(text) > _MAX_LENGTH:
                        return False
                    words[at].setdefault(text, len(words[at]))
        for each in words:
            each.setdefault("", len(each))
        if any(math.prod(len(words[at]) for at in group.columns) > MAX_COMBINATIONS for group in self._groups):
            return False
        tables = self._tables([list(each) for each in words])
        for group, combinations in zip(self._groups, missing, strict=True):
            group.add(combinations, words, tables)
        return True


class _Group:
    """The tables of combinations of some text columns, by combination.

    Attributes:
        columns: places of the columns among the text columns.
        stored: by table, [combinations and room for more, values per combination].
    """

    def __init__(self, columns: Group) -> None:
        self.columns = columns
        self.stored: dict[str, npt.NDArray[Any]] = {}
        self._places: dict[tuple[Any, ...], int] = {}

    def missing(self, texts: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """The combinations among rows that are not cached; all of them, where the cache would be too large."""
        wanted = dict.fromkeys(zip(*texts, strict=True))
        new = [combination for combination in wanted if combination not in self._places]
        if new and len(self._places) + len(new) > _MAX_CACHED:
            self._places.clear()
            return list(wanted)
        return new

    def add(self, combinations: Sequence[tuple[Any, ...]], words: Sequence[Mapping[Any, int]], tables: Arrays) -> None:
        """Caches combinations.

        Args:
            combinations: new ones.
            words: by text column, places of its texts in the tables.
            tables: of all combinations of these texts.
        """
        if not combinations:
            return
        sizes = [len(words[at]) for at in self.columns]
        codes = [[words[at][each[i]] for each in combinations] for i, at in enumerate(self.columns)]
        at = np.ravel_multi_index(codes, sizes)
        used, needed = len(self._places), len(self._places) + len(combinations)
        for name, values in self.stored.items():
            if needed > len(values):
                # Twice as many, so that a text that comes alone does not copy those before it each time.
                grown = np.empty((max(needed, 2 * len(values)), values.shape[1]), values.dtype)
                grown[:used] = values[:used]
                self.stored[name] = values = grown
            values[used:needed] = tables[name].reshape(math.prod(sizes), -1)[at]
        for combination in combinations:
            self._places[combination] = len(self._places)

    def tables_of(self, texts: Sequence[Sequence[Any]], filled: int) -> dict[str, npt.NDArray[Any]]:
        """The tables of rows, one combination per row, padded to `filled` rows."""
        places = _filled(np.array([self._places[each] for each in zip(*texts, strict=True)]), filled)
        return {name: values[places].reshape(-1) for name, values in self.stored.items()}


def _converted(model: SavedModel, by_code: Any) -> Any:
    """LiteRT's call of a ConcreteFunction, with one thread."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # LiteRT moves to a package of its own.
        warnings.simplefilter("ignore")
        try:
            content = tf.lite.TFLiteConverter.from_concrete_functions([by_code], model.root).convert()
            return tf.lite.Interpreter(model_content=content, num_threads=1).get_signature_runner()
        except Exception as error:
            # The converter raises errors of many types.
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise Unsuitable(f"LiteRT cannot convert it: {reason}") from error


def _filled(values: npt.NDArray[Any], filled: int) -> npt.NDArray[Any]:
    return np.concatenate([values, np.repeat(values[-1:], filled - len(values), axis=0)])


def _as_bytes(key: Any) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode()
