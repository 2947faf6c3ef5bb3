/* The place where TLS asks who a certificate's owner is. */
#include "server/internal.h"

#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "base/secret.h"

static bool
verify(void *ctx, struct x509_store_ctx_st *store, void **ret_peer)
{
	struct judge *j = ctx;
	struct pki_trust *t;
	struct pki_peer *peer = NULL;
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	t = j->trust != NULL ? pki_trust_ref(j->trust) : NULL;
	(void)pthread_mutex_unlock(&j->lock);
	/* A reload took the CAs away while this handshake was under way: nobody is trusted any more. */
	if (t == NULL)
		return false;
	ok = pki_judge(t, store, &peer);
	pki_trust_unref(t);
	*ret_peer = peer;
	return ok && peer != NULL;
}

static bool
find_key(void *ctx, struct slice identity, uint8_t *key, size_t cap, size_t *ret_n)
{
	struct judge *j = ctx;
	uint8_t found[PSK_KEY_MAX];
	struct psk_file *f;
	bool known = false;

	(void)pthread_mutex_lock(&j->lock);
	f = j->psk != NULL ? psk_ref(j->psk) : NULL;
	(void)pthread_mutex_unlock(&j->lock);
	*ret_n = 0;
	if (f == NULL)
		return false;
	known = psk_find(f, identity, found, ret_n);
	psk_unref(f);
	*ret_n = *ret_n <= cap ? *ret_n : 0;
	memcpy(key, found, *ret_n);
	secret_wipe(found, sizeof(found));
	return known;
}

static size_t
vouch(void *ctx, void *peer, uint8_t *out)
{
	(void)ctx;
	return pki_peer_vouch(peer, out);
}

_Static_assert((int)PKI_VOUCHER_MAX <= (int)TLS_VOUCHER_MAX, "what pki says of a peer fits into a ticket");

/* A refusal is no end: verify() is asked next, and says exactly why. */
static bool
resume(void *ctx, struct x509_st *leaf, struct slice voucher, void **ret_peer)
{
	struct pki_returned who = { .leaf = leaf, .voucher = voucher };
	struct pki_standing why = { .text = "no certificate is trusted here any more" };
	struct pki_trust *t = judge_trust(ctx);
	struct pki_peer *peer = NULL;
	bool ok = t != NULL && pki_judge_resumed(t, &who, &peer, &why);

	pki_trust_unref(t);
	if (!ok)
		log_debug("A session ticket is not taken: %s; a full handshake follows.", why.text);
	*ret_peer = peer;
	return ok;
}

static void
peer_free(void *peer)
{
	pki_peer_free(peer);
}

bool
judge_init(struct judge *j)
{
	*j = (struct judge){ 0 };
	return pthread_mutex_init(&j->lock, NULL) == 0;
}

void
judge_done(struct judge *j)
{
	pki_trust_unref(j->trust);
	passwd_unref(j->passwords);
	psk_unref(j->psk);
	(void)pthread_mutex_destroy(&j->lock);
}

void
judge_set(struct judge *j, const struct world_listener *l)
{
	struct pki_trust *trust;
	struct passwd_file *passwords;
	struct psk_file *psk;

	(void)pthread_mutex_lock(&j->lock);
	trust = j->trust;
	passwords = j->passwords;
	psk = j->psk;
	j->trust = l->trust != NULL ? pki_trust_ref(l->trust) : NULL;
	j->passwords = l->passwords != NULL ? passwd_ref(l->passwords) : NULL;
	j->psk = l->psk != NULL ? psk_ref(l->psk) : NULL;
	(void)pthread_mutex_unlock(&j->lock);
	pki_trust_unref(trust);
	passwd_unref(passwords);
	psk_unref(psk);
}

struct pki_trust *
judge_trust(struct judge *j)
{
	struct pki_trust *t;

	(void)pthread_mutex_lock(&j->lock);
	t = j->trust != NULL ? pki_trust_ref(j->trust) : NULL;
	(void)pthread_mutex_unlock(&j->lock);
	return t;
}

void
judge_set_trust(struct judge *j, struct pki_trust *t)
{
	struct pki_trust *old;

	(void)pthread_mutex_lock(&j->lock);
	old = j->trust;
	j->trust = pki_trust_ref(t);
	(void)pthread_mutex_unlock(&j->lock);
	pki_trust_unref(old);
}

uint64_t
judge_psk_tag(struct judge *j, const char *identity)
{
	uint64_t tag;

	(void)pthread_mutex_lock(&j->lock);
	tag = j->psk != NULL ? psk_tag(j->psk, slice_str(identity)) : 0;
	(void)pthread_mutex_unlock(&j->lock);
	return tag;
}

/* ---- again ---- */

static uint8_t
withdrawn(uint8_t reason, char why[static BROKER_WHY_MAX], const char *text)
{
	(void)snprintf(why, BROKER_WHY_MAX, WHY_WITHDRAWN "%s", text);
	return reason;
}

/* The certificate got him through the handshake, whatever else says who he is. */
static uint8_t
certificate_again(struct judge *j, const struct authz_facts *f, bool fresh, char why[static BROKER_WHY_MAX])
{
	struct pki_trust *t = judge_trust(j);
	struct pki_standing standing;
	bool ok;

	if (t == NULL)
		return withdrawn(MQTT_RC_NOT_AUTHORIZED, why, "the listener does not look at certificates any more");
	ok = pki_judge_again(t, f, (int64_t)time(NULL), fresh, &standing);
	pki_trust_unref(t);
	if (ok)
		return MQTT_RC_OK;
	return withdrawn(standing.cause == PKI_BAD_ROLE_CHANGED ? MQTT_RC_ADMINISTRATIVE : MQTT_RC_NOT_AUTHORIZED, why,
	    standing.text);
}

