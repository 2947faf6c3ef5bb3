/* --test-config: what would listen, for whom, and what looks wrong. */
#include "server/internal.h"

#include <arpa/inet.h>
#include <stdio.h>

struct out {
	bool first;
};

static void
print_line(void *ctx, const char *text)
{
	(void)ctx;
	(void)printf("%s\n", text);
}

static void
print_rule(void *ctx, const char *text)
{
	(void)ctx;
	(void)printf("      %s\n", text);
}

static void
print_address(void *ctx, const char *addr)
{
	struct out *o = ctx;

	(void)printf("%s%s", o->first ? "    addresses: " : ", ", addr);
	o->first = false;
}

void
server_print_directives(bool markdown)
{
	options_print(markdown, print_line, NULL);
}

void
server_each_directive(void (*each)(void *ctx, const struct server_directive *d), void *ctx)
{
	options_each(each, ctx);
}

/* Everything that was set in one scope, with its place. */
static void
print_set(const struct config *c, enum option_scope scope, const void *base,
    const struct config_place *at, const char *indent)
{
	char value[512], where[CONFIG_PLACE_CAP];
	unsigned i;

	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		if (o->scope != scope || o->type == OPTION_CALL || at[i].line == 0)
			continue;
		(void)printf("%s%s %s   (%s)\n", indent, o->name,
		    option_show(o, base, value, sizeof(value)),
		    config_place_text(c, at[i], where, sizeof(where)));
	}
}

static const char *
who_may_come(const struct config *c, const struct config_listener *l)
{
	unsigned rules = listener_rules_of(c, l);

	if ((rules & RULE_CONSOLE) != 0)
		return "people who are signed in at control, to look";
	if (l->n_proxy_identity_from > 0 && l->require_certificate)
		return "clients whose certificate the proxy has verified; its common name, as the proxy says, is their identity";
	if ((rules & RULE_ONLY_SCRAM) != 0)
		return (rules & RULE_ANONYMOUS) != 0 ? "users who prove their password (SCRAM-SHA-256), and anonymous clients"
						     : "users who prove their password (SCRAM-SHA-256)";
	if ((rules & RULE_PASSWORDS) != 0 && (rules & RULE_ANONYMOUS) != 0)
		return "users with their password, and anonymous clients";
	if ((rules & RULE_PASSWORDS) != 0)
		return (rules & RULE_CERT_IS_IDENTITY) != 0 && (l->cafile != NULL || l->capath != NULL)
			   ? "clients with a certificate, which is their identity, and users with their password"
			   : "users with their password";
	if ((rules & RULE_PSK_IS_IDENTITY) != 0)
		return "clients with a pre-shared key, whose identity is their name";
	if (l->require_certificate && (rules & RULE_CERT_IS_IDENTITY) != 0)
		return "clients with a certificate, which is their identity";
	if (l->require_certificate)
		return (rules & RULE_ANONYMOUS) != 0
			   ? "clients with a certificate, under any user name"
			   : "nobody: a certificate is required, is not the identity "
			     "(use_identity_as_username), and anonymous clients are refused";
	if ((rules & RULE_ANONYMOUS) != 0)
		return "everybody";
	if (l->cafile != NULL || l->capath != NULL)
		return (rules & RULE_CERT_IS_IDENTITY) != 0
			   ? "clients with a certificate; others are refused at CONNECT"
			   : "nobody: anonymous clients are refused";
	return "nobody: anonymous clients are refused";
}

static void
print_range(const char *word, const struct proxy_range *r)
{
	char addr[INET6_ADDRSTRLEN] = "unix";

	if (r->family != AF_UNIX && inet_ntop(r->family, r->addr, addr, sizeof(addr)) == NULL)
		return;
	(void)printf("    %s %s", word, addr);
	if (r->family != AF_UNIX)
		(void)printf("/%u", r->bits);
	(void)printf("\n");
}

