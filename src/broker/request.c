/* What is published below "$CONTROL/" is for the broker itself and goes to no subscriber. Somebody behind a port carries it out,
 * in his own time; its sender is not read from meanwhile, and then has the answer before the acknowledgement. */
#include <stdlib.h>
#include "broker/internal.h"

struct request {
	struct broker_request p;
	struct order order;
	struct shard *shard;
	struct client *client; /* NULL: gone. Only the shard's thread looks at it */
	struct authz_principal *who;
	uint64_t mark;         /* of the journal, when it came */
	uint16_t packet_id;
	uint8_t qos;
	uint8_t end_reason;
	const char *end_text; /* what it ends its sender with; NULL: it does not */
	const char *topic; /* of the answer */
	void *answer;      /* or NULL */
	size_t answer_n;
	uint8_t bytes[]; /* client id, topic, payload, correlation data */
};

static void
request_free(struct request *r)
{
	authz_principal_unref(r->who);
	free(r->answer);
	/* There may be a password in it. */
	explicit_bzero(r->bytes, r->p.client_id.n + r->p.topic.n + r->p.payload.n + r->p.correlation.n);
	free(r);
}

/* Nobody knew what to do with it, or it is done. */
static bool
acknowledge(struct client *c, uint8_t qos, uint16_t packet_id)
{
	uint64_t mark = c->shard->journal.marks;

	if (qos == 0)
		return true;
	if (qos == 2 && !publish_receive(c->session, packet_id))
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	return gate_since(c, mark) && out_ack(c, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, packet_id, MQTT_RC_OK, "");
}

/* To its sender alone, as far as he has subscribed to it and may receive it. */
static void
give_answer(struct client *c, const struct request *r)
{
	struct mqtt_publish p = { .topic = slice_str(r->topic), .payload = slice_of(r->answer, r->answer_n) };
	struct mqtt_props props = { .correlation_data = r->p.correlation };
	uint8_t buf[BROKER_CORRELATION_MAX + 8];
	struct wr w = wr_of(buf, sizeof buf);
	struct msg *m;

	if (r->p.correlation.n > 0) {
		mqtt_set(&props, MQTT_P_CORRELATION_DATA);
		(void)mqtt_put_props(&w, &props);
		p.forward = wr_slice(&w);
		p.forward_n = (uint32_t)wr_len(&w);
	}
	m = r->answer != NULL ? msg_new(&p, SL(""), NULL, c->shard->now_s) : NULL;
	if (m != NULL)
		route_to_one(c->shard, m, c->session);
	msg_unref(m);
}

static void
answer(struct client *c, const struct request *r)
{
	if (r->p.writes && !gate_since(c, r->mark))
		return;
	give_answer(c, r);
	if (!acknowledge(c, r->qos, r->packet_id))
		return;
	if (r->end_text != NULL)
		client_end(c, r->end_reason, r->end_text, true);
	else
		release(c, HELD_REQUEST);
}

static void
finish(struct shard *sh, struct order *o)
{
	struct request *r = (void *)((char *)o - offsetof(struct request, order));
	struct client *c = r->client;

	(void)sh;
	if (c != NULL) {
		c->request = NULL;
		if (c->state == CLIENT_OPEN)
			answer(c, r);
	}
	request_free(r);
}

bool
request_end_after(struct client *c, uint8_t reason, const char *text)
{
	if (c->request == NULL)
		return false;
	c->request->end_reason = reason;
	c->request->end_text = text;
	return true;
}

void
broker_request_done(struct broker_request *request, const char *topic, void *answer, size_t n)
{
	struct request *r = (struct request *)request;

	r->topic = topic;
	r->answer = answer;
	r->answer_n = n;
	order_give(r->shard, &r->order);
}

static struct slice
copy(uint8_t **at, struct slice s)
{
	struct slice to = slice_of(*at, s.n);

	if (s.n > 0)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return to;
}

static struct request *
request_new(struct client *c, const struct mqtt_publish *p)
{
	struct slice id = session_id(c->session), tag = p->correlation_data;
	struct request *r = malloc(sizeof *r + id.n + p->topic.n + p->payload.n + BROKER_CORRELATION_MAX);
	uint8_t *at;

	if (r == NULL)
		return NULL;
	*r = (struct request){ .order.carry_out = finish, .shard = c->shard, .client = c, .packet_id = p->packet_id, .qos = p->qos,
		.mark = c->shard->journal.marks };
	r->who = authz_principal_ref(c->who);
	at = r->bytes;
	r->p = (struct broker_request){ .listener = c->listener, .who = r->who };
	r->p.client_id = copy(&at, id);
	r->p.topic = copy(&at, p->topic);
	r->p.payload = copy(&at, p->payload);
	r->p.correlation = copy(&at, tag.n <= BROKER_CORRELATION_MAX ? tag : (struct slice){ 0 });
	return r;
}

bool
request_take(struct client *c, const struct mqtt_publish *p)
{
	const struct broker_ports *ports = &c->shard->broker->ports;
	struct request *r;

	if (ports->request == NULL)
		return acknowledge(c, p->qos, p->packet_id);
	if ((r = request_new(c, p)) == NULL)
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	/* First of all: it may be done before the port returns. */
	c->request = r;
	hold(c, HELD_REQUEST);
	if (ports->request(ports->ctx, &r->p))
		return true;
	c->request = NULL;
	request_free(r);
	release(c, HELD_REQUEST);
	return acknowledge(c, p->qos, p->packet_id);
}

void
request_forget(struct client *c)
{
	if (c->request != NULL)
		c->request->client = NULL;
	c->request = NULL;
}

/* ---- orders: what other threads want done on a shard ---- */

void
order_give(struct shard *sh, struct order *o)
{
	if (inbox_push(&sh->orders, &o->node))
		sh->broker->ports.wake(sh->broker->ports.ctx, sh->index);
}

void
orders_take(struct shard *sh)
{
	struct inbox_node *node = inbox_take(&sh->orders);

	/* What was set before the order was given holds when it is carried out. */
	if (node != NULL)
		shard_renew(sh);
	while (node != NULL) {
		struct order *o = (void *)((char *)node - offsetof(struct order, node));

		node = node->next;
		o->carry_out(sh, o);
	}
}

struct saying {
	struct order order;
	struct slice topic, payload;
	bool retain;
	uint8_t bytes[];
};

static void
say(struct shard *sh, struct order *o)
{
	struct saying *s = o->ctx;

	if (!sh->closing && !shard_publish(sh, s->topic, s->payload, s->retain))
		shard_dropped(sh, BROKER_DROP_NO_MEMORY);
	free(s);
}

bool
broker_publish(struct broker *b, struct slice topic, struct slice payload, bool retain)
{
	struct saying *s = malloc(sizeof *s + topic.n + payload.n);
	uint8_t *at;

	if (s == NULL)
		return false;
	at = s->bytes;
	*s = (struct saying){ .order = { .carry_out = say, .ctx = s }, .retain = retain };
	s->topic = copy(&at, topic);
	s->payload = copy(&at, payload);
	order_give(b->shards[0], &s->order);
	return true;
}
