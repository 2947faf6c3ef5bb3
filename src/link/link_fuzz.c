/* Whatever a broker says: everybody who asked is answered exactly once, and nothing is read that is not there. */
#include <stdlib.h>

#include "base/assert.h"
#include "link/internal.h"

struct asked {
	unsigned sent, answered;
	struct core *core;
	json_t *body;
};

static void
on_answer(void *ctx, const struct link_reply *r)
{
	struct asked *a = ctx;

	ASSERT((r->result == LINK_OK) == (r->error == NULL) && r->code != NULL);
	a->answered++;
}

static void
ask(struct asked *a)
{
	struct err err;

	a->sent += core_request(a->core, &(struct link_request){ .command = "x", .body = a->body, .timeout_ms = 5, .answer = on_answer, .ctx = a }, &err);
}

static void
on_up(void *ctx, const json_t *hello)
{
	ASSERT(json_is_object(hello));
	ask(ctx);
	ask(ctx);
}

static void
on_event(void *ctx, const json_t *event)
{
	ASSERT(json_is_object(event));
	ask(ctx);
}

static void
on_missed(void *ctx, uint64_t n)
{
	(void)ctx;
	ASSERT(n > 0);
}

static void
on_message(void *ctx, struct slice topic, struct slice payload, bool retained)
{
	(void)ctx;
	(void)retained;
	ASSERT((topic.n == 0 || topic.p != NULL) && (payload.n == 0 || payload.p != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The first byte says how large the pieces are in which the rest arrives. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct asked a = { .body = json_object() };
	struct core c = { .name = "n", .on = { .up = on_up, .event = on_event, .missed = on_missed, .message = on_message }, .ctx = &a };
	size_t step = n > 0 ? data[0] + 1u : 1, at = 1;
	uint64_t now = 0;
	bool ok;

	a.core = &c;
	core_init(&c);
	for (ok = core_open(&c, now); ok && at < n; at += step, now++) {
		ok = core_feed(&c, slice_of(data + at, step < n - at ? step : n - at), now) && core_time(&c, now);
		core_sent(&c, core_output(&c).n);
		ASSERT(core_due(&c) >= now || c.state == CORE_UP);
	}
	core_closed(&c, "end");
	ASSERT(a.sent == a.answered && c.n_calls == 0);
	core_done(&c);
	json_decref(a.body);
	return 0;
}
