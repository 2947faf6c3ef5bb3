/* libFuzzer: bytes to a request: its head, its target, the operation that it means, its body. The first byte chooses. */
#include <stdlib.h>

#include "api/dojot.h"
#include "base/json.h"
#include "base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_slice(struct slice part, struct slice whole)
{
	if (part.n > 0 && (part.p < whole.p || part.p + part.n > whole.p + whole.n))
		abort();
}

static void
route(struct slice target)
{
	struct slice params[API_PARAMS_MAX];
	struct http_path p;
	struct http_fault f;
	unsigned allowed;

	if (!http_read_target(target, &p, &f)) {
		if (f.status < 400 || f.what == NULL)
			abort();
		return;
	}
	for (unsigned i = 0; i < p.n; i++) {
		check_slice(p.segments[i], slice_of(p.room, sizeof(p.room)));
		if (p.segments[i].n == 0 || memchr(p.segments[i].p, '/', p.segments[i].n) != NULL || slice_eq(p.segments[i], SL("..")))
			abort();
	}
	for (unsigned m = 0; m < HTTP_METHODS; m++)
		(void)op_find(&p, (enum http_method)m, true, params, &allowed);
}

static void
head(struct slice in)
{
	struct http_head h;
	struct http_fault f = { 0 };
	ptrdiff_t n = http_read_head(in, &h, &f);

	if (n < 0 && (f.status < 400 || f.what == NULL))
		abort();
	if (n <= 0)
		return;
	if ((size_t)n > in.n || h.target.n == 0 || h.target.p[0] != '/')
		abort();
	for (unsigned i = 0; i < h.n_headers; i++) {
		check_slice(h.headers[i].name, in);
		check_slice(h.headers[i].value, in);
	}
	route(h.target);
}

static void
chunked(struct slice in)
{
	struct http_chunks c = { 0 };
	struct http_fault f;
	struct slice piece;
	ptrdiff_t n;

	while ((n = http_read_chunk(&c, in, &piece, &f)) > 0) {
		if ((size_t)n > in.n)
			abort();
		check_slice(piece, in);
		in = slice_from(in, (size_t)n);
	}
}

static void
body(struct slice in)
{
	char why[FIELD_WHY_CAP];
	json_t *v = field_parse(in, why);
	struct slice bytes;
	void *mem;

	/* jansson passes over a zero byte behind a number. */
	if (json_is_object(v) && memchr(in.p, 0, in.n) == NULL && !json_text_is_object(in))
		abort();
	if (dojot_unbase64(in, &bytes, &mem))
		free(mem);
	for (size_t g = 0; v != NULL && g < op_groups_n; g++) {
		for (size_t i = 0; i < op_groups[g]->n; i++) {
			struct faults f = { 0 };

			if (op_groups[g]->ops[i].body != NULL)
				(void)fields_check(op_groups[g]->ops[i].body->rows, v, &f);
			json_decref(f.list);
		}
	}
	json_decref(v);
}

static void
token(struct slice in)
{
	static struct tokens *ts;
	struct token t;
	const char *why;

	if (ts == NULL)
		ts = tokens_new(60);
	/* The key is random: nobody guesses a signature. */
	if (ts != NULL && token_read(ts, in, 1000000, &t, &why))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(struct slice in) = { head, route, chunked, body, token };
	uint8_t *copy;

	if (size < 1)
		return 0;
	copy = malloc(size);
	if (copy == NULL)
		return 0;
	memcpy(copy, data + 1, size - 1);
	what[data[0] % ARRAY_LEN(what)](slice_of(copy, size - 1));
	free(copy);
	return 0;
}
