/* Takes tf.train.Examples out of TFRecord files and apart into columns, in one pass over their bytes.
 *
 * Plain C without Python's headers, called through ctypes (reader.py), which lets other threads run meanwhile. A record
 * that is written in another way than protobuf's serialization writes it is not decoded here, but named.
 */

#include "crc32c.h"

#include <math.h>

enum { HEAD = 12, TAIL = 4 };
enum { WHOLE = 0, IRREGULAR = 1, CUT_SHORT = 2, WRONG_LENGTH = 3, WRONG_RECORD = 4 };
enum { LENGTH_DELIMITED_1 = 0x0a, LENGTH_DELIMITED_2 = 0x12 };
enum { BYTES = 1, FLOATS = 2 };
/* Entries of one record whose columns are remembered: the next record most often has the same in the same places. */
enum { REMEMBERED = 64 };

/* A feature that is wanted, and where its values go.
 *
 * A string goes as the number of an entry of the dictionary that grows meanwhile: `entries[n]` and `sizes[n]` are entry
 * n's bytes, which lie in the file; entry 0 is the empty string, which also stands for a feature that is absent. `slots`
 * are `mask` + 1 places of a hash table with linear probing: 0, or the number of an entry. */
typedef struct {
  const uint8_t *name;
  int64_t name_bytes;
  int32_t kind;
  int32_t known;
  void *values;
  const uint8_t **entries;
  int32_t *sizes;
  int32_t *slots;
  uint64_t mask;
  int64_t seen;
} Column;

/* The bytes that follow a varint that counts them; 0 where there is none, or not so many, or more than protobuf allows. */
static const uint8_t *measured(const uint8_t *at, const uint8_t *end, const uint8_t **stop) {
  uint64_t size = 0;
  for (int shift = 0; at < end && shift < 35; shift += 7) {
    const uint8_t byte = *at++;
    size |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (size > (uint64_t)(end - at) || size > INT32_MAX) return 0;
      *stop = at + size;
      return at;
    }
  }
  return 0;
}

/* The same after a tag. */
static const uint8_t *field(const uint8_t *at, const uint8_t *end, uint8_t tag, const uint8_t **stop) {
  return at < end && *at == tag ? measured(at + 1, end, stop) : 0;
}

