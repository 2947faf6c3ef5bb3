/* Password files as text: their lines, and changes to them that leave the rest alone. */
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "passwd/internal.h"

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct slice
trim(struct slice s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = slice_from(s, 1);
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool
line_next(struct slice *text, struct text_line *l)
{
	const uint8_t *colon;
	bool more;

	if (text->n == 0)
		return false;
	*l = (struct text_line){ .number = l->number + 1, .whole = slice_cut(text, '\n', &more) };
	l->rest = trim(l->whole);
	l->blank = l->rest.n == 0 || l->rest.p[0] == '#';
	if (l->blank)
		return true;
	colon = memchr(l->whole.p, ':', l->whole.n);
	l->broken = colon == NULL;
	if (l->broken)
		return true;
	l->user = trim(slice_of(l->whole.p, (size_t)(colon - l->whole.p)));
	l->rest =
	    trim(slice_from(l->whole, l->user.p == NULL ? 0 : (size_t)(colon - l->whole.p) + 1));
	return true;
}

bool
passwd_user_ok(struct slice user, struct err *err)
{
	size_t i;

	if (user.n == 0)
		return err_set(err, ERR_USAGE, "the user name is empty");
	if (user.n > PASSWD_USER_MAX)
		return err_set(
		    err, ERR_USAGE, "the user name is longer than %d bytes", PASSWD_USER_MAX);
	if (!utf8_ok(user))
		return err_set(err, ERR_USAGE, "the user name is not UTF-8 text");
	for (i = 0; i < user.n; i++)
		if (user.p[i] < 0x20 || user.p[i] == 0x7f || user.p[i] == ':')
			return err_set(err, ERR_USAGE,
			    "a user name must not contain ':' or control characters");
	if (is_blank(user.p[0]) || is_blank(user.p[user.n - 1]) || user.p[0] == '#')
		return err_set(err, ERR_USAGE,
		    "a user name must not begin with '#' or a blank, or end in a blank");
	return true;
}

bool
passwd_user_fits(enum passwd_kind kind, struct slice user, struct err *err)
{
	return kind != PASSWD_SCRAM || scram_text_ok(user) ||
	       err_set(err, ERR_USAGE, "a user of scram-sha-256 has a name in printable ASCII");
}

/* A text that grows; what it leaves behind is wiped, as it may hold passwords. */
struct grown {
	uint8_t *p;
	size_t n, cap;
};

static bool
add(struct grown *g, struct slice s)
{
	size_t want, cap;
	uint8_t *p;

	if (!num_add(g->n, s.n, &want) || want > SIZE_MAX / 2)
		return false;
	if (want + 1 > g->cap) {
		cap = NUM_MAX(2 * g->cap, want + 256);
		p = malloc(cap);
		if (p == NULL)
			return false;
		if (g->n > 0)
			memcpy(p, g->p, g->n);
		secret_free(g->p, g->cap);
		g->p = p;
		g->cap = cap;
	}
	if (s.n > 0)
		memcpy(g->p + g->n, s.p, s.n);
	g->n = want;
	g->p[g->n] = '\0';
	return true;
}

static bool
add_entry(struct grown *g, struct slice user, const char *hash)
{
	return add(g, user) && add(g, SL(":")) && add(g, slice_str(hash)) && add(g, SL("\n"));
}

static bool
give(struct grown *g, bool ok, uint8_t **ret_text, size_t *ret_n)
{
	/* Never NULL on success, even when nothing is left. */
	if (!ok || !add(g, SL(""))) {
		secret_free(g->p, g->cap);
		return false;
	}
	*ret_text = g->p;
	*ret_n = g->n;
	return true;
}

bool
passwd_edit(struct slice text, struct slice user, const char *hash, uint8_t **ret_text,
    size_t *ret_n, bool *ret_found)
{
	struct grown g = { 0 };
	struct text_line l = { 0 };
	bool ok = true, found = false;

	while (ok && line_next(&text, &l)) {
		if (l.blank || l.broken || !slice_eq(l.user, user)) {
			ok = add(&g, l.whole) && add(&g, SL("\n"));
			continue;
		}
		/* Of a user who stands there twice, one line remains. */
		if (hash != NULL && !found)
			ok = add_entry(&g, user, hash);
		found = true;
	}
	if (ok && hash != NULL && !found)
		ok = add_entry(&g, user, hash);
	if (!give(&g, ok, ret_text, ret_n))
		return false;
	*ret_found = found;
	return true;
}

bool
passwd_upgrade(struct slice text, const char *name, enum passwd_kind kind, uint32_t cost,
    struct passwd_upgraded *ret, struct err *err)
{
	struct grown g = { 0 };
	struct text_line l = { 0 };
	struct passwd_secret s;
	char hash[PASSWD_HASH_TEXT_MAX];
	size_t changed = 0;
	bool ok = true;

	while (ok && line_next(&text, &l)) {
		if (!l.blank && (l.broken || l.rest.n == 0)) {
			(void)err_set(
			    err, ERR_INPUT, "%s:%u: not of the form user:password", name, l.number);
			secret_free(g.p, g.cap);
			return false;
		}
		/* A plain password may begin with '$'; only what is a hash in every respect is taken for one. */
		if (l.blank || secret_parse(l.rest, &s) == NULL) {
			ok = add(&g, l.whole) && add(&g, SL("\n"));
			continue;
		}
		if (!passwd_user_fits(kind, l.user, err) || !passwd_hash(kind, cost, l.rest, hash, err)) {
			(void)err_prefix(err, "%s:%u", name, l.number);
			secret_free(g.p, g.cap);
			return false;
		}
		changed++;
		ok = add_entry(&g, l.user, hash);
	}
	secret_wipe(&s, sizeof(s));
	if (!give(&g, ok, &ret->text, &ret->n))
		return err_set(err, ERR_MEMORY, "out of memory");
	ret->changed = changed;
	return true;
}
