"""Masked CRC-32C of TFRecord files, free of Arrow."""

from __future__ import annotations

import google_crc32c

MASK_DELTA = 0xA282EAD8


def masked_crc32c(content: bytes) -> int:
    """CRC-32C, rotated and offset as TFRecord stores it, so that the checksum of a checksum stays a good one."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF
