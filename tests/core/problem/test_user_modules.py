"""Modules of the user's own are found, imported in isolation, and part of what a Problem file is."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import pytest

from headrace.core.errors import ProblemError
from headrace.core.problem import Gate, copies, places
from headrace.core.problem.file import ProblemFile, ProblemPart, load_problem
from headrace.core.problem.user_modules import MAX_MODULES

BASE = """\
from headrace.core.problem import Numeric, Problem
problem = Problem(name="a", key="id", label=Numeric("y"), features=[Numeric("x")], hyperparameters={"units": UNITS})
"""
BUILD = """\
def build_model(problem, statistics, hyperparameters):
    return answer()
"""


def write(folder: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder / "natality.py")


def units(file: ProblemFile) -> object:
    return file.problem.hyperparameters["units"]


def answer(file: ProblemFile) -> object:
    assert file.build_model is not None
    return file.build_model(None, None, None)


@pytest.mark.parametrize(
    ("imports", "files", "found"),
    [
        ("from helpers import UNITS", {"helpers.py": "UNITS = 3"}, ["helpers.py"]),
        ("import helpers\nUNITS = helpers.UNITS", {"helpers.py": "UNITS = 3"}, ["helpers.py"]),
        ("import helpers as h\nUNITS = h.UNITS", {"helpers.py": "UNITS = 3"}, ["helpers.py"]),
        ("from helpers import *", {"helpers.py": "UNITS = 3"}, ["helpers.py"]),
        (
            "from helpers import UNITS",
            {"helpers.py": "from more import UNITS", "more.py": "UNITS = 3"},
            ["helpers.py", "more.py"],
        ),
        (
            "from parts.layers import UNITS",
            {"parts/__init__.py": "", "parts/layers.py": "from .sizes import UNITS", "parts/sizes.py": "UNITS = 3"},
            ["parts/__init__.py", "parts/layers.py", "parts/sizes.py"],
        ),
        (
            "import parts.deep.sizes as s\nUNITS = s.UNITS",
            {
                "parts/__init__.py": "",
                "parts/deep/__init__.py": "from . import sizes",
                "parts/deep/sizes.py": "from ..base import UNITS",
                "parts/base.py": "UNITS = 3",
            },
            ["parts/__init__.py", "parts/base.py", "parts/deep/__init__.py", "parts/deep/sizes.py"],
        ),
        (
            "import parts.layers\nUNITS = parts.layers.UNITS",
            {"parts/__init__.py": "import os.path", "parts/layers.py": "UNITS = 3"},
            ["parts/__init__.py", "parts/layers.py"],
        ),
        (
            "from parts import layers\nUNITS = layers.UNITS",
            {"parts/__init__.py": "", "parts/layers.py": "UNITS = 3"},
            ["parts/__init__.py", "parts/layers.py"],
        ),
        # A folder's own module comes before Python's, as for any script.
        ("from statistics import UNITS", {"statistics.py": "UNITS = 3"}, ["statistics.py"]),
        # Two that import each other.
        (
            "from helpers import UNITS",
            {"helpers.py": "import more\nUNITS = 3", "more.py": "import helpers\n"},
            ["helpers.py", "more.py"],
        ),
        ("import json, os.path\nUNITS = 3", {"helpers.py": "raise SystemExit(1)"}, []),
    ],
)
def test_what_is_imported_is_found_and_nothing_else(
    tmp_path: Path, imports: str, files: dict[str, str], found: list[str]
) -> None:
    before = list(sys.path)
    file = load_problem(write(tmp_path, {"natality.py": f"{imports}\n{BASE}", **files}))
    assert units(file) == 3
    assert sorted(file.files) == found
    assert all(file.files[name] == files[name] for name in found)
    assert file.is_together
    assert sys.path == before
    assert not {"helpers", "more", "parts"} & sys.modules.keys()


def test_what_a_function_imports_is_found_before_it_is_called(tmp_path: Path) -> None:
    text = f"UNITS = 1\n{BASE}def build_model(*_):\n    from helpers import answer\n    return answer()\n"
    path = write(tmp_path, {"natality.py": text, "helpers.py": "import more\ndef answer(): return more.VALUE\n"})
    write(tmp_path, {"more.py": "VALUE = 7\n"})
    file = load_problem(path)
    assert sorted(file.files) == ["helpers.py", "more.py"]
    # What was loaded is what runs, though it is imported later.
    write(tmp_path, {"more.py": "VALUE = 8\n"})
    assert answer(file) == 7


def test_helpers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    text = (
        f"import helpers\nUNITS = helpers.VALUE\n{BASE}def build_model(*_):\n    import lazy\n    return lazy.VALUE\n"
    )
    folders = [tmp_path / str(number) for number in range(8)]
    paths = [
        write(folder, {"natality.py": text, "helpers.py": f"VALUE = {number}", "lazy.py": f"VALUE = {-number}"})
        for number, folder in enumerate(folders)
    ]
    files: dict[int, ProblemFile] = {}
    gate = threading.Barrier(len(paths))

    def load(number: int) -> None:
        gate.wait(600)
        files[number] = load_problem(paths[number])

    threads = [threading.Thread(target=load, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [units(files[number]) for number in range(8)] == list(range(8))
    assert [answer(files[number]) for number in range(8)] == [-number for number in range(8)]
    assert len({file.digest for file in files.values()}) == 8


def test_a_module_of_the_import_path_travels_and_one_that_is_installed_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, installed = tmp_path / "own", tmp_path / "venv" / "site-packages"
    target = tmp_path / "target"
    write(own, {"mine_elsewhere/__init__.py": "from .sizes import UNITS", "mine_elsewhere/sizes.py": "UNITS = 3"})
    write(installed, {"not_mine.py": "VALUE = 3"})
    write(target, {"neither.py": "VALUE = 3", "neither-1.dist-info/METADATA": ""})
    for folder in (own, installed, target):
        monkeypatch.syspath_prepend(str(folder))
    text = f"from mine_elsewhere import UNITS\nimport not_mine, neither\n{BASE}"
    file = load_problem(write(tmp_path / "problem", {"natality.py": text}))
    assert sorted(file.files) == ["mine_elsewhere/__init__.py", "mine_elsewhere/sizes.py"]
    assert not file.is_together
    # On another machine there is no such import path.
    monkeypatch.undo()
    for module in ("not_mine", "neither"):
        monkeypatch.setitem(sys.modules, module, os)
    root = str(tmp_path / "root")
    copies.write(copies.contents(file, root))
    parts: tuple[ProblemPart, ...] = get_args(ProblemPart)
    for part in parts:
        there = load_problem(places.template(root), digest=file.digest_of(part), part=part)
        assert (there.digest, there.digests, there.is_together) == (file.digest, file.digests, True)


def test_modules_beside_a_file_in_a_bucket_are_found(put: Callable[[str, bytes], str]) -> None:
    put("problems/parts/__init__.py", b"")
    put("problems/parts/sizes.py", b"UNITS = 3\n")
    uri = put("problems/natality.py", f"from parts.sizes import UNITS\nimport json\n{BASE}".encode())
    file = load_problem(uri)
    assert units(file) == 3
    assert sorted(file.files) == ["parts/__init__.py", "parts/sizes.py"]
    assert file.is_together
    put("problems/parts/sizes.py", b"UNITS = 4\n")
    with pytest.raises(ProblemError, match="changed after the run was submitted"):
        load_problem(uri, digest=file.digest)


def test_an_edited_module_is_refused_before_it_runs(tmp_path: Path) -> None:
    path = write(tmp_path, {"natality.py": f"from helpers import UNITS\n{BASE}", "helpers.py": "UNITS = 3\n"})
    digest = load_problem(path).digest
    write(tmp_path, {"helpers.py": "raise SystemExit(7)\n"})
    with pytest.raises(ProblemError, match="changed after the run was submitted"):
        load_problem(path, digest=digest)


@pytest.mark.parametrize(
    ("files", "where", "said"),
    [
        ({"helpers.py": "x = 1\ny = x / 0\n"}, "helpers.py, line 2 (y = x / 0)", "ZeroDivisionError"),
        ({"helpers.py": "x = (\n"}, "helpers.py, line 1", "was never closed"),
        ({"helpers.py": "import no_such_module\n"}, "helpers.py, line 1", "ModuleNotFoundError"),
        ({"helpers.py": "from . import more\n"}, "helpers.py, line 1", "relative import"),
        ({"helpers.py": "from .. import more\n"}, "helpers.py, line 1", "relative import"),
        ({"helpers/more.py": ""}, "natality.py, line 1", "has no __init__.py"),
        (
            {"helpers/__init__.py": "from .more import x"},
            "helpers/__init__.py, line 1",
            "No module named 'helpers.more'",
        ),
        ({"helpers.cpython-311-x86_64-linux-gnu.so": ""}, "natality.py, line 1", "is compiled"),
        (
            {"helpers.py": "name = 'more'\n__import__(name)\n", "more.py": ""},
            "helpers.py, line 2",
            "write `import more`",
        ),
    ],
)
def test_what_cannot_be_imported_is_said_with_the_users_own_line(
    tmp_path: Path, files: dict[str, str], where: str, said: str
) -> None:
    if any(name.endswith(".so") for name in files) and sys.platform != "linux":
        pytest.skip("the suffix of a compiled module is the platform's")
    files = {name.replace("cpython-311", sys.implementation.cache_tag): text for name, text in files.items()}
    with pytest.raises(ProblemError) as refused:
        load_problem(write(tmp_path, {"natality.py": f"import helpers\n{BASE}", **files}))
    assert where in str(refused.value.where)
    assert said in str(refused.value.received)


def test_the_line_of_a_module_that_fails_later_is_known(tmp_path: Path) -> None:
    text = f"from helpers import answer\nUNITS = 1\n{BASE}{BUILD}"
    file = load_problem(write(tmp_path, {"natality.py": text, "helpers.py": "def answer():\n    return {}['k']\n"}))
    with pytest.raises(KeyError) as raised:
        answer(file)
    assert file.own_line(raised.value.__traceback__) == f"{tmp_path}/helpers.py, line 2 (return {{}}['k'])"


def test_code_travels_up_to_a_bound(tmp_path: Path) -> None:
    many = {f"m{number}.py": "" for number in range(MAX_MODULES + 1)}
    imports = "".join(f"import m{number}\n" for number in range(MAX_MODULES))
    path = write(tmp_path, {"natality.py": f"{imports}UNITS = 1\n{BASE}", **many})
    assert len(load_problem(path).files) == MAX_MODULES
    write(tmp_path, {"natality.py": f"{imports}import m{MAX_MODULES}\nUNITS = 1\n{BASE}"})
    with pytest.raises(ProblemError, match="imports too many of your modules"):
        load_problem(path)
    write(tmp_path, {"natality.py": f"import m0\nUNITS = 1\n{BASE}", "m0.py": "#" * (5 << 20)})
    with pytest.raises(ProblemError, match="imports too many of your modules"):
        load_problem(path)


@pytest.mark.parametrize("name", ["problem.py", "saved_model/__init__.py"])
def test_a_name_that_a_model_uses_is_refused(tmp_path: Path, name: str) -> None:
    module = name.partition("/")[0].removesuffix(".py")
    path = write(tmp_path, {"natality.py": f"import {module}\nUNITS = 1\n{BASE}", name: ""})
    with pytest.raises(ProblemError, match="has a name that a Model uses"):
        load_problem(path)


def test_classes_of_the_users_are_like_any_others(tmp_path: Path) -> None:
    classes = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass C:\n    x: int = 3\n"
    )
    text = f"{classes}from helpers import C as Other\nUNITS = C().x + Other().x\n{BASE}"
    file = load_problem(write(tmp_path, {"natality.py": text, "helpers.py": classes}))
    assert units(file) == 6


def test_the_name_of_the_users_code_follows_from_the_code_alone(tmp_path: Path) -> None:
    names = set()
    for number, value in enumerate(("3", "3", "4")):
        files = {"natality.py": f"from helpers import UNITS\n{BASE}{BUILD}", "helpers.py": f"UNITS = {value}"}
        build_model = load_problem(write(tmp_path / str(number), files)).build_model
        assert build_model is not None
        names.add(build_model.__module__)
    assert len(names) == 2


def test_modules_travel_to_a_bucket(tmp_path: Path, bucket: str) -> None:
    text = f"from parts.sizes import UNITS\n{BASE}"
    files = {"natality.py": text, "parts/__init__.py": "", "parts/sizes.py": "UNITS = 3\n"}
    file = load_problem(write(tmp_path, files))
    root = f"gs://{bucket}/headrace"
    copies.write(copies.contents(file, root))
    there = load_problem(places.template(root), digest=file.training_digest, part="training")
    assert there.path == f"{root}/problems/{file.digest[:16]}/natality.py"
    assert (units(there), there.files, there.digest) == (3, file.files, file.digest)
    # Another gate: training finds either file, whose digest of what it reads is the same; each run finds its own.
    gate = text.replace("features=", 'gate=Gate("r_squared", at_least=0.1), features=').replace(
        "import N", "import Gate, N"
    )
    other = load_problem(write(tmp_path, {"natality.py": gate}))
    copies.write(copies.contents(other, root))
    assert load_problem(places.template(root), digest=file.digest).problem.gate == Gate()
    assert load_problem(places.template(root), digest=other.digest).problem.gate == Gate("r_squared", at_least=0.1)
    with pytest.raises(ProblemError, match="the Problem file does not exist"):
        load_problem(places.template(root), digest="0" * 64)


def test_modules_travel_in_a_model(tmp_path: Path) -> None:
    from headrace.components.train.model.export import copy_code

    text = f"from parts.sizes import UNITS\nimport more\n{BASE}"
    files = {"natality.py": text, "parts/__init__.py": "", "parts/sizes.py": "UNITS = 3\n", "more.py": ""}
    file = load_problem(write(tmp_path / "problem", files))
    (tmp_path / "model" / "saved_model").mkdir(parents=True)
    copy_code(tmp_path / "model", file)
    there = load_problem(str(tmp_path / "model" / "problem.py"), digest=file.digest)
    assert (units(there), there.files, there.is_together) == (3, file.files, True)
