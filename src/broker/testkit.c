/* See testkit.h. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

static void
port_wake(void *ctx, unsigned shard)
{
	((struct kit *)ctx)->awake[shard] = true;
}

/* The name that somebody says is his, known by another principal. */
static uint8_t
named(struct broker_login *l, struct slice name)
{
	struct authz_facts f;

	authz_principal_facts(l->cert, &f);
	f.username = name;
	l->who = authz_principal_new(&f);
	return l->who != NULL ? MQTT_RC_OK : MQTT_RC_UNAVAILABLE;
}

/* By the common name: "later…" waits for kit_verdict(), nobody vouches for "gone". */
static uint8_t
port_vouch(void *ctx, struct broker_login *l)
{
	struct kit *k = ctx;
	struct authz_facts f;

	k->n_vouched++;
	authz_principal_facts(l->cert, &f);
	if (slice_eq(f.cn, SL("gone"))) {
		(void)snprintf(l->why, sizeof l->why, "revoked");
		return MQTT_RC_NOT_AUTHORIZED;
	}
	if (!slice_starts(f.cn, SL("later")))
		return MQTT_RC_OK;
	assert_in_range(k->n_logins, 0, KIT_LOGINS_MAX - 1);
	k->logins[k->n_logins++] = l;
	return BROKER_LOGIN_PENDING;
}

static uint8_t
port_authenticate(void *ctx, struct broker_login *l)
{
	const struct mqtt_connect *m = l->connect;
	struct kit *k = ctx;

	if (m->has_username && slice_eq(m->username, SL("bad"))) {
		(void)snprintf(l->why, sizeof l->why, "bad user");
		return MQTT_RC_CREDENTIALS;
	}
	if (m->has_username && slice_eq(m->username, SL("later"))) {
		assert_in_range(k->n_logins, 0, KIT_LOGINS_MAX - 1);
		k->logins[k->n_logins++] = l;
		return BROKER_LOGIN_PENDING;
	}
	if (m->has_username && slice_starts(m->username, SL("user")))
		return named(l, m->username);
	/* The same person, as far as rights go, but known by another principal. */
	if (m->has_username && slice_eq(m->username, SL("other"))) {
		struct authz_facts f;

		authz_principal_facts(l->cert, &f);
		l->who = authz_principal_new(&f);
		return l->who != NULL ? MQTT_RC_OK : MQTT_RC_UNAVAILABLE;
	}
	l->who = authz_principal_ref(l->cert);
	return MQTT_RC_OK;
}

/* The method "toy": data "NAME/N" in the first step that has any, then N times "go". Anything else is wrong. */
struct toy {
	char name[20];
	unsigned left;
};

static uint8_t
toy_answer(struct broker_exchange *x, const char *answer, uint8_t reason)
{
	x->answer_n = (uint16_t)snprintf((char *)x->answer, sizeof x->answer, "%s", answer);
	return reason;
}

static uint8_t
toy_wrong(struct broker_exchange *x)
{
	(void)snprintf(x->why, sizeof x->why, "not a toy");
	return toy_answer(x, "e=wrong", MQTT_RC_NOT_AUTHORIZED);
}

static uint8_t
toy_done(struct broker_exchange *x, const struct toy *t)
{
	struct authz_facts f;

	authz_principal_facts(x->cert, &f);
	f.username = slice_str(t->name);
	x->who = authz_principal_new(&f);
	assert_non_null(x->who);
	return toy_answer(x, "welcome", MQTT_RC_OK);
}

static uint8_t
port_exchange(void *ctx, struct broker_exchange *x)
{
	struct kit *k = ctx;
	struct toy *t = x->state;

	if (!slice_eq(x->method, SL("toy"))) {
		(void)snprintf(x->why, sizeof x->why, "no such method");
		return MQTT_RC_AUTH_METHOD;
	}
	assert_int_equal(x->connect != NULL, t == NULL && !x->again);
	if (t == NULL) {
		x->state = t = calloc(1, sizeof *t);
		assert_non_null(t);
		k->n_toys++;
	}
	if (t->name[0] != '\0') {
		if (!slice_eq(x->data, SL("go")))
			return toy_wrong(x);
		return --t->left == 0 ? toy_done(x, t) : toy_answer(x, "more", MQTT_RC_CONTINUE_AUTH);
	}
	if (x->data.n == 0)
		return MQTT_RC_CONTINUE_AUTH;
	if (x->data.n < 3 || x->data.n > sizeof t->name || x->data.p[x->data.n - 2] != '/')
		return toy_wrong(x);
	memcpy(t->name, x->data.p, x->data.n - 2);
	t->left = (unsigned)(x->data.p[x->data.n - 1] - '0');
	return t->left == 0 ? toy_done(x, t) : toy_answer(x, "more", MQTT_RC_CONTINUE_AUTH);
}

