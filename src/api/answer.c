/* The answer to a request: JSON, problems, pages, entity tags. */
#include "api/events.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { ETAG_CAP = 60, KEEP_REPLY_S = 24 * 3600 };

/* The version of the row, and what it looks like: presence and the like are shown and are no change of anybody's. */
static bool
etag_of(struct slice body, int64_t version, char out[static ETAG_CAP])
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	char hex[25];

	if (EVP_Digest(body.p, body.n, hash, NULL, EVP_sha256(), NULL) != 1)
		return false;
	(void)snprintf(out, ETAG_CAP, "\"%" PRId64 "-%s\"", version, text_hex(slice_of(hash, 12), hex, sizeof(hex)));
	return true;
}

/* Is one that begins so among the tags of an If-Match or If-None-Match? Weak ones are compared like strong ones (RFC 9110 13.1.2). */
bool
call_has_tag(struct slice list, struct slice begin)
{
	bool more = true;

	while (more) {
		struct slice one = slice_cut(&list, ',', &more);

		while (one.n > 0 && one.p[0] == ' ')
			one = slice_from(one, 1);
		while (one.n > 0 && one.p[one.n - 1] == ' ')
			one.n--;
		if (slice_starts(one, SL("W/")))
			one = slice_from(one, 2);
		if (slice_eq(one, SL("*")) || slice_starts(one, begin))
			return true;
	}
	return false;
}

void
call_header(struct call *c, const char *name, const char *fmt, ...)
{
	va_list ap;

	(void)evbuffer_add_printf(c->headers, "%s: ", name);
	va_start(ap, fmt);
	(void)evbuffer_add_vprintf(c->headers, fmt, ap);
	va_end(ap);
	(void)evbuffer_add(c->headers, "\r\n", 2);
}

void
call_header_lines(struct call *c, const char *lines)
{
	(void)evbuffer_add(c->headers, lines, strlen(lines));
}

/* A server's fault may be over at the next try, so it is not what is answered for ever. */
static void
end_once(struct call *c, unsigned status, const char *type, struct slice body)
{
	struct registry_reply r = { .status = (int)status, .head = slice_str(type), .body = body };
	struct slice scope = slice_str(c->actor.name), key = slice_str(c->key);
	struct err err;

	if (c->key[0] == '\0')
		return;
	if (status >= 500 || !registry_replay_finish(c->api->registry, scope, key, &r, api_now(c->api) + KEEP_REPLY_S, &err))
		(void)registry_replay_abandon(c->api->registry, scope, key, &err);
}

/* What was made has its address in the answer; the target only says of which kind it is, and in which tenant. */
static struct slice
object_of(const struct call *c, unsigned status, char out[static API_TEXT_MAX])
{
	static const char name[] = "Location: ";
	size_t n = c->headers != NULL ? evbuffer_get_length(c->headers) : 0;
	const uint8_t *text = status == 201 && n > 0 ? evbuffer_pullup(c->headers, -1) : NULL;
	const uint8_t *at = text != NULL ? memmem(text, n, name, sizeof(name) - 1) : NULL, *end;
	struct slice query = c->head.target;
	bool more;
	int put;

	end = at != NULL ? memchr(at, '\r', n - (size_t)(at - text)) : NULL;
	if (end == NULL)
		return c->head.target;
	at += sizeof(name) - 1;
	(void)slice_cut(&query, '?', &more);
	put = snprintf(out, API_TEXT_MAX, "%.*s%s%.*s", (int)(end - at), (const char *)at, more ? "?" : "", SL_ARG(query));
	return put > 0 && put < API_TEXT_MAX ? slice_of((uint8_t *)out, (size_t)put) : c->head.target;
}

static void
finish(struct call *c, struct reply *r)
{
	unsigned status = r->status;
	char object[API_TEXT_MAX];

	r->headers = c->headers;
	r->cache = c->cache[0] != '\0' ? c->cache : NULL;
	if (c->head.method > HTTP_HEAD && status < 400 && (c->op == NULL || (c->op->flags & OP_PUBLIC) == 0)) {
		broker_poke(c->api);
		/* Who needs no login takes nobody's rights away, and may come as often as he likes. */
		if (c->op != NULL && (c->op->flags & OP_OPEN) == 0) {
			tunnels_check(c->api);
			events_check(c->api);
		}
	}
	/* Whose right has just gone is not told any more. */
	if (c->op != NULL && c->head.method > HTTP_HEAD && (c->op->flags & OP_QUIET) == 0 && status < 400 && !c->replayed) {
		api_audit_names(c->api, c->actor.name, c->op->id, object_of(c, status, object), c->names);
		event_change(c);
	}
	if (c->chan != NULL)
		chan_answer(c->chan, r); /* frees the call */
	else
		call_free(c);
}

