/* Certificates that have a successor: the old one is good until the new one has connected, and not afterwards. What is known of
 * them outlives the process with the store (broker_note()). */
#include "server/succeed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/map.h"
#include "base/rd.h"
#include "base/text.h"
#include "base/wr.h"
#include "server/refuse.h"

enum { SUCCESSIONS_MAX = 65536, NOTE_VERSION = 1, NOTE_BYTES = 2048 };
#define NOTE_PREFIX "succession/"

struct succession {
	struct succeeded told; /* .since 0: the new one has not been here yet */
	char successor[65];    /* SHA-256 of the certificate in hex, as that of the old one */
};

struct successions {
	pthread_mutex_t lock;
	struct map by_old, by_new;
	atomic_size_t n; /* mostly none: then nobody takes the lock */
};

static struct slice
old_key(const void *value)
{
	return slice_str(((const struct succession *)value)->told.fingerprint);
}

static struct slice
new_key(const void *value)
{
	return slice_str(((const struct succession *)value)->successor);
}

struct successions *
successions_new(void)
{
	struct successions *x = calloc(1, sizeof(*x));

	if (x != NULL && pthread_mutex_init(&x->lock, NULL) != 0) {
		free(x);
		return NULL;
	}
	if (x == NULL)
		return NULL;
	map_init(&x->by_old, old_key);
	map_init(&x->by_new, new_key);
	return x;
}

void
successions_free(struct successions *x)
{
	size_t pos = 0;
	void *e;

	if (x == NULL)
		return;
	while ((e = map_next(&x->by_old, &pos)) != NULL)
		free(e);
	map_done(&x->by_old);
	map_done(&x->by_new);
	(void)pthread_mutex_destroy(&x->lock);
	free(x);
}

/* ---- under the lock ---- */

static void
drop(struct successions *x, struct succession *e)
{
	(void)map_del(&x->by_old, old_key(e));
	(void)map_del(&x->by_new, new_key(e));
	free(e);
	atomic_fetch_sub(&x->n, 1);
}

/* Of what has ended by itself nobody needs to know more. */
static void
drop_ended(struct successions *x, struct broker *b, int64_t now)
{
	struct succession *e;
	size_t pos = 0;
	char name[96];

	while ((e = map_next(&x->by_old, &pos)) != NULL) {
		if (e->told.not_after == 0 || e->told.not_after > now)
			continue;
		(void)snprintf(name, sizeof(name), NOTE_PREFIX "%s", e->told.fingerprint);
		if (b != NULL)
			(void)broker_note(b, slice_str(name), SL(""));
		drop(x, e);
	}
}

/* <e> is taken over; it takes the place of another of the same old or new certificate. False: out of memory. */
static bool
add(struct successions *x, struct succession *e)
{
	struct succession *was;

	if ((was = map_get(&x->by_old, old_key(e))) != NULL)
		drop(x, was);
	if ((was = map_get(&x->by_new, new_key(e))) != NULL)
		drop(x, was);
	if (!map_put(&x->by_old, e)) {
		free(e);
		return false;
	}
	if (!map_put(&x->by_new, e)) {
		(void)map_del(&x->by_old, old_key(e));
		free(e);
		return false;
	}
	atomic_fetch_add(&x->n, 1);
	return true;
}

static bool
keep(struct broker *b, const struct succession *e)
{
	uint8_t buf[NOTE_BYTES];
	struct wr w = wr_of(buf, sizeof(buf));
	char name[96];

	wr_u8(&w, NOTE_VERSION);
	wr_str(&w, slice_str(e->successor));
	for (unsigned i = 0; i < 2; i++) {
		uint64_t t = (uint64_t)(i == 0 ? e->told.not_after : e->told.since);

		wr_u32(&w, (uint32_t)(t >> 32));
		wr_u32(&w, (uint32_t)t);
	}
	wr_u8(&w, e->told.settled);
	wr_str(&w, slice_str(e->told.serial));
	wr_str(&w, slice_str(e->told.name));
	(void)snprintf(name, sizeof(name), NOTE_PREFIX "%s", e->told.fingerprint);
	return wr_ok(&w) && broker_note(b, slice_str(name), wr_slice(&w));
}

/* ---- from the store ---- */

static int64_t
get_time(struct rd *r)
{
	uint64_t high = rd_u32(r);

	return (int64_t)(high << 32 | rd_u32(r));
}

