/* See nomem_testkit.h. */
#include <stddef.h>
#include "base/nomem_testkit.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

struct nomem nomem;

static bool
fails(void)
{
	if (nomem.all)
		return true;
	if (nomem.fail_in == 0 || --nomem.fail_in > 0)
		return false;
	nomem.hit = true;
	if (nomem.more > 0) {
		nomem.more--;
		nomem.fail_in = 1;
	}
	return true;
}

static void *
counted(void *p)
{
	nomem.live += p != NULL;
	return p;
}

void *
__wrap_malloc(size_t n)
{
	return fails() ? NULL : counted(__real_malloc(n));
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : counted(__real_calloc(n, size));
}

void *
__wrap_realloc(void *p, size_t n)
{
	void *q = fails() ? NULL : __real_realloc(p, n);

	nomem.live += p == NULL && q != NULL;
	return q;
}

void
__wrap_free(void *p)
{
	nomem.live -= p != NULL;
	__real_free(p);
}
