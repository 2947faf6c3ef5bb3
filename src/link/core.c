/* What is said on the control socket, without a socket: MQTT 5 with fixed topics, one request after another, answers found by their
 * Correlation Data. */
#include "link/internal.h"

#include <stdlib.h>
#include "base/num.h"

enum { OUT_ROOM = 256, TAG_N = 8 };

void
core_init(struct core *c)
{
	c->last = &c->first;
	c->packet_max = UINT32_MAX;
}

void
core_done(struct core *c)
{
	free(c->in.p);
	free(c->out.p);
}

static bool
fail(struct core *c, enum err_code code, const char *why)
{
	return err_set(&c->err, code, "%s", why);
}

/* ---- buffers ---- */

/* Room for <n> more behind b->n. NULL: out of memory. */
static uint8_t *
room(struct core_buf *b, size_t n)
{
	size_t want, cap;
	uint8_t *p;

	if (b->at > 0) {
		memmove(b->p, b->p + b->at, b->n - b->at);
		b->n -= b->at;
		b->at = 0;
	}
	if (!num_add(b->n, n, &want))
		return NULL;
	if (want > b->cap) {
		cap = NUM_MAX(want, b->cap * 2);
		if ((p = realloc(b->p, cap)) == NULL)
			return NULL;
		b->p = p;
		b->cap = cap;
	}
	return b->p + b->n;
}

static void
trim(struct core_buf *b)
{
	if (b->at < b->n)
		return;
	b->at = b->n = 0;
	/* After a large one: it may be long until the next. */
	if (b->cap > 1 << 20) {
		free(b->p);
		*b = (struct core_buf){ 0 };
	}
}

struct slice
core_output(const struct core *c)
{
	return slice_of(c->out.p != NULL ? c->out.p + c->out.at : NULL, c->out.n - c->out.at);
}

void
core_sent(struct core *c, size_t n)
{
	c->out.at += n;
	if (c->ping_ms > 0)
		c->ping_due_ms = c->now_ms + c->ping_ms;
	trim(&c->out);
}

/* ---- calls ---- */

static void
reply(const struct call *k, enum link_result result, const json_t *answer, const char *error)
{
	const char *code = answer != NULL ? json_string_value(json_object_get(answer, "code")) : NULL;
	struct link_reply r = { .result = result, .answer = answer, .error = error, .code = code != NULL ? code : "" };

	k->answer(k->ctx, &r);
}

/* Take the call out of the list. */
static struct call *
unlink_call(struct core *c, struct call **at)
{
	struct call *k = *at;

	*at = k->next;
	if (c->last == &k->next)
		c->last = at;
	c->n_calls--;
	return k;
}

static void
expire_calls(struct core *c)
{
	struct call *list = NULL, **end = &list, *k;

	/* Out of the list first: who is answered may send more. */
	for (struct call **at = &c->first; *at != NULL;) {
		if ((*at)->due_ms > c->now_ms) {
			at = &(*at)->next;
			continue;
		}
		k = unlink_call(c, at);
		k->next = NULL;
		*end = k;
		end = &k->next;
	}
	while ((k = list) != NULL) {
		list = k->next;
		reply(k, LINK_TIMEOUT, NULL, "the broker does not answer in time");
		free(k);
	}
}

static bool
put_request(struct core *c, const char *command, const char *text, size_t n, uint64_t tag)
{
	char topic[64];
	uint8_t tag_bytes[TAG_N] = { 0 }, props[TAG_N + 8], *at;
	struct mqtt_props p = { .correlation_data = slice_of(tag_bytes, TAG_N) };
	struct mqtt_publish m = { .payload = slice_of(text, n) };
	struct wr tw = wr_of(tag_bytes, sizeof tag_bytes), pw = wr_of(props, sizeof props), w, name = wr_of(topic, sizeof topic);

	wr_u32(&tw, (uint32_t)(tag >> 32));
	wr_u32(&tw, (uint32_t)tag);
	mqtt_set(&p, MQTT_P_CORRELATION_DATA);
	(void)mqtt_put_props(&pw, &p);
	wr_bytes(&name, SL(LINK_TOPIC));
	wr_bytes(&name, slice_str(command));
	m.topic = wr_slice(&name);
	m.forward = wr_slice(&pw);
	if (!wr_ok(&name) || (at = room(&c->out, n + OUT_ROOM)) == NULL)
		return false;
	w = wr_of(at, n + OUT_ROOM);
	if (!mqtt_put_publish(&w, MQTT_V5, &m))
		return false;
	c->out.n += wr_len(&w);
	return true;
}

