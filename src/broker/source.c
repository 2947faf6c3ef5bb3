/* Whose a retained message is: check_retain_source asks again whether he may publish it when somebody new is to get it. */
#include <stdlib.h>
#include "broker/internal.h"

#define NO_GENERATION UINT32_MAX /* no table of listeners ever has it: the policies are asked */

struct source {
	struct msg_source counted;
	struct authz_principal *who;
	uint32_t listener;   /* or LISTENER_NONE */
	uint32_t generation; /* of the policies under which its messages were allowed */
};

static void
source_free(struct msg_source *counted)
{
	struct source *s = (void *)counted;

	authz_principal_unref(s->who);
	free(s);
}

struct msg_source *
source_new(const struct shard *sh, uint32_t listener, struct authz_principal *who)
{
	struct source *s = malloc(sizeof *s);

	if (s == NULL)
		return NULL;
	*s = (struct source){ { .free = source_free }, authz_principal_ref(who), listener, sh->listeners->generation };
	atomic_init(&s->counted.refs, 1);
	return &s->counted;
}

bool
source_of(struct client *c, struct msg_source **ret)
{
	struct source *s = (void *)c->source;

	if (!settings_of(c->shard)->check_retain_source) {
		*ret = NULL;
		return true;
	}
	if (s == NULL || s->generation != c->shard->listeners->generation || s->who != c->who) {
		struct msg_source *fresh = source_new(c->shard, c->listener, c->who);

		if (fresh == NULL)
			return false;
		msg_source_unref(c->source);
		c->source = fresh;
	}
	*ret = c->source;
	return true;
}

bool
source_may_anywhere(const struct shard *sh, struct authz_principal *who, struct slice client_id, struct slice topic)
{
	struct authz_verdict v;

	for (unsigned i = 0; i < sh->listeners->n; i++) {
		const struct broker_listener *l = listener_of(sh, i);

		if (!l->bridges && slice_starts(topic, slice_str(l->mount_point)) &&
		    authz_allowed(l->policy, who, client_id, AUTHZ_PUBLISH, topic, &v))
			return true;
	}
	return false;
}

bool
source_may(const struct shard *sh, const struct msg *m)
{
	const struct source *s = (const void *)m->source;
	struct authz_verdict v;

	/* Policies that have not changed need not be asked again. */
	if (s == NULL || s->generation == sh->listeners->generation)
		return true;
	if (s->listener == LISTENER_NONE)
		return source_may_anywhere(sh, s->who, msg_origin(m), msg_topic(m));
	return authz_allowed(listener_of(sh, s->listener)->policy, s->who, msg_origin(m), AUTHZ_PUBLISH, msg_topic(m), &v);
}

struct record_source
source_record(const struct shard *sh, const struct msg_source *counted)
{
	const struct source *s = (const void *)counted;
	struct record_source r = { .listener = listener_record(sh, s->listener) };

	authz_principal_facts(s->who, &r.who);
	return r;
}

struct msg_source *
source_restored(const struct shard *sh, const struct record_source *r)
{
	struct authz_principal *who = authz_principal_new(&r->who);
	struct source *s = who != NULL ? malloc(sizeof *s) : NULL;

	if (s == NULL) {
		authz_principal_unref(who);
		return NULL;
	}
	*s = (struct source){ { .free = source_free }, who, listener_recorded(sh, &r->listener), NO_GENERATION };
	atomic_init(&s->counted.refs, 1);
	return &s->counted;
}

struct msg_source *
source_of_session(const struct session *s)
{
	struct msg_source *fresh = source_new(s->shard, s->homeless ? LISTENER_NONE : s->listener, s->who);

	if (fresh != NULL)
		((struct source *)(void *)fresh)->generation = NO_GENERATION;
	return fresh;
}

/* ---- listeners that were ---- */

struct record_listener
listener_record(const struct shard *sh, uint32_t listener)
{
	if (listener == LISTENER_NONE)
		return (struct record_listener){ SL(""), LISTENER_NONE };
	return (struct record_listener){ slice_str(listener_of(sh, listener)->name), (uint16_t)listener };
}

/* "8883" of "192.0.2.1:8883"; of a socket's path nothing. */
static struct slice
port_of(struct slice name)
{
	size_t n = name.n;

	while (n > 0 && name.p[n - 1] != ':' && name.p[n - 1] != '/')
		n--;
	return n > 0 && name.p[n - 1] == '/' ? SL("") : slice_from(name, n);
}

uint16_t
listener_recorded(const struct shard *sh, const struct record_listener *r)
{
	struct slice port = port_of(r->name);
	uint16_t found = LISTENER_NONE;

	if (r->name.n == 0)
		return r->at < sh->listeners->n ? r->at : LISTENER_NONE;
	for (unsigned i = 0; i < sh->listeners->n; i++)
		if (slice_eq(slice_str(listener_of(sh, i)->name), r->name))
			return (uint16_t)i;
	for (unsigned i = 0; port.n > 0 && i < sh->listeners->n; i++) {
		if (!slice_eq(port_of(slice_str(listener_of(sh, i)->name)), port))
			continue;
		if (found != LISTENER_NONE)
			return LISTENER_NONE;
		found = (uint16_t)i;
	}
	return found;
}
