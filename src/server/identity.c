/* Who is it? The certificate or key if it counts, else what CONNECT says as far as the listener lets
 * it. */
#include "server/internal.h"

#include <stdio.h>

unsigned
listener_rules_of(const struct config *c, const struct config_listener *l)
{
	const struct config_security *s = l->security;
	unsigned rules = 0;

	/* Who may open the socket is decided by its owner and mode. */
	if (l->protocol == CONFIG_CONTROL)
		return RULE_ANONYMOUS | RULE_EMPTY_CLIENT_ID;
	if (l->protocol == CONFIG_CONSOLE)
		return RULE_CONSOLE | RULE_EMPTY_CLIENT_ID;
	if (l->allow_anonymous >= 0 ? l->allow_anonymous > 0 : s->allow_anonymous > 0)
		rules |= RULE_ANONYMOUS;
	if (s->password_file != NULL)
		rules |= l->auth_method == CONFIG_AUTH_PASSWORD ? RULE_PASSWORDS
			 : l->auth_method == CONFIG_AUTH_SCRAM  ? RULE_PASSWORDS | RULE_SCRAM | RULE_ONLY_SCRAM
								: RULE_PASSWORDS | RULE_SCRAM;
	if (l->dynsec != NULL)
		rules |= RULE_PASSWORDS;
	if (l->ocsp_check != CONFIG_OCSP_OFF)
		rules |= RULE_OCSP;
	if (l->use_identity_as_username && l->psk_hint != NULL)
		rules |= RULE_PSK_IS_IDENTITY;
	if (s->allow_zero_length_clientid)
		rules |= RULE_EMPTY_CLIENT_ID;
	if (l->require_registration)
		rules |= RULE_REGISTERED;
	if ((l->quarantine & CONFIG_QUARANTINE_UNREGISTERED) != 0)
		rules |= RULE_QUARANTINE_UNREGISTERED;
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

/* A name and no more: a proxy's word brings no role, which only the issuer's key can prove. */
struct authz_principal *
identity_of_proxied(const char *name)
{
	struct authz_facts facts = { .username = slice_str(name), .credential = CREDENTIAL_PROXIED };

	return authz_principal_new(&facts);
}

/* Roles are keys' business elsewhere; here it is control that has judged, and whoever is control could take any. */
struct authz_principal *
identity_of_console(const char *name)
{
	struct slice rest = slice_str(name), word;
	bool more;
	struct authz_facts facts = { .credential = CREDENTIAL_PROXIED };

	word = slice_cut(&rest, ' ', &more);
	facts.username = rest;
	facts.role = more && slice_eq(word, SL("all")) ? AUTHZ_ROLE_WATCH : AUTHZ_ROLE_NONE;
	return authz_principal_new(&facts);
}

struct authz_principal *
identity_of_psk(unsigned rules, const char *identity, uint64_t credential)
{
	/* The subject gives no rights: it remembers whose key it was where that is not the user name. */
	struct authz_facts facts = { .subject = slice_str(identity), .credential = credential };

	if ((rules & RULE_PSK_IS_IDENTITY) != 0)
		facts.username = facts.subject;
	return authz_principal_new(&facts);
}

static uint8_t
refuse(struct broker_login *login, uint8_t reason, const char *text)
{
	(void)snprintf(login->why, sizeof(login->why), "%s", text);
	return reason;
}

static uint8_t
as_they_are(struct broker_login *login)
{
	login->who = authz_principal_ref(login->cert);
	return MQTT_RC_OK;
}

/* has_cert and role stay as they are. */
struct authz_principal *
identity_as(const struct authz_principal *cert, struct slice username, uint64_t credential)
{
	struct authz_facts facts;

	authz_principal_facts(cert, &facts);
	facts.username = username;
	if (credential != 0)
		facts.credential = credential;
	return authz_principal_new(&facts);
}

uint8_t
identity_named(struct broker_login *login, struct slice username, uint64_t credential)
{
	login->who = identity_as(login->cert, username, credential);
	return login->who != NULL ? MQTT_RC_OK
				  : refuse(login, MQTT_RC_UNAVAILABLE, "out of memory");
}

bool
identity_is_known(unsigned rules, const struct authz_principal *cert)
{
	struct authz_facts facts;

	authz_principal_facts(cert, &facts);
	if (facts.has_cert)
		return (rules & RULE_CERT_IS_IDENTITY) != 0;
	return facts.username.p != NULL; /* of a pre-shared key */
}

uint8_t
identity_judge(unsigned rules, struct broker_login *login)
{
	const struct mqtt_connect *m = login->connect;
	bool named = m->has_username && m->username.n > 0;

	if (m->client_id.n == 0 && (rules & RULE_EMPTY_CLIENT_ID) == 0)
		return refuse(login, MQTT_RC_CLIENT_ID, WHY_NO_CLIENT_ID);
	/* Nobody who only looks takes a session that is a device's. */
	if ((rules & RULE_CONSOLE) != 0)
		return m->client_id.n == 0 ? as_they_are(login) : refuse(login, MQTT_RC_CLIENT_ID, WHY_CONSOLE_CLIENT_ID);
	/* User name and password of CONNECT are not looked at. */
	if (identity_is_known(rules, login->cert))
		return as_they_are(login);
	if (named && (rules & RULE_ONLY_SCRAM) != 0)
		return refuse(login, MQTT_RC_NOT_AUTHORIZED, WHY_ONLY_SCRAM);
	/* As in mosquitto: a name that is given must be in the file, even where nobody needs one; an empty one is none. */
	if (named && (rules & RULE_PASSWORDS) != 0)
		return BROKER_LOGIN_PENDING;
	if ((rules & RULE_ANONYMOUS) == 0)
		return refuse(login, MQTT_RC_NOT_AUTHORIZED,
		    m->has_username && (rules & RULE_PASSWORDS) == 0 ? WHY_PASSWORD
								     : WHY_ANONYMOUS);
	/* As mosquitto without password_file: a name that is given is taken. */
	if (named)
		return identity_named(login, m->username, 0);
	return as_they_are(login);
}
