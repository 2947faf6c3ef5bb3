/* Enhanced authentication (MQTT 5, 4.12): AUTH there and back before CONNACK, and again on a connection that stands. The CONNECT
 * is kept meanwhile, and judged as any other once it is known whose it is. */
#include <stdio.h>
#include <stdlib.h>
#include "base/secret.h"
#include "broker/exchange.h"
#include "broker/internal.h"

enum { ROUNDS_MAX = 8 }; /* AUTH packets that a client may send in one exchange */

struct exchange {
	struct broker_exchange p;
	uint64_t due_ms;  /* of a re-authentication */
	uint8_t *connect; /* the CONNECT's body; NULL: it is the one that is being handled, or it is long accepted */
	size_t connect_n;
	unsigned rounds;
	uint8_t reason; /* the last step's */
};

/* Of a connection whose CONNECT named a method, for its whole life. */
struct auth {
	struct authz_principal *cert; /* what the transport knew */
	struct exchange *run;         /* NULL: none is under way */
	uint16_t method_n;
	uint8_t method[];
};

static struct slice
method_of(const struct auth *a)
{
	return slice_of(a->method, a->method_n);
}

static void
run_end(struct client *c)
{
	const struct broker_ports *ports = &c->shard->broker->ports;
	struct exchange *x = c->auth->run;

	c->auth->run = NULL;
	if (x == NULL)
		return;
	ports->exchange_end(ports->ctx, &x->p);
	authz_principal_unref(x->p.who);
	secret_free(x->connect, x->connect_n); /* a password may stand in it */
	secret_free(x, sizeof *x);
}

static bool
run_begin(struct client *c, bool again)
{
	struct auth *a = c->auth;
	struct exchange *x = calloc(1, sizeof *x);

	if (x == NULL)
		return false;
	x->p = (struct broker_exchange){ .listener = c->listener, .peer = c->peer, .cert = a->cert, .method = method_of(a),
		.again = again };
	x->due_ms = c->shard->now_ms + settings_of(c->shard)->connect_timeout_ms;
	a->run = x;
	return true;
}

/* Ask the port; MQTT_RC_CONTINUE_AUTH: the client has to say more. */
static uint8_t
step(struct client *c, const struct mqtt_connect *m, const struct mqtt_props *props)
{
	const struct broker_ports *ports = &c->shard->broker->ports;
	struct exchange *x = c->auth->run;
	uint8_t reason;

	x->p.connect = m;
	x->p.data = props->auth_data;
	x->p.answer_n = 0;
	x->rounds++;
	reason = ports->exchange(ports->ctx, &x->p);
	x->p.connect = NULL;
	x->p.data = (struct slice){ 0 };
	if (reason != MQTT_RC_CONTINUE_AUTH || x->rounds <= ROUNDS_MAX)
		return reason;
	x->p.answer_n = 0;
	(void)snprintf(x->p.why, sizeof x->p.why, "the authentication needs more than %d rounds", ROUNDS_MAX);
	return MQTT_RC_NOT_AUTHORIZED;
}

/* [MQTT-4.12.0-5]: the method in every AUTH and in CONNACK, in one that refuses only beside data. */
void
auth_answer(const struct client *c, struct mqtt_props *p, bool refused)
{
	const struct exchange *x = c->auth != NULL ? c->auth->run : NULL;

	if (x == NULL || (refused && x->p.answer_n == 0))
		return;
	mqtt_set(p, MQTT_P_AUTH_METHOD);
	p->auth_method = method_of(c->auth);
	if (x->p.answer_n == 0)
		return;
	mqtt_set(p, MQTT_P_AUTH_DATA);
	p->auth_data = slice_of(x->p.answer, x->p.answer_n);
}

/* False: it is larger than the client takes [MQTT-3.1.2-24], or there is no memory and the client is closing. */
static bool
send_auth(struct client *c, uint8_t reason)
{
	uint8_t buf[BROKER_AUTH_DATA_MAX + BROKER_AUTH_METHOD_MAX + 32];
	struct mqtt_disconnect m = { .reason = reason };
	struct wr w = wr_of(buf, sizeof buf);

	auth_answer(c, &m.props, false);
	if (!mqtt_put_auth(&w, &m) || (c->max_packet_out != 0 && wr_len(&w) > c->max_packet_out))
		return false;
	return out_packet(c, buf, wr_len(&w));
}

static bool
auth_new(struct client *c, const struct mqtt_connect *m)
{
	struct slice method = m->props.auth_method;
	struct auth *a = malloc(sizeof *a + method.n);

	if (a == NULL)
		return false;
	*a = (struct auth){ .cert = authz_principal_ref(c->who), .method_n = (uint16_t)method.n };
	if (method.n > 0)
		memcpy(a->method, method.p, method.n);
	c->auth = a;
	return run_begin(c, false);
}

uint8_t
auth_judge(struct client *c, const struct mqtt_connect *m, struct authz_principal **ret_who, char why[static BROKER_WHY_MAX])
{
	struct exchange *x;

	if (c->auth == NULL) {
		if (m->props.auth_method.n > BROKER_AUTH_METHOD_MAX) {
			(void)snprintf(why, BROKER_WHY_MAX, "the authentication method is none that is known");
			return MQTT_RC_AUTH_METHOD;
		}
		if (!auth_new(c, m)) {
			(void)snprintf(why, BROKER_WHY_MAX, "out of memory");
			return MQTT_RC_UNAVAILABLE;
		}
		c->max_packet_out = m->props.maximum_packet_size;
		c->auth->run->reason = step(c, m, &m->props);
	}
	x = c->auth->run;
	ASSERT(x != NULL);
	if (x->reason == MQTT_RC_OK) {
		*ret_who = x->p.who;
		x->p.who = NULL;
	}
	memcpy(why, x->p.why, BROKER_WHY_MAX);
	return x->reason;
}