void
call_bytes(struct call *c, unsigned status, const char *type, struct slice body)
{
	struct reply r = { .status = status, .type = type, .body = body, .page = c->page };

	end_once(c, status, type, body);
	finish(c, &r);
}

void
call_blob(struct call *c, const char *type, struct blob *b)
{
	struct reply r = { .status = 200, .type = type, .blob = b };

	finish(c, &r);
}

void
call_nothing(struct call *c)
{
	call_bytes(c, 204, NULL, (struct slice){ 0 });
}

static void
send_json(struct call *c, unsigned status, const char *type, json_t *v)
{
	char *text = v != NULL ? json_dumps(v, JSON_COMPACT) : NULL;
	char tag[ETAG_CAP];
	struct slice match, body = slice_str(text);
	bool get = c->head.method == HTTP_GET || c->head.method == HTTP_HEAD, is_row = get || c->head.method == HTTP_PATCH;

	json_decref(v);
	if (text == NULL) {
		call_bytes(c, 503, "application/problem+json", SL("{\"type\":\"urn:signet:problem:memory\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"out of memory\"}"));
		return;
	}
	if (status == 200 && is_row && etag_of(body, c->version, tag)) {
		call_header(c, "ETag", "%s", tag);
		if (get && http_header(&c->head, "If-None-Match", &match) && match.p != NULL && call_has_tag(match, slice_str(tag))) {
			secret_drop(text);
			call_bytes(c, 304, NULL, (struct slice){ 0 });
			return;
		}
	}
	call_bytes(c, status, type, body);
	secret_drop(text);
}

void
call_json(struct call *c, unsigned status, json_t *body)
{
	send_json(c, status, "application/json", body);
}

/* ---- problems ---- */

/* As dojot's gateway refuses, and its services. */
static void
send_dojot(struct call *c, unsigned status, json_t *p)
{
	const char *detail = json_string_value(json_object_get(p, "detail"));
	json_t *v = NULL;

	if (status == 401)
		v = json_pack("{s:s}", "message", "Unauthorized");
	else if (detail != NULL && status != 403)
		v = json_pack("{s:s, s:i}", "message", detail, "status", (int)status);
	json_decref(p);
	if (status == 403)
		call_bytes(c, status, NULL, (struct slice){ 0 });
	else
		send_json(c, status, "application/json", v);
}

static void
problem(struct call *c, unsigned status, json_t *p)
{
	char path[API_TEXT_MAX];

	if (c->op != NULL && (c->op->flags & OP_DOJOT) != 0) {
		send_dojot(c, status, p);
		return;
	}
	if (p != NULL)
		(void)json_object_set_new(p, "instance", json_string(text_show(c->head.target, path, sizeof(path))));
	send_json(c, status, "application/problem+json", p);
}

void
call_problem(struct call *c, unsigned status, const char *slug, const char *remedy, const char *fmt, ...)
{
	char detail[sizeof(((struct err *)NULL)->text) + 64];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	problem(c, status, problem_json(status, slug, detail, remedy));
}

void
call_faults(struct call *c, unsigned status, struct faults *f)
{
	const char *slug = status == 422 ? "fields" : "parameters";
	const char *what = status == 422 ? "the body is not what is taken here" : "the path or its parameters are not what is taken here";
	json_t *p = problem_json(status, slug, what, "each entry of errors names a place and what is wrong there");

	if (p == NULL || f->list == NULL) {
		json_decref(f->list);
		json_decref(p);
		p = NULL;
	} else if (json_object_set_new(p, "errors", f->list) != 0) {
		json_decref(p);
		p = NULL;
	}
	*f = (struct faults){ 0 };
	problem(c, status, p);
}

/* Where the registry lies is no affair of who asks, however the fault is told. */
const char *
call_why(const struct call *c, const struct err *err)
{
	const char *path = c->api->config->registry;
	size_t n = strlen(path);

	if (strncmp(err->text, path, n) != 0)
		return err->text;
	return err->text + n + strspn(err->text + n, ": ");
}

