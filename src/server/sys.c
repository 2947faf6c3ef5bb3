/* The $SYS tree: what the broker says of itself, in mosquitto's topics and words, retained, when it has changed. */
#include "server/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

#define TOTAL(field) \
	static uint64_t total_##field(const struct server *s) \
	{ \
		return server_total(s, offsetof(struct shard_stats, field)); \
	}

TOTAL(connected)
TOTAL(sessions)
TOTAL(subscriptions)
TOTAL(shared)
TOTAL(retained)
TOTAL(queued)
TOTAL(sockets)
TOTAL(connects)
TOTAL(expired)
TOTAL(packets_in)
TOTAL(packets_out)
TOTAL(bytes_in)
TOTAL(bytes_out)
/* The same over all QoS. */
#define TOTAL_QOS(field) \
	static uint64_t total_##field(const struct server *s) \
	{ \
		uint64_t n = 0; \
\
		for (unsigned q = 0; q < BROKER_QOS; q++) \
			n += server_total(s, offsetof(struct shard_stats, field) + q * sizeof(uint64_t)); \
		return n; \
	}

TOTAL_QOS(messages_in)
TOTAL_QOS(messages_out)
TOTAL_QOS(payload_in)
TOTAL_QOS(payload_out)
/* What the store says; 0 without one. */
#define STORE(field) \
	static uint64_t store_##field(const struct server *s) \
	{ \
		struct store_stats x = { 0 }; \
\
		if (persist_store(s) != NULL) \
			store_stats(persist_store(s), &x); \
		return x.field; \
	}

STORE(backlog_bytes)
STORE(live_bytes)
STORE(log_bytes)
STORE(failures)

TOTAL(inflight)
TOTAL(queued_bytes)
TOTAL(retained_bytes)
TOTAL(dropped)

static uint64_t
away(const struct server *s)
{
	uint64_t all = total_sessions(s), here = total_connected(s);

	return all > here ? all - here : 0;
}

static uint64_t
stored(const struct server *s)
{
	return total_retained(s) + total_queued(s);
}

static uint64_t
alarms(const struct server *s)
{
	return board_count(s->board, ALARMS_OF_LISTS);
}

static uint64_t
stored_bytes(const struct server *s)
{
	return total_retained_bytes(s) + total_queued_bytes(s);
}

typedef uint64_t value_fn(const struct server *s);

/* Plain numbers. */
static const struct {
	const char *topic;
	value_fn *value;
} values[] = {
	{ "clients/total", total_sessions },
	{ "clients/connected", total_connected },
	{ "clients/active", total_connected },
	{ "clients/disconnected", away },
	{ "clients/inactive", away },
	{ "clients/expired", total_expired },
	{ "messages/received", total_packets_in },
	{ "messages/sent", total_packets_out },
	{ "messages/stored", stored },
	{ "messages/inflight", total_inflight },
	{ "store/messages/bytes", stored_bytes },
	{ "store/messages/count", stored },
	{ "store/backlog/bytes", store_backlog_bytes },
	{ "store/live/bytes", store_live_bytes },
	{ "store/log/bytes", store_log_bytes },
	{ "store/failures", store_failures },
	{ "subscriptions/count", total_subscriptions },
	{ "shared_subscriptions/count", total_shared },
	{ "retained messages/count", total_retained },
	{ "publish/messages/dropped", total_dropped },
	{ "publish/messages/received", total_messages_in },
	{ "publish/messages/sent", total_messages_out },
	{ "publish/bytes/received", total_payload_in },
	{ "publish/bytes/sent", total_payload_out },
	{ "bytes/received", total_bytes_in },
	{ "bytes/sent", total_bytes_out },
	{ "crl/alarms", alarms },
};

/* Averages per minute over the last 1, 5 and 15 minutes. */
static const struct {
	const char *topic;
	value_fn *value;
} loads[] = {
	{ "load/messages/received", total_packets_in },
	{ "load/messages/sent", total_packets_out },
	{ "load/publish/dropped", total_dropped },
	{ "load/publish/received", total_messages_in },
	{ "load/publish/sent", total_messages_out },
	{ "load/bytes/received", total_bytes_in },
	{ "load/bytes/sent", total_bytes_out },
	{ "load/sockets", total_sockets },
	{ "load/connections", total_connects },
};
static const unsigned minutes[] = { 1, 5, 15 };

struct sys {
	uint64_t interval_ms, next_ms, start_ms, last_ms;
	uint64_t clients_max, heap_max;
	struct heap_gauge heap;
	uint64_t said[ARRAY_LEN(values) + 3]; /* the last value that was published; UINT64_MAX: none yet */
	uint64_t before[ARRAY_LEN(loads)];
	double load[ARRAY_LEN(loads)][ARRAY_LEN(minutes)], load_said[ARRAY_LEN(loads)][ARRAY_LEN(minutes)]; /* said: -1, if it was not */
	const char *store_state; /* as it was said */
	struct health *health;
	uint64_t alarms_said;
	char *refusals_said;
	bool versioned, history_due;
};