/* Do the files still say what they said at the login? */
static bool
credential_stands(struct judge *j, const struct authz_facts *f)
{
	bool ok = false;

	if (j->dynamic != NULL && f->username.p != NULL && dynamic_tag(j->dynamic, f->username) == f->credential)
		return true;
	(void)pthread_mutex_lock(&j->lock);
	if (j->passwords != NULL && f->username.p != NULL)
		ok = passwd_tag(j->passwords, f->username) == f->credential;
	if (!ok && j->psk != NULL && !f->has_cert)
		ok = psk_tag(j->psk, f->subject) == f->credential;
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

static bool
user_is_known(struct judge *j, struct slice user)
{
	bool ok;

	if (j->dynamic != NULL)
		return dynamic_tag(j->dynamic, user) != 0;
	(void)pthread_mutex_lock(&j->lock);
	ok = j->passwords != NULL && passwd_tag(j->passwords, user) != 0;
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

/* Under which he is registered. */
static struct slice
name_of(struct judge *j, const struct authz_facts *f, char out[static REGISTRATION_NAME_CAP])
{
	struct pki_trust *t = f->issuer_key != NULL ? judge_trust(j) : NULL;
	bool factory = t != NULL && pki_trust_is_factory(t, f->issuer_key);

	pki_trust_unref(t);
	return factory ? registration_name(f, out) : f->cn;
}

bool
judge_wants_quarantine(struct judge *j, unsigned rules, const struct authz_principal *who)
{
	char name[REGISTRATION_NAME_CAP];
	struct authz_facts f;

	if ((rules & RULE_REGISTERED) == 0)
		return false;
	authz_principal_facts(who, &f);
	return registration_wants_quarantine(j->registrations, rules, who, name_of(j, &f, name));
}

uint8_t
judge_registration(struct judge *j, unsigned rules, const struct authz_principal *who, bool fresh, char why[static BROKER_WHY_MAX],
    bool *ret_purge)
{
	struct authz_facts f;
	struct registration_question q = { .rules = rules, .who = &f, .fresh = fresh };
	char name[REGISTRATION_NAME_CAP];
	struct pki_trust *t;

	authz_principal_facts(who, &f);
	if ((rules & RULE_REGISTERED) != 0)
		q.name = name_of(j, &f, name);
	q.role = f.credential == CREDENTIAL_UNREGISTERED ? AUTHZ_ROLE_CLIENT : f.role;
	/* What his CA gave him before his certificate was out of its time. */
	if (q.role == AUTHZ_ROLE_QUARANTINE && (rules & RULE_REGISTERED) != 0 && f.issuer_key != NULL && (t = judge_trust(j)) != NULL) {
		q.role = pki_trust_role(t, f.issuer_key);
		pki_trust_unref(t);
	}
	return registration_judge(j->registrations, &q, why, ret_purge);
}

uint8_t
judge_again(struct judge *j, unsigned rules, const struct authz_principal *who, bool fresh, char why[static BROKER_WHY_MAX])
{
	struct authz_facts f;
	uint8_t rc;
	bool purge;

	authz_principal_facts(who, &f);
	if (f.credential == CREDENTIAL_UNREGISTERED) {
		f.role = AUTHZ_ROLE_CLIENT;
		f.credential = 0;
	}
	if (f.has_cert && (rc = certificate_again(j, &f, fresh, why)) != MQTT_RC_OK)
		return rc;
	if (f.has_cert && (rc = judge_registration(j, rules, who, fresh, why, &purge)) != MQTT_RC_OK)
		return rc;
	if (f.credential != 0 && f.credential != CREDENTIAL_PROXIED && !credential_stands(j, &f))
		return withdrawn(MQTT_RC_ADMINISTRATIVE, why, "the password or key has been changed or removed");
	/* Who just comes was judged by the rules a moment ago. */
	if (fresh || f.credential != 0 || (f.has_cert && (rules & RULE_CERT_IS_IDENTITY) != 0))
		return MQTT_RC_OK;
	if (f.username.n > 0 && (rules & RULE_PASSWORDS) != 0)
		return user_is_known(j, f.username) ? MQTT_RC_OK
						    : withdrawn(MQTT_RC_ADMINISTRATIVE, why, "password_file has no such user");
	return (rules & RULE_ANONYMOUS) != 0 ? MQTT_RC_OK
					     : withdrawn(MQTT_RC_ADMINISTRATIVE, why, "allow_anonymous is false now");
}

struct passwd_file *
judge_passwords(struct judge *j)
{
	struct passwd_file *f;

	(void)pthread_mutex_lock(&j->lock);
	f = j->passwords != NULL ? passwd_ref(j->passwords) : NULL;
	(void)pthread_mutex_unlock(&j->lock);
	return f;
}

struct tls_hooks
judge_hooks(struct judge *j)
{
	return (struct tls_hooks){ .verify = verify, .peer_free = peer_free, .psk = find_key, .vouch = vouch, .resume = resume, .ctx = j };
}
