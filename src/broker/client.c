/* One MQTT connection: bytes to packets, packets to handlers; its timers and its end. */
#include <stdlib.h>
#include <string.h>
#include "broker/exchange.h"
#include "broker/internal.h"

static bool
on_pingreq(struct client *c, const struct mqtt_frame *f)
{
	static const uint8_t pingresp[] = { MQTT_PINGRESP << 4, 0 };
	uint8_t rc = mqtt_decode_empty(f);

	if (rc != MQTT_RC_OK)
		return client_fail(c, rc, "malformed PINGREQ");
	return out_packet(c, pingresp, sizeof pingresp);
}

static handler *const handlers[16] = {
	[MQTT_CONNECT] = on_connect,
	[MQTT_PUBLISH] = on_publish,
	[MQTT_PUBACK] = on_puback,
	[MQTT_PUBREC] = on_pubrec,
	[MQTT_PUBREL] = on_pubrel,
	[MQTT_PUBCOMP] = on_pubcomp,
	[MQTT_SUBSCRIBE] = on_subscribe,
	[MQTT_UNSUBSCRIBE] = on_unsubscribe,
	[MQTT_PINGREQ] = on_pingreq,
	[MQTT_DISCONNECT] = on_disconnect,
	[MQTT_AUTH] = on_auth,
};

static bool
dispatch(struct client *c, const struct mqtt_frame *f)
{
	handler *h = handlers[f->type];

	/* The first packet, and only the first, is CONNECT [MQTT-3.1.0-1] [MQTT-3.1.0-2]. */
	if (c->state == CLIENT_NEW && f->type != MQTT_CONNECT)
		return client_fail(c, MQTT_RC_PROTOCOL, "the first packet is not CONNECT");
	if (c->state == CLIENT_EXCHANGING && f->type != MQTT_AUTH)
		return auth_interrupted(c, f);
	if (c->state == CLIENT_OPEN && f->type == MQTT_CONNECT)
		return client_fail(c, MQTT_RC_PROTOCOL, "a second CONNECT");
	if (h == NULL || (f->type == MQTT_AUTH && c->version != MQTT_V5))
		return client_fail(c, MQTT_RC_PROTOCOL, "a packet that only a server may send");
	return h(c, f);
}

/* What a packet that is not the one that is due looks like is known from its first byte: nobody waits for the rest of it. */
static size_t
packet_limit(const struct client *c, struct slice in)
{
	size_t max = settings_of(c->shard)->max_packet_size;

	if (c->state == CLIENT_OPEN)
		return max;
	if (c->state == CLIENT_EXCHANGING)
		return in.n > 0 && in.p[0] != MQTT_AUTH << 4 && in.p[0] != MQTT_DISCONNECT << 4 ? 0 : AUTH_PACKET_MAX;
	if (in.n > 0 && in.p[0] != MQTT_CONNECT << 4)
		return 0;
	return NUM_MIN(max, (size_t)CONNECT_PACKET_MAX);
}

static ptrdiff_t
client_feed(void *self, struct slice in)
{
	struct client *c = self;
	struct mqtt_frame f;
	size_t used = 0;

	if (in.n > 0)
		c->last_rx_ms = c->shard->now_ms;
	/* What others posted before they acknowledged it holds for what was sent after that, even within one turn. */
	mail_take(c->shard);
	while (c->state < CLIENT_CLOSING && c->state != CLIENT_JUDGING && c->held == 0) {
		struct slice rest = slice_from(in, used);
		size_t max = packet_limit(c, rest);

		switch (max == 0 ? MQTT_FRAME_OK : mqtt_frame(rest, max, &f)) {
		case MQTT_FRAME_OK:
			if (max == 0)
				f = (struct mqtt_frame){ .type = rest.p[0] >> 4 == MQTT_CONNECT ? 0 : rest.p[0] >> 4, .flags = rest.p[0] & 15 };
			if (c->shard->shed >= BROKER_SHED_PUBLISHERS && f.type == MQTT_PUBLISH && c->state == CLIENT_OPEN) {
				hold(c, HELD_MEMORY);
				break;
			}
			if (settings_of(c->shard)->trace)
				trace_in(c, &f);
			if (!dispatch(c, &f))
				return c->state < CLIENT_OPEN ? (ptrdiff_t)used : STREAM_CLOSE;
			used += f.size;
			stat_add(c->shard, packets_in, 1);
			stat_add(c->shard, bytes_in, f.size);
			c->bytes_in += f.size;
			if (c->pace != NULL && f.type == MQTT_PUBLISH && !pace_in(c, f.size))
				return STREAM_CLOSE;
			break;
		case MQTT_FRAME_MORE:
			return (ptrdiff_t)used;
		case MQTT_FRAME_TOO_LARGE:
			client_fail(c, MQTT_RC_TOO_LARGE, "packet larger than max_packet_size");
			return STREAM_CLOSE;
		case MQTT_FRAME_BAD:
			client_fail(c, MQTT_RC_MALFORMED, "malformed fixed header");
			return STREAM_CLOSE;
		}
	}
	return c->state >= CLIENT_CLOSING ? STREAM_CLOSE : (ptrdiff_t)used;
}

