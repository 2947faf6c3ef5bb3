/* Who is there. The broker's events say it as it happens; its list of sessions, read page by page again and again, says when each was heard
 * last, and puts right what no event has told: before control was there, or when it was not. */
#include "api/pending.h"
#include "api/presence.h"

#include <stdlib.h>
#include <string.h>

#include "api/broker.h"
#include "api/events.h"
#include "api/seats.h"
#include "api/stale.h"
#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

enum {
	NOTES_MAX = 512,        /* that are written together */
	NOTES_MS = 200,         /* for which they wait */
	PAGE = 200,             /* sessions asked for at once */
	PAGE_MS = 50,           /* between two pages, once all is known */
	SWEEP_S = 60,           /* from one reading of the list to the next */
	LOST_S = 30,            /* without the broker: nobody is known to be online */
	SEEN_SHARE = 1000,      /* or a second for so many who are online */
};

/* A client id that has gone while a page of the list was on its way. */
struct gone {
	struct gone *next;
	size_t id_n;
	char id[];
};

struct presence {
	struct api *api;
	struct seats seats;
	struct note *notes;
	size_t n_notes;
	struct gone *gone;
	struct event *write, *turn, *lost;
	unsigned sweep;        /* the number of the present one */
	bool asking;           /* a page is on its way */
	bool sweeping, again;  /* again: from the beginning, when the page has come */
	bool settled;          /* nobody is online in the registry who is not here */
	bool settling;         /* that is being looked for */
	char at[32];           /* "after" of the next page */
	char cursor[REGISTRY_CURSOR_MAX]; /* of the search in the registry */
};

static void
after_ms(struct event *ev, unsigned ms)
{
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	(void)evtimer_add(ev, &tv);
}

/* ---- towards the registry ---- */

void
presence_flush(struct api *a)
{
	struct presence *p = a->presence;
	struct registry_presence rows[NOTES_MAX];
	struct seat *s;
	struct err err;

	if (p == NULL || p->n_notes == 0)
		return;
	for (size_t i = 0; i < p->n_notes; i++) {
		const struct note *n = &p->notes[i];

		rows[i] = (struct registry_presence){ .cn = slice_str(n->cn), .online = n->online, .since = n->since, .last_seen = n->seen,
			.address = slice_str(n->address), .status = slice_str(n->status), .beat = n->beat };
	}
	if (!registry_presence_set(a->registry, rows, p->n_notes, &err)) {
		log_warning("The registry does not take who is online: %s; it is told again.", err.text);
		/* What is lost here the next sweep and search find. */
		p->settled = false;
		for (size_t pos = 0; (s = seats_next(&p->seats, &pos)) != NULL;)
			s->told = 0;
	}
	p->n_notes = 0;
}

static void
note(struct presence *p, const struct note *n)
{
	if (p->n_notes == NOTES_MAX)
		presence_flush(p->api);
	if (p->n_notes == 0)
		after_ms(p->write, NOTES_MS);
	p->notes[p->n_notes++] = *n;
}

static void
on_write(evutil_socket_t fd, short what, void *ctx)
{
	struct presence *p = ctx;

	(void)fd;
	(void)what;
	presence_flush(p->api);
}

static void
forget_gone(struct presence *p)
{
	struct gone *g;

	while ((g = p->gone) != NULL) {
		p->gone = g->next;
		free(g);
	}
}

static void
forget_all(struct presence *p)
{
	seats_clear(&p->seats);
	forget_gone(p);
	p->n_notes = 0;
}

/* ---- what the broker says ---- */

static struct slice
member(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : (struct slice){ 0 };
}

/* Only of devices: who has a certificate of another role is none, whatever his name is. */
static bool
is_device(const json_t *o)
{
	struct slice cn = member(o, "cn"), role = member(o, "role");

	return cn.n > 0 && cn.n <= REGISTRY_LABEL_MAX && (slice_eq(role, SL("client")) || slice_eq(role, SL("quarantine"))) && member(o, "client_id").n > 0;
}

