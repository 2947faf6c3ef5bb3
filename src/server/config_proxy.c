/* Listeners behind a load balancer: whose PROXY header is believed, and how far. */
#include "server/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

enum { SHOW_CAP = 120 };

static struct config_listener *
current(struct parse *p)
{
	return p->listener < 0 ? &p->c->fallback : &p->c->listeners[p->listener];
}

static bool
add(struct parse *p, struct proxy_range **v, unsigned *n, const struct proxy_range *r)
{
	struct proxy_range *more;

	if (*n >= CONFIG_RANGES_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d addresses of one listener", CONFIG_RANGES_MAX);
	more = reallocarray(*v, (size_t)*n + 1, sizeof(*more));
	if (more == NULL)
		return parse_fail(p, ERR_MEMORY, "out of memory");
	*v = more;
	more[(*n)++] = *r;
	return true;
}

static bool
read_ranges(struct parse *p, struct slice value, bool identity)
{
	struct config_listener *l = current(p);
	struct slice word;
	char show[SHOW_CAP];

	while ((word = parse_word(&value)).n > 0) {
		struct proxy_range r;

		if (!proxy_range_parse(word, &r))
			return parse_fail(p, ERR_USAGE, "\"%s\" is none of ADDRESS, ADDRESS/BITS (with nothing set behind the bits) and unix",
			    text_show(word, show, sizeof(show)));
		if (!add(p, &l->proxy_from, &l->n_proxy_from, &r) ||
		    (identity && !add(p, &l->proxy_identity_from, &l->n_proxy_identity_from, &r)))
			return false;
	}
	return true;
}

bool
read_proxy_from(struct parse *p, struct slice value)
{
	return read_ranges(p, value, false);
}

/* Who may say whom a client is may say where it is. */
bool
read_proxy_identity_from(struct parse *p, struct slice value)
{
	return read_ranges(p, value, true);
}

static bool
fail(const struct config *c, const struct config_listener *l, const char *word, const char *why, struct err *err)
{
	char where[CONFIG_PLACE_CAP];

	return err_set(err, ERR_USAGE, "%s: %s: %s", config_place_text(c, option_at(l->at, word), where, sizeof(where)), word, why);
}

static bool
was_set(const struct config_listener *l, const char *word)
{
	return option_at(l->at, word).line != 0;
}

/* A name that a proxy says takes the place of a certificate: it counts only where somebody has written whose word that is. */
static bool
check_identity(const struct config *c, const struct config_listener *l, struct err *err)
{
	static const char *const words[] = { "require_certificate", "use_identity_as_username" };

	if (l->n_proxy_identity_from == 0) {
		for (size_t i = 0; l->certfile == NULL && l->psk_hint == NULL && i < ARRAY_LEN(words); i++)
			if (i == 0 ? l->require_certificate : l->use_identity_as_username)
				return fail(c, l, words[i],
				    "TLS ends at the proxy here: name those whose word on certificates is taken, with "
				    "proxy_protocol_identity_from",
				    err);
		return true;
	}
	if (l->proxy_version != 2)
		return fail(c, l, "proxy_protocol_identity_from", "only version 2 says anything of certificates; enable_proxy_protocol 2", err);
	if (l->certfile != NULL || l->psk_hint != NULL)
		return fail(c, l, "proxy_protocol_identity_from",
		    "TLS ends at this listener, so the certificate is seen here; remove this line", err);
	return l->use_identity_as_username ||
	       fail(c, l, "proxy_protocol_identity_from", "needs use_identity_as_username true; else nothing is made of it", err);
}

static bool
warn(struct config *c, const struct config_listener *l)
{
	char where[CONFIG_PLACE_CAP];

	if (l->n_proxy_identity_from > 0 &&
	    !config_warn(c,
		"%s: listener %s believes its proxies who a client is: whoever sends from these addresses is whom he says; let nobody "
		"else use them",
		config_place_text(c, option_at(l->at, "proxy_protocol_identity_from"), where, sizeof(where)), l->name))
		return false;
	return was_set(l, "proxy_protocol_from") || l->n_proxy_identity_from > 0 ||
	       config_warn(c,
		   "%s: listener %s takes PROXY headers from this machine only; name your proxies with proxy_protocol_from",
		   config_place_text(c, option_at(l->at, "enable_proxy_protocol"), where, sizeof(where)), l->name);
}

/* What can only be sent from this machine. */
static bool
add_local(struct config_listener *l)
{
	static const char *const local[] = { "127.0.0.0/8", "::1", "unix" };

	l->proxy_from = calloc(ARRAY_LEN(local), sizeof(*l->proxy_from));
	for (size_t i = 0; l->proxy_from != NULL && i < ARRAY_LEN(local); i++)
		if (proxy_range_parse(slice_str(local[i]), &l->proxy_from[i]))
			l->n_proxy_from++;
	return l->proxy_from != NULL;
}

/* Control speaks for those who are signed in: it alone can open the socket, and says who it is in a header of version 2. */
static bool
for_console(const struct config *c, struct config_listener *l, struct err *err)
{
	static const char *const words[] = { "enable_proxy_protocol", "proxy_protocol_from", "proxy_protocol_v2_require_tls",
		"proxy_protocol_identity_from", "certfile", "require_certificate", "mount_point" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (was_set(l, words[i]))
			return fail(c, l, words[i], "not for a listener with `protocol console`; remove this line", err);
	l->proxy_from = calloc(1, sizeof(*l->proxy_from));
	l->proxy_identity_from = calloc(1, sizeof(*l->proxy_identity_from));
	if (l->proxy_from == NULL || l->proxy_identity_from == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	(void)proxy_range_parse(SL("unix"), l->proxy_from);
	*l->proxy_identity_from = *l->proxy_from;
	l->n_proxy_from = l->n_proxy_identity_from = 1;
	l->proxy_version = 2;
	l->proxy_require_tls = l->require_certificate = true;
	return true;
}

bool
config_proxy_finish(struct config *c, struct config_listener *l, struct err *err)
{
	static const char *const words[] = { "proxy_protocol_from", "proxy_protocol_v2_require_tls", "proxy_protocol_identity_from" };

	if (l->protocol == CONFIG_CONSOLE)
		return for_console(c, l, err);
	for (size_t i = 0; l->proxy_version == 0 && i < ARRAY_LEN(words); i++)
		if (was_set(l, words[i]))
			return fail(c, l, words[i], "needs enable_proxy_protocol 1 or 2", err);
	if (l->proxy_version == 0)
		return true;
	if (l->proxy_require_tls && l->proxy_version != 2)
		return fail(c, l, "proxy_protocol_v2_require_tls", "only version 2 says so; enable_proxy_protocol 2", err);
	if (!check_identity(c, l, err))
		return false;
	if ((l->n_proxy_from == 0 && !add_local(l)) || !warn(c, l))
		return err_set(err, ERR_MEMORY, "out of memory");
	return true;
}