static void
port_exchange_end(void *ctx, struct broker_exchange *x)
{
	struct kit *k = ctx;

	if (x->state != NULL)
		k->n_toys--;
	free(x->state);
}

void
kit_verdict(struct kit *k, uint8_t reason)
{
	struct broker_login *l;

	assert_true(k->n_logins > 0);
	l = k->logins[0];
	memmove(&k->logins[0], &k->logins[1], --k->n_logins * sizeof(k->logins[0]));
	if (reason == MQTT_RC_OK)
		assert_int_equal(named(l, SL("later")), MQTT_RC_OK);
	else
		(void)snprintf(l->why, sizeof l->why, "wrong password");
	broker_login_done(l, reason);
	kit_pump(k);
}

static bool
port_request(void *ctx, struct broker_request *r)
{
	struct kit *k = ctx;

	if (!slice_starts(r->topic, SL("$CONTROL/later")))
		return false;
	assert_in_range(k->n_requests, 0, KIT_LOGINS_MAX - 1);
	k->requests[k->n_requests++] = r;
	return true;
}

void
kit_answer(struct kit *k, const char *answer)
{
	struct broker_request *r;

	assert_true(k->n_requests > 0);
	r = k->requests[0];
	memmove(&k->requests[0], &k->requests[1], --k->n_requests * sizeof(k->requests[0]));
	broker_request_done(r, "$CONTROL/answer", answer != NULL ? strdup(answer) : NULL, answer != NULL ? strlen(answer) : 0);
	kit_pump(k);
}

static void
port_event(void *ctx, const struct broker_event *e)
{
	struct kit *k = ctx;

	assert_non_null(e->text);
	k->counts[e->kind]++;
	k->last = e->kind;
	k->last_reason = e->reason;
	if (e->kind == BROKER_DROPPING) {
		k->drops_total = e->drops_total;
		k->drops_clients = e->drops_clients;
		if (e->drops != NULL)
			memcpy(k->drops, e->drops, sizeof k->drops);
	}
	(void)snprintf(k->last_text, sizeof k->last_text, "%s", e->text);
	(void)snprintf(k->last_came_by, sizeof k->last_came_by, "%s", e->came_by != NULL ? e->came_by : "");
	(void)snprintf(k->last_id, sizeof k->last_id, "%.*s", SL_ARG(e->client_id));
}

static uint8_t
port_judge_again(void *ctx, unsigned listener, const struct authz_principal *who, bool fresh, char why[static BROKER_WHY_MAX])
{
	struct kit *k = ctx;
	struct authz_facts f;

	(void)listener;
	k->judged += !fresh;
	authz_principal_facts(who, &f);
	if (k->withdrawn == NULL || !k->withdrawn(&f))
		return MQTT_RC_OK;
	(void)snprintf(why, BROKER_WHY_MAX, "withdrawn");
	return MQTT_RC_NOT_AUTHORIZED;
}

static void
port_note(void *ctx, struct slice name, struct slice value)
{
	struct kit *k = ctx;
	size_t n = strlen(k->notes);

	(void)snprintf(k->notes + n, sizeof k->notes - n, "%.*s=%.*s;", (int)name.n, (const char *)name.p, (int)value.n, (const char *)value.p);
}

static int64_t
port_wall(void *ctx)
{
	return ((struct kit *)ctx)->wall;
}

static struct authz_policy *
policy_of(const char *text)
{
	struct err err;
	struct authz_policy *p = text == NULL ? authz_policy_open() : authz_policy_parse(slice_str(text), "test", &err);

	if (p == NULL)
		fail_msg("policy: %s", err.text);
	return p;
}