static void
make_note(struct note *n, struct slice cn, const json_t *o)
{
	*n = (struct note){ 0 };
	(void)text_copy(n->cn, sizeof(n->cn), cn);
	if (o != NULL && !text_copy(n->address, sizeof(n->address), member(o, "address")))
		n->address[0] = '\0';
}

static bool
has_gone(const struct presence *p, struct slice id)
{
	const struct gone *g = p->gone;

	while (g != NULL && !slice_eq(slice_of(g->id, g->id_n), id))
		g = g->next;
	return g != NULL;
}

static void
connected(struct presence *p, const json_t *o)
{
	struct slice cn = member(o, "cn");
	struct seat *s = seats_take(&p->seats, member(o, "client_id"), cn, p->sweep);
	struct note n;

	make_note(&n, cn, o);
	n.online = true;
	n.seen = n.since = time_read(member(o, "time"));
	/* Another one of the same name came before: it is online since then. */
	if (s != NULL && seat_is_shared(s))
		n.since = 0;
	if (s != NULL)
		s->told = n.seen;
	note(p, &n);
}

static void
disconnected(struct presence *p, const json_t *o)
{
	struct slice cn = member(o, "cn"), id = member(o, "client_id");
	struct gone *g = p->asking ? malloc(sizeof(*g) + id.n) : NULL;
	struct note n;

	if (g != NULL) {
		*g = (struct gone){ .next = p->gone, .id_n = id.n };
		if (id.n > 0)
			memcpy(g->id, id.p, id.n);
		p->gone = g;
	} else if (p->asking) {
		p->again = true;
	}
	seats_drop(&p->seats, id);
	make_note(&n, cn, o);
	n.online = seats_has(&p->seats, cn);
	n.seen = time_read(member(o, "time"));
	n.since = n.online ? 0 : n.seen;
	note(p, &n);
}

bool
presence_owner(struct api *a, struct slice cn, json_t *data, char *ret_tenant)
{
	struct registry_device d;

	if (cn.n == 0 || !registry_device_find(a->registry, cn, &d, NULL))
		return false;
	(void)text_copy(ret_tenant, REGISTRY_NAME_MAX + 1, d.tenant);
	(void)json_object_set_new(data, "tenant", text_json(d.tenant));
	(void)json_object_set_new(data, "device", text_json(d.id));
	free(d.mem);
	return true;
}

static void
tell(struct api *a, const char *kind, const json_t *event)
{
	char tenant[REGISTRY_NAME_MAX + 1] = "";
	json_t *data = json_deep_copy(event);

	if (data == NULL)
		return;
	(void)json_object_del(data, "event");
	(void)presence_owner(a, is_device(event) ? member(event, "cn") : member(event, "name"), data, tenant);
	event_put(a, kind, slice_str(tenant), data);
}

void
presence_event(struct api *a, const json_t *event)
{
	const char *kind = json_string_value(json_object_get(event, "event"));

	if (kind == NULL)
		return;
	if (is_device(event) && strcmp(kind, "connect") == 0)
		connected(a->presence, event);
	else if (is_device(event) && strcmp(kind, "disconnect") == 0)
		disconnected(a->presence, event);
	tell(a, kind, event);
}

/* ---- what status messages need of it ---- */

void
presence_note(struct api *a, const struct note *n)
{
	note(a->presence, n);
}

bool
presence_is_noted(const struct api *a, struct slice cn)
{
	for (size_t i = 0; i < a->presence->n_notes; i++)
		if (slice_eq(cn, slice_str(a->presence->notes[i].cn)))
			return true;
	return false;
}

bool
presence_online(const struct api *a, const struct registry_device *d)
{
	return seats_has(&a->presence->seats, d->cn) || (!a->presence->settled && d->online);
}

