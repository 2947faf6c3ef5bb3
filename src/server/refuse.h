/* refuse.c: every refusal has a cause, words and a remedy. Private to server/. */
#ifndef SERVER_REFUSE_H
#define SERVER_REFUSE_H

#include "broker/broker.h"
#include "net/net.h"
#include "pki/pki.h"

enum refusal_cause {
	REFUSAL_NONE, /* not worth a line above debug: a probe, a client that left */
	REFUSAL_NO_CERTIFICATE,
	REFUSAL_CERTIFICATE, /* judged and refused: pki_cause says more */
	REFUSAL_TLS_VERSION,
	REFUSAL_TLS_CIPHER,
	REFUSAL_TLS_KEY,
	REFUSAL_TLS_OTHER,
	REFUSAL_PEER_UNKNOWN_CA,
	REFUSAL_PEER_NAME,
	REFUSAL_PEER_EXPIRED,
	REFUSAL_PEER_ALERT,
	REFUSAL_LEFT_HANDSHAKE,
	REFUSAL_LEFT_AFTER_HANDSHAKE,
	REFUSAL_HANDSHAKE_TIMEOUT,
	REFUSAL_MQTT_ON_TLS,
	REFUSAL_HTTP_ON_TLS,
	REFUSAL_OTHER_ON_TLS,
	REFUSAL_TLS_ON_PLAIN,
	REFUSAL_PROXY_SENDER,
	REFUSAL_PROXY_HEADER,
	REFUSAL_PROXY_CLIENT,
	REFUSAL_LIMIT,
	REFUSAL_CLIENTS,
	REFUSAL_CONNECT_RATE,
	REFUSAL_MEMORY,
	REFUSAL_IDENTITY_CONNECTIONS,
	REFUSAL_FLAPPING,
	REFUSAL_ANONYMOUS,
	REFUSAL_PASSWORD,
	REFUSAL_WITHDRAWN,
	REFUSAL_NOT_REGISTERED,
	REFUSAL_DISABLED,
	REFUSAL_PENDING,
	REFUSAL_NO_REGISTRY,
	REFUSAL_REGISTERED,
	REFUSAL_LOGIN_UNKNOWN,
	REFUSAL_LOGIN_WRONG,
	REFUSAL_LOGIN_NO_SCRAM,
	REFUSAL_AUTH_METHOD,
	REFUSAL_ONLY_SCRAM,
	REFUSAL_LOGIN_RATE,
	REFUSAL_LOGIN_BUSY,
	REFUSAL_PSK_UNKNOWN,
	REFUSAL_PSK_WRONG,
	REFUSAL_OCSP_UNKNOWN,
	REFUSAL_OCSP_UNAVAILABLE,
	REFUSAL_NO_USERNAME,
	REFUSAL_CLIENT_ID_PREFIX,
	REFUSAL_CLIENT_ID,
	REFUSAL_CLIENT_ID_INVALID,
	REFUSAL_ROLE,
	REFUSAL_POLICY,
	REFUSAL_VERSION,
	REFUSAL_PROTOCOL,
	REFUSAL_CONNECT_TIMEOUT,
	REFUSAL_WEBSOCKET,
	REFUSAL_ORIGIN,
	REFUSAL_METRICS,
	REFUSAL_CONNECT_OTHER,
	REFUSAL_WILL,
	REFUSAL_PUBLISH,
	REFUSAL_TOO_LARGE,
	REFUSAL_SUBSCRIBE,
	REFUSAL_RECEIVE,
	REFUSAL_CAUSES
};
const char *refusal_cause_name(enum refusal_cause c); /* "no-certificate", …; static */

struct refusal {
	enum refusal_cause cause;
	const char *name;   /* the cause's, or the certificate's */
	char text[640];     /* the exact reason */
	const char *remedy; /* what to do; never NULL */
};
void refusal_of_failure(
    const struct net_failure *f, const struct pki_peer *peer, struct refusal *ret);
void refusal_of_event(const struct broker_event *e, bool tls, struct refusal *ret);

/* Words that identity.c and refuse.c must agree on. */
#define WHY_ANONYMOUS "no certificate and no user name, and allow_anonymous is false"
#define WHY_PASSWORD                                                                               \
	"a user name and password are not accepted here: there is no password_file, and "          \
	"allow_anonymous is false"
#define WHY_LOGIN_UNKNOWN "password_file has no user" /* and the name in quotes */
#define WHY_DYNSEC_UNKNOWN "dynamic security has no client" /* and the name in quotes */
#define WHY_LOGIN_WRONG "wrong password of user"
#define WHY_NO_SCRAM "password_file has no scram-sha-256 hash of user"
#define WHY_NO_METHOD "no authentication method is offered here"
#define WHY_OTHER_METHOD "the authentication method is not SCRAM-SHA-256"
#define WHY_METHOD_BESIDE "an authentication method beside a certificate or key that says who it is"
#define WHY_ONLY_SCRAM "a user name without SCRAM-SHA-256, which auth_method demands"
#define WHY_LOGIN_RATE "too many wrong passwords for this user from this address, or from this address"
#define WHY_LOGIN_BUSY "more logins wait for their turn than the broker takes"
#define WHY_MEMORY "memory_limit is nearly reached: nobody may connect"
#define WHY_ADDRESS_RATE "more connections a second from this address than address_connect_rate"
#define WHY_NETWORK_RATE "more connections a second from this network than network_connect_rate"
#define WHY_OCSP_REVOKED "the OCSP responder says that the certificate was revoked at" /* and when */
#define WHY_OCSP_UNKNOWN "the OCSP responder does not know the certificate"
#define WHY_OCSP_UNAVAILABLE "no OCSP responder says whether the certificate is revoked" /* ": " and why */
#define WHY_METRICS "may not read metrics here"
#define WHY_WITHDRAWN "withdrawn: " /* and what the DISCONNECT says too */
#define WHY_NOT_REGISTERED "not registered: the registry has no device of this common name"
#define WHY_DISABLED "disabled: the device is switched off in the registry"
#define WHY_PENDING "pending: the device waits for its approval"
#define WHY_NO_REGISTRY "the broker does not know yet which devices are registered"
#define WHY_REGISTERED "registered now: connect again to leave quarantine"
#define WHY_CONSOLE_CLIENT_ID "who comes from the console has no client id of his own: it must be empty"
#define WHY_NO_CLIENT_ID "the client id is empty, and allow_zero_length_clientid is false"

#endif
