/* Each operation of the API weighed with the permissions of users. A permission is compared with all operations once, then it is a row of bits. */
#include "api/rights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"

enum { SAMPLE_CAP = 200 };

struct perm {
	struct registry_permission p; /* its texts are ours */
	char *text;
	uint64_t bits[]; /* of operations that it fits */
};
struct has {
	const struct perm *perm;
	const char *via; /* group or NULL */
};
struct member {
	int64_t id;
	char name[REGISTRY_NAME_MAX + 1];
	size_t from, n; /* in links */
};
struct rights {
	struct registry *r;
	struct rights_op *ops;
	char (*paths)[SAMPLE_CAP];
	size_t n_ops, words;
	struct perm **perms;
	size_t n_perms;
	struct member *groups; /* that were looked at */
	size_t n_groups;
	const struct perm **links;
	size_t n_links;
	struct has *has; /* of the user */
	size_t n_has, n_own;
	bool first, admin, failed;
};

/* ---- the operations ---- */

/* "/api/v1/devices/{device}" as somebody might ask: "/api/v1/devices/x/". */
static void
sample_path(const char *path, char out[static SAMPLE_CAP])
{
	struct slice rest = slice_str(path), part, name, suffix;
	size_t n = 0;
	bool more = true;

	part = slice_cut(&rest, '/', &more);
	while (more) {
		part = slice_cut(&rest, '/', &more);
		if (op_brace(part, &name, &suffix))
			n += (size_t)snprintf(out + n, SAMPLE_CAP - n, "/%s%.*s", op_param(name)->type == FIELD_INT ? "1" : "x", SL_ARG(suffix));
		else
			n += (size_t)snprintf(out + n, SAMPLE_CAP - n, "/%.*s", SL_ARG(part));
		if (n >= SAMPLE_CAP - 2)
			break;
	}
	n = NUM_MIN(n, (size_t)SAMPLE_CAP - 2);
	out[n] = '/';
	out[n + 1] = '\0';
}

static size_t
list_ops(struct rights *x)
{
	size_t n = 0;

	for (size_t g = 0; g < op_groups_n; g++) {
		for (size_t i = 0; i < op_groups[g]->n; i++) {
			const struct op *o = &op_groups[g]->ops[i];

			if ((o->flags & (OP_OPEN | OP_PUBLIC)) != 0)
				continue;
			if (x->ops != NULL) {
				x->ops[n] = (struct rights_op){ o, op_groups[g]->name };
				sample_path(o->path, x->paths[n]);
			}
			n++;
		}
	}
	return n;
}

struct rights *
rights_new(struct registry *r)
{
	struct rights *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->r = r;
	x->n_ops = list_ops(x);
	x->words = (x->n_ops + 63) / 64;
	x->paths = x->n_ops > 0 ? calloc(x->n_ops, sizeof(x->paths[0])) : NULL;
	x->ops = x->paths != NULL ? calloc(x->n_ops, sizeof(x->ops[0])) : NULL;
	if (x->ops == NULL) {
		rights_free(x);
		return NULL;
	}
	(void)list_ops(x);
	return x;
}

void
rights_free(struct rights *x)
{
	if (x == NULL)
		return;
	for (size_t i = 0; i < x->n_perms; i++) {
		free(x->perms[i]->text);
		free(x->perms[i]);
	}
	free(x->perms);
	free(x->groups);
	free(x->links);
	free(x->has);
	free(x->ops);
	free(x->paths);
	free(x);
}

size_t
rights_count(const struct rights *x)
{
	return x->n_ops;
}

struct rights_op
rights_op(const struct rights *x, size_t i)
{
	return x->ops[i];
}

/* ---- permissions ---- */

/* Methods are few: they are compared once. */
static void
fill_bits(const struct rights *x, struct perm *p)
{
	bool methods[HTTP_METHODS];
	struct auth_rule path;

	for (unsigned m = 0; m < HTTP_METHODS; m++)
		methods[m] = auth_fits(p->p.method, http_method_name((enum http_method)m), p->p.deny);
	auth_rule_read(&path, p->p.path, p->p.deny);
	for (size_t i = 0; i < x->n_ops; i++)
		if (methods[x->ops[i].op->method] && auth_rule_fits(&path, x->paths[i]))
			p->bits[i / 64] |= UINT64_C(1) << i % 64;
	auth_rule_free(&path);
}

