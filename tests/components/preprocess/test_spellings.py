"""One value is never two categories in silence."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.components.preprocess.spellings import check_spellings
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.problem.file import load_problem

PROBLEM = Problem(
    name="p", key="id", label=Numeric("y"), features=[Categorical("c"), Categorical("d", vocabulary=["a"])]
)


def warnings(*categories: str, **seen: int) -> list[str]:
    columns = {name: {"vocabulary": [[text, 1] for text in categories]} for name in ("c", "d")}
    return check_spellings(
        PROBLEM, "data", {"columns": columns}, {name.replace("_", " "): n for name, n in seen.items()}
    )


def test_text_stays_as_it_is_written_with_a_warning_for_numbers() -> None:
    assert warnings("3.1", "3.10", "007", "7", text_c=4) == [
        'warning: "c" has categories that are one number: "3.1" and "3.10"; text stays as it is written'
    ]
    assert warnings("007", "7", "a", "A", text_c=4) == []


@pytest.mark.parametrize(
    ("categories", "seen"), [(("True", "true"), {"text_c": 2}), (("2", "2.0"), {"text_c": 1, "typed_c": 1})]
)
def test_both_spellings_in_one_data_set_are_refused(categories: tuple[str, ...], seen: dict[str, int]) -> None:
    with pytest.raises(DataError, match='"c" has several spellings of one value'):
        warnings(*categories, **seen)


def test_booleans_of_csv_beside_those_of_parquet(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "p.py").write_text(
        "from headrace import Categorical, Numeric, Problem\n"
        "problem = Problem(name='p', key='id', label=Numeric('y'), features=[Categorical('c')])\n"
    )
    (data / "a.csv").write_text("id,y,c\n" + "".join(f"{n},1,{n % 2 == 0}\n" for n in range(60)))
    pq.write_table(
        pa.table({"id": range(60, 120), "y": [1.0] * 60, "c": [n % 2 == 0 for n in range(60)]}), data / "b.parquet"
    )
    config = PreprocessConfig(str(data), str(tmp_path / "out"), "0123456789abcdef")
    with pytest.raises(DataError, match='"False" and "false"; "True" and "true": some files have it as text'):
        preprocess(load_problem(str(tmp_path / "p.py")), config)
    assert not (tmp_path / "out").exists()
