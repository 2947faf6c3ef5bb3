/* Who is here too often: connections of one identity, and clients that come and go again and again. Both are looked at when a
 * CONNECT was judged, so that nobody can use up the share of another. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/internal.h"

enum {
	FLAP_SETS = 256, FLAP_WAYS = 4,
	FLAP_WINDOW_MS = 60000,
	FLAP_FIRST_MS = 1000, /* held off for so long the first time, and twice as long each time after that */
};

static uint64_t
mix(uint64_t h, struct slice s)
{
	uint64_t both[2] = { h, map_hash(s) };

	return map_hash(slice_of(both, sizeof both));
}

/* As authz_same_identity() compares them. 0: nobody in particular. */
static uint64_t
identity_of(const struct authz_principal *who)
{
	struct authz_facts f;

	authz_principal_facts(who, &f);
	if (f.has_cert && f.cn.n > 0)
		return mix(mix(1, slice_of(f.issuer_key, 32)), f.cn);
	if (f.has_cert)
		return mix(2, slice_of(f.fingerprint, 32));
	return f.username.p != NULL ? mix(3, f.username) : 0;
}

/* ---- connections of one identity, on all shards ---- */

struct identity {
	uint64_t key;
	uint32_t n;
};

struct crowd {
	pthread_mutex_t lock; /* only for CONNECT and the end of a connection, and only with a limit */
	struct map map;
};

static struct slice
key_of(const void *identity)
{
	return slice_of(&((const struct identity *)identity)->key, sizeof(uint64_t));
}

struct crowd *
crowd_new(void)
{
	struct crowd *w = calloc(1, sizeof *w);

	if (w == NULL || pthread_mutex_init(&w->lock, NULL) != 0) {
		free(w);
		return NULL;
	}
	map_init(&w->map, key_of);
	return w;
}

void
crowd_free(struct crowd *w)
{
	if (w == NULL)
		return;
	(void)pthread_mutex_destroy(&w->lock);
	map_done(&w->map);
	free(w);
}

static struct identity *
find_or_make(struct crowd *w, uint64_t key)
{
	struct identity *i = map_get(&w->map, slice_of(&key, sizeof key));

	if (i != NULL || (i = calloc(1, sizeof *i)) == NULL)
		return i;
	i->key = key;
	if (map_put(&w->map, i))
		return i;
	free(i);
	return NULL;
}

uint8_t
crowd_enter(struct client *c, const struct authz_principal *who, bool must)
{
	uint32_t max = listener_of(c->shard, c->listener)->max_per_identity;
	uint64_t key = max > 0 ? identity_of(who) : 0;
	struct crowd *w = c->shard->broker->crowd;
	uint8_t rc = MQTT_RC_OK;
	struct identity *i;

	if (key == 0)
		return MQTT_RC_OK;
	(void)pthread_mutex_lock(&w->lock);
	i = find_or_make(w, key);
	if (i == NULL)
		rc = MQTT_RC_UNAVAILABLE;
	else if (i->n >= max && !must)
		rc = MQTT_RC_QUOTA;
	else
		i->n++;
	(void)pthread_mutex_unlock(&w->lock);
	c->identity = rc == MQTT_RC_OK ? key : 0;
	return rc;
}

void
crowd_leave(struct client *c)
{
	struct crowd *w = c->shard->broker->crowd;
	struct identity *i;

	if (c->identity == 0)
		return;
	(void)pthread_mutex_lock(&w->lock);
	i = map_get(&w->map, slice_of(&c->identity, sizeof c->identity));
	if (--i->n == 0) {
		(void)map_del(&w->map, key_of(i));
		free(i);
	}
	(void)pthread_mutex_unlock(&w->lock);
	c->identity = 0;
}

/* ---- clients that flap; each at the home of its client id ---- */

struct flap {
	uint64_t key;
	uint64_t full_ms; /* when its bucket of connections is full again */
	uint64_t held_until_ms;
	uint32_t hold_ms; /* the last time */
};

struct flaps {
	struct flap sets[FLAP_SETS][FLAP_WAYS];
};

struct flaps *
flaps_new(void)
{
	return calloc(1, sizeof(struct flaps));
}

static uint64_t
last_ms(const struct flap *f)
{
	return NUM_MAX(f->full_ms, f->held_until_ms + f->hold_ms);
}

static struct flap *
flap_find(struct flaps *all, uint64_t key)
{
	struct flap *set = all->sets[key % FLAP_SETS], *oldest = &set[0];

	for (unsigned i = 0; i < FLAP_WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (last_ms(&set[i]) < last_ms(oldest))
			oldest = &set[i];
	}
	*oldest = (struct flap){ .key = key };
	return oldest;
}

/* Those without a name are told apart by their address. An id that was made up says nothing. */
static uint64_t
flap_key(const struct client *c, const struct authz_principal *who, struct slice id)
{
	const char *colon = strrchr(c->peer, ':');
	uint64_t key = identity_of(who);

	if (key == 0)
		key = mix(4, slice_of(c->peer, colon != NULL ? (size_t)(colon - c->peer) : strlen(c->peer)));
	return mix(key, id);
}

static void
flap_hold(struct client *c, struct flap *f, const struct authz_principal *who, struct slice id)
{
	const struct broker_settings *set = settings_of(c->shard);
	struct broker_event e = { .kind = BROKER_FLAPPING, .client_id = id, .who = who };
	char text[BROKER_WHY_MAX];
	uint64_t now = c->shard->now_ms;
	/* Once it has stayed, or stayed away, for longer than it was held off it begins anew. */
	bool again = f->hold_ms > 0 && now < f->held_until_ms + 2 * (uint64_t)f->hold_ms + FLAP_WINDOW_MS;
	uint64_t ms = again ? (uint64_t)f->hold_ms * 2 : FLAP_FIRST_MS;

	f->hold_ms = (uint32_t)NUM_MIN(ms, (uint64_t)set->flap_hold_s * 1000);
	f->held_until_ms = now + f->hold_ms;
	(void)snprintf(text, sizeof text, "connects more than %u times a minute: held off for %u s", set->flap_connects,
	    f->hold_ms / 1000);
	e.text = text;
	client_report(c, &e);
}

bool
flap_may(struct client *c, const struct authz_principal *who, struct slice id)
{
	uint32_t max = settings_of(c->shard)->flap_connects;
	uint64_t now = c->shard->now_ms;
	struct flap *f;

	if (max == 0 || listener_of(c->shard, c->listener)->bridges)
		return true;
	f = flap_find(c->shard->flaps, flap_key(c, who, id));
	if (now < f->held_until_ms)
		return false;
	if (NUM_MAX(f->full_ms, now) + FLAP_WINDOW_MS / max > now + FLAP_WINDOW_MS) {
		flap_hold(c, f, who, id);
		return false;
	}
	f->full_ms = NUM_MAX(f->full_ms, now) + FLAP_WINDOW_MS / max;
	return true;
}
