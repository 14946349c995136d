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
 * n's bytes, which lie in the file, and `words[n]` is the first 8 of them; entry 0 is the empty string, which also stands
 * for a feature that is absent. `slots`
 * are `mask` + 1 places of a hash table with linear probing: 0, or the number of an entry. They grow up to `most` + 1: few
 * that lie close together stay in the cache. `begin` is the first 8 bytes of the name, which `headrace_decode` sets. */
typedef struct {
  const uint8_t *name;
  int64_t name_bytes;
  int32_t kind;
  int32_t known;
  void *values;
  const uint8_t **entries;
  int32_t *sizes;
  uint64_t *words;
  int32_t *slots;
  uint64_t mask;
  int64_t seen;
  uint64_t most;
  uint64_t begin;
} Column;

/* An entry that was passed over in the record before, as its name is not of a column. */
typedef struct {
  const uint8_t *name;
  int64_t bytes;
} Passed;

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

/* Up to 8 bytes as a number. Most are read at once, which needs 8 bytes before `limit`. */
static inline uint64_t word_of(const uint8_t *at, int64_t size, const uint8_t *limit) {
  uint64_t word = 0;
  if (limit - at >= 8) {
    memcpy(&word, at, 8);
    return size < 8 ? word & (((uint64_t)1 << (8 * size)) - 1) : word;
  }
  for (int64_t n = 0; n < size; n++) word |= (uint64_t)at[n] << (8 * n);
  return word;
}

