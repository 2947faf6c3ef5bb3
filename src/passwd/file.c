/* The users of a password file, and whether somebody is one of them. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/secret.h"
#include "base/text.h"
#include "passwd/internal.h"

enum { SHOW_CAP = 100 };

struct entry {
	struct passwd_secret secret;
	unsigned line;
	uint32_t user_n;
	uint8_t user[];
};

struct passwd_file {
	_Atomic uint32_t refs;
	struct map users;
	struct entry **list; /* all of <users>; those of SCRAM first */
	size_t n, cap, n_scram;
};

static struct slice
entry_key(const void *value)
{
	const struct entry *e = value;

	return slice_of(e->user, e->user_n);
}

static bool
grow(struct passwd_file *f)
{
	size_t cap = f->cap != 0 ? 2 * f->cap : 16;
	struct entry **more;

	if (f->n < f->cap)
		return true;
	more = reallocarray(f->list, cap, sizeof(struct entry *));
	if (more == NULL)
		return false;
	f->list = more;
	f->cap = cap;
	return true;
}

static bool
add(struct passwd_file *f, const struct text_line *l, const struct passwd_secret *s)
{
	struct entry *e = grow(f) ? malloc(sizeof(*e) + l->user.n) : NULL;

	if (e == NULL)
		return false;
	*e = (struct entry){ .secret = *s, .line = l->number, .user_n = (uint32_t)l->user.n };
	memcpy(e->user, l->user.p, l->user.n);
	if (!map_put(&f->users, e)) {
		secret_free(e, sizeof(*e));
		return false;
	}
	f->list[f->n++] = e;
	if (s->kind == PASSWD_SCRAM) {
		f->list[f->n - 1] = f->list[f->n_scram];
		f->list[f->n_scram++] = e;
	}
	return true;
}

static bool
read_line(struct passwd_file *f, const struct text_line *l, const char *name, struct err *err)
{
	struct passwd_secret s;
	const struct entry *before;
	const char *why;
	char show[SHOW_CAP];
	bool ok;

	if (l->blank)
		return true;
	if (l->broken)
		return err_set(err, ERR_INPUT,
		    "%s:%u: not of the form user:hash: there is no ':' in the line", name,
		    l->number);
	if (!passwd_user_ok(l->user, err))
		return err_prefix(err, "%s:%u", name, l->number);
	before = map_get(&f->users, l->user);
	(void)text_show(l->user, show, sizeof(show));
	if (before != NULL)
		return err_set(err, ERR_INPUT,
		    "%s:%u: the user '%s' stands in line %u already; remove one of the two", name,
		    l->number, show, before->line);
	why = secret_parse(l->rest, &s);
	if (why != NULL)
		return err_set(err, ERR_INPUT, "%s:%u: user '%s': %s", name, l->number, show, why);
	if (!passwd_user_fits(s.kind, l->user, err))
		return err_prefix(err, "%s:%u", name, l->number);
	ok = add(f, l, &s);
	secret_wipe(&s, sizeof(s));
	return ok || err_set(err, ERR_MEMORY, "out of memory reading %s", name);
}

struct passwd_file *
passwd_parse(struct slice text, const char *name, struct err *err)
{
	struct passwd_file *f = calloc(1, sizeof(*f));
	struct text_line l = { 0 };

	if (f == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory reading %s", name);
		return NULL;
	}
	atomic_init(&f->refs, 1);
	map_init(&f->users, entry_key);
	while (line_next(&text, &l)) {
		if (!read_line(f, &l, name, err)) {
			passwd_unref(f);
			return NULL;
		}
	}
	return f;
}

struct passwd_file *
passwd_ref(struct passwd_file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void
passwd_unref(struct passwd_file *f)
{
	size_t i;

	if (f == NULL || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	map_done(&f->users);
	for (i = 0; i < f->n; i++)
		secret_free(f->list[i], sizeof(struct entry));
	free(f->list);
	free(f);
}

size_t
passwd_count(const struct passwd_file *f)
{
	return f->n;
}

const struct passwd_secret *
secret_of_user(const struct passwd_file *f, struct slice user)
{
	const struct entry *e = map_get(&f->users, user);

	return e != NULL ? &e->secret : NULL;
}

const struct passwd_secret *
secret_like_scram(const struct passwd_file *f, struct slice user)
{
	return f->n_scram > 0 ? &f->list[map_hash(user) % f->n_scram]->secret : NULL;
}

uint64_t
passwd_tag(const struct passwd_file *f, struct slice user)
{
	const struct passwd_secret *s = secret_of_user(f, user);

	/* Kinds and salts differ where hashes do. */
	return s != NULL ? map_hash(slice_of(s->hash, s->hash_n)) | 1 : 0;
}

enum passwd_verdict
passwd_check(const struct passwd_file *f, struct slice user, struct slice password,
    enum passwd_kind *ret_kind)
{
	const struct entry *known = map_get(&f->users, user), *e = known;
	uint8_t hash[HASH_MAX];
	bool computed, same;

	if (f->n == 0) {
		*ret_kind = PASSWD_SHA512;
		return PASSWD_UNKNOWN;
	}
	/* For an unknown name the work of some entry is done all the same, always of the same one: who measures cannot tell the
	 * name from one that is there. Names choose entries by a keyed hash, so files of mixed costs do not give it away. */
	if (known == NULL)
		e = f->list[map_hash(user) % f->n];
	*ret_kind = e->secret.kind;
	computed = secret_compute(&e->secret, password, hash);
	same = computed && secret_eq(slice_of(hash, e->secret.hash_n),
			       slice_of(e->secret.hash, e->secret.hash_n));
	secret_wipe(hash, sizeof(hash));
	if (!computed)
		return PASSWD_FAILED;
	if (known == NULL)
		return PASSWD_UNKNOWN;
	/* Nobody comes in without a word, whatever hash the file has: so does mosquitto. */
	return same && password.n > 0 ? PASSWD_RIGHT : PASSWD_WRONG;
}
