/* CRC32C (Castagnoli), by the processor where it can. */
#include "store/internal.h"

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t
crc_sse42(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t c = crc, word;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&word, p, 8);
		c = _mm_crc32_u64(c, word);
	}
	for (; n > 0; p++, n--)
		c = _mm_crc32_u8((uint32_t)c, *p);
	return (uint32_t)c;
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

static uint32_t
crc_arm(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t word;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&word, p, 8);
		crc = __crc32cd(crc, word);
	}
	for (; n > 0; p++, n--)
		crc = __crc32cb(crc, *p);
	return crc;
}
#endif

/* Half a byte at a time: for processors without the instruction. */
static uint32_t
crc_plain(uint32_t crc, const uint8_t *p, size_t n)
{
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	for (; n > 0; p++, n--) {
		crc ^= *p;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return crc;
}

uint32_t
crc32c_plain(uint32_t crc, const void *p, size_t n)
{
	return ~crc_plain(~crc, p, n);
}

uint32_t
crc32c(uint32_t crc, const void *p, size_t n)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_sse42(~crc, p, n);
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
	return ~crc_arm(~crc, p, n);
#endif
	return crc32c_plain(crc, p, n);
}
