/* One HTTP/1.1 request head. Strict on purpose: what proxies and we could read in two ways is refused, not guessed. */
#include "ws/internal.h"

#include "base/num.h"
#include "base/text.h"

/* Is <word> in the comma separated list, to the letter? */
static bool
lists(struct slice list, const char *word)
{
	bool more = true;

	while (more)
		if (slice_eq(text_trim(slice_cut(&list, ',', &more)), slice_str(word)))
			return true;
	return false;
}

/* ---- headers ---- */

/* False: *why. */
typedef bool header_reader(struct request *r, struct slice value, const char **why);

static bool
on_host(struct request *r, struct slice value, const char **why)
{
	*why = "more than one Host";
	r->host = value;
	return r->hosts++ == 0;
}

static bool
on_upgrade(struct request *r, struct slice value, const char **why)
{
	(void)why;
	r->has_upgrade = true;
	r->upgrade_websocket = r->upgrade_websocket || text_has_word(value, "websocket");
	return true;
}

static bool
on_connection(struct request *r, struct slice value, const char **why)
{
	(void)why;
	r->connection_upgrade = r->connection_upgrade || text_has_word(value, "upgrade");
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
	r->protocol_mqtt = r->protocol_mqtt || lists(value, "mqtt");
	r->protocol_mqttv31 = r->protocol_mqttv31 || lists(value, "mqttv3.1");
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

/* As above: who does that gets what everybody can read. */
static bool
on_accept(struct request *r, struct slice value, const char **why)
{
	(void)why;
	r->accept = r->accepts++ == 0 ? value : (struct slice){ 0 };
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
	{ "Accept-Encoding", on_accept },
	{ "Content-Length", on_body },
	{ "Transfer-Encoding", on_body },
};

static bool
read_header(struct request *r, struct slice line, const char **why)
{
	bool colon = false;
	struct slice name = slice_cut(&line, ':', &colon), value = text_trim(line);
	size_t i;

	/* Also refuses a line that goes on the one before it, and a blank before the colon (RFC 9112 5.1, 5.2). */
	*why = "a header line that is not NAME: VALUE";
	if (!colon || !text_is_token(name))
		return false;
	if (value.p == NULL)
		value = SL("");
	for (i = 0; i < ARRAY_LEN(headers); i++)
		if (text_same_word(name, headers[i].name))
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
	if (!one || !two || !text_is_token(r->method) || !slice_starts(line, SL("HTTP/")))
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
