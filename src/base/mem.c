#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/num.h"

enum { HUGE_PAGE = 2 * 1024 * 1024 };

void *
mem_table(size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (!num_mul(n, size, &bytes))
		return NULL;
	if (bytes < HUGE_PAGE || bytes % HUGE_PAGE != 0)
		return calloc(n, size);
	if ((p = aligned_alloc(HUGE_PAGE, bytes)) == NULL)
		return NULL;
	/* Without them it is slower and otherwise the same. */
	(void)madvise(p, bytes, MADV_HUGEPAGE);
	return memset(p, 0, bytes);
}
