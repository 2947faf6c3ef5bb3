/* Clients, groups and roles, sorted as mosquitto lists them, and what ties them together. */
#include "dynsec/internal.h"

#include <stdlib.h>
#include <strings.h>

#include "base/num.h"
#include "base/secret.h"

const char *const dynsec_access_names[ACCESSES] = {
	[ACCESS_SEND] = "publishClientSend",
	[ACCESS_RECEIVE] = "publishClientReceive",
	[ACCESS_SUBSCRIBE] = "subscribe",
	[ACCESS_UNSUBSCRIBE] = "unsubscribe",
};
const char *const dynsec_list_names[AUTHZ_LISTS] = {
	[AUTHZ_LIST_SEND] = "publishClientSend",
	[AUTHZ_LIST_RECEIVE] = "publishClientReceive",
	[AUTHZ_LIST_SUBSCRIBE_LITERAL] = "subscribeLiteral",
	[AUTHZ_LIST_SUBSCRIBE_PATTERN] = "subscribePattern",
	[AUTHZ_LIST_UNSUBSCRIBE_LITERAL] = "unsubscribeLiteral",
	[AUTHZ_LIST_UNSUBSCRIBE_PATTERN] = "unsubscribePattern",
};

bool
dynsec_list_parse(const char *name, enum authz_list *ret)
{
	for (unsigned i = 0; i < AUTHZ_LISTS; i++) {
		if (strcasecmp(name, dynsec_list_names[i]) == 0) {
			*ret = (enum authz_list)i;
			return true;
		}
	}
	return false;
}

/* Make room for one more of <size> bytes; the array, moved perhaps, or NULL. */
static void *
room(void *v, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap > 0 ? *cap : 4;
	void *p;

	if (n < *cap)
		return v;
	if (*cap > 0 && !num_mul(want, (size_t)2, &want))
		return NULL;
	p = reallocarray(v, want, size);
	if (p != NULL)
		*cap = want;
	return p;
}

bool
dynsec_set_text(char **at, const char *text)
{
	char *copy = text != NULL ? strdup(text) : NULL;

	if (text != NULL && copy == NULL)
		return false;
	free(*at);
	*at = copy;
	return true;
}

/* ---- books ---- */

/* Where <name> is or would be. */
static size_t
book_place(const struct book *b, const char *name)
{
	size_t low = 0, high = b->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(b->v[mid]->name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct entry *
dynsec_book_find(const struct book *b, const char *name)
{
	size_t i = book_place(b, name);

	return i < b->n && strcmp(b->v[i]->name, name) == 0 ? b->v[i] : NULL;
}

bool
dynsec_book_add(struct book *b, struct entry *e)
{
	struct entry **v = room(b->v, b->n, &b->cap, sizeof(*v));
	size_t i;

	if (v == NULL)
		return false;
	b->v = v;
	i = book_place(b, e->name);
	memmove(v + i + 1, v + i, (b->n - i) * sizeof(*v));
	v[i] = e;
	b->n++;
	return true;
}

void
dynsec_book_del(struct book *b, const struct entry *e)
{
	size_t i = book_place(b, e->name);

	if (i == b->n || b->v[i] != e)
		return;
	b->n--;
	memmove(b->v + i, b->v + i + 1, (b->n - i) * sizeof(*b->v));
}

/* ---- references ---- */

struct ref *
dynsec_refs_find(const struct refs *r, const struct entry *to)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].to == to)
			return &r->v[i];
	return NULL;
}

static bool
goes_before(const struct refs *r, const struct ref *a, const struct ref *b)
{
	if (!r->by_name && a->priority != b->priority)
		return a->priority > b->priority;
	return strcmp(a->to->name, b->to->name) < 0;
}

bool
dynsec_refs_add(struct refs *r, struct entry *to, int priority)
{
	struct ref new = { to, priority }, *v = room(r->v, r->n, &r->cap, sizeof(*v));
	size_t i = r->n;

	if (v == NULL)
		return false;
	r->v = v;
	while (i > 0 && goes_before(r, &new, &v[i - 1]))
		i--;
	memmove(v + i + 1, v + i, (r->n - i) * sizeof(*v));
	v[i] = new;
	r->n++;
	return true;
}

void
dynsec_refs_del(struct refs *r, const struct entry *to)
{
	struct ref *at = dynsec_refs_find(r, to);

	if (at == NULL)
		return;
	r->n--;
	memmove(at, at + 1, (size_t)(r->v + r->n - at) * sizeof(*at));
}

/* ---- ACLs ---- */

struct acl *
dynsec_acls_find(const struct acls *a, const char *topic)
{
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i].topic, topic) == 0)
			return &a->v[i];
	return NULL;
}