void
auth_settled(struct client *c)
{
	if (c->auth != NULL)
		run_end(c);
}

void
auth_forget(struct client *c)
{
	struct auth *a = c->auth;

	if (a == NULL)
		return;
	run_end(c);
	authz_principal_unref(a->cert);
	free(a);
	c->auth = NULL;
}

/* It is known whose the CONNECT is, or that it is nobody's: it comes again. */
static bool
decide(struct client *c, uint8_t reason, const char *why)
{
	struct exchange *x = c->auth->run;
	struct mqtt_frame f = { .type = MQTT_CONNECT, .body = slice_of(x->connect, x->connect_n) };

	x->reason = reason;
	if (why != NULL) {
		x->p.answer_n = 0;
		(void)snprintf(x->p.why, sizeof x->p.why, "%s", why);
	}
	c->state = CLIENT_NEW;
	return on_connect(c, &f);
}

bool
auth_wait(struct client *c, const struct mqtt_frame *f)
{
	struct exchange *x = c->auth->run;

	x->connect = malloc(f->body.n);
	if (x->connect == NULL)
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	memcpy(x->connect, f->body.p, f->body.n);
	x->connect_n = f->body.n;
	c->version = MQTT_V5;
	c->state = CLIENT_EXCHANGING;
	/* From here on it has as much time as CONNECT had; what it sends does not give it more. */
	client_arm(c);
	if (send_auth(c, MQTT_RC_CONTINUE_AUTH))
		return true;
	return c->state == CLIENT_EXCHANGING && decide(c, MQTT_RC_TOO_LARGE, "AUTH is above the client's maximum packet size");
}

/* [MQTT-3.1.2-30]: nothing but AUTH and DISCONNECT before CONNACK. No DISCONNECT of ours either [MQTT-3.14.0-1]. */
bool
auth_interrupted(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_disconnect m;

	if (f->type == MQTT_DISCONNECT && mqtt_decode_disconnect(f, MQTT_V5, &m) == MQTT_RC_OK)
		return client_fail(c, MQTT_RC_OK, "left during the authentication");
	return decide(c, MQTT_RC_PROTOCOL, "a packet other than AUTH during the authentication");
}

static bool
go_on(struct client *c, const struct mqtt_props *props)
{
	uint8_t reason = step(c, NULL, props);

	if (reason != MQTT_RC_CONTINUE_AUTH)
		return decide(c, reason, NULL);
	if (send_auth(c, MQTT_RC_CONTINUE_AUTH))
		return true;
	return c->state == CLIENT_EXCHANGING && decide(c, MQTT_RC_TOO_LARGE, "AUTH is above the client's maximum packet size");
}

/* 4.12.1: the same method, the same person; all else goes on as it was. */
static bool
again(struct client *c, const struct mqtt_props *props)
{
	struct exchange *x = c->auth->run;
	uint8_t reason = step(c, NULL, props);

	if (reason == MQTT_RC_OK &&
	    (!authz_same_identity(c->who, x->p.who) ||
		!slice_eq(authz_principal_username(c->who), authz_principal_username(x->p.who))))
		return client_fail(c, MQTT_RC_NOT_AUTHORIZED, "re-authentication as another user");
	if (reason != MQTT_RC_OK && reason != MQTT_RC_CONTINUE_AUTH)
		return client_fail(c, reason, x->p.why);
	if (!send_auth(c, reason))
		return client_fail(c, MQTT_RC_TOO_LARGE, "AUTH is above the client's maximum packet size");
	if (reason == MQTT_RC_OK)
		run_end(c);
	client_arm(c);
	return true;
}

static const char *
check_auth(const struct client *c, const struct mqtt_disconnect *m)
{
	if (!slice_eq(m->props.auth_method, method_of(c->auth)))
		return "AUTH with another method than CONNECT";
	if (c->auth->run == NULL)
		return m->reason == MQTT_RC_REAUTH ? NULL : "AUTH that continues nothing";
	return m->reason == MQTT_RC_CONTINUE_AUTH ? NULL : "AUTH that does not continue the authentication";
}

bool
on_auth(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_disconnect m;
	const char *why;
	uint8_t rc;

	if (c->auth == NULL) /* [MQTT-4.12.0-7] */
		return client_fail(c, MQTT_RC_PROTOCOL, "AUTH without an authentication method");
	rc = mqtt_decode_auth(f, &m);
	why = rc != MQTT_RC_OK ? "malformed AUTH" : check_auth(c, &m);
	if (why != NULL) {
		rc = rc != MQTT_RC_OK ? rc : MQTT_RC_PROTOCOL;
		return c->state == CLIENT_EXCHANGING ? decide(c, rc, why) : client_fail(c, rc, why);
	}
	if (c->state == CLIENT_EXCHANGING)
		return go_on(c, &m.props);
	if (c->auth->run == NULL && !run_begin(c, true))
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	return again(c, &m.props);
}

uint64_t
auth_due(const struct client *c)
{
	return c->auth != NULL && c->auth->run != NULL ? c->auth->run->due_ms : UINT64_MAX;
}
