/* One request from its head to its answer. */
#include "api/internal.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

struct call *
call_new(struct chan *chan, struct slice head)
{
	struct call *c = calloc(1, sizeof(*c));
	struct http_fault f;

	if (c == NULL)
		return NULL;
	c->chan = chan;
	c->next = chan_api(chan)->calls;
	if (c->next != NULL)
		c->next->prev = c;
	chan_api(chan)->calls = c;
	c->api = chan_api(chan);
	(void)text_copy(c->peer, sizeof(c->peer), slice_str(chan_peer_text(chan)));
	c->headers = evbuffer_new();
	c->head_bytes = malloc(head.n);
	c->head_n = head.n;
	if (c->headers == NULL || c->head_bytes == NULL) {
		call_free(c);
		return NULL;
	}
	/* Again, so that its parts lie where they stay. */
	memcpy(c->head_bytes, head.p, head.n);
	if (http_read_head(slice_of(c->head_bytes, head.n), &c->head, &f) > 0)
		return c;
	call_free(c);
	return NULL;
}

void
call_free(struct call *c)
{
	if (c == NULL)
		return;
	if (c->ended != NULL)
		c->ended(c);
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		c->api->calls = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	json_decref(c->body);
	json_decref(c->names);
	/* There may be passwords in it, and tokens among the headers. */
	secret_free(c->body_bytes, c->body_cap);
	secret_free(c->head_bytes, c->head_n);
	if (c->headers != NULL)
		evbuffer_free(c->headers);
	free(c->work);
	free(c);
}

void
call_orphan(struct call *c)
{
	c->chan = NULL;
}

/* ---- what is asked for ---- */

static const struct field *
query_row(const struct op *op, struct slice name)
{
	const struct field *const tables[] = { op->query, (op->flags & OP_LIST) != 0 ? page_query : NULL,
		(op->flags & OP_OPEN) == 0 ? tenant_query : NULL };

	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		for (const struct field *row = tables[i]; row != NULL && row->name != NULL; row++)
			if (slice_eq(slice_str(row->name), name))
				return row;
	return NULL;
}

static bool
check_query(struct call *c)
{
	struct faults f = { 0 };
	char shown[64];

	for (unsigned i = 0; i < c->path.n_query; i++) {
		const struct http_param *x = &c->path.query[i];
		const struct field *row = query_row(c->op, x->name);

		if (row == NULL)
			fault_add(&f, text_show(x->name, shown, sizeof(shown)), "is no parameter of this");
		else
			(void)field_check_text(row, x->value, row->name, &f);
	}
	for (const struct field *row = c->op->query; row != NULL && row->name != NULL; row++)
		if ((row->flags & FIELD_REQUIRED) != 0 && call_query(c, row->name).p == NULL)
			fault_add(&f, row->name, "is missing");
	if (f.list == NULL && !f.failed)
		return true;
	call_faults(c, 400, &f);
	return false;
}

/* What cannot be the name of anything is not looked up. */
static bool
check_params(struct call *c)
{
	struct slice path = slice_str(c->op->path);
	bool more = true;
	unsigned n = 0;

	while (more) {
		struct slice part = slice_cut(&path, '/', &more), s, suffix;
		struct faults f = { 0 };

		if (!op_brace(part, &s, &suffix))
			continue;
		if (!field_check_text(op_param(s), c->params[n++], op_param(s)->name, &f)) {
			call_faults(c, 400, &f);
			return false;
		}
	}
	return true;
}

static void
refuse_method(struct call *c, unsigned allowed)
{
	char list[80];
	size_t n = 0;

	if (allowed == 0) {
		call_problem(c, 404, "not-found", "the operations are listed in /api/v1/openapi.json", "nothing lies at this path");
		return;
	}
	allowed |= 1u << HTTP_OPTIONS;
	if ((allowed & 1u << HTTP_GET) != 0)
		allowed |= 1u << HTTP_HEAD;
	for (unsigned i = 0; i < HTTP_METHODS; i++)
		if ((allowed & 1u << i) != 0)
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n > 0 ? ", " : "", http_method_name((enum http_method)i));
	call_header(c, "Allow", "%s", list);
	if (c->head.method == HTTP_OPTIONS)
		call_nothing(c);
	else
		call_problem(c, 405, "method", NULL, "%s is not for this path", http_method_name(c->head.method));
}