static bool
print_listener(const struct config *c, unsigned n, const struct world *w, struct err *err)
{
	const struct config_listener *l = &c->listeners[n];
	struct out o = { true };
	unsigned i;

	(void)printf("listener %s: %s%s\n", l->name,
	    l->protocol == CONFIG_METRICS      ? "metrics, "
	    : l->protocol == CONFIG_WEBSOCKETS ? "WebSocket, "
	    : l->protocol == CONFIG_CONSOLE    ? "console, "
					       : "",
	    !config_is_tls(l)     ? "not encrypted"
	    : l->tls_version == 3 ? "TLS 1.3"
				  : "TLS 1.2 or 1.3");
	if (!listen_resolve(c, l, print_address, &o, err))
		return false;
	(void)printf("\n    lets in: %s\n", who_may_come(c, l));
	if (w->listeners[n].passwords != NULL)
		(void)printf("    users: %zu\n", passwd_count(w->listeners[n].passwords));
	if (w->listeners[n].psk != NULL)
		(void)printf("    pre-shared keys: %zu, shorter than %d bytes: %zu\n", psk_count(w->listeners[n].psk),
		    PSK_KEY_STRONG, psk_weak(w->listeners[n].psk));
	print_set(c, OPTION_LISTENER, l, l->at, "    ");
	for (i = 0; i < l->n_proxy_from; i++)
		print_range("proxy_protocol_from", &l->proxy_from[i]);
	for (i = 0; i < l->n_proxy_identity_from; i++)
		print_range("proxy_protocol_identity_from", &l->proxy_identity_from[i]);
	for (i = 0; i < l->n_origins; i++)
		(void)printf("    websockets_origin %s\n", l->origins[i]);
	if (c->per_listener_settings)
		print_set(c, OPTION_SECURITY, l->security, l->security->at, "    ");
	(void)printf("    may do:\n");
	authz_policy_describe(w->listeners[n].policy, print_rule, NULL);
	return true;
}

static bool
print_all(struct config *c, const struct world *w, struct err *err)
{
	char where[CONFIG_PLACE_CAP];
	unsigned i;

	for (i = 0; i < c->n_listeners; i++)
		if (!print_listener(c, i, w, err))
			return false;
	(void)printf("settings:\n");
	print_set(c, OPTION_GLOBAL, c, c->at, "    ");
	if (!c->per_listener_settings)
		print_set(c, OPTION_SECURITY, &c->common, c->common.at, "    ");
	for (i = 0; i < c->n_role_cas; i++)
		(void)printf("    role_ca %s %s   (%s)\n", c->role_cas[i].factory ? "factory" : authz_role_name(c->role_cas[i].role),
		    c->role_cas[i].file,
		    config_place_text(c, c->role_cas[i].place, where, sizeof(where)));
	(void)printf("warnings: %u\n", c->n_warnings);
	for (i = 0; i < c->n_warnings; i++)
		(void)printf("    %s\n", c->warnings[i]);
	return true;
}

/* Without their passwords. */
static void
print_bridges(const struct bridge_plans *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct bridge_plan *b = p->v[i];

		(void)printf("bridge %s: %s, as %s there and %s here\n", b->config.name,
		    b->tls == NULL ? "not encrypted" : b->config.insecure ? "TLS, any name" : "TLS", b->remote_id, b->local_id);
		for (unsigned n = 0; n < b->config.n_addresses; n++)
			(void)printf("    address %s:%u\n", b->config.addresses[n].host, b->config.addresses[n].port);
		for (unsigned n = 0; n < b->config.n_topics; n++)
			(void)printf("    %s %s %s, QoS %u\n", b->config.topics[n].local,
			    b->config.topics[n].direction == BRIDGE_OUT  ? "goes out to"
			    : b->config.topics[n].direction == BRIDGE_IN ? "comes from"
									 : "is shared with",
			    b->config.topics[n].remote, b->config.topics[n].qos);
	}
}

enum server_exit
server_test_config(const struct server_options *o)
{
	struct err err = { 0 };
	struct config *c = config_load(o, &err);
	struct privileges p;
	struct world *w = NULL;
	struct dynamics *ds = NULL;
	struct bridge_plans *bridges = NULL;
	bool ok;

	ok = c != NULL && privileges_find(c, &p, &err) && (ds = dynamics_load(c, true, &err)) != NULL && (w = world_load(c, NULL, ds, NULL, &err)) != NULL;
	if (ok && !check_config(c, &p))
		ok = err_set(&err, ERR_MEMORY, "out of memory");
	ok = ok && print_all(c, w, &err) && (bridges = bridge_plans_load(c, &err)) != NULL;
	if (ok)
		print_bridges(bridges);
	if (ok)
		(void)printf("The configuration is good.\n");
	(void)fflush(stdout); /* before what goes to standard error */
	if (!ok)
		(void)fprintf(stderr, "signet broker: %s\n", err.text);
	bridge_plans_free(bridges);
	world_free(w);
	dynamics_free(ds);
	config_free(c);
	return ok ? SERVER_OK : SERVER_USAGE;
}
