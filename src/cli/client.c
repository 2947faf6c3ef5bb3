/* A small MQTT client for the command line: connecting, taking turns, closing. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "cli/client_internal.h"

enum {
	READ_STEP = 16384,
	READS_A_TURN = 16,  /* so that a flood does not keep the caller from its own work */
	CONNECT_MS = 30000, /* for TCP and TLS, and again for CONNACK */
	CLOSE_FLUSH_MS = 2000,
	CLOSE_LINGER_MS = 1000,
};

struct mqttc *
mqttc_new(const struct mqttc_config *cfg)
{
	struct mqttc *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->cfg = *cfg;
	c->wire.fd = -1;
	c->alias_n = mqtt_has(&cfg->connect.props, MQTT_P_TOPIC_ALIAS_MAXIMUM)
			 ? cfg->connect.props.topic_alias_maximum
			 : 0;
	c->ours = calloc(PACKET_IDS, 1);
	c->theirs = calloc(PACKET_IDS / 8, 1);
	c->aliases = calloc(c->alias_n + 1, sizeof *c->aliases);
	if (c->ours != NULL && c->theirs != NULL && c->aliases != NULL)
		return c;
	mqttc_free(c);
	return NULL;
}

void
mqttc_free(struct mqttc *c)
{
	if (c == NULL)
		return;
	wire_close(&c->wire, 0);
	for (size_t i = 0; c->aliases != NULL && i <= c->alias_n; i++)
		free(c->aliases[i].topic);
	free(c->aliases);
	free(c->ours);
	free(c->theirs);
	free(c->in.p);
	secret_free(c->out.p, c->out.cap); /* CONNECT with the password went through it */
	free(c);
}

bool
mqttc_room(struct mqttc_buf *b, size_t n)
{
	size_t want, cap = b->cap;
	uint8_t *grown;

	if (b->at > 0) {
		memmove(b->p, b->p + b->at, b->n - b->at);
		b->n -= b->at;
		b->at = 0;
	}
	if (!num_add(b->n, n, &want))
		return false;
	if (want <= cap)
		return true;
	/* malloc and wipe, not realloc: the old bytes may hold a password. */
	cap = NUM_MAX(want, cap * 2);
	grown = malloc(cap);
	if (grown == NULL)
		return false;
	if (b->n > 0)
		memcpy(grown, b->p, b->n);
	secret_free(b->p, b->n);
	b->p = grown;
	b->cap = cap;
	return true;
}

size_t
mqttc_backlog(const struct mqttc *c)
{
	return c->out.n - c->out.at;
}

static enum mqttc_result
of_wire(const struct mqttc *c, enum wire_result r)
{
	switch (r) {
	case WIRE_OK:
	case WIRE_AGAIN:
		break;
	case WIRE_CLOSED:
		/* A broker that hangs up during the first handshake will do so again. */
		return c->was_up || c->wire.fd != -1 ? MQTTC_LOST
		       : c->cfg.target.tls != NULL   ? MQTTC_TLS
						     : MQTTC_FAILED;
	case WIRE_STOPPED:
		return MQTTC_STOPPED;
	case WIRE_TLS:
		return MQTTC_TLS;
	case WIRE_TIMEOUT:
	case WIRE_FAILED:
		return c->was_up ? MQTTC_LOST : MQTTC_FAILED;
	}
	return MQTTC_OK;
}

enum mqttc_result
mqttc_open(struct mqttc *c, uint64_t deadline)
{
	uint64_t now = wire_now();
	enum wire_result r;

	wire_close(&c->wire, 0);
	mqttc_forget(c);
	r = wire_open(
	    &c->wire, &c->cfg.target, c->cfg.stop_fd, NUM_MIN(deadline, now + CONNECT_MS), &c->err);
	now = wire_now();
	if (r != WIRE_OK)
		return r == WIRE_TIMEOUT && now >= deadline ? MQTTC_TIMEOUT : of_wire(c, r);
	c->last_out = c->last_in = now;
	c->connack_due = now + CONNECT_MS;
	if (mqttc_put_connect(c))
		return MQTTC_OK;
	(void)err_set(&c->err, ERR_MEMORY, "out of memory");
	return MQTTC_FAILED;
}

