"""Masked CRC-32C of TFRecord files, without Arrow."""

from __future__ import annotations

import google_crc32c

MASK_DELTA = 0xA282EAD8


def masked_crc32c(content: bytes) -> int:
    """CRC-32C, rotated and offset as in TFRecord files, so that a checksum over a checksum stays a good one."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF
