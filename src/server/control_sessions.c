/* Sessions for control: pages of them, one looked into, some disconnected or ended. */
#include "server/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "base/text.h"

enum { PAGE_DEFAULT = 100, PAGE_MAX = 1000, SUBSCRIPTIONS_NAMED = 1000 };

/* What narrows a list. Borrowed from <in>. */
struct wanted {
	json_t *in;
	const char *role, *listener;
	struct slice client_id, cn, user, issuer, serial; /* .p NULL: any; the last two in hex */
	bool has_connected, connected, has_seen;
	uint64_t seen_ms;
};

struct survey {
	struct server *server;
	struct broker_request *request;
	struct wanted w;
	enum broker_wish wish;
	json_t *list; /* sessions, or the subscriptions of one */
	json_t *one, *will;
	char why[BROKER_WHY_MAX];
};

static void
survey_free(struct survey *x)
{
	if (x == NULL)
		return;
	json_decref(x->list);
	json_decref(x->one);
	json_decref(x->will);
	json_decref(x->w.in);
	free(x);
}

/* ---- which ---- */

static bool
text_member(const json_t *in, const char *key, struct slice *ret)
{
	const json_t *v = json_object_get(in, key);

	if (v == NULL)
		return true;
	if (!json_is_string(v))
		return false;
	*ret = slice_of(json_string_value(v), json_string_length(v));
	return true;
}

/* False: something is not what it should be. */
static bool
read_wanted(const json_t *in, struct wanted *w)
{
	const json_t *connected = json_object_get(in, "connected"), *seen = json_object_get(in, "seen_within");

	w->role = json_string_value(json_object_get(in, "role"));
	w->listener = json_string_value(json_object_get(in, "listener"));
	w->has_connected = connected != NULL;
	w->connected = json_is_true(connected);
	w->has_seen = seen != NULL;
	if (!text_member(in, "client_id", &w->client_id) || !text_member(in, "cn", &w->cn) || !text_member(in, "user", &w->user) ||
	    !text_member(in, "issuer", &w->issuer) || !text_member(in, "serial", &w->serial))
		return false;
	if ((w->has_connected && !json_is_boolean(connected)) || (json_object_get(in, "role") != NULL && w->role == NULL) || (json_object_get(in, "listener") != NULL && w->listener == NULL))
		return false;
	if (w->has_seen && (!json_is_integer(seen) || json_integer_value(seen) < 0 || json_integer_value(seen) > UINT32_MAX))
		return false;
	w->seen_ms = w->has_seen ? (uint64_t)json_integer_value(seen) * 1000 : 0;
	return true;
}

static bool
is_or_any(struct slice wanted, struct slice value)
{
	return wanted.p == NULL || (value.p != NULL && slice_eq(wanted, value));
}

static bool
is_hex_or_any(struct slice wanted, struct slice bytes)
{
	char text[2 * 32 + 1];

	if (wanted.p == NULL)
		return true;
	return bytes.p != NULL && bytes.n <= 32 && slice_eq(wanted, slice_str(text_hex(bytes, text, sizeof(text))));
}

static bool
is_wanted(const struct survey *x, const struct broker_session *s)
{
	const struct wanted *w = &x->w;
	const struct server *server = x->server;
	struct authz_facts f = { 0 };

	/* Bridges of ours, and those who ask. */
	if (!s->homeless && (s->listener >= server->n_listeners || server->listeners[s->listener].config->protocol == CONFIG_CONTROL))
		return false;
	if ((w->has_connected && w->connected != s->connected) || (w->has_seen && (!s->connected || s->idle_ms > w->seen_ms)))
		return false;
	if (w->listener != NULL && (s->homeless || strcmp(w->listener, server->listeners[s->listener].config->name) != 0))
		return false;
	if (s->who != NULL)
		authz_principal_facts(s->who, &f);
	if (w->role != NULL && strcmp(w->role, authz_role_name(f.role)) != 0)
		return false;
	return is_or_any(w->client_id, s->client_id) && is_or_any(w->cn, f.has_cert ? f.cn : (struct slice){ 0 }) &&
	       is_or_any(w->user, f.username) && is_hex_or_any(w->serial, f.has_cert ? f.serial : (struct slice){ 0 }) &&
	       is_hex_or_any(w->issuer, slice_of(f.issuer_key, 32));
}

/* ---- what is said of one ---- */

/* By which TLS it is here. */
static void
put_tls(json_t *o, const struct broker_session *s)
{
	char text[CAME_BY_CAP] = "";
	struct came_by by;

	(void)text_copy(text, sizeof(text), slice_str(s->came_by != NULL ? s->came_by : ""));
	event_take_came_by(text, &by);
	control_put_text(o, "tls_version", by.version != NULL ? by.version : "");
	control_put_text(o, "cipher", by.cipher != NULL ? by.cipher : "");
	control_put_text(o, "sni", by.sni != NULL ? by.sni : "");
}

static void
put_counters(json_t *o, const struct broker_session *s)
{
	(void)json_object_set_new(o, "bytes_in", json_integer((json_int_t)s->bytes_in));
	(void)json_object_set_new(o, "bytes_out", json_integer((json_int_t)s->bytes_out));
	(void)json_object_set_new(o, "messages_in", json_integer((json_int_t)s->messages_in));
	(void)json_object_set_new(o, "messages_out", json_integer((json_int_t)s->messages_out));
	(void)json_object_set_new(o, "waiting_bytes", json_integer((json_int_t)s->waiting_bytes));
}

static json_t *
session_json(const struct server *server, const struct broker_session *s)
{
	int64_t now = (int64_t)time(NULL);
	json_t *o = json_object();

	control_put_session(server, o, s);
	(void)json_object_set_new(o, "connected", json_boolean(s->connected));
	(void)json_object_set_new(o, "keep_alive", s->connected ? json_integer(s->keep_alive) : json_null());
	control_put_time(o, "seen", s->connected ? now - (int64_t)(s->idle_ms / 1000) : 0);
	control_put_time(o, "since", s->connected ? now - (int64_t)(s->since_ms / 1000) : 0);
	put_tls(o, s);
	put_counters(o, s);
	control_put_time(o, "offline_since", s->connected ? 0 : now - (int64_t)(s->away_ms / 1000));
	(void)json_object_set_new(o, "expiry", s->expiry_s != UINT32_MAX ? json_integer(s->expiry_s) : json_null());
	(void)json_object_set_new(o, "subscriptions", json_integer(s->subscriptions));
	(void)json_object_set_new(o, "waiting", json_integer(s->waiting));
	(void)json_object_set_new(o, "inflight", json_integer(s->inflight));
	(void)json_object_set_new(o, "dropped", json_integer(s->dropped));
	return o;
}

static enum broker_wish
meet(void *ctx, const struct broker_session *s, struct broker_word *ret)
{
	struct survey *x = ctx;

	if (!is_wanted(x, s))
		return BROKER_PASS;
	if (x->wish != BROKER_TAKE) {
		(void)snprintf(ret->why, sizeof(ret->why), "%s", x->why);
		return x->wish;
	}
	if (x->one == NULL && x->request->topic.n == sizeof(CONTROL_TOPIC "session") - 1) {
		x->one = session_json(x->server, s);
		x->will = json_object();
		control_put_slice(x->will, "will", s->will);
	} else
		(void)json_array_append_new(x->list, session_json(x->server, s));
	return BROKER_TAKE;
}

static void
note_subscription(void *ctx, struct slice filter, uint8_t qos)
{
	struct survey *x = ctx;
	json_t *o;

	if (json_array_size(x->list) >= SUBSCRIPTIONS_NAMED)
		return;
	o = json_object();
	control_put_slice(o, "filter", filter);
	(void)json_object_set_new(o, "qos", json_integer(qos));
	(void)json_array_append_new(x->list, o);
}

/* ---- answers ---- */

static void
page_done(void *ctx, const struct broker_visited *r)
{
	struct survey *x = ctx;
	char next[32];
	json_t *o = json_pack("{s:O}", "sessions", x->list);

	(void)snprintf(next, sizeof(next), "%u.%" PRIu32, r->shard, r->slot);
	(void)json_object_set_new(o, "next", r->more ? json_string(next) : json_null());
	control_answer(x->request, o);
	survey_free(x);
}

static void
one_done(void *ctx, const struct broker_visited *r)
{
	struct survey *x = ctx;

	(void)r;
	if (x->one == NULL)
		control_answer(x->request, json_pack("{s:b}", "found", 0));
	else
		control_answer(x->request,
		    json_pack("{s:b,s:O,s:O,s:O}", "found", 1, "session", x->one, "subscriptions", x->list, "will", json_object_get(x->will, "will")));
	survey_free(x);
}

static void
sent_away(void *ctx, const struct broker_visited *r)
{
	struct survey *x = ctx;

	control_answer(x->request, json_pack("{s:b,s:I}", "done", 1, "sessions", (json_int_t)r->n));
	survey_free(x);
}

/* ---- commands ---- */

/* NULL: *ret_out says why, or out of memory. */
static struct survey *
survey_new(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	struct survey *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->server = s;
	x->request = r;
	x->wish = BROKER_TAKE;
	x->w.in = json_deep_copy(in);
	x->list = json_array();
	if (x->w.in == NULL || x->list == NULL) {
		survey_free(x);
		return NULL;
	}
	if (read_wanted(x->w.in, &x->w))
		return x;
	*ret_out = control_error("argument", "a member is not what it should be (connected: true or false, seen_within: seconds, the others text)");
	survey_free(x);
	return NULL;
}

/* True: the answer follows. <x> is taken over. */
static bool
begin(struct survey *x, struct broker_visit *v)
{
	v->each = meet;
	v->ctx = x;
	if (broker_visit(x->server->broker, v))
		return true;
	survey_free(x);
	return false;
}

static bool
read_cursor(const json_t *in, struct broker_visit *v)
{
	const char *after = json_string_value(json_object_get(in, "after"));
	struct slice rest = slice_str(after), shard;
	uint64_t a, b;
	bool more;

	if (json_object_get(in, "after") == NULL)
		return true;
	shard = slice_cut(&rest, '.', &more);
	if (!more || !text_u64(shard, 0, UINT16_MAX, &a) || !text_u64(rest, 0, UINT32_MAX, &b))
		return false;
	v->shard = (unsigned)a;
	v->slot = (uint32_t)b;
	return true;
}

bool
control_sessions(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	const json_t *limit = json_object_get(in, "limit");
	struct broker_visit v = { .most = PAGE_DEFAULT, .done = page_done };
	struct survey *x;

	if (!read_cursor(in, &v) || (limit != NULL && (!json_is_integer(limit) || json_integer_value(limit) < 1))) {
		*ret_out = control_error("argument", "after is what an answer gave as next, limit a number from 1");
		return false;
	}
	if (limit != NULL)
		v.most = (uint64_t)NUM_MIN(json_integer_value(limit), (json_int_t)PAGE_MAX);
	x = survey_new(s, r, in, ret_out);
	return x != NULL && begin(x, &v);
}

bool
control_session(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	struct survey *x = survey_new(s, r, in, ret_out);

	if (x == NULL)
		return false;
	if (x->w.client_id.p == NULL) {
		*ret_out = control_error("argument", "client_id is needed");
		survey_free(x);
		return false;
	}
	return begin(x, &(struct broker_visit){ .client_id = x->w.client_id, .subscription = note_subscription, .done = one_done });
}

static bool
send_away(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out, enum broker_wish wish)
{
	struct survey *x = survey_new(s, r, in, ret_out);
	struct slice why = SL("disconnected by the administrator");

	if (x == NULL)
		return false;
	if ((x->w.client_id.p == NULL && x->w.cn.p == NULL && x->w.user.p == NULL && x->w.serial.p == NULL) ||
	    (x->w.serial.p != NULL) != (x->w.issuer.p != NULL) || !text_member(in, "reason", &why)) {
		*ret_out = control_error("argument", "client_id, cn, user, or issuer and serial are needed; reason is text");
		survey_free(x);
		return false;
	}
	(void)text_show(why, x->why, sizeof(x->why));
	x->wish = wish;
	return begin(x, &(struct broker_visit){ .client_id = x->w.client_id, .done = sent_away });
}

bool
control_disconnect(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	return send_away(s, r, in, ret_out, BROKER_EXPEL);
}

bool
control_purge(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	return send_away(s, r, in, ret_out, BROKER_PURGE);
}
