/* Who may do what with messages, by the policies that are in force: asked of the broker. */
#include "api/broker.h"

#include <stdlib.h>
#include <string.h>

#include "authz/authz.h"
#include "base/num.h"
#include "base/text.h"
#include "topic/topic.h"

enum { PREVIEW_MS = 8000 };

/* ---- may somebody do something? ---- */

/* What is a tenant's own: what lies below /TENANT/, and what has the device's common name as a level, behind levels that are none of anybody's. */
static bool
is_own_topic(const struct call *c, struct slice topic, struct slice cn)
{
	struct slice rest, level, name;
	bool more = true;

	/* The name of a shared subscription is whoever's who writes it. */
	if (topic_share_split(topic, &name, &rest) == TOPIC_SHARE_YES)
		topic = rest;
	rest = topic;
	if (topic.n > 0 && topic.p[0] == '/') {
		rest = slice_from(topic, 1);
		level = slice_cut(&rest, '/', &more);
		return more && slice_eq(level, call_tenant(c));
	}
	while (more) {
		level = slice_cut(&rest, '/', &more);
		if (slice_eq(level, cn))
			return true;
		if (memchr(level.p, '+', level.n) != NULL || memchr(level.p, '#', level.n) != NULL)
			return false;
	}
	return false;
}

/* False: answered. */
static bool
may_ask(struct call *c, struct slice topic, struct slice cn)
{
	if (c->actor.first || is_own_topic(c, topic, cn))
		return true;
	call_problem(c, 403, "permission", "ask about a topic below /TENANT/, or one in which the common name of the device is a level",
	    "the topic is not one of tenant %s, as far as can be told", c->actor.tenant);
	return false;
}

static struct slice
base_name(const json_t *source)
{
	struct slice s = slice_str(json_string_value(source)), part;
	bool more = true;

	do
		part = slice_cut(&s, '/', &more);
	while (more);
	return part;
}

/* For people of a tenant: the rule, but not where this machine keeps it, nor how to change what is for all. */
static void
veil(json_t *v)
{
	json_t *source = json_object_get(v, "source");

	if (json_is_string(source))
		(void)json_object_set_new(v, "source", text_json(base_name(source)));
	(void)json_object_set_new(v, "fix", json_null());
	if (json_is_string(json_object_get(v, "remedy")))
		(void)json_object_set_new(v, "remedy", json_string("the policy is for all tenants: an administrator of the platform can change it"));
}

static json_t *
state_of(struct call *c)
{
	struct slice id = call_query(c, "device");
	struct registry_device d;
	json_t *v;

	if (id.p == NULL || !registry_device_get(c->api->registry, call_tenant(c), id, &d, NULL))
		return json_null();
	v = json_string(registry_device_state_name(d.state));
	free(d.mem);
	return v;
}

static void
on_explained(struct call *c, const json_t *answer)
{
	static const char *const names[] = { "allowed", "part", "connected", "session", "text", "why", "source", "line", "rule", "remedy", "fix", "listener",
		"role", "cn", "user", "topic" };
	json_t *v = json_pack("{s:o, s:o}", "action", text_json(call_query(c, "action")), "state", state_of(c));

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		json_t *one = json_object_get(answer, names[i]);

		(void)json_object_set_new(v, names[i], one != NULL ? json_incref(one) : i < 4 ? json_false() : json_null());
	}
	if (!c->actor.first)
		veil(v);
	call_json(c, 200, v);
}

static void
on_refused(struct call *c, const char *why)
{
	struct faults f = { 0 };

	fault_add(&f, "/topic", "%s", why);
	call_faults(c, 400, &f);
}

static void
put_query(const struct call *c, json_t *body, const char *name)
{
	struct slice s = call_query(c, name);

	if (s.p != NULL)
		(void)json_object_set_new(body, name, text_json(s));
}

/* By who it would be: takes <body>, which says that. */
static void
ask_stranger(struct call *c, struct slice otherwise, json_t *body)
{
	struct slice id = call_query(c, "client_id");

	(void)json_object_set_new(body, "client_id", text_json(id.p != NULL ? id : otherwise));
	put_query(c, body, "action");
	put_query(c, body, "topic");
	put_query(c, body, "listener");
	c->refused = on_refused;
	broker_consult(c, "explain", body, on_explained, 0);
}

/* The device of the query; false: answered. */
static bool
load(struct call *c, struct registry_device *ret)
{
	struct err err;

	if (registry_device_get(c->api->registry, call_tenant(c), call_query(c, "device"), ret, &err))
		return true;
	call_error(c, &err);
	return false;
}