static bool
send_call(struct core *c, const struct link_request *r, struct err *err)
{
	char *text = json_dumps(r->body, JSON_COMPACT);
	struct call *k = malloc(sizeof *k);
	size_t n = text != NULL ? strlen(text) : 0;
	bool ok = text != NULL && k != NULL;

	if (!ok)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	else if (n + OUT_ROOM > c->packet_max)
		ok = err_set(err, ERR_LIMIT, "the request has %zu bytes, and the broker takes packets of %u (max_packet_size)", n, c->packet_max);
	else if (!(ok = put_request(c, r->command, text, n, c->tag + 1)))
		(void)err_set(err, ERR_MEMORY, "out of memory");
	free(text);
	if (!ok) {
		free(k);
		return false;
	}
	*k = (struct call){ .tag = ++c->tag, .due_ms = UINT64_MAX, .answer = r->answer, .ctx = r->ctx };
	if (r->timeout_ms > 0)
		k->due_ms = r->now_ms + r->timeout_ms;
	*c->last = k;
	c->last = &k->next;
	c->n_calls++;
	return true;
}

bool
core_request(struct core *c, const struct link_request *r, struct err *err)
{
	if (c->state != CORE_UP)
		return err_set(err, ERR_SYSTEM, "there is no connection to the broker's control socket");
	if (c->n_calls >= LINK_CALLS_MAX || c->out.n - c->out.at >= LINK_OUT_MAX)
		return err_set(err, ERR_LIMIT, "too many requests wait for the broker");
	return send_call(c, r, err);
}

/* ---- what comes ---- */

static void
on_hello(void *ctx, const struct link_reply *r)
{
	struct core *c = ctx;

	if (c->state != CORE_GREETING)
		return;
	if (r->result != LINK_OK) {
		(void)err_set(&c->err, ERR_SYSTEM, "the broker says to hello: %s", r->error);
		return;
	}
	c->state = CORE_UP;
	c->step_due_ms = UINT64_MAX;
	c->on.up(c->ctx, r->answer);
}

static bool
greet(struct core *c)
{
	json_t *body = json_pack("{s:i,s:s}", "protocol", 1, "name", c->name);
	bool ok;

	c->state = CORE_GREETING;
	ok = body != NULL && send_call(c, &(struct link_request){ .command = "hello", .body = body, .answer = on_hello, .ctx = c }, &c->err);
	json_decref(body);
	return ok || fail(c, ERR_MEMORY, "out of memory");
}

/* The answers first; then what is wanted beside them. */
static bool
put_subscribe(struct core *c)
{
	struct mqtt_sub subs[2 + LINK_TOPICS_MAX] = { { SL(LINK_TOPIC "response"), 0 }, { SL(LINK_TOPIC "events"), 0 } };
	size_t n = c->on.event != NULL ? 2 : 1, cap = OUT_ROOM;
	uint8_t *at;
	struct wr w;

	for (size_t i = 0; i < c->n_topics; i++) {
		subs[n++] = (struct mqtt_sub){ slice_str(c->topics[i]), 0 };
		cap += strlen(c->topics[i]);
	}
	if ((at = room(&c->out, cap)) == NULL)
		return fail(c, ERR_MEMORY, "out of memory");
	w = wr_of(at, cap);
	(void)mqtt_put_filters(&w, MQTT_V5, MQTT_SUBSCRIBE, 1, subs, n, NULL);
	c->out.n += wr_len(&w);
	c->state = CORE_SUBSCRIBING;
	return true;
}