void
successions_note(struct successions *x, struct slice name, struct slice value)
{
	struct succession *e = slice_starts(name, SL(NOTE_PREFIX)) ? calloc(1, sizeof(*e)) : NULL;
	struct rd r = rd_of(value);
	unsigned version = rd_u8(&r);
	bool ok;

	if (e == NULL)
		return;
	ok = text_copy(e->told.fingerprint, sizeof(e->told.fingerprint), slice_from(name, sizeof(NOTE_PREFIX) - 1)) &&
	     text_copy(e->successor, sizeof(e->successor), rd_str(&r));
	e->told.not_after = get_time(&r);
	e->told.since = get_time(&r);
	e->told.settled = rd_u8(&r) != 0;
	ok = ok && text_copy(e->told.serial, sizeof(e->told.serial), rd_str(&r)) && text_copy(e->told.name, sizeof(e->told.name), rd_str(&r));
	if (ok && rd_ok(&r) && version == NOTE_VERSION)
		(void)add(x, e);
	else
		free(e);
}

/* ---- what happens ---- */

bool
succession_begin(struct server *s, const struct renewal *r, const char *certificate)
{
	struct successions *x = s->successions;
	struct succession *e = calloc(1, sizeof(*e));
	uint8_t successor[32];
	bool ok = false;

	if (e == NULL)
		return false;
	if (!pki_fingerprint(slice_str(certificate), successor)) {
		free(e);
		return false;
	}
	(void)text_hex(slice_of(successor, sizeof(successor)), e->successor, sizeof(e->successor));
	e->told.not_after = r->not_after;
	(void)text_copy(e->told.name, sizeof(e->told.name), slice_str(r->name));
	(void)text_copy(e->told.serial, sizeof(e->told.serial), slice_str(r->serial));
	(void)text_copy(e->told.fingerprint, sizeof(e->told.fingerprint), slice_str(r->fingerprint));
	(void)pthread_mutex_lock(&x->lock);
	if (atomic_load(&x->n) >= SUCCESSIONS_MAX)
		drop_ended(x, s->broker, (int64_t)time(NULL));
	if (atomic_load(&x->n) < SUCCESSIONS_MAX && keep(s->broker, e))
		ok = add(x, e);
	else
		free(e);
	(void)pthread_mutex_unlock(&x->lock);
	return ok;
}

/* Is there anything to look for? Then <out> is how. */
static bool
look_up(struct successions *x, const struct authz_principal *who, char out[static 65])
{
	struct authz_facts f;

	if (atomic_load(&x->n) == 0)
		return false;
	authz_principal_facts(who, &f);
	if (f.fingerprint != NULL)
		(void)text_hex(slice_of(f.fingerprint, 32), out, 65);
	return f.fingerprint != NULL;
}

uint8_t
succession_judge(struct successions *x, const struct authz_principal *who, char why[static BROKER_WHY_MAX])
{
	const struct succession *e;
	char fingerprint[65];
	bool over = false;

	if (!look_up(x, who, fingerprint))
		return MQTT_RC_OK;
	(void)pthread_mutex_lock(&x->lock);
	if ((e = map_get(&x->by_old, slice_str(fingerprint))) != NULL && e->told.since != 0) {
		over = true;
		(void)snprintf(why, BROKER_WHY_MAX, WHY_WITHDRAWN "the certificate (serial %s) was superseded: its successor is in use", e->told.serial);
	}
	(void)pthread_mutex_unlock(&x->lock);
	return over ? MQTT_RC_NOT_AUTHORIZED : MQTT_RC_OK;
}

void
succession_seen(struct server *s, const struct authz_principal *who)
{
	struct successions *x = s->successions;
	struct succession *e;
	char fingerprint[65], shown[200];
	bool kept;

	if (!look_up(x, who, fingerprint))
		return;
	(void)pthread_mutex_lock(&x->lock);
	e = map_get(&x->by_new, slice_str(fingerprint));
	if (e != NULL && e->told.since == 0) {
		e->told.since = (int64_t)time(NULL);
		kept = keep(s->broker, e);
		log_notice("The new certificate of %s is in use: the old one (serial %s) is not accepted any more%s.", text_show(slice_str(e->told.name), shown, sizeof(shown)),
		    e->told.serial, kept ? "" : " until the broker is restarted, as there is no memory to keep that");
	}
	(void)pthread_mutex_unlock(&x->lock);
}

void
successions_read(struct successions *x, void (*each)(void *ctx, const struct succeeded *e), void *ctx)
{
	const struct succession *e;
	size_t pos = 0;

	(void)pthread_mutex_lock(&x->lock);
	while ((e = map_next(&x->by_old, &pos)) != NULL)
		each(ctx, &e->told);
	(void)pthread_mutex_unlock(&x->lock);
}

bool
succession_settle(struct server *s, const char *fingerprint)
{
	struct successions *x = s->successions;
	struct succession *e;
	bool ok;

	(void)pthread_mutex_lock(&x->lock);
	e = map_get(&x->by_old, slice_str(fingerprint));
	ok = e != NULL && e->told.since != 0;
	if (ok) {
		e->told.settled = true;
		(void)keep(s->broker, e);
	}
	(void)pthread_mutex_unlock(&x->lock);
	return ok;
}