void
kit_init_listeners(struct kit *k, unsigned shards, const struct broker_settings *s, const struct broker_listener *v, unsigned n)
{
	struct broker_settings def;
	struct broker_ports ports = { .ctx = k, .wake = port_wake, .vouch = port_vouch, .authenticate = port_authenticate,
		.judge_again = port_judge_again, .exchange = port_exchange,
		.exchange_end = port_exchange_end, .request = port_request, .event = port_event, .note = port_note, .wall = port_wall };
	struct broker_listener *l = calloc(n, sizeof *l);

	*k = (struct kit){ .n = shards, .now_ms = 1000000, .wall = 1800000000 };
	assert_non_null(l);
	for (unsigned i = 0; i < n; i++) {
		l[i] = v[i];
		l[i].policy = v[i].policy != NULL ? authz_policy_ref(v[i].policy) : policy_of(NULL);
	}
	broker_settings_default(&def);
	k->broker = broker_new(shards, s != NULL ? s : &def, l, n, &ports);
	for (unsigned i = 0; i < n; i++)
		authz_policy_unref(l[i].policy);
	free(l);
	assert_non_null(k->broker);
	kit_pump(k);
}

void
kit_init(struct kit *k, unsigned shards, const struct broker_settings *s, const char *policy_text)
{
	struct broker_listener l = { .takeover_same_identity = true, .policy = policy_of(policy_text) };

	kit_init_listeners(k, shards, s, &l, 1);
	authz_policy_unref(l.policy);
}

void
kit_listener(struct kit *k, struct broker_listener *l)
{
	l->policy = policy_of(NULL);
	assert_true(broker_set_listeners(k->broker, l, 1));
	authz_policy_unref(l->policy);
	kit_pump(k);
}

void
kit_policy(struct kit *k, const char *policy_text)
{
	struct broker_listener l = { .takeover_same_identity = true, .policy = policy_of(policy_text) };

	assert_true(broker_set_listeners(k->broker, &l, 1));
	authz_policy_unref(l.policy);
	kit_pump(k);
}

void
kit_done(struct kit *k)
{
	for (struct end *e = k->ends, *next; e != NULL; e = next) {
		next = e->next;
		if (!e->closed)
			client_stream.closed(e->stream, NULL);
		free(e->in);
		free(e->kept);
		free(e);
	}
	while (k->n_logins > 0)
		broker_login_done(k->logins[--k->n_logins], MQTT_RC_SHUTTING_DOWN);
	while (k->n_requests > 0)
		broker_request_done(k->requests[--k->n_requests], "x", NULL, 0);
	broker_free(k->broker);
	assert_int_equal(k->n_toys, 0);
}

static void
end_wake(void *conn)
{
	((struct end *)conn)->woken = true;
}

static void
end_move(void *conn, unsigned worker)
{
	struct end *e = conn;

	assert_int_not_equal(worker, e->shard);
	e->moving = true;
	e->target = worker;
}

static void
end_read(void *conn, bool on)
{
	((struct end *)conn)->reading = on;
	((struct end *)conn)->woken = true;
}

static const struct waker_ops end_ops = { end_wake, end_move, end_read };

static void
collect(struct end *e, const struct iovec *iov, int n)
{
	for (int i = 0; i < n; i++) {
		e->in = realloc(e->in, e->in_n + iov[i].iov_len + 1);
		assert_non_null(e->in);
		memcpy(e->in + e->in_n, iov[i].iov_base, iov[i].iov_len);
		e->in_n += iov[i].iov_len;
	}
}

static void
end_drain(struct end *e)
{
	struct iovec iov[40];
	int n;

	e->woken = false;
	while (!e->closed && (n = client_stream.pull(e->stream, iov, 40)) != 0) {
		if (n == STREAM_CLOSE) {
			e->closed = true;
			client_stream.closed(e->stream, NULL);
			return;
		}
		collect(e, iov, n);
		client_stream.sent(e->stream);
	}
}