static struct slice
keep_text(char **at, struct slice s)
{
	char *begin = *at;

	memcpy(begin, s.p, s.n);
	begin[s.n] = '\0';
	*at += s.n + 1;
	return slice_of(begin, s.n);
}

/* NULL: out of memory. */
static const struct perm *
learn_perm(struct rights *x, const struct registry_permission *from)
{
	struct perm **all, *p;
	char *at;

	for (size_t i = 0; i < x->n_perms; i++)
		if (x->perms[i]->p.id == from->id)
			return x->perms[i];
	all = reallocarray(x->perms, x->n_perms + 1, sizeof(struct perm *));
	if (all == NULL)
		return NULL;
	x->perms = all;
	p = calloc(1, sizeof(*p) + x->words * sizeof(p->bits[0]));
	if (p == NULL || (p->text = malloc(from->name.n + from->path.n + from->method.n + 3)) == NULL) {
		free(p);
		return NULL;
	}
	at = p->text;
	p->p = (struct registry_permission){ .id = from->id, .deny = from->deny, .system = from->system, .name = keep_text(&at, from->name) };
	p->p.path = keep_text(&at, from->path);
	p->p.method = keep_text(&at, from->method);
	fill_bits(x, p);
	x->perms[x->n_perms++] = p;
	return p;
}

static bool
add_link(void *ctx, const struct registry_permission *p)
{
	struct rights *x = ctx;
	const struct perm **links = reallocarray(x->links, x->n_links + 1, sizeof(struct perm *));

	if (links != NULL)
		x->links = links;
	x->failed = x->failed || links == NULL || (links[x->n_links] = learn_perm(x, p)) == NULL;
	x->n_links += !x->failed;
	return !x->failed;
}

/* ---- a user ---- */

struct memberships {
	struct rights *x;
	struct member *v;
	size_t n;
};

static bool
add_membership(void *ctx, const struct registry_group *g)
{
	struct memberships *m = ctx;
	struct member *v = reallocarray(m->v, m->n + 1, sizeof(m->v[0]));

	m->x->failed = m->x->failed || v == NULL;
	if (v == NULL)
		return false;
	m->v = v;
	v[m->n] = (struct member){ .id = g->id };
	(void)text_copy(v[m->n++].name, sizeof(v->name), g->name);
	return true;
}

