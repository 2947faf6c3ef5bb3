/* What happens, as it happens: a stream of server-sent events (WHATWG HTML 9.2) for each who asks, with the latest ones kept for those
 * who come back. */
#include "api/events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

enum { KEPT_MAX = 1024, STREAMS_MAX = 64, OF_ONE_MAX = 16 /* streams of a user */, BEAT_S = 15, ID_CAP = 48 };

struct item {
	uint64_t n;
	const char *kind;      /* one of kind_names */
	char tenant[REGISTRY_NAME_MAX + 1]; /* "": of the whole installation */
	char *device;          /* its id, or NULL */
	char *text;            /* JSON in one line */
};

struct stream {
	struct stream *prev, *next;
	struct call *call;
	struct slice kind, kinds, device; /* only these; .p NULL: all */
};

struct events {
	struct api *api;
	struct item kept[KEPT_MAX]; /* number n stands at n % KEPT_MAX */
	uint64_t next;              /* number of the next one, from 1 */
	int64_t begun;              /* tells the numbers of this process from those of others */
	struct stream *streams;
	unsigned n_streams;
	struct event *beat;
};

static const char *const kind_names[] = { "connect", "disconnect", "refusal", "quarantine", "renewal", "status", "certificate", "enrolment", "change",
	"broker", "pending", "stale", NULL };

/* ---- who may see what ---- */

static bool
is_among(struct slice list, struct slice name)
{
	bool more = list.n > 0;

	while (more)
		if (slice_eq(slice_cut(&list, ',', &more), name))
			return true;
	return false;
}

static bool
is_kinds(struct slice s)
{
	bool more = true;

	while (more) {
		struct slice one = slice_cut(&s, ',', &more);
		size_t i = 0;

		while (kind_names[i] != NULL && !slice_eq(slice_str(kind_names[i]), one))
			i++;
		if (kind_names[i] == NULL)
			return false;
	}
	return true;
}
static const struct rule rule_kinds = { "kinds", "^[a-z]+(,[a-z]+)*$", "kinds of events with commas between them", is_kinds };

static bool
is_for(const struct stream *s, const struct item *x)
{
	const struct call *c = s->call;
	bool mine = x->tenant[0] != '\0' ? slice_eq(slice_str(x->tenant), call_tenant(c)) : c->actor.first && strcmp(c->tenant, c->actor.tenant) == 0;

	if (!mine || (s->kind.p != NULL && !slice_eq(s->kind, slice_str(x->kind))) || (s->kinds.p != NULL && !is_among(s->kinds, slice_str(x->kind))))
		return false;
	return s->device.p == NULL || (x->device != NULL && slice_eq(s->device, slice_str(x->device)));
}

/* False: it does not read, and was sent away. */
static bool
put_item(struct stream *s, const struct item *x)
{
	char head[ID_CAP + 64];
	int n = snprintf(head, sizeof(head), "id: %" PRId64 "-%" PRIu64 "\nevent: %s\ndata: ", s->call->api->events->begun, x->n, x->kind);

	return chan_stream_put(s->call->chan, slice_of(head, (size_t)n)) && chan_stream_put(s->call->chan, slice_str(x->text)) &&
	    chan_stream_put(s->call->chan, SL("\n\n"));
}

/* ---- what comes ---- */

static void
item_clear(struct item *x)
{
	free(x->text);
	free(x->device);
	*x = (struct item){ 0 };
}

static const char *
kind_of(const char *name)
{
	for (size_t i = 0; kind_names[i] != NULL; i++)
		if (strcmp(kind_names[i], name) == 0)
			return kind_names[i];
	return "change";
}