static void
end_give(struct end *e)
{
	while (!e->closed && e->reading && e->kept_n > 0) {
		shard_begin(broker_shard(e->kit->broker, e->shard), e->kit->now_ms);
		ptrdiff_t used = client_stream.feed(e->stream, slice_of(e->kept, e->kept_n));

		if (used == STREAM_CLOSE) {
			end_drain(e);
			if (!e->closed)
				client_stream.closed(e->stream, NULL);
			e->closed = true;
			return;
		}
		memmove(e->kept, e->kept + used, e->kept_n - (size_t)used);
		e->kept_n -= (size_t)used;
		if (e->moving) {
			e->moving = false;
			e->shard = e->target;
			client_stream.moved(e->stream, NULL, &e->waker);
			continue;
		}
		if (used == 0)
			return;
	}
}

void
kit_pump(struct kit *k)
{
	bool more = true;

	if (k->manual)
		return;
	for (unsigned i = 0; i < k->n; i++)
		k->awake[i] = true;
	for (unsigned round = 0; more || (k->settle != NULL && k->settle(k)); round++) {
		assert_in_range(round, 0, 1000000);
		more = false;
		for (unsigned i = 0; i < k->n; i++)
			if (k->awake[i]) {
				/* It may wake itself meanwhile. */
				k->awake[i] = false;
				if (shard_turn(broker_shard(k->broker, i), k->now_ms) == 0)
					k->awake[i] = true;
				more = true;
			}
		for (struct end *e = k->ends; e != NULL; e = e->next)
			if (e->woken && !e->closed) {
				end_drain(e);
				end_give(e);
				k->awake[e->shard] = true; /* a turn comes after input */
				more = true;
			}
	}
}

void
kit_turn(struct kit *k, unsigned shard)
{
	k->awake[shard] = shard_turn(broker_shard(k->broker, shard), k->now_ms) == 0;
	for (struct end *e = k->ends; e != NULL; e = e->next)
		if (e->woken && !e->closed && e->shard == shard) {
			end_drain(e);
			end_give(e);
		}
}

void
kit_forget(struct end *e)
{
	struct end **at = &e->kit->ends;

	assert_true(e->closed);
	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	free(e->in);
	free(e->kept);
	free(e);
}

void
kit_sleep(struct kit *k, uint64_t ms)
{
	k->now_ms += ms;
	k->wall += (int64_t)ms / 1000;
	kit_pump(k);
}

struct end *
kit_open(struct kit *k, unsigned shard, const char *cn, enum authz_role role)
{
	static const uint8_t key[32] = { 1 };
	struct authz_facts f = { .role = role, .has_cert = cn != NULL, .cn = slice_str(cn), .username = slice_str(cn),
		.issuer_key = cn != NULL ? key : NULL, .fingerprint = cn != NULL ? key : NULL };

	return kit_open_as(k, shard, &f);
}

struct end *
kit_open_as(struct kit *k, unsigned shard, const struct authz_facts *f)
{
	struct end *e = calloc(1, sizeof *e);

	assert_non_null(e);
	*e = (struct end){ .kit = k, .next = k->ends, .shard = shard, .reading = true, .version = MQTT_V311 };
	e->waker = (struct waker){ &end_ops, e };
	k->ends = e;
	e->stream = client_new(broker_shard(k->broker, shard), k->listener, authz_principal_new(f), "198.51.100.7:4711", &e->waker);
	assert_non_null(e->stream);
	return e;
}

void
kit_feed(struct end *e, const void *p, size_t n)
{
	e->kept = realloc(e->kept, e->kept_n + n + 1);
	assert_non_null(e->kept);
	memcpy(e->kept + e->kept_n, p, n);
	e->kept_n += n;
	end_give(e);
	kit_pump(e->kit);
}

void
kit_feed_slowly(struct end *e, const void *p, size_t n)
{
	for (size_t i = 0; i < n && !e->closed; i++)
		kit_feed(e, (const uint8_t *)p + i, 1);
}

void
kit_cut(struct end *e)
{
	if (!e->closed)
		client_stream.closed(e->stream, "connection reset by peer");
	e->closed = true;
	kit_pump(e->kit);
}

bool
kit_next(struct end *e, struct mqtt_frame *ret)
{
	if (mqtt_frame(slice_of(e->in + e->in_at, e->in_n - e->in_at), 1u << 28, ret) != MQTT_FRAME_OK)
		return false;
	e->in_at += ret->size;
	return true;
}

