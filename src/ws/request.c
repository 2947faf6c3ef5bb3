/* One HTTP/1.1 request head. Strict on purpose: what proxies and we could read in two ways is refused, not guessed. */
#include "ws/internal.h"

#include <strings.h>

#include "base/num.h"

static bool
is_token(struct slice s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";
	size_t i;

	for (i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
			continue;
		if (memchr(others, c, sizeof(others) - 1) == NULL)
			return false;
	}
	return s.n > 0;
}

struct slice
request_trim(struct slice s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = slice_from(s, 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

static bool
same_word(struct slice s, const char *word)
{
	return s.n == strlen(word) && strncasecmp((const char *)s.p, word, s.n) == 0;
}

/* Is <word> in the comma separated list? */
static bool
has_word(struct slice list, const char *word, bool exact)
{
	bool more = true;

	while (more) {
		struct slice item = request_trim(slice_cut(&list, ',', &more));

		if (exact ? slice_eq(item, slice_str(word)) : same_word(item, word))
			return true;
	}
	return false;
}

/* ---- headers ---- */

/* False: *why. */
typedef bool header_reader(struct request *r, struct slice value, const char **why);

static bool
on_host(struct request *r, struct slice value, const char **why)
{
	(void)value;
	*why = "more than one Host";
	return r->hosts++ == 0;
}

static bool
on_upgrade(struct request *r, struct slice value, const char **why)
{
	(void)why;
	r->has_upgrade = true;
	r->upgrade_websocket = r->upgrade_websocket || has_word(value, "websocket", false);
	return true;
}

static bool
on_connection(struct request *r, struct slice value, const char **why)
{
	(void)why;
	r->connection_upgrade = r->connection_upgrade || has_word(value, "upgrade", false);
	return true;
}

static bool
on_key(struct request *r, struct slice value, const char **why)
{
	*why = "more than one Sec-WebSocket-Key";
	if (r->key.p != NULL)
		return false;
	r->key = value;
	return true;
}

static bool
on_version(struct request *r, struct slice value, const char **why)
{
	*why = "more than one Sec-WebSocket-Version";
	r->version_13 = slice_eq(value, SL("13"));
	return r->versions++ == 0;
}

/* May come in several lines, which is the same as one list (RFC 6455 11.3.4). Names are compared to the letter. */
static bool
on_protocol(struct request *r, struct slice value, const char **why)
{
	(void)why;
	r->has_protocol = true;
	r->protocol_mqtt = r->protocol_mqtt || has_word(value, "mqtt", true);
	r->protocol_mqttv31 = r->protocol_mqttv31 || has_word(value, "mqttv3.1", true);
	return true;
}

static bool
on_origin(struct request *r, struct slice value, const char **why)
{
	*why = "more than one Origin";
	if (r->origin.p != NULL)
		return false;
	r->origin = value;
	return true;
}

/* Twice is legal and means one list; who does that gets the file. */
static bool
on_none_match(struct request *r, struct slice value, const char **why)
{
	(void)why;
	r->none_match = r->none_matches++ == 0 ? value : (struct slice){ 0 };
	return true;
}

static bool
on_body(struct request *r, struct slice value, const char **why)
{
	(void)why;
	r->has_body = r->has_body || !slice_eq(value, SL("0"));
	return true;
}

static const struct {
	const char *name;
	header_reader *read;
} headers[] = {
	{ "Host", on_host },
	{ "Upgrade", on_upgrade },
	{ "Connection", on_connection },
	{ "Sec-WebSocket-Key", on_key },
	{ "Sec-WebSocket-Version", on_version },
	{ "Sec-WebSocket-Protocol", on_protocol },
	{ "Origin", on_origin },
	{ "If-None-Match", on_none_match },
	{ "Content-Length", on_body },
	{ "Transfer-Encoding", on_body },
};

static bool
read_header(struct request *r, struct slice line, const char **why)
{
	bool colon = false;
	struct slice name = slice_cut(&line, ':', &colon), value = request_trim(line);
	size_t i;

	/* Also refuses a line that goes on the one before it, and a blank before the colon (RFC 9112 5.1, 5.2). */
	*why = "a header line that is not NAME: VALUE";
	if (!colon || !is_token(name))
		return false;
	if (value.p == NULL)
		value = SL("");
	for (i = 0; i < ARRAY_LEN(headers); i++)
		if (same_word(name, headers[i].name))
			return headers[i].read(r, value, why);
	return true;
}

static enum request_result
read_first(struct request *r, struct slice line, const char **why)
{
	bool one = false, two = false;
	size_t i;

	r->method = slice_cut(&line, ' ', &one);
	r->target = slice_cut(&line, ' ', &two);
	*why = "the first line is not METHOD TARGET HTTP/1.1";
	if (!one || !two || !is_token(r->method) || !slice_starts(line, SL("HTTP/")))
		return REQUEST_BAD;
	if (!slice_eq(line, SL("HTTP/1.1")))
		return REQUEST_VERSION;
	/* The origin form alone: this is nobody's proxy (RFC 9112 3.2). */
	*why = "the request target does not begin with a slash, or has bytes in it that must be "
	       "escaped";
	if (r->target.n == 0 || r->target.p[0] != '/')
		return REQUEST_BAD;
	for (i = 0; i < r->target.n; i++)
		if (r->target.p[i] <= 0x20 || r->target.p[i] >= 0x7f)
			return REQUEST_BAD;
	return REQUEST_OK;
}

/* Each line ends in CR LF, and neither stands alone; no other control character but TAB. *ret_end: behind the empty line,
 * 0 when it has not come. */
static bool
find_end(struct slice in, size_t *ret_end)
{
	size_t i;

	*ret_end = 0;
	for (i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];
		bool after_cr = i > 0 && in.p[i - 1] == '\r';

		if ((c == '\n') != after_cr)
			return false;
		if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f)
			return false;
		if (c == '\n' && i >= 3 && in.p[i - 2] == '\n') {
			*ret_end = i + 1;
			return true;
		}
	}
	return true;
}

