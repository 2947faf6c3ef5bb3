/* SCRAM-SHA-256 over AUTH (MQTT 5, 4.12): whose CONNECT is it, if the client proves that it knows the password of a user of
 * password_file? A proof costs a few hashes, so the worker computes it itself. */
#include "server/internal.h"
#include "server/attempts.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

enum { SHOW_CAP = 100 };

struct scram_state {
	struct scram_server *scram; /* NULL: the client's first message is still to come */
	struct attempts_key key;
	uint64_t credential; /* passwd_tag() of what the proof is compared with */
	size_t said_n;
	bool said;      /* CONNECT has a user name: it must be the one that SCRAM proves */
	uint8_t name[]; /* that one */
};

static uint8_t
refuse(struct broker_exchange *x, uint8_t reason, const char *why)
{
	(void)snprintf(x->why, sizeof(x->why), "%s", why);
	return reason;
}

static uint8_t
refuse_user(struct broker_exchange *x, const char *why, struct slice user, const char *remedy)
{
	char show[SHOW_CAP];

	(void)snprintf(
	    x->why, sizeof(x->why), "%s '%s'%s", why, text_show(user, show, sizeof(show)), remedy);
	return MQTT_RC_NOT_AUTHORIZED;
}

static struct scram_state *
state_new(const struct mqtt_connect *m)
{
	bool said = m != NULL && m->has_username;
	size_t n = said ? m->username.n : 0;
	struct scram_state *st = malloc(sizeof(*st) + n);

	if (st == NULL)
		return NULL;
	*st = (struct scram_state){ .said = said, .said_n = n };
	if (n > 0)
		memcpy(st->name, m->username.p, n);
	return st;
}

static void
answer(struct broker_exchange *x, const struct scram_answer *a)
{
	_Static_assert((int)SCRAM_MESSAGE_MAX <= (int)BROKER_AUTH_DATA_MAX, "an answer has room");
	if (a->n > 0)
		memcpy(x->answer, a->p, a->n);
	x->answer_n = a->n;
}

static uint8_t
first_message(struct logins *ls, struct judge *judge, struct broker_exchange *x)
{
	struct scram_state *st = x->state;
	struct passwd_file *f = judge_passwords(judge);
	struct scram_answer a;
	enum scram_result r;

	/* A reload took the file away since the rules were read. */
	if (f == NULL)
		return refuse(x, MQTT_RC_UNAVAILABLE, "the configuration is being exchanged");
	r = scram_server_start(f, logins_scram_secret(ls), x->data, &st->scram, &a);
	if (r == SCRAM_MORE)
		st->credential = passwd_tag(f, scram_server_user(st->scram));
	passwd_unref(f);
	if (r == SCRAM_FAILED)
		return refuse(x, MQTT_RC_UNAVAILABLE, a.why);
	answer(x, &a);
	if (r != SCRAM_MORE)
		return refuse(x, MQTT_RC_NOT_AUTHORIZED, a.why);
	attempts_key(&st->key, ATTEMPTS_DEVICE, x->peer, scram_server_user(st->scram));
	return MQTT_RC_CONTINUE_AUTH;
}

static uint8_t
accept_user(const struct scram_state *st, struct broker_exchange *x, struct slice user)
{
	if (st->said && !slice_eq(user, slice_of(st->name, st->said_n)))
		return refuse_user(
		    x, "CONNECT has another user name than", user, " of " SCRAM_METHOD);
	x->who = identity_as(x->cert, user, st->credential);
	return x->who != NULL ? MQTT_RC_OK : refuse(x, MQTT_RC_UNAVAILABLE, "out of memory");
}

static uint8_t
last_message(struct logins *ls, struct broker_exchange *x)
{
	struct scram_state *st = x->state;
	struct slice user = scram_server_user(st->scram);
	struct scram_answer a;

	/* The proof is not even looked at: guesses in parallel gain nothing. */
	if (!attempts_take(logins_attempts(ls), &st->key, server_now_ms()))
		return refuse(x, MQTT_RC_CONNECTION_RATE, WHY_LOGIN_RATE);
	switch (scram_server_finish(st->scram, x->data, &a)) {
	case SCRAM_RIGHT:
		attempts_spare(logins_attempts(ls), &st->key);
		answer(x, &a);
		return accept_user(st, x, user);
	case SCRAM_FAILED:
		attempts_spare(logins_attempts(ls), &st->key);
		return refuse(x, MQTT_RC_UNAVAILABLE, a.why);
	case SCRAM_WRONG:
		(void)refuse_user(x, WHY_LOGIN_WRONG, user, "");
		break;
	case SCRAM_UNKNOWN:
		(void)refuse_user(x, WHY_LOGIN_UNKNOWN, user, "");
		break;
	case SCRAM_OTHER_HASH:
		(void)refuse_user(x, WHY_NO_SCRAM, user, "");
		break;
	case SCRAM_MORE:
	case SCRAM_BROKEN:
		(void)refuse(x, MQTT_RC_NOT_AUTHORIZED, a.why);
		break;
	}
	answer(x, &a);
	return MQTT_RC_NOT_AUTHORIZED;
}

/* May this listener's clients use the method at all? Asked once an exchange. */
static uint8_t
check_method(unsigned rules, struct broker_exchange *x)
{
	if ((rules & RULE_SCRAM) == 0)
		return refuse(x, MQTT_RC_AUTH_METHOD, WHY_NO_METHOD);
	if (!slice_eq(x->method, SL(SCRAM_METHOD)))
		return refuse(x, MQTT_RC_AUTH_METHOD, WHY_OTHER_METHOD);
	if (identity_is_known(rules, x->cert))
		return refuse(x, MQTT_RC_AUTH_METHOD, WHY_METHOD_BESIDE);
	return MQTT_RC_OK;
}

uint8_t
scram_step(struct logins *ls, struct judge *judge, unsigned rules, struct broker_exchange *x)
{
	struct scram_state *st = x->state;
	uint8_t reason;

	if (st != NULL)
		return st->scram != NULL ? last_message(ls, x) : first_message(ls, judge, x);
	reason = check_method(rules, x);
	if (reason != MQTT_RC_OK)
		return reason;
	if (x->connect != NULL && x->connect->client_id.n == 0 &&
	    (rules & RULE_EMPTY_CLIENT_ID) == 0)
		return refuse(x, MQTT_RC_CLIENT_ID, WHY_NO_CLIENT_ID);
	x->state = state_new(x->connect);
	if (x->state == NULL)
		return refuse(x, MQTT_RC_UNAVAILABLE, "out of memory");
	/* Without an initial response the server's first word is empty (RFC 4422 3). */
	return x->data.n == 0 ? MQTT_RC_CONTINUE_AUTH : first_message(ls, judge, x);
}

void
scram_end(struct broker_exchange *x)
{
	struct scram_state *st = x->state;

	if (st != NULL)
		scram_server_free(st->scram);
	free(st);
}