/* ---- input ---- */

static enum mqttc_result
not_mqtt(struct mqttc *c)
{
	const uint8_t *p = c->in.p + c->in.at;

	/* RFC 8446 5.1: a record of type alert, version 3.x. */
	if (!c->up && c->wire.ssl == NULL && c->in.n - c->in.at >= 2 && p[0] == 21 && p[1] == 3)
		(void)err_set(&c->err, ERR_INPUT,
		    "the broker answers in TLS: give --cafile with its CA, or use its plain port");
	else
		(void)err_set(&c->err, ERR_INPUT,
		    "what the broker sends is not MQTT; is this the right port?");
	return MQTTC_PROTOCOL;
}

/* Every whole packet that is there. */
static enum mqttc_result
dispatch(struct mqttc *c, bool *ret_halt)
{
	while (c->in.n > c->in.at && !*ret_halt) {
		struct mqtt_frame f;
		struct slice in = slice_of(c->in.p + c->in.at, c->in.n - c->in.at);
		enum mqtt_frame_result found = mqtt_frame(in, PACKET_MAX, &f);
		uint8_t type = in.p[0] >> 4;
		enum mqttc_result r;

		/* Two bytes tell an alert of TLS from a packet. */
		if (in.n >= 2 && !c->up && type != MQTT_CONNACK && type != MQTT_AUTH)
			return not_mqtt(c);
		if (found == MQTT_FRAME_MORE)
			return MQTTC_OK;
		if (found != MQTT_FRAME_OK)
			return not_mqtt(c);
		r = mqttc_packet(c, &f, ret_halt);
		c->in.at += f.size;
		if (r != MQTTC_OK)
			return r;
	}
	return MQTTC_OK;
}

/* The connection ended. A broker that hangs up on CONNECT mostly expected something else than
 * plain MQTT. */
static enum mqttc_result
hung_up(struct mqttc *c, enum wire_result r)
{
	struct err why = c->err;

	if (r == WIRE_CLOSED && !c->was_up && c->wire.ssl == NULL)
		(void)err_set(&c->err, why.code,
		    "%s before it answered CONNECT; does this port want TLS (--cafile)?", why.text);
	return of_wire(c, r);
}

/* What the socket has, packet by packet; *ret_more: there may be more. */
static enum mqttc_result
receive(struct mqttc *c, bool *ret_more, bool *ret_halt)
{
	*ret_more = true;
	for (int i = 0; i < READS_A_TURN && !*ret_halt; i++) {
		enum mqttc_result m;
		enum wire_result r;
		size_t n = 0;

		if (!mqttc_room(&c->in, READ_STEP)) {
			(void)err_set(
			    &c->err, ERR_MEMORY, "out of memory for a message of the broker");
			return MQTTC_FAILED;
		}
		r = wire_read(&c->wire, c->in.p + c->in.n, c->in.cap - c->in.n, &n, &c->err);
		if (r == WIRE_AGAIN) {
			*ret_more = false;
			return MQTTC_OK;
		}
		if (r != WIRE_OK)
			return hung_up(c, r);
		c->in.n += n;
		c->last_in = wire_now();
		if ((m = dispatch(c, ret_halt)) != MQTTC_OK)
			return m;
	}
	return MQTTC_OK;
}

/* ---- output ---- */

static enum mqttc_result
flush(struct mqttc *c)
{
	while (mqttc_backlog(c) > 0) {
		struct slice s = slice_of(c->out.p + c->out.at, mqttc_backlog(c));
		size_t n = 0;
		enum wire_result r = wire_write(&c->wire, s, &n, &c->err);
		bool more = true, halt = false;

		if (r == WIRE_AGAIN)
			return MQTTC_OK;
		if (r != WIRE_OK) {
			/* Why the broker hung up may be waiting to be read: an alert, a CONNACK,
			 * a DISCONNECT. */
			struct err first = c->err;
			enum mqttc_result m = receive(c, &more, &halt);

			if (m == MQTTC_OK)
				c->err = first;
			return m != MQTTC_OK ? m : hung_up(c, r);
		}
		c->out.at += n;
		c->last_out = wire_now();
	}
	/* What went out before CONNACK is CONNECT, with the password. */
	if (!c->up)
		secret_wipe(c->out.p, c->out.n);
	c->out.at = c->out.n = 0;
	return MQTTC_OK;
}