static void
ask_without_session(struct call *c)
{
	struct registry_device d;

	if (!load(c, &d))
		return;
	ask_stranger(c, d.cn, json_pack("{s:s, s:o}", "role", "client", "cn", text_json(d.cn)));
	free(d.mem);
}

/* It may have ended meanwhile. */
static void
on_session_explained(struct call *c, const json_t *answer)
{
	if (json_is_true(json_object_get(answer, "found")))
		on_explained(c, answer);
	else
		ask_without_session(c);
}

static void
on_sessions(struct call *c, const json_t *answer)
{
	const json_t *best = broker_best_session(answer);
	json_t *body;

	if (best == NULL) {
		ask_without_session(c);
		return;
	}
	body = json_pack("{s:O}", "client_id", json_object_get(best, "client_id"));
	put_query(c, body, "action");
	put_query(c, body, "topic");
	broker_consult(c, "explain", body, on_session_explained, 0);
}

static void
explain_device(struct call *c)
{
	bool as_it_is = call_query(c, "listener").p == NULL && call_query(c, "client_id").p == NULL;
	struct registry_device d;

	if (!load(c, &d))
		return;
	if (!slice_eq(call_query(c, "action"), SL("connect")) && !may_ask(c, call_query(c, "topic"), d.cn)) {
		free(d.mem);
		return;
	}
	if (as_it_is)
		broker_inquire(c, "sessions", json_pack("{s:o, s:s, s:i}", "cn", text_json(d.cn), "role", "client", "limit", 100), on_sessions);
	free(d.mem);
	if (!as_it_is)
		ask_without_session(c);
}

static void
explain_words(struct call *c)
{
	struct slice cn = call_query(c, "cn"), user = call_query(c, "user"), role = call_query(c, "role");
	json_t *body = json_object();

	if (!c->actor.first) {
		json_decref(body);
		call_problem(c, 403, "permission", "ask about a device of yours, by its id", "certificates and user names are for all tenants");
		return;
	}
	if (cn.p != NULL || role.p != NULL) {
		(void)json_object_set_new(body, "role", role.p != NULL ? text_json(role) : json_string("client"));
		(void)json_object_set_new(body, "cn", text_json(cn.p != NULL ? cn : call_query(c, "client_id")));
	} else if (user.p == NULL) {
		(void)json_object_set_new(body, "role", json_string("none"));
	}
	put_query(c, body, "user");
	ask_stranger(c, cn.p != NULL ? cn : user.p != NULL ? user : SL("anonymous"), body);
}

/* False: answered. */
static bool
check_question(struct call *c)
{
	struct slice topic = call_query(c, "topic"), action = call_query(c, "action");
	struct slice name, inner;
	enum topic_share share = topic_share_split(topic, &name, &inner);
	struct faults f = { 0 };
	bool connect = slice_eq(action, SL("connect"));

	if (!connect && topic.p == NULL)
		fault_add(&f, "/topic", "is missing");
	else if (!connect && slice_eq(action, SL("subscribe")) && (share == TOPIC_SHARE_BAD || (share == TOPIC_SHARE_NO && !topic_filter_ok(topic))))
		fault_add(&f, "/topic", "is not a topic filter");
	else if (!connect && !slice_eq(action, SL("subscribe")) && !topic_name_ok(topic))
		fault_add(&f, "/topic", "is not a topic name");
	if (call_query(c, "device").p != NULL && (call_query(c, "cn").p != NULL || call_query(c, "user").p != NULL || call_query(c, "role").p != NULL))
		fault_add(&f, "/device", "says already who is meant");
	if (call_query(c, "role").p != NULL && call_query(c, "cn").p == NULL && call_query(c, "client_id").p == NULL && !slice_eq(call_query(c, "role"), SL("none")))
		fault_add(&f, "/cn", "is missing: the common name of the certificate");
	if (f.list == NULL && !f.failed)
		return true;
	call_faults(c, 400, &f);
	return false;
}

static void
explain(struct call *c)
{
	if (!check_question(c))
		return;
	if (call_query(c, "device").p != NULL)
		explain_device(c);
	else
		explain_words(c);
}

/* ---- what is in force, and what another policy would change ---- */

static void
on_rules(struct call *c, const json_t *answer)
{
	call_page_json(c, json_deep_copy(json_object_get(answer, "listeners")), &(struct registry_page){ 0 });
}

static void
list_rules(struct call *c)
{
	broker_consult(c, "rules", json_object(), on_rules, 0);
}

