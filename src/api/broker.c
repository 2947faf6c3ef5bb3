/* The broker: it is told which devices there are, all at each connection and then each change, and says who is here. */
#include "api/broker.h"
#include "api/pending.h"
#include "api/presence.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

enum { NAMES_MIN = 64, NAMES_MAX = 4096, CHANGES = 1024, ASK_MS = 10000, LEARN_MS = 3000, STATE_MS = 60000, AGAIN_S = 5 };

/* What is being told. */
enum telling { TELL_NOTHING, TELL_BEGIN, TELL_CHUNKS, TELL_COMMIT, TELL_CHANGE };

/* One connection to it. */
struct line {
	struct api *api;
	struct link_client *link;
	struct event *socket, *due;
};

struct broker {
	struct api *api;
	struct line told;     /* what must not wait: devices, events, short questions */
	struct line asked;    /* questions that may take long: requests of one connection are carried out one after another */
	enum telling telling;
	int64_t known;        /* the generation that the broker has; -1: none of ours */
	int64_t next;         /* that it will have */
	int64_t at;           /* how far the snapshot is */
	uint64_t index;       /* of its chunks */
	unsigned names_max;
	bool more;            /* of the snapshot */
	int64_t factories;    /* certificates of factories in it; they come behind the devices */
	bool devices_told;
	struct event *again;  /* after a failure */
};

static uint64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- the socket in our loop ---- */

static void arm(struct line *b);

static void
on_socket(evutil_socket_t fd, short what, void *ctx)
{
	struct line *b = ctx;
	short events = (short)(((what & EV_READ) != 0 ? POLLIN : 0) | ((what & EV_WRITE) != 0 ? POLLOUT : 0));

	(void)fd;
	link_client_ready(b->link, events, now_ms());
	arm(b);
}

/* The descriptor is another one after each connection. */
static void
arm(struct line *b)
{
	short wants = link_client_wants(b->link);
	int fd = link_client_fd(b->link);
	uint64_t due = link_client_due(b->link), now = now_ms(), wait = due > now ? NUM_MIN(due - now, (uint64_t)60000) : 0;
	const struct timeval tv = { .tv_sec = (time_t)(wait / 1000), .tv_usec = (suseconds_t)(wait % 1000 * 1000) };

	if (b->socket != NULL)
		event_free(b->socket);
	b->socket = fd != -1 ? event_new(b->api->base, fd, (short)(((wants & POLLIN) != 0 ? EV_READ : 0) | ((wants & POLLOUT) != 0 ? EV_WRITE : 0)), on_socket, b)
			     : NULL;
	if (b->socket != NULL)
		(void)event_add(b->socket, NULL);
	(void)evtimer_add(b->due, &tv);
}

static bool
request(struct line *b, const char *command, json_t *body, unsigned timeout_ms, link_answer *answer, void *ctx, struct err *err)
{
	const struct link_request r = { .command = command, .body = body, .now_ms = now_ms(), .timeout_ms = timeout_ms, .answer = answer, .ctx = ctx };
	bool ok = body != NULL ? link_client_request(b->link, &r, err) : err_set(err, ERR_MEMORY, "out of memory");

	json_decref(body);
	return ok;
}

/* ---- which devices there are ---- */

static void tell(struct broker *b);

/* From the beginning, in a while: what is wrong now may not be then. */
static void
try_again(struct broker *b, const char *why)
{
	const struct timeval tv = { .tv_sec = AGAIN_S };

	log_warning("The broker does not know yet which devices there are: %s.", why);
	b->telling = TELL_NOTHING;
	b->known = -1;
	(void)evtimer_add(b->again, &tv);
}

static void
on_told(void *ctx, const struct link_reply *r)
{
	struct broker *b = ctx;
	struct err err;

	if (r->result == LINK_LOST)
		return; /* up() begins anew */
	if (r->result != LINK_OK) {
		try_again(b, r->error);
		return;
	}
	if (b->telling == TELL_COMMIT || b->telling == TELL_CHANGE) {
		b->known = b->next;
		b->telling = TELL_NOTHING;
		if (!registry_changes_done(b->api->registry, b->known, &err))
			log_warning("What the broker has been told is not forgotten: %s.", err.text);
	} else {
		b->telling = b->telling == TELL_BEGIN || b->more ? TELL_CHUNKS : TELL_COMMIT;
	}
	tell(b);
}