/* ---- turns ---- */

/* When the keep alive or the CONNACK wants attention. */
static uint64_t
next_due(const struct mqttc *c)
{
	uint64_t keep = (uint64_t)c->cfg.connect.keep_alive * 1000;

	if (!c->up)
		return c->connack_due;
	if (keep == 0)
		return UINT64_MAX;
	return c->ping_since > 0 ? c->ping_since + keep : c->last_out + keep;
}

static enum mqttc_result
check_time(struct mqttc *c, uint64_t now)
{
	if (now < next_due(c))
		return MQTTC_OK;
	if (!c->up || c->ping_since > 0) {
		(void)err_set(&c->err, ERR_SYSTEM,
		    c->up ? "the broker does not answer PINGREQ"
			  : "the broker does not answer CONNECT");
		return MQTTC_LOST;
	}
	/* [MQTT-3.1.2-23] of 3.1.1: something must be sent within the keep alive. */
	c->ping_since = now;
	c->last_out = now;
	if (mqttc_put_ping(c))
		return MQTTC_OK;
	(void)err_set(&c->err, ERR_MEMORY, "out of memory");
	return MQTTC_FAILED;
}

static int
wait_ms(uint64_t until, uint64_t now)
{
	return until <= now ? 0 : (int)NUM_MIN(until - now, (uint64_t)60000);
}

enum mqttc_result
mqttc_turn(struct mqttc *c, uint64_t deadline, int extra_fd, bool *ret_extra)
{
	bool more = false, halt = false;
	uint64_t now = wire_now();
	enum mqttc_result r = check_time(c, now);
	struct pollfd p[3];
	int n;

	*ret_extra = false;
	if (r != MQTTC_OK || (r = flush(c)) != MQTTC_OK)
		return r;
	p[0] = (struct pollfd){ c->wire.fd, wire_events(&c->wire, mqttc_backlog(c) > 0), 0 };
	p[1] = (struct pollfd){ c->cfg.stop_fd, POLLIN,
		0 }; /* poll() passes over negative descriptors */
	p[2] = (struct pollfd){ extra_fd, POLLIN, 0 };
	n = poll(p, 3, c->unread ? 0 : wait_ms(NUM_MIN(deadline, next_due(c)), now));
	if (n == -1 && errno != EINTR) {
		(void)err_sys(&c->err, "poll");
		return MQTTC_FAILED;
	}
	if (n > 0 && p[1].revents != 0)
		return MQTTC_STOPPED;
	if ((n > 0 && p[0].revents != 0) || c->unread) {
		r = receive(c, &more, &halt);
		c->unread = more;
		if (r != MQTTC_OK || halt)
			return r;
	}
	*ret_extra = n > 0 && p[2].revents != 0;
	if (!*ret_extra && wire_now() >= deadline)
		return MQTTC_TIMEOUT;
	return flush(c);
}

void
mqttc_close(struct mqttc *c, uint8_t reason)
{
	uint64_t deadline = wire_now() + CLOSE_FLUSH_MS;

	if (c->wire.fd == -1)
		return;
	(void)(c->up && mqttc_put_disconnect(
			    c, reason)); /* without memory: the socket's end has to say it */
	while (mqttc_backlog(c) > 0 && wire_now() < deadline) {
		struct pollfd p = { c->wire.fd, POLLOUT, 0 };

		if (flush(c) != MQTTC_OK)
			break;
		if (mqttc_backlog(c) > 0)
			(void)poll(
			    &p, 1, wait_ms(deadline, wire_now())); /* the loop looks at the clock */
	}
	wire_close(&c->wire, CLOSE_LINGER_MS);
	c->up = false;
}
