"""Binary tensors of the open inference protocol: little-endian values in row order, texts with their lengths."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError

_LENGTH = 4
_DTYPES = {
    "BOOL": "?",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
}


def values(data: bytes, datatype: str, shape: Sequence[int], where: str) -> list[Any]:
    """The values of a tensor as JSON has them: NaN, a missing value, becomes None; bytes become text or base64.

    Raises:
        DataError: the data does not have the size of the shape, or a byte of a BOOL is neither 0 nor 1.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _texts(data, count, where)
    # numpy has no bfloat16: its bits are the upper half of a float32's.
    dtype = np.dtype("<u2" if datatype == "BF16" else _DTYPES[datatype])
    if len(data) != count * dtype.itemsize:
        raise DataError(
            "the binary data does not have the size of the shape",
            where=where,
            expected=f"{count * dtype.itemsize} bytes",
            received=f"{len(data)}",
        )
    array = np.frombuffer(data, dtype)
    if datatype == "BOOL" and (wrong := array.view(np.uint8) > 1).any():
        raise DataError(
            "it is no BOOL",
            where=where,
            expected="bytes of 0 or 1",
            received=f"{array.view(np.uint8)[wrong.argmax()]} at byte {wrong.argmax()}",
        )
    if datatype == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
    if array.dtype.kind != "f":
        plain: list[Any] = array.tolist()
        return plain
    # The shortest text of a float32 is that of the number that was meant, which matters where it is a category.
    numbers = array.tolist() if array.dtype.itemsize == 8 else [float(str(value)) for value in array]
    missing = np.isnan(array)
    if not missing.any():
        return numbers
    return [None if gone else number for number, gone in zip(numbers, missing, strict=True)]


def _texts(data: bytes, count: int, where: str) -> list[Any]:
    texts: list[Any] = []
    at = 0
    while at < len(data) and len(texts) < count:
        end = at + _LENGTH + (struct.unpack_from("<I", data, at)[0] if at + _LENGTH <= len(data) else len(data))
        if end > len(data):
            break
        texts.append(_text(data[at + _LENGTH : end]))
        at = end
    if at != len(data) or len(texts) != count:
        raise DataError(
            "the binary data does not hold the texts of the shape",
            where=where,
            expected=f"{count} texts, each after its length in 4 bytes",
            received=f"{len(texts)} in the first {at} of {len(data)} bytes",
        )
    return texts


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def tensor_bytes(array: npt.NDArray[Any], datatype: str) -> bytes:
    """The bytes of an output."""
    if datatype == "BYTES":
        parts = [value if isinstance(value, bytes) else str(value).encode() for value in array.reshape(-1).tolist()]
        return b"".join(chunk for part in parts for chunk in (struct.pack("<I", len(part)), part))
    if datatype == "BF16":
        return (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(array, _DTYPES[datatype]).tobytes()


def is_ragged(array: npt.NDArray[Any]) -> bool:
    """Whether rows differ in length, which no tensor holds."""
    return array.dtype == object and array.size > 0 and isinstance(array.reshape(-1)[0], np.ndarray)
