#include "broker/mosqdb.h"

#include <inttypes.h>
#include "base/text.h"
#include "mqtt/mqtt.h"
#include "topic/topic.h"

enum { MAGIC_BYTES = 15, HEADER_BYTES = MAGIC_BYTES + 4 + 4, ID_MAX = 268435455 };

/* In the byte order of this machine. */
static uint64_t
native_u64(struct rd *r)
{
	struct slice s = rd_take(r, sizeof(uint64_t));
	uint64_t v = 0;

	if (s.n > 0)
		memcpy(&v, s.p, sizeof v);
	return v;
}

static int64_t
native_time(struct rd *r)
{
	uint64_t v = native_u64(r);

	return v <= INT64_MAX ? (int64_t)v : 0;
}

/* A chunk that ends early and one with something behind it are both wrong. */
static bool
whole(const struct rd *r)
{
	return rd_ok(r) && rd_left(r) == 0;
}

/* Each returns NULL, or what is wrong. */

static const char *
read_config(struct rd *r)
{
	uint8_t id_bytes;

	(void)native_u64(r); /* the last message's id */
	(void)rd_u8(r);      /* written at the end, or on the way */
	id_bytes = rd_u8(r);
	(void)rd_take(r, 6);
	if (!whole(r))
		return "the chunk of settings has a wrong length";
	return id_bytes == 8 ? NULL : "message numbers do not have 8 bytes";
}

static const char *
read_client(struct rd *r, uint32_t version, struct mosqdb_client *ret)
{
	uint16_t id_n, username_n = 0;

	*ret = (struct mosqdb_client){ .ends = native_time(r) };
	ret->expiry_s = rd_u32(r);
	(void)rd_u16(r); /* the last packet id */
	id_n = rd_u16(r);
	if (version >= 6) {
		ret->port = rd_u16(r);
		username_n = rd_u16(r);
		(void)rd_take(r, 4);
	}
	ret->id = rd_take(r, id_n);
	if (username_n > 0)
		ret->username = rd_take(r, username_n);
	if (!whole(r))
		return "the chunk of a client has a wrong length";
	/* 2.0.11 writes a client without a user name with the one before's, the two bytes of its length turned round: what stands
	 * there is memory of mosquitto's. */
	ret->unnamed = !utf8_ok(ret->username);
	if (ret->unnamed)
		ret->username = (struct slice){ 0 };
	return id_n > 0 && utf8_ok(ret->id) ? NULL : "a client's id is not one";
}

static const char *
read_message(struct rd *r, struct mosqdb_message *ret)
{
	uint32_t payload_n;
	uint16_t origin_n, username_n, topic_n;

	*ret = (struct mosqdb_message){ .id = native_u64(r), .expires = native_time(r) };
	payload_n = rd_u32(r);
	(void)rd_u16(r); /* the publisher's packet id */
	origin_n = rd_u16(r);
	username_n = rd_u16(r);
	topic_n = rd_u16(r);
	(void)rd_u16(r); /* the publisher's port */
	ret->qos = rd_u8(r);
	ret->retain = rd_u8(r) != 0;
	ret->origin = rd_take(r, origin_n);
	(void)rd_take(r, username_n);
	ret->topic = rd_take(r, topic_n);
	ret->payload = rd_take(r, payload_n);
	ret->props = rd_take(r, rd_left(r));
	if (!rd_ok(r))
		return "the chunk of a message has a wrong length";
	if (ret->qos > 2)
		return "a message's QoS is above 2";
	return topic_name_ok(ret->topic) && utf8_ok(ret->topic) ? NULL : "a message's topic is not one";
}