/* NULL: <err>, or out of memory. */
static const struct member *
group_of(struct rights *x, const struct member *m, struct err *err)
{
	struct member *all, *g;

	for (size_t i = 0; i < x->n_groups; i++)
		if (x->groups[i].id == m->id)
			return &x->groups[i];
	all = reallocarray(x->groups, x->n_groups + 1, sizeof(x->groups[0]));
	if (all == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	x->groups = all;
	g = &all[x->n_groups];
	*g = *m;
	g->from = x->n_links;
	if (!registry_permission_each(x->r, REGISTRY_GROUP_PERMISSION, m->id, add_link, x, err) || x->failed)
		return NULL;
	g->n = x->n_links - g->from;
	x->n_groups++;
	return g;
}

static bool
add_has(struct rights *x, const struct perm *p, const char *via)
{
	struct has *has = reallocarray(x->has, x->n_has + 1, sizeof(x->has[0]));

	if (has == NULL)
		return false;
	x->has = has;
	x->has[x->n_has++] = (struct has){ p, via };
	return true;
}

static bool
add_own(void *ctx, const struct registry_permission *p)
{
	struct rights *x = ctx;
	const struct perm *one = learn_perm(x, p);

	x->failed = x->failed || one == NULL || !add_has(x, one, NULL);
	return !x->failed;
}

bool
rights_of(struct rights *x, const struct rights_user *u, struct err *err)
{
	struct memberships m = { .x = x };
	bool ok;

	x->n_has = 0;
	x->first = u->first;
	x->admin = false;
	ok = registry_permission_each(x->r, REGISTRY_USER_PERMISSION, u->id, add_own, x, err) && !x->failed;
	x->n_own = x->n_has;
	ok = ok && registry_group_each(x->r, u->id, add_membership, &m, err) && !x->failed;
	/* The names in groups[] must not move while has[] points to them: all groups first. */
	for (size_t i = 0; ok && i < m.n; i++) {
		ok = group_of(x, &m.v[i], err) != NULL;
		x->admin = x->admin || strcmp(m.v[i].name, REGISTRY_ADMIN_GROUP) == 0;
	}
	for (size_t i = 0; ok && i < m.n; i++) {
		const struct member *g = group_of(x, &m.v[i], err);

		for (size_t k = 0; ok && k < g->n; k++)
			ok = add_has(x, x->links[g->from + k], g->name);
	}
	free(m.v);
	return ok || (x->failed ? err_set(err, ERR_MEMORY, "out of memory") : false);
}

void
rights_forget(struct rights *x)
{
	x->n_groups = x->n_links = x->n_has = x->n_own = 0;
}

/* ---- verdicts ---- */

/* The first of one kind among his own, or those of his groups. */
static const struct has *
find(const struct rights *x, bool own, bool deny, bool (*fits)(const struct perm *p, const void *what), const void *what)
{
	for (size_t i = own ? 0 : x->n_own; i < (own ? x->n_own : x->n_has); i++)
		if (x->has[i].perm->p.deny == deny && fits(x->has[i].perm, what))
			return &x->has[i];
	return NULL;
}

/* Rules of the user stand above those of his groups, denying above permitting, and no rule is a no: as auth_permits() has it. */
static void
weigh(const struct rights *x, bool (*fits)(const struct perm *p, const void *what), const void *what, struct rights_verdict *ret)
{
	for (int own = 1; own >= 0; own--) {
		for (int deny = 1; deny >= 0; deny--) {
			const struct has *h = find(x, own == 1, deny == 1, fits, what);

			if (h == NULL)
				continue;
			*ret = (struct rights_verdict){ deny == 0, (const char *)h->perm->p.name.p, h->via, NULL };
			return;
		}
	}
	*ret = (struct rights_verdict){ 0 };
}

static bool
fits_op(const struct perm *p, const void *what)
{
	size_t i = *(const size_t *)what;

	return (p->bits[i / 64] >> i % 64 & 1) != 0;
}

/* What counts beside permissions, as auth_may() has it. */
static void
by_flags(const struct rights *x, unsigned flags, struct rights_verdict *v)
{
	if ((flags & OP_SELF) != 0)
		*v = (struct rights_verdict){ .allowed = true, .other = "who is signed in may" };
	if ((flags & OP_ADMIN) != 0 && !x->admin)
		*v = (struct rights_verdict){ .other = "only for administrators" };
	if ((flags & OP_PLATFORM) != 0 && !x->first)
		*v = (struct rights_verdict){ .other = "only for users of the first tenant" };
	if ((flags & OP_OPEN) != 0)
		*v = (struct rights_verdict){ .allowed = true, .other = "everybody may" };
}

void
rights_judge(const struct rights *x, size_t i, struct rights_verdict *ret)
{
	weigh(x, fits_op, &i, ret);
	by_flags(x, x->ops[i].op->flags, ret);
}

struct request {
	const char *method, *path;
};

static bool
fits_text(const struct perm *p, const void *what)
{
	const struct request *q = what;

	return auth_fits(p->p.method, q->method, p->p.deny) && auth_fits(p->p.path, q->path, p->p.deny);
}

void
rights_try(const struct rights *x, enum http_method m, const char *path, bool dojot, struct rights_verdict *ret)
{
	struct slice params[API_PARAMS_MAX];
	struct http_path parts;
	struct http_fault fault;
	const struct op *o = NULL;
	unsigned allowed;

	m = m == HTTP_HEAD ? HTTP_GET : m; /* as the router takes it */
	weigh(x, fits_text, &(struct request){ http_method_name(m), path }, ret);
	if (http_read_target(slice_str(path), &parts, &fault) && (o = op_find(&parts, m, dojot, params, &allowed)) != NULL)
		by_flags(x, o->flags, ret);
}

void
rights_each(const struct rights *x, void (*each)(void *ctx, const struct registry_permission *p, const char *via), void *ctx)
{
	for (size_t i = 0; i < x->n_has; i++)
		each(ctx, &x->has[i].perm->p, x->has[i].via);
}
