/* One record as a line of text, and back. The reader takes exactly what the writer makes. */
#include "audit/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <openssl/evp.h>

static const char hash_mark[] = ",\"hash\":\"";
enum { TAIL = sizeof hash_mark - 1 + HASH_HEX + 2 }; /* from there to the closing brace */

void
audit_hash(struct slice text, char out[AUDIT_HASH_CAP])
{
	uint8_t sum[32];
	unsigned n = 0;

	/* Only a library without SHA-256 says no here. */
	if (EVP_Digest(text.p, text.n, sum, &n, EVP_sha256(), NULL) != 1 || n != sizeof sum)
		memset(sum, 0xff, sizeof sum);
	(void)text_hex(slice_of(sum, sizeof sum), out, AUDIT_HASH_CAP);
}

/* ---- write ---- */

struct out {
	char *p;
	size_t n;
	bool full;
};

static void __attribute__((format(printf, 2, 3)))
put(struct out *o, const char *fmt, ...)
{
	size_t room = AUDIT_LINE_MAX - o->n;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(o->p + o->n, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		o->full = true;
	else
		o->n += (size_t)n;
}

/* As a JSON string. Text that is not UTF-8 or longer than <max> is shown as people are shown such things. */
static void
put_string(struct out *o, const char *text, size_t max)
{
	char shown[AUDIT_VALUE_MAX + 1];
	struct slice s = slice_str(text);

	if (s.n > max || !utf8_ok(s))
		s = slice_str(text_show(s, shown, max + 1));
	put(o, "\"");
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c < 0x20 || c == 0x7f)
			put(o, "\\u%04x", c);
		else
			put(o, c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	put(o, "\"");
}

void
audit_time(int64_t t, char out[24])
{
	time_t when = (time_t)t;
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL || strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm) != AUDIT_TIME_CAP - 1)
		(void)snprintf(out, 24, "0000-00-00T00:00:00Z");
}

size_t
audit_format(const struct audit_record *r, uint64_t n, const char *prev, char *out, char ret_hash[AUDIT_HASH_CAP])
{
	struct out o = { .p = out };
	char stamp[24];

	audit_time(r->time != 0 ? r->time : (int64_t)time(NULL), stamp);
	put(&o, "{\"n\":%llu,\"time\":\"%s\",\"actor\":", (unsigned long long)n, stamp);
	put_string(&o, r->actor, AUDIT_ACTOR_MAX);
	put(&o, ",\"action\":");
	put_string(&o, r->action, AUDIT_ACTION_MAX);
	put(&o, ",\"object\":");
	put_string(&o, r->object, AUDIT_OBJECT_MAX);
	put(&o, ",\"details\":{");
	for (size_t i = 0; i < r->n_details && i < AUDIT_DETAILS_MAX; i++) {
		put(&o, i > 0 ? "," : "");
		put_string(&o, r->details[i].name, AUDIT_NAME_MAX);
		put(&o, ":");
		put_string(&o, r->details[i].value, AUDIT_VALUE_MAX);
	}
	put(&o, "},\"prev\":\"%s\"", prev);
	if (o.full)
		return 0;
	audit_hash(slice_of(out, o.n), ret_hash);
	put(&o, "%s%s\"}\n", hash_mark, ret_hash);
	return o.full ? 0 : o.n;
}

/* ---- read ---- */

struct in {
	struct slice all, rest;
	struct parsed *p;
	struct err *err;
};

static bool
bad(struct in *in, const char *what)
{
	return err_set(in->err, ERR_INPUT, "byte %zu of it %s", in->all.n - in->rest.n + 1, what);
}

static bool
literal(struct in *in, struct slice want)
{
	if (!slice_starts(in->rest, want))
		return bad(in, "is not what the program writes");
	in->rest = slice_from(in->rest, want.n);
	return true;
}

