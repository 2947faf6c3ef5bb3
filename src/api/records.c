/* What goes into the audit log of what control did. The signer keeps the log, and may be away: so each record is in the registry first, on the
 * disk before anybody gets the answer that it tells of, and leaves it when the signer has it on its own. A crash between the two sends one
 * twice, with the same number. When too many wait, nothing is done any more of which the log would not know. */
#include "api/signers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

enum { AT_ONCE = 64, AGAIN_MS = 2000, LATE_S = 5, NAMES_CHARS = 1000, NAMES_DETAILS = 8, VALUE_CAP = 1025 };

/* One that the signer was told. */
struct sent {
	struct sent *next;
	struct records *of;
	int64_t n;
	bool done;
};
struct records {
	struct api *api;
	struct event *again;
	struct sent *sent;  /* those of one go */
	unsigned waiting;   /* that have no answer yet */
	bool more;          /* there are others */
};

static void
forget(struct records *s)
{
	struct sent *x;

	while ((x = s->sent) != NULL) {
		s->sent = x->next;
		free(x);
	}
	s->waiting = 0;
}

/* In one go; false: some are to be sent again. */
static bool
settle(struct records *s)
{
	struct registry *r = s->api->registry;
	struct err err = { 0 };
	bool all = true, ok = registry_begin(r, &err);

	for (const struct sent *x = s->sent; ok && x != NULL; x = x->next) {
		all = all && x->done;
		ok = !x->done || registry_record_done(r, x->n, &err);
	}
	ok = ok && registry_commit(r, &err);
	if (!ok) {
		log_error("The registry cannot note what the audit log has: %s; some stand in it twice.", err.text);
		registry_rollback(r);
	}
	forget(s);
	return ok && all;
}

static void
after_ms(struct records *s, unsigned ms)
{
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	(void)evtimer_add(s->again, &tv);
}

static void
on_logged(void *ctx, uint64_t n, const char *hash, const struct err *err)
{
	struct sent *x = ctx;
	struct records *s = x->of;

	(void)n;
	/* What it will never take is not sent for ever. */
	x->done = hash != NULL || (err->code != ERR_LIMIT && err->code != ERR_SYSTEM && err->code != ERR_MEMORY);
	if (hash == NULL)
		log_error("The audit log does not take record %" PRId64 ": %s%s.", x->n, err->text, x->done ? "" : "; it is sent again");
	if (--s->waiting > 0)
		return;
	if (!settle(s))
		after_ms(s, AGAIN_MS);
	else if (s->more)
		after_ms(s, 0);
}

/* ---- to the signer ---- */

struct details {
	struct signer_detail v[SIGNER_DETAILS_MAX];
	size_t n;
};

static void
add_detail(struct details *d, const char *name, const char *value)
{
	if (d->n < SIGNER_DETAILS_MAX)
		d->v[d->n++] = (struct signer_detail){ name, value };
}

static bool
send_one(void *ctx, const struct registry_record *x)
{
	struct records *s = ctx;
	struct signer_client *signer = signers_client(s->api);
	json_t *kept = x->details.n > 0 ? json_loadb((const char *)x->details.p, x->details.n, 0, NULL) : NULL, *v;
	struct signer_record q = { .actor = (const char *)x->actor.p, .action = (const char *)x->action.p, .object = (const char *)x->object.p };
	struct sent *one = calloc(1, sizeof(*one));
	struct details d = { .n = 0 };
	json_t *at = time_json(x->at);
	char number[24];
	const char *name;
	struct err err;
	bool ok;

	(void)snprintf(number, sizeof(number), "%" PRId64, x->n);
	add_detail(&d, "record", number);
	if (api_now(s->api) - x->at >= LATE_S && json_is_string(at))
		add_detail(&d, "done", json_string_value(at));
	json_object_foreach(kept, name, v)
		if (json_is_string(v))
			add_detail(&d, name, json_string_value(v));
	q.details = d.v;
	q.n_details = d.n;
	ok = one != NULL && signer_log(signer, &q, on_logged, one, &err);
	json_decref(kept);
	json_decref(at);
	if (!ok) {
		log_warning("The audit log's record %" PRId64 " cannot be sent: %s; it is tried again.", x->n, one != NULL ? err.text : "out of memory");
		free(one);
		s->more = true;
		return false;
	}
	*one = (struct sent){ .next = s->sent, .of = s, .n = x->n };
	s->sent = one;
	s->waiting++;
	return true;
}

