/* SIGHUP: the files are read again, everything new is built, and only then it takes the place of
 * the old. */
#include "server/internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
same_ranges(const struct proxy_range *a, unsigned n, const struct proxy_range *b, unsigned m)
{
	return n == m && (n == 0 || memcmp(a, b, n * sizeof(*a)) == 0);
}

/* Whom to believe is decided with the socket: half of it must not change. */
static bool
same_proxy(const struct config_listener *a, const struct config_listener *b)
{
	if (a->proxy_version == 0 && b->proxy_version == 0)
		return true;
	return a->proxy_version == b->proxy_version && a->proxy_require_tls == b->proxy_require_tls &&
	       a->require_certificate == b->require_certificate &&
	       same_ranges(a->proxy_from, a->n_proxy_from, b->proxy_from, b->n_proxy_from) &&
	       same_ranges(a->proxy_identity_from, a->n_proxy_identity_from, b->proxy_identity_from, b->n_proxy_identity_from);
}

/* The sockets are what they are: a file that wants others cannot be carried out half. */
static bool
same_listeners(const struct config *old, const struct config *new, struct err *err)
{
	char where[CONFIG_PLACE_CAP];
	unsigned i;

	if (old->n_listeners != new->n_listeners)
		return err_set(err, ERR_USAGE,
		    "there were %u listeners and there are %u now; listeners need a restart",
		    old->n_listeners, new->n_listeners);
	for (i = 0; i < old->n_listeners; i++) {
		const struct config_listener *a = &old->listeners[i], *b = &new->listeners[i];

		if (same_text(a->name, b->name) &&
		    same_text(a->bind_interface, b->bind_interface) &&
		    a->socket_domain == b->socket_domain && a->protocol == b->protocol &&
		    config_is_tls(a) == config_is_tls(b) && same_proxy(a, b))
			continue;
		return err_set(err, ERR_USAGE,
		    "%s: listener %s is another than before (%s); listeners need a restart",
		    config_place_text(new, b->place, where, sizeof(where)), b->name, a->name);
	}
	return true;
}

/* Nor can who decides be exchanged: what dynamic security knows is not in the configuration. */
static bool
same_plugins(const struct config *old, const struct config *new, struct err *err)
{
	for (unsigned i = 0; i < old->n_listeners; i++) {
		const struct config_plugin *a = old->listeners[i].dynsec, *b = new->listeners[i].dynsec;

		if (!same_text(a != NULL ? a->file : NULL, b != NULL ? b->file : NULL))
			return err_set(err, ERR_USAGE, "listener %s: plugin or plugin_opt_config_file is another than before; this needs a restart",
			    new->listeners[i].name);
	}
	return true;
}

static void
say_scope(enum option_scope scope, const void *old, const void *new, const char *of)
{
	char a[512], b[512];
	unsigned i;

	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		if (o->scope != scope || (o->flags & OPTION_NEXT_START) == 0 ||
		    o->type == OPTION_CALL)
			continue;
		if (strcmp(option_show(o, old, a, sizeof(a)), option_show(o, new, b, sizeof(b))) !=
		    0)
			log_warning("%s%s has changed from '%s' to '%s'; this takes effect at the "
				    "next start.",
			    o->name, of, a, b);
	}
}

static bool
same_origins(const struct config_listener *a, const struct config_listener *b)
{
	unsigned i;

	for (i = 0; a->n_origins == b->n_origins && i < a->n_origins; i++)
		if (strcmp(a->origins[i], b->origins[i]) != 0)
			return false;
	return a->n_origins == b->n_origins;
}

/* What was changed and does not take effect now is said, not forgotten. */
static void
say_later(const struct config *old, const struct config *new)
{
	char of[200];
	unsigned i;

	say_scope(OPTION_GLOBAL, old, new, "");
	for (i = 0; i < old->n_listeners; i++) {
		(void)snprintf(of, sizeof(of), " of listener %s", old->listeners[i].name);
		say_scope(OPTION_LISTENER, &old->listeners[i], &new->listeners[i], of);
		if (!same_origins(&old->listeners[i], &new->listeners[i]))
			log_warning(
			    "websockets_origin%s has changed; this takes effect at the next start.",
			    of);
	}
	if (old->log_dest != new->log_dest || !same_text(old->log_file, new->log_file) ||
	    old->log_level != new->log_level || !same_text(old->log_timestamp_format, new->log_timestamp_format))
		log_warning(
		    "log_dest, log_type or log_timestamp_format has changed; this takes effect at the next start.");
}

