/* Whose a retained message is: check_retain_source asks again whether he may publish it when somebody new is to get it. */
#include <stdlib.h>
#include "broker/internal.h"

#define NO_GENERATION UINT32_MAX /* no table of listeners ever has it: the policies are asked */

struct source {
	struct msg_source counted;
	struct authz_principal *who;
	uint32_t listener;
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
source_may(const struct shard *sh, const struct msg *m)
{
	const struct source *s = (const void *)m->source;
	struct authz_verdict v;

	/* Policies that have not changed need not be asked again. */
	return s == NULL || s->generation == sh->listeners->generation ||
	       authz_allowed(listener_of(sh, s->listener)->policy, s->who, msg_origin(m), AUTHZ_PUBLISH, msg_topic(m), &v);
}

struct record_source
source_record(const struct msg_source *counted)
{
	const struct source *s = (const void *)counted;
	struct record_source r = { .listener = (uint16_t)s->listener };

	authz_principal_facts(s->who, &r.who);
	return r;
}

struct msg_source *
source_restored(const struct record_source *r)
{
	struct authz_principal *who = authz_principal_new(&r->who);
	struct source *s = who != NULL ? malloc(sizeof *s) : NULL;

	if (s == NULL) {
		authz_principal_unref(who);
		return NULL;
	}
	*s = (struct source){ { .free = source_free }, who, r->listener, NO_GENERATION };
	atomic_init(&s->counted.refs, 1);
	return &s->counted;
}
