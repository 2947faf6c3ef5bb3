/* A broker without sockets for tests: streams fed by hand, a clock that stands still, letters carried until nothing moves. */
#ifndef BROKER_TESTKIT_H
#define BROKER_TESTKIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/num.h"
#include "broker/broker.h"

enum { KIT_SHARDS_MAX = 8, KIT_EVENTS = 64, KIT_LOGINS_MAX = 8 };

struct kit {
	struct broker *broker;
	struct authz_policy *policy;
	unsigned n;
	uint64_t now_ms;
	int64_t wall;
	bool awake[KIT_SHARDS_MAX];
	unsigned counts[32];            /* events by kind */
	enum broker_event_kind last;
	char last_text[200], last_id[100], last_came_by[100], notes[200]; /* notes: "NAME=VALUE;" of each that was kept */
	uint8_t last_reason;
	uint32_t drops[BROKER_DROPS], drops_total, drops_clients; /* of the last BROKER_DROPPING */
	bool manual;                    /* kit_pump() does nothing: kit_turn() is the only motion */
	bool (*settle)(struct kit *k);  /* kit_pump() asks it when nothing moves any more: wait for what moves outside, true to go on */
	struct end *ends;
	unsigned listener;              /* of those who come: kit_open() */
	struct broker_login *logins[KIT_LOGINS_MAX]; /* of user "later", oldest first: kit_verdict() */
	unsigned n_logins;
	unsigned n_vouched;             /* calls of broker_ports.vouch() */
	struct broker_request *requests[KIT_LOGINS_MAX]; /* below "$CONTROL/later", oldest first: kit_answer() */
	unsigned n_requests;
	bool (*withdrawn)(const struct authz_facts *f); /* who may not be here any more; NULL: nobody */
	unsigned judged;                /* how often that was asked of who is here */
	unsigned n_toys;                /* exchanges of the method "toy" that go on */
};

/* One client's end of a connection. */
struct end {
	struct kit *kit;
	struct end *next;
	void *stream;
	unsigned shard;
	struct waker waker;
	bool woken, moving, closed, reading;
	uint8_t version;
	uint8_t *in;                    /* what the broker has sent, packets not yet looked at */
	size_t in_n, in_at;
	uint8_t *kept;                  /* bytes fed and not used */
	size_t kept_n;
	unsigned target;
};

void kit_init(struct kit *k, unsigned shards, const struct broker_settings *s, const char *policy_text);
/* The same with several listeners; those without a policy have an open one. */
void kit_init_listeners(struct kit *k, unsigned shards, const struct broker_settings *s, const struct broker_listener *v, unsigned n);
void kit_done(struct kit *k);
void kit_policy(struct kit *k, const char *policy_text); /* reload */
void kit_listener(struct kit *k, struct broker_listener *l); /* the same with other settings; the policy is open */
void kit_verdict(struct kit *k, uint8_t reason);             /* on the oldest login that is pending */
void kit_answer(struct kit *k, const char *answer);          /* the oldest request that was taken, under "$CONTROL/answer"; NULL: with nothing */
void kit_pump(struct kit *k);
/* One turn of one shard, and output and input of the connections that are there. */
void kit_turn(struct kit *k, unsigned shard);
/* Take the end, which is closed, out of the kit. */
void kit_forget(struct end *e);
void kit_sleep(struct kit *k, uint64_t ms);

/* A connection accepted by shard <shard> with a certificate CN (NULL: anonymous) and role. */
struct end *kit_open(struct kit *k, unsigned shard, const char *cn, enum authz_role role);
/* The same with a whole identity. */
struct end *kit_open_as(struct kit *k, unsigned shard, const struct authz_facts *f);
void kit_feed(struct end *e, const void *p, size_t n);
void kit_feed_slowly(struct end *e, const void *p, size_t n); /* byte by byte */
void kit_cut(struct end *e);                                  /* the transport is gone */
/* The next packet from the broker; false: none. Borrowed until the next feed. */
bool kit_next(struct end *e, struct mqtt_frame *ret);
/* Asserts that the next packet is of this type. */
struct mqtt_frame kit_expect(struct end *e, uint8_t type);
void kit_expect_nothing(struct end *e);

struct connect_options {
	uint8_t version; /* 0: 3.1.1 */
	const char *id, *username; /* user names: "bad" is refused, "later" is judged later, "user…" is who he says */
	bool keep;       /* clean start off */
	uint16_t keep_alive;
	uint32_t expiry;
	const char *will_topic, *will_payload;
	uint8_t will_qos;
	bool will_retain;
	uint32_t will_delay;
	uint16_t receive_maximum, alias_maximum;
	uint32_t maximum_packet;
	bool ask_response; /* Request Response Information */
	const char *method, *data; /* method "toy": data "NAME/N", and the client must send AUTH with "go" N times */
};
void kit_send_connect(struct end *e, const struct connect_options *o);
/* Open on a shard chosen by the id's bytes, send CONNECT, expect CONNACK 0; returns session present in *ret_present. */
struct end *kit_connect(struct kit *k, const struct connect_options *o, bool *ret_present);
/* The same with nothing but version and id. */
struct end *kit_join(struct kit *k, uint8_t version, const char *id);
uint8_t kit_connack(struct end *e); /* the code of the CONNACK that must be there */

void kit_subscribe_opt(struct end *e, const char *filter, uint8_t options, uint32_t id, uint8_t want_code);
void kit_subscribe(struct end *e, const char *filter, uint8_t qos);
void kit_publish(struct end *e, const char *topic, const char *payload, uint8_t qos, bool retain, uint16_t packet_id);
void kit_ack(struct end *e, uint8_t type, uint16_t packet_id);
/* Expect a PUBLISH with this topic and payload. */
struct mqtt_publish kit_message(struct end *e, const char *topic, const char *payload);
void kit_disconnect(struct end *e, uint8_t reason);

/* Every test runs on one shard and on four: what holds must not depend on where things live. It begins with
 * kit_begin(); the kit is done for it. */
struct kit_test {
	const char *name;
	CMUnitTestFunction fn;
};
struct kit *kit_begin(void **state, const struct broker_settings *settings, const char *policy);
unsigned kit_shards(void **state); /* of this run, for tests that begin in another way: kit_init…(kit_of(state), …) */
struct kit *kit_of(void **state);
int kit_run(const char *group, const struct kit_test *tests, size_t n); /* for main() */

#endif