/* \", \\ and \u00NN, which is all that the writer uses. */
static bool
unescape(struct in *in, char *ret)
{
	char digits[5] = "";
	uint8_t c = in->rest.n > 1 ? in->rest.p[1] : 0;
	unsigned value;

	if (c == '"' || c == '\\') {
		*ret = (char)c;
		in->rest = slice_from(in->rest, 2);
		return true;
	}
	if (c != 'u' || in->rest.n < 6)
		return bad(in, "begins an escape that the program does not write");
	memcpy(digits, in->rest.p + 2, 4);
	if (strspn(digits, "0123456789abcdef") != 4 || sscanf(digits, "%4x", &value) != 1 || value == 0 || value > 0x7f)
		return bad(in, "begins an escape that the program does not write");
	*ret = (char)value;
	in->rest = slice_from(in->rest, 6);
	return true;
}

static bool
string(struct in *in, const char **ret)
{
	char *start = in->p->end;

	if (!literal(in, SL("\"")))
		return false;
	while (in->rest.n > 0 && in->rest.p[0] != '"') {
		if (in->rest.p[0] < 0x20)
			return bad(in, "is a control character");
		if (in->rest.p[0] != '\\') {
			*in->p->end++ = (char)in->rest.p[0];
			in->rest = slice_from(in->rest, 1);
		} else if (unescape(in, in->p->end)) {
			in->p->end++;
		} else {
			return false;
		}
	}
	if (!utf8_ok(slice_of(start, (size_t)(in->p->end - start))))
		return bad(in, "ends text that is not UTF-8");
	*in->p->end++ = '\0';
	*ret = start;
	return literal(in, SL("\""));
}

static bool
number(struct in *in, uint64_t *ret)
{
	size_t n = 0;

	while (n < in->rest.n && in->rest.p[n] >= '0' && in->rest.p[n] <= '9')
		n++;
	if (!text_u64(slice_of(in->rest.p, n), 1, UINT64_MAX, ret) || in->rest.p[0] == '0')
		return bad(in, "begins no number");
	in->rest = slice_from(in->rest, n);
	return true;
}

static bool
hash_text(struct in *in, const char **ret)
{
	if (!string(in, ret))
		return false;
	if (strlen(*ret) != HASH_HEX || strspn(*ret, "0123456789abcdef") != HASH_HEX)
		return bad(in, "ends what should be a hash");
	return true;
}

static bool
details(struct in *in)
{
	struct audit_seen *s = &in->p->seen;
	struct audit_detail *d = in->p->details;

	s->details = d;
	while (!slice_starts(in->rest, SL("}"))) {
		if (s->n_details == AUDIT_DETAILS_MAX)
			return bad(in, "begins more details than a record has");
		if ((s->n_details > 0 && !literal(in, SL(","))) || !string(in, &d[s->n_details].name) || !literal(in, SL(":")) ||
		    !string(in, &d[s->n_details].value))
			return false;
		s->n_details++;
	}
	return true;
}

bool
audit_parse(struct parsed *p, struct slice line, struct err *err)
{
	struct in in = { line, line, p, err };
	struct audit_seen *s = &p->seen;

	*s = (struct audit_seen){ .text = line };
	p->text = p->end = p->room;
	if (line.n >= AUDIT_LINE_MAX)
		return err_set(err, ERR_INPUT, "it has more than %d bytes", AUDIT_LINE_MAX);
	if (!literal(&in, SL("{\"n\":")) || !number(&in, &s->n) || !literal(&in, SL(",\"time\":")) || !string(&in, &s->time) ||
	    !literal(&in, SL(",\"actor\":")) || !string(&in, &s->actor) || !literal(&in, SL(",\"action\":")) ||
	    !string(&in, &s->action) || !literal(&in, SL(",\"object\":")) || !string(&in, &s->object) ||
	    !literal(&in, SL(",\"details\":{")) || !details(&in) || !literal(&in, SL("},\"prev\":")) || !hash_text(&in, &s->prev) ||
	    !literal(&in, SL(",\"hash\":")) || !hash_text(&in, &s->hash) || !literal(&in, SL("}")))
		return false;
	return in.rest.n == 0 || bad(&in, "is behind the end of the record");
}

bool
audit_intact(const struct parsed *p)
{
	char sum[AUDIT_HASH_CAP];

	audit_hash(slice_of(p->seen.text.p, p->seen.text.n - TAIL), sum);
	return strcmp(sum, p->seen.hash) == 0;
}