static bool
check_type(struct call *c)
{
	const char *takes = c->op->takes != NULL ? c->op->takes : "application/json";
	struct slice type;
	bool more, some = c->head.chunked || c->head.length > 0;
	char remedy[API_TEXT_MAX];

	if (!some)
		return true;
	if (c->op->body == NULL && c->op->takes == NULL) {
		call_problem(c, 400, "body", NULL, "this request takes no body");
		return false;
	}
	if (http_header(&c->head, "Content-Type", &type) && type.p != NULL) {
		if (text_same_word(text_trim(slice_cut(&type, ';', &more)), takes))
			return true;
	}
	(void)snprintf(remedy, sizeof(remedy), "send Content-Type: %s", takes);
	call_problem(c, 415, "media-type", remedy, "the body is not said to be %s", c->op->takes != NULL ? takes : "JSON");
	return false;
}

/* Who makes a condition that nobody looks at must not think that it was met. */
static bool
check_match(struct call *c)
{
	struct slice match;

	if (c->head.method <= HTTP_HEAD || (c->op->flags & (OP_MATCH | OP_PUBLIC)) != 0 || (http_header(&c->head, "If-Match", &match) && match.p == NULL))
		return true;
	call_problem(c, 400, "if-match", "leave If-Match out", "there is no entity tag here with which If-Match could be compared");
	return false;
}

/* The request of OCSP stands behind the path (RFC 6960 A.1) and has slashes in it, which clients encode or do not. */
static struct slice
cut_tail(struct call *c)
{
	static const char with_tail[] = "/ocsp/";
	struct slice t = c->head.target, rest;
	bool more;

	if ((c->head.method != HTTP_GET && c->head.method != HTTP_HEAD) || !slice_starts(t, SL(with_tail)))
		return t;
	rest = slice_from(t, sizeof(with_tail) - 1);
	(void)slice_cut(&rest, '/', &more);
	if (!more)
		return t;
	c->tail = rest;
	t.n -= rest.n;
	return t;
}

bool
call_admit(struct call *c)
{
	struct http_fault f;
	unsigned allowed = 0;

	if (!http_read_target(cut_tail(c), &c->path, &f)) {
		call_problem(c, f.status, "target", NULL, "%s", f.what);
		return false;
	}
	if (!chan_is_plain(c->chan) && (page_serve(c) || tunnel_serve(c)))
		return false;
	c->op = op_find(&c->path, c->head.method == HTTP_HEAD ? HTTP_GET : c->head.method, c->api->config->dojot.on, c->params, &allowed);
	if (chan_is_plain(c->chan) && (c->op == NULL || (c->op->flags & OP_PUBLIC) == 0)) {
		c->op = NULL;
		call_problem(c, 404, "not-found", NULL, "nothing lies at this path without TLS");
		return false;
	}
	if (c->op == NULL) {
		refuse_method(c, allowed);
		return false;
	}
	c->body_max = c->op->body_max > 0 ? c->op->body_max : API_BODY_MAX;
	if ((c->op->flags & OP_DOJOT) != 0)
		return auth_who(c) && auth_may(c);
	return auth_who(c) && check_query(c) && check_params(c) && auth_may(c) && check_type(c) && check_match(c);
}

static bool
read_body(struct call *c)
{
	char why[FIELD_WHY_CAP];
	struct faults f = { 0 };

	if ((c->op->flags & OP_DOJOT) != 0) {
		c->body = field_parse(slice_of(c->body_bytes, c->body_n), why);
		return true;
	}
	if (c->op->body == NULL)
		return true;
	c->body = field_parse(slice_of(c->body_bytes, c->body_n), why);
	if (c->body == NULL) {
		call_problem(c, 400, "json", NULL, "the body is not JSON as it is taken here: %s", why);
		return false;
	}
	if (fields_check(c->op->body->rows, c->body, &f))
		return true;
	call_faults(c, 422, &f);
	return false;
}

/* ---- Idempotency-Key ---- */

static struct slice
scope_of(const struct call *c)
{
	return slice_str(c->actor.name);
}

/* The body without its passwords, of which no quick hash may be kept; NULL: there are none, or out of memory. free(). */
static char *
without_secrets(const struct call *c, bool *ret_has)
{
	const struct field *row = c->op->body != NULL ? c->op->body->rows : NULL;
	json_t *rest = json_copy(c->body);
	char *text;

	*ret_has = false;
	for (; row != NULL && row->name != NULL; row++)
		*ret_has = ((row->flags & FIELD_SECRET) != 0 && json_object_del(rest, row->name) == 0) || *ret_has;
	text = *ret_has ? json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(rest);
	return text;
}

