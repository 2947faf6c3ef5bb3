/* `topic` lines: words to filters, and a name here to its name there. */
#include <stdio.h>
#include <stdlib.h>
#include "base/slice.h"
#include "bridge/bridge.h"
#include "topic/topic.h"

enum { WORDS_MAX = 5 };

/* The next word; in quotes it may be empty or hold blanks. False at the end, or with *ret_bad when quotes do not close. */
static bool
next_word(struct slice *line, struct slice *ret, bool *ret_bad)
{
	size_t n = 0;
	bool quoted;

	while (line->n > 0 && (line->p[0] == ' ' || line->p[0] == '\t'))
		*line = slice_from(*line, 1);
	if (line->n == 0)
		return false;
	quoted = line->p[0] == '"';
	if (quoted)
		*line = slice_from(*line, 1);
	while (
	    n < line->n && (quoted ? line->p[n] != '"' : line->p[n] != ' ' && line->p[n] != '\t'))
		n++;
	*ret = slice_of(line->p, n);
	if (quoted && n == line->n) {
		*ret_bad = true;
		return false;
	}
	*line = slice_from(*line, quoted ? n + 1 : n);
	return true;
}

static char *
join(struct slice a, struct slice b)
{
	char *t = malloc(a.n + b.n + 1);

	if (t == NULL)
		return NULL;
	if (a.n > 0)
		memcpy(t, a.p, a.n);
	if (b.n > 0)
		memcpy(t + a.n, b.p, b.n);
	t[a.n + b.n] = '\0';
	return t;
}

void
bridge_topic_done(struct bridge_topic *t)
{
	free(t->local);
	free(t->remote);
	free(t->local_prefix);
	free(t->remote_prefix);
	*t = (struct bridge_topic){ 0 };
}

static const char *
read_direction(struct slice w, uint8_t *ret)
{
	if (slice_eq(w, SL("out")))
		*ret = BRIDGE_OUT;
	else if (slice_eq(w, SL("in")))
		*ret = BRIDGE_IN;
	else if (slice_eq(w, SL("both")))
		*ret = BRIDGE_BOTH;
	else
		return "the direction is none of out, in and both";
	return NULL;
}

static const char *
check(const struct slice *w)
{
	if (topic_has_wildcard(w[3]) || topic_has_wildcard(w[4]))
		return "a prefix must not have wildcards";
	if (w[0].n == 0 && (w[3].n == 0 || w[4].n == 0))
		return "an empty pattern needs a local and a remote topic in place of the prefixes";
	return NULL;
}

bool
bridge_topic_parse(struct slice line, struct bridge_topic *ret, const char **ret_why)
{
	struct slice w[WORDS_MAX] = { 0 }, extra;
	struct bridge_topic t = { .direction = BRIDGE_OUT };
	bool bad = false;
	unsigned n = 0;

	while (n < WORDS_MAX && next_word(&line, &w[n], &bad))
		n++;
	*ret_why = bad      ? "the quotes do not close"
		   : n == 0 ? "the pattern is missing"
		   : next_word(&line, &extra, &bad)
		       ? "more than PATTERN DIRECTION QOS LOCAL-PREFIX REMOTE-PREFIX"
		       : check(w);
	if (*ret_why == NULL && n > 1)
		*ret_why = read_direction(w[1], &t.direction);
	if (*ret_why == NULL && n > 2) {
		if (w[2].n != 1 || w[2].p[0] < '0' || w[2].p[0] > '2')
			*ret_why = "the QoS is none of 0, 1 and 2";
		else
			t.qos = (uint8_t)(w[2].p[0] - '0');
	}
	if (*ret_why != NULL)
		return false;
	t.local = join(w[3], w[0]);
	t.remote = join(w[4], w[0]);
	t.local_prefix = join(w[3], SL(""));
	t.remote_prefix = join(w[4], SL(""));
	if (t.local != NULL && t.remote != NULL && t.local_prefix != NULL &&
	    t.remote_prefix != NULL) {
		if (topic_filter_ok(slice_str(t.local)) && topic_filter_ok(slice_str(t.remote))) {
			*ret = t;
			return true;
		}
		*ret_why = "with its prefixes it is not a topic filter";
	}
	bridge_topic_done(&t);
	return false;
}

bool
bridge_topic_map(const struct bridge_topic *topics, unsigned n, uint8_t direction,
    struct slice name, struct slice *ret_prefix, struct slice *ret_rest)
{
	for (unsigned i = 0; i < n; i++) {
		const struct bridge_topic *t = &topics[i];
		bool out = direction == BRIDGE_OUT;
		struct slice prefix = slice_str(out ? t->local_prefix : t->remote_prefix);

		if ((t->direction & direction) == 0 || !slice_starts(name, prefix) ||
		    !topic_matches(slice_str(out ? t->local : t->remote), name))
			continue;
		*ret_prefix = slice_str(out ? t->remote_prefix : t->local_prefix);
		*ret_rest = slice_from(name, prefix.n);
		return true;
	}
	return false;
}