static inline uint64_t hash_of(const uint8_t *at, int64_t size, const uint8_t *limit) {
  uint64_t hash = 0x9e3779b97f4a7c15u ^ (uint64_t)size;
  for (; size > 8; at += 8, size -= 8) {
    hash = (hash ^ word_of(at, 8, limit)) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  hash = (hash ^ word_of(at, size, limit)) * 0xc4ceb9fe1a85ec53u;
  return hash ^ (hash >> 29);
}

/* Four times as many slots, with the entries up to the newest one, which is number `known`. */
static void grow(Column *column) {
  const uint64_t wider = 4 * column->mask + 3;
  column->mask = wider < column->most ? wider : column->most;
  memset(column->slots, 0, (column->mask + 1) * sizeof *column->slots);
  for (int32_t entry = 1; entry <= column->known; entry++) {
    /* It may lie in another file, at its end. */
    const uint8_t *const at = column->entries[entry], *const limit = at + column->sizes[entry];
    uint64_t slot = hash_of(at, column->sizes[entry], limit) & column->mask;
    while (column->slots[slot]) slot = (slot + 1) & column->mask;
    column->slots[slot] = entry;
  }
}

static int32_t entry_of(Column *column, const uint8_t *at, int64_t size, const uint8_t *limit) {
  if (!size) return 0;
  const uint64_t word = word_of(at, size < 8 ? size : 8, limit);
  uint64_t slot = hash_of(at, size, limit) & column->mask;
  for (;; slot = (slot + 1) & column->mask) {
    const int32_t entry = column->slots[slot];
    if (!entry) break;
    if (column->words[entry] == word && column->sizes[entry] == size &&
        (size <= 8 || !memcmp(column->entries[entry] + 8, at + 8, (size_t)size - 8)))
      return entry;
  }
  column->slots[slot] = column->known;
  column->entries[column->known] = at;
  column->sizes[column->known] = (int32_t)size;
  column->words[column->known] = word;
  if ((uint64_t)column->known > column->mask / 2 && column->mask < column->most) grow(column);
  return column->known++;
}

static inline void put_float(Column *column, const uint8_t *at, int64_t row) {
  const uint32_t bits = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
  memcpy((float *)column->values + row, &bits, 4);
}

/* Puts the one value of a Feature at `row`. Returns 1 for a Feature of no kind, which is as absent; -1 for what is not
 * one value of the column's kind, or not written as protobuf does. */
static int put_feature(Column *column, const uint8_t *at, const uint8_t *end, const uint8_t *limit, int64_t row) {
  const uint8_t *stop, *values_stop;
  if (at == end) return 1;
  const uint8_t *const list = field(at, end, column->kind == BYTES ? LENGTH_DELIMITED_1 : LENGTH_DELIMITED_2, &stop);
  if (!list || stop != end) return -1;
  const uint8_t *const value = field(list, end, LENGTH_DELIMITED_1, &values_stop);
  if (!value || values_stop != end) return -1;
  if (column->kind == BYTES) {
    ((int32_t *)column->values)[row] = entry_of(column, value, end - value, limit);
  } else {
    if (end - value != 4) return -1;
    put_float(column, value, row);
  }
  return 0;
}

static int is_named(const Column *column, const uint8_t *name, int64_t bytes) {
  return column->name_bytes == bytes && !memcmp(column->name, name, (size_t)bytes);
}

/* The same for a whole entry at `at` that is named as the column and shorter than 128 bytes, as most are: each of its five
 * lengths follows from that of the value. Returns where the entry ends, or 0 for one that must be read field by field. */
static inline const uint8_t *put_short(Column *column, const uint8_t *at, const uint8_t *end, const uint8_t *limit,
                                       int64_t row) {
  const int64_t bytes = column->name_bytes;
  if (end - at < bytes + 10 || at[0] != LENGTH_DELIMITED_1 || at[2] != LENGTH_DELIMITED_1 || at[3] != bytes) return 0;
  const uint8_t *const feature = at + 4 + bytes;
  const int64_t size = feature[5];
  if (bytes + 8 + size >= 0x80 || at[1] != bytes + 8 + size || feature[0] != LENGTH_DELIMITED_2 ||
      feature[1] != size + 4 || feature[2] != (column->kind == BYTES ? LENGTH_DELIMITED_1 : LENGTH_DELIMITED_2) ||
      feature[3] != size + 2 || feature[4] != LENGTH_DELIMITED_1 || end - feature - 6 < size ||
      word_of(at + 4, bytes < 8 ? bytes : 8, limit) != column->begin ||
      (bytes > 8 && memcmp(column->name + 8, at + 12, (size_t)bytes - 8)))
    return 0;
  if (column->kind == BYTES) {
    ((int32_t *)column->values)[row] = entry_of(column, feature + 6, size, limit);
  } else {
    if (size != 4) return 0;
    put_float(column, feature + 6, row);
  }
  return feature + 6 + size;
}

/* Decodes one record into `row` of the columns. Returns whether it is written as protobuf does. */
static int put_example(const uint8_t *at, const uint8_t *end, const uint8_t *limit, Column *columns, int32_t count,
                       int32_t *remembered, Passed *passed, int64_t row) {
  int32_t found = 0;
  if (at < end) {
    const uint8_t *stop;
    at = field(at, end, LENGTH_DELIMITED_1, &stop);
    if (!at || stop != end) return 0;
    for (int entry_number = 0; at < end; entry_number++) {
      const uint8_t *entry_end, *name_end, *feature_end;
      const int place = entry_number < REMEMBERED ? entry_number : REMEMBERED - 1;
      int32_t *const last = &remembered[place];
      int32_t number = *last;
      if (number < count && columns[number].seen != row) {
        const uint8_t *const next = put_short(&columns[number], at, end, limit, row);
        if (next) {
          at = next;
          columns[number].seen = row;
          found++;
          continue;
        }
      }
      const uint8_t *const entry = field(at, end, LENGTH_DELIMITED_1, &entry_end);
      if (!entry) return 0;
      const uint8_t *const name = field(entry, entry_end, LENGTH_DELIMITED_1, &name_end);
      if (!name) return 0;
      const uint8_t *const feature = field(name_end, entry_end, LENGTH_DELIMITED_2, &feature_end);
      if (!feature || feature_end != entry_end) return 0;
      at = entry_end;
      Passed *const same = &passed[place];
      if (same->bytes == name_end - name && !memcmp(same->name, name, (size_t)same->bytes)) continue;
      if (number >= count || !is_named(&columns[number], name, name_end - name)) {
        for (number = 0; number < count && !is_named(&columns[number], name, name_end - name);) number++;
        *last = number;
      }
      if (number == count) {
        *same = (Passed){name, name_end - name};
        continue;
      }
      Column *const column = &columns[number];
      /* Of two entries of one name the later counts, which is protobuf's to say. */
      if (column->seen == row) return 0;
      const int put = put_feature(column, feature, feature_end, limit, row);
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
  Passed passed[REMEMBERED];
  int64_t begin, end;
  for (int32_t n = 0; n < REMEMBERED; n++) {
    remembered[n] = n < count ? n : 0;
    passed[n] = (Passed){0, -1};
  }
  for (int32_t n = 0; n < count; n++) {
    const int64_t bytes = columns[n].name_bytes;
    columns[n].begin = word_of(columns[n].name, bytes < 8 ? bytes : 8, columns[n].name);
  }
  for (*done = 0; *done < records; ++*done) {
    const int fault = framed(data, size, *at, &begin, &end);
    if (fault) return fault;
    uint32_t checksum;
    memcpy(&checksum, data + end, 4);
    if (masked(crc32c_of(data + begin, (size_t)(end - begin))) != checksum) return WRONG_RECORD;
    if (!put_example(data + begin, data + end, data + size, columns, count, remembered, passed, rows[*done])) return IRREGULAR;
    *at = end + TAIL;
  }
  return WHOLE;
}

/* Copies a dictionary's strings from number `first` on, one after the other; with `out` 0 it only says how many bytes
 * they are. */
EXPORTED int64_t headrace_entries(const Column *column, int32_t first, uint8_t *out) {
  int64_t total = 0;
  for (int32_t n = first; n < column->known; n++) {
    if (out) memcpy(out + total, column->entries[n], (size_t)column->sizes[n]);
    total += column->sizes[n];
  }
  return total;
}
