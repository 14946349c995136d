"""Numbers in another notation: `headrace init` names the option, however few of a column's values they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.components.preprocess.draft.write_problem import draft
from headrace.core.errors import HeadraceError
from headrace.core.sources.csv_dialect import CsvDialect


@pytest.mark.parametrize("every", [200, 40, 3, 1], ids="one in {}".format)
def test_a_column_with_marks_is_left_out_with_the_option(tmp_path: Path, every: int) -> None:
    rows = [
        f"1 {100 + n % 900},5;{n % 9};{n / 7}" if n % every == 0 else f"{n % 997}.5;{n % 9};{n / 7}"
        for n in range(1200)
    ]
    path = tmp_path / "a.csv"
    path.write_text("x;z;y\n" + "\n".join(rows))
    dialect = CsvDialect.parse(["delimiter=;"])
    (line,) = [line for line in draft(str(path), label="y", csv=dialect).source.splitlines() if '"x"' in line]
    assert line.strip().startswith('# "x" is left out: ')
    assert 'such as "1 100,5": give --csv decimal=, --csv thousands=space' in line
    with pytest.raises(HeadraceError, match="give --csv decimal=, --csv thousands=space"):
        draft(str(path), label="x", csv=dialect)


def test_different_prices_are_no_key(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x;z;y\n" + "".join(f"{n},5;{n % 9};{n / 7}\n" for n in range(100)))
    source = draft(str(path), label="y", csv=CsvDialect.parse(["delimiter=;"])).source
    assert "key=None," in source
    assert (
        '"x" is left out: its values look like numbers in another notation, such as "0,5": give --csv decimal=,'
        in source
    )
