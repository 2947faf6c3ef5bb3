/* "/api/v1/devices/a%20b?limit=10" into its parts. */
#include "api/http.h"

#include "base/num.h"
#include "base/text.h"

static bool
refuse(struct http_fault *f, unsigned status, const char *what)
{
	*f = (struct http_fault){ status, what };
	return false;
}

static int
hex(uint8_t c)
{
	uint8_t lower = (uint8_t)(c | 0x20);

	if (c >= '0' && c <= '9')
		return c - '0';
	return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* <s> without its %XX, written to *out, which moves on. No longer than <s>. */
static bool
decode(struct slice s, bool plus, char **out, struct slice *ret, struct http_fault *f)
{
	char *p = *out;

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c == '+' && plus)
			c = ' ';
		if (c == '%') {
			int high = i + 2 < s.n ? hex(s.p[i + 1]) : -1;
			int low = i + 2 < s.n ? hex(s.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return refuse(f, 400, "a % in the target is not followed by two hexadecimal digits");
			c = (uint8_t)(high << 4 | low);
			i += 2;
		}
		if (c < ' ' || c == 0x7f)
			return refuse(f, 400, "the target has a control character in it");
		*p++ = (char)c;
	}
	*ret = slice_of(*out, (size_t)(p - *out));
	*out = p;
	return utf8_ok(*ret) || refuse(f, 400, "the target is not UTF-8");
}

/* A slash that was encoded would be one part for us and two for whoever decodes first. */
static bool
segment_ok(struct slice s, struct http_fault *f)
{
	if (slice_eq(s, SL(".")) || slice_eq(s, SL("..")))
		return refuse(f, 400, "the path has . or .. in it");
	if (s.n == 0)
		return refuse(f, 400, "the path has an empty part");
	if (memchr(s.p, '/', s.n) != NULL || memchr(s.p, '\\', s.n) != NULL)
		return refuse(f, 400, "the path has an encoded slash or a backslash in it");
	return true;
}

static bool
read_path(struct slice path, struct http_path *t, char **out, struct http_fault *f)
{
	bool more = true;

	path = slice_from(path, 1);
	while (more) {
		struct slice raw = slice_cut(&path, '/', &more), s;

		if (raw.n == 0 && !more)
			return true; /* "/devices/" is "/devices" */
		if (t->n == HTTP_SEGMENTS_MAX)
			return refuse(f, 404, "nothing lies that deep");
		if (!decode(raw, false, out, &s, f) || !segment_ok(s, f))
			return false;
		t->segments[t->n++] = s;
	}
	return true;
}

static bool
read_query(struct slice query, struct http_path *t, char **out, struct http_fault *f)
{
	bool more = query.n > 0;

	while (more) {
		struct slice value = slice_cut(&query, '&', &more), name;
		struct http_param x;
		bool eq;

		if (value.n == 0)
			continue;
		if (t->n_query == HTTP_QUERY_MAX)
			return refuse(f, 400, "there are more than 24 parameters");
		name = slice_cut(&value, '=', &eq);
		if (!decode(name, true, out, &x.name, f) || !decode(value, true, out, &x.value, f))
			return false;
		for (unsigned i = 0; i < t->n_query; i++)
			if (slice_eq(t->query[i].name, x.name))
				return refuse(f, 400, "a parameter is there twice");
		t->query[t->n_query++] = x;
	}
	return true;
}

bool
http_read_target(struct slice target, struct http_path *ret, struct http_fault *ret_fault)
{
	char *out = ret->room;
	struct slice query = target, path;
	bool more;

	if (target.n == 0 || target.p[0] != '/' || target.n > sizeof(ret->room))
		return refuse(ret_fault, 400, "the target of the request is not a path");
	path = slice_cut(&query, '?', &more);
	ret->n = ret->n_query = 0;
	return read_path(path, ret, &out, ret_fault) && read_query(query, ret, &out, ret_fault);
}