void
event_put(struct api *a, const char *kind, struct slice tenant, json_t *data)
{
	struct events *e = a->events;
	const char *device = json_string_value(json_object_get(data, "device"));
	struct item *x;

	if (e == NULL || data == NULL) {
		json_decref(data);
		return;
	}
	if (json_object_get(data, "time") == NULL)
		(void)json_object_set_new(data, "time", time_json(api_now(a)));
	x = &e->kept[e->next % KEPT_MAX];
	item_clear(x);
	*x = (struct item){ .n = e->next++, .kind = kind_of(kind), .text = json_dumps(data, JSON_COMPACT), .device = device != NULL ? strdup(device) : NULL };
	(void)text_copy(x->tenant, sizeof(x->tenant), tenant);
	json_decref(data);
	/* Without memory it is one that is missing. */
	if (x->text == NULL) {
		item_clear(x);
		return;
	}
	for (struct stream *s = e->streams, *next; s != NULL; s = next) {
		next = s->next;
		if (is_for(s, x))
			(void)put_item(s, x);
	}
}

void
event_change(struct call *c)
{
	struct slice path = c->head.target, at;
	bool more;
	json_t *data;

	path = slice_cut(&path, '?', &more);
	data = json_pack("{s:s, s:s, s:o, s:s}", "operation", c->op->id, "by", c->actor.name, "path", text_json(path), "tenant", c->tenant);
	at = strstr(c->op->path, "{device}") != NULL ? c->params[0] : call_text(c, "id");
	if (data != NULL && at.n > 0 && (strstr(c->op->path, "/devices") != NULL || strstr(c->op->path, "/pending") != NULL))
		(void)json_object_set_new(data, "device", text_json(at));
	event_put(c->api, "change", slice_str((c->op->flags & OP_PLATFORM) != 0 ? "" : c->tenant), data);
}

void
event_certificate(struct api *a, const char *what, struct slice ca, struct slice serial)
{
	struct registry_certificate x;
	json_t *data;

	if (!registry_certificate_get(a->registry, ca, serial, &x, NULL))
		return;
	data = json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "what", what, "ca", text_json(x.ca), "serial", x.serial, "cn", text_json(x.cn), "tenant",
	    text_json(x.tenant), "device", x.device.n > 0 ? text_json(x.device) : json_null(), "not_after", time_json(x.not_after), "by", text_json(x.by), "origin",
	    text_json(x.origin));
	event_put(a, "certificate", x.tenant, data);
	free(x.mem);
}

/* ---- who listens ---- */

static void
ended(struct call *c)
{
	struct stream *s = c->work;
	struct events *e = c->api->events;

	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		e->streams = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
	e->n_streams--;
}

/* "<begun>-<n>" of Last-Event-ID. False: none, or one of another process. */
static bool
read_id(const struct events *e, struct slice s, uint64_t *ret)
{
	uint64_t begun;
	bool more;
	struct slice first = slice_cut(&s, '-', &more);

	return more && text_u64(first, 0, INT64_MAX, &begun) && (int64_t)begun == e->begun && text_u64(s, 0, INT64_MAX, ret) && *ret < e->next;
}

/* What came after <id> and is still kept; if that is not all, he is told that something is missing. */
static void
catch_up(struct events *e, struct stream *s, struct slice id)
{
	uint64_t from = 0, oldest = e->next > KEPT_MAX ? e->next - KEPT_MAX : 1;
	bool known = read_id(e, id, &from), alive = true;

	if (!known || from + 1 < oldest)
		alive = chan_stream_put(s->call->chan, SL("event: missed\ndata: {\"remedy\":\"read again what you keep\"}\n\n"));
	if (!known)
		return;
	for (uint64_t n = NUM_MAX(from + 1, oldest); alive && n < e->next; n++)
		if (e->kept[n % KEPT_MAX].n == n && is_for(s, &e->kept[n % KEPT_MAX]))
			alive = put_item(s, &e->kept[n % KEPT_MAX]);
}

static bool
has_room(const struct call *c)
{
	const struct events *e = c->api->events;
	unsigned n = 0;

	for (const struct stream *s = e->streams; s != NULL; s = s->next)
		n += strcmp(s->call->actor.name, c->actor.name) == 0;
	return e->n_streams < STREAMS_MAX && n < OF_ONE_MAX;
}

