/* dojot's paths: what their answers look like. */
#include "api/dojot.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "base/num.h"
#include "base/text.h"

const struct op_group *const dojot_groups[] = { &group_dojot_auth, &group_dojot_pap, &group_dojot_ca, &group_dojot_entity, &group_dojot_sign, &group_dojot_device,
	&group_dojot_template, &group_dojot_x509, &group_dojot_agent };
const size_t dojot_groups_n = ARRAY_LEN(dojot_groups);

/* ---- refusals ---- */

static void
fail(struct call *c, unsigned status, const char *before, const char *what)
{
	char text[sizeof(((struct err *)NULL)->text) + 64];

	(void)snprintf(text, sizeof(text), "%s%s", before, what);
	call_json(c, status, json_pack("{s:s, s:i}", "message", text, "status", (int)status));
}

void
dojot_fail(struct call *c, unsigned status, const char *fmt, ...)
{
	char text[sizeof(((struct err *)NULL)->text)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fail(c, status, "", text);
}

void
dojot_soap(struct call *c, const char *fmt, ...)
{
	char text[sizeof(((struct err *)NULL)->text)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fail(c, 400, "soap message: ", text);
}

void
dojot_ok(struct call *c)
{
	call_json(c, 200, json_pack("{s:s, s:i}", "message", "ok", "status", 200));
}

void
dojot_error(struct call *c, const struct err *err)
{
	bool ours = err->code == ERR_SYSTEM || err->code == ERR_MEMORY || err->code == ERR_LIMIT;

	if (ours)
		call_header(c, "Retry-After", "5");
	dojot_fail(c, ours ? 503 : err->code == ERR_MISSING ? 404 : 400, "%s", call_why(c, err));
}

/* ---- what comes in ---- */

static bool
is_json_type(const struct call *c)
{
	struct slice type;
	bool more;

	if (!http_header(&c->head, "Content-Type", &type) || type.p == NULL)
		return false;
	type = slice_cut(&type, ';', &more);
	while (type.n > 0 && type.p[type.n - 1] == ' ')
		type.n--;
	return type.n == 16 && strncasecmp((const char *)type.p, "application/json", 16) == 0;
}

bool
dojot_body(struct call *c, const char *type, const char *json)
{
	if (!is_json_type(c)) {
		dojot_fail(c, 400, "%s", type);
		return false;
	}
	if (json_is_object(c->body))
		return true;
	dojot_fail(c, 400, "%s", json);
	return false;
}

json_t *
dojot_text(const struct call *c, const char *name)
{
	json_t *v = json_object_get(c->body, name);

	return json_is_string(v) ? v : NULL;
}

bool
dojot_switch(const struct call *c, const char *name)
{
	struct slice s = call_query(c, name);

	return s.p != NULL && (s.n == 0 || slice_eq(s, SL("true")) || slice_eq(s, SL("True")) || slice_eq(s, SL("1")));
}

static bool
read_number(struct call *c, const char *name, int64_t otherwise, int64_t *ret)
{
	struct slice s = call_query(c, name);
	uint64_t n = 0;

	*ret = otherwise;
	if (s.p == NULL)
		return true;
	if (!text_u64(s, 1, DOJOT_WALK_MAX, &n)) {
		dojot_fail(c, 400, "page_size and page_num must be integers of 1 to %d", DOJOT_WALK_MAX);
		return false;
	}
	*ret = (int64_t)n;
	return true;
}

bool
dojot_page(struct call *c, struct dojot_page *ret)
{
	return read_number(c, "page_num", 1, &ret->number) && read_number(c, "page_size", 20, &ret->size);
}

/* ---- what goes out ---- */

json_t *
dojot_pagination(const struct dojot_page *p, int64_t rows)
{
	int64_t pages = (rows + p->size - 1) / p->size;
	bool next = p->number < pages;

	return json_pack("{s:I, s:I, s:b, s:o}", "page", (json_int_t)p->number, "total", (json_int_t)pages, "has_next", next, "next_page",
	    next ? json_integer(p->number + 1) : json_null());
}

json_t *
dojot_time(int64_t t)
{
	char text[40];
	time_t sec = (time_t)t;
	struct tm tm;

	if (t == 0 || gmtime_r(&sec, &tm) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.000000+00:00", &tm) == 0)
		return json_null();
	return json_string(text);
}

/* Old clients put BEGIN and END around it: an empty line before END makes a file that nothing reads. */
char *
dojot_base64(struct slice bytes, bool lines)
{
	size_t cap = (bytes.n + 2) / 3 * 4 + 1, n;
	char *line = bytes.n < INT32_MAX / 2 ? malloc(cap) : NULL, *out;

	if (line == NULL)
		return NULL;
	n = (size_t)EVP_EncodeBlock((unsigned char *)line, bytes.p, (int)bytes.n);
	if (!lines)
		return line;
	out = malloc(n + n / 64 + 1);
	for (size_t i = 0, at = 0; out != NULL && i <= n; i++) {
		if (i > 0 && i < n && i % 64 == 0)
			out[at++] = '\n';
		out[at++] = line[i];
	}
	free(line);
	return out;
}

/* Between the first line's end and the line of END. */
static bool
unframe(struct slice *s)
{
	const uint8_t *end;
	bool more;

	if (!slice_starts(*s, SL("-----BEGIN ")))
		return true;
	(void)slice_cut(s, '\n', &more);
	end = more ? memmem(s->p, s->n, "-----END ", 9) : NULL;
	if (end == NULL)
		return false;
	s->n = (size_t)(end - s->p);
	return true;
}

bool
dojot_unbase64(struct slice text, struct slice *ret, void **ret_mem)
{
	EVP_ENCODE_CTX *ctx;
	unsigned char *out;
	int n = 0, last = 0;
	bool ok;

	while (text.n > 0 && (text.p[0] == ' ' || text.p[0] == '\n' || text.p[0] == '\r'))
		text = slice_from(text, 1);
	if (!unframe(&text) || text.n == 0 || text.n > API_BODY_MAX)
		return false;
	ctx = EVP_ENCODE_CTX_new();
	out = malloc(text.n + 64);
	if (ctx != NULL)
		EVP_DecodeInit(ctx);
	ok = ctx != NULL && out != NULL && EVP_DecodeUpdate(ctx, out, &n, text.p, (int)text.n) >= 0 && EVP_DecodeFinal(ctx, out + n, &last) >= 0 &&
	    n + last > 0;
	EVP_ENCODE_CTX_free(ctx);
	if (!ok) {
		free(out);
		return false;
	}
	*ret = slice_of(out, (size_t)n + (size_t)last);
	*ret_mem = out;
	return true;
}
