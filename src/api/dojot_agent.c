/* What the IoT agent says of itself: metrics of the broker, and whether it is well. */
#include "api/dojot.h"

#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "base/text.h"

/* Members of the answer, and the broker's topics whose last values they are. */
static const struct {
	const char *name, *topic;
} metrics[DOJOT_METRICS] = {
	{ "connectedClients", "$SYS/broker/clients/connected" },
	{ "connectionsLoad1min", "$SYS/broker/load/connections/1min" },
	{ "connectionsLoad5min", "$SYS/broker/load/connections/5min" },
	{ "connectionsLoad15min", "$SYS/broker/load/connections/15min" },
	{ "messagesLoad1min", "$SYS/broker/load/publish/received/1min" },
	{ "messagesLoad5min", "$SYS/broker/load/publish/received/5min" },
	{ "messagesLoad15min", "$SYS/broker/load/publish/received/15min" },
};
const char *const dojot_topics[DOJOT_TOPICS] = { "$SYS/broker/clients/connected", "$SYS/broker/load/connections/+", "$SYS/broker/load/publish/received/+" };

bool
dojot_told(struct api *a, struct slice topic, struct slice payload)
{
	for (size_t i = 0; i < ARRAY_LEN(metrics); i++)
		if (slice_eq(slice_str(metrics[i].topic), topic)) {
			(void)text_copy(a->dojot_metrics[i], sizeof(a->dojot_metrics[i]), payload);
			return true;
		}
	return slice_starts(topic, SL("$SYS/"));
}

/* Texts, as mosca has them; null: not known (yet). */
static void
show_metrics(struct call *c)
{
	json_t *v = json_object();

	for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
		const char *value = c->api->dojot_metrics[i];

		(void)json_object_set_new(v, metrics[i].name, value[0] != '\0' ? json_string(value) : json_null());
	}
	call_json(c, 200, v);
}

/* As in draft-inadarei-api-health-check. Idle memory is no illness. */
static void
health(struct call *c)
{
	int64_t generation;
	bool registry = registry_generation(c->api->registry, &generation, NULL), broker = c->api->dojot_metrics[0][0] != '\0';
	const char *status = !registry ? "fail" : broker ? "pass" : "warn";

	call_json(c, registry ? 200 : 500, json_pack("{s:s, s:s, s:s, s:{s:[{s:s}], s:[{s:s}]}}", "description", "health of signet control", "version", SIGNET_VERSION,
					       "status", status, "details", "registry:accessibility", "status", registry ? "pass" : "fail", "broker:accessibility", "status",
					       broker ? "pass" : "warn"));
}

static const struct op ops[] = {
	{ "dojotMetrics", "Metrics of the broker", HTTP_GET, "/iotagent-mqtt/metrics", OP_DOJOT, 200, show_metrics },
	{ "dojotAgentHealth", "Is it well", HTTP_GET, "/iotagent-mqtt/healthCheck", OP_DOJOT | OP_OPEN, 200, health },
	{ "dojotHealth", "Is it well", HTTP_GET, "/healthCheck", OP_DOJOT | OP_OPEN, 200, health },
};
const struct op_group group_dojot_agent = { "dojot-agent", "The IoT agent", ops, ARRAY_LEN(ops) };
