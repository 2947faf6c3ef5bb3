/* Topics below "$signet/" are the broker's own, whatever a policy says: who has a certificate asks there for its successor and says
 * how it is. In quarantine there is nothing else. */
#include "authz/internal.h"

#define RENEW SL("$signet/renew/")
#define HEALTH SL("$signet/health/")

/* BEGIN, then the common name, then END? */
static bool
is_own(struct slice topic, struct slice begin, const struct authz_principal *who, struct slice end)
{
	struct slice cn = slice_of(who->text + who->cn_at, who->cn_n), rest;

	if ((who->flags & PRINCIPAL_CERT) == 0 || (who->flags & PRINCIPAL_CN_PLAIN) == 0 || cn.n == 0 || !slice_starts(topic, begin))
		return false;
	rest = slice_from(topic, begin.n);
	return slice_starts(rest, cn) && slice_eq(slice_from(rest, cn.n), end);
}

bool
authz_is_reserved(struct slice topic)
{
	return topic.n > 0 && topic.p[0] == '$' && slice_starts(topic, SL("$signet/"));
}

bool
authz_reserved(const struct authz_principal *who, enum authz_action action, struct slice topic, struct authz_verdict *ret)
{
	bool ok = action == AUTHZ_UNSUBSCRIBE;

	if (action == AUTHZ_PUBLISH)
		ok = is_own(topic, RENEW, who, SL("/request")) || is_own(topic, HEALTH, who, SL(""));
	else if (action == AUTHZ_SUBSCRIBE || action == AUTHZ_RECEIVE)
		ok = is_own(topic, RENEW, who, SL("/reply")) ||
		     ((who->role == AUTHZ_ROLE_WATCH || who->role == AUTHZ_ROLE_CONTROL) && slice_starts(topic, HEALTH));
	return ok ? authz_allow(ret, true)
		  : authz_refuse(ret, "topics below $signet/ are the broker's own, and this one is not for this client");
}

/* TENANT:NAME, as a device has to call itself whose certificate holds the name alone? Out of the quarantine it will have no other client id. */
static bool
is_tenant_and(const struct authz_policy *p, struct slice cn, struct slice client_id)
{
	struct slice tenant, device;

	return authz_tenant_device(client_id, &tenant, &device) && slice_eq(device, cn) && slice_eq(tenant, slice_str(p->tenant));
}

/* The second form of the client id is for who has a session under the first: nobody is put out of it by an old certificate. */
bool
authz_quarantined(const struct authz_policy *p, const struct authz_principal *who, struct slice client_id, enum authz_action action, struct authz_verdict *ret)
{
	bool dojot = p->kind == AUTHZ_KIND_ROLES && p->id_rule[AUTHZ_ROLE_CLIENT] == AUTHZ_ID_TENANT_DEVICE;
	struct slice cn = slice_of(who->text + who->cn_at, who->cn_n), begin = SL("quarantine:");

	if (action == AUTHZ_UNSUBSCRIBE)
		return authz_allow(ret, true);
	if (action != AUTHZ_CONNECT)
		return authz_refuse(ret, "in quarantine only the client's own topics below $signet/ can be reached");
	if (cn.n > 0 && (slice_eq(client_id, cn) || (slice_starts(client_id, begin) && slice_eq(slice_from(client_id, begin.n), cn))))
		return authz_allow(ret, true);
	if (dojot && cn.n > 0 && is_tenant_and(p, cn, client_id))
		return authz_allow(ret, true);
	if (dojot && p->tenant[0] == '\0')
		return authz_refuse(ret, "in quarantine the client id must equal the certificate's common name; if that holds no tenant, a line `tenant NAME` of the policy says which");
	return authz_refuse(ret, "in quarantine the client id must equal the certificate's common name, or that behind \"quarantine:\"%s", dojot ? " or the policy's tenant" : "");
}
