/* libFuzzer: any bytes as a line of the audit log. What is taken for an intact record is exactly what the writer makes of it. */
#include "audit/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char room[AUDIT_LINE_MAX];
	struct parsed p = { .room = room };
	struct err err = { 0 };

	if (!audit_parse(&p, slice_of(data, size), &err)) {
		if (err.text[0] == '\0')
			abort();
		return 0;
	}
	(void)audit_intact(&p);
	for (size_t i = 0; i < p.seen.n_details; i++)
		if (!utf8_ok(slice_str(p.details[i].value)) || !utf8_ok(slice_str(p.details[i].name)))
			abort();
	return 0;
}