static bool
state_of(uint8_t direction, uint8_t state, enum mosqdb_state *ret)
{
	static const enum mosqdb_state out[] = { [2] = MOSQDB_SENT, [3] = MOSQDB_SENT, [4] = MOSQDB_SENT, [5] = MOSQDB_SENT,
		[6] = MOSQDB_RELEASED, [9] = MOSQDB_RELEASED, [11] = MOSQDB_QUEUED };
	enum { QOS0 = 1, WAIT_FOR_PUBREL = 7, SEND_PUBREC = 10, LAST = 11 };

	if (direction > 1 || state == 0 || state > LAST)
		return false;
	if (direction == 0)
		*ret = state == WAIT_FOR_PUBREL || state == SEND_PUBREC ? MOSQDB_RECEIVED : MOSQDB_UNSEEN;
	else if (state == QOS0 || state == WAIT_FOR_PUBREL || state == 8 || state == SEND_PUBREC)
		*ret = MOSQDB_UNSEEN;
	else
		*ret = out[state];
	return true;
}

uint32_t
mosqdb_next_id(struct slice *ids)
{
	struct rd r = rd_of(*ids);
	uint32_t id = 0;

	if (rd_u8(&r) == MQTT_P_SUBSCRIPTION_ID)
		id = rd_varint(&r);
	if (!rd_ok(&r) || id > ID_MAX)
		id = 0;
	if (id > 0)
		*ids = slice_of(r.p, rd_left(&r));
	return id;
}

/* Of all properties only these belong to one client's copy. */
static bool
read_ids(struct rd *r, struct slice *ret)
{
	struct slice rest;

	*ret = (struct slice){ 0 };
	if (rd_left(r) == 0)
		return true;
	if (rd_varint(r) != rd_left(r))
		return false;
	rest = *ret = rd_take(r, rd_left(r));
	while (rest.n > 0)
		if (mosqdb_next_id(&rest) == 0)
			return false;
	return rd_ok(r);
}

static const char *
read_client_message(struct rd *r, struct mosqdb_client_message *ret)
{
	uint16_t id_n;
	uint8_t state, direction;

	*ret = (struct mosqdb_client_message){ .message = native_u64(r) };
	ret->packet_id = rd_u16(r);
	id_n = rd_u16(r);
	ret->qos = rd_u8(r);
	state = rd_u8(r);
	ret->retain = (rd_u8(r) & 0xf0) != 0;
	direction = rd_u8(r);
	ret->client = rd_take(r, id_n);
	if (!rd_ok(r))
		return "the chunk of a client's message has a wrong length";
	if (ret->qos > 2 || !state_of(direction, state, &ret->state))
		return "a client's message has a QoS or a state that there is not";
	if (ret->state != MOSQDB_QUEUED && ret->state != MOSQDB_UNSEEN && (ret->qos == 0 || ret->packet_id == 0))
		return "a client's message is on its way without a packet id";
	if ((ret->state == MOSQDB_RELEASED || ret->state == MOSQDB_RECEIVED) && ret->qos != 2)
		return "a client's message has a state that its QoS has not";
	return read_ids(r, &ret->ids) ? NULL : "a client's message has properties that are no subscription identifiers";
}

static const char *
read_sub(struct rd *r, struct mosqdb_sub *ret)
{
	struct slice name, inner;
	uint16_t id_n, filter_n;
	enum topic_share share;
	uint8_t qos;

	*ret = (struct mosqdb_sub){ .id = rd_u32(r) };
	id_n = rd_u16(r);
	filter_n = rd_u16(r);
	qos = rd_u8(r);
	ret->options = rd_u8(r);
	(void)rd_take(r, 2);
	ret->client = rd_take(r, id_n);
	ret->filter = rd_take(r, filter_n);
	if (!whole(r))
		return "the chunk of a subscription has a wrong length";
	if (qos > 2 || ret->id > ID_MAX || (ret->options & ~(MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED)) != 0)
		return "a subscription has options that there are not";
	ret->options |= qos;
	share = topic_share_split(ret->filter, &name, &inner);
	if (share == TOPIC_SHARE_YES)
		ret->options &= (uint8_t)~MQTT_SUB_NO_LOCAL;
	if (share == TOPIC_SHARE_BAD || (share == TOPIC_SHARE_NO && !topic_filter_ok(ret->filter)) || !utf8_ok(ret->filter))
		return "a subscription's filter is not one";
	return NULL;
}