bool
dynsec_acls_add(struct acls *a, const char *topic, int priority, bool allow)
{
	struct acl *v = room(a->v, a->n, &a->cap, sizeof(*v));
	char *copy = strdup(topic);
	size_t i = a->n;

	if (v != NULL)
		a->v = v;
	if (v == NULL || copy == NULL) {
		free(copy);
		return false;
	}
	while (i > 0 && priority > v[i - 1].priority)
		i--;
	memmove(v + i + 1, v + i, (a->n - i) * sizeof(*v));
	v[i] = (struct acl){ copy, priority, allow };
	a->n++;
	return true;
}

void
dynsec_acls_clear(struct acls *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->v[i].topic);
	free(a->v);
	*a = (struct acls){ 0 };
}

void
dynsec_role_changed(struct role *r)
{
	authz_role_lists_unref(r->made);
	r->made = NULL;
}

/* ---- making and freeing ---- */

static void *
entry_new(size_t size, const char *name)
{
	struct entry *e = calloc(1, size);

	if (e != NULL && !dynsec_set_text(&e->name, name)) {
		free(e);
		return NULL;
	}
	return e;
}

static void
entry_done(struct entry *e)
{
	free(e->name);
	free(e->text_name);
	free(e->text_description);
}

struct client *
dynsec_client_new(const char *name)
{
	return entry_new(sizeof(struct client), name);
}

struct group *
dynsec_group_new(const char *name)
{
	struct group *g = entry_new(sizeof(struct group), name);

	if (g != NULL)
		g->clients.by_name = true;
	return g;
}

struct role *
dynsec_role_new(const char *name)
{
	return entry_new(sizeof(struct role), name);
}

static void
client_free(struct client *c)
{
	entry_done(&c->e);
	free(c->client_id);
	secret_free(c->hash, c->hash != NULL ? strlen(c->hash) : 0);
	free(c->roles.v);
	free(c->groups.v);
	free(c);
}

static void
group_free(struct group *g)
{
	entry_done(&g->e);
	free(g->roles.v);
	free(g->clients.v);
	free(g);
}

static void
role_free(struct role *r)
{
	entry_done(&r->e);
	for (unsigned i = 0; i < AUTHZ_LISTS; i++)
		dynsec_acls_clear(&r->acls[i]);
	authz_role_lists_unref(r->made);
	free(r);
}

void
dynsec_client_delete(struct dynsec *d, struct client *c)
{
	for (size_t i = 0; i < c->groups.n; i++)
		dynsec_refs_del(&((struct group *)(void *)c->groups.v[i].to)->clients, &c->e);
	dynsec_book_del(&d->clients, &c->e);
	client_free(c);
}

void
dynsec_group_delete(struct dynsec *d, struct group *g)
{
	for (size_t i = 0; i < g->clients.n; i++)
		dynsec_refs_del(&((struct client *)(void *)g->clients.v[i].to)->groups, &g->e);
	if (d->anonymous == g)
		d->anonymous = NULL;
	dynsec_book_del(&d->groups, &g->e);
	group_free(g);
}

void
dynsec_role_delete(struct dynsec *d, struct role *r)
{
	for (size_t i = 0; i < d->clients.n; i++)
		dynsec_refs_del(&((struct client *)(void *)d->clients.v[i])->roles, &r->e);
	for (size_t i = 0; i < d->groups.n; i++)
		dynsec_refs_del(&((struct group *)(void *)d->groups.v[i])->roles, &r->e);
	dynsec_book_del(&d->roles, &r->e);
	role_free(r);
}

bool
dynsec_group_join(struct group *g, struct client *c, int priority)
{
	if (dynsec_refs_find(&c->groups, &g->e) != NULL)
		return true;
	if (!dynsec_refs_add(&c->groups, &g->e, priority))
		return false;
	if (dynsec_refs_add(&g->clients, &c->e, priority))
		return true;
	dynsec_refs_del(&c->groups, &g->e);
	return false;
}

void
dynsec_group_leave(struct group *g, struct client *c)
{
	dynsec_refs_del(&g->clients, &c->e);
	dynsec_refs_del(&c->groups, &g->e);
}

void
dynsec_free(struct dynsec *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->clients.n; i++)
		client_free((void *)d->clients.v[i]);
	for (size_t i = 0; i < d->groups.n; i++)
		group_free((void *)d->groups.v[i]);
	for (size_t i = 0; i < d->roles.n; i++)
		role_free((void *)d->roles.v[i]);
	free(d->clients.v);
	free(d->groups.v);
	free(d->roles.v);
	free(d);
}

const char *
dynsec_warning(const struct dynsec *d)
{
	return d->warning;
}
