/* Who is it? Often known at once; a password costs so much that its verdict comes from another thread. The CONNECT stays
 * unused with the transport meanwhile and comes again, so that nothing of it has to be kept here. */
#include <stdio.h>
#include <stdlib.h>
#include "broker/internal.h"

struct login {
	struct broker_login p;
	struct inbox_node node;
	struct shard *shard;
	struct client *client; /* NULL: gone. This and the next: only the shard's thread looks at them */
	bool arrived;          /* the verdict is here, and the login ours again */
	uint8_t reason;
};

static void
login_free(struct login *l)
{
	authz_principal_unref(l->p.cert);
	authz_principal_unref(l->p.who);
	free(l);
}

static uint8_t
take_verdict(struct client *c, struct authz_principal **ret_who, char why[static BROKER_WHY_MAX])
{
	struct login *l = c->login;
	uint8_t reason = l->reason;

	c->login = NULL;
	if (reason == MQTT_RC_OK) {
		*ret_who = l->p.who;
		l->p.who = NULL;
	}
	memcpy(why, l->p.why, BROKER_WHY_MAX);
	login_free(l);
	return reason;
}

typedef uint8_t login_port(void *ctx, struct broker_login *login);

static uint8_t
ask(struct client *c, const struct mqtt_connect *m, login_port *port, struct authz_principal **ret_who, char why[static BROKER_WHY_MAX])
{
	struct login *l;
	uint8_t reason;

	if (c->login != NULL)
		return take_verdict(c, ret_who, why);
	l = malloc(sizeof *l);
	if (l == NULL) {
		(void)snprintf(why, BROKER_WHY_MAX, "out of memory");
		return MQTT_RC_UNAVAILABLE;
	}
	*l = (struct login){ .p = { .listener = c->listener, .peer = c->peer, .connect = m }, .shard = c->shard, .client = c };
	l->p.cert = authz_principal_ref(c->who);
	c->login = l;
	reason = port(c->shard->broker->ports.ctx, &l->p);
	if (reason != BROKER_LOGIN_PENDING) {
		l->reason = reason;
		return take_verdict(c, ret_who, why);
	}
	/* Another thread has it now. */
	c->state = CLIENT_JUDGING;
	client_arm(c);
	c->waker.ops->read_enable(c->waker.conn, false);
	return reason;
}

uint8_t
login_judge(struct client *c, const struct mqtt_connect *m, struct authz_principal **ret_who, char why[static BROKER_WHY_MAX])
{
	return ask(c, m, c->shard->broker->ports.authenticate, ret_who, why);
}

uint8_t
login_vouch(struct client *c, const struct mqtt_connect *m, char why[static BROKER_WHY_MAX])
{
	login_port *port = c->shard->broker->ports.vouch;
	struct authz_principal *nobody = NULL;
	struct authz_facts f;
	uint8_t reason;

	if (c->vouched || port == NULL || !listener_of(c->shard, c->listener)->vouch)
		return MQTT_RC_OK;
	authz_principal_facts(c->who, &f);
	reason = f.has_cert ? ask(c, m, port, &nobody, why) : MQTT_RC_OK;
	authz_principal_unref(nobody);
	c->vouched = reason == MQTT_RC_OK;
	return reason;
}

void
broker_login_done(struct broker_login *login, uint8_t reason)
{
	struct login *l = (struct login *)login;
	struct shard *sh = l->shard;

	ASSERT(reason != BROKER_LOGIN_PENDING);
	l->reason = reason;
	if (inbox_push(&sh->verdicts, &l->node))
		sh->broker->ports.wake(sh->broker->ports.ctx, sh->index);
}

void
login_forget(struct client *c)
{
	struct login *l = c->login;

	c->login = NULL;
	if (l == NULL)
		return;
	if (l->arrived) {
		login_free(l);
		return;
	}
	l->client = NULL;
	atomic_store_explicit(&l->p.gone, true, memory_order_relaxed);
}

static void
give_verdict(struct login *l)
{
	struct client *c = l->client;

	l->arrived = true;
	if (c == NULL) {
		login_free(l);
		return;
	}
	if (c->state != CLIENT_JUDGING) /* about to close */
		return;
	c->state = CLIENT_NEW;
	/* The CONNECT that comes again is in time. */
	c->last_rx_ms = c->shard->now_ms;
	client_arm(c);
	c->waker.ops->read_enable(c->waker.conn, true);
}

void
logins_take(struct shard *sh)
{
	struct inbox_node *node = inbox_take(&sh->verdicts);

	while (node != NULL) {
		struct login *l = (void *)((char *)node - offsetof(struct login, node));

		node = node->next;
		give_verdict(l);
	}
}

void
logins_done(struct shard *sh)
{
	/* Every stream was closed before: none of them has a client. */
	logins_take(sh);
}
