"""A bound of memory holds for a process and for those that it starts, whatever ran before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the largest child of a process is known only once.
_SCRIPT = """
import subprocess, sys
sys.path.insert(0, {tests!r})
from support.peak_memory import bounded_memory

def fill(mib):
    bytearray(b"x") * (mib << 20)

def child(mib):
    subprocess.run([sys.executable, "-c", f"bytearray(b'x') * ({{mib}} << 20)"], check=True)

def grandchild(mib):
    inner = f"bytearray(b'x') * ({{mib}} << 20)"
    outer = "import subprocess, sys; subprocess.run([sys.executable, '-c', " + repr(inner) + "], check=True)"
    subprocess.run([sys.executable, "-c", outer], check=True)

# What ran before the block does not hide what runs in it.
fill(600)
with bounded_memory(200 << 20):
    {work}
print("within")
"""


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ("fill(50)", None),
        ("child(50)", None),
        ("fill(300)", "MiB more than before, of 200 MiB"),
        ("child(300)", "a process of"),
        ("grandchild(300)", "a process of"),
    ],
)
def test_memory_is_bounded_in_all_processes(work: str, message: str | None) -> None:
    script = _SCRIPT.format(tests=str(Path(__file__).parents[1]), work=work)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if message is None:
        assert (ended.returncode, ended.stdout) == (0, "within\n"), ended.stderr
    else:
        assert ended.returncode == 1
        assert message in ended.stderr
