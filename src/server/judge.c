/* The place where TLS asks who a certificate's owner is. */
#include "server/internal.h"

#include <stddef.h>

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
	return (struct tls_hooks){
		.verify = verify, .peer_free = peer_free, .psk = find_key, .ctx = j
	};
}
