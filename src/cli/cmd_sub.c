/* `signet sub`: subscribe and show what comes, over lost connections too, until told to end. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "cli/client_run.h"
#include "cli/internal.h"
#include "topic/topic.h"

enum { RETRY_FIRST_MS = 1000, RETRY_MAX_MS = 10000 };

struct sub {
	struct client_run run;
	struct mqtt_sub *filters; /* as many as run.o.topics, then run.o.unsubscribe */
	uint32_t shown;
	unsigned pending; /* UNSUBACKs to come */
	bool connected;   /* CONNACK came on the present or last connection */
	bool subscribed, done;
	char last_error[sizeof((struct err *)0)->text];
};

static void
maybe_done(struct sub *s)
{
	if (s->run.o.exit_after_sub && s->subscribed && s->pending == 0)
		s->done = true;
}

static void
on_connected(void *ctx, bool session_present)
{
	struct sub *s = ctx;
	const struct client_opts *o = &s->run.o;
	uint16_t id;
	bool ok;

	(void)session_present; /* subscribing again is harmless and brings changed options */
	s->connected = true;
	s->subscribed = false;
	s->pending = 0;
	s->last_error[0] = '\0';
	ok = mqttc_filters(
	    s->run.c, MQTT_SUBSCRIBE, s->filters, o->topics.n, &o->props[PROP_SUBSCRIBE].p, &id);
	for (size_t i = 0; ok && i < o->unsubscribe.n; i++) {
		ok = mqttc_filters(s->run.c, MQTT_UNSUBSCRIBE, &s->filters[o->topics.n + i], 1,
		    &o->props[PROP_UNSUBSCRIBE].p, &id);
		s->pending++;
	}
	if (ok)
		return;
	client_error(&s->run, "%s", s->run.c->err.text);
	s->run.exit_code = EXIT_WRONG;
	s->done = true;
}

static void
on_subscribed(void *ctx, uint16_t id, struct slice codes)
{
	struct sub *s = ctx;

	for (size_t i = 0; s->run.o.debug && i < codes.n; i++) {
		if (i == 0)
			printf("Subscribed (mid: %u): ", id);
		printf("%u%s", codes.p[i], i + 1 == codes.n ? "\n" : ", ");
	}
	fflush(stdout);
	s->subscribed = true;
	if (client_run_granted(&s->run, &s->run.o.topics, codes) == 0)
		s->done = true;
	maybe_done(s);
}

static void
on_unsubscribed(void *ctx, uint16_t id)
{
	struct sub *s = ctx;

	(void)id;
	s->pending -= s->pending > 0 ? 1 : 0;
	maybe_done(s);
}

static bool
is_filtered_out(const struct client_opts *o, struct slice topic)
{
	for (size_t i = 0; i < o->filter_out.n; i++)
		if (topic_matches(slice_str(o->filter_out.v[i]), topic))
			return true;
	return false;
}

/* Publishing nothing with the retain flag takes the retained message away [MQTT-3.3.1-10]. */
static void
remove_retained(struct sub *s, struct slice topic)
{
	struct mqtt_publish m = { .topic = topic, .qos = 1, .retain = true };
	uint16_t id;

	if (!mqttc_publish(s->run.c, &m, &id))
		client_warning(&s->run, "%s", s->run.c->err.text);
}

static bool
by_chance(uint32_t permille)
{
	uint32_t r;

	if (permille >= 1000)
		return true;
	random_bytes(&r, sizeof r);
	return r % 1000 < permille;
}

static bool
on_message(void *ctx, const struct mqtt_publish *m)
{
	struct sub *s = ctx;
	const struct client_opts *o = &s->run.o;

	if (s->done)
		return false;
	if (o->retained_only && !m->retain) {
		s->done = true;
		return false;
	}
	if (is_filtered_out(o, m->topic))
		return true;
	if (o->remove_retained && m->retain)
		remove_retained(s, m->topic);
	if ((o->no_retained && m->retain) || !by_chance(o->random_permille))
		return true;
	s->done = !client_run_show(&s->run, m) || (o->count > 0 && ++s->shown >= o->count);
	return !s->done;
}

