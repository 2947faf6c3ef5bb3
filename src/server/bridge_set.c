/* Which bridges there are: at the start, after a reload, at the end. */
#include "server/bridges.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/internal.h"

static void
runner_free(struct runner *r)
{
	if (r == NULL)
		return;
	runner_forget_lookup(r);
	bridge_free(r->bridge);
	bridge_plan_free(r->plan);
	bridge_plan_free(r->coming);
	authz_principal_unref(r->who);
	free(r->name);
	free(r->local_id);
	free(r);
}

/* Takes <plan>. */
static struct runner *
runner_new(struct server *s, struct bridge_plan *plan)
{
	struct runner *r = calloc(1, sizeof(*r));
	struct bridge_ports ports = runner_ports(r);
	char user[300];
	struct authz_facts facts = { 0 };

	if (r == NULL) {
		bridge_plan_free(plan);
		return NULL;
	}
	/* Nobody else's identity, so that nobody else takes the session. */
	(void)snprintf(user, sizeof(user), "bridge %s", plan->config.name);
	facts.username = slice_str(plan->config.local_username != NULL ? plan->config.local_username : user);
	r->server = s;
	r->plan = plan;
	r->print = plan->print;
	r->worker = &s->workers[broker_home(s->broker, slice_str(plan->local_id))];
	r->call.runner = r->probe.runner = r;
	r->probe.probe = true;
	r->bridge = bridge_new(&plan->bridge, &ports);
	r->who = authz_principal_new(&facts);
	r->name = strdup(plan->config.name);
	r->local_id = strdup(plan->local_id);
	if (r->bridge != NULL && r->who != NULL && r->name != NULL && r->local_id != NULL)
		return r;
	runner_free(r);
	return NULL;
}

static void
keep(struct server *s, struct runner *r)
{
	r->next_all = s->bridges;
	s->bridges = r;
}

bool
bridges_start(struct server *s, struct bridge_plans *plans)
{
	bool ok = true;

	for (unsigned i = 0; i < plans->n; i++) {
		struct runner *r = runner_new(s, plans->v[i]);

		plans->v[i] = NULL;
		ok = ok && r != NULL;
		if (r == NULL)
			continue;
		keep(s, r);
		r->next = r->worker->bridges;
		r->worker->bridges = r;
		/* Before anybody can publish: from the first message on what is for the remote waits. */
		shard_begin(r->worker->shard, server_now_ms());
		runner_prime(r);
	}
	bridge_plans_free(plans);
	return ok;
}

static void
on_new(void *ctx, void *arg)
{
	struct worker *w = ctx;
	struct runner *r = arg;

	r->next = w->bridges;
	w->bridges = r;
}

static void
on_remove(void *ctx, void *arg)
{
	struct runner *r = arg;

	(void)ctx;
	r->removed = true;
	if (r->state == RUN_LINK)
		bridge_stop(r->bridge);
	else
		r->state = RUN_OFF;
}

struct change {
	struct runner *runner;
	struct bridge_plan *plan;
	bool same; /* only its TLS files may be others */
};

static void
on_change(void *ctx, void *arg)
{
	struct change *ch = arg;
	struct runner *r = ch->runner;

	(void)ctx;
	bridge_plan_free(r->coming);
	r->coming = ch->plan;
	if (r->state == RUN_OFF && !r->removed)
		runner_wait(r, r->now_ms);
	else if (r->state == RUN_LINK && !ch->same && r->coming->config.reload_type != 0)
		bridge_stop(r->bridge);
	free(ch);
}

static struct runner *
find(struct server *s, const struct bridge_plan *p)
{
	struct runner *r = s->bridges;

	while (r != NULL && (r->gone || strcmp(r->name, p->config.name) != 0 || strcmp(r->local_id, p->local_id) != 0))
		r = r->next_all;
	return r;
}

static void
tell(struct runner *r, void (*fn)(void *ctx, void *arg), void *arg, const char *what)
{
	if (!loop_post(r->worker->loop, fn, arg))
		log_error("Out of memory: bridge %s was not %s.", r->name, what);
}

static void
remove_others(struct server *s, const struct bridge_plans *plans)
{
	for (struct runner *r = s->bridges; r != NULL; r = r->next_all) {
		bool stays = r->gone;

		for (unsigned i = 0; !stays && i < plans->n; i++)
			stays = find(s, plans->v[i]) == r;
		if (stays)
			continue;
		r->gone = true;
		log_notice("Bridge %s is not configured any more.", r->name);
		tell(r, on_remove, r, "stopped");
	}
}

static void
change(struct runner *r, struct bridge_plan *plan)
{
	struct change *ch;

	if (r->print == plan->print && plan->tls == NULL) {
		bridge_plan_free(plan);
		return;
	}
	if ((ch = malloc(sizeof(*ch))) == NULL) {
		bridge_plan_free(plan);
		log_error("Out of memory: bridge %s was not changed.", r->name);
		return;
	}
	*ch = (struct change){ r, plan, r->print == plan->print };
	if (!ch->same)
		log_notice("Bridge %s has changed; that takes effect %s.", r->name,
		    plan->config.reload_type != 0 ? "now" : "at its next connection (bridge_reload_type)");
	r->print = plan->print;
	tell(r, on_change, ch, "changed");
}

void
bridges_reload(struct server *s, struct bridge_plans *plans)
{
	remove_others(s, plans);
	for (unsigned i = 0; i < plans->n; i++) {
		struct bridge_plan *plan = plans->v[i];
		struct runner *r = find(s, plan);

		plans->v[i] = NULL;
		if (r != NULL) {
			change(r, plan);
			continue;
		}
		r = runner_new(s, plan);
		if (r == NULL) {
			log_error("Out of memory: a bridge was not started.");
			continue;
		}
		keep(s, r);
		tell(r, on_new, r, "started");
	}
	bridge_plans_free(plans);
}

void
bridges_free(struct server *s)
{
	while (s->bridges != NULL) {
		struct runner *r = s->bridges;

		s->bridges = r->next_all;
		runner_free(r);
	}
}
