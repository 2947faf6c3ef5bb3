/* Who is it? The certificate if it counts, else what CONNECT says as far as the listener lets
 * it. */
#include "server/internal.h"

#include <stdio.h>

unsigned
listener_rules_of(const struct config *c, const struct config_listener *l)
{
	const struct config_security *s = l->security;
	unsigned rules = 0;

	if (s->allow_anonymous > 0)
		rules |= RULE_ANONYMOUS;
	if (s->allow_zero_length_clientid)
		rules |= RULE_EMPTY_CLIENT_ID;
	/* Where roles come from certificates, identity does too. */
	if (l->use_identity_as_username || l->use_subject_as_username || c->n_role_cas > 0)
		rules |= RULE_CERT_IS_IDENTITY;
	/* use_identity_as_username wins when both are set, as in mosquitto. */
	if (l->use_subject_as_username && !l->use_identity_as_username)
		rules |= RULE_SUBJECT;
	return rules;
}

struct authz_principal *
identity_of_peer(unsigned rules, const struct pki_peer *peer, struct authz_principal *nobody)
{
	struct authz_facts facts;

	if (peer == NULL)
		return authz_principal_ref(nobody);
	pki_peer_facts(peer, (rules & RULE_SUBJECT) != 0, &facts);
	/* The name in a certificate is only a user name where the listener says so. */
	if ((rules & RULE_CERT_IS_IDENTITY) == 0)
		facts.username = (struct slice){ 0 };
	return authz_principal_new(&facts);
}

static uint8_t
refuse(uint8_t reason, const char *text, char *why, size_t cap)
{
	(void)snprintf(why, cap, "%s", text);
	return reason;
}

/* The same person under the name that CONNECT gives. */
static uint8_t
with_username(struct authz_principal *cert, struct slice username, struct authz_principal **ret_who,
    char *why, size_t cap)
{
	struct authz_facts facts;
	struct authz_principal *p;

	authz_principal_facts(cert, &facts);
	facts.username = username;
	p = authz_principal_new(&facts);
	if (p == NULL)
		return refuse(MQTT_RC_UNAVAILABLE, "out of memory", why, cap);
	*ret_who = p;
	return MQTT_RC_OK;
}

uint8_t
identity_judge(unsigned rules, struct authz_principal *cert, const struct mqtt_connect *m,
    struct authz_principal **ret_who, char *why, size_t cap)
{
	bool anonymous = (rules & RULE_ANONYMOUS) != 0,
	     by_cert = (rules & RULE_CERT_IS_IDENTITY) != 0;
	struct authz_facts facts;

	if (m->client_id.n == 0 && (rules & RULE_EMPTY_CLIENT_ID) == 0)
		return refuse(MQTT_RC_CLIENT_ID, WHY_NO_CLIENT_ID, why, cap);
	authz_principal_facts(cert, &facts);
	/* The certificate is the identity; user name and password of CONNECT are not looked at. */
	if (by_cert && facts.has_cert) {
		*ret_who = authz_principal_ref(cert);
		return MQTT_RC_OK;
	}
	if (!anonymous && m->has_username)
		return refuse(MQTT_RC_NOT_AUTHORIZED, WHY_PASSWORD, why, cap);
	if (!anonymous)
		return refuse(MQTT_RC_NOT_AUTHORIZED, WHY_ANONYMOUS, why, cap);
	/* As mosquitto without password_file: a name that is given is taken. It never makes a
	 * certificate's identity: has_cert and role stay as they are. */
	if (m->has_username && m->username.n > 0)
		return with_username(cert, m->username, ret_who, why, cap);
	*ret_who = authz_principal_ref(cert);
	return MQTT_RC_OK;
}
