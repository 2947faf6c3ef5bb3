/* `signet rr`: publish a request and show the answer. */
#include "base/text.h"
#include "cli/client_run.h"
#include "cli/internal.h"
#include "topic/topic.h"

struct request {
	struct client_run run;
	struct mqtt_publish m;
	bool done;
};

static void
give_up(struct request *q, int code)
{
	q->run.exit_code = code;
	q->done = true;
}

static void
on_connected(void *ctx, bool session_present)
{
	struct request *q = ctx;
	const struct client_opts *o = &q->run.o;
	struct mqtt_sub sub = { slice_str(o->response_topic), (uint8_t)o->qos };
	uint16_t id;

	(void)session_present;
	if (mqttc_filters(q->run.c, MQTT_SUBSCRIBE, &sub, 1, &o->props[PROP_SUBSCRIBE].p, &id))
		return;
	client_error(&q->run, "%s", q->run.c->err.text);
	give_up(q, EXIT_WRONG);
}

/* The answer can be heard: ask. */
static void
on_subscribed(void *ctx, uint16_t id, struct slice codes)
{
	struct request *q = ctx;
	const char *topic = q->run.o.response_topic;
	struct text_list filters = { &topic, 1 };

	if (client_run_granted(&q->run, &filters, codes) == 0) {
		give_up(q, codes.n > 0 ? codes.p[0] : EXIT_PROTOCOL);
		return;
	}
	if (mqttc_publish(q->run.c, &q->m, &id))
		return;
	client_error(&q->run, "%s", q->run.c->err.text);
	give_up(q, q->run.o.version == MQTT_V5 ? q->run.c->code : EXIT_WRONG);
}

static void
on_published(void *ctx, uint16_t id, uint8_t reason, struct slice text)
{
	struct request *q = ctx;
	char shown[200];

	if (reason < 0x80)
		return;
	client_warning(&q->run, "Publish %u failed: %s%s%s.", id, mqtt_reason_text(reason),
	    text.n > 0 ? ": " : "", text.n > 0 ? text_show(text, shown, sizeof shown) : "");
	give_up(q, reason); /* who was never asked does not answer */
}

static bool
on_message(void *ctx, const struct mqtt_publish *m)
{
	struct request *q = ctx;
	const struct client_opts *o = &q->run.o;
	const struct mqtt_props *sent = &o->props[PROP_PUBLISH].p;

	if (q->done)
		return false;
	if (!topic_matches(slice_str(o->response_topic), m->topic) || (o->no_retained && m->retain))
		return true;
	/* MQTT 5, 4.10.1: correlation data tells whose answer it is; an answer without any may
	 * be ours. */
	if (mqtt_has(sent, MQTT_P_CORRELATION_DATA) && m->correlation_data.p != NULL &&
	    !slice_eq(sent->correlation_data, m->correlation_data))
		return true;
	q->done = true;
	(void)client_run_show(&q->run, m); /* the end in any case */
	return false;
}

static enum mqttc_result
ask(struct request *q)
{
	enum mqttc_result r = client_run_open(&q->run);
	bool extra;

	while (r == MQTTC_OK && !q->done)
		r = client_run_turn(&q->run, UINT64_MAX, -1, &extra);
	return q->done ? MQTTC_OK : r;
}

int
cmd_rr(int argc, char **argv)
{
	static const struct mqttc_events events = {
		.connected = on_connected,
		.message = on_message,
		.subscribed = on_subscribed,
		.published = on_published,
	};
	struct request q = { 0 };
	struct err err;
	int code;

	if (!client_run_init(&q.run, CLIENT_RR, argc, argv, &code) ||
	    !client_run_start(&q.run, &events, &q, &code))
		goto out;
	code = EXIT_WRONG;
	if (!client_run_message(&q.run, &q.m, &err))
		client_error(&q.run, "%s", err.text);
	else {
		enum mqttc_result r = ask(&q);

		code = client_run_end(&q.run, r, q.done);
	}
out:
	client_run_done(&q.run);
	return code;
}