static bool
hash_request(const struct call *c, uint8_t out[static REGISTRY_HASH])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	const char *id = c->op->id;
	bool has;
	char *text = without_secrets(c, &has);
	struct slice body = has ? slice_str(text) : slice_of(c->body_bytes, c->body_n);
	bool ok = md != NULL && (!has || text != NULL) && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(md, id, strlen(id) + 1) == 1 &&
	    EVP_DigestUpdate(md, c->head.target.p, c->head.target.n) == 1 && EVP_DigestUpdate(md, "", 1) == 1 &&
	    EVP_DigestUpdate(md, body.p, body.n) == 1 && EVP_DigestFinal_ex(md, out, NULL) == 1;

	EVP_MD_CTX_free(md);
	free(text);
	return ok;
}

static void
replay(struct call *c, struct registry_reply *r)
{
	c->key[0] = '\0';
	c->replayed = true;
	call_bytes(c, (unsigned)r->status, r->head.n > 0 ? (const char *)r->head.p : NULL, r->body);
	free(r->mem);
}

/* False: it is answered. */
static bool
begin_once(struct call *c)
{
	static const char remedy[] = "take a new key for a new request";
	uint8_t hash[REGISTRY_HASH];
	enum registry_replay what;
	struct registry_reply r = { 0 };
	struct slice key;
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };

	if ((c->op->flags & OP_ONCE) == 0 || (http_header(&c->head, "Idempotency-Key", &key) && key.p == NULL))
		return true;
	if (!text_copy(c->key, sizeof(c->key), key) || key.n == 0) {
		c->key[0] = '\0';
		call_problem(c, 400, "idempotency-key", NULL, "there must be one Idempotency-Key of 1 to %zu bytes", sizeof(c->key) - 1);
		return false;
	}
	if (!hash_request(c, hash) || !registry_replay_begin(c->api->registry, scope_of(c), key, slice_of(hash, sizeof(hash)), &what, &r, &err)) {
		c->key[0] = '\0';
		call_error(c, &err);
		return false;
	}
	switch (what) {
	case REGISTRY_FIRST:
		return true;
	case REGISTRY_REPLAY:
		replay(c, &r);
		return false;
	case REGISTRY_RUNNING:
		c->key[0] = '\0';
		call_problem(c, 409, "idempotency-running", "ask again in a moment", "the first request with this Idempotency-Key is not answered yet");
		return false;
	case REGISTRY_OTHER:
		break;
	}
	c->key[0] = '\0';
	call_problem(c, 422, "idempotency-other", remedy, "this Idempotency-Key was used for another request");
	return false;
}

void
call_run(struct call *c)
{
	bool changes = c->head.method > HTTP_HEAD && (c->op->flags & OP_PUBLIC) == 0;

	if (read_body(c) && (!changes || records_room(c)) && begin_once(c))
		c->op->run(c);
}

/* ---- what handlers read ---- */

struct slice
call_text(const struct call *c, const char *name)
{
	const json_t *v = json_object_get(c->body, name);

	return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : (struct slice){ 0 };
}

bool
call_has(const struct call *c, const char *name)
{
	return json_object_get(c->body, name) != NULL;
}

int64_t
call_int(const struct call *c, const char *name, int64_t otherwise)
{
	const json_t *v = json_object_get(c->body, name);

	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

bool
call_bool(const struct call *c, const char *name, bool otherwise)
{
	const json_t *v = json_object_get(c->body, name);

	return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

struct slice
call_query(const struct call *c, const char *name)
{
	for (unsigned i = 0; i < c->path.n_query; i++)
		if (slice_eq(c->path.query[i].name, slice_str(name)))
			return c->path.query[i].value;
	return (struct slice){ 0 };
}

int64_t
call_query_int(const struct call *c, const char *name, int64_t otherwise)
{
	uint64_t n;

	return text_u64(call_query(c, name), 0, INT64_MAX, &n) ? (int64_t)n : otherwise;
}

int64_t
call_param_int(const struct call *c, unsigned i)
{
	uint64_t n;

	return text_u64(c->params[i], 0, INT64_MAX, &n) ? (int64_t)n : 0;
}

struct slice
call_tenant(const struct call *c)
{
	return slice_str(c->tenant);
}

struct registry_page
call_page(const struct call *c)
{
	return (struct registry_page){ .cursor = call_query(c, "cursor"), .limit = (unsigned)call_query_int(c, "limit", 0) };
}
