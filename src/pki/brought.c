/* CAs that clients sent with their chains, below those of the cafile: kept so that a revocation list which one of them signs counts
 * for who is connected as soon as it comes, and not only when somebody shows that chain again. */
#include "pki/trust.h"

#include <pthread.h>

struct entry {
	X509 *ca;
	uint8_t key[32];    /* SHA-256 of its SPKI */
	uint8_t branch[32]; /* the same of the CA that stood next to the trusted one in its chain */
	uint64_t used;
};

struct brought {
	atomic_uint refs;
	pthread_mutex_t lock; /* of the following */
	struct entry v[BROUGHT_MAX];
	unsigned n;
	uint64_t uses;
};

struct brought *
brought_new(void)
{
	struct brought *b = calloc(1, sizeof *b);

	if (b == NULL || pthread_mutex_init(&b->lock, NULL) != 0) {
		free(b);
		return NULL;
	}
	atomic_init(&b->refs, 1);
	return b;
}

struct brought *
brought_ref(struct brought *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void
brought_unref(struct brought *b)
{
	if (b == NULL || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < b->n; i++)
		X509_free(b->v[i].ca);
	(void)pthread_mutex_destroy(&b->lock);
	free(b);
}

/* With the lock held. */
static struct entry *
find(struct brought *b, const uint8_t key[32])
{
	for (unsigned i = 0; i < b->n; i++)
		if (memcmp(b->v[i].key, key, 32) == 0)
			return &b->v[i];
	return NULL;
}

/* Whose branch is the largest gives up the one that was longest unused: whoever has a CA can make as many below it as he likes, but
 * drives out none that others signed. With the lock held. */
static struct entry *
victim(struct brought *b)
{
	struct entry *worst = NULL;
	unsigned most = 0;

	for (unsigned i = 0; i < b->n; i++) {
		unsigned n = 0;

		for (unsigned k = 0; k < b->n; k++)
			n += memcmp(b->v[i].branch, b->v[k].branch, 32) == 0;
		if (worst == NULL || n > most || (n == most && b->v[i].used < worst->used))
			worst = &b->v[i];
		most = NUM_MAX(most, n);
	}
	return worst;
}

void
brought_add(struct brought *b, X509 *ca, const uint8_t key[32], const uint8_t branch[32])
{
	struct entry *e;

	(void)pthread_mutex_lock(&b->lock);
	e = find(b, key);
	if (e == NULL) {
		e = b->n < BROUGHT_MAX ? &b->v[b->n++] : victim(b);
		X509_free(e->ca);
		e->ca = pki_cert_ref(ca);
		memcpy(e->key, key, 32);
	}
	memcpy(e->branch, branch, 32);
	e->used = ++b->uses;
	(void)pthread_mutex_unlock(&b->lock);
}

X509 *
brought_find(struct brought *b, const uint8_t key[32])
{
	struct entry *e;
	X509 *x = NULL;

	(void)pthread_mutex_lock(&b->lock);
	e = find(b, key);
	if (e != NULL) {
		e->used = ++b->uses;
		x = pki_cert_ref(e->ca);
	}
	(void)pthread_mutex_unlock(&b->lock);
	return x;
}

STACK_OF(X509) *
brought_all(struct brought *b)
{
	STACK_OF(X509) *all = sk_X509_new_reserve(NULL, BROUGHT_MAX);

	(void)pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; all != NULL && i < b->n; i++)
		(void)sk_X509_push(all, pki_cert_ref(b->v[i].ca)); /* there is room */
	(void)pthread_mutex_unlock(&b->lock);
	return all;
}