/* Lists of names by state; a quarantined device is let into the quarantine by the broker as a pending one is. */
struct lists {
	struct registry *registry;
	json_t *of[REGISTRY_DEVICE_STATES], *removed;
	int64_t last;
	size_t n;
};
static const char *const list_names[] = { [REGISTRY_ENABLED] = "enabled", [REGISTRY_DISABLED] = "disabled", [REGISTRY_PENDING] = "pending" };

static bool
lists_init(struct lists *l, struct registry *r, int64_t generation)
{
	*l = (struct lists){ .registry = r, .last = generation, .removed = json_array() };
	for (size_t i = 0; i < ARRAY_LEN(list_names); i++)
		l->of[i] = json_array();
	return l->removed != NULL && l->of[0] != NULL && l->of[1] != NULL && l->of[2] != NULL;
}

static bool
add_name(void *ctx, const struct registry_change *c)
{
	struct lists *l = ctx;
	enum registry_device_state state = c->state == REGISTRY_QUARANTINED ? REGISTRY_PENDING : c->state;

	/* In one message a removal counts more than what came after it. */
	if (!c->removed && json_array_size(l->removed) > 0)
		return false;
	if (json_array_append_new(c->removed ? l->removed : l->of[state], text_json(c->cn)) != 0)
		return false;
	l->last = c->generation;
	l->n++;
	return true;
}

/* Of a change: with what a factory gave the device. */
static bool
add_names(void *ctx, const struct registry_change *c)
{
	struct lists *l = ctx;

	return add_name(l, c) && registry_factory_change(l->registry, c, add_name, l, NULL);
}

/* Moves the lists into <body>. */
static json_t *
with_lists(struct lists *l, json_t *body, bool removed)
{
	bool ok = body != NULL;

	for (size_t i = 0; i < ARRAY_LEN(list_names); i++)
		ok = json_object_set_new(body, list_names[i], l->of[i]) == 0 && ok;
	if (removed)
		ok = json_object_set_new(body, "removed", l->removed) == 0 && ok;
	else
		json_decref(l->removed);
	if (ok)
		return body;
	json_decref(body);
	return NULL;
}

static json_t *
make_chunk(struct broker *b, struct err *err)
{
	struct lists l;
	bool ok = lists_init(&l, b->api->registry, 0) && (b->devices_told ? registry_factory_snapshot : registry_snapshot)(b->api->registry, &b->at, b->names_max, add_name, &l, &b->more, err);
	json_t *body = with_lists(&l, json_pack("{s:I, s:I}", "generation", (json_int_t)b->next, "index", (json_int_t)b->index++), false);

	if (ok && !b->more && !b->devices_told) {
		b->devices_told = true;
		b->more = b->factories > 0;
		b->at = 0;
	}
	if (ok)
		return body;
	json_decref(body);
	return NULL;
}

static json_t *
make_begin(struct broker *b, struct err *err)
{
	int64_t totals[REGISTRY_DEVICE_STATES], n = 0;

	b->at = 0;
	b->index = 0;
	b->devices_told = false;
	if (!registry_generation(b->api->registry, &b->next, err) || !registry_factory_count(b->api->registry, &b->factories, err) ||
	    !registry_device_totals(b->api->registry, (struct slice){ 0 }, totals, err))
		return NULL;
	for (size_t i = 0; i < REGISTRY_DEVICE_STATES; i++)
		n += totals[i];
	/* None at all is a snapshot without chunks. */
	b->more = n > 0;
	n += b->factories;
	return json_pack("{s:I, s:I}", "generation", (json_int_t)b->next, "devices", (json_int_t)n);
}

/* NULL and err->code ERR_OK: there is nothing to tell. */
static json_t *
make_change(struct broker *b, struct err *err)
{
	struct lists l;
	bool ok = lists_init(&l, b->api->registry, b->known) && registry_changes(b->api->registry, b->known, CHANGES, add_names, &l, err);
	json_t *body;

	b->next = l.last;
	body = with_lists(&l, json_pack("{s:I, s:I}", "from", (json_int_t)b->known, "to", (json_int_t)b->next), true);
	if (ok && l.n > 0)
		return body;
	json_decref(body);
	if (ok)
		err->code = ERR_OK;
	return NULL;
}