static enum request_result
read_head(struct slice head, struct request *r, const char **why)
{
	struct slice line;
	bool more = true, first = true;
	enum request_result result = REQUEST_OK;

	while (more && result == REQUEST_OK) {
		line = slice_cut(&head, '\n', &more);
		line.n -= more ? 1 : 0; /* its CR */
		if (!more || line.n == 0)
			break;
		if (first)
			result = read_first(r, line, why);
		else if (!read_header(r, line, why))
			result = REQUEST_BAD;
		first = false;
	}
	return result;
}

enum request_result
request_parse(struct slice in, size_t max, struct request *ret, size_t *ret_n, const char **ret_why)
{
	struct slice seen = { in.p, NUM_MIN(in.n, max) };
	struct request r = { 0 };
	enum request_result result;
	size_t end = 0;

	*ret_why = "";
	if (in.n == 0)
		return REQUEST_MORE;
	if (in.p[0] < 'A' || in.p[0] > 'Z') {
		*ret_why = in.p[0] == 0x10 ? "an MQTT CONNECT without WebSocket"
					   : "bytes that are not HTTP";
		return REQUEST_NOT_HTTP;
	}
	if (!find_end(seen, &end)) {
		*ret_why = "a control character, or a line that does not end in CR LF";
		return REQUEST_BAD;
	}
	if (end == 0)
		return in.n >= max ? REQUEST_TOO_LARGE : REQUEST_MORE;
	result = read_head(slice_of(in.p, end), &r, ret_why);
	if (result != REQUEST_OK)
		return result;
	*ret_why = "no Host";
	if (r.hosts != 1)
		return REQUEST_BAD;
	*ret_why = "";
	*ret = r;
	*ret_n = end;
	return REQUEST_OK;
}
