/* The masked CRC-32C of TFRecord, by the processor's own instructions: SSE 4.2 on x86-64, the CRC extension on ARM.
 *
 * They are optional on both, so the compiler is told to use them in this one function, whatever machine it builds for,
 * and `crc32c_usable` asks the machine that runs it. The numbers of a TFRecord are little-endian and are read and
 * written as the machine's own: one that is big-endian is not usable, nor is a processor without the instructions,
 * which does better with google_crc32c's tables.
 */

#ifndef HEADRACE_CRC32C_H
#define HEADRACE_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define CRC_INSTRUCTIONS __attribute__((target("sse4.2")))
#define CRC_OF_8(crc, word) _mm_crc32_u64((crc), (word))
#define CRC_OF_1(crc, byte) _mm_crc32_u8((uint32_t)(crc), (byte))
/* As wide as the instruction's result: cutting it to 32 bits at each step costs a cycle. */
typedef uint64_t crc_state;
static inline int32_t crc32c_usable(void) { return __builtin_cpu_supports("sse4.2") ? 1 : 0; }

#elif defined(__aarch64__) && defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Instructions by name: arm_acle.h has their functions only where the whole file is compiled for such a processor. */
static inline uint32_t crc_of_8(uint32_t crc, uint64_t word) {
  __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
  return crc;
}
static inline uint32_t crc_of_1(uint32_t crc, uint8_t byte) {
  __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)byte));
  return crc;
}
#define CRC_INSTRUCTIONS
#define CRC_OF_8(crc, word) crc_of_8((crc), (word))
#define CRC_OF_1(crc, byte) crc_of_1((crc), (byte))
typedef uint32_t crc_state;
#if defined(__linux__)
#include <sys/auxv.h>
/* HWCAP_CRC32 of the kernel's asm/hwcap.h, which not every C library brings. */
static inline int32_t crc32c_usable(void) { return getauxval(AT_HWCAP) & (1ul << 7) ? 1 : 0; }
#elif defined(__APPLE__) || defined(__ARM_FEATURE_CRC32)
/* Every processor of Apple's has them. */
static inline int32_t crc32c_usable(void) { return 1; }
#else
static inline int32_t crc32c_usable(void) { return 0; }
#endif
#endif

#if defined(CRC_OF_8)
CRC_INSTRUCTIONS static inline uint32_t crc32c_of(const uint8_t *at, size_t size) {
  crc_state crc = 0xffffffffu;
  uint64_t word;
  for (; size >= 8; at += 8, size -= 8) {
    memcpy(&word, at, 8);
    crc = CRC_OF_8(crc, word);
  }
  for (; size; at++, size--) crc = CRC_OF_1(crc, *at);
  return ~(uint32_t)crc;
}
#else
static inline uint32_t crc32c_of(const uint8_t *at, size_t size) { (void)at; (void)size; return 0; }
static inline int32_t crc32c_usable(void) { return 0; }
#endif

static inline uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

#endif
