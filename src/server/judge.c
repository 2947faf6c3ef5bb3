/* The place where TLS asks who a certificate's owner is. */
#include "server/internal.h"

#include <stddef.h>

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
	(void)pthread_mutex_destroy(&j->lock);
}

void
judge_set(struct judge *j, struct pki_trust *trust)
{
	struct pki_trust *old;

	(void)pthread_mutex_lock(&j->lock);
	old = j->trust;
	j->trust = trust != NULL ? pki_trust_ref(trust) : NULL;
	(void)pthread_mutex_unlock(&j->lock);
	pki_trust_unref(old);
}

struct tls_hooks
judge_hooks(struct judge *j)
{
	return (struct tls_hooks){ .verify = verify, .peer_free = peer_free, .ctx = j };
}