static void
tell(struct broker *b)
{
	static const char *const commands[] = { [TELL_BEGIN] = "registry/begin", [TELL_CHUNKS] = "registry/chunk", [TELL_COMMIT] = "registry/commit",
		[TELL_CHANGE] = "registry/change" };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	json_t *body = NULL;

	if (b->telling == TELL_NOTHING)
		b->telling = b->known == -1 ? TELL_BEGIN : TELL_CHANGE;
	if (b->telling == TELL_CHUNKS && !b->more)
		b->telling = TELL_COMMIT;
	if (b->telling == TELL_BEGIN)
		body = make_begin(b, &err);
	else if (b->telling == TELL_CHUNKS)
		body = make_chunk(b, &err);
	else if (b->telling == TELL_COMMIT)
		body = json_pack("{s:I}", "generation", (json_int_t)b->next);
	else
		body = make_change(b, &err);
	if (body == NULL && err.code == ERR_OK) {
		b->telling = TELL_NOTHING;
		return;
	}
	if (body == NULL || !request(&b->told, commands[b->telling], body, STATE_MS, on_told, b, &err))
		try_again(b, err.text);
}

void
broker_poke(struct api *a)
{
	struct broker *b = a->broker;

	if (b == NULL || !link_client_is_up(b->told.link) || b->telling != TELL_NOTHING || b->known == -1)
		return;
	tell(b);
	arm(&b->told);
}

static void
on_again(evutil_socket_t fd, short what, void *ctx)
{
	struct broker *b = ctx;

	(void)fd;
	(void)what;
	if (link_client_is_up(b->told.link) && b->telling == TELL_NOTHING)
		tell(b);
	arm(&b->told);
}

static void
say_up(void)
{
	log_notice("Control is connected to the broker.");
}

static void
on_up(void *ctx, const json_t *hello)
{
	struct broker *b = ctx;
	json_int_t names = json_integer_value(json_object_get(hello, "names_max"));

	if (link_client_is_up(b->asked.link))
		say_up();
	b->names_max = (unsigned)NUM_MAX(NAMES_MIN, NUM_MIN(names, (json_int_t)NAMES_MAX));
	b->telling = TELL_NOTHING;
	b->known = -1;
	tell(b);
	presence_up(b->api, slice_str(json_string_value(json_object_get(hello, "broker_id"))));
}

static void
on_event(void *ctx, const json_t *event)
{
	presence_event(((struct broker *)ctx)->api, event);
	if (strcmp(json_string_value(json_object_get(event, "event")) != NULL ? json_string_value(json_object_get(event, "event")) : "", "quarantine") == 0)
		pending_seen(((struct broker *)ctx)->api, event);
}

static void
on_missed(void *ctx, uint64_t n)
{
	log_notice("Control has missed %" PRIu64 " events of the broker; it reads again who is online.", n);
	presence_missed(((struct broker *)ctx)->api);
}

static void
on_message(void *ctx, struct slice topic, struct slice payload, bool retained)
{
	struct api *a = ((struct broker *)ctx)->api;

	if (!a->config->dojot.on || !dojot_told(a, topic, payload))
		presence_status(a, topic, payload, retained);
}

static void
on_down(void *ctx, const char *why)
{
	struct broker *b = ctx;

	if (b->telling != TELL_NOTHING || b->known != -1) {
		log_warning("Control has lost the broker: %s.", why);
		presence_down(b->api);
	}
	b->telling = TELL_NOTHING;
	b->known = -1;
}

static bool
ask(struct api *a, bool long_one, const char *command, json_t *body, const struct broker_wait *w, struct err *err)
{
	struct line *l = a->broker == NULL ? NULL : long_one ? &a->broker->asked : &a->broker->told;
	bool ok;

	if (l == NULL) {
		json_decref(body);
		return err_set(err, ERR_SYSTEM, "no listener has `protocol control`");
	}
	ok = request(l, command, body, w->ms, w->done, w->ctx, err);
	arm(l);
	return ok;
}

bool
api_ask_broker(struct api *a, const char *command, json_t *body, link_answer *done, void *ctx, struct err *err)
{
	return ask(a, false, command, body, &(struct broker_wait){ done, ctx, ASK_MS }, err);
}

bool
api_ask_broker_within(struct api *a, const char *command, json_t *body, const struct broker_wait *w, struct err *err)
{
	return ask(a, true, command, body, w, err);
}

/* ---- questions of the API ---- */

