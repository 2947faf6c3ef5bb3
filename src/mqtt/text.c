/* Reason codes and packet types in words; which packet may carry which reason. */
#include "base/num.h"
#include "mqtt/internal.h"

#define IN(name) (1u << MQTT_##name)
#define PUBS (IN(PUBACK) | IN(PUBREC))
#define RELS (IN(PUBREL) | IN(PUBCOMP))
#define SUBS (IN(SUBACK) | IN(UNSUBACK))
#define ENDS (IN(CONNACK) | IN(DISCONNECT))
#define REFUSES (IN(SUBACK) | IN(DISCONNECT))

struct reason {
	const char *text;
	uint16_t packets;
};

/* 5.0, table 2-6. */
static const struct reason reasons[] = {
	/* clang-format off */
	[MQTT_RC_OK] = { "success", ENDS | PUBS | RELS | SUBS | IN(AUTH) },
	[MQTT_RC_QOS1] = { "granted QoS 1", IN(SUBACK) },
	[MQTT_RC_QOS2] = { "granted QoS 2", IN(SUBACK) },
	[MQTT_RC_WITH_WILL] = { "disconnect with will message", IN(DISCONNECT) },
	[MQTT_RC_NO_SUBSCRIBERS] = { "no matching subscribers", PUBS },
	[MQTT_RC_NO_SUBSCRIPTION] = { "no subscription existed", IN(UNSUBACK) },
	[MQTT_RC_CONTINUE_AUTH] = { "continue authentication", IN(AUTH) },
	[MQTT_RC_REAUTH] = { "re-authenticate", IN(AUTH) },
	[MQTT_RC_UNSPECIFIED] = { "unspecified error", ENDS | PUBS | SUBS },
	[MQTT_RC_MALFORMED] = { "malformed packet", ENDS },
	[MQTT_RC_PROTOCOL] = { "protocol error", ENDS },
	[MQTT_RC_IMPLEMENTATION] = { "implementation specific error", ENDS | PUBS | SUBS },
	[MQTT_RC_VERSION] = { "unsupported protocol version", IN(CONNACK) },
	[MQTT_RC_CLIENT_ID] = { "client identifier not valid", IN(CONNACK) },
	[MQTT_RC_CREDENTIALS] = { "bad user name or password", IN(CONNACK) },
	[MQTT_RC_NOT_AUTHORIZED] = { "not authorized", ENDS | PUBS | SUBS },
	[MQTT_RC_UNAVAILABLE] = { "server unavailable", IN(CONNACK) },
	[MQTT_RC_BUSY] = { "server busy", ENDS },
	[MQTT_RC_BANNED] = { "banned", IN(CONNACK) },
	[MQTT_RC_SHUTTING_DOWN] = { "server shutting down", IN(DISCONNECT) },
	[MQTT_RC_AUTH_METHOD] = { "bad authentication method", ENDS },
	[MQTT_RC_KEEP_ALIVE] = { "keep alive timeout", IN(DISCONNECT) },
	[MQTT_RC_TAKEN_OVER] = { "session taken over", IN(DISCONNECT) },
	[MQTT_RC_FILTER_INVALID] = { "topic filter invalid", SUBS | IN(DISCONNECT) },
	[MQTT_RC_TOPIC_INVALID] = { "topic name invalid", ENDS | PUBS },
	[MQTT_RC_ID_IN_USE] = { "packet identifier in use", PUBS | SUBS },
	[MQTT_RC_ID_NOT_FOUND] = { "packet identifier not found", RELS },
	[MQTT_RC_RECEIVE_MAXIMUM] = { "receive maximum exceeded", IN(DISCONNECT) },
	[MQTT_RC_ALIAS_INVALID] = { "topic alias invalid", IN(DISCONNECT) },
	/* Brokers answer a QoS 1 message that is larger than their limit for messages with it,
	 * though the table does not list PUBACK; the connection is worth more than the letter. */
	[MQTT_RC_TOO_LARGE] = { "packet too large", ENDS | PUBS },
	[MQTT_RC_RATE] = { "message rate too high", IN(DISCONNECT) },
	[MQTT_RC_QUOTA] = { "quota exceeded", ENDS | PUBS | IN(SUBACK) },
	[MQTT_RC_ADMINISTRATIVE] = { "administrative action", IN(DISCONNECT) },
	[MQTT_RC_PAYLOAD_FORMAT] = { "payload format invalid", ENDS | PUBS },
	[MQTT_RC_RETAIN_UNSUPPORTED] = { "retain not supported", ENDS },
	[MQTT_RC_QOS_UNSUPPORTED] = { "QoS not supported", ENDS },
	[MQTT_RC_USE_ANOTHER] = { "use another server", ENDS },
	[MQTT_RC_SERVER_MOVED] = { "server moved", ENDS },
	[MQTT_RC_SHARED_UNSUPPORTED] = { "shared subscriptions not supported", REFUSES },
	[MQTT_RC_CONNECTION_RATE] = { "connection rate exceeded", ENDS },
	[MQTT_RC_MAXIMUM_CONNECT_TIME] = { "maximum connect time", IN(DISCONNECT) },
	[MQTT_RC_SUBSCRIPTION_ID_UNSUPPORTED] = {
	    "subscription identifiers not supported", REFUSES },
	[MQTT_RC_WILDCARD_UNSUPPORTED] = { "wildcard subscriptions not supported", REFUSES },
	/* clang-format on */
};

