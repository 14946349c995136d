"""The compiled library: it says whether it is used and why not, and its C code is right on ARM too."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from headrace.core.tfrecord import native
from headrace.core.tfrecord.framing import TFRecordWriter, read_records

SOURCES = Path(native.__file__).parent
COMPILER, EMULATOR = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")


def refuse(path: str) -> Any:
    raise OSError("wrong ELF class")


def without_instructions(path: str) -> Any:
    class Function(SimpleNamespace):
        def __call__(self) -> int:
            return 0

    class Library:
        def __getattr__(self, name: str) -> Function:
            return Function()

    return Library()


@pytest.mark.parametrize(
    ("patched", "reason"),
    [
        (("EXTENSION_SUFFIXES", [".none"]), "it was not built when the package was installed"),
        (("ctypes.CDLL", refuse), "it was built for another machine: wrong ELF class"),
        (("ctypes.CDLL", without_instructions), "this processor has no instructions for CRC-32C"),
    ],
)
def test_the_log_says_why_it_is_not_used(
    patched: tuple[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if patched[0] == "ctypes.CDLL" and native.library() is None:
        pytest.skip("the C code is not built here")
    monkeypatch.setattr(f"{native.__name__}.{patched[0]}", patched[1])
    monkeypatch.setattr(native, "_load", native._load.__wrapped__)
    with caplog.at_level(logging.INFO, native.__name__):
        assert native.library.__wrapped__() is None
    assert native.absence().startswith(reason)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert reason in caplog.text


# Frames come in by a file, whose records are decoded, and framed again from their columns into another file.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include "native.c"
/* Both files name these; they are compiled as one here. */
#define HEAD READER_HEAD
#define TAIL READER_TAIL
#include "reader.c"

enum { ROWS = 1000 };
static uint8_t data[1 << 20], out[1 << 20], text[1 << 20];
static int64_t rows[ROWS], starts[ROWS], stops[ROWS], offsets[ROWS + 1], lengths[ROWS];
static int32_t codes[ROWS], sizes[ROWS + 1], slots[4096], numbers[ROWS];
static uint32_t checksums[ROWS];
static float values[ROWS];
static const uint8_t *entries[ROWS + 1];
static uint64_t words[ROWS + 1];

int main(int argc, char **argv) {
  if (argc != 3 || !headrace_usable()) return 2;
  FILE *file = fopen(argv[1], "rb");
  const int64_t size = (int64_t)fread(data, 1, sizeof data, file);
  Column columns[2] = {{(const uint8_t *)"x", 1, FLOATS, 0, values, 0, 0, 0, 0, 0, -1, 0, 0},
                       {(const uint8_t *)"text", 4, BYTES, 1, codes, entries, sizes, words, slots, 15, -1, 4095, 0}};
  int64_t at = 0, done = 0;
  for (int64_t row = 0; row < ROWS; row++) {
    rows[row] = row;
    starts[row] = at + 12;
    if (headrace_pass(data, size, 1, &at, &done)) return 3;
    stops[row] = at - 4;
    numbers[row] = (int32_t)row + 1;
    offsets[row + 1] = offsets[row] + stops[row] - starts[row];
    memcpy(text + offsets[row], data + starts[row], (size_t)(stops[row] - starts[row]));
  }
  if (at != size) return 4;
  headrace_checksums(data, starts, stops, ROWS, checksums);
  for (int64_t row = 0; row < ROWS; row++)
    if (memcmp(&checksums[row], data + stops[row], 4)) return 5;
  at = 0;
  if (headrace_decode(data, size, ROWS, rows, columns, 2, &at, &done) || done != ROWS || at != size) return 6;
  for (int64_t row = 0; row < ROWS; row++)
    printf("%g %.*s\n", values[row], codes[row] ? sizes[codes[row]] : 0, (const char *)entries[codes[row]]);
  const Part part = {text, offsets, numbers, ROWS};
  int64_t written;
  if (headrace_measure(&part, 1, ROWS, 0, lengths) != size) return 7;
  if (headrace_frame(&part, 1, 0, ROWS, 0, lengths, out, sizeof out, &written) != ROWS) return 8;
  file = fopen(argv[2], "wb");
  return fwrite(out, 1, (size_t)written, file) == (size_t)written && !fclose(file) ? 0 : 9;
}
"""


@pytest.mark.skipif(
    not (COMPILER and EMULATOR),
    reason="needs a compiler and an emulator (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user)",
)
@pytest.mark.parametrize("optimization", ["-O0", "-O3"])
def test_on_arm_it_reads_and_writes_the_same_bytes(tmp_path: Path, optimization: str) -> None:
    assert COMPILER
    assert EMULATOR
    batch = pa.RecordBatch.from_pydict(
        {
            "x": pa.array([row / 4 for row in range(1000)], pa.float32()),
            # Of every length that leaves another rest of eight bytes.
            "text": ["long enough for words of eight"[: row % 31] for row in range(1000)],
        }
    )
    with TFRecordWriter(tmp_path / "in.tfrecord") as writer:
        writer.write_examples(batch)
    (tmp_path / "program.c").write_text(PROGRAM)
    flags = ["-static", "-Wall", "-Werror", optimization, f"-I{SOURCES}"]
    subprocess.run([COMPILER, *flags, "-o", tmp_path / "program", tmp_path / "program.c"], check=True)
    # A Cortex-A72 has the instructions; the compiler is not told to use them in general.
    command = [
        EMULATOR,
        "-cpu",
        "cortex-a72",
        tmp_path / "program",
        tmp_path / "in.tfrecord",
        tmp_path / "out.tfrecord",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = zip(batch.column("x").to_pylist(), batch.column("text").to_pylist(), strict=True)
    assert done.stdout == "".join(f"{x:g} {text}\n" for x, text in rows)
    assert (tmp_path / "out.tfrecord").read_bytes() == (tmp_path / "in.tfrecord").read_bytes()
    assert sum(len(records) for records in read_records(str(tmp_path / "out.tfrecord"), compressed=False)) == 1000