/* ---- the list of sessions, again and again ---- */

static void
take_row(struct presence *p, const json_t *o)
{
	struct slice id = member(o, "client_id"), cn = member(o, "cn");
	int64_t seen = time_read(member(o, "seen")), step = NUM_MAX(PRESENCE_STEP_S, (int64_t)(seats_count(&p->seats) / SEEN_SHARE));
	struct seat *s;
	struct note n;

	/* What happened after the list was made counts more. */
	if (!is_device(o) || has_gone(p, id))
		return;
	if (slice_eq(member(o, "role"), SL("quarantine")))
		pending_seen(p->api, o);
	s = seats_take(&p->seats, id, cn, p->sweep);
	if (s == NULL || (s->told != 0 && seen - s->told < step))
		return;
	s->told = seen;
	make_note(&n, cn, o);
	n.online = true;
	n.seen = seen;
	note(p, &n);
}

/* Who had a seat and was not on the list any more. */
static void
end_sweep(struct presence *p)
{
	struct seat *s;

	p->sweeping = false;
	for (size_t pos = 0; (s = seats_next(&p->seats, &pos)) != NULL;) {
		struct note n;

		if (s->mark == p->sweep)
			continue;
		make_note(&n, seat_cn(s), NULL);
		seats_drop(&p->seats, seat_id(s));
		n.online = seats_has(&p->seats, slice_str(n.cn));
		n.seen = 0;
		n.since = n.online ? 0 : api_now(p->api);
		note(p, &n);
	}
	p->settling = !p->settled;
	p->cursor[0] = '\0';
	after_ms(p->turn, p->settling ? 0 : SWEEP_S * 1000);
}

static void
on_page(void *ctx, const struct link_reply *r)
{
	struct presence *p = ctx;
	const char *next = r->answer != NULL ? json_string_value(json_object_get(r->answer, "next")) : NULL;
	json_t *one;
	size_t i;

	p->asking = false;
	if (r->result == LINK_LOST)
		return; /* presence_up() begins anew */
	if (r->result != LINK_OK || p->again) {
		forget_gone(p);
		p->sweeping = p->again = false;
		after_ms(p->turn, r->result == LINK_OK ? 0 : 5000);
		return;
	}
	json_array_foreach(json_object_get(r->answer, "sessions"), i, one)
		take_row(p, one);
	forget_gone(p);
	if (next == NULL || !text_copy(p->at, sizeof(p->at), slice_str(next)))
		end_sweep(p);
	else
		after_ms(p->turn, p->settled ? PAGE_MS : 0);
}

static void
ask(struct presence *p)
{
	json_t *body = json_pack("{s:i, s:b}", "limit", PAGE, "connected", 1);
	struct err err;

	if (body != NULL && p->at[0] != '\0')
		(void)json_object_set_new(body, "after", json_string(p->at));
	p->asking = api_ask_broker(p->api, "sessions", body, on_page, p, &err);
	if (!p->asking)
		after_ms(p->turn, 5000);
}

/* ---- who the registry thinks is online ---- */

struct search {
	struct presence *p;
	struct note *n;
	size_t count;
};

static bool
find_absent(void *ctx, const struct registry_device *d)
{
	struct search *x = ctx;

	if (!seats_has(&x->p->seats, d->cn)) {
		make_note(&x->n[x->count], d->cn, NULL);
		x->n[x->count].since = api_now(x->p->api);
		x->n[x->count++].seen = 0;
	}
	return true;
}

static void
settle(struct presence *p)
{
	struct registry_device_filter f = { .online = true };
	struct registry_page page = { .cursor = slice_str(p->cursor), .limit = PAGE };
	struct search x = { p, calloc(PAGE, sizeof(*x.n)), 0 };
	struct err err;
	bool ok;

	presence_flush(p->api);
	ok = x.n != NULL && registry_device_list(p->api->registry, &f, &page, find_absent, &x, &err);
	for (size_t i = 0; ok && i < x.count; i++)
		note(p, &x.n[i]);
	free(x.n);
	memcpy(p->cursor, page.next, sizeof(p->cursor));
	if (!ok || page.next[0] != '\0') {
		after_ms(p->turn, ok ? 0 : 5000);
		return;
	}
	p->settling = false;
	p->settled = true;
	after_ms(p->turn, SWEEP_S * 1000);
}