void
call_error(struct call *c, const struct err *err)
{
	static const struct {
		unsigned status;
		const char *slug, *remedy;
	} rows[] = {
		[ERR_USAGE] = { 422, "value", NULL },
		[ERR_INPUT] = { 422, "value", NULL },
		[ERR_EXISTS] = { 409, "exists", NULL },
		[ERR_MISSING] = { 404, "not-found", NULL },
		[ERR_DENIED] = { 409, "denied", NULL },
		[ERR_CONFLICT] = { 409, "conflict", "read it again and repeat the change" },
		[ERR_LIMIT] = { 503, "limit", "try again later, or raise the limit" },
		[ERR_SYSTEM] = { 503, "system", "the log of the control process says more" },
		[ERR_MEMORY] = { 503, "memory", "try again later" },
	};
	size_t i = (size_t)err->code < ARRAY_LEN(rows) && rows[err->code].status != 0 ? (size_t)err->code : ERR_SYSTEM;

	if (rows[i].status == 503)
		call_header(c, "Retry-After", "5");
	/* Who is nobody fills no log. */
	if (i == ERR_SYSTEM && c->actor.kind != ACTOR_NOBODY)
		log_warning("%s by %s comes to nothing: %s.", c->op->id, c->actor.name, err->text);
	call_problem(c, rows[i].status, rows[i].slug, rows[i].remedy, "%s", call_why(c, err));
}

/* ---- pages ---- */

/* A parameter of ours as it may stand in a target. */
static void
add_encoded(struct evbuffer *out, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._~", c) != NULL;

		(void)evbuffer_add_printf(out, plain ? "%c" : "%%%02X", c);
	}
}

void
call_location(struct call *c, const char *folder, struct slice name)
{
	(void)evbuffer_add_printf(c->headers, "Location: %s", folder);
	add_encoded(c->headers, name);
	(void)evbuffer_add(c->headers, "\r\n", 2);
}

/* RFC 8288: the same request with the next cursor. */
static void
add_link(struct call *c, const char *cursor)
{
	struct slice target = c->head.target;
	bool more;
	struct slice path = slice_cut(&target, '?', &more);

	(void)evbuffer_add_printf(c->headers, "Link: <%.*s?", SL_ARG(path));
	for (unsigned i = 0; i < c->path.n_query; i++) {
		if (slice_eq(c->path.query[i].name, SL("cursor")))
			continue;
		add_encoded(c->headers, c->path.query[i].name);
		(void)evbuffer_add(c->headers, "=", 1);
		add_encoded(c->headers, c->path.query[i].value);
		(void)evbuffer_add(c->headers, "&", 1);
	}
	(void)evbuffer_add_printf(c->headers, "cursor=%s>; rel=\"next\"\r\n", cursor);
}

void
call_page_json(struct call *c, json_t *items, const struct registry_page *page)
{
	bool more = page->next[0] != '\0';

	if (items == NULL) {
		call_json(c, 200, NULL);
		return;
	}
	if (more)
		add_link(c, page->next);
	call_json(c, 200, more ? json_pack("{s:o, s:s}", "items", items, "next", page->next) : json_pack("{s:o, s:n}", "items", items, "next"));
}

void
call_listed(struct call *c, bool ok, json_t *items, const struct registry_page *page, const struct err *err)
{
	if (ok) {
		call_page_json(c, items, page);
		return;
	}
	json_decref(items);
	call_error(c, err);
}

bool
call_found(struct call *c, bool ok, const int64_t *version, const struct err *err)
{
	if (ok)
		c->version = *version;
	else
		call_error(c, err);
	return ok;
}

void
call_done(struct call *c, bool ok, const struct err *err)
{
	if (ok)
		call_nothing(c);
	else
		call_error(c, err);
}

bool
call_if_match(struct call *c, int64_t version)
{
	char begin[32];
	struct slice match;

	(void)snprintf(begin, sizeof(begin), "\"%" PRId64 "-", version);
	if (http_header(&c->head, "If-Match", &match) && (match.p == NULL || call_has_tag(match, slice_str(begin))))
		return true;
	call_problem(c, 412, "changed", "read it again and repeat the change", "it is not what If-Match says any more");
	return false;
}

/* ---- values ---- */

json_t *
time_json(int64_t t)
{
	char text[32];
	struct tm tm;
	time_t sec = (time_t)t;

	if (t == 0)
		return json_null();
	if (gmtime_r(&sec, &tm) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return json_null();
	return json_string(text);
}

int64_t
time_read(struct slice s)
{
	struct tm tm = { 0 };
	char text[32];

	if (!text_copy(text, sizeof(text), s) || strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) == NULL)
		return 0;
	return (int64_t)timegm(&tm);
}

json_t *
text_json(struct slice s)
{
	return s.n > 0 ? json_stringn((const char *)s.p, s.n) : json_string("");
}