static const char *
read_chunk(struct rd *r, uint32_t version, uint32_t kind, struct mosqdb_chunk *ret)
{
	switch (kind) {
	case MOSQDB_CONFIG:
		return read_config(r);
	case MOSQDB_MESSAGE:
		return read_message(r, &ret->message);
	case MOSQDB_CLIENT_MESSAGE:
		return read_client_message(r, &ret->client_message);
	case MOSQDB_RETAIN:
		ret->retain = native_u64(r);
		return whole(r) ? NULL : "the chunk of a retained message has a wrong length";
	case MOSQDB_SUB:
		return read_sub(r, &ret->sub);
	case MOSQDB_CLIENT:
		return read_client(r, version, &ret->client);
	default:
		return "there is a chunk of a kind that mosquitto 2.0 does not write";
	}
}

bool
mosqdb_open(struct mosqdb *db, struct slice file, struct err *err)
{
	static const uint8_t magic[MAGIC_BYTES] = { 0x00, 0xb5, 0x00, 'm', 'o', 's', 'q', 'u', 'i', 't', 't', 'o', ' ', 'd', 'b' };
	struct mosqdb_chunk first;
	struct mosqdb probe;

	*db = (struct mosqdb){ .rd = rd_of(file), .start = file.p };
	if (!slice_eq(rd_take(&db->rd, sizeof magic), slice_of(magic, sizeof magic)))
		return err_set(err, ERR_INPUT, "byte 0: this is no file of mosquitto's persistence");
	(void)rd_u32(&db->rd); /* room for a checksum, never used */
	db->version = rd_u32(&db->rd);
	if (!rd_ok(&db->rd))
		return err_set(err, ERR_INPUT, "byte %zu: the file ends within its header", file.n);
	if (db->version < 5)
		return err_set(err, ERR_INPUT, "byte 19: format %" PRIu32 " is of mosquitto 1: start mosquitto 2.0 with the file and stop it, which "
			"writes it anew", db->version);
	if (db->version > 6)
		return err_set(err, ERR_INPUT, "byte 19: format %" PRIu32 " is not known; those of mosquitto 2.0 are 5 and 6", db->version);
	probe = *db;
	switch (mosqdb_next(&probe, &first, err)) {
	case MOSQDB_BAD:
		return false;
	case MOSQDB_CHUNK:
		if (first.kind == MOSQDB_CONFIG)
			return true;
		break;
	case MOSQDB_END:
		break;
	}
	return err_set(err, ERR_INPUT, "byte %d: the file does not begin with mosquitto's settings", HEADER_BYTES);
}

enum mosqdb_next
mosqdb_next(struct mosqdb *db, struct mosqdb_chunk *ret, struct err *err)
{
	size_t at = (size_t)(db->rd.p - db->start);
	struct rd body;
	uint32_t kind, n;
	const char *fault;

	if (rd_left(&db->rd) == 0)
		return MOSQDB_END;
	kind = rd_u32(&db->rd);
	n = rd_u32(&db->rd);
	body = rd_of(rd_take(&db->rd, n));
	if (!rd_ok(&db->rd)) {
		(void)err_set(err, ERR_INPUT, "byte %zu: the file ends within the chunk that begins here", at);
		return MOSQDB_BAD;
	}
	*ret = (struct mosqdb_chunk){ .kind = (enum mosqdb_kind)kind, .at = at };
	fault = read_chunk(&body, db->version, kind, ret);
	if (fault == NULL)
		return MOSQDB_CHUNK;
	(void)err_set(err, ERR_INPUT, "byte %zu: %s", at, fault);
	return MOSQDB_BAD;
}
