/* libFuzzer: any bytes through the framer and all decoders; what is taken must survive being
 * written and read again. */
#include <stdio.h>
#include <stdlib.h>
#include "mqtt/case_test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 1 << 20 };

static void
try_frame(const struct mqtt_frame *f, uint8_t version, bool from_client)
{
	uint8_t reason;
	const char *differs = any_roundtrip(f, version, from_client, NULL, &reason);
	struct mqtt_ack ack;

	if (differs != NULL) {
		fprintf(stderr, "%s in version %u: comes back with another %s\n",
		    mqtt_type_text(f->type), version, differs);
		abort();
	}
	if (mqtt_decode_ack(f, version, &ack) == MQTT_RC_OK && ack.packet_id == 0)
		abort();
}

/* The body in a block of its own length, read as every type, with the flags it came with and
 * those it should have. */
static void
try_all(const struct mqtt_frame *f, uint8_t version, bool from_client)
{
	uint8_t *body = malloc(f->body.n > 0 ? f->body.n : 1);
	struct mqtt_frame as = { .flags = f->flags, .size = f->size };

	if (body == NULL)
		return;
	memcpy(body, f->body.p, f->body.n);
	as.body = slice_of(body, f->body.n);
	for (as.type = MQTT_CONNECT; as.type <= MQTT_AUTH; as.type++) {
		as.flags = f->flags;
		try_frame(&as, version, from_client);
		as.flags = as.type == MQTT_PUBREL || as.type == MQTT_SUBSCRIBE ||
				   as.type == MQTT_UNSUBSCRIBE
			       ? 2
			       : 0;
		try_frame(&as, version, from_client);
	}
	free(body);
}

/* The first byte chooses: version in the two low bits, role in the third. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t versions[] = { MQTT_V5, MQTT_V311, MQTT_V31, MQTT_V5 };
	struct slice in = { data, size };
	struct mqtt_frame f;

	if (size == 0)
		return 0;
	in = slice_from(in, 1);
	while (mqtt_frame(in, MAX, &f) == MQTT_FRAME_OK) {
		if (f.size > in.n)
			abort();
		try_all(&f, versions[data[0] & 3], (data[0] & 4) == 0);
		in = slice_from(in, f.size);
	}
	return 0;
}
