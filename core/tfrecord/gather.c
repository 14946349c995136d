/* Gathers rows of a table of fixed width into columns.
 *
 * Plain C without Python's headers, called through ctypes (native.py), which lets other threads run meanwhile.
 */

#include "crc32c.h"

/* Rows that are fetched ahead: random rows of a large table are not in the cache. */
enum { AHEAD = 16 };

/* A column: `bytes` of each row from `offset` on are copied; or, where `is_short`, they are 16-bit integers without sign
 * and become 32-bit ones. */
typedef struct {
  int64_t offset;
  int64_t bytes;
  int32_t is_short;
  int32_t reserved;
  uint8_t *out;
} Field;

/* Row `chosen[n]` of the table, whose rows have `width` bytes, becomes row n of each field's `out`. Returns how many rows
 * were gathered: fewer than `count` where a number is not one of the table's `rows`. */
EXPORTED int64_t headrace_gather(const uint8_t *table, int64_t width, int64_t rows, const int64_t *chosen, int64_t count,
                                 const Field *fields, int32_t field_count) {
  for (int64_t n = 0; n < count; n++) {
    if (chosen[n] < 0 || chosen[n] >= rows) return n;
#if defined(__GNUC__)
    if (n + AHEAD < count) {
      const int64_t later = chosen[n + AHEAD];
      if (later >= 0 && later < rows)
        for (int64_t byte = 0; byte < width; byte += 64) __builtin_prefetch(table + later * width + byte);
    }
#endif
    const uint8_t *const row = table + chosen[n] * width;
    for (int32_t f = 0; f < field_count; f++) {
      const Field field = fields[f];
      const uint8_t *const from = row + field.offset;
      if (field.is_short) {
        const int64_t values = field.bytes / 2;
        int32_t *const to = (int32_t *)field.out + n * values;
        for (int64_t v = 0; v < values; v++) {
          uint16_t value;
          memcpy(&value, from + 2 * v, 2);
          to[v] = value;
        }
      } else if (field.bytes == 4) {
        memcpy(field.out + n * 4, from, 4);
      } else {
        memcpy(field.out + n * field.bytes, from, (size_t)field.bytes);
      }
    }
  }
  return count;
}