static uint64_t hash_of(const uint8_t *at, int64_t size) {
  uint64_t hash = 0x9e3779b97f4a7c15u ^ (uint64_t)size, word;
  for (; size >= 8; at += 8, size -= 8) {
    memcpy(&word, at, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  word = 0;
  for (int64_t n = 0; n < size; n++) word |= (uint64_t)at[n] << (8 * n);
  hash = (hash ^ word) * 0xc4ceb9fe1a85ec53u;
  return hash ^ (hash >> 29);
}

static int32_t entry_of(Column *column, const uint8_t *at, int64_t size) {
  if (!size) return 0;
  uint64_t slot = hash_of(at, size) & column->mask;
  for (;; slot = (slot + 1) & column->mask) {
    const int32_t entry = column->slots[slot];
    if (!entry) break;
    if (column->sizes[entry] == size && !memcmp(column->entries[entry], at, (size_t)size)) return entry;
  }
  column->slots[slot] = column->known;
  column->entries[column->known] = at;
  column->sizes[column->known] = (int32_t)size;
  return column->known++;
}

/* Puts the one value of a Feature at `row`. Returns 1 for a Feature of no kind, which is as absent; -1 for what is not
 * one value of the column's kind, or not written as protobuf does. */
static int put_feature(Column *column, const uint8_t *at, const uint8_t *end, int64_t row) {
  const uint8_t *stop, *values_stop;
  if (at == end) return 1;
  const uint8_t *const list = field(at, end, column->kind == BYTES ? LENGTH_DELIMITED_1 : LENGTH_DELIMITED_2, &stop);
  if (!list || stop != end) return -1;
  const uint8_t *const value = field(list, end, LENGTH_DELIMITED_1, &values_stop);
  if (!value || values_stop != end) return -1;
  if (column->kind == BYTES) {
    ((int32_t *)column->values)[row] = entry_of(column, value, end - value);
  } else {
    if (end - value != 4) return -1;
    const uint32_t bits = (uint32_t)value[0] | (uint32_t)value[1] << 8 | (uint32_t)value[2] << 16 | (uint32_t)value[3] << 24;
    memcpy((float *)column->values + row, &bits, 4);
  }
  return 0;
}

static int is_named(const Column *column, const uint8_t *name, int64_t bytes) {
  return column->name_bytes == bytes && !memcmp(column->name, name, (size_t)bytes);
}

/* Decodes one record into `row` of the columns. Returns whether it is written as protobuf does. */
static int put_example(const uint8_t *at, const uint8_t *end, Column *columns, int32_t count, int32_t *remembered,
                       int64_t row) {
  int32_t found = 0;
  if (at < end) {
    const uint8_t *stop;
    at = field(at, end, LENGTH_DELIMITED_1, &stop);
    if (!at || stop != end) return 0;
    for (int entry_number = 0; at < end; entry_number++) {
      const uint8_t *entry_end, *name_end, *feature_end;
      const uint8_t *const entry = field(at, end, LENGTH_DELIMITED_1, &entry_end);
      if (!entry) return 0;
      const uint8_t *const name = field(entry, entry_end, LENGTH_DELIMITED_1, &name_end);
      if (!name) return 0;
      const uint8_t *const feature = field(name_end, entry_end, LENGTH_DELIMITED_2, &feature_end);
      if (!feature || feature_end != entry_end) return 0;
      at = entry_end;
      int32_t *const last = &remembered[entry_number < REMEMBERED ? entry_number : REMEMBERED - 1];
      int32_t number = *last;
      if (number >= count || !is_named(&columns[number], name, name_end - name)) {
        for (number = 0; number < count && !is_named(&columns[number], name, name_end - name);) number++;
        *last = number;
      }
      if (number == count) continue;
      Column *const column = &columns[number];
      /* Of two entries of one name the later counts, which is protobuf's to say. */
      if (column->seen == row) return 0;
      const int put = put_feature(column, feature, feature_end, row);
      if (put < 0) return 0;
      if (put == 0) {
        column->seen = row;
        found++;
      }
    }
  }
  for (int32_t n = 0; found < count && n < count; n++) {
    if (columns[n].seen == row) continue;
    if (columns[n].kind == BYTES) ((int32_t *)columns[n].values)[row] = 0;
    else ((float *)columns[n].values)[row] = NAN;
    found++;
  }
  return 1;
}

/* The record whose frame begins at `at`: its begin and its end. */
static int framed(const uint8_t *data, int64_t size, int64_t at, int64_t *begin, int64_t *end) {
  uint64_t length;
  uint32_t checksum;
  if (at > size || size - at < HEAD + TAIL) return CUT_SHORT;
  memcpy(&length, data + at, 8);
  memcpy(&checksum, data + at + 8, 4);
  if (masked(crc32c_of(data + at, 8)) != checksum) return WRONG_LENGTH;
  if (length > (uint64_t)(size - at - HEAD - TAIL)) return CUT_SHORT;
  *begin = at + HEAD;
  *end = *begin + (int64_t)length;
  return WHOLE;
}

/* Passes over `records` frames from `*at` on, which becomes where the next one begins. `*done` is how many there were. */
EXPORTED int32_t headrace_pass(const uint8_t *data, int64_t size, int64_t records, int64_t *at, int64_t *done) {
  int64_t begin, end;
  for (*done = 0; *done < records; ++*done) {
    const int fault = framed(data, size, *at, &begin, &end);
    if (fault) return fault;
    *at = end + TAIL;
  }
  return WHOLE;
}

/* Decodes `records` frames from `*at` on, the n-th into row `rows[n]` of the columns; rows are all different. As above.*/
EXPORTED int32_t headrace_decode(const uint8_t *data, int64_t size, int64_t records, const int64_t *rows,
                                 Column *columns, int32_t count, int64_t *at, int64_t *done) {
  int32_t remembered[REMEMBERED];
  int64_t begin, end;
  for (int32_t n = 0; n < REMEMBERED; n++) remembered[n] = n < count ? n : 0;
  for (*done = 0; *done < records; ++*done) {
    const int fault = framed(data, size, *at, &begin, &end);
    if (fault) return fault;
    uint32_t checksum;
    memcpy(&checksum, data + end, 4);
    if (masked(crc32c_of(data + begin, (size_t)(end - begin))) != checksum) return WRONG_RECORD;
    if (!put_example(data + begin, data + end, columns, count, remembered, rows[*done])) return IRREGULAR;
    *at = end + TAIL;
  }
  return WHOLE;
}

/* Copies a dictionary's strings one after the other; with `out` 0 it only says how many bytes they are. */
EXPORTED int64_t headrace_entries(const Column *column, uint8_t *out) {
  int64_t total = 0;
  for (int32_t n = 1; n < column->known; n++) {
    if (out) memcpy(out + total, column->entries[n], (size_t)column->sizes[n]);
    total += column->sizes[n];
  }
  return total;
}
