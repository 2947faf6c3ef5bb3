/* Sessions by the certificate of their owner: by (key of the issuer, serial number), and by issuer. When a right is withdrawn, those
 * whom it concerns are found here, judged again and ended, a few in each turn. */
#include <stdlib.h>
#include "broker/internal.h"

enum { KEY_N = 32, BUCKETS_FIRST = 64, LOOKS_A_TURN = 1024, ENDS_A_TURN = 32 };

/* Sessions whose certificates have the same chain above them. Lists go by 1 + slot; 0 ends them. */
struct cert_group {
	uint32_t first, n, key_n;
	bool marked;   /* a review will look at it */
	uint8_t key[]; /* of the issuer, then the chain: authz_facts.chain */
};

/* What some thread wants looked at; shared by all shards. */
struct suspects {
	_Atomic uint32_t refs;
	size_t n; /* 0: everybody */
	struct broker_suspect v[];
};
struct review {
	struct inbox_node node;
	struct suspects *list;
	struct review *next;
	size_t at;
	bool started, all;
	bool begun; /* with v[at], or with the group that is being read */
};

static struct slice
group_key(const void *value)
{
	const struct cert_group *g = value;

	return slice_of(g->key, g->key_n);
}

void
certs_init(struct certs *x)
{
	map_init(&x->groups, group_key);
	x->last_review = &x->reviews;
}

static void
review_free(struct review *r)
{
	if (atomic_fetch_sub_explicit(&r->list->refs, 1, memory_order_acq_rel) == 1)
		free(r->list);
	free(r);
}

void
certs_done(struct shard *sh)
{
	struct certs *x = &sh->certs;
	struct inbox_node *node = inbox_take(&x->inbox);
	struct review *r;

	while (node != NULL) {
		r = (void *)((char *)node - offsetof(struct review, node));
		node = node->next;
		review_free(r);
	}
	while ((r = x->reviews) != NULL) {
		x->reviews = r->next;
		review_free(r);
	}
	map_done(&x->groups);
	free(x->buckets);
}

/* ---- the index ---- */

static struct session *
at_slot(const struct shard *sh, uint32_t i)
{
	return sh->slots[i - 1].session;
}

static uint64_t
hash_of(const uint8_t *key, struct slice serial)
{
	uint8_t b[KEY_N + AUTHZ_SERIAL_MAX];

	memcpy(b, key, KEY_N);
	if (serial.n > 0)
		memcpy(b + KEY_N, serial.p, serial.n);
	return map_hash(slice_of(b, KEY_N + serial.n));
}

static uint32_t *
bucket_of(const struct certs *x, const struct session *s)
{
	return &x->buckets[s->cert_hash & x->mask];
}

static void
bucket_link(struct shard *sh, struct session *s)
{
	uint32_t *head = bucket_of(&sh->certs, s);

	s->cert_prev = 0;
	s->cert_next = *head;
	if (*head != 0)
		at_slot(sh, *head)->cert_prev = s->slot + 1;
	*head = s->slot + 1;
}

/* Twice as many buckets; without memory the lists just get longer. */
static void
grow(struct shard *sh)
{
	struct certs *x = &sh->certs;
	uint32_t cap = x->buckets == NULL ? BUCKETS_FIRST : (x->mask + 1) * 2;
	uint32_t *v = calloc(cap, sizeof *v);

	if (v == NULL)
		return;
	free(x->buckets);
	x->buckets = v;
	x->mask = cap - 1;
	for (uint32_t i = 0; i < sh->n_slots; i++) {
		struct session *s = sh->slots[i].session;

		if (s != NULL && s->group != NULL)
			bucket_link(sh, s);
	}
}

static struct cert_group *
group_of(struct certs *x, const struct authz_facts *f)
{
	uint8_t key[KEY_N + AUTHZ_CHAIN_MAX];
	size_t n = KEY_N + f->chain.n;
	struct cert_group *g;

	memcpy(key, f->issuer_key, KEY_N);
	if (f->chain.n > 0)
		memcpy(key + KEY_N, f->chain.p, f->chain.n);
	g = map_get(&x->groups, slice_of(key, n));
	if (g != NULL || (g = calloc(1, sizeof *g + n)) == NULL)
		return g;
	g->key_n = (uint32_t)n;
	memcpy(g->key, key, n);
	if (!map_put(&x->groups, g)) {
		free(g);
		return NULL;
	}
	return g;
}