static bool
on_connack(struct core *c, const struct mqtt_frame *f)
{
	struct mqtt_connack m;

	if (c->state != CORE_CONNECTING || mqtt_decode_connack(f, MQTT_V5, &m) != MQTT_RC_OK)
		return fail(c, ERR_INPUT, "the broker's CONNACK is wrong");
	if (m.code != MQTT_RC_OK)
		return err_set(&c->err, ERR_DENIED, "the broker refuses: %s", mqtt_reason_text(m.code));
	c->packet_max = mqtt_has(&m.props, MQTT_P_MAXIMUM_PACKET_SIZE) ? m.props.maximum_packet_size : UINT32_MAX;
	/* The kernel tells when the broker has gone; pings are only for one that insists (max_keepalive). */
	c->ping_ms = mqtt_has(&m.props, MQTT_P_SERVER_KEEP_ALIVE) ? (uint64_t)m.props.server_keep_alive * 500 : 0;
	c->ping_due_ms = c->now_ms + c->ping_ms;
	return put_subscribe(c);
}

static bool
on_suback(struct core *c, const struct mqtt_frame *f)
{
	struct mqtt_suback m;

	if (c->state != CORE_SUBSCRIBING || mqtt_decode_suback(f, MQTT_V5, &m) != MQTT_RC_OK)
		return fail(c, ERR_INPUT, "the broker's SUBACK is wrong");
	for (size_t i = 0; i < m.codes.n && i < (c->on.event != NULL ? 2 : 1); i++)
		if (m.codes.p[i] >= MQTT_RC_UNSPECIFIED)
			return fail(c, ERR_DENIED, "this is no control socket: the listener needs `protocol control`");
	return greet(c);
}

static void
on_answer(struct core *c, const struct mqtt_publish *m, const json_t *o)
{
	struct rd r = rd_of(m->correlation_data);
	uint64_t tag = (uint64_t)rd_u32(&r) << 32;
	struct call **at = &c->first, *k;
	const json_t *error = json_object_get(o, "error");

	tag |= rd_u32(&r);
	if (m->correlation_data.n != TAG_N)
		return;
	while (*at != NULL && (*at)->tag != tag)
		at = &(*at)->next;
	/* Nobody waits for it any more. */
	if (*at == NULL)
		return;
	k = unlink_call(c, at);
	reply(k, error != NULL ? LINK_REFUSED : LINK_OK, o, error == NULL ? NULL : json_is_string(error) ? json_string_value(error) : "refused");
	free(k);
}

static void
on_events(struct core *c, const json_t *o)
{
	const json_t *list = json_object_get(o, "events"), *e;
	uint64_t seq = (uint64_t)NUM_MAX(json_integer_value(json_object_get(o, "seq")), 0);
	size_t i;

	if (seq > c->seq && c->on.missed != NULL)
		c->on.missed(c->ctx, seq - c->seq);
	c->seq = seq + json_array_size(list);
	json_array_foreach(list, i, e)
		if (json_is_object(e) && c->on.event != NULL)
			c->on.event(c->ctx, e);
}

static bool
on_publish(struct core *c, const struct mqtt_frame *f)
{
	struct mqtt_publish m;
	json_t *o;

	if (mqtt_decode_publish(f, MQTT_V5, false, &m) != MQTT_RC_OK || m.qos != 0)
		return fail(c, ERR_INPUT, "the broker's PUBLISH is wrong");
	if (!slice_starts(m.topic, SL(LINK_TOPIC))) {
		if (c->on.message != NULL)
			c->on.message(c->ctx, m.topic, m.payload, m.retain);
		return c->err.code == ERR_OK;
	}
	o = json_loadb((const char *)m.payload.p, m.payload.n, 0, NULL);
	if (!json_is_object(o)) {
		json_decref(o);
		return fail(c, ERR_INPUT, "what the broker says is no JSON object");
	}
	if (slice_eq(m.topic, SL(LINK_TOPIC "response")))
		on_answer(c, &m, o);
	else if (slice_eq(m.topic, SL(LINK_TOPIC "events")))
		on_events(c, o);
	json_decref(o);
	/* What was answered may have ended it. */
	return c->err.code == ERR_OK;
}

static bool
on_frame(struct core *c, const struct mqtt_frame *f)
{
	struct mqtt_disconnect m;

	switch (f->type) {
	case MQTT_CONNACK:
		return on_connack(c, f);
	case MQTT_SUBACK:
		return on_suback(c, f);
	case MQTT_PUBLISH:
		return on_publish(c, f);
	case MQTT_PINGRESP:
		return true;
	case MQTT_DISCONNECT:
		if (mqtt_decode_disconnect(f, MQTT_V5, &m) == MQTT_RC_OK)
			return err_set(&c->err, ERR_SYSTEM, "the broker disconnects: %s", mqtt_reason_text(m.reason));
		break;
	default:
		break;
	}
	return fail(c, ERR_INPUT, "the broker's answer is not what MQTT 5 has here");
}