static void
on_preview(struct call *c, const json_t *answer)
{
	call_json(c, 200, json_deep_copy(answer));
}

/* Its words name place and line, "NEW:3: …". */
static void
on_bad_policy(struct call *c, const char *why)
{
	struct faults f = { 0 };

	fault_add(&f, strstr(why, "listener") != NULL && strncmp(why, "NEW:", 4) != 0 ? "/listener" : "/text", "%s", why);
	call_faults(c, 422, &f);
}

static void
preview(struct call *c)
{
	struct slice kind = call_text(c, "kind"), text = call_text(c, "text"), listener = call_text(c, "listener");
	bool acl = kind.p != NULL ? slice_eq(kind, SL("acl")) : authz_text_is_acl(text);
	json_t *body = json_pack("{s:o, s:b, s:I, s:i}", "text", text_json(text), "acl", acl, "count", (json_int_t)call_int(c, "count", 20), "ms", PREVIEW_MS);

	if (listener.p != NULL)
		(void)json_object_set_new(body, "listener", text_json(listener));
	c->refused = on_bad_policy;
	broker_consult(c, "diff", body, on_preview, PREVIEW_MS);
}

/* ---- tables ---- */

static const char *const actions[] = { "publish", "subscribe", "receive", "connect", NULL }, *const kinds[] = { "policy", "acl", NULL },
			 *const roles[] = { "client", "watch", "control", "cloud", "none", NULL };