/* "reason 0x00" … "reason 0xff": static text for codes without a name, without a buffer that
 * somebody shares. */
#define DIGIT(high, low) "reason 0x" high low
#define ROW(h)                                                                                     \
	DIGIT(h, "0"), DIGIT(h, "1"), DIGIT(h, "2"), DIGIT(h, "3"), DIGIT(h, "4"), DIGIT(h, "5"),  \
	    DIGIT(h, "6"), DIGIT(h, "7"), DIGIT(h, "8"), DIGIT(h, "9"), DIGIT(h, "a"),             \
	    DIGIT(h, "b"), DIGIT(h, "c"), DIGIT(h, "d"), DIGIT(h, "e"), DIGIT(h, "f")

/* clang-format off */
static const char unnamed[256][sizeof "reason 0x00"] = {
	ROW("0"), ROW("1"), ROW("2"), ROW("3"), ROW("4"), ROW("5"), ROW("6"), ROW("7"),
	ROW("8"), ROW("9"), ROW("a"), ROW("b"), ROW("c"), ROW("d"), ROW("e"), ROW("f"),
};

static const char *const types[] = {
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
};
/* clang-format on */

const char *
mqtt_reason_text(uint8_t reason)
{
	if (reason < ARRAY_LEN(reasons) && reasons[reason].text != NULL)
		return reasons[reason].text;
	return unnamed[reason];
}

const char *
mqtt_type_text(uint8_t type)
{
	return type < ARRAY_LEN(types) ? types[type] : "unknown";
}

bool
reason_allowed(unsigned packet, uint8_t reason)
{
	return reason < ARRAY_LEN(reasons) && (reasons[reason].packets >> packet & 1) != 0;
}

uint8_t
mqtt_connack_code_v3(uint8_t reason)
{
	enum { ACCEPTED, VERSION, IDENTIFIER, UNAVAILABLE, CREDENTIALS, NOT_AUTHORIZED };

	switch (reason) {
	case MQTT_RC_OK:
		return ACCEPTED;
	case MQTT_RC_VERSION:
		return VERSION;
	case MQTT_RC_CLIENT_ID:
		return IDENTIFIER;
	case MQTT_RC_CREDENTIALS:
	case MQTT_RC_AUTH_METHOD:
		return CREDENTIALS;
	case MQTT_RC_UNSPECIFIED:
	case MQTT_RC_IMPLEMENTATION:
	case MQTT_RC_UNAVAILABLE:
	case MQTT_RC_BUSY:
	case MQTT_RC_SHUTTING_DOWN:
	case MQTT_RC_QUOTA:
	case MQTT_RC_USE_ANOTHER:
	case MQTT_RC_SERVER_MOVED:
	case MQTT_RC_CONNECTION_RATE:
		return UNAVAILABLE;
	default:
		return NOT_AUTHORIZED;
	}
}