struct mqtt_frame
kit_expect(struct end *e, uint8_t type)
{
	struct mqtt_frame f = { 0 };

	if (!kit_next(e, &f))
		fail_msg("wanted %s, got nothing", mqtt_type_text(type));
	if (f.type != type)
		fail_msg("wanted %s, got %s", mqtt_type_text(type), mqtt_type_text(f.type));
	return f;
}

void
kit_expect_nothing(struct end *e)
{
	struct mqtt_frame f;

	if (kit_next(e, &f))
		fail_msg("unexpected %s", mqtt_type_text(f.type));
}

void
kit_send_connect(struct end *e, const struct connect_options *o)
{
	static uint8_t buf[4096];
	struct wr w = wr_of(buf, sizeof buf);
	struct mqtt_connect m = { .version = o->version != 0 ? o->version : MQTT_V311, .clean_start = !o->keep,
		.keep_alive = o->keep_alive, .client_id = slice_str(o->id), .has_username = o->username != NULL,
		.username = slice_str(o->username) };

	if (o->will_topic != NULL) {
		m.will = (struct mqtt_will){ .present = true, .retain = o->will_retain, .qos = o->will_qos,
			.topic = slice_str(o->will_topic), .payload = slice_str(o->will_payload), .delay = o->will_delay };
		if (o->will_delay > 0) {
			mqtt_set(&m.will.props, MQTT_P_WILL_DELAY);
			m.will.props.will_delay = o->will_delay;
		}
	}
	if (o->expiry > 0)
		mqtt_set(&m.props, MQTT_P_SESSION_EXPIRY), m.props.session_expiry = o->expiry;
	if (o->receive_maximum > 0)
		mqtt_set(&m.props, MQTT_P_RECEIVE_MAXIMUM), m.props.receive_maximum = o->receive_maximum;
	if (o->alias_maximum > 0)
		mqtt_set(&m.props, MQTT_P_TOPIC_ALIAS_MAXIMUM), m.props.topic_alias_maximum = o->alias_maximum;
	if (o->maximum_packet > 0)
		mqtt_set(&m.props, MQTT_P_MAXIMUM_PACKET_SIZE), m.props.maximum_packet_size = o->maximum_packet;
	if (o->ask_response)
		mqtt_set(&m.props, MQTT_P_REQUEST_RESPONSE), m.props.request_response = 1;
	if (o->method != NULL)
		mqtt_set(&m.props, MQTT_P_AUTH_METHOD), m.props.auth_method = slice_str(o->method);
	if (o->data != NULL)
		mqtt_set(&m.props, MQTT_P_AUTH_DATA), m.props.auth_data = slice_str(o->data);
	assert_true(mqtt_put_connect(&w, &m));
	e->version = m.version;
	kit_feed(e, buf, wr_len(&w));
}

uint8_t
kit_connack(struct end *e)
{
	struct mqtt_frame f = kit_expect(e, MQTT_CONNACK);
	struct mqtt_connack a;

	assert_int_equal(mqtt_decode_connack(&f, e->version, &a), MQTT_RC_OK);
	return a.code;
}

struct end *
kit_connect(struct kit *k, const struct connect_options *o, bool *ret_present)
{
	struct end *e = kit_open(k, (unsigned)strlen(o->id) % k->n, NULL, AUTHZ_ROLE_NONE);
	struct mqtt_connack a;
	struct mqtt_frame f;

	kit_send_connect(e, o);
	f = kit_expect(e, MQTT_CONNACK);
	assert_int_equal(mqtt_decode_connack(&f, e->version, &a), MQTT_RC_OK);
	assert_int_equal(a.code, 0);
	if (ret_present != NULL)
		*ret_present = a.session_present;
	return e;
}

struct end *
kit_join(struct kit *k, uint8_t version, const char *id)
{
	return kit_connect(k, &(struct connect_options){ .version = version, .id = id }, NULL);
}

