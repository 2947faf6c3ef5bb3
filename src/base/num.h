/* Arithmetic on numbers that came from outside: each says whether the result is true. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *ret = a + b, a * b; false (and *ret of no use) when it does not fit. */
#define num_add(a, b, ret) (!__builtin_add_overflow((a), (b), (ret)))
#define num_mul(a, b, ret) (!__builtin_mul_overflow((a), (b), (ret)))

#define NUM_MIN(a, b) ((a) < (b) ? (a) : (b))
#define NUM_MAX(a, b) ((a) > (b) ? (a) : (b))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
