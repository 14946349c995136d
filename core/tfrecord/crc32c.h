/* The masked CRC-32C of TFRecord, by the processor's own instructions. */

#ifndef HEADRACE_CRC32C_H
#define HEADRACE_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define HEADRACE_SSE42 1
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

#if HEADRACE_SSE42
__attribute__((target("sse4.2"))) static inline uint32_t crc32c_of(const uint8_t *at, size_t size) {
  uint64_t crc = 0xffffffffu, word;
  for (; size >= 8; at += 8, size -= 8) {
    memcpy(&word, at, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  uint32_t rest = (uint32_t)crc;
  for (; size; at++, size--) rest = _mm_crc32_u8(rest, *at);
  return ~rest;
}
static inline int32_t crc32c_usable(void) { return __builtin_cpu_supports("sse4.2") ? 1 : 0; }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
static inline uint32_t crc32c_of(const uint8_t *at, size_t size) {
  uint32_t crc = 0xffffffffu;
  uint64_t word;
  for (; size >= 8; at += 8, size -= 8) {
    memcpy(&word, at, 8);
    crc = __crc32cd(crc, word);
  }
  for (; size; at++, size--) crc = __crc32cb(crc, *at);
  return ~crc;
}
static inline int32_t crc32c_usable(void) { return 1; }
#else
/* A processor without instructions for it does better with google_crc32c's tables. */
static inline uint32_t crc32c_of(const uint8_t *at, size_t size) { (void)at; (void)size; return 0; }
static inline int32_t crc32c_usable(void) { return 0; }
#endif

static inline uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

#endif
