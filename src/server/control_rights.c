/* Questions of an administrator about rights, which are answered where the sessions are: "explain", and "diff". */
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
	control_put_slice(o, "cn", f.has_cert ? f.cn : (struct slice){ 0 });
	control_put_slice(o, "user", f.username);
}

void
rights_put_reason(json_t *o, const struct authz_reason *r)
{
	(void)json_object_set_new(o, "part", json_boolean(r->part));
	(void)json_object_set_new(o, "why", json_string(r->why));
	control_put_text(o, "source", r->source);
	(void)json_object_set_new(o, "line", r->line > 0 ? json_integer(r->line) : json_null());
	control_put_text(o, "rule", r->rule);
	control_put_text(o, "remedy", r->remedy);
	control_put_text(o, "fix", r->fix);
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
		(void)json_object_set_new(o, "session", json_true());
		(void)json_object_set_new(o, "allowed", json_boolean(f->allowed));
		(void)json_object_set_new(o, "connected", json_boolean(f->connected));
		(void)json_object_set_new(o, "waiting", json_integer(f->waiting));
		control_put_slice(o, "topic", f->topic);
		(void)json_object_set_new(o, "text", json_string(f->text));
		if (f->reason != NULL)
			rights_put_reason(o, f->reason);
		rights_put_who(q->server, o, f->listener, f->who);
	}
	control_answer(q->request, o);
	free(q);
}

/* {"client_id": "x", "action": "publish", "topic": "a/b"}: of a session; with who it is of somebody who has none. */
bool
control_explain(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	const char *id = json_string_value(json_object_get(in, "client_id"));
	const char *topic = json_string_value(json_object_get(in, "topic"));
	struct broker_ask ask = { .client_id = slice_str(id), .topic = slice_str(topic != NULL ? topic : ""), .answer = on_finding };
	struct question *q;

	if (id == NULL || !rights_action(json_string_value(json_object_get(in, "action")), &ask.action, &ask.will)) {
		*ret_out = control_error("argument", "expected a client_id, an action and a topic");
		return false;
	}
	if (json_object_get(in, "role") != NULL || json_object_get(in, "user") != NULL)
		return control_aside(s->asides, r, in, control_stranger, ret_out);
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

/* ---- what another policy would change ---- */

enum { DIFF_DEFAULT = 20, DIFF_MS_MAX = 600000 };
/* An answer has 8 MiB. */
enum { RULES_MAX = 2000, RULES_BYTES_MAX = 256 * 1024, RULED_MAX = 12 };

static const char *
action_name(const struct broker_change *c)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (actions[i].action == c->action && actions[i].will == c->will)
			return actions[i].name;
	return "";
}

static json_t *
session_json(const struct server *s, const struct broker_changed *c)
{
	json_t *o = json_object(), *list = json_array();

	(void)json_object_set_new(o, "client_id", json_string(c->client_id));
	(void)json_object_set_new(o, "connected", json_boolean(c->connected));
	(void)json_object_set_new(o, "waiting", json_integer(c->waiting));
	rights_put_who(s, o, c->listener, c->who);
	(void)json_object_set_new(o, "lost", json_integer(c->lost));
	(void)json_object_set_new(o, "gained", json_integer(c->gained));
	for (unsigned i = 0; i < c->n; i++)
		(void)json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "change", c->v[i].lost ? "loses" : "gains", "action",
						      action_name(&c->v[i]), "topic", c->v[i].topic));
	(void)json_object_set_new(o, "changes", list);
	return o;
}

static void
on_result(void *ctx, const struct broker_survey_result *r)
{
	struct question *q = ctx;
	json_t *list = json_array();

	for (unsigned i = 0; i < r->n; i++)
		(void)json_array_append_new(list, session_json(q->server, r->v[i]));
	control_answer(q->request,
	    json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:o}", "sessions", (json_int_t)r->sessions, "subscriptions", (json_int_t)r->subscriptions, "changed",
		(json_int_t)r->changed, "losing", (json_int_t)r->losing, "gaining", (json_int_t)r->gaining, "coarse", (json_int_t)r->coarse, "incomplete", r->incomplete, "clients", list));
	free(q);
}

/* Where clients come. */
static uint64_t
listeners_of_clients(const struct server *s)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < s->n_listeners && i < 64; i++)
		if (!CONFIG_FOR_CONTROL(s->listeners[i].config) && s->listeners[i].config->protocol != CONFIG_METRICS)
			mask |= UINT64_C(1) << i;
	return mask;
}

/* Those that the file would rule: dynamic security and the control socket have policies of their own. */
static uint64_t
listeners_ruled(const struct server *s, const char *name)
{
	uint64_t mask = 0, all = listeners_of_clients(s);

	for (unsigned i = 0; i < s->n_listeners; i++) {
		const struct config_listener *l = s->listeners[i].config;

		if ((all & UINT64_C(1) << i) == 0 || l->dynsec != NULL)
			continue;
		if (name == NULL || strcmp(name, l->name) == 0)
			mask |= UINT64_C(1) << i;
	}
	return mask;
}