void
records_send(struct api *a)
{
	struct records *s = a->records;
	struct err err;

	if (s == NULL || signers_client(a) == NULL)
		return;
	s->more = s->waiting > 0;
	if (s->more)
		return;
	if (!registry_record_each(a->registry, AT_ONCE, send_one, s, &err)) {
		log_error("The registry cannot say what the audit log is to be told: %s.", err.text);
		after_ms(s, AGAIN_MS);
	}
	s->more = s->more || s->waiting == AT_ONCE;
	if (s->more && s->waiting == 0)
		after_ms(s, AGAIN_MS);
	signers_asked(a);
}

void
records_lost(struct api *a)
{
	if (a->records != NULL)
		forget(a->records);
}

static void
on_again(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	records_send(ctx);
}

/* ---- from handlers ---- */

static void
add(struct api *a, const struct registry_record *x)
{
	struct err err;

	if (!registry_record_add(a->registry, x, &err))
		log_error("The audit log misses a record (%.*s by %.*s: %.*s): %s.", SL_ARG(x->action), SL_ARG(x->actor), SL_ARG(x->object), err.text);
	if (signers_client(a) == NULL)
		log_notice("Control: %.*s by %.*s: %.*s.", SL_ARG(x->action), SL_ARG(x->actor), SL_ARG(x->object));
}

/* As many names from *at on as fit; each has a "/" on both sides, which is in none of them, so that one can be looked for. */
static json_t *
next_names(const json_t *names, size_t *at)
{
	json_t *d = json_object();
	char text[VALUE_CAP], label[16], count[24];
	size_t n = json_array_size(names), from = *at;

	for (unsigned i = 1; i <= NAMES_DETAILS && *at < n; i++) {
		size_t used = 1;

		text[0] = '/';
		for (; *at < n; ++*at) {
			const json_t *v = json_array_get(names, *at);
			size_t len = json_string_length(v);

			if (used + len + 1 > NAMES_CHARS)
				break;
			memcpy(text + used, json_string_value(v), len);
			used += len;
			text[used++] = '/';
		}
		(void)snprintf(label, sizeof(label), i == 1 ? "names" : "names%u", i);
		(void)json_object_set_new(d, label, json_stringn(text, used));
	}
	(void)snprintf(count, sizeof(count), "%zu", *at - from);
	(void)json_object_set_new(d, "count", json_string(count));
	return d;
}

void
api_audit_names(struct api *a, const char *actor, const char *action, struct slice object, const json_t *names)
{
	char who[128], what[400];
	struct registry_record x = { .actor = slice_str(text_show(slice_str(actor), who, sizeof(who))), .action = slice_str(action),
		.object = slice_str(text_show(object, what, sizeof(what))) };
	size_t at = 0;

	do {
		json_t *d = names != NULL ? next_names(names, &at) : NULL;
		char *text = d != NULL ? json_dumps(d, JSON_COMPACT) : NULL;

		x.details = slice_str(text);
		add(a, &x);
		free(text);
		json_decref(d);
	} while (at < json_array_size(names));
	records_send(a);
}

void
api_audit(struct api *a, const char *actor, const char *action, struct slice object)
{
	api_audit_names(a, actor, action, object, NULL);
}

void
call_name(struct call *c, struct slice name)
{
	if (c->names == NULL)
		c->names = json_array();
	if (name.n > 0 && name.n < NAMES_CHARS - 2)
		(void)json_array_append_new(c->names, text_json(name));
}

void
call_name_number(struct call *c, int64_t n)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, n);
	call_name(c, slice_str(text));
}

bool
records_room(struct call *c)
{
	bool room;
	struct err err;

	if (!registry_records_room(c->api->registry, &room, &err)) {
		call_error(c, &err);
		return false;
	}
	if (room)
		return true;
	call_header(c, "Retry-After", "5");
	call_problem(c, 503, "audit-full", "start `signet serve`, whose signer writes the audit log", "%d records wait for the audit log, and nothing is changed that it could miss",
	    REGISTRY_RECORDS_MAX);
	return false;
}

bool
records_open(struct api *a, struct err *err)
{
	struct records *s = a->records = calloc(1, sizeof(*s));

	if (s == NULL || (s->again = evtimer_new(a->base, on_again, a)) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	s->api = a;
	return true;
}

void
records_close(struct api *a)
{
	struct records *s = a->records;

	if (s == NULL)
		return;
	forget(s);
	if (s->again != NULL)
		event_free(s->again);
	free(s);
	a->records = NULL;
}
