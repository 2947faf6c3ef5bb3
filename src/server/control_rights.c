/* Questions of an administrator about rights, which are answered where the sessions are: "explain". */
#include "server/control.h"

#include <stdlib.h>

#include "base/num.h"

static const struct {
	const char *name;
	enum authz_action action;
	bool will;
} actions[] = {
	{ "connect", AUTHZ_CONNECT, false },
	{ "publish", AUTHZ_PUBLISH, false },
	{ "subscribe", AUTHZ_SUBSCRIBE, false },
	{ "receive", AUTHZ_RECEIVE, false },
	{ "unsubscribe", AUTHZ_UNSUBSCRIBE, false },
	{ "will", AUTHZ_PUBLISH, true },
};

bool
rights_action(const char *name, enum authz_action *ret, bool *ret_will)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (name == NULL || strcmp(name, actions[i].name) != 0)
			continue;
		*ret = actions[i].action;
		*ret_will = actions[i].will;
		return true;
	}
	return false;
}

/* What JSON cannot hold, as names may come from a certificate, is left out. */
static void
put_slice(json_t *o, const char *key, struct slice s)
{
	json_t *v = s.p != NULL ? json_stringn((const char *)s.p, s.n) : NULL;

	(void)json_object_set_new(o, key, v != NULL ? v : json_null());
}

static const char *
listener_name(const struct server *s, unsigned listener)
{
	return listener < s->n_listeners ? s->listeners[listener].config->name : "bridges";
}

void
rights_put_who(const struct server *s, json_t *o, unsigned listener, const struct authz_principal *who)
{
	struct authz_facts f;

	authz_principal_facts(who, &f);
	(void)json_object_set_new(o, "listener", json_string(listener_name(s, listener)));
	(void)json_object_set_new(o, "role", json_string(authz_role_name(f.role)));
	put_slice(o, "cn", f.has_cert ? f.cn : (struct slice){ 0 });
	put_slice(o, "user", f.username);
}

struct question {
	struct server *server;
	struct broker_request *request;
};

static void
on_finding(void *ctx, const struct broker_finding *f)
{
	struct question *q = ctx;
	json_t *o = json_object();

	(void)json_object_set_new(o, "found", json_boolean(f->found));
	if (f->found) {
		(void)json_object_set_new(o, "allowed", json_boolean(f->allowed));
		(void)json_object_set_new(o, "connected", json_boolean(f->connected));
		(void)json_object_set_new(o, "waiting", json_integer(f->waiting));
		put_slice(o, "topic", f->topic);
		(void)json_object_set_new(o, "text", json_string(f->text));
		rights_put_who(q->server, o, f->listener, f->who);
	}
	control_answer(q->request, o);
	free(q);
}

/* {"client_id": "x", "action": "publish", "topic": "a/b"} */
bool
control_explain(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	const char *id = json_string_value(json_object_get(in, "client_id"));
	const char *topic = json_string_value(json_object_get(in, "topic"));
	struct broker_ask ask = { .client_id = slice_str(id), .topic = slice_str(topic != NULL ? topic : ""), .answer = on_finding };
	struct question *q;

	if (id == NULL || !rights_action(json_string_value(json_object_get(in, "action")), &ask.action, &ask.will)) {
		*ret_out = json_pack("{s:s}", "error", "expected a client_id, an action and a topic");
		return false;
	}
	q = malloc(sizeof(*q));
	if (q == NULL)
		return false;
	*q = (struct question){ s, r };
	ask.ctx = q;
	if (broker_ask(s->broker, &ask))
		return true;
	free(q);
	return false;
}