static bool
begin_survey(struct server *s, struct broker_request *r, struct broker_survey *survey)
{
	struct question *q = malloc(sizeof(*q));

	if (q == NULL)
		return false;
	*q = (struct question){ s, r };
	survey->done = on_result;
	survey->ctx = q;
	if (broker_survey(s->broker, survey))
		return true;
	free(q);
	return false;
}

/* Reading a policy takes as long as it is long. */
static void
diff(struct server *s, struct broker_request *r, const json_t *in)
{
	const json_t *count = json_object_get(in, "count"), *ms = json_object_get(in, "ms");
	struct slice text = slice_of(json_string_value(json_object_get(in, "text")), json_string_length(json_object_get(in, "text")));
	struct broker_survey survey = { .listeners = listeners_ruled(s, json_string_value(json_object_get(in, "listener"))), .most = DIFF_DEFAULT };
	struct err err = { 0 };
	bool begun;

	if (json_is_integer(count))
		survey.most = (unsigned)NUM_MAX(0, NUM_MIN(json_integer_value(count), (json_int_t)BROKER_CHANGED_MAX));
	if (json_is_integer(ms))
		survey.ms = (uint32_t)NUM_MAX(1, NUM_MIN(json_integer_value(ms), (json_int_t)DIFF_MS_MAX));
	if (json_is_true(json_object_get(in, "acl")))
		survey.policy = authz_policy_parse_acl(text, "NEW", &err);
	else
		survey.policy = authz_policy_parse(text, "NEW", &err);
	begun = survey.policy != NULL && begin_survey(s, r, &survey);
	if (!begun)
		control_answer(r, survey.policy == NULL ? control_error(err.code == ERR_MEMORY ? "memory" : "argument", err.text) : NULL);
	authz_policy_unref(survey.policy);
}

bool
control_diff(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	const char *text = json_string_value(json_object_get(in, "text"));

	if (text != NULL && listeners_ruled(s, json_string_value(json_object_get(in, "listener"))) != 0)
		return control_aside(s->asides, r, in, diff, ret_out);
	*ret_out = control_error("argument", text == NULL ? "expected a policy's text" : "no such listener is ruled by a policy or ACL file");
	return false;
}

/* ---- what is in force ---- */

struct authz_policy *
rights_policy(struct server *s, unsigned listener)
{
	struct authz_policy *p;

	(void)pthread_mutex_lock(&s->lock);
	p = authz_policy_ref(s->world->listeners[listener].policy);
	(void)pthread_mutex_unlock(&s->lock);
	return p;
}

struct rule_list {
	json_t *list;
	size_t bytes, more;
};

static void
add_rule(void *ctx, const struct authz_told *t)
{
	struct rule_list *l = ctx;
	json_t *o;

	l->bytes += strlen(t->text) + strlen(t->source);
	if (json_array_size(l->list) >= RULES_MAX || l->bytes > RULES_BYTES_MAX) {
		l->more++;
		return;
	}
	o = json_pack("{s:s}", "text", t->text);
	control_put_text(o, "source", t->source);
	(void)json_object_set_new(o, "line", t->line > 0 ? json_integer(t->line) : json_null());
	(void)json_array_append_new(l->list, o);
}

static json_t *
policy_json(const struct server *s, unsigned listener, const struct authz_policy *p)
{
	static const char *const kinds[] = { [AUTHZ_KIND_OPEN] = "open", [AUTHZ_KIND_ACL] = "acl", [AUTHZ_KIND_ROLES] = "policy", [AUTHZ_KIND_RANKED] = "dynamic" };
	const char *source = authz_policy_source(p);
	struct slice text = authz_policy_text(p);
	struct rule_list l = { .list = json_array() };
	json_t *o = json_object();

	authz_policy_tell(p, add_rule, &l);
	(void)json_object_set_new(o, "listener", json_string(s->listeners[listener].config->name));
	(void)json_object_set_new(o, "kind", json_string(kinds[authz_policy_kind(p)]));
	control_put_text(o, "source", source);
	(void)json_object_set_new(o, "ready_made", json_boolean(authz_policy_builtin(source).p != NULL));
	control_put_slice(o, "text", text);
	(void)json_object_set_new(o, "rules", l.list);
	(void)json_object_set_new(o, "more", json_integer((json_int_t)l.more));
	return o;
}

static void
rules(struct server *s, struct broker_request *r, const json_t *in)
{
	uint64_t all = listeners_of_clients(s);
	json_t *list = json_array();

	(void)in;
	for (unsigned i = 0; i < s->n_listeners && i < 64; i++) {
		struct authz_policy *p;

		if ((all & UINT64_C(1) << i) == 0 || json_array_size(list) == RULED_MAX)
			continue;
		p = rights_policy(s, i);
		(void)json_array_append_new(list, policy_json(s, i, p));
		authz_policy_unref(p);
	}
	control_answer(r, json_pack("{s:o}", "listeners", list));
}

bool
control_rules(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	return control_aside(s->asides, r, in, rules, ret_out);
}