bool
core_feed(struct core *c, struct slice in, uint64_t now_ms)
{
	uint8_t *at = room(&c->in, in.n);
	enum mqtt_frame_result found = MQTT_FRAME_MORE;
	struct mqtt_frame f;

	c->now_ms = now_ms;
	if (at == NULL)
		return fail(c, ERR_MEMORY, "out of memory");
	if (in.n > 0)
		memcpy(at, in.p, in.n);
	c->in.n += in.n;
	while (c->in.at < c->in.n &&
	       (found = mqtt_frame(slice_of(c->in.p + c->in.at, c->in.n - c->in.at), LINK_PACKET_MAX, &f)) == MQTT_FRAME_OK) {
		if (!on_frame(c, &f))
			return false;
		c->in.at += f.size;
	}
	trim(&c->in);
	return found == MQTT_FRAME_OK || found == MQTT_FRAME_MORE || fail(c, ERR_INPUT, "what the broker sends is not MQTT");
}

/* ---- beginning, time and end ---- */

bool
core_open(struct core *c, uint64_t now_ms)
{
	struct mqtt_connect m = { .version = MQTT_V5, .clean_start = true, .client_id = slice_str(c->name),
		.props = { .maximum_packet_size = LINK_PACKET_MAX } };
	size_t cap = m.client_id.n + OUT_ROOM;
	uint8_t *at;
	struct wr w;

	c->in.at = c->in.n = c->out.at = c->out.n = 0;
	c->seq = 0;
	c->ping_ms = 0;
	c->now_ms = now_ms;
	c->err = (struct err){ .code = ERR_OK };
	if ((at = room(&c->out, cap)) == NULL)
		return fail(c, ERR_MEMORY, "out of memory");
	mqtt_set(&m.props, MQTT_P_MAXIMUM_PACKET_SIZE);
	w = wr_of(at, cap);
	(void)mqtt_put_connect(&w, &m);
	c->out.n += wr_len(&w);
	c->state = CORE_CONNECTING;
	c->step_due_ms = now_ms + LINK_HELLO_MS;
	return true;
}

bool
core_time(struct core *c, uint64_t now_ms)
{
	uint8_t *at;
	struct wr w;

	c->now_ms = now_ms;
	expire_calls(c);
	if (c->state == CORE_CLOSED)
		return true;
	if (c->state != CORE_UP && now_ms >= c->step_due_ms)
		return fail(c, ERR_SYSTEM, "the broker does not answer on its control socket");
	if (c->ping_ms == 0 || now_ms < c->ping_due_ms)
		return c->err.code == ERR_OK;
	c->ping_due_ms = now_ms + c->ping_ms;
	if ((at = room(&c->out, OUT_ROOM)) == NULL)
		return fail(c, ERR_MEMORY, "out of memory");
	w = wr_of(at, OUT_ROOM);
	(void)mqtt_put_empty(&w, MQTT_PINGREQ);
	c->out.n += wr_len(&w);
	return true;
}

uint64_t
core_due(const struct core *c)
{
	uint64_t due = UINT64_MAX;

	for (const struct call *k = c->first; k != NULL; k = k->next)
		due = NUM_MIN(due, k->due_ms);
	if (c->state == CORE_CLOSED)
		return due;
	if (c->state != CORE_UP)
		due = NUM_MIN(due, c->step_due_ms);
	return c->ping_ms > 0 ? NUM_MIN(due, c->ping_due_ms) : due;
}

void
core_closed(struct core *c, const char *why)
{
	struct call *list = c->first, *k;

	c->state = CORE_CLOSED;
	c->first = NULL;
	c->last = &c->first;
	c->n_calls = 0;
	while ((k = list) != NULL) {
		list = k->next;
		reply(k, LINK_LOST, NULL, why);
		free(k);
	}
	c->in.at = c->in.n = c->out.at = c->out.n = 0;
	trim(&c->in);
	trim(&c->out);
	if (c->on.down != NULL)
		c->on.down(c->ctx, why);
}
