/* What a request gets: the upgrade, a page, a file, or why not. */
#include "ws/internal.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/num.h"
#include "base/text.h"

enum { KEY_N = 24 };

/* 16 bytes in base64 (RFC 6455 4.2.1). */
static bool
is_key(struct slice s)
{
	size_t i;

	if (s.n != KEY_N || s.p[22] != '=' || s.p[23] != '=')
		return false;
	for (i = 0; i < 22; i++) {
		uint8_t c = s.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			c == '+' || c == '/'))
			return false;
	}
	return true;
}

/* "localhost", or an address, and perhaps a port: no name that somebody else's DNS could lead here. */
static bool
is_no_foreign_name(struct slice host)
{
	size_t i;

	if (slice_starts(host, SL("[")))
		return true;
	if (slice_eq(host, SL("localhost")) || slice_starts(host, SL("localhost:")))
		return true;
	for (i = 0; i < host.n && host.p[i] != ':'; i++)
		if (host.p[i] != '.' && (host.p[i] < '0' || host.p[i] > '9'))
			return false;
	return host.n > 0;
}

/* Our own page says whence it came in both headers. Where we have TLS it has come by it: whoever is on the way could show one without.
 * Where we have none a site of somebody else's could have its name resolved to our address, and say so, too (DNS rebinding). */
static bool
is_our_page(const struct request *r, const struct ws_config *c)
{
	struct slice host = r->origin;

	if (slice_starts(host, SL("https://")))
		host = slice_from(host, strlen("https://"));
	else if (!c->tls && slice_starts(host, SL("http://")))
		host = slice_from(host, strlen("http://"));
	else
		return false;
	return slice_eq(host, r->host) && (c->tls || is_no_foreign_name(host));
}

static bool
may_come(const struct request *r, const struct ws_config *c)
{
	unsigned i;

	if (r->origin.p == NULL || (c->n_origins == 0 && c->pages == NULL))
		return true;
	for (i = 0; i < c->n_origins; i++)
		if (slice_eq(r->origin, slice_str(c->origins[i])))
			return true;
	return c->pages != NULL && is_our_page(r, c);
}

static struct answer
error(unsigned status, const char *why)
{
	return (struct answer){ ANSWER_ERROR, status, why };
}

static struct answer
answer_to_file(const struct request *r, const struct ws_config *c)
{
	if (!slice_eq(r->method, SL("GET")) && !slice_eq(r->method, SL("HEAD")))
		return error(405, "a method other than GET and HEAD");
	if (c->files == NULL && c->pages == NULL)
		return error(404, "a request without Upgrade: websocket, and there is no http_dir");
	return (struct answer){ ANSWER_FILE, 200, "" };
}

static struct answer
answer_plainly(const struct request *r, const struct ws_config *c)
{
	if (c->forbidden != NULL)
		return error(403, c->forbidden);
	/* An upgrade that is not done is no error (RFC 9110 7.8). */
	return answer_to_file(r, c);
}

struct answer
answer_to(const struct request *r, const struct ws_config *c)
{
	if (r->has_body)
		return error(400, "a request with a body");
	if (c->plain)
		return answer_plainly(r, c);
	if (!r->has_upgrade)
		return answer_to_file(r, c);
	if (!slice_eq(r->method, SL("GET")))
		return error(405, "an upgrade whose method is not GET");
	if (!r->upgrade_websocket)
		return error(400, "an upgrade to something other than websocket");
	if (!r->connection_upgrade)
		return error(400, "no Connection: Upgrade");
	if (!r->version_13)
		return error(426, "a Sec-WebSocket-Version other than 13");
	if (!is_key(r->key))
		return error(400, "no Sec-WebSocket-Key of 16 bytes");
	if (!may_come(r, c))
		return (struct answer){ ANSWER_CLOSE, 403,
			"an Origin that is not in websockets_origin" };
	/* [MQTT-6.0.0-3] */
	if (!r->protocol_mqtt && !r->protocol_mqttv31)
		return error(400, r->has_protocol
				      ? "no Sec-WebSocket-Protocol that is mqtt or mqttv3.1"
				      : "no Sec-WebSocket-Protocol: mqtt");
	return (struct answer){ ANSWER_SWITCH, 101, "" };
}

static size_t put(char *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static size_t
put(char *out, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, ANSWER_CAP, fmt, ap);
	va_end(ap);
	ASSERT(n > 0 && n < ANSWER_CAP);
	return (size_t)n;
}

