/* Memory for large tables. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* As calloc(), and for free(). A table of megabytes that is looked into at random is asked for in huge pages, where the system has
 * them to give: else most looks cost a walk through the page tables beside the cache line. */
void *mem_table(size_t n, size_t size);

#endif
