/* Where a broken assertion ends the program. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void
assert_failed(const char *file, int line, const char *what)
{
	/* Not through the log: its lock may be held by the very code that is broken. */
	(void)fprintf(stderr, "signet: assertion failed at %s:%d: %s\n", file, line, what);
	abort();
}
