/* The configuration as a whole: which listeners there are, which directives need each other, which
 * exclude each other. */
#include "server/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "console/console.h"
#include "server/server.h"
#include "topic/topic.h"

enum { MQTT_PORT = 1883, PSK_HINT_MAX = 128 /* libssl's */ };

static bool
fail_at(const struct config *c, struct config_place at, struct err *err, const char *text)
{
	char where[CONFIG_PLACE_CAP];

	return err_set(
	    err, ERR_USAGE, "%s: %s", config_place_text(c, at, where, sizeof(where)), text);
}

/* The first option of <scope> that was set in <at>; NULL: none. */
static const struct option *
first_set(const struct config_place *at, enum option_scope scope)
{
	const struct option *first = NULL;
	unsigned i;

	for (i = 0; i < options_n; i++) {
		if (options[i].scope != scope || at[i].line == 0)
			continue;
		if (first == NULL || at[i].file < at[first - options].file ||
		    (at[i].file == at[first - options].file &&
			at[i].line < at[first - options].line))
			first = &options[i];
	}
	return first;
}

/* Directives above all `listener` lines, and no default listener that they could mean: mosquitto
 * would open 1883 for some of them and forget the others. Neither is meant. */
static bool
check_orphans(const struct config *c, struct err *err)
{
	const struct config_place *at = c->fallback.at;
	const struct option *o = first_set(at, OPTION_LISTENER);
	char text[320];

	if (o == NULL) {
		at = c->fallback.own.at;
		o = first_set(at, OPTION_SECURITY);
	}
	if (o == NULL)
		return true;
	(void)snprintf(text, sizeof(text),
	    "%s: stands in front of all listeners and applies to none of them; "
	    "move it below its `listener` line",
	    o->name);
	return fail_at(c, at[o - options], err, text);
}