void
certs_add(struct session *s)
{
	struct shard *sh = s->shard;
	struct certs *x = &sh->certs;
	struct authz_facts f;

	authz_principal_facts(s->who, &f);
	if (f.issuer_key == NULL)
		return;
	/* A review may be under way whose cursor means a bucket: those do not move then. */
	if (x->cursor == 0 && (x->buckets == NULL || x->n > x->mask))
		grow(sh);
	if (x->buckets == NULL || (s->group = group_of(x, &f)) == NULL) {
		s->unindexed = true;
		x->unindexed++;
		return;
	}
	s->cert_hash = (uint32_t)hash_of(f.issuer_key, f.serial);
	bucket_link(sh, s);
	s->group_prev = 0;
	s->group_next = s->group->first;
	if (s->group_next != 0)
		at_slot(sh, s->group_next)->group_prev = s->slot + 1;
	s->group->first = s->slot + 1;
	s->group->n++;
	x->n++;
}

void
certs_del(struct session *s)
{
	struct shard *sh = s->shard;
	struct certs *x = &sh->certs;
	struct cert_group *g = s->group;

	x->unindexed -= s->unindexed;
	s->unindexed = false;
	if (g == NULL)
		return;
	if (x->cursor == s->slot + 1)
		x->cursor = x->by_group ? s->group_next : s->cert_next;
	*(s->cert_prev != 0 ? &at_slot(sh, s->cert_prev)->cert_next : bucket_of(x, s)) = s->cert_next;
	if (s->cert_next != 0)
		at_slot(sh, s->cert_next)->cert_prev = s->cert_prev;
	*(s->group_prev != 0 ? &at_slot(sh, s->group_prev)->group_next : &g->first) = s->group_next;
	if (s->group_next != 0)
		at_slot(sh, s->group_next)->group_prev = s->group_prev;
	s->group = NULL;
	x->n--;
	if (--g->n > 0)
		return;
	(void)map_del(&x->groups, group_key(g));
	free(g);
}

/* ---- reviews ---- */

bool
broker_judge_again(struct broker *b, const struct broker_suspect *v, size_t n)
{
	struct suspects *list = malloc(sizeof *list + n * sizeof *v);
	struct review **r = calloc(b->n_shards, sizeof *r);
	bool ok = list != NULL && r != NULL;

	for (unsigned i = 0; ok && i < b->n_shards; i++)
		ok = (r[i] = calloc(1, sizeof **r)) != NULL;
	if (ok) {
		list->n = n;
		atomic_init(&list->refs, b->n_shards);
		if (n > 0)
			memcpy(list->v, v, n * sizeof *v);
	}
	for (unsigned i = 0; r != NULL && i < b->n_shards; i++) {
		if (!ok) {
			free(r[i]);
			continue;
		}
		r[i]->list = list;
		if (inbox_push(&b->shards[i]->certs.inbox, &r[i]->node))
			b->ports.wake(b->ports.ctx, i);
	}
	if (!ok)
		free(list);
	free(r);
	return ok;
}

bool
session_withdraw(struct session *s, uint8_t reason, const char *why, bool purge)
{
	const struct broker_listener *l = listener_of(s->shard, s->listener);

	purge = purge || l->withdrawn_purge;
	if (s->client == NULL && !purge)
		return false;
	if (l->withdrawn_no_will) {
		will_free(s->will);
		s->will = NULL;
	}
	if (purge)
		s->expiry_s = 0;
	if (s->client != NULL)
		client_expel(s->client, reason, why);
	else
		session_end(s);
	return true;
}

/* The next turn goes on when this one has looked or ended enough. */
struct budget {
	unsigned looks, ends;
};

static void
look(struct session *s, struct budget *b)
{
	const struct broker_ports *ports = &s->shard->broker->ports;
	char why[BROKER_WHY_MAX] = "";
	uint8_t reason;

	b->looks--;
	if (s->who == NULL || ports->judge_again == NULL || s->homeless)
		return;
	reason = ports->judge_again(ports->ctx, s->listener, s->who, false, why);
	if (reason != MQTT_RC_OK && session_withdraw(s, reason, why, false))
		b->ends--;
}

static bool
is_left(const struct budget *b)
{
	return b->looks > 0 && b->ends > 0;
}