struct sys *
sys_new(unsigned interval_s, uint64_t now_ms)
{
	struct sys *y = interval_s > 0 ? calloc(1, sizeof(*y)) : NULL;

	if (y == NULL)
		return NULL;
	y->health = health_new(interval_s);
	if (y->health == NULL) {
		free(y);
		return NULL;
	}
	y->interval_ms = (uint64_t)interval_s * 1000;
	y->start_ms = y->last_ms = y->next_ms = now_ms;
	for (size_t i = 0; i < ARRAY_LEN(y->said); i++)
		y->said[i] = UINT64_MAX;
	for (size_t i = 0; i < ARRAY_LEN(loads); i++)
		for (size_t k = 0; k < ARRAY_LEN(minutes); k++)
			y->load_said[i][k] = -1;
	return y;
}

void
sys_free(struct sys *y)
{
	if (y == NULL)
		return;
	health_free(y->health);
	free(y->refusals_said);
	free(y);
}

/* False: out of memory; the next interval says it again. */
static bool
say(const struct worker *w, const char *topic, const char *text)
{
	char name[96];
	int n = snprintf(name, sizeof(name), "$SYS/broker/%s", topic);

	return shard_publish(w->shard, slice_of(name, (size_t)n), slice_str(text), true);
}

static void
say_number(const struct worker *w, const char *topic, uint64_t value, uint64_t *said)
{
	char text[24];

	if (value == *said)
		return;
	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	if (say(w, topic, text))
		*said = value;
}

/* <text> is taken; NULL, for want of memory: the next interval says it. */
static bool
say_json(const struct worker *w, const char *topic, char *text)
{
	bool ok = text != NULL && say(w, topic, text);

	free(text);
	return ok;
}

static void
say_alarms(const struct worker *w, struct sys *y)
{
	uint64_t said = y->alarms_said;
	char *text = board_text(w->server->board, &said);

	if (text != NULL && say_json(w, "alarms", text))
		y->alarms_said = said;
}

static void
say_health(const struct worker *w, struct sys *y, uint64_t now_ms)
{
	struct server *s = w->server;
	char *refusals;

	health_sample(y->health, s, now_ms);
	say_alarms(w, y);
	(void)say_json(w, "health/recent", health_recent(y->health));
	y->history_due = y->history_due || health_history_is_due(y->health);
	if (y->history_due)
		y->history_due = !say_json(w, "health/history", health_history(y->health));
	refusals = health_refusals(s);
	if (refusals == NULL || (y->refusals_said != NULL && strcmp(refusals, y->refusals_said) == 0) || !say(w, "refusals", refusals)) {
		free(refusals);
		return;
	}
	free(y->refusals_said);
	y->refusals_said = refusals;
}

static void
say_loads(const struct worker *w, struct sys *y, uint64_t now_ms)
{
	double span = (double)(now_ms - y->last_ms) / 1000.0;

	for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
		uint64_t now = loads[i].value(w->server);
		double per_minute = span > 0 ? (double)(now - y->before[i]) * 60.0 / span : 0;

		y->before[i] = now;
		for (size_t k = 0; k < ARRAY_LEN(minutes); k++) {
			double fade = exp(-span / (60.0 * minutes[k]));
			char topic[64], text[48];

			y->load[i][k] = per_minute + fade * (y->load[i][k] - per_minute);
			if (fabs(y->load[i][k] - y->load_said[i][k]) < 0.01)
				continue;
			(void)snprintf(topic, sizeof(topic), "%s/%umin", loads[i].topic, minutes[k]);
			(void)snprintf(text, sizeof(text), "%.2f", y->load[i][k]);
			if (say(w, topic, text))
				y->load_said[i][k] = y->load[i][k];
		}
	}
}

uint64_t
sys_turn(struct sys *y, const struct worker *w, uint64_t now_ms)
{
	uint64_t heap, probe = health_probe(y->health, w->server, now_ms);
	const char *state = metrics_store_state(persist_store(w->server));
	char text[48];

	if (now_ms < y->next_ms)
		return NUM_MIN(probe, y->next_ms - now_ms);
	y->versioned = y->versioned || say(w, "version", "signet version " SIGNET_VERSION);
	(void)snprintf(text, sizeof(text), "%" PRIu64 " seconds", (now_ms - y->start_ms) / 1000);
	(void)say(w, "uptime", text);
	if (y->store_state != state && say(w, "store/state", state))
		y->store_state = state;
	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		say_number(w, values[i].topic, values[i].value(w->server), &y->said[i]);
	y->clients_max = NUM_MAX(y->clients_max, total_connected(w->server));
	heap = heap_bytes(&y->heap, now_ms);
	y->heap_max = NUM_MAX(y->heap_max, heap);
	say_number(w, "heap/current", heap, &y->said[ARRAY_LEN(values) + 2]);
	say_number(w, "clients/maximum", y->clients_max, &y->said[ARRAY_LEN(values)]);
	say_number(w, "heap/maximum", y->heap_max, &y->said[ARRAY_LEN(values) + 1]);
	say_loads(w, y, now_ms);
	say_health(w, y, now_ms);
	y->last_ms = now_ms;
	y->next_ms = now_ms + y->interval_ms;
	return NUM_MIN(probe, y->interval_ms);
}