/* The default listener becomes the first of the list. */
static bool
add_fallback(struct config *c, bool local_only, struct err *err)
{
	struct config_listener *more, *l;

	more = reallocarray(c->listeners, (size_t)c->n_listeners + 1, sizeof(*more));
	if (more == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	c->listeners = more;
	memmove(more + 1, more, c->n_listeners * sizeof(*more));
	l = &more[0];
	*l = c->fallback;
	c->fallback = (struct config_listener){ 0 };
	c->n_listeners++;
	l->port = c->port != 0 ? (uint16_t)c->port : MQTT_PORT;
	l->local_only = local_only;
	l->place = option_at(c->at, c->port != 0 ? "port" : "bind_address");
	if (c->bind_address == NULL)
		return true;
	l->host = strdup(c->bind_address); /* the setting itself is shown, and compared at a reload */
	return l->host != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

/* mosquitto(8): -p may stand up to ten times, for this machine only. What is configured for the default listener holds for one
 * port, so there must not be any. */
static bool
add_ports(struct config *c, unsigned port, struct err *err)
{
	struct config_listener *more;

	if (!c->listeners[0].local_only || first_set(c->listeners[0].at, OPTION_LISTENER) != NULL ||
	    first_set(c->listeners[0].own.at, OPTION_SECURITY) != NULL)
		return err_set(err, ERR_USAGE, "several -p are for a broker without a configured listener; write a `listener` line for each port");
	more = reallocarray(c->listeners, 1 + c->n_ports, sizeof(*more));
	if (more == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	c->listeners = more;
	c->listeners[0].port = (uint16_t)port;
	for (unsigned i = 0; i < c->n_ports; i++) {
		config_listener_default(&more[c->n_listeners]);
		more[c->n_listeners].port = c->ports[i];
		more[c->n_listeners++].local_only = true;
	}
	return true;
}

static bool
settle_listeners(struct config *c, unsigned port, struct err *err)
{
	bool fallback = c->port != 0 || c->bind_address != NULL;

	if (c->n_listeners > 0 && !fallback && !check_orphans(c, err))
		return false;
	if ((fallback || c->n_listeners == 0) && !add_fallback(c, !fallback, err))
		return false;
	if (port == 0)
		return true;
	if (c->n_ports > 0)
		return add_ports(c, port, err);
	if (c->n_listeners > 1)
		return err_set(err, ERR_USAGE,
		    "-p changes the port of the only listener, but there are %u; "
		    "change the configuration instead",
		    c->n_listeners);
	if (c->listeners[0].path != NULL)
		return err_set(
		    err, ERR_USAGE, "-p makes no sense: the only listener is a unix socket");
	c->listeners[0].port = (uint16_t)port;
	return true;
}

static void
name_listener(struct config_listener *l)
{
	if (l->path != NULL)
		(void)snprintf(l->name, sizeof(l->name), "%s", l->path);
	else if (l->host == NULL)
		(void)snprintf(l->name, sizeof(l->name), "%u", l->port);
	else
		(void)snprintf(l->name, sizeof(l->name),
		    strchr(l->host, ':') != NULL ? "[%s]:%u" : "%s:%u", l->host, l->port);
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
check_twice(const struct config *c, unsigned n, struct err *err)
{
	const struct config_listener *l = &c->listeners[n];
	char where[CONFIG_PLACE_CAP], text[640];
	unsigned i;

	for (i = 0; i < n; i++) {
		const struct config_listener *o = &c->listeners[i];

		if (o->port != l->port || !same_text(o->host, l->host) ||
		    !same_text(o->path, l->path) ||
		    !same_text(o->bind_interface, l->bind_interface) ||
		    o->socket_domain != l->socket_domain)
			continue;
		(void)config_place_text(c, o->place, where, sizeof(where));
		(void)snprintf(
		    text, sizeof(text), "listener: %s is configured already at %s", l->name, where);
		return fail_at(c, l->place, err, text);
	}
	return true;
}

/* A key of psk_file lets clients in without a certificate, whatever else is asked of them. */
static bool
check_psk(const struct config *c, const struct config_listener *l, struct err *err)
{
	if (l->psk_hint == NULL)
		return true;
	if (l->security->psk_file == NULL)
		return fail_at(c, option_at(l->at, "psk_hint"), err,
		    "psk_hint: psk_file is missing; without it nobody has a key");
	if (l->require_certificate)
		return fail_at(c, option_at(l->at, "require_certificate"), err,
		    "require_certificate: clients with a pre-shared key have no certificate; use a "
		    "listener of its own for psk_hint");
	if (l->session_tickets)
		return fail_at(c, option_at(l->at, "tls_session_tickets"), err,
		    "tls_session_tickets: not with psk_hint; a pre-shared key needs no ticket");
	if (strlen(l->psk_hint) > PSK_HINT_MAX)
		return fail_at(c, option_at(l->at, "psk_hint"), err, "psk_hint: longer than 128 bytes");
	return true;
}

/* Whoever demands proofs must not have passwords taken in another way. */
static bool
check_auth_method(const struct config *c, const struct config_listener *l, struct err *err)
{
	if (l->auth_method != CONFIG_AUTH_SCRAM || l->security->password_file != NULL)
		return true;
	return fail_at(c, option_at(l->at, "auth_method"), err,
	    "auth_method: SCRAM-SHA-256 needs the users of a password_file, and this listener has none");
}

/* Keys that no listener uses. */
static bool
check_psk_used(const struct config *c, const struct config_security *s, struct err *err)
{
	unsigned i;

	for (i = 0; s->psk_file != NULL && i < c->n_listeners; i++)
		if (c->listeners[i].psk_hint != NULL && c->listeners[i].security == s)
			return true;
	return s->psk_file == NULL || fail_at(c, option_at(s->at, "psk_file"), err,
					  "psk_file: no listener has a psk_hint, so nobody could use these keys");
}

static bool
check_prefix(const struct config *c, const char *word, const struct config_place *at,
    const char *prefix, struct err *err)
{
	char text[160];

	if (prefix == NULL || strlen(prefix) <= CONFIG_PREFIX_MAX)
		return true;
	(void)snprintf(text, sizeof(text), "%s: longer than %d bytes", word, CONFIG_PREFIX_MAX);
	return fail_at(c, option_at(at, word), err, text);
}

/* What stands in front of topics must be the beginning of one, and not of those with a meaning of their own. */
static bool
check_mount(const struct config *c, const struct config_listener *l, struct err *err)
{
	struct config_place at = option_at(l->at, "mount_point");
	struct slice mount = slice_str(l->mount_point);

	if (l->mount_point == NULL)
		return true;
	if (mount.n > CONFIG_MOUNT_MAX)
		return fail_at(c, at, err, "mount_point: longer than 255 bytes");
	if (slice_starts(mount, SL("$share")))
		return fail_at(c, at, err, "mount_point: topics that begin with $share cannot be published to");
	if (!topic_name_ok(mount))
		return fail_at(c, at, err, "mount_point: not the beginning of a topic; it is neither empty nor has it + or #");
	return true;
}

/* The beginning of a topic, in which %c and %u stand for names. */
static bool
check_response(const struct config *c, const struct config_listener *l, struct err *err)
{
	struct config_place at = option_at(l->at, "response_information");
	const char *p = l->response_information;

	if (p == NULL)
		return true;
	if (!topic_name_ok(slice_str(p)))
		return fail_at(c, at, err, "response_information: not the beginning of a topic; it is neither empty nor has it + or #");
	for (; (p = strchr(p, '%')) != NULL; p += 2)
		if (p[1] != 'c' && p[1] != 'u')
			return fail_at(c, at, err, "response_information: % stands only before c (client id) and u (user name)");
	return check_prefix(c, "response_information", l->at, l->response_information, err);
}

static bool
is_psk_option(const char *name)
{
	static const char *const names[] = { "ciphers", "ciphers_tls1.3", "tls_version", "use_identity_as_username" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool
is_proxy_option(const char *name)
{
	return strcmp(name, "require_certificate") == 0 || strcmp(name, "use_identity_as_username") == 0;
}

/* The pairs of directives that stand or fall together. */
static bool
check_tls(const struct config *c, const struct config_listener *l, struct err *err)
{
	unsigned i;
	char text[320];

	if (l->certfile != NULL && l->keyfile == NULL)
		return fail_at(c, option_at(l->at, "certfile"), err,
		    "certfile: keyfile is missing; TLS needs both");
	if (l->keyfile != NULL && l->certfile == NULL)
		return fail_at(c, option_at(l->at, "keyfile"), err,
		    "keyfile: certfile is missing; TLS needs both");
	for (i = 0; l->certfile == NULL && i < options_n; i++) {
		if (options[i].scope != OPTION_LISTENER ||
		    (options[i].flags & OPTION_IS_TLS) == 0 || l->at[i].line == 0)
			continue;
		if (l->psk_hint != NULL && is_psk_option(options[i].name))
			continue;
		/* Who is a client is what the proxy says; config_proxy_finish() looks at that. */
		if (l->proxy_version > 0 && is_proxy_option(options[i].name))
			continue;
		(void)snprintf(text, sizeof(text),
		    "%s: listener %s has no certfile and keyfile, so it would not use TLS; "
		    "add both or remove this line",
		    options[i].name, l->name);
		return fail_at(c, l->at[i], err, text);
	}
	if (l->session_tickets && l->capath != NULL)
		return fail_at(c, option_at(l->at, "tls_session_tickets"), err,
		    "tls_session_tickets: not with capath, as nobody can tell that a CA was taken out of a directory; use cafile");
	if (l->cafile != NULL || l->capath != NULL)
		return true;
	if (l->require_certificate && l->certfile != NULL)
		return fail_at(c, option_at(l->at, "require_certificate"), err,
		    "require_certificate: cafile is missing; without it no certificate can be "
		    "checked");
	if (l->crlfile != NULL)
		return fail_at(c, option_at(l->at, "crlfile"), err,
		    "crlfile: cafile is missing; whose list is it?");
	if (l->require_registration)
		return fail_at(c, option_at(l->at, "require_registration"), err,
		    "require_registration: cafile is missing; no certificate is looked at");
	if (l->quarantine != 0)
		return fail_at(c, option_at(l->at, "quarantine"), err,
		    "quarantine: cafile is missing; no certificate is looked at");
	if (l->device_renewal)
		return fail_at(c, option_at(l->at, "device_renewal"), err,
		    "device_renewal: cafile is missing; no certificate is looked at");
	if (l->ignore_dates)
		return fail_at(c, option_at(l->at, "disable_client_cert_date_checks"), err,
		    "disable_client_cert_date_checks: cafile is missing; no certificate is looked at");
	return true;
}

static bool
check_security(const struct config *c, const struct config_security *s, struct err *err)
{
	if (s->policy != NULL && s->acl_file != NULL)
		return fail_at(c, option_at(s->at, "acl_file"), err,
		    "acl_file: there is a policy too; only one of them can decide, remove the "
		    "other");
	return check_prefix(c, "auto_id_prefix", s->at, s->auto_id_prefix, err) &&
	       check_psk_used(c, s, err);
}

/* Directives that would do nothing, and the address of a plain WebSocket listener: web pages of everybody reach it through a
 * browser, so it is not opened to the network without a word. Metrics are nobody's business elsewhere, with TLS or without. */
static bool
check_websockets(const struct config *c, struct config_listener *l, struct err *err)
{
	static const char *const words[] = { "websockets_origin", "http_dir", "console" };
	char text[320];
	size_t i;

	if (CONFIG_FOR_CONTROL(l) && l->path == NULL)
		return fail_at(c, option_at(l->at, "protocol"), err,
		    l->protocol == CONFIG_CONTROL ? "protocol: control is for a unix socket: write `listener 0 PATH`"
						  : "protocol: console is for a unix socket: write `listener 0 PATH`");
	if (l->protocol != CONFIG_MQTT)
		l->loopback = (l->protocol == CONFIG_METRICS || !config_is_tls(l)) &&
			      l->host == NULL && l->path == NULL && l->bind_interface == NULL &&
			      !l->local_only;
	if (l->console && l->use_username_as_clientid)
		return fail_at(c, option_at(l->at, "console"), err,
		    "console: with use_username_as_clientid the page would take over the session of whoever signs in; give the console a listener without it");
	if (l->console && console_files_n == 0)
		return fail_at(c, option_at(l->at, "console"), err,
		    "console: this program was built without the web console (-Dconsole=disabled); remove this line, or build it with npm");
	if (l->protocol == CONFIG_WEBSOCKETS)
		return true;
	for (i = 0; i < ARRAY_LEN(words); i++) {
		if (option_at(l->at, words[i]).line == 0)
			continue;
		(void)snprintf(text, sizeof(text),
		    "%s: listener %s does not speak WebSocket; add `protocol websockets` or remove "
		    "this line",
		    words[i], l->name);
		return fail_at(c, option_at(l->at, words[i]), err, text);
	}
	return true;
}

static bool
is_loopback(const char *host)
{
	return host != NULL && (strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
				   strcmp(host, "localhost") == 0);
}

/* Without TLS, and reached from elsewhere. */
static bool
is_open(const struct config_listener *l)
{
	return !config_is_tls(l) && l->path == NULL && !l->local_only && !l->loopback && !is_loopback(l->host);
}

static bool
warn_console(struct config *c, const struct config_listener *l)
{
	char where[CONFIG_PLACE_CAP];

	return !l->console || !is_open(l) ||
	       config_warn(c,
		   "%s: console: listener %s shows a page without TLS that asks for passwords: whoever is on the way reads them, and can put another "
		   "page in its place; give it certfile and keyfile, or an address of this machine alone: listener %u 127.0.0.1",
		   config_place_text(c, option_at(l->at, "console"), where, sizeof(where)), l->name, l->port);
}

static bool
warn_websockets(struct config *c, const struct config_listener *l)
{
	char where[CONFIG_PLACE_CAP];

	if (l->protocol != CONFIG_WEBSOCKETS)
		return true;
	(void)config_place_text(c, option_at(l->at, "protocol"), where, sizeof(where));
	if (l->loopback &&
	    !config_warn(c,
		"%s: listener %s speaks WebSocket without TLS and names no address, so only "
		"clients on this machine can reach it; give it certfile and keyfile, or an address "
		"if it shall be open: listener %u 0.0.0.0",
		where, l->name, l->port))
		return false;
	/* The console's own page is the only one that may come without being named. */
	return l->n_origins > 0 || l->console ||
	       config_warn(c,
		   "%s: listener %s lets scripts of every web page in, with the certificate of the "
		   "browser they run in; name the sites that may come with websockets_origin",
		   where, l->name);
}

static bool
warn_plain(struct config *c, const struct config_listener *l)
{
	char where[CONFIG_PLACE_CAP];

	if (!is_open(l))
		return true;
	(void)config_place_text(c, l->place, where, sizeof(where));
	return config_warn(c,
	    "%s: listener %s is not encrypted: everybody on the way can read and change what is "
	    "sent; "
	    "give it certfile and keyfile",
	    where, l->name);
}

static bool
warn_dates(struct config *c, const struct config_listener *l)
{
	char where[CONFIG_PLACE_CAP];

	return !l->ignore_dates ||
	       config_warn(c,
		   "%s: disable_client_cert_date_checks: listener %s lets in whoever has a certificate that expired, for ever; only crlfile "
		   "ends one",
		   config_place_text(c, option_at(l->at, "disable_client_cert_date_checks"), where, sizeof(where)), l->name);
}

static bool
finish_listener(struct config *c, unsigned n, struct err *err)
{
	struct config_listener *l = &c->listeners[n];
	char where[CONFIG_PLACE_CAP];

	if (c->per_listener_settings && l->own.allow_anonymous < 0)
		l->own.allow_anonymous = l->local_only;
	if (!check_twice(c, n, err) || !check_tls(c, l, err) || !config_ocsp_finish(c, l, err) ||
	    !config_proxy_finish(c, l, err) ||
	    !check_psk(c, l, err) || !check_auth_method(c, l, err) ||
	    !check_prefix(c, "listener_auto_id_prefix", l->at, l->auto_id_prefix, err) ||
	    !check_mount(c, l, err) || !check_response(c, l, err) || !check_websockets(c, l, err))
		return false;
	if (!warn_plain(c, l) || !warn_websockets(c, l) || !warn_console(c, l) || !warn_dates(c, l))
		return err_set(err, ERR_MEMORY, "out of memory");
	if (l->bind_interface != NULL && l->path != NULL) {
		(void)config_place_text(
		    c, option_at(l->at, "bind_interface"), where, sizeof(where));
		return err_set(err, ERR_USAGE,
		    "%s: bind_interface: a unix socket has no network interface", where);
	}
	return true;
}

/* What is accepted and does nothing is said with its place. */
static bool
warn_moot(struct config *c)
{
	char where[CONFIG_PLACE_CAP];

	for (unsigned i = 0; i < options_n; i++)
		if ((options[i].flags & OPTION_MOOT) != 0 && c->at[i].line != 0 &&
		    !config_warn(c, "%s: %s: %s", config_place_text(c, c->at[i], where, sizeof(where)), options[i].name, options[i].help))
			return false;
	return true;
}

static bool
warn_global(struct config *c)
{
	char where[CONFIG_PLACE_CAP];

	if (!warn_moot(c))
		return false;
	if (c->max_keepalive > 0 && c->max_keepalive < 10) {
		(void)config_place_text(c, option_at(c->at, "max_keepalive"), where, sizeof(where));
		if (!config_warn(
			c, "%s: max_keepalive: below 10 s many clients cannot keep up", where))
			return false;
	}
	return true;
}

/* Somebody must be able to say which devices there are, and it must be seen who is one. */
static bool
check_registration(const struct config *c, const struct config_listener *l, struct err *err)
{
	bool told = false, client = false;

	if ((l->quarantine & CONFIG_QUARANTINE_UNREGISTERED) != 0 && !l->require_registration)
		return fail_at(c, option_at(l->at, "quarantine"), err,
		    "quarantine: everybody is let in, registered or not; add require_registration true");
	for (unsigned i = 0; i < c->n_role_cas; i++)
		if (c->role_cas[i].factory && !l->require_registration && (l->cafile != NULL || l->capath != NULL) && l->protocol != CONFIG_METRICS)
			return fail_at(c, c->role_cas[i].place, err,
			    "role_ca factory: whoever has one of its certificates would be let in under any name; add require_registration true to each listener with a cafile");
	if (!l->require_registration)
		return true;
	for (unsigned i = 0; i < c->n_listeners; i++)
		told = told || c->listeners[i].protocol == CONFIG_CONTROL;
	for (unsigned i = 0; i < c->n_role_cas; i++)
		client = client || c->role_cas[i].role == AUTHZ_ROLE_CLIENT;
	if (!client)
		return fail_at(c, option_at(l->at, "require_registration"), err,
		    "require_registration: no CA has the client role, so nobody would be looked up; add a role_ca line");
	return told || fail_at(c, option_at(l->at, "require_registration"), err,
			   "require_registration: nobody can say which devices are registered; add `listener 0 PATH` with `protocol control`");
}

bool
config_finish(struct config *c, unsigned port, struct err *err)
{
	unsigned i;

	if (!settle_listeners(c, port, err))
		return false;
	if (c->common.allow_anonymous < 0)
		c->common.allow_anonymous = c->listeners[0].local_only;
	for (i = 0; i < c->n_listeners; i++)
		name_listener(&c->listeners[i]);
	for (i = 0; i < c->n_listeners; i++)
		c->listeners[i].security =
		    c->per_listener_settings ? &c->listeners[i].own : &c->common;
	for (i = 0; i < c->n_listeners; i++)
		if (!check_security(c, c->listeners[i].security, err) ||
		    !finish_listener(c, i, err))
			return false;
	for (i = 0; i < c->n_listeners; i++)
		if (!check_registration(c, &c->listeners[i], err))
			return false;
	if (!config_plugins_finish(c, err))
		return false;
	if (!check_prefix(c, "clientid_prefixes", c->at, c->clientid_prefixes, err))
		return false;
	if (!config_bridges_finish(c, err))
		return false;
	if (!warn_global(c))
		return err_set(err, ERR_MEMORY, "out of memory");
	return true;
}

struct config *
config_load(const struct server_options *o, struct err *err)
{
	struct config *c = config_read(o->config_file, &config_files, err);

	if (c == NULL)
		return NULL;
	for (unsigned i = 0; i < o->n_ports; i++)
		c->ports[c->n_ports++] = (uint16_t)o->ports[i];
	if (!config_finish(c, o->port, err)) {
		config_free(c);
		return NULL;
	}
	if (o->quiet)
		c->log_none = true;
	if (o->verbose) {
		c->log_level = LOG_LVL_DEBUG;
		c->log_none = false;
		c->log_subscribe = c->log_unsubscribe = true;
	}
	return c;
}
