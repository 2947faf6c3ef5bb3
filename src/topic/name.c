/* What topic names and filters are, and how two of them relate. No memory, no state: everything
 * here walks levels. */
#include "topic/topic.h"

/* A string on the wire has two bytes of length (1.5.4). The tree counts on it. */
enum { TOPIC_BYTES_MAX = 65535 };

enum level_kind { LEVEL_END, LEVEL_TEXT, LEVEL_PLUS, LEVEL_HASH };

/* The levels of one filter or name, one after the other. */
struct levels {
	struct slice rest, text;
	bool more;
};

static struct levels
levels_of(struct slice s)
{
	return (struct levels){ .rest = s, .more = true };
}

/* Of a filter: wildcards are told apart. */
static enum level_kind
levels_next(struct levels *l)
{
	if (!l->more)
		return LEVEL_END;
	l->text = slice_cut(&l->rest, '/', &l->more);
	if (l->text.n != 1)
		return LEVEL_TEXT;
	return l->text.p[0] == '+' ? LEVEL_PLUS : l->text.p[0] == '#' ? LEVEL_HASH : LEVEL_TEXT;
}

static bool
is_dollar(struct slice s)
{
	return s.n > 0 && s.p[0] == '$';
}

/* The bytes of <w> that are <c> have their high bit set in the result, the others are zero. */
static uint64_t
bytes_equal(uint64_t w, uint64_t c)
{
	const uint64_t low7 = 0x7f7f7f7f7f7f7f7fu;
	uint64_t x = w ^ (0x0101010101010101u * c);

	return ~(((x & low7) + low7) | x | low7);
}

bool
topic_name_ok(struct slice name)
{
	unsigned levels = 1;

	if (name.n == 0 || name.n > TOPIC_BYTES_MAX)
		return false; /* [MQTT-4.7.3-1], [MQTT-4.7.3-3] */
	/* Every PUBLISH comes through here, so eight bytes at a time. */
	for (size_t i = 0; i < name.n; i += 8) {
		size_t n = name.n - i < 8 ? name.n - i : 8;
		uint64_t w =
		    0x6161616161616161u; /* fills up the last word with what does no harm */

		if (n == 8)
			memcpy(&w, name.p + i, 8);
		else
			memcpy(&w, name.p + i, n);
		/* [MQTT-4.7.1-1], [MQTT-4.7.3-2] */
		if ((bytes_equal(w, '+') | bytes_equal(w, '#') | bytes_equal(w, 0)) != 0)
			return false;
		/* One bit a slash at the top of its byte: the multiplication adds them up. */
		levels += (unsigned)((bytes_equal(w, '/') >> 7) * 0x0101010101010101u >> 56);
		if (levels > TOPIC_LEVELS_MAX)
			return false;
	}
	return true;
}

bool
topic_filter_ok(struct slice filter)
{
	struct levels l = levels_of(filter);

	if (filter.n == 0 || filter.n > TOPIC_BYTES_MAX)
		return false; /* [MQTT-4.7.3-1], [MQTT-4.7.3-3] */
	if (memchr(filter.p, 0, filter.n) != NULL)
		return false; /* [MQTT-4.7.3-2] */
	for (unsigned n = 0; l.more; n++) {
		enum level_kind kind = levels_next(&l);

		if (n == TOPIC_LEVELS_MAX)
			return false;
		if (kind == LEVEL_HASH && l.more)
			return false; /* [MQTT-4.7.1-1] */
		if (kind == LEVEL_TEXT && topic_has_wildcard(l.text))
			return false; /* [MQTT-4.7.1-1], [MQTT-4.7.1-2] */
	}
	return true;
}

bool
topic_has_wildcard(struct slice filter)
{
	return filter.n > 0 &&
	       (memchr(filter.p, '+', filter.n) != NULL || memchr(filter.p, '#', filter.n) != NULL);
}

bool
topic_matches(struct slice filter, struct slice name)
{
	struct levels f = levels_of(filter), n = levels_of(name);

	for (bool first = true;; first = false) {
		enum level_kind kind = levels_next(&f);

		if (kind == LEVEL_HASH || kind == LEVEL_PLUS) {
			if (first && is_dollar(name))
				return false; /* [MQTT-4.7.2-1] */
			if (kind == LEVEL_HASH)
				return true; /* the name may have ended: parent (4.7.1.2) */
		}
		if (kind == LEVEL_END || !n.more)
			return kind == LEVEL_END && !n.more;
		n.text = slice_cut(&n.rest, '/', &n.more);
		if (kind == LEVEL_TEXT && !slice_eq(f.text, n.text))
			return false;
	}
}

/* '#' matches its parent level too, but two filters have a parent that is no name (nothing, and
 * the empty text). They match the same names as a longer filter, whose parent is one. */
static struct slice
spelled_out(struct slice filter)
{
	if (slice_eq(filter, SL("#")))
		return SL("+/#");
	return slice_eq(filter, SL("/#")) ? SL("/+/#") : filter;
}

bool
topic_covers(struct slice outer, struct slice inner)
{
	struct levels o = levels_of(outer), i = levels_of(spelled_out(inner));

	for (bool first = true;; first = false) {
		enum level_kind ok = levels_next(&o), ik = levels_next(&i);

		/* A filter that begins with a wildcard itself matches no '$' name, so only text
		 * can escape. */
		if (first && (ok == LEVEL_HASH || ok == LEVEL_PLUS) && ik == LEVEL_TEXT &&
		    is_dollar(i.text))
			return false;
		if (ok == LEVEL_HASH)
			return true;
		if (ok == LEVEL_END || ik == LEVEL_END)
			return ok == ik;
		/* <inner> matches the parent level, for which <outer> is too long. */
		if (ik == LEVEL_HASH)
			return false;
		if (ok == LEVEL_TEXT && (ik != LEVEL_TEXT || !slice_eq(o.text, i.text)))
			return false;
	}
}

bool
topic_overlaps(struct slice a, struct slice b)
{
	struct levels la = levels_of(spelled_out(a)), lb = levels_of(spelled_out(b));

	for (bool first = true;; first = false) {
		enum level_kind ka = levels_next(&la), kb = levels_next(&lb);

		/* One can only be text with '$' when the other is no wildcard [MQTT-4.7.2-1]. */
		if (first && ka != kb && (is_dollar(a) || is_dollar(b)))
			return false;
		if (ka == LEVEL_HASH || kb == LEVEL_HASH)
			return true;
		if (ka == LEVEL_END || kb == LEVEL_END)
			return ka == kb;
		if (ka == LEVEL_TEXT && kb == LEVEL_TEXT && !slice_eq(la.text, lb.text))
			return false;
	}
}

enum topic_share
topic_share_split(struct slice filter, struct slice *ret_name, struct slice *ret_filter)
{
	struct slice rest = filter, name;
	bool more;

	if (!slice_eq(slice_cut(&rest, '/', &more), SL("$share")))
		return TOPIC_SHARE_NO;
	if (!more)
		return TOPIC_SHARE_BAD;
	name = slice_cut(&rest, '/', &more);
	if (name.n == 0 || topic_has_wildcard(name) || memchr(name.p, 0, name.n) != NULL)
		return TOPIC_SHARE_BAD; /* [MQTT-4.8.2-1] */
	/* [MQTT-4.8.2-2]: a '/' and a topic filter must follow. */
	if (!more || !topic_filter_ok(rest))
		return TOPIC_SHARE_BAD;
	*ret_name = name;
	*ret_filter = rest;
	return TOPIC_SHARE_YES;
}
