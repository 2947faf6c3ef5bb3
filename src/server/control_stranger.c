/* "explain" and "usage" about somebody who has no session: by the policy that is in force on the listener to which he would come. */
#include "server/control.h"

#include <stdlib.h>

#include "base/text.h"

enum { TOPIC_MAX = 4096, WORDS_MAX = 2048 };

static const char *
text_of(const json_t *in, const char *key)
{
	return json_string_value(json_object_get(in, key));
}

/* The one that is named, or the first that asks for certificates if he has one, or the first. -1: there is none. */
static int
find_listener(const struct server *s, const struct server_question *q)
{
	bool certificate = q->user == NULL || q->cn != NULL;
	int first = -1;

	for (unsigned i = 0; i < s->n_listeners; i++) {
		const struct config_listener *l = s->listeners[i].config;

		if (!explain_is_meant(l, NULL))
			continue;
		if (q->listener != NULL ? explain_is_meant(l, q->listener) : certificate == (l->cafile != NULL || l->capath != NULL))
			return (int)i;
		if (first == -1 && q->listener == NULL)
			first = (int)i;
	}
	return first;
}

/* NULL: <err>. */
static json_t *
judge(struct server *s, unsigned listener, const struct server_question *q, struct err *err)
{
	const struct config_listener *l = s->listeners[listener].config;
	char topic[TOPIC_MAX], text[WORDS_MAX];
	struct authz_principal *who;
	struct authz_policy *p;
	struct authz_reason r;
	enum authz_action action;
	bool will;
	json_t *o;

	if (!rights_action(q->action, &action, &will))
		return (void)err_set(err, ERR_USAGE, "there is no such action"), NULL;
	if (action == AUTHZ_CONNECT ? !text_copy(topic, sizeof(topic), slice_str(q->client_id)) : !explain_topic(l, action, q->topic, topic, sizeof(topic)))
		return (void)err_set(err, ERR_USAGE, "the topic is not a topic %s", action == AUTHZ_SUBSCRIBE || action == AUTHZ_UNSUBSCRIBE ? "filter" : "name"), NULL;
	if (!explain_who(atomic_load(&s->listeners[listener].rules), q, &who, err))
		return NULL;
	p = rights_policy(s, listener);
	authz_reason(p, who, slice_str(q->client_id), action, slice_str(topic), &r);
	authz_policy_unref(p);
	authz_reason_text(&r, text, sizeof(text));
	o = json_pack("{s:b,s:b,s:b,s:b,s:i,s:s}", "found", 1, "session", 0, "allowed", r.allowed, "connected", 0, "waiting", 0, "text", text);
	control_put_text(o, "topic", topic);
	rights_put_reason(o, &r);
	rights_put_who(s, o, listener, who);
	authz_principal_unref(who);
	return o;
}

void
control_stranger(struct server *s, struct broker_request *r, const json_t *in)
{
	struct server_question q = { .client_id = text_of(in, "client_id"), .action = text_of(in, "action"), .topic = text_of(in, "topic"),
		.listener = text_of(in, "listener"), .role = text_of(in, "role"), .cn = text_of(in, "cn"), .user = text_of(in, "user") };
	int listener = find_listener(s, &q);
	struct err err = { .code = ERR_MISSING, .text = "there is no such listener for clients" };
	json_t *out = NULL;

	if (q.topic == NULL)
		q.topic = "";
	if (listener != -1)
		out = judge(s, (unsigned)listener, &q, &err);
	control_answer(r, out != NULL ? out : control_error(err.code == ERR_MEMORY ? "memory" : "argument", err.text));
}

/* ---- what he could do ---- */

/* NULL: <err>. */
static json_t *
usage_json(struct server *s, unsigned listener, const struct server_question *q, struct err *err)
{
	const struct config_listener *l = s->listeners[listener].config;
	struct authz_principal *who;
	struct authz_policy *p;
	struct authz_usage u;
	json_t *o;

	if (!explain_who(atomic_load(&s->listeners[listener].rules), q, &who, err))
		return NULL;
	p = rights_policy(s, listener);
	(void)authz_usage(p, who, slice_str(l->mount_point), &u);
	authz_policy_unref(p);
	authz_principal_unref(who);
	o = json_pack("{s:s,s:i}", "listener", l->name, "port", (int)l->port);
	control_put_text(o, "client_id", u.client_id);
	control_put_text(o, "publish", u.publish);
	control_put_text(o, "subscribe", u.subscribe);
	return o;
}

static void
answer_usage(struct server *s, struct broker_request *r, const json_t *in)
{
	const struct server_question q = { .role = text_of(in, "role") != NULL ? text_of(in, "role") : "client", .cn = text_of(in, "cn"), .client_id = text_of(in, "cn") };
	struct err err = { .code = ERR_MISSING, .text = "no listener asks for certificates" };
	json_t *out = NULL;
	unsigned i = 0;

	while (i < s->n_listeners && !explain_for_certificates(s->listeners[i].config))
		i++;
	if (i < s->n_listeners)
		out = usage_json(s, i, &q, &err);
	control_answer(r, out != NULL ? out : control_error(err.code == ERR_MEMORY ? "memory" : err.code == ERR_MISSING ? "missing" : "argument", err.text));
}

bool
control_usage(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	if (text_of(in, "cn") != NULL)
		return control_aside(s->asides, r, in, answer_usage, ret_out);
	*ret_out = control_error("argument", "expected a cn");
	return false;
}
