/* Text: UTF-8, and bytes from outside made safe to show. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/slice.h"

/* MQTT 1.5.4: well-formed UTF-8, no surrogates, no U+0000. Fast on ASCII (eight bytes at a time). */
bool utf8_ok(struct slice s);

/* <s> for a log line or terminal, NUL-terminated in <out>: control characters, quotes, backslash and bytes that are not UTF-8 as
 * \xNN; bidirectional controls (U+202A..U+202E, U+2066..U+2069) as \u{…}; cut with "..." when <cap> is short (cap >= 8). Returns out. */
const char *text_show(struct slice s, char *out, size_t cap);

/* The same for a whole line that already has its own quotes and escapes in it: those stay as they are. What comes
 * out is one line in any terminal or file. */
const char *text_line(struct slice s, char *out, size_t cap);

/* <s> as one word of a shell's command line; what needs no quotes has none. 4 * strlen(s) + 3 bytes are always enough; false, and an
 * empty string, when it does not fit. */
bool text_shell(const char *s, char *out, size_t cap);

/* Lower-case hex of <s>, NUL-terminated; cap >= 2 * s.n + 1 or it is cut to whole bytes. Returns out. */
const char *text_hex(struct slice s, char *out, size_t cap);

/* A decimal number that is the whole of <s>, within [min, max]. */
bool text_u64(struct slice s, uint64_t min, uint64_t max, uint64_t *ret);

/* Seconds since 1970 as people read them: "2026-01-31 12:00:00 UTC". Returns out. */
const char *text_when(int64_t t, char out[static 32]);

/* The value of a hexadecimal digit of either case, or -1. */
int text_hex_digit(uint8_t c);

/* The bytes of whole pairs of hexadecimal digits of either case; false: <hex> has others in it, an odd number, or more than <cap> bytes; what is in
 * <out> then is nothing. */
bool text_unhex(struct slice hex, uint8_t *out, size_t cap, size_t *ret_n);

/* ---- words of HTTP (RFC 9110 5.6) ---- */

/* <s> without spaces and tabs at both ends. */
struct slice text_trim(struct slice s);

/* A token: what a method, the name of a header and most of its words are. */
bool text_is_token(struct slice s);

/* Is it <word>, whatever the case of its ASCII letters? */
bool text_same_word(struct slice s, const char *word);

/* Is <word> in the list with commas, whatever its case? */
bool text_has_word(struct slice list, const char *word);

/* ---- copies ---- */

/* A copy with a NUL behind it; free(). NULL: out of memory. (strndup() may look at the byte behind.) */
char *text_dup(struct slice s);

/* Bounded copy into a NUL-terminated buffer; false (and an empty string) when it does not fit or holds a NUL. */
bool text_copy(char *out, size_t cap, struct slice s);

#endif
