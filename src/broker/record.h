/* The bytes of the broker's records in the store (docs/store.md): each kind has one function that writes and one that reads. Pure.
 * Private to broker/. Numbers are big-endian. The first byte is the version of the record's layout. */
#ifndef BROKER_RECORD_H
#define BROKER_RECORD_H

#include "authz/authz.h"
#include "base/slice.h"
#include "msg/msg.h"

enum {
	RECORD_SUB_MAX = 15,
	RECORD_BODY_HEAD = 20,
	RECORD_ENTRY_HEAD = 13,
	RECORD_INBOUND = 29,
	RECORD_PART = 36,
	RECORD_WILL = 18,
	RECORD_NOTE_HEAD = 3, /* and the name */
};

/* Of user properties that only the broker writes: see stamp.c. */
#define STAMP_PREFIX SL("signet-")

/* The listener that somebody came to: its name, for its place may be another's at the next start. */
struct record_listener {
	struct slice name; /* reading: .p is NULL in a record that has only the place */
	uint16_t at;
};

struct record_session {
	struct slice id;
	uint32_t expiry_s;
	struct record_listener listener;
	int64_t away_since; /* seconds since 1970; 0: connected */
	bool unclaimed;     /* see struct session */
	struct authz_facts who; /* reading: views into the record */
};
size_t record_session_size(const struct record_session *r); /* bytes that writing takes at most */
struct slice record_put_session(uint8_t *out, const struct record_session *r);
bool record_get_session(struct slice s, struct record_session *ret);

/* A subscription: this, then the filter to the record's end. */
struct record_sub {
	uint64_t session;
	uint32_t id;
	uint8_t options;
	uint8_t share; /* the number that entries which came by it bear; 0: it is not shared, or has none */
	struct slice filter; /* only read */
};
struct slice record_put_sub(uint8_t out[static RECORD_SUB_MAX], const struct record_sub *r);
bool record_get_sub(struct slice s, struct record_sub *ret);

/* A message: this, then its bytes as they lie in memory. <expires>: seconds since 1970, 0 = never. */
struct slice record_put_body(uint8_t out[static RECORD_BODY_HEAD], const struct msg *m, int64_t expires);
struct slice record_body_bytes(const struct msg *m);
/* A new message, one reference; NULL: the record makes no sense, or out of memory (*ret_nomem). */
struct record_now {
	int64_t wall; /* seconds since 1970 */
	uint32_t s;   /* monotonic */
	bool stamps;  /* publishers are stamped: what was kept without that loses what looks like one */
};
struct msg *record_get_body(struct slice s, const struct record_now *now, bool *ret_nomem);

enum record_state { RECORD_QUEUED, RECORD_SENT, RECORD_RELEASED };
struct record_entry {
	uint64_t session;
	const uint32_t *ids; /* only written; subscription identifiers */
	uint16_t n_ids, packet_id;
	uint8_t state, qos;
	uint8_t share; /* of the shared subscription by which it came, or 0 */
	bool retain;
	struct slice id_bytes; /* only read: four bytes each */
};
struct slice record_put_entry(uint8_t *out, const struct record_entry *r); /* at most RECORD_ENTRY_HEAD + 4 * n_ids bytes */
bool record_get_entry(struct slice s, struct record_entry *ret);

/* Whose a retained message is, as far as a policy asks: role, names, listener. */
struct record_source {
	struct authz_facts who; /* reading: views into the record */
	struct record_listener listener;
};
size_t record_source_size(const struct record_source *r); /* bytes that writing takes at most */
struct slice record_put_source(uint8_t *out, const struct record_source *r);
bool record_get_source(struct slice s, struct record_source *ret);

struct record_inbound {
	uint64_t session;
	uint16_t packet_id;
	uint16_t shards; /* how many there were when its message went to others, which may not have written it; else 0 */
	uint64_t key[2]; /* then: that of map_hash(), by which sessions had their shards */
};
struct slice record_put_inbound(uint8_t out[static RECORD_INBOUND], const struct record_inbound *r);
bool record_get_inbound(struct slice s, struct record_inbound *ret);

/* What an exchange of QoS 2, or a message that is handed over, has reached (once.c). */
struct record_part {
	uint64_t exchange, who; /* who: a shard, or the hash of a share group's name */
	uint16_t shards;        /* how many there were */
	bool is_group, has_key;
	uint64_t key[2];        /* of map_hash() then; without it: that of its INBOUND */
};
struct slice record_put_part(uint8_t out[static RECORD_PART], const struct record_part *r);
bool record_get_part(struct slice s, struct record_part *ret);

/* A message on its way to another shard (handover.c). */
struct record_handover {
	uint16_t shards; /* as in record_inbound */
	uint64_t key[2];
	struct slice group, source; /* the share group's whole name, or empty: to all who subscribe; as record_put_source() has it, or empty */
};
size_t record_handover_size(const struct record_handover *r); /* bytes that writing takes */
struct slice record_put_handover(uint8_t *out, const struct record_handover *r);
bool record_get_handover(struct slice s, struct record_handover *ret);

/* What the server notes: this, then the value to the record's end. */
struct slice record_put_note(uint8_t *out, struct slice name); /* RECORD_NOTE_HEAD + name.n bytes */
bool record_get_note(struct slice s, struct slice *ret_name, struct slice *ret_value);

struct record_will {
	uint64_t session;
	uint32_t delay_s, expiry_s;
	bool has_expiry;
};
struct slice record_put_will(uint8_t out[static RECORD_WILL], const struct record_will *r);
bool record_get_will(struct slice s, struct record_will *ret);

#endif
