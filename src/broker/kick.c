/* Clients who are disconnected by their names, on all shards. */
#include <stdlib.h>
#include "broker/internal.h"

struct name {
	uint32_t n;
	char text[];
};

/* What all shards read, and each one's own order. */
struct kick {
	_Atomic uint32_t refs;
	struct map names;
	uint64_t listeners;
	bool anonymous;
	uint8_t reason;
	const char *text;
	struct order orders[];
};

static struct slice
name_key(const void *value)
{
	const struct name *name = value;

	return slice_of(name->text, name->n);
}

static void
kick_free(struct kick *k)
{
	size_t pos = 0;
	void *name;

	while ((name = map_next(&k->names, &pos)) != NULL)
		free(name);
	map_done(&k->names);
	free(k);
}

static bool
add_name(struct kick *k, struct slice s)
{
	struct name *name;

	if (map_get(&k->names, s) != NULL)
		return true;
	if ((name = malloc(sizeof *name + s.n)) == NULL)
		return false;
	name->n = (uint32_t)s.n;
	if (s.n > 0)
		memcpy(name->text, s.p, s.n);
	if (map_put(&k->names, name))
		return true;
	free(name);
	return false;
}

static bool
is_meant(const struct kick *k, unsigned listener, const struct authz_principal *who)
{
	struct slice name;

	if (listener >= 64 || (k->listeners & UINT64_C(1) << listener) == 0)
		return false;
	name = authz_principal_username(who);
	return name.p == NULL ? k->anonymous : map_get(&k->names, name) != NULL;
}

/* One walk over the shard's connections, at the command of an administrator: no need for steps. Who connects just now is judged
 * by what holds now: ports.judge_again() and the policy see to that. */
static void
carry_out(struct shard *sh, struct order *o)
{
	struct kick *k = o->ctx;

	for (struct client *c = sh->clients, *next; c != NULL; c = next) {
		next = c->next;
		if (c->state == CLIENT_OPEN && is_meant(k, c->listener, c->who) && !request_end_after(c, k->reason, k->text))
			client_end(c, k->reason, k->text, true);
	}
	if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
		kick_free(k);
}

bool
broker_kick(struct broker *b, const struct broker_kick *what)
{
	struct kick *k = calloc(1, sizeof *k + b->n_shards * sizeof k->orders[0]);

	if (k == NULL)
		return false;
	map_init(&k->names, name_key);
	atomic_init(&k->refs, b->n_shards);
	k->listeners = what->listeners;
	k->anonymous = what->anonymous;
	k->reason = what->reason;
	k->text = what->text;
	for (size_t i = 0; i < what->n; i++) {
		if (!add_name(k, slice_str(what->names[i]))) {
			kick_free(k);
			return false;
		}
	}
	for (unsigned i = 0; i < b->n_shards; i++) {
		k->orders[i] = (struct order){ .carry_out = carry_out, .ctx = k };
		order_give(b->shards[i], &k->orders[i]);
	}
	return true;
}