/* In the order and spelling that mosquitto's clients have seen for years. */
size_t
answer_put_switch(const struct request *r, char *out)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
	uint8_t text[KEY_N + sizeof(guid) - 1], digest[SHA_DIGEST_LENGTH];
	char accept[32];

	ASSERT(r->key.n == KEY_N);
	memcpy(text, r->key.p, KEY_N);
	memcpy(text + KEY_N, guid, sizeof(guid) - 1);
	(void)SHA1(text, sizeof(text), digest);
	(void)EVP_EncodeBlock((unsigned char *)accept, digest, sizeof(digest));
	return put(out,
	    "HTTP/1.1 101 Switching Protocols\r\n"
	    "Upgrade: WebSocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: %s\r\n"
	    "Sec-WebSocket-Protocol: %s\r\n\r\n",
	    accept, r->protocol_mqtt ? "mqtt" : "mqttv3.1");
}

size_t
answer_put_file(const char *type, const struct ws_file *f, char *out)
{
	return put(out,
	    "HTTP/1.1 200 OK\r\n"
	    "Content-Type: %s\r\n"
	    "Content-Length: %" PRIu64 "\r\n"
	    "%s%s%s"
	    "X-Content-Type-Options: nosniff\r\n"
	    "Connection: close\r\n\r\n",
	    type, f->size, f->tag[0] != '\0' ? "ETag: " : "", f->tag,
	    f->tag[0] != '\0' ? "\r\nCache-Control: no-cache\r\n" : "");
}

size_t
answer_put_same(const struct ws_file *f, char *out)
{
	return put(out,
	    "HTTP/1.1 304 Not Modified\r\n"
	    "ETag: %s\r\n"
	    "Cache-Control: no-cache\r\n"
	    "Connection: close\r\n\r\n",
	    f->tag);
}

/* What follows W/, which a weak comparison does not look at. */
static struct slice
opaque_tag(struct slice s)
{
	return slice_starts(s, SL("W/")) ? slice_from(s, 2) : s;
}

bool
answer_is_same(const struct request *r, const struct ws_file *f)
{
	struct slice list = r->none_match, ours = opaque_tag(slice_str(f->tag));
	bool more = true;

	if (list.p == NULL || ours.n == 0)
		return false;
	while (more) {
		/* Ours has no comma in it, so cutting others in two does no harm. */
		struct slice item = text_trim(slice_cut(&list, ',', &more));

		if (slice_eq(item, SL("*")) || slice_eq(opaque_tag(item), ours))
			return true;
	}
	return false;
}

static const struct status {
	unsigned status;
	const char *text, *header;
} statuses[] = {
	{ 200, "OK", "" },
	{ 302, "Found", "" },
	{ 304, "Not Modified", "" },
	{ 400, "Bad Request", "" },
	{ 403, "Forbidden", "" },
	{ 404, "Not Found", "" },
	{ 405, "Method Not Allowed", "Allow: GET, HEAD\r\n" },
	{ 426, "Upgrade Required",
	    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" }, /* RFC 6455 4.2.2 */
	{ 431, "Request Header Fields Too Large", "" },
	{ 505, "HTTP Version Not Supported", "" },
};

static const struct status *
status_of(unsigned status)
{
	size_t i = 0;

	while (i < ARRAY_LEN(statuses) - 1 && statuses[i].status != status)
		i++;
	return &statuses[i];
}

/* Nothing of the request is repeated in it. */
size_t
answer_put_error(unsigned status, const char *why, bool head_only, char *out)
{
	const struct status *s = status_of(status);

	return put(out,
	    "HTTP/1.1 %u %s\r\n"
	    "%s"
	    "Content-Type: text/plain\r\n"
	    "Content-Length: %zu\r\n"
	    "Connection: close%s\r\n\r\n"
	    "%s%s",
	    s->status, s->text, s->header, strlen(why) + 1,
	    status == 426 ? ", Upgrade" : "", head_only ? "" : why, head_only ? "" : "\n");
}

size_t
answer_put_page(const struct ws_page *p, char *out)
{
	char length[48] = ""; /* of 304 it would be another one's (RFC 9110 8.6) */
	int n;

	if (p->status != 304)
		(void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", p->body.n);
	n = snprintf(out, ANSWER_PAGE_CAP, "HTTP/1.1 %u %s\r\n%s%sConnection: close\r\n\r\n", p->status, status_of(p->status)->text, p->fields, length);
	ASSERT(n > 0 && n < ANSWER_PAGE_CAP);
	return (size_t)n;
}
