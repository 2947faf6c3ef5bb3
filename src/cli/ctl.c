/* One request to the running broker of this machine, over its control socket. */
#include "cli/ctl.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/internal.h"
#include "server/server.h"

#define TOPIC "$CONTROL/signet/v1/"

enum { PATIENCE_MS = 10000 };

struct call {
	struct mqttc *c;
	bool connected, subscribed;
	char *answer;
	bool answered;
};

static void
on_connected(void *ctx, bool session_present)
{
	(void)session_present;
	((struct call *)ctx)->connected = true;
}

static void
on_subscribed(void *ctx, uint16_t packet_id, struct slice codes)
{
	(void)packet_id;
	((struct call *)ctx)->subscribed = codes.n > 0 && codes.p[0] < 0x80;
}

static bool
on_message(void *ctx, const struct mqtt_publish *m)
{
	struct call *k = ctx;

	k->answered = true;
	k->answer = text_dup(m->payload);
	return false;
}

static bool
turn_until(struct call *k, const bool *flag, uint64_t due, struct err *err)
{
	enum mqttc_result r = MQTTC_OK;
	bool extra;

	while (r == MQTTC_OK && !*flag)
		r = mqttc_turn(k->c, due, -1, &extra);
	if (*flag)
		return true;
	if (r == MQTTC_TIMEOUT)
		return err_set(err, ERR_SYSTEM, "the broker does not answer on its control socket");
	return err_set(err, ERR_SYSTEM, "control socket: %s", k->c->err.text);
}

static bool
ask(struct call *k, const char *command, const char *request, struct err *err)
{
	uint64_t due = wire_now() + PATIENCE_MS;
	struct mqtt_sub sub = { SL(TOPIC "response"), 0 };
	struct mqtt_publish m = { .payload = slice_str(request), .qos = 1 };
	char topic[64];
	uint16_t id;

	(void)snprintf(topic, sizeof topic, TOPIC "%s", command);
	m.topic = slice_str(topic);
	if (mqttc_open(k->c, due) != MQTTC_OK)
		return err_set(err, ERR_SYSTEM, "%s; does the broker run? Only its user and root may ask it", k->c->err.text);
	if (!turn_until(k, &k->connected, due, err))
		return false;
	if (!mqttc_filters(k->c, MQTT_SUBSCRIBE, &sub, 1, NULL, &id) || !turn_until(k, &k->subscribed, due, err))
		return false;
	if (!mqttc_publish(k->c, &m, &id))
		return err_set(err, ERR_SYSTEM, "%s", k->c->err.text);
	if (!turn_until(k, &k->answered, due, err))
		return false;
	mqttc_close(k->c, MQTT_RC_OK);
	return k->answer != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

bool
ctl_ask(const struct ctl *t, const char *command, const json_t *request, json_t **ret, struct err *err)
{
	char path[PKI_PATH_MAX], conf[PKI_PATH_MAX];
	const char *dir;
	struct call k = { 0 };
	struct mqttc_config cfg = { .connect = { .version = MQTT_V5, .clean_start = true, .keep_alive = 60 }, .stop_fd = -1,
		.events = { on_connected, on_message, on_subscribed, NULL, NULL }, .ctx = &k };
	char *text;
	json_t *out = NULL;
	bool ok;

	cfg.target.unix_path = t->socket;
	if (t->socket == NULL) {
		if (!site_dir(t->dir, &dir, err) || !path_join(conf, sizeof conf, dir, "signet.conf") ||
		    !server_control_path(conf, path, sizeof path, err))
			return false;
		cfg.target.unix_path = path;
	}
	text = json_dumps(request, JSON_COMPACT);
	k.c = text != NULL ? mqttc_new(&cfg) : NULL;
	ok = k.c != NULL ? ask(&k, command, text, err) : err_set(err, ERR_MEMORY, "out of memory");
	mqttc_free(k.c);
	free(text);
	if (ok)
		out = json_loads(k.answer, 0, NULL);
	free(k.answer);
	if (ok && !json_is_object(out)) {
		json_decref(out);
		return err_set(err, ERR_INPUT, "the broker's answer is no JSON object");
	}
	if (ok && json_object_get(out, "error") != NULL) {
		ok = err_set(err, ERR_INPUT, "the broker says: %s", json_string_value(json_object_get(out, "error")));
		json_decref(out);
	}
	if (ok)
		*ret = out;
	return ok;
}