static int
client_pull(void *self, struct iovec *iov, int max)
{
	struct client *c = self;
	int n;

	if (c->starved)
		client_end(c, MQTT_RC_UNSPECIFIED, "out of memory", false);
	n = out_pull(c, iov, max);
	/* What waits for the disk is still sent, unless the disk is what fails. */
	if (n == 0 && c->out.count > 0 && c->gates != NULL && !c->shard->journal.refuses)
		return 0;
	return n == 0 && c->state == CLIENT_CLOSING ? STREAM_CLOSE : n;
}

static void
client_sent(void *self)
{
	struct client *c = self;

	out_sent(c);
	if ((c->held & HELD_OUTPUT) != 0 && c->out.count < OUT_PACKETS_LOW &&
	    c->out_bytes <= settings_of(c->shard)->max_out_bytes / 2)
		release(c, HELD_OUTPUT);
	if (c->scan_waits != NULL)
		retained_room(c);
}

void
client_report(struct client *c, struct broker_event *e)
{
	e->listener = c->listener;
	e->peer = c->peer;
	e->came_by = c->came_by;
	if (e->client_id.n == 0 && c->session != NULL)
		e->client_id = session_id(c->session);
	if (e->who == NULL)
		e->who = c->who;
	e->version = c->version;
	if (e->text == NULL)
		e->text = "";
	c->shard->broker->ports.event(c->shard->broker->ports.ctx, e);
}

/* The last word to the peer. A reason string is for those who want it and can hold it (3.14.2.2.3). */
static void
say_goodbye(struct client *c, uint8_t reason, const char *why)
{
	struct mqtt_disconnect m = { .reason = reason };
	uint8_t buf[BROKER_WHY_MAX + 32];
	struct wr w = wr_of(buf, sizeof buf);
	bool ok;

	if (c->version != MQTT_V5 || reason < MQTT_RC_UNSPECIFIED)
		return;
	if (why != NULL && c->problem_info) {
		m.props.reason_string = slice_str(why);
		mqtt_set(&m.props, MQTT_P_REASON_STRING);
	}
	ok = mqtt_put_disconnect(&w, MQTT_V5, &m);
	if (why != NULL && (!ok || (c->max_packet_out != 0 && wr_len(&w) > c->max_packet_out))) {
		say_goodbye(c, reason, NULL);
		return;
	}
	if (ok)
		(void)out_packet(c, buf, wr_len(&w));
}

static void
end(struct client *c, struct broker_event *e, bool tell)
{
	struct session *s = c->session;

	if (c->state == CLIENT_CLOSING)
		return;
	/* First of all: what follows may run out of memory, and that would end the client again. */
	c->state = CLIENT_CLOSING;
	client_report(c, e);
	timer_cancel(c->shard->clients_wheel, &c->timer);
	if (s != NULL)
		say_goodbye(c, e->reason, tell ? e->text : NULL);
	retained_forget(c);
	throttle_forget(c);
	pace_forget(c);
	crowd_leave(c);
	if (s != NULL) {
		c->session = NULL;
		stat_sub(c->shard, connected, 1);
		stat_sub(c->shard, roles[c->role], 1);
		session_detach(s, e->clean);
	}
	wake(&c->waker);
}

void
client_end(struct client *c, uint8_t reason, const char *text, bool clean)
{
	struct broker_event e = { .kind = c->session != NULL ? BROKER_DISCONNECTED : BROKER_DROPPED, .reason = reason,
		.text = text, .clean = clean };

	end(c, &e, false);
}

void
client_expel(struct client *c, uint8_t reason, const char *why)
{
	struct broker_event e = { .kind = c->session != NULL ? BROKER_DISCONNECTED : BROKER_DROPPED, .reason = reason, .text = why };

	end(c, &e, true);
}

bool
client_fail(struct client *c, uint8_t reason, const char *text)
{
	client_end(c, reason, text, false);
	return false;
}

bool
on_disconnect(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_disconnect m;
	uint8_t rc = mqtt_decode_disconnect(f, c->version, &m);

	if (rc != MQTT_RC_OK)
		return client_fail(c, rc, "malformed DISCONNECT");
	if (c->version == MQTT_V5 && mqtt_has(&m.props, MQTT_P_SESSION_EXPIRY)) {
		/* From zero there is no way back [MQTT-3.14.2-2]. */
		if (c->session->expiry_s == 0 && m.props.session_expiry > 0)
			return client_fail(c, MQTT_RC_PROTOCOL, "session expiry raised from 0 in DISCONNECT");
		c->session->expiry_s = NUM_MIN(m.props.session_expiry, settings_of(c->shard)->max_session_expiry);
	}
	/* Reason 0x00 takes the will back, any other does not (3.14.2.1). */
	client_end(c, MQTT_RC_OK, "", m.reason == MQTT_RC_OK);
	return false;
}

static void
client_unlink(struct client *c)
{
	if (c->prev == NULL) /* between two shards */
		return;
	*c->prev = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->prev = NULL;
}

