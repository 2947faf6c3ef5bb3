/* libFuzzer: bytes to a request: its head, its target, the operation that it means, its body. The first byte chooses. */
#include <stdlib.h>

#include "api/dojot.h"
#include "base/json.h"
#include "base/num.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_slice(struct slice part, struct slice whole)
{
	if (part.n > 0 && (part.p < whole.p || part.p + part.n > whole.p + whole.n))
		abort();
}

/* Values of a path and query as the tables of the operation say. */
static void
values(const struct op *o, const struct http_path *p, const struct slice *params)
{
	struct slice path = slice_str(o->path), part, name, suffix;
	struct faults f = { 0 };
	unsigned n = 0;

	for (bool more = true; more;) {
		part = slice_cut(&path, '/', &more);
		if (!op_brace(part, &name, &suffix))
			continue;
		check_slice(params[n], slice_of(p->room, sizeof(p->room)));
		(void)field_check_text(op_param(name), params[n++], op_param(name)->name, &f);
	}
	for (unsigned i = 0; i < p->n_query; i++)
		for (const struct field *row = o->query; row != NULL && row->name != NULL; row++)
			if (slice_eq(slice_str(row->name), p->query[i].name))
				(void)field_check_text(row, p->query[i].value, row->name, &f);
	json_decref(f.list);
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
	for (unsigned m = 0; m < HTTP_METHODS; m++) {
		const struct op *o = op_find(&p, (enum http_method)m, true, params, &allowed);

		/* Those of dojot look at theirs themselves. */
		if (o != NULL && (o->flags & OP_DOJOT) == 0)
			values(o, &p, params);
	}
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

enum { NOW = 1000000, LIFE = 60 };

static void
token(struct slice in)
{
	static struct tokens *ts;
	struct token t;
	const char *why;

	if (ts == NULL)
		ts = tokens_new(LIFE);
	/* The key is random: nobody guesses a signature. */
	if (ts != NULL && token_read(ts, in, NOW, &t, &why))
		abort();
}

static bool
is_read(struct tokens *ts, const char *text, int64_t now, struct token *ret)
{
	const char *why = NULL;
	bool ok = token_read(ts, slice_str(text), now, ret, &why);

	if (!ok && (why == NULL || why[0] == '\0'))
		abort();
	return ok;
}

/* A token with the right signature: good at NOW, and no longer when it was given back. */
static void
taken(struct tokens *ts, const char *text, const struct token *t)
{
	struct token again;

	if (t->issued > NOW || t->expires <= NOW || t->expires > t->issued + LIFE || is_read(ts, text, t->expires, &again))
		abort();
	if (!token_revoke(ts, t->jti, t->expires, NOW))
		return;
	if (is_read(ts, text, NOW, &again))
		abort();
	(void)token_revoke(ts, t->jti, t->expires, NOW);
	(void)token_revoke(ts, "other", t->expires + 1, t->expires);
}

/* The input is claims, which replace ours, under a signature that is right; then a character of the token is another one. */
static void
claims(struct slice in)
{
	struct tokens *ts = tokens_new(LIFE);
	struct token t = { .tenant = "acme", .user = 7, .generation = 3 }, read;
	char *more = text_dup(in), *text;

	t.more = in.n > 0 ? more : NULL;
	text = ts != NULL && more != NULL ? token_issue(ts, &t, NOW) : NULL;
	if (text != NULL) {
		if (is_read(ts, text, NOW, &read))
			taken(ts, text, &read);
		else if (t.more == NULL)
			abort();
		text[in.n % strlen(text)] ^= 1;
		if (is_read(ts, text, NOW, &read))
			abort();
	}
	free(text);
	free(more);
	tokens_free(ts);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(struct slice in) = { head, route, chunked, body, token, claims };
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