void
kit_subscribe_opt(struct end *e, const char *filter, uint8_t options, uint32_t id, uint8_t want_code)
{
	uint8_t buf[512];
	struct wr w = wr_of(buf, sizeof buf);
	struct mqtt_sub s = { slice_str(filter), options };
	struct mqtt_props p = { 0 };
	struct mqtt_suback a;
	struct mqtt_frame f;

	if (id > 0)
		mqtt_set(&p, MQTT_P_SUBSCRIPTION_ID), p.subscription_id = id;
	assert_true(mqtt_put_filters(&w, e->version, MQTT_SUBSCRIBE, 77, &s, 1, &p));
	kit_feed(e, buf, wr_len(&w));
	f = kit_expect(e, MQTT_SUBACK);
	assert_int_equal(mqtt_decode_suback(&f, e->version, &a), MQTT_RC_OK);
	assert_int_equal(a.packet_id, 77);
	assert_int_equal(a.codes.n, 1);
	assert_int_equal(a.codes.p[0], want_code);
}

void
kit_subscribe(struct end *e, const char *filter, uint8_t qos)
{
	kit_subscribe_opt(e, filter, qos, 0, qos);
}

void
kit_publish(struct end *e, const char *topic, const char *payload, uint8_t qos, bool retain, uint16_t packet_id)
{
	static uint8_t buf[2 * UINT16_MAX];
	struct wr w = wr_of(buf, sizeof buf);
	struct mqtt_publish m = { .topic = slice_str(topic), .payload = slice_str(payload), .qos = qos, .retain = retain,
		.packet_id = packet_id };

	assert_true(mqtt_put_publish(&w, e->version, &m));
	kit_feed(e, buf, wr_len(&w));
}

void
kit_ack(struct end *e, uint8_t type, uint16_t packet_id)
{
	uint8_t buf[16];
	struct wr w = wr_of(buf, sizeof buf);

	assert_true(mqtt_put_ack(&w, e->version, type, packet_id, 0, SL("")));
	kit_feed(e, buf, wr_len(&w));
}

struct mqtt_publish
kit_message(struct end *e, const char *topic, const char *payload)
{
	struct mqtt_frame f = kit_expect(e, MQTT_PUBLISH);
	struct mqtt_publish m;

	assert_int_equal(mqtt_decode_publish(&f, e->version, false, &m), MQTT_RC_OK);
	if (topic != NULL && !slice_eq(m.topic, slice_str(topic)))
		fail_msg("wanted topic %s, got %.*s", topic, SL_ARG(m.topic));
	if (payload != NULL && !slice_eq(m.payload, slice_str(payload)))
		fail_msg("wanted payload %s, got %.*s", payload, SL_ARG(m.payload));
	return m;
}

void
kit_disconnect(struct end *e, uint8_t reason)
{
	uint8_t buf[16];
	struct wr w = wr_of(buf, sizeof buf);
	struct mqtt_disconnect d = { .reason = reason };

	assert_true(mqtt_put_disconnect(&w, e->version, &d));
	kit_feed(e, buf, wr_len(&w));
	assert_true(e->closed);
}

struct variant {
	unsigned shards;
	struct kit kit;
};

struct kit *
kit_begin(void **state, const struct broker_settings *settings, const char *policy)
{
	struct variant *v = *state;

	kit_init(&v->kit, v->shards, settings, policy);
	return &v->kit;
}

unsigned
kit_shards(void **state)
{
	return ((struct variant *)*state)->shards;
}

struct kit *
kit_of(void **state)
{
	return &((struct variant *)*state)->kit;
}

static int
variant_end(void **state)
{
	kit_done(&((struct variant *)*state)->kit);
	return 0;
}

int
kit_run(const char *group, const struct kit_test *tests, size_t n)
{
	static struct variant one = { .shards = 1 }, four = { .shards = 4 };
	struct CMUnitTest *all = calloc(2 * n, sizeof *all);
	char (*names)[64] = calloc(2 * n, sizeof *names);
	int failed;

	if (all == NULL || names == NULL)
		abort();
	for (size_t i = 0; i < 2 * n; i++) {
		struct variant *v = i & 1 ? &four : &one;

		(void)snprintf(names[i], sizeof names[i], "%s on %u", tests[i / 2].name, v->shards);
		all[i] = (struct CMUnitTest){ names[i], tests[i / 2].fn, NULL, variant_end, v };
	}
	/* The function behind cmocka's macro, which takes only arrays. */
	failed = _cmocka_run_group_tests(group, all, 2 * n, NULL, NULL);
	free(all);
	free(names);
	return failed;
}