/* The next step of what is being done. */
static void
on_turn(evutil_socket_t fd, short what, void *ctx)
{
	struct presence *p = ctx;

	(void)fd;
	(void)what;
	if (p->asking)
		return;
	if (p->settling) {
		settle(p);
		return;
	}
	if (!p->sweeping) {
		p->sweeping = true;
		p->sweep++;
		p->at[0] = '\0';
	}
	ask(p);
}

/* ---- the broker comes and goes ---- */

/* Nobody is online whom nobody can see. */
static void
reset(struct presence *p)
{
	struct err err;

	forget_all(p);
	if (!registry_presence_reset(p->api->registry, &err))
		log_warning("The registry does not take that nobody is online: %s.", err.text);
}

static void
on_lost(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	reset(ctx);
}

static void
again(struct presence *p)
{
	p->settled = p->settling = p->sweeping = false;
	if (p->asking)
		p->again = true;
	else
		after_ms(p->turn, 0);
}

void
presence_up(struct api *a, struct slice broker_id)
{
	static const char setting[] = "presence.broker";
	struct presence *p = a->presence;
	struct slice known = { 0 };
	void *mem = NULL;
	struct err err;
	bool same = registry_setting_get(a->registry, SL(setting), &known, &mem, NULL) && known.n > 0 && slice_eq(known, broker_id);

	free(mem);
	(void)evtimer_del(p->lost);
	/* All connections of another one have ended with it. */
	if (!same) {
		reset(p);
		if (!registry_setting_set(a->registry, SL(setting), broker_id, &err))
			log_warning("The registry does not keep which broker it was: %s.", err.text);
	}
	p->asking = p->again = false;
	again(p);
	stale_hear(a);
	event_put(a, "broker", (struct slice){ 0 }, json_pack("{s:b}", "up", 1));
}

void
presence_down(struct api *a)
{
	struct presence *p = a->presence;

	(void)evtimer_del(p->turn);
	stale_deaf(a);
	p->asking = false;
	after_ms(p->lost, LOST_S * 1000);
	event_put(a, "broker", (struct slice){ 0 }, json_pack("{s:b}", "up", 0));
}

void
presence_missed(struct api *a)
{
	again(a->presence);
	stale_hear(a);
	event_put(a, "broker", (struct slice){ 0 }, json_pack("{s:b, s:b}", "up", 1, "missed", 1));
}

bool
presence_open(struct api *a, struct err *err)
{
	struct presence *p = a->presence = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	p->api = a;
	seats_init(&p->seats);
	p->notes = calloc(NOTES_MAX, sizeof(*p->notes));
	p->write = evtimer_new(a->base, on_write, p);
	p->turn = evtimer_new(a->base, on_turn, p);
	p->lost = evtimer_new(a->base, on_lost, p);
	if (p->notes == NULL || p->write == NULL || p->turn == NULL || p->lost == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	/* Control has come: the broker may have gone meanwhile. */
	after_ms(p->lost, LOST_S * 1000);
	return true;
}

void
presence_close(struct api *a)
{
	struct presence *p = a->presence;

	if (p == NULL)
		return;
	presence_flush(a);
	forget_all(p);
	seats_done(&p->seats);
	for (size_t i = 0; i < 3; i++) {
		struct event *ev = i == 0 ? p->write : i == 1 ? p->turn : p->lost;

		if (ev != NULL)
			event_free(ev);
	}
	free(p->notes);
	free(p);
	a->presence = NULL;
}
