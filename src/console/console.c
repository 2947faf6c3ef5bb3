/* Finding the console's files. */
#include "console/console.h"

const struct console_file *
console_find(struct slice path)
{
	if (path.n == 0)
		path = SL("index.html");
	for (size_t i = 0; i < console_files_n; i++)
		if (slice_eq(path, slice_str(console_files[i].path)))
			return &console_files[i];
	return NULL;
}
