/* A command for a device, on the topic on which it hears what to do. */
#include "api/broker.h"

#include <stdlib.h>

enum { TOPIC_CAP = 2048 };

/* What <letter> stands for in actuate_topic. */
static struct slice
value_of(const struct registry_device *d, char letter)
{
	switch (letter) {
	case 't':
		return d->tenant;
	case 'd':
		return d->id;
	case 'u':
		return d->cn;
	default:
		return (struct slice){ 0 };
	}
}

static bool
write_topic(const char *form, const struct registry_device *d, char out[static TOPIC_CAP])
{
	size_t n = 0;

	for (const char *p = form; *p != '\0'; p++) {
		struct slice s = *p == '%' ? value_of(d, p[1]) : (struct slice){ 0 };

		if (s.n == 0)
			s = slice_of(p, 1);
		else
			p++;
		if (n + s.n >= TOPIC_CAP)
			return false;
		memcpy(out + n, s.p, s.n);
		n += s.n;
	}
	out[n] = '\0';
	return true;
}

void
call_actuate(struct call *c, const struct registry_device *d, const json_t *attrs, void (*done)(struct call *c, const json_t *answer))
{
	char topic[TOPIC_CAP], *payload = json_dumps(attrs, JSON_COMPACT);
	json_t *body = NULL;

	if (payload != NULL && write_topic(c->api->config->actuate_topic, d, topic))
		body = json_pack("{s:s, s:s, s:i, s:s}", "topic", topic, "payload", payload, "qos", 1, "content_type", "application/json");
	free(payload);
	broker_inquire(c, "publish", body, done);
}