static const struct field explain_query[] = {
	{ "action", FIELD_TEXT, FIELD_REQUIRED, .choices = actions },
	{ "topic", FIELD_TEXT, .min = 1, .max = 1024, .rule = &rule_plain, .help = "A topic name; of `subscribe` a filter; of `connect` none" },
	{ "device", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_device, .help = "The id of a device: judged by the session that it has, else as it would come" },
	{ "cn", FIELD_TEXT, .min = 1, .max = 160, .rule = &rule_plain, .help = "Or the common name of a certificate" },
	{ "role", FIELD_TEXT, .choices = roles, .help = "And its role (client)" },
	{ "user", FIELD_TEXT, .min = 1, .max = 256, .rule = &rule_plain, .help = "Or a user name, as if its password had been right; without any of these: somebody anonymous" },
	{ "client_id", FIELD_TEXT, .min = 1, .max = 512, .rule = &rule_plain, .help = "Another one than the common name or user name" },
	{ "listener", FIELD_TEXT, .min = 1, .max = 160, .rule = &rule_plain, .help = "Where; without it the one of the session, or the first that fits" },
	{ 0 },
};
static const struct field answer_rows[] = {
	{ "allowed", FIELD_BOOL, FIELD_REQUIRED },
	{ "part", FIELD_BOOL, FIELD_REQUIRED, .help = "The filter is granted, and each delivery judged for itself" },
	{ "text", FIELD_ANY, FIELD_REQUIRED, .help = "The decision in a sentence" },
	{ "why", FIELD_ANY, FIELD_REQUIRED, .help = "Why not; empty if allowed" },
	{ "source", FIELD_ANY, FIELD_REQUIRED, .help = "The file, or the ready-made policy, in which the rule stands that decides; null: no line decides" },
	{ "line", FIELD_INT, FIELD_REQUIRED | FIELD_NULL, 1, INT64_MAX },
	{ "rule", FIELD_ANY, FIELD_REQUIRED, .help = "The rule in words; null: there is none" },
	{ "remedy", FIELD_ANY, FIELD_REQUIRED, .help = "What would make it otherwise" },
	{ "fix", FIELD_ANY, FIELD_REQUIRED, .help = "The line for it, to stand behind the end of the file; null: none" },
	{ "session", FIELD_BOOL, FIELD_REQUIRED, .help = "Judged was a session as it is, not somebody who would come" },
	{ "connected", FIELD_BOOL, FIELD_REQUIRED },
	{ "state", FIELD_ANY, FIELD_REQUIRED, .help = "Of the device; one that is not enabled may not connect where registration is required" },
	{ "listener", FIELD_ANY, FIELD_REQUIRED }, { "role", FIELD_ANY, FIELD_REQUIRED }, { "cn", FIELD_ANY, FIELD_REQUIRED }, { "user", FIELD_ANY, FIELD_REQUIRED },
	{ "topic", FIELD_ANY, FIELD_REQUIRED, .help = "As the policy sees it, behind the mount point" },
	{ "action", FIELD_TEXT, FIELD_REQUIRED, .choices = actions },
	{ 0 },
};
static const struct field rule_rows[] = {
	{ "text", FIELD_ANY, FIELD_REQUIRED, .help = "In words" }, { "source", FIELD_ANY, FIELD_REQUIRED }, { "line", FIELD_INT, FIELD_REQUIRED | FIELD_NULL, 1, INT64_MAX },
	{ 0 },
};
static const struct field rule_row = { "rule", FIELD_OBJECT, .of = rule_rows };
static const char *const force_kinds[] = { "policy", "acl", "dynamic", "open", NULL };
static const struct field force_rows[] = {
	{ "listener", FIELD_ANY, FIELD_REQUIRED },
	{ "kind", FIELD_TEXT, FIELD_REQUIRED, .choices = force_kinds },
	{ "source", FIELD_ANY, FIELD_REQUIRED, .help = "File or name; null: none" },
	{ "ready_made", FIELD_BOOL, FIELD_REQUIRED },
	{ "text", FIELD_ANY, FIELD_REQUIRED, .help = "What was read, whatever stands in the file now; null above 256 KiB" },
	{ "rules", FIELD_LIST, FIELD_REQUIRED, 0, 2000, .of = &rule_row },
	{ "more", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "Rules beyond these" },
	{ 0 },
};
static const struct field preview_rows[] = {
	{ "text", FIELD_TEXT, FIELD_REQUIRED, 0, 200000, .help = "A policy or ACL file", .example = "\"use springcore\\ndeny everyone publish springcard/#\"" },
	{ "kind", FIELD_TEXT, .choices = kinds, .help = "Without it the first word tells" },
	{ "listener", FIELD_TEXT, 0, 1, 160, &rule_plain, .help = "For its clients alone" },
	{ "count", FIELD_INT, 0, 0, 1000, .help = "Clients that are named (20)" },
	{ 0 },
};
static const struct field change_rows[] = {
	{ "change", FIELD_ANY, FIELD_REQUIRED, .help = "`loses` or `gains`" }, { "action", FIELD_ANY, FIELD_REQUIRED }, { "topic", FIELD_ANY, FIELD_REQUIRED },
	{ 0 },
};
static const struct field change_row = { "change", FIELD_OBJECT, .of = change_rows };
static const struct field client_rows[] = {
	{ "client_id", FIELD_ANY, FIELD_REQUIRED }, { "connected", FIELD_BOOL, FIELD_REQUIRED }, { "waiting", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "listener", FIELD_ANY, FIELD_REQUIRED }, { "role", FIELD_ANY, FIELD_REQUIRED }, { "cn", FIELD_ANY, FIELD_REQUIRED }, { "user", FIELD_ANY, FIELD_REQUIRED },
	{ "lost", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX }, { "gained", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "changes", FIELD_LIST, FIELD_REQUIRED, 0, 16, .of = &change_row, .help = "The first" },
	{ 0 },
};
static const struct field client_row = { "client", FIELD_OBJECT, .of = client_rows };
static const struct field effect_rows[] = {
	{ "sessions", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "That were looked at, connected or kept" },
	{ "subscriptions", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "changed", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "losing", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "gaining", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "coarse", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "Sessions that so many rules are about that only CONNECT, the first subscriptions and the will were compared" },
	{ "incomplete", FIELD_BOOL, FIELD_REQUIRED, .help = "Not all were looked at: it took too long" },
	{ "clients", FIELD_LIST, FIELD_REQUIRED, 0, 1000, .of = &client_row },
	{ 0 },
};
static const struct schema answer_schema = { "PolicyAnswer", answer_rows }, force_schema = { "PolicyInForce", force_rows }, preview_schema = { "PolicyProposal", preview_rows },
			   effect_schema = { "PolicyEffect", effect_rows };

static const struct op ops[] = {
	{ "explainPolicy", "May somebody do that? The rule that decides, and what would change it", HTTP_GET, "/api/v1/policy/explain", 0, 200, explain, .query = explain_query,
	    .answer = &answer_schema },
	{ "listPolicyRules", "The policies in force, a listener each", HTTP_GET, "/api/v1/policy/rules", OP_PLATFORM | OP_ALL, 200, list_rules, .answer = &force_schema },
	{ "previewPolicy", "Who would gain or lose what by another policy; nothing is changed", HTTP_POST, "/api/v1/policy/preview", OP_PLATFORM | OP_QUIET, 200, preview,
	    .body = &preview_schema, .answer = &effect_schema, .example = "{\"text\":\"use springcore\\ndeny everyone publish springcard/#\\n\"}" },
};
const struct op_group group_policy = { "policy", "Who may do what with messages", ops, ARRAY_LEN(ops) };