static bool
look_at_all(struct shard *sh, struct review *r, struct budget *b)
{
	for (; r->at < sh->n_slots && is_left(b); r->at++)
		if (sh->slots[r->at].session != NULL)
			look(sh->slots[r->at].session, b);
	return r->at >= sh->n_slots;
}

/* Is <v> the issuer of the group, or one of the CAs above it? */
static bool
concerns(const struct cert_group *g, const struct broker_suspect *v)
{
	struct slice chain = slice_of(g->key + KEY_N, g->key_n - KEY_N), serial = slice_of(v->serial, v->serial_n);
	struct authz_link link;

	if (v->serial_n == 0 && memcmp(g->key, v->issuer_key, KEY_N) == 0)
		return true;
	(void)authz_chain_anchored(&chain);
	while (authz_chain_next(&chain, &link))
		if (memcmp(link.key, v->issuer_key, KEY_N) == 0 && (v->serial_n == 0 || slice_eq(link.serial, serial)))
			return true;
	return false;
}

static void
mark_groups(struct certs *x, const struct broker_suspect *v)
{
	struct cert_group *g;
	size_t pos = 0;

	while ((g = map_next(&x->groups, &pos)) != NULL)
		g->marked = g->marked || concerns(g, v);
}

/* Those of one certificate, which stand in one bucket. */
static bool
look_at_cert(struct shard *sh, struct review *r, struct budget *b)
{
	const struct broker_suspect *v = &r->list->v[r->at];
	struct certs *x = &sh->certs;
	uint32_t hash = (uint32_t)hash_of(v->issuer_key, slice_of(v->serial, v->serial_n));

	if (!r->begun) {
		r->begun = true;
		mark_groups(x, v);
		x->by_group = false;
		x->cursor = x->buckets != NULL && v->serial_n > 0 ? x->buckets[hash & x->mask] : 0;
	}
	while (x->cursor != 0 && is_left(b)) {
		struct session *s = at_slot(sh, x->cursor);

		x->cursor = s->cert_next;
		if (s->cert_hash == hash)
			look(s, b);
	}
	if (x->cursor != 0)
		return false;
	r->begun = false;
	b->looks -= b->looks > 0;
	return true;
}

static struct cert_group *
next_marked(const struct certs *x)
{
	struct cert_group *g;
	size_t pos = 0;

	while ((g = map_next(&x->groups, &pos)) != NULL)
		if (g->marked)
			return g;
	return NULL;
}

static bool
look_at_groups(struct shard *sh, struct review *r, struct budget *b)
{
	struct certs *x = &sh->certs;
	struct cert_group *g;

	for (;;) {
		if (!r->begun) {
			if ((g = next_marked(x)) == NULL)
				return true;
			/* Who comes from now on is judged when he comes. */
			g->marked = false;
			r->begun = x->by_group = true;
			x->cursor = g->first;
		}
		while (x->cursor != 0 && is_left(b)) {
			struct session *s = at_slot(sh, x->cursor);

			x->cursor = s->group_next;
			look(s, b);
		}
		if (x->cursor != 0)
			return false;
		r->begun = false;
	}
}

static bool
review_step(struct shard *sh, struct review *r, struct budget *b)
{
	/* Who stands in no list may be any of those who are meant. */
	if (!r->started)
		r->all = r->list->n == 0 || sh->certs.unindexed > 0;
	r->started = true;
	if (r->all)
		return look_at_all(sh, r, b);
	for (; r->at < r->list->n; r->at++)
		if (!is_left(b) || !look_at_cert(sh, r, b))
			return false;
	return look_at_groups(sh, r, b);
}

static void
reviews_take(struct shard *sh)
{
	struct certs *x = &sh->certs;
	struct inbox_node *node = inbox_take(&x->inbox);

	while (node != NULL) {
		struct review *r = (void *)((char *)node - offsetof(struct review, node));

		node = node->next;
		*x->last_review = r;
		x->last_review = &r->next;
	}
}

bool
reviews_turn(struct shard *sh)
{
	struct certs *x = &sh->certs;
	struct budget b = { LOOKS_A_TURN, ENDS_A_TURN };
	struct review *r;

	reviews_take(sh);
	while ((r = x->reviews) != NULL && is_left(&b)) {
		if (!review_step(sh, r, &b))
			return true;
		x->reviews = r->next;
		if (x->reviews == NULL)
			x->last_review = &x->reviews;
		review_free(r);
	}
	return x->reviews != NULL;
}
