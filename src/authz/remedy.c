/* What would make a decision otherwise: the line to add, or the one to look at. */
#include "authz/internal.h"

#include <stdio.h>
#include "base/text.h"

/* A name as it may stand in a line, in quotes where it must. False: it can stand in none. */
static bool
name_ok(struct slice name, bool *ret_quotes)
{
	*ret_quotes = false;
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] < ' ' || name.p[i] == 0x7f || name.p[i] == '"')
			return false;
		*ret_quotes = *ret_quotes || name.p[i] == ' ';
	}
	return name.n > 0 && name.n <= 200 && utf8_ok(name) && name.p[0] != ' ' && name.p[name.n - 1] != ' ';
}

/* A topic as it may stand in a line; in policies % begins a variable. False: it cannot. */
static bool
topic_text(struct slice topic, bool doubled, char *out, size_t cap)
{
	size_t n = 0;

	if (topic.n == 0 || !utf8_ok(topic) || topic.p[0] == ' ' || topic.p[topic.n - 1] == ' ')
		return false;
	for (size_t i = 0; i < topic.n; i++) {
		uint8_t c = topic.p[i];

		if (c < ' ' || c == 0x7f || n + 3 > cap)
			return false;
		if (c == '%' && doubled)
			out[n++] = '%';
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

static struct slice
called(const struct authz_principal *who)
{
	struct authz_facts f;

	authz_principal_facts(who, &f);
	return f.has_cert ? f.cn : f.username;
}

/* "role client user dev1", "user ann", "anonymous". */
static void
who_text(const struct authz_principal *who, char *out, size_t cap)
{
	struct slice name = called(who);
	bool quotes, named = name_ok(name, &quotes);
	const char *q = named && quotes ? "\"" : "", *user = who->role != AUTHZ_ROLE_NONE ? " user " : "user ";
	char role[40] = "";

	if (who->role != AUTHZ_ROLE_NONE)
		(void)snprintf(role, sizeof(role), "role %s", authz_role_name((enum authz_role)who->role));
	if (named)
		(void)snprintf(out, cap, "%s%s%s%.*s%s", role, user, q, SL_ARG(name), q);
	else if ((who->flags & PRINCIPAL_CERT) != 0)
		(void)snprintf(out, cap, "%s", role[0] != '\0' ? role : "role none");
	else
		(void)snprintf(out, cap, "anonymous");
}

/* A line of a policy file that decides otherwise. */
static bool
policy_line(const struct authz_principal *who, const struct authz_question *q, bool allow, char *out)
{
	char whom[300], topic[AUTHZ_LINE_MAX];
	size_t cap = AUTHZ_REASON_RULE;
	int n;

	who_text(who, whom, sizeof(whom));
	if (q->action == AUTHZ_CONNECT) {
		n = allow ? snprintf(out, cap, "connect %s", whom) : 0;
	} else {
		if (!topic_text(q->topic, true, topic, sizeof(topic)))
			return false;
		n = snprintf(out, cap, "%s %s %s %s", allow ? "allow" : "deny", whom, q->action == AUTHZ_PUBLISH ? "publish" : "subscribe", topic);
	}
	return n > 0 && n <= AUTHZ_LINE_MAX;
}

/* Behind the end of an ACL file, which belongs to the last user in it. */
static bool
acl_lines(const struct authz_principal *who, const struct authz_question *q, bool allow, char *out)
{
	char topic[AUTHZ_LINE_MAX];
	struct slice name = called(who);
	bool quotes;
	int n;

	if (q->action == AUTHZ_CONNECT || !name_ok(name, &quotes) || !topic_text(q->topic, false, topic, sizeof(topic)))
		return false;
	n = snprintf(out, AUTHZ_REASON_RULE, "user %.*s\ntopic %s %s", SL_ARG(name), !allow ? "deny" : q->action == AUTHZ_PUBLISH ? "write" : "read", topic);
	return n > 0 && n < AUTHZ_REASON_RULE;
}

static void
say_file(const struct authz_policy *p, const struct authz_reason *r, char *out, size_t cap)
{
	bool ready = authz_policy_builtin(authz_policy_source(p)).p != NULL;

	if (ready)
		(void)snprintf(out, cap, "write a policy file with the lines `use %s` and then the line below, and name it with `policy FILE`", authz_policy_source(p));
	else
		(void)snprintf(out, cap, "add the %s below to %s", strchr(r->fix, '\n') != NULL ? "lines" : "line", p->source != NULL && p->source[0] != '\0' ? p->source : "the policy");
}

static void
remedy_of_rules(const struct authz_policy *p, const struct authz_principal *who, const struct authz_question *q, const struct authz_rule *r,
    struct authz_reason *ret)
{
	const struct authz_question connects = { q->client_id, AUTHZ_CONNECT, q->client_id };
	size_t cap = sizeof(ret->remedy);
	struct authz_verdict v;
	char file[400];
	bool fixed;

	if (!ret->allowed && r != NULL && r->deny) {
		(void)snprintf(ret->remedy, cap, "narrow or remove line %u of %s; no allow rule stands above a deny rule", ret->line, ret->source);
		return;
	}
	if (!ret->allowed && r == NULL && authz_id_decides(p, who, q)) {
		(void)snprintf(ret->remedy, cap, "connect with the client id that line %u of %s wants, or with another certificate or user name", ret->line, ret->source);
		return;
	}
	/* Who may not be here has no use for a right. */
	if (!ret->allowed && r == NULL && !authz_allowed(p, who, q->client_id, AUTHZ_CONNECT, q->client_id, &v))
		q = &connects;
	fixed = p->kind == AUTHZ_KIND_ACL ? acl_lines(who, q, !ret->allowed, ret->fix) : policy_line(who, q, !ret->allowed, ret->fix);
	if (!fixed) {
		ret->fix[0] = '\0';
		return;
	}
	say_file(p, ret, file, sizeof(file));
	if (ret->allowed)
		(void)snprintf(ret->remedy, cap, "to forbid it %s", file);
	else
		(void)snprintf(ret->remedy, cap, "to allow it %s%s", file, q->action == AUTHZ_SUBSCRIBE && r != NULL ? "; or subscribe to less" : "");
}

void
authz_remedy(const struct authz_policy *p, const struct authz_principal *who, const struct authz_question *q, const struct authz_rule *r,
    struct authz_reason *ret)
{
	const char *text = NULL;

	if (who->role == AUTHZ_ROLE_CLOUD)
		text = "use a certificate of another CA: those of the cloud role are for servers, whatever a policy says";
	else if (q->action == AUTHZ_UNSUBSCRIBE || (q->action != AUTHZ_CONNECT && authz_is_reserved(q->topic)))
		return;
	else if (who->role == AUTHZ_ROLE_QUARANTINE)
		text = "end the quarantine: renew the certificate, or approve the device";
	else if (p->kind == AUTHZ_KIND_OPEN)
		text = "give the listener a policy or an acl_file";
	else if (p->kind == AUTHZ_KIND_RANKED)
		text = "change the ACLs of a role that the client has, directly or by a group, with `mosquitto_ctrl dynsec`";
	if (text != NULL)
		(void)snprintf(ret->remedy, sizeof(ret->remedy), "%s", text);
	else
		remedy_of_rules(p, who, q, r, ret);
}
