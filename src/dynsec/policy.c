/* What the state says, made for those who ask it at every message and every login. */
#include "dynsec/internal.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/num.h"
#include "base/secret.h"

/* ---- rights ---- */

static bool
role_make(struct role *r)
{
	struct authz_entry *v;
	size_t n = 0, at = 0;

	if (r->made != NULL)
		return true;
	for (unsigned list = 0; list < AUTHZ_LISTS; list++)
		n += r->acls[list].n;
	v = calloc(n + 1, sizeof(*v));
	if (v == NULL)
		return false;
	for (unsigned list = 0; list < AUTHZ_LISTS; list++)
		for (size_t i = 0; i < r->acls[list].n; i++)
			v[at++] = (struct authz_entry){ (enum authz_list)list, r->acls[list].v[i].allow,
				slice_str(r->acls[list].v[i].topic) };
	r->made = authz_role_lists_new(slice_str(r->e.name), v, n);
	free(v);
	return r->made != NULL;
}

/* What the members have, one after the other. */
struct roster {
	struct authz_role_lists **roles;
	struct slice *groups; /* through which */
};

static size_t
take_roles(const struct refs *from, struct slice group, const struct roster *to, size_t at)
{
	for (size_t i = 0; i < from->n; i++) {
		to->roles[at + i] = ((struct role *)(void *)from->v[i].to)->made;
		to->groups[at + i] = group;
	}
	return from->n;
}

/* His own roles go first, then those of his groups. */
static size_t
client_roles(const struct client *c, const struct roster *to, size_t at)
{
	size_t n = take_roles(&c->roles, (struct slice){ 0 }, to, at);

	for (size_t i = 0; i < c->groups.n; i++) {
		const struct group *g = (const void *)c->groups.v[i].to;

		n += take_roles(&g->roles, slice_str(g->e.name), to, at + n);
	}
	return n;
}

static size_t
count_roles(const struct dynsec *d)
{
	size_t n = d->anonymous != NULL ? d->anonymous->roles.n : 0;

	for (size_t i = 0; i < d->clients.n; i++) {
		const struct client *c = (const void *)d->clients.v[i];

		n += c->roles.n;
		for (size_t k = 0; k < c->groups.n; k++)
			n += ((struct group *)(void *)c->groups.v[k].to)->roles.n;
	}
	return n;
}

static void
fill(const struct dynsec *d, struct authz_ranking *r, struct authz_member *members, const struct roster *to)
{
	size_t at = 0;

	for (size_t i = 0; i < d->clients.n; i++) {
		const struct client *c = (const void *)d->clients.v[i];
		size_t n = client_roles(c, to, at);

		members[i] = (struct authz_member){ .name = slice_str(c->e.name),
			.client_id = slice_str(c->client_id),
			.disabled = c->disabled,
			.roles = to->roles + at,
			.groups = to->groups + at,
			.n_roles = n };
		at += n;
	}
	r->members = members;
	r->n_members = d->clients.n;
	r->anonymous.roles = to->roles + at;
	r->anonymous.groups = to->groups + at;
	if (d->anonymous != NULL)
		r->anonymous.n_roles = take_roles(&d->anonymous->roles, slice_str(d->anonymous->e.name), to, at);
	r->send = d->access[ACCESS_SEND];
	r->receive = d->access[ACCESS_RECEIVE];
	r->subscribe = d->access[ACCESS_SUBSCRIBE];
	r->unsubscribe = d->access[ACCESS_UNSUBSCRIBE];
}

struct authz_policy *
dynsec_policy(struct dynsec *d)
{
	struct authz_ranking r = { 0 };
	struct authz_member *members = calloc(d->clients.n + 1, sizeof(*members));
	size_t n = count_roles(d) + 1;
	struct roster to = { calloc(n, sizeof(struct authz_role_lists *)), calloc(n, sizeof(struct slice)) };
	struct authz_policy *p = NULL;
	bool made = members != NULL && to.roles != NULL && to.groups != NULL;

	for (size_t i = 0; made && i < d->roles.n; i++)
		made = role_make((void *)d->roles.v[i]);
	if (made) {
		fill(d, &r, members, &to);
		p = authz_policy_ranked(&r);
	}
	free(members);
	free(to.roles);
	free(to.groups);
	return p;
}

/* ---- logins ---- */

struct login {
	struct slice user, hash; /* hash.n == 0: there is no password */
};

struct dynsec_logins {
	atomic_uint refs;
	struct map users;
	size_t n, text_n;
	uint8_t *text;
	struct login v[];
};

static struct slice
login_key(const void *value)
{
	return ((const struct login *)value)->user;
}

static struct slice
take_text(const char *s, uint8_t **at)
{
	struct slice from = slice_str(s), to = slice_of(*at, from.n);

	if (from.n > 0)
		memcpy(*at, from.p, from.n);
	*at += from.n;
	return to;
}

static bool
logins_fill(struct dynsec_logins *l, const struct dynsec *d)
{
	uint8_t *at = l->text;

	for (size_t i = 0; i < d->clients.n; i++) {
		const struct client *c = (const void *)d->clients.v[i];

		l->v[i].user = take_text(c->e.name, &at);
		l->v[i].hash = take_text(c->hash, &at);
		if (!map_put(&l->users, &l->v[i]))
			return false;
	}
	return true;
}

struct dynsec_logins *
dynsec_logins_new(const struct dynsec *d)
{
	struct dynsec_logins *l;
	size_t bytes = 1, room;

	for (size_t i = 0; i < d->clients.n; i++) {
		const struct client *c = (const void *)d->clients.v[i];

		bytes += strlen(c->e.name) + (c->hash != NULL ? strlen(c->hash) : 0);
	}
	if (!num_mul(d->clients.n, sizeof(struct login), &room) || !num_add(room, sizeof(*l), &room) ||
	    (l = calloc(1, room)) == NULL)
		return NULL;
	atomic_init(&l->refs, 1);
	map_init(&l->users, login_key);
	l->n = d->clients.n;
	l->text_n = bytes;
	l->text = malloc(bytes);
	if (l->text != NULL && logins_fill(l, d))
		return l;
	dynsec_logins_unref(l);
	return NULL;
}

struct dynsec_logins *
dynsec_logins_ref(struct dynsec_logins *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void
dynsec_logins_unref(struct dynsec_logins *l)
{
	if (l == NULL || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
		return;
	map_done(&l->users);
	secret_free(l->text, l->text_n);
	free(l);
}

enum passwd_verdict
dynsec_login(const struct dynsec_logins *l, struct slice user, struct slice password)
{
	const struct login *known = map_get(&l->users, user), *e = known;
	enum passwd_verdict v = PASSWD_UNKNOWN;

	/* As much work for a name that is not there as for one that is, always of the same one: see passwd_check(). */
	if (e == NULL && l->n > 0)
		e = &l->v[map_hash(user) % l->n];
	for (size_t i = 0; e != NULL && e->hash.n == 0 && i < l->n; i++)
		e = &l->v[i];
	if (e != NULL && e->hash.n > 0)
		v = passwd_check_hash(e->hash, password);
	if (v == PASSWD_FAILED || known == e)
		return v;
	return known != NULL ? PASSWD_WRONG : PASSWD_UNKNOWN;
}

uint64_t
dynsec_tag(const struct dynsec_logins *l, struct slice user)
{
	const struct login *known = map_get(&l->users, user);

	/* The salt in it is new with each password. */
	return known != NULL && known->hash.n > 0 ? map_hash(known->hash) | 1 : 0;
}
