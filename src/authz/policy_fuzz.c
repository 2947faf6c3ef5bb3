/* Fuzz: both policy grammars, and then the decision with a fuzzed client. The input is a policy, a
 * line "----", and lines with client id, common name or user name, and topic; seeds are in
 * tests/fuzz/policy/. */
#include <stdlib.h>
#include "authz/authz.h"
#include "topic/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
ignore(void *ctx, const char *text)
{
	*(size_t *)ctx += strlen(text);
}

static void
judge(const struct authz_policy *p, const struct authz_facts *facts, struct slice id,
    struct slice topic)
{
	static const enum authz_action actions[] = { AUTHZ_CONNECT, AUTHZ_PUBLISH, AUTHZ_SUBSCRIBE,
		AUTHZ_RECEIVE };
	struct authz_principal *who = authz_principal_new(facts);
	struct authz_verdict v, name;
	struct authz_reason reason;

	if (who == NULL)
		return;
	for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
		bool ok = authz_allowed(p, who, id, actions[i], topic, &v);

		authz_reason(p, who, id, actions[i], topic, &reason);
		if (reason.allowed != ok)
			abort();
		if (ok != v.allowed || ok != (v.why[0] == '\0') || (!ok && v.whole))
			abort();
		if (ok && facts->role == AUTHZ_ROLE_CLOUD)
			abort();
		/* A filter that is a name, found whole: the message with that name may be received.
		 * */
		if (ok && v.whole && actions[i] == AUTHZ_SUBSCRIBE && topic_name_ok(topic) &&
		    !authz_allowed(p, who, id, AUTHZ_RECEIVE, topic, &name))
			abort();
	}
	(void)authz_assigned_client_id(p, who);
	authz_principal_unref(who);
}

static void
judge_all(const struct authz_policy *p, struct slice rest)
{
	bool more;
	struct slice id = slice_cut(&rest, '\n', &more), name = slice_cut(&rest, '\n', &more);
	struct authz_facts facts = { .username = name };

	judge(p, &facts, id, rest);
	facts.has_cert = true;
	facts.cn = name;
	for (unsigned role = 0; role < AUTHZ_ROLE_COUNT; role++) {
		facts.role = (enum authz_role)role;
		judge(p, &facts, id, rest);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char mark[] = "\n----\n";
	const uint8_t *at = n > 0 ? memmem(data, n, mark, sizeof mark - 1) : NULL;
	struct slice text = slice_of(data, at != NULL ? (size_t)(at - data) + 1 : n);
	struct slice rest = at != NULL ? slice_from(slice_of(data, n), text.n + sizeof mark - 2)
				       : (struct slice){ 0 };
	struct authz_policy *p[2] = { authz_policy_parse(text, "f", NULL), NULL };
	struct err err = { 0 };
	size_t total = 0;

	p[1] = authz_policy_parse_acl(text, "f", &err);
	if ((p[1] == NULL) != (err.text[0] != '\0'))
		abort();
	for (size_t i = 0; i < 2; i++) {
		if (p[i] == NULL)
			continue;
		authz_policy_describe(p[i], ignore, &total);
		judge_all(p[i], rest);
		authz_policy_unref(p[i]);
	}
	return 0;
}
