/* Secrets and randomness; see secret.h. */
#include "base/secret.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/assert.h"
#include "base/num.h"

void
secret_wipe(void *p, size_t n)
{
	if (p != NULL)
		OPENSSL_cleanse(p, n);
}

void
secret_free(void *p, size_t n)
{
	secret_wipe(p, n);
	free(p);
}

/* ---- for libraries ---- */

void
secret_drop(void *p)
{
	secret_free(p, malloc_usable_size(p));
}

void *
secret_realloc(void *old, size_t n)
{
	void *p = n > 0 ? malloc(n) : NULL;

	if (p != NULL && old != NULL)
		memcpy(p, old, NUM_MIN(malloc_usable_size(old), n));
	if (p != NULL || n == 0)
		secret_drop(old);
	return p;
}

static void *
openssl_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return n > 0 ? malloc(n) : NULL;
}

static void *
openssl_realloc(void *old, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return secret_realloc(old, n);
}

static void
openssl_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	secret_drop(p);
}

void
secret_wipe_freed(void)
{
	(void)CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
}

/* ---- comparing, and randomness ---- */

bool
secret_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

void
random_bytes(void *p, size_t n)
{
	uint8_t *at = p;

	while (n > 0) {
		ssize_t got = getrandom(at, n, 0);

		/* A program that guards keys must not go on without randomness. */
		ASSERT(got > 0 || errno == EINTR);
		if (got > 0) {
			at += got;
			n -= (size_t)got;
		}
	}
}
