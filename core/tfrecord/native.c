/* TFRecord framing: concatenates the pieces of each record between its length and its checksums;
 * writes integers as protobuf does; and measures the values of a Parquet dictionary.
 *
 * Plain C without Python's headers, called through ctypes (native.py), which lets other threads run meanwhile. Where it
 * was not built, framing.py does the same by columns in numpy, at about half the speed.
 */

#include "crc32c.h"

enum { HEAD = 12, TAIL = 4 };

/* A piece of each row: `codes[row]` is the number, from 1, of an entry of `content`, or 0 for none; entry n goes from
 * `offsets[n - 1]` to `offsets[n]`. */
typedef struct {
  const uint8_t *content;
  const int64_t *offsets;
  const int32_t *codes;
  int64_t entries;
} Part;

EXPORTED int32_t headrace_usable(void) { return crc32c_usable(); }

static uint8_t *put_number(uint8_t *at, uint64_t number, int bytes) {
  for (int n = 0; n < bytes; n++) *at++ = (uint8_t)(number >> (8 * n));
  return at;
}

static int64_t varint_bytes(uint64_t number) {
  int64_t bytes = 1;
  for (; number >= 0x80; number >>= 7) bytes++;
  return bytes;
}

static uint8_t *put_varint(uint8_t *at, uint64_t number) {
  for (; number >= 0x80; number >>= 7) *at++ = (uint8_t)(number | 0x80);
  *at++ = (uint8_t)number;
  return at;
}

/* The bytes of each row's pieces, into `lengths`.
 *
 * Returns the bytes of all frames, or -1 - part where a part has a code that is not one of its entries. */
EXPORTED int64_t headrace_measure(const Part *parts, int32_t count, int64_t rows, int32_t is_example, int64_t *lengths) {
  int64_t total = 0;
  memset(lengths, 0, (size_t)rows * sizeof *lengths);
  for (int32_t p = 0; p < count; p++) {
    const Part part = parts[p];
    for (int64_t row = 0; row < rows; row++) {
      const int32_t code = part.codes[row];
      if (code < 0 || code > part.entries) return -1 - (int64_t)p;
      if (code) lengths[row] += part.offsets[code] - part.offsets[code - 1];
    }
  }
  for (int64_t row = 0; row < rows; row++) {
    const int64_t length = lengths[row];
    total += length + HEAD + TAIL + (is_example ? 1 + varint_bytes((uint64_t)length) : 0);
  }
  return total;
}

/* Writes the frames of the rows from `start` to `stop`, at most `room` bytes and at least one row if it fits.
 *
 * `is_example` puts the tag and the length of Example.features before the pieces. Returns the first row that was not
 * written; `*written` is how many bytes were. */
EXPORTED int64_t headrace_frame(const Part *parts, int32_t count, int64_t start, int64_t stop, int32_t is_example,
                                const int64_t *lengths, uint8_t *out, int64_t room, int64_t *written) {
  uint8_t *at = out;
  int64_t row = start;
  for (; row < stop; row++) {
    const uint64_t inner = (uint64_t)lengths[row];
    const uint64_t size = inner + (is_example ? 1 + (uint64_t)varint_bytes(inner) : 0);
    if ((int64_t)size + HEAD + TAIL > room - (at - out)) break;
    uint8_t *const head = at;
    at = put_number(at, size, 8);
    at = put_number(at, masked(crc32c_of(head, 8)), 4);
    uint8_t *const begin = at;
    if (is_example) {
      *at++ = 0x0a;
      at = put_varint(at, inner);
    }
    for (int32_t p = 0; p < count; p++) {
      const int32_t code = parts[p].codes[row];
      if (!code) continue;
      const int64_t first = parts[p].offsets[code - 1], bytes = parts[p].offsets[code] - first;
      const uint8_t *const from = parts[p].content + first;
      int64_t done = 0;
      /* Most pieces are shorter than a call of memcpy is worth. */
      for (; bytes - done >= 8; done += 8) memcpy(at + done, from + done, 8);
      for (; done < bytes; done++) at[done] = from[done];
      at += bytes;
    }
    at = put_number(at, masked(crc32c_of(begin, (size_t)size)), 4);
  }
  *written = at - out;
  return row;
}

/* Writes an entry for each value: what stands before a varint of its length, and the varint.
 *
 * What stands before one of n bytes goes from `bounds[n]` to `bounds[n + 1]` of `headers`. `lengths` become those of the
 * entries; returns the bytes of all of them. */
EXPORTED int64_t headrace_integers(const int64_t *values, int64_t rows, const uint8_t *headers, const int64_t *bounds,
                                   uint8_t *out, int64_t *lengths) {
  uint8_t *at = out;
  for (int64_t row = 0; row < rows; row++) {
    const uint64_t value = (uint64_t)values[row];
    const int64_t bytes = varint_bytes(value), header = bounds[bytes + 1] - bounds[bytes];
    memcpy(at, headers + bounds[bytes], (size_t)header);
    at = put_varint(at + header, value);
    lengths[row] = header + bytes;
  }
  return at - out;
}

/* The masked checksum of each record, which goes from `starts[n]` to `stops[n]`. */
EXPORTED void headrace_checksums(const uint8_t *content, const int64_t *starts, const int64_t *stops, int64_t rows,
                                 uint32_t *checksums) {
  for (int64_t row = 0; row < rows; row++)
    checksums[row] = masked(crc32c_of(content + starts[row], (size_t)(stops[row] - starts[row])));
}

/* The length of the longest of values that each follow their length, in 4 bytes; the last may be cut short. */
EXPORTED int64_t headrace_longest(const uint8_t *content, int64_t size) {
  int64_t longest = 0;
  for (int64_t at = 0; at + 4 <= size;) {
    uint32_t length;
    memcpy(&length, content + at, 4);
    if (length > longest) longest = length;
    at += 4 + (int64_t)length;
  }
  return longest;
}
