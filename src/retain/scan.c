/* Walks over the retained messages that a filter matches. Between two calls a walk is a text
 * only: the place from which to look on. Each look finds the next topic there is; if that one
 * does not match, the next text that could is worked out from it, so that whole parts of the
 * tree are stepped over. */
#include <stdlib.h>
#include "base/num.h"
#include "retain/internal.h"
#include "topic/topic.h"

/* A place: the first <keep> bytes of a topic, a byte <then> unless 0, and <least> from <from>
 * on. */
struct place {
	size_t keep, from;
	uint8_t then;
};

struct retain_scan {
	struct retain *r;
	struct msg *last; /* the topic that <place> speaks of; a reference */
	struct place place;
	uint64_t number; /* of this walk: what was kept at or after it came later */
	bool done, hash; /* <hash>: the filter ends in '#' */
	size_t filter_n, least_n;
	uint8_t text
	    []; /* the filter; then <least>, the first of all texts that match: '+' empty, no '#' */
};

static struct slice
filter_of(const struct retain_scan *s)
{
	return slice_of(s->text, s->filter_n);
}

static struct slice
least_of(const struct retain_scan *s)
{
	return slice_of(s->text + s->filter_n, s->least_n);
}

struct retain_scan *
retain_scan_new(struct retain *r, struct slice filter)
{
	struct retain_scan *s = calloc(1, sizeof *s + 2 * filter.n);
	uint8_t *least;

	if (s == NULL)
		return NULL;
	s->r = r;
	s->number = ++r->walks;
	s->done = !topic_filter_ok(filter);
	if (s->done)
		return s;
	s->filter_n = filter.n;
	s->hash = filter.p[filter.n - 1] == '#';
	memcpy(s->text, filter.p, filter.n);
	if (s->hash)
		filter.n -= filter.n > 1 ? 2 : 1;
	least = s->text + s->filter_n;
	for (size_t i = 0; i < filter.n; i++)
		if (filter.p[i] != '+')
			least[s->least_n++] = filter.p[i];
	return s;
}

void
retain_scan_free(struct retain_scan *s)
{
	if (s == NULL)
		return;
	msg_unref(s->last);
	free(s);
}

/* Which of two levels comes first. */
static int
level_order(struct slice a, struct slice b)
{
	size_t n = NUM_MIN(a.n, b.n);

	for (size_t i = 0; i < n; i++)
		if (a.p[i] != b.p[i])
			return topic_rank(a.p[i]) < topic_rank(b.p[i]) ? -1 : 1;
	return a.n < b.n ? -1 : a.n > b.n;
}

/* Filter and topic side by side. */
struct walk {
	struct slice f, t; /* what is left of them */
	bool f_more, t_more;
	size_t at, least;        /* where the level begins in the topic, and in <least> */
	struct place after_plus; /* beyond all that has these levels up to the last '+' */
	bool plus;
};

enum verdict { VERDICT_MATCH, VERDICT_SEEK, VERDICT_END };

/* Beyond the last '+': another level there. Without one, nothing more can match. */
static enum verdict
beyond(const struct walk *w, struct place *ret_place)
{
	if (!w->plus)
		return VERDICT_END;
	*ret_place = w->after_plus;
	return VERDICT_SEEK;
}

/* One level. VERDICT_MATCH: so far. */
static enum verdict
walk_level(struct walk *w, struct place *ret_place)
{
	struct slice f = slice_cut(&w->f, '/', &w->f_more), t;
	bool is_plus = slice_eq(f, SL("+"));
	int order;

	if (!w->t_more) {
		/* The topic ends above; the first that matches below it is next. */
		*ret_place = (struct place){ .keep = w->at - 1, .from = w->least - 1 };
		return VERDICT_SEEK;
	}
	t = slice_cut(&w->t, '/', &w->t_more);
	order = is_plus ? 0 : level_order(f, t);
	if (order < 0)
		return beyond(w, ret_place);
	if (order > 0) {
		*ret_place = (struct place){ .keep = w->at, .from = w->least };
		return VERDICT_SEEK;
	}
	w->at += t.n + 1;
	w->least += (is_plus ? 0 : f.n) + 1;
	if (is_plus) {
		/* U+0001 is the first byte that is not '/', so this is the first level after
		 * <t>. */
		w->after_plus =
		    (struct place){ .keep = w->at - 1, .then = 1, .from = w->least - 1 };
		w->plus = true;
	}
	return VERDICT_MATCH;
}

/* Does the filter match <topic>? And where may the next match be? */
static enum verdict
judge(const struct retain_scan *s, struct slice topic, struct place *ret_place)
{
	struct walk w = { .f = filter_of(s), .t = topic, .f_more = true, .t_more = true };

	if (topic.p[0] == '$' && (s->text[0] == '+' || s->text[0] == '#')) {
		/* [MQTT-4.7.2-1]; '%' comes right after '$'. */
		*ret_place = (struct place){ .then = '%' };
		return VERDICT_SEEK;
	}
	while (w.f_more && !slice_eq(w.f, SL("#"))) {
		enum verdict v = walk_level(&w, ret_place);

		if (v != VERDICT_MATCH)
			return v;
	}
	if (s->hash) {
		/* '/' comes before all others, so this is the text right after <topic>. */
		*ret_place = (struct place){ .keep = topic.n, .then = '/', .from = s->least_n };
		return VERDICT_MATCH;
	}
	if (w.t_more)
		return beyond(&w, ret_place); /* too deep */
	if (!w.plus)
		*ret_place = (struct place){ .keep = topic.n, .then = '/', .from = s->least_n };
	else
		*ret_place = w.after_plus;
	return VERDICT_MATCH;
}

/* Put the place together as one text. */
static struct slice
spell(const struct retain_scan *s)
{
	uint8_t *out = s->r->scratch;
	size_t n = s->place.keep;
	struct slice least = least_of(s);

	if (n > 0)
		memcpy(out, msg_topic(s->last).p, n);
	if (s->place.then != 0)
		out[n++] = s->place.then;
	if (s->place.from < least.n) {
		memcpy(out + n, least.p + s->place.from, least.n - s->place.from);
		n += least.n - s->place.from;
	}
	return slice_of(out, n);
}

bool
retain_scan_next(struct retain_scan *s, unsigned max_hits, unsigned max_visits, uint32_t now_s,
    retain_hit *hit, void *ctx)
{
	unsigned hits = 0;

	for (unsigned visits = 0; !s->done && hits < max_hits && visits < max_visits; visits++) {
		struct msg *m = tree_from(&s->r->tree, spell(s));
		enum verdict v = m != NULL ? judge(s, msg_topic(m), &s->place) : VERDICT_END;

		s->done = v == VERDICT_END;
		msg_unref(s->last);
		s->last = s->done ? NULL : msg_ref(m);
		if (v != VERDICT_MATCH)
			continue;
		if (msg_expired(m, now_s)) {
			retain_expire(s->r, m);
			continue;
		}
		if (m->kept >= s->number)
			continue;
		hit(ctx, m);
		hits++;
	}
	return !s->done;
}