static void
on_published(void *ctx, uint16_t id, uint8_t reason, struct slice text)
{
	const struct sub *s = ctx;

	(void)text;
	if (reason >= 0x80)
		client_warning(&s->run, "Publish %u (--remove-retained) failed: %s.", id,
		    mqtt_reason_text(reason));
}

/* Take turns until the end, or until the connection is gone. */
static enum mqttc_result
listen_on(struct sub *s, enum mqttc_result r)
{
	bool extra;

	while (r == MQTTC_OK && !s->done)
		r = client_run_turn(&s->run, UINT64_MAX, -1, &extra);
	return s->done ? MQTTC_OK : r;
}

/* Wait before another try; false when a signal or -W came instead. */
static enum mqttc_result
pause_for(const struct sub *s, uint64_t ms)
{
	struct pollfd p = { s->run.c->cfg.stop_fd, POLLIN, 0 };
	uint64_t now = wire_now(), until = NUM_MIN(now + ms, s->run.due);

	while (now < until) {
		if (poll(&p, 1, (int)(until - now)) > 0)
			return MQTTC_STOPPED;
		now = wire_now();
	}
	return now >= s->run.due ? MQTTC_TIMEOUT : MQTTC_OK;
}

/* The same trouble is told once, not every few seconds. */
static void
tell(struct sub *s, uint64_t ms)
{
	struct mqttc *c = s->run.c;

	if (strcmp(s->last_error, c->err.text) == 0)
		return;
	memcpy(s->last_error, c->err.text, sizeof s->last_error);
	client_error(&s->run, "%s (trying again in %u s)", c->err.text, (unsigned)(ms / 1000));
}

static enum mqttc_result
follow(struct sub *s)
{
	uint64_t wait_ms = RETRY_FIRST_MS;
	enum mqttc_result r = listen_on(s, client_run_open(&s->run));

	while (r == MQTTC_LOST) {
		if (s->connected)
			wait_ms = RETRY_FIRST_MS;
		s->connected = false;
		tell(s, wait_ms);
		r = pause_for(s, wait_ms);
		if (r == MQTTC_OK)
			r = listen_on(s, mqttc_open(s->run.c, s->run.due));
		wait_ms = NUM_MIN(wait_ms * 2, (uint64_t)RETRY_MAX_MS);
	}
	return r;
}

static bool
fill_filters(struct sub *s)
{
	const struct client_opts *o = &s->run.o;
	uint8_t options = (uint8_t)o->qos;

	if (o->version == MQTT_V5 && o->retain_as_published)
		options |= MQTT_SUB_RETAIN_AS_PUBLISHED;
	s->filters = calloc(o->topics.n + o->unsubscribe.n, sizeof *s->filters);
	if (s->filters == NULL)
		return false;
	for (size_t i = 0; i < o->topics.n; i++)
		s->filters[i] = (struct mqtt_sub){ slice_str(o->topics.v[i]), options };
	for (size_t i = 0; i < o->unsubscribe.n; i++)
		s->filters[o->topics.n + i] =
		    (struct mqtt_sub){ slice_str(o->unsubscribe.v[i]), 0 };
	return true;
}

int
cmd_sub(int argc, char **argv)
{
	static const struct mqttc_events events = {
		.connected = on_connected,
		.message = on_message,
		.subscribed = on_subscribed,
		.unsubscribed = on_unsubscribed,
		.published = on_published,
	};
	struct sub s = { 0 };
	int code;

	if (!client_run_init(&s.run, CLIENT_SUB, argc, argv, &code) ||
	    !client_run_start(&s.run, &events, &s, &code))
		goto out;
	code = EXIT_WRONG;
	if (!fill_filters(&s))
		client_error(&s.run, "out of memory");
	else {
		enum mqttc_result r = follow(&s);

		code = client_run_end(&s.run, r, true);
	}
out:
	free(s.filters);
	client_run_done(&s.run);
	return code;
}
