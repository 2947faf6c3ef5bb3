/* MQTT over WebSocket on control's own address, for the console: who is signed in is looked up here, and from then on bytes go to the
 * broker's socket with `protocol console` and back. The broker learns from a PROXY header (version 2) who it is and where he is; what
 * he may see is its own rule. A session that ends takes its tunnels with it. */
#include "api/internal.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/num.h"
#include "base/text.h"

enum {
	TUNNELS_MAX = 256,
	OF_ONE_MAX = 16,         /* of a user */
	WAITING_MAX = 256 * 1024, /* bytes on their way to a side; above it nothing is read from the other one */
	END_S = 10,              /* for what the broker said last */
	KEY_N = 24,              /* Sec-WebSocket-Key: 16 bytes in base64 (RFC 6455 4.1) */
};

struct tunnel {
	struct tunnel *prev, *next;
	struct api *api;
	struct chan *chan;
	struct bufferevent *near, *far;
	struct token token; /* by which he is here */
	bool all;           /* he sees all tenants' messages */
	bool ending;
};

void
tunnel_free(struct tunnel *t)
{
	if (t == NULL)
		return;
	if (t->prev != NULL)
		t->prev->next = t->next;
	else
		t->api->tunnels = t->next;
	if (t->next != NULL)
		t->next->prev = t->prev;
	t->api->n_tunnels--;
	bufferevent_free(t->far);
	free(t);
}

/* ---- bytes ---- */

static void
pass(struct tunnel *t, struct bufferevent *from, struct bufferevent *to)
{
	struct evbuffer *out = bufferevent_get_output(to);

	(void)t;
	(void)evbuffer_add_buffer(out, bufferevent_get_input(from));
	if (evbuffer_get_length(out) > WAITING_MAX)
		(void)bufferevent_disable(from, EV_READ);
}

static void
on_near_read(struct bufferevent *b, void *ctx)
{
	struct tunnel *t = ctx;

	if (!t->ending)
		pass(t, b, t->far);
}

static void
on_far_read(struct bufferevent *b, void *ctx)
{
	struct tunnel *t = ctx;

	pass(t, b, t->near);
}

/* What waited is gone. */
static void
on_near_write(struct bufferevent *b, void *ctx)
{
	struct tunnel *t = ctx;

	(void)b;
	if (t->ending)
		chan_end(t->chan);
	else
		(void)bufferevent_enable(t->far, EV_READ);
}

static void
on_far_write(struct bufferevent *b, void *ctx)
{
	struct tunnel *t = ctx;

	(void)b;
	(void)bufferevent_enable(t->near, EV_READ);
}

static void
on_near_event(struct bufferevent *b, short what, void *ctx)
{
	struct tunnel *t = ctx;

	(void)b;
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)) != 0)
		chan_end(t->chan);
}

/* The broker's last words are still to be heard. */
static void
on_far_event(struct bufferevent *b, short what, void *ctx)
{
	static const struct timeval patience = { .tv_sec = END_S };
	struct tunnel *t = ctx;

	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) == 0)
		return;
	pass(t, b, t->near);
	t->ending = true;
	(void)bufferevent_disable(b, EV_READ | EV_WRITE);
	if (evbuffer_get_length(bufferevent_get_output(t->near)) == 0)
		chan_end(t->chan);
	else
		(void)bufferevent_set_timeouts(t->near, NULL, &patience);
}

/* ---- what the broker is told ---- */

static void
put(struct evbuffer *out, const void *p, size_t n)
{
	(void)evbuffer_add(out, p, n);
}

static void
put_u8(struct evbuffer *out, unsigned v)
{
	uint8_t b = (uint8_t)v;

	put(out, &b, 1);
}

static void
put_u16(struct evbuffer *out, size_t v)
{
	put_u8(out, (unsigned)(v >> 8) & 0xff);
	put_u8(out, (unsigned)v & 0xff);
}

/* Source and destination; of the latter nothing is known that matters. */
static void
put_addresses(struct evbuffer *out, const struct sockaddr_storage *a)
{
	static const uint8_t none[16];
	const struct sockaddr_in6 *six = (const void *)a;
	const struct sockaddr_in *four = (const void *)a;

	if (a->ss_family == AF_INET6) {
		put(out, &six->sin6_addr, 16);
		put(out, none, 16);
		put(out, &six->sin6_port, 2);
	} else {
		put(out, &four->sin_addr, 4);
		put(out, none, 4);
		put(out, &four->sin_port, 2);
	}
	put_u16(out, 0);
}

/* [PROXY protocol, 2.2 and 2.2.6] */
static void
put_header(struct evbuffer *out, const struct sockaddr_storage *a, struct slice who)
{
	static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
	static const uint8_t verified[4];
	bool six = a->ss_family == AF_INET6;
	size_t ssl_n = 1 + 4 + 3 + who.n;

	put(out, signature, 12);
	put_u8(out, 0x21); /* version 2, PROXY */
	put_u8(out, six ? 0x21 : 0x11);
	put_u16(out, (six ? 36u : 12u) + 3 + ssl_n);
	put_addresses(out, a);
	put_u8(out, 0x20); /* PP2_TYPE_SSL */
	put_u16(out, ssl_n);
	put_u8(out, 1 | 2); /* TLS, and somebody who was looked at */
	put(out, verified, 4);
	put_u8(out, 0x22); /* PP2_SUBTYPE_SSL_CN */
	put_u16(out, who.n);
	put(out, who.p, who.n);
}

/* Whoever may look after all tenants sees everything; the others what is below the name of their own. */
static bool
sees_all(struct api *a, const struct actor *who)
{
	return who->first && auth_permits(a, who, HTTP_GET, "/api/v1/tenants/");
}