static void
client_link(struct client *c)
{
	c->next = c->shard->clients;
	c->prev = &c->shard->clients;
	if (c->next != NULL)
		c->next->prev = &c->next;
	c->shard->clients = c;
}

static void
client_closed(void *self, const char *why)
{
	struct client *c = self;

	client_end(c, MQTT_RC_UNSPECIFIED, why != NULL ? why : "connection closed by the peer", false);
	timer_cancel(c->shard->clients_wheel, &c->timer);
	client_unlink(c);
	login_forget(c);
	auth_forget(c);
	gate_forget(c);
	request_forget(c);
	out_clear(c);
	alias_in_clear(c);
	msg_source_unref(c->source);
	stamp_free(c->stamp);
	authz_principal_unref(c->who);
	free(c->came_by);
	free(c);
}

static void
client_moved(void *self, void *ctx, const struct waker *w)
{
	struct client *c = self;

	(void)ctx;
	c->waker = *w;
	c->state = CLIENT_NEW;
	client_link(c);
	client_arm(c);
}

const struct stream_ops client_stream = {
	.feed = client_feed,
	.pull = client_pull,
	.sent = client_sent,
	.closed = client_closed,
	.moved = client_moved,
};

void
client_leave(struct client *c, unsigned shard)
{
	timer_cancel(c->shard->clients_wheel, &c->timer);
	client_unlink(c);
	c->state = CLIENT_MOVING;
	c->shard = c->shard->broker->shards[shard];
	c->waker.ops->move(c->waker.conn, shard);
}

void *
client_new(struct shard *sh, unsigned listener, struct authz_principal *who, const char *peer, const struct waker *w)
{
	size_t n = strlen(peer) + 1;
	struct client *c = calloc(1, sizeof *c + n);

	if (c == NULL) {
		authz_principal_unref(who);
		return NULL;
	}
	c->shard = sh;
	c->who = who;
	c->waker = *w;
	c->listener = listener;
	c->last_rx_ms = c->begun_ms = sh->now_ms;
	memcpy(c->peer, peer, n);
	client_link(c);
	client_arm(c);
	stat_add(sh, sockets, 1);
	return c;
}

void
client_came_by(void *client, const char *words)
{
	struct client *c = client;

	free(c->came_by);
	c->came_by = strdup(words);
}

/* 1.5 times the keep alive [MQTT-3.1.2-22]. */
static uint64_t
keep_alive_ms(const struct client *c)
{
	return (uint64_t)c->keep_alive * 1500;
}

void
client_arm(struct client *c)
{
	struct shard *sh = c->shard;
	uint64_t due = UINT64_MAX;
	struct authz_facts facts;

	if (c->state < CLIENT_OPEN) {
		uint64_t ms = c->state == CLIENT_JUDGING ? (uint64_t)JUDGE_TIMEOUT_MS : settings_of(sh)->connect_timeout_ms;

		timer_set(sh->clients_wheel, &c->timer, c->last_rx_ms + ms);
		return;
	}
	if (c->keep_alive > 0)
		due = c->last_rx_ms + keep_alive_ms(c);
	due = NUM_MIN(due, auth_due(c));
	authz_principal_facts(c->who, &facts);
	if (facts.not_after != 0) {
		int64_t left = facts.not_after - sh->broker->ports.wall(sh->broker->ports.ctx);
		uint64_t at = sh->now_ms + (left > 0 ? (uint64_t)NUM_MIN(left, INT64_C(86400)) * 1000 : 0) + 1000;

		due = NUM_MIN(due, at);
	}
	if (due != UINT64_MAX)
		timer_set(sh->clients_wheel, &c->timer, due);
}

void
client_timer(void *shard, struct timer *t)
{
	struct client *c = (void *)((char *)t - offsetof(struct client, timer));
	struct shard *sh = shard;
	struct authz_facts facts;

	if (c->state < CLIENT_OPEN) {
		client_end(c, MQTT_RC_UNSPECIFIED,
		    c->state == CLIENT_NEW          ? "no CONNECT in time"
		    : c->state == CLIENT_EXCHANGING ? "the authentication was not finished in time"
						    : "the login was not judged in time",
		    false);
		return;
	}
	authz_principal_facts(c->who, &facts);
	if (facts.not_after != 0 && sh->broker->ports.wall(sh->broker->ports.ctx) > facts.not_after)
		client_end(c, MQTT_RC_NOT_AUTHORIZED, "the certificate has expired", false);
	else if ((c->held & ~HELD_OUTPUT) != 0)
		c->last_rx_ms = sh->now_ms; /* it is we who do not listen */
	else if (c->keep_alive > 0 && sh->now_ms >= c->last_rx_ms + keep_alive_ms(c))
		client_end(c, MQTT_RC_KEEP_ALIVE, "exceeded keep alive", false);
	else if (sh->now_ms >= auth_due(c))
		client_end(c, MQTT_RC_NOT_AUTHORIZED, "the re-authentication was not finished in time", false);
	if (c->state == CLIENT_OPEN)
		client_arm(c);
}
