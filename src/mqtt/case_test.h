/* For the tests and the fuzzer of mqtt/: packets in a readable notation, and any packet decoded,
 * encoded and compared without regard to its type. */
#ifndef MQTT_CASE_TEST_H
#define MQTT_CASE_TEST_H

#include "mqtt/mqtt.h"

/* One packet and what decoding it must say. <packet> begins with the first byte of the fixed
 * header; the remaining length is put in. Then: hex digits; 'text' as it is; <text> with two
 * bytes of length before it; {…} with a variable byte integer of its length before it. */
struct mqtt_case {
	uint8_t version, want;
	const char *packet, *name;
	enum { EXACT, LOOSE } form; /* LOOSE: valid, but not as we would write it */
	bool from_server;           /* matters to PUBLISH only */
};

extern const struct mqtt_case connect_cases[], publish_cases[], ack_cases[], filter_cases[],
    end_cases[];
extern const size_t connect_cases_n, publish_cases_n, ack_cases_n, filter_cases_n, end_cases_n;

/* Calls <fn> with every case. */
void each_case(void (*fn)(const struct mqtt_case *c, struct slice packet));

/* The bytes of the notation, and only what stands for the body. */
size_t case_packet(const char *notation, uint8_t *out, size_t cap);
size_t case_bytes(const char *notation, uint8_t *out, size_t cap);

/* A packet of any type, decoded. */
struct any {
	uint8_t type, version;
	union {
		struct mqtt_connect connect;
		struct mqtt_connack connack;
		struct mqtt_publish publish;
		struct mqtt_ack ack;
		struct mqtt_filters filters;
		struct mqtt_suback suback;
		struct mqtt_disconnect end;
	};
};

uint8_t any_decode(const struct mqtt_frame *f, uint8_t version, bool from_client, struct any *ret);
bool any_put(struct wr *w, const struct any *m);
/* NULL when both say the same, else the name of what differs. */
const char *any_differs(const struct any *a, const struct any *b);

/* Decode, encode, decode, compare: NULL when all is well or the packet is refused; <ret_reason>
 * says which. <out>, if not NULL, is where the encoded packet goes; it must hold f->size + 64
 * bytes. */
const char *any_roundtrip(const struct mqtt_frame *f, uint8_t version, bool from_client,
    struct wr *out, uint8_t *ret_reason);

#endif