static void
stream_events(struct call *c)
{
	struct events *e = c->api->events;
	struct stream *s = has_room(c) ? calloc(1, sizeof(*s)) : NULL;
	char hello[ID_CAP + 32];
	struct slice id;

	if (c->head.method == HTTP_HEAD) {
		free(s);
		call_bytes(c, 200, "text/event-stream", (struct slice){ 0 });
		return;
	}
	if (s == NULL || !http_header(&c->head, "Last-Event-ID", &id)) {
		free(s);
		call_header(c, "Retry-After", "60");
		call_problem(c, 503, "limit", "end one, or ask for /api/v1/audit and the lists instead", "there are %d streams of events already, or %d of yours, or no memory for one", STREAMS_MAX,
		    OF_ONE_MAX);
		return;
	}
	*s = (struct stream){ .call = c, .kind = call_query(c, "kind"), .kinds = call_query(c, "kinds"), .device = call_query(c, "device"), .next = e->streams };
	if (s->next != NULL)
		s->next->prev = s;
	e->streams = s;
	e->n_streams++;
	c->work = s;
	c->ended = ended;
	/* Where it begins, so that who comes back misses nothing. */
	(void)snprintf(hello, sizeof(hello), "retry: 2000\nid: %" PRId64 "-%" PRIu64 "\n\n", e->begun, e->next - 1);
	if (!chan_stream(c->chan, "text/event-stream", c->headers))
		return;
	if (id.p == NULL)
		(void)chan_stream_put(c->chan, slice_str(hello));
	else
		catch_up(e, s, id);
}

void
events_check(struct api *a)
{
	for (struct stream *s = a->events->streams; s != NULL; s = s->next)
		if (!auth_stands(s->call))
			chan_stream_end(s->call->chan);
}

/* A sign of life; and whose right has gone meanwhile is out. */
static void
on_beat(evutil_socket_t fd, short what, void *ctx)
{
	struct events *e = ctx;

	(void)fd;
	(void)what;
	events_check(e->api);
	for (struct stream *s = e->streams; s != NULL; s = s->next)
		(void)chan_stream_put(s->call->chan, SL(": \n\n"));
}

bool
events_open(struct api *a, struct err *err)
{
	static const struct timeval beat = { .tv_sec = BEAT_S };
	struct events *e = a->events = calloc(1, sizeof(*e));

	if (e == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	e->api = a;
	e->next = 1;
	e->begun = api_now(a);
	e->beat = event_new(a->base, -1, EV_PERSIST, on_beat, e);
	return (e->beat != NULL && event_add(e->beat, &beat) == 0) || err_set(err, ERR_MEMORY, "out of memory");
}

void
events_close(struct api *a)
{
	struct events *e = a->events;

	if (e == NULL)
		return;
	if (e->beat != NULL)
		event_free(e->beat);
	for (size_t i = 0; i < KEPT_MAX; i++)
		item_clear(&e->kept[i]);
	free(e);
	a->events = NULL;
}

static const struct field query[] = {
	{ "kind", FIELD_TEXT, .choices = kind_names, .help = "Only these" },
	{ "kinds", FIELD_TEXT, .min = 1, .max = 200, .rule = &rule_kinds, .help = "Only these, with commas between them", .example = "\"connect,disconnect\"" },
	{ "device", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_device, .help = "Only what is about this device" },
	{ 0 },
};
static const struct op ops[] = {
	{ "streamEvents", "What happens, as server-sent events, until either side ends it; after Last-Event-ID, what is kept (1024), or an event `missed`", HTTP_GET,
	    "/api/v1/events", 0, 200, stream_events, .query = query, .media = "text/event-stream" },
};
const struct op_group group_events = { "events", "What happens, as it happens", ops, ARRAY_LEN(ops) };
