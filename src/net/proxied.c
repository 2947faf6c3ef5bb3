/* A PROXY header in front of everything else, TLS too: who may send one, and what it changes. Only bytes of the header are taken
 * from the socket, so that what follows does not know that there was one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/num.h"
#include "base/text.h"
#include "net/internal.h"
#include "proxy/proxy.h"

enum { NAME_MAX_BYTES = 255 };

_Static_assert((int)PROXY_MAX <= (int)RX_SIZE, "a header fits into the window");

/* ---- the header ---- */

static void
refuse(struct conn *c, enum net_failure_kind kind, const char *why)
{
	struct net_failure f = { .kind = kind, .alert = -1, .detail = why };

	conn_fail(c, &f);
}

/* What is missing in what the header says of the client; NULL: nothing. <ret_name> is whom it is, if the proxy may say so. */
static const char *
judge(const struct limbo *b, const struct proxy_header *h, struct slice *ret_name)
{
	const struct net_proxy *p = b->proxy;

	if (p->require_tls && !h->ssl)
		return "the client has not spoken TLS with the proxy, or the proxy does not say so";
	if (!proxy_range_has(p->identity_from, p->n_identity_from, &b->addr))
		return p->require_certificate ? "a certificate is required, and this proxy's word on certificates is not taken"
					      : NULL;
	if (!h->certificate)
		return p->require_certificate ? "the client has shown no certificate to the proxy" : NULL;
	if (!h->verified)
		return "the proxy could not verify the client's certificate";
	if (h->cn.n == 0 || h->cn.n > NAME_MAX_BYTES || !utf8_ok(h->cn))
		return "the common name in the client's certificate is missing, or no text";
	*ret_name = h->cn;
	return NULL;
}

/* A proxy that only looks whether we are there is no client, and no event. */
static void
end_look(struct conn *c)
{
	struct net_failure f = { .kind = NET_FAIL_CLOSED, .alert = -1, .probe = true, .detail = "a proxy's look at the port" };

	conn_fail(c, &f);
}

static void
take(struct conn *c, const struct proxy_header *h)
{
	struct limbo *b = c->limbo;
	struct slice name = { 0 };
	const char *why = judge(b, h, &name);

	/* The refusal is the client's, not the proxy's. */
	if (!h->local && !h->unknown)
		b->addr = h->client;
	if (why != NULL && h->local) {
		end_look(c);
		return;
	}
	if (why != NULL) {
		refuse(c, NET_FAIL_PROXY_CLIENT, why);
		return;
	}
	if ((why = net_admit(c->loop, b->listener, &b->addr)) != NULL) {
		refuse(c, NET_FAIL_LIMIT, why);
		return;
	}
	if (name.n > 0 && (b->proxy_identity = text_dup(name)) == NULL) {
		conn_close(c, NULL);
		return;
	}
	c->state = CONN_WAIT;
}

void
proxy_readable(struct conn *c)
{
	const struct net_proxy *p = c->limbo->proxy;
	uint8_t *at = c->loop->rx;
	size_t held = c->rest != NULL ? c->rest->n : 0, more;
	struct proxy_header h = { 0 };
	enum proxy_result r;
	ssize_t n = recv(c->src.fd, at + held, PROXY_MAX - held, MSG_PEEK);

	if (n <= 0) {
		conn_recv_end(c, n);
		return;
	}
	if (!proxy_range_has(p->from, p->n_from, &c->limbo->addr)) {
		refuse(c, NET_FAIL_PROXY_SENDER, "not an address of a proxy");
		return;
	}
	if (held > 0)
		memcpy(at, c->rest->p + c->rest->off, held);
	r = proxy_read(p->version, slice_of(at, held + (size_t)n), &h);
	if (r == PROXY_BAD) {
		refuse(c, NET_FAIL_PROXY_HEADER, h.why);
		return;
	}
	more = r == PROXY_DONE ? h.used - held : (size_t)n;
	/* It is there: it has just been looked at. */
	if (recv(c->src.fd, at + held, more, 0) != (ssize_t)more) {
		conn_close(c, NULL);
		return;
	}
	if (r == PROXY_MORE) {
		if (!block_append(&c->rest, at + held, more))
			conn_close(c, NULL);
		return;
	}
	block_free(&c->rest);
	take(c, &h);
}