static void
greet(struct evbuffer *out, const struct call *c, bool all, struct slice key)
{
	char who[REGISTRY_NAME_MAX + 16];

	(void)snprintf(who, sizeof(who), "%s %s", all ? "all" : "tenant", all ? c->actor.name + strlen("user:") : c->actor.tenant);
	put_header(out, chan_addr(c->chan), slice_str(who));
	(void)evbuffer_add_printf(out, "GET /mqtt HTTP/1.1\r\nHost: console\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				       "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: %.*s\r\n\r\n", SL_ARG(key));
}

/* ---- the beginning ---- */

static int
reach(const char *path)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX };
	int fd = path != NULL && text_copy(u.sun_path, sizeof(u.sun_path), slice_str(path)) ? socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;

	if (fd == -1 || connect(fd, (const struct sockaddr *)&u, sizeof(u)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static void
begin(struct call *c, struct slice key, int fd)
{
	struct tunnel *t = calloc(1, sizeof(*t));
	struct bufferevent *far = t != NULL ? bufferevent_socket_new(c->api->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;

	if (far == NULL) {
		free(t);
		(void)close(fd);
		call_json(c, 503, NULL);
		return;
	}
	*t = (struct tunnel){ .api = c->api, .chan = c->chan, .far = far, .next = c->api->tunnels, .all = sees_all(c->api, &c->actor) };
	t->token = (struct token){ .user = c->actor.user, .generation = c->actor.generation, .expires = c->actor.expires, .since = c->actor.since };
	memcpy(t->token.jti, c->actor.jti, sizeof(t->token.jti));
	memcpy(t->token.tenant, c->actor.tenant, sizeof(t->token.tenant));
	if (t->next != NULL)
		t->next->prev = t;
	c->api->tunnels = t;
	c->api->n_tunnels++;
	greet(bufferevent_get_output(far), c, t->all, key);
	t->near = chan_lend(c->chan, t); /* the call is gone */
	bufferevent_setcb(far, on_far_read, on_far_write, on_far_event, t);
	bufferevent_setcb(t->near, on_near_read, on_near_write, on_near_event, t);
	bufferevent_setwatermark(far, EV_READ, 0, WAITING_MAX);
	bufferevent_setwatermark(t->near, EV_READ, 0, WAITING_MAX);
	pass(t, t->near, far);
	(void)bufferevent_enable(far, EV_READ | EV_WRITE);
	(void)bufferevent_enable(t->near, EV_READ | EV_WRITE);
}

static bool
is_key(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
			return false;
	return s.n == KEY_N;
}

static bool
wants_upgrade(struct call *c, struct slice *ret_key)
{
	struct slice upgrade, protocol;

	return http_header(&c->head, "Upgrade", &upgrade) && text_same_word(upgrade, "websocket") &&
	       http_header(&c->head, "Sec-WebSocket-Protocol", &protocol) && text_has_word(protocol, "mqtt") &&
	       http_header(&c->head, "Sec-WebSocket-Key", ret_key) && is_key(*ret_key) && c->head.method == HTTP_GET && !c->head.chunked && c->head.length == 0;
}

static unsigned
count_of(const struct api *a, int64_t user)
{
	unsigned n = 0;

	for (const struct tunnel *t = a->tunnels; t != NULL; t = t->next)
		n += t->token.user == user;
	return n;
}

static bool
may_look(struct api *a, const struct actor *who)
{
	return who->kind == ACTOR_USER && auth_permits(a, who, HTTP_GET, "/api/v1/messages/");
}

bool
tunnel_serve(struct call *c)
{
	static const struct op op = { .id = "messages", .method = HTTP_GET, .path = "/mqtt", .flags = OP_QUIET };
	struct slice key;
	int fd;

	if (!slice_eq(c->head.target, SL("/mqtt")))
		return false;
	c->op = &op;
	if (!auth_who(c))
		return true;
	if (!wants_upgrade(c, &key))
		call_problem(c, 400, "websocket", "use an MQTT client that speaks WebSocket", "this is for WebSocket with the subprotocol mqtt, and nothing else");
	else if (!may_look(c->api, &c->actor))
		call_problem(c, 403, "permission", "an administrator can give a permission for GET and /api/v1/messages to you or a group of yours",
		    "%s may not look at messages", c->actor.name);
	else if (c->api->n_tunnels >= TUNNELS_MAX || count_of(c->api, c->actor.user) >= OF_ONE_MAX)
		call_problem(c, 503, "limit", "close one of them", "too many pages look at messages already");
	else if ((fd = reach(c->api->config->console)) == -1)
		call_problem(c, 503, "no-broker", "see that the broker runs, and has a `listener 0 PATH` with `protocol console`", "the broker cannot be reached");
	else
		begin(c, key, fd);
	return true;
}

/* ---- the end of a session ---- */

void
tunnels_renew(struct api *a, const char *jti, int64_t expires)
{
	for (struct tunnel *t = a->tunnels; t != NULL; t = t->next)
		if (strcmp(t->token.jti, jti) == 0)
			t->token.expires = expires;
}

void
tunnels_end(struct api *a, const char *jti)
{
	struct tunnel *t, *next;

	for (t = a->tunnels; t != NULL; t = next) {
		next = t->next;
		if (strcmp(t->token.jti, jti) == 0)
			chan_end(t->chan);
	}
}

void
tunnels_check(struct api *a)
{
	struct tunnel *t, *next;
	struct actor who;

	for (t = a->tunnels; t != NULL; t = next) {
		next = t->next;
		if (t->token.expires <= api_now(a) || !auth_still(a, &t->token, &who) || !may_look(a, &who) || (t->all && !sees_all(a, &who)))
			chan_end(t->chan);
	}
}
