/* Answers as bytes. */
#include "api/internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "console/console.h"

static const struct {
	unsigned status;
	const char *reason;
} reasons[] = {
	{ 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" }, { 302, "Found" }, { 304, "Not Modified" },
	{ 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
	{ 408, "Request Timeout" }, { 409, "Conflict" }, { 412, "Precondition Failed" }, { 413, "Content Too Large" },
	{ 414, "URI Too Long" }, { 415, "Unsupported Media Type" }, { 417, "Expectation Failed" }, { 422, "Unprocessable Content" },
	{ 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
	{ 501, "Not Implemented" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
	{ 507, "Insufficient Storage" },
};

const char *
reply_reason(unsigned status)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

/* What a browser must not do with an answer, whoever made it show one. The console's files have their own rules. */
static const char data_security[] =
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n";

struct blob *
blob_new(struct slice s)
{
	struct blob *b = malloc(sizeof(*b) + s.n);

	if (b == NULL)
		return NULL;
	b->refs = 1;
	b->secret = false;
	b->n = s.n;
	memcpy(b->bytes, s.p, s.n);
	return b;
}

void
blob_unref(struct blob *b)
{
	if (b != NULL && --b->refs == 0)
		b->secret ? secret_free(b, sizeof(*b) + b->n) : free(b);
}

static void
forget(const void *data, size_t n, void *ctx)
{
	(void)data;
	(void)n;
	blob_unref(ctx);
}

void
reply_write(struct evbuffer *out, const struct reply *r)
{
	bool bare = r->status == 204 || r->status == 304;
	size_t n = r->blob != NULL ? r->blob->n : r->body.n;

	(void)evbuffer_add_printf(out, "HTTP/1.1 %u %s\r\n%s", r->status, reply_reason(r->status), r->page ? console_security : data_security);
	if (!r->page)
		(void)evbuffer_add_printf(out, "Cache-Control: %s\r\n", r->cache != NULL ? r->cache : "no-store");
	if (!r->plain)
		(void)evbuffer_add_printf(out, "Strict-Transport-Security: max-age=31536000\r\n");
	if (r->type != NULL && !bare)
		(void)evbuffer_add_printf(out, "Content-Type: %s\r\n", r->type);
	if (!bare && !r->endless)
		(void)evbuffer_add_printf(out, "Content-Length: %zu\r\n", n);
	if (r->close)
		(void)evbuffer_add_printf(out, "Connection: close\r\n");
	if (r->headers != NULL)
		(void)evbuffer_add_buffer(out, r->headers);
	(void)evbuffer_add(out, "\r\n", 2);
	if (bare || r->head_only || n == 0)
		return;
	if (r->blob == NULL)
		(void)evbuffer_add(out, r->body.p, r->body.n);
	else if (evbuffer_add_reference(out, r->blob->bytes, n, forget, r->blob) == 0)
		r->blob->refs++;
}

json_t *
problem_json(unsigned status, const char *slug, const char *detail, const char *remedy)
{
	char type[96];
	json_t *p;

	(void)snprintf(type, sizeof(type), "urn:signet:problem:%s", slug);
	p = json_pack("{s:s, s:s, s:i, s:s}", "type", type, "title", reply_reason(status), "status", (int)status, "detail", detail);
	if (p != NULL && remedy != NULL && json_object_set_new(p, "remedy", json_string(remedy)) != 0) {
		json_decref(p);
		return NULL;
	}
	return p;
}
