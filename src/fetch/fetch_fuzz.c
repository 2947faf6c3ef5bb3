/* Fuzz target: any bytes as an HTTP answer, whole and byte by byte: both must end alike. The same bytes as a URL. */
#include <stdlib.h>
#include <string.h>

#include "fetch/fetch.h"

enum { BODY_MAX = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum fetch_step
run(struct fetch_reader *r, const uint8_t *data, size_t n, size_t step)
{
	enum fetch_step got = FETCH_MORE;
	struct err err = { 0 };

	fetch_init(r, BODY_MAX);
	for (size_t i = 0; i < n && got == FETCH_MORE; i += step)
		got = fetch_feed(r, slice_of(data + i, step), &err);
	if (got == FETCH_MORE)
		got = fetch_end(r, &err);
	if (got == FETCH_MORE || (got == FETCH_BROKEN && err.text[0] == '\0') || r->body_n > BODY_MAX)
		abort();
	return got;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct fetch_reader whole, single;
	enum fetch_step end;
	struct fetch_url u;
	struct err err = { 0 };
	char url[FETCH_URL_MAX + 8];

	if (n == 0)
		return 0;
	end = run(&whole, data, n, n);
	if (run(&single, data, n, 1) != end || (end == FETCH_DONE && whole.body_n != single.body_n))
		abort();
	fetch_done(&whole);
	fetch_done(&single);
	if (n < sizeof url && memchr(data, 0, n) == NULL) {
		memcpy(url, data, n);
		url[n] = '\0';
		if (fetch_url_parse(url, &u, &err) ? u.path[0] != '/' || u.host[0] == '\0' : err.text[0] == '\0')
			abort();
	}
	return 0;
}