static bool
tell_broker(struct server *s, const struct config *c, const struct world *w, struct err *err)
{
	struct broker_listener *l = calloc(c->n_listeners + 1, sizeof(*l));

	if (l == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	broker_listeners_of(c, w, l);
	if (!broker_set_listeners(s->broker, l, c->n_listeners + 1)) {
		free(l);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	free(s->told);
	s->told = l;
	return true;
}

/* In the world, so that it lives as long as the broker has it. */
static void
exchange_policies(struct server *s, uint64_t listeners, struct authz_policy *policy)
{
	struct authz_policy *old;

	for (unsigned i = 0; i < s->n_listeners; i++) {
		if ((listeners & UINT64_C(1) << i) == 0)
			continue;
		(void)pthread_mutex_lock(&s->lock);
		old = s->world->listeners[i].policy;
		s->world->listeners[i].policy = authz_policy_ref(policy);
		(void)pthread_mutex_unlock(&s->lock);
		authz_policy_unref(old);
	}
}

bool
server_set_policy(struct server *s, uint64_t listeners, struct authz_policy *policy)
{
	bool ok;

	(void)pthread_mutex_lock(&s->changing);
	exchange_policies(s, listeners, policy);
	for (unsigned i = 0; i < s->n_listeners; i++)
		s->told[i].policy = s->world->listeners[i].policy;
	ok = broker_set_listeners(s->broker, s->told, s->n_listeners + 1);
	(void)pthread_mutex_unlock(&s->changing);
	return ok;
}

/* From here on nothing fails. */
static void
exchange(struct server *s, const struct config *c, struct world *w)
{
	struct world *old;
	unsigned i;

	for (i = 0; i < s->n_listeners; i++) {
		judge_set(&s->judges[i], &w->listeners[i]);
		atomic_store(&s->listeners[i].rules, listener_rules_of(c, &c->listeners[i]));
	}
	atomic_store(&s->memory.limit, c->memory_limit);
	tls_tickets_set_lifetime(s->tickets, (unsigned)c->tls_ticket_lifetime);
	staples_prepare(s->staples, c, w);
	(void)pthread_mutex_lock(&s->lock);
	old = s->world;
	s->world = w;
	(void)atomic_fetch_add(&s->generation, 1);
	(void)pthread_mutex_unlock(&s->lock);
	for (i = 0; i < s->n_workers; i++)
		loop_wake(s->workers[i].loop);
	world_free(old);
}

static bool
reload(struct server *s)
{
	struct err err = { 0 };
	struct config *c = config_load(&s->options, &err);
	struct world *w = NULL;
	struct bridge_plans *bridges = NULL;
	unsigned i;

	log_notice("Reloading the configuration.");
	log_reopen();
	if (c != NULL && same_listeners(s->config, c, &err) && same_plugins(s->config, c, &err))
		w = world_load(c, s->judges, s->dynamics, s->world, &err);
	if (w != NULL && alarm_may_exchange(s, s->world, w, &err))
		bridges = bridge_plans_load(c, &err);
	if (bridges == NULL || !tell_broker(s, c, w, &err)) {
		log_error("Reload failed, everything stays as it was: %s.", err.text);
		bridge_plans_free(bridges);
		world_free(w);
		config_free(c);
		return false;
	}
	say_later(s->config, c);
	(void)check_config(c, &s->privileges);
	for (i = 0; i < c->n_warnings; i++)
		log_warning("%s.", c->warnings[i]);
	exchange(s, c, w);
	if (!ocsp_configure(s->ocsp, c, &err) || !staples_start(s->staples, &err))
		log_error("%s.", err.text);
	/* Whom the new files do not know any more goes. */
	if (!broker_judge_again(s->broker, NULL, 0))
		log_error("Out of memory: who is connected was not judged by the new configuration; reload again.");
	metrics_bridges_set(s, bridges);
	bridges_reload(s, bridges);
	config_free(c);
	alarm_certificates(s, true);
	log_notice("Reloaded: certificates, CAs, revocation lists, passwords and policies are the new ones.");
	return true;
}

bool
server_reload(struct server *s)
{
	bool ok;

	watch_hold(s->watch);
	(void)pthread_mutex_lock(&s->changing);
	ok = reload(s);
	(void)pthread_mutex_unlock(&s->changing);
	watch_release(s->watch);
	return ok;
}
