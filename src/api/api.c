/* The control process: what it opens, its loop, its end. */
#include "api/enrol.h"
#include "api/events.h"
#include "api/pending.h"
#include "api/presence.h"
#include "api/stale.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "base/secret.h"
#include "passwd/passwd.h"

enum { CHORES_S = 60, PURGE_MAX = 1000 };

int64_t
api_now(const struct api *a)
{
	(void)a;
	return (int64_t)time(NULL);
}

/* ---- signals and chores ---- */

static void
leave_when_idle(struct api *a)
{
	if (a->leaving && a->n_chans == 0)
		(void)event_base_loopexit(a->base, NULL);
}

static void
on_stop(evutil_socket_t sig, short what, void *ctx)
{
	struct api *a = ctx;
	const struct timeval patience = { .tv_sec = (time_t)a->config->timeout_s };

	(void)sig;
	(void)what;
	/* The second one means at once. */
	if (a->leaving) {
		(void)event_base_loopbreak(a->base);
		return;
	}
	a->leaving = true;
	listeners_close(a);
	chans_leave(a);
	(void)event_base_loopexit(a->base, &patience);
	leave_when_idle(a);
}

static void
on_reload(evutil_socket_t sig, short what, void *ctx)
{
	struct api *a = ctx;

	(void)sig;
	(void)what;
	a->config->ports.reload(a->config->ports.ctx);
	listeners_renew(a);
	pending_read(a);
	pending_factories(a);
	indexes_more(a);
}

static void
on_chores(evutil_socket_t fd, short what, void *ctx)
{
	struct api *a = ctx;
	unsigned n;
	struct err err;

	(void)fd;
	(void)what;
	if (!registry_purge(a->registry, PURGE_MAX, &n, &err))
		log_warning("The registry cannot forget what has expired: %s.", err.text);
	bundles_expire(a, api_now(a));
	indexes_soon(a);
	lists_due(a);
	responders_due(a, false);
	broker_poke(a);
	tunnels_check(a);
}

void
api_chan_gone(struct api *a)
{
	leave_when_idle(a);
}

/* ---- opening ---- */

static bool
open_events(struct api *a, struct err *err)
{
	static const struct timeval minute = { .tv_sec = CHORES_S };

	a->base = event_base_new();
	if (a->base == NULL)
		return err_set(err, ERR_SYSTEM, "the event loop cannot be made");
	a->signals[0] = evsignal_new(a->base, SIGTERM, on_stop, a);
	a->signals[1] = evsignal_new(a->base, SIGINT, on_stop, a);
	a->signals[2] = evsignal_new(a->base, SIGHUP, on_reload, a);
	a->chores = event_new(a->base, -1, EV_PERSIST, on_chores, a);
	for (size_t i = 0; i < ARRAY_LEN(a->signals); i++)
		if (a->signals[i] == NULL || event_add(a->signals[i], NULL) != 0)
			return err_set(err, ERR_MEMORY, "out of memory");
	return (a->chores != NULL && event_add(a->chores, &minute) == 0) || err_set(err, ERR_MEMORY, "out of memory");
}

/* What wrong names are compared with, so that they take as long as right ones. */
static bool
make_decoy(struct api *a, struct err *err)
{
	uint8_t nobody[32];
	bool ok;

	a->decoy = malloc(PASSWD_HASH_TEXT_MAX);
	if (a->decoy == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	random_bytes(nobody, sizeof(nobody));
	ok = passwd_hash(PASSWD_ARGON2ID, 0, slice_of(nobody, sizeof(nobody)), a->decoy, err);
	secret_wipe(nobody, sizeof(nobody));
	return ok;
}

/* What is there only because old programs want it. */
static void
warn_of_dojot(const struct api *a)
{
	if (a->config->dojot.shared_password)
		log_warning("dojot_shared_password: whoever may sign gets a certificate for any device that waits for one, with the password \"dojot\" that "
			    "everybody knows. Remedy: take it out, and hand each device the secret that its creation answers.");
}

static bool
open_all(struct api *a, struct err *err)
{
	struct registry_options o = { .path = a->config->registry };

	warn_of_dojot(a);
	pending_read(a);
	if (!open_events(a, err) || !listeners_open(a, err) || !indexes_open(a, err) || !backup_open(a, err) || !a->config->ports.settle(a->config->ports.ctx, err))
		return false;
	a->registry = registry_open(&o, err);
	if (a->registry == NULL || !make_decoy(a, err))
		return false;
	a->tokens = tokens_new(a->config->token_s);
	a->hasher = worker_new(a->base);
	a->document = document_json();
	a->worker = worker_new(a->base);
	if (a->tokens == NULL || a->hasher == NULL || a->worker == NULL || a->document == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (a->config->dojot.on && !dojot_prepare(a, err))
		return false;
	pending_factories(a);
	return events_open(a, err) && stale_open(a, err) && presence_open(a, err) && enrol_open(a, err) && ocsp_open(a, err) && records_open(a, err) && signers_open(a, err) && broker_open(a, err) && indexes_begin(a);
}

/* Passwords, secrets and keys of bundles go through buffers and JSON of these. */
static void
wipe_what_is_freed(void)
{
	event_set_mem_functions(malloc, secret_realloc, secret_drop);
	json_set_alloc_funcs(malloc, secret_drop);
}

struct api *
api_new(const struct api_config *c, struct err *err)
{
	struct api *a = calloc(1, sizeof(*a));

	if (a == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	a->config = c;
	wipe_what_is_freed();
	auditing_open(a);
	(void)signal(SIGPIPE, SIG_IGN);
	if (open_all(a, err))
		return a;
	api_free(a);
	return NULL;
}

bool
api_run(struct api *a, struct err *err)
{
	int rc;

	for (unsigned i = 0; i < a->config->n_listeners; i++)
		log_notice("Control listens on %s.", a->config->listeners[i].name);
	signin_offer(a);
	rc = event_base_dispatch(a->base);
	return rc != -1 || err_set(err, ERR_SYSTEM, "the event loop failed");
}

void
api_free(struct api *a)
{
	if (a == NULL)
		return;
	listeners_close(a);
	chans_close(a);
	/* Their calls are nobody's any more. */
	worker_free(a->hasher);
	worker_free(a->worker);
	auditing_close(a);
	bundles_expire(a, INT64_MAX);
	backup_stop(a);
	backup_close(a);
	pending_forget(a);
	broker_close(a);
	indexes_close(a);
	signers_close(a);
	records_close(a);
	enrol_close(a);
	responders_close(a);
	ocsp_close(a);
	public_close(a);
	while (a->calls != NULL)
		call_free(a->calls);
	presence_close(a);
	stale_close(a);
	events_close(a);
	for (size_t i = 0; i < ARRAY_LEN(a->signals); i++)
		if (a->signals[i] != NULL)
			event_free(a->signals[i]);
	if (a->chores != NULL)
		event_free(a->chores);
	if (a->base != NULL)
		event_base_free(a->base);
	tokens_free(a->tokens);
	json_decref(a->document);
	secret_free(a->decoy, a->decoy != NULL ? PASSWD_HASH_TEXT_MAX : 0);
	registry_close(a->registry);
	signin_forget(a);
	free(a);
}