static void
on_answer(void *ctx, const struct link_reply *r)
{
	struct call *c = ctx;

	if (r->result == LINK_OK) {
		c->answered(c, r->answer);
		return;
	}
	if (r->result == LINK_REFUSED && c->refused != NULL)
		c->refused(c, r->error);
	else if (r->result == LINK_REFUSED)
		call_problem(c, 409, "broker-refused", NULL, "the broker says no: %s", r->error);
	else
		call_problem(c, 504, "broker-silent", "ask again; what was asked for may have happened", "the broker did not answer: %s", r->error);
}

static void
no_broker(struct call *c, const struct err *err)
{
	call_header(c, "Retry-After", "5");
	call_problem(c, 503, "no-broker", "start the broker, with a `listener 0 PATH` and `protocol control`", "the broker cannot be asked: %s", err->text);
}

void
broker_inquire(struct call *c, const char *command, json_t *body, void (*done)(struct call *c, const json_t *answer))
{
	struct err err;

	c->answered = done;
	if (!api_ask_broker(c->api, command, body, on_answer, c, &err))
		no_broker(c, &err);
}

void
broker_consult(struct call *c, const char *command, json_t *body, void (*done)(struct call *c, const json_t *answer), unsigned ms)
{
	struct err err;

	c->answered = done;
	if (!api_ask_broker_within(c->api, command, body, &(struct broker_wait){ on_answer, c, ASK_MS + ms }, &err))
		no_broker(c, &err);
}

static void
on_learned(void *ctx, const struct link_reply *r)
{
	struct call *c = ctx;

	c->answered(c, r->result == LINK_OK ? r->answer : NULL);
}

void
broker_learn(struct call *c, const char *command, json_t *body, void (*done)(struct call *c, const json_t *answer))
{
	const struct broker_wait w = { on_learned, c, LEARN_MS };
	struct err err;

	c->answered = done;
	if (!api_ask_broker_within(c->api, command, body, &w, &err))
		done(c, NULL);
}

/* ---- beginning and end ---- */

static void
on_asked_up(void *ctx, const json_t *hello)
{
	struct broker *b = ctx;

	(void)hello;
	if (link_client_is_up(b->told.link))
		say_up();
}

static bool
line_open(struct line *l, struct api *a, const struct link_config *c)
{
	l->api = a;
	l->link = link_client_new(c);
	l->due = evtimer_new(a->base, on_socket, l);
	if (l->link == NULL || l->due == NULL)
		return false;
	arm(l);
	return true;
}

static void
line_close(struct line *l)
{
	link_client_free(l->link);
	if (l->socket != NULL)
		event_free(l->socket);
	if (l->due != NULL)
		event_free(l->due);
}

bool
broker_open(struct api *a, struct err *err)
{
	struct broker *b;
	/* What devices say of themselves, and dojot's. */
	enum { TOPICS = 1 + DOJOT_TOPICS };
	_Static_assert(TOPICS <= (int)LINK_TOPICS_MAX, "the link takes all topics");
	const char *topics[TOPICS];
	struct link_config c = { .path = a->config->broker, .name = "control", .on = { .up = on_up, .down = on_down, .event = on_event, .missed = on_missed, .message = on_message },
		.topics = topics };
	struct link_config asked = { .path = a->config->broker, .name = "control-questions", .on = { .up = on_asked_up } };

	if (a->config->status_topic != NULL)
		topics[c.n_topics++] = a->config->status_topic;
	for (size_t i = 0; a->config->dojot.on && i < DOJOT_TOPICS; i++)
		topics[c.n_topics++] = dojot_topics[i];

	if (a->config->broker == NULL)
		return true;
	b = a->broker = calloc(1, sizeof(*b));
	if (b == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	b->api = a;
	b->known = -1;
	c.ctx = asked.ctx = b;
	b->again = evtimer_new(a->base, on_again, b);
	if (b->again == NULL || !line_open(&b->told, a, &c) || !line_open(&b->asked, a, &asked))
		return err_set(err, ERR_MEMORY, "out of memory");
	return true;
}

void
broker_close(struct api *a)
{
	struct broker *b = a->broker;

	if (b == NULL)
		return;
	line_close(&b->told);
	line_close(&b->asked);
	if (b->again != NULL)
		event_free(b->again);
	free(b);
	a->broker = NULL;
}
