/* Why somebody was turned away, and what to do about it: one row a cause, and no two causes share a
 * sentence. */
#include "server/internal.h"

#include <stdio.h>

#include "base/num.h"
#include "base/text.h"

/* clang-format off */
static const struct {
	const char *name, *remedy;
} causes[] = {
	[REFUSAL_NONE] = { "none", "nothing" },
	[REFUSAL_NO_CERTIFICATE] = { "no-certificate",
	    "give the client its certificate and key (mosquitto_pub: --cert and --key), or set require_certificate false" },
	[REFUSAL_CERTIFICATE] = { "certificate", "give the client a certificate of a CA that cafile names" },
	[REFUSAL_TLS_VERSION] = { "tls-version",
	    "update the client's TLS library, or lower tls_version to tlsv1.2 if it is tlsv1.3; older ones are never offered" },
	[REFUSAL_TLS_CIPHER] = { "tls-cipher",
	    "allow the client one of the suites of `ciphers` and `ciphers_tls1.3`, or remove these directives" },
	[REFUSAL_TLS_KEY] = { "key-mismatch",
	    "the client's key does not belong to its certificate: compare `openssl x509 -noout -pubkey` and `openssl pkey -pubout`" },
	[REFUSAL_TLS_OTHER] = { "tls-error", "try `openssl s_client -connect HOST:PORT` with the client's files to see both sides" },
	[REFUSAL_PEER_UNKNOWN_CA] = { "peer-unknown-ca",
	    "give the client the CA of the broker's certificate (mosquitto_pub: --cafile with the root that certfile ends in)" },
	[REFUSAL_PEER_NAME] = { "peer-rejects-certificate",
	    "most often the host name that the client connects to is not in certfile: use a name that is there, or issue a new one" },
	[REFUSAL_PEER_EXPIRED] = { "peer-says-expired", "renew certfile if it has expired, else set the client's clock" },
	[REFUSAL_PEER_ALERT] = { "peer-alert", "look at the client's own log: it ended the handshake" },
	[REFUSAL_LEFT_HANDSHAKE] = { "left-during-handshake",
	    "most often the client's key does not match its certificate, or it does not accept certfile and does not say so" },
	[REFUSAL_LEFT_AFTER_HANDSHAKE] = { "left-after-handshake",
	    "most often the client does not accept the name in certfile, or it only tested the port" },
	[REFUSAL_HANDSHAKE_TIMEOUT] = { "handshake-timeout",
	    "look for a slow network or a client that waits for the server to speak first; tls_handshake_timeout sets the limit" },
	[REFUSAL_MQTT_ON_TLS] = { "plain-mqtt-on-tls",
	    "switch TLS on in the client (mosquitto_pub: --cafile), or let it use a listener without TLS" },
	[REFUSAL_HTTP_ON_TLS] = { "http-on-tls", "this port speaks MQTT over TLS: use an MQTT client, not a browser or curl" },
	[REFUSAL_OTHER_ON_TLS] = { "no-tls-on-tls", "this port speaks MQTT over TLS: check what the client is and its port" },
	[REFUSAL_TLS_ON_PLAIN] = { "tls-on-plain",
	    "let the client use the listener with TLS (usually 8883), or give this one certfile and keyfile" },
	[REFUSAL_PROXY_SENDER] = { "proxy-sender",
	    "let clients use a listener without enable_proxy_protocol; if this is a proxy of yours, name it in proxy_protocol_from" },
	[REFUSAL_PROXY_HEADER] = { "proxy-header",
	    "let the proxy send the header of this version (haproxy: send-proxy is 1, send-proxy-v2 and -v2-ssl-cn are 2)" },
	[REFUSAL_PROXY_CLIENT] = { "proxy-client",
	    "let the client come by the proxy's TLS port with its certificate, and the proxy say so (haproxy: send-proxy-v2-ssl-cn)" },
	[REFUSAL_LIMIT] = { "limit", "raise max_connections of the listener or global_max_connections, or the limit of open files (ulimit -n)" },
	[REFUSAL_CLIENTS] = { "clients",
	    "let sessions that nobody needs expire (persistent_client_expiration), or raise global_max_clients" },
	[REFUSAL_CONNECT_RATE] = { "connect-rate",
	    "look for clients there that connect again and again, or raise address_connect_rate or network_connect_rate" },
	[REFUSAL_MEMORY] = { "memory-limit", "look at /metrics or $SYS for queues and retained messages that grow, or raise memory_limit" },
	[REFUSAL_IDENTITY_CONNECTIONS] = { "identity-connections",
	    "give each device a certificate or user name of its own, or raise max_connections_per_identity" },
	[REFUSAL_FLAPPING] = { "flapping",
	    "see why it connects again and again: a second client with its id, a short keep alive, or a loop without a pause" },
	[REFUSAL_ANONYMOUS] = { "anonymous",
	    "let the client use the TLS listener with its certificate, or set allow_anonymous true if everybody may connect" },
	[REFUSAL_PASSWORD] = { "password",
	    "set password_file (`signet passwd -c FILE USER` makes one), or let the client use the TLS listener with its certificate" },
	[REFUSAL_WITHDRAWN] = { "withdrawn",
	    "the right to be here was taken away since the handshake: issue a new certificate, or restore the CA or the account" },
	[REFUSAL_NOT_REGISTERED] = { "not-registered",
	    "register the device in the control plane under the common name of its certificate, or take the certificate away from whoever has it" },
	[REFUSAL_DISABLED] = { "disabled", "enable the device in the control plane if it should be let in" },
	[REFUSAL_PENDING] = { "pending", "approve the device in the control plane" },
	[REFUSAL_NO_REGISTRY] = { "registry-unavailable",
	    "see that `signet serve` runs its control process: it states the registry over the listener with `protocol control`; devices come again by themselves" },
	[REFUSAL_REGISTERED] = { "registered-now", "nothing: the device connects again" },
	[REFUSAL_LOGIN_UNKNOWN] = { "unknown-user",
	    "correct the client's user name, or add it with `signet passwd FILE USER` and a SIGHUP, or `mosquitto_ctrl dynsec createClient`" },
	[REFUSAL_LOGIN_WRONG] = { "wrong-password",
	    "correct the client's password, or set a new one with `signet passwd FILE USER` and a SIGHUP, or `mosquitto_ctrl dynsec setClientPassword`" },
	[REFUSAL_LOGIN_NO_SCRAM] = { "no-scram-hash",
	    "give the user one with `signet passwd -H scram-sha-256 FILE USER` and send the broker a SIGHUP, or let the client send its password" },
	[REFUSAL_AUTH_METHOD] = { "auth-method",
	    "set the client to a user name and password, or to its certificate alone; SCRAM-SHA-256 needs a password_file here" },
	[REFUSAL_ONLY_SCRAM] = { "scram-only",
	    "set the client to MQTT 5 and SCRAM-SHA-256 (signet pub: --auth-method), or change auth_method" },
	[REFUSAL_LOGIN_RATE] = { "login-rate",
	    "stop whoever guesses or is set up wrongly there; each user has another try after 5 s, each address after 0.5 s" },
	[REFUSAL_LOGIN_BUSY] = { "login-busy",
	    "let clients come back at different times, or choose cheaper hashes in password_file (`signet passwd -I`)" },
	[REFUSAL_PSK_UNKNOWN] = { "unknown-psk-identity",
	    "correct the client's identity (mosquitto_pub: --psk-identity), or add it to psk_file and send the broker a SIGHUP" },
	[REFUSAL_PSK_WRONG] = { "wrong-psk", "give the client the key that psk_file has for its identity (mosquitto_pub: --psk)" },
	[REFUSAL_OCSP_UNKNOWN] = { "ocsp-unknown",
	    "see that ocsp_responder answers for the CA of this client, and that its index has the certificate" },
	[REFUSAL_OCSP_UNAVAILABLE] = { "ocsp-unavailable",
	    "repair the responder (openssl ocsp -url asks it by hand) or ocsp_responder; ocsp_check soft lets clients in meanwhile" },
	[REFUSAL_NO_USERNAME] = { "no-username", "give the client a user name (mosquitto_pub: -u), or set use_username_as_clientid false" },
	[REFUSAL_CLIENT_ID_PREFIX] = { "client-id-prefix",
	    "give the client an id that begins with clientid_prefixes (mosquitto_pub: -i), or change that directive" },
	[REFUSAL_CLIENT_ID] = { "client-id",
	    "set the client id to the common name of the certificate (mosquitto_pub: -i), or issue a certificate for this id" },
	[REFUSAL_CLIENT_ID_INVALID] = { "client-id-invalid", "give the client an id of its own (mosquitto_pub: -i)" },
	[REFUSAL_ROLE] = { "role",
	    "issue the client's certificate with a CA that has a role here (role_ca), or add a role_ca line for its issuer" },
	[REFUSAL_POLICY] = { "policy", "change the listener's policy or acl_file if this client should be let in" },
	[REFUSAL_VERSION] = { "mqtt-version", "set the client to MQTT 3.1.1 or 5, whichever accept_protocol_versions allows" },
	[REFUSAL_PROTOCOL] = { "protocol", "what connects here is not a working MQTT client: check what it is and its port" },
	[REFUSAL_CONNECT_TIMEOUT] = { "connect-timeout", "the client opened a connection and said nothing: check what it is" },
	[REFUSAL_WEBSOCKET] = { "websocket",
	    "this port speaks MQTT over WebSocket: set the client's transport to it (ws:// or wss://, subprotocol mqtt), or its port" },
	[REFUSAL_ORIGIN] = { "origin", "add a websockets_origin line for the web site that this page came from, if it should be let in" },
	[REFUSAL_METRICS] = { "metrics",
	    "give the reader a certificate that may subscribe to $SYS/# (with roles: one of the watch CA), or change the listener" },
	[REFUSAL_CONNECT_OTHER] = { "connect", "change the client's settings accordingly" },
	[REFUSAL_WILL] = { "will", "give the client a will topic that it may publish to, or change the policy" },
	[REFUSAL_PUBLISH] = { "publish", "let the client publish below its own topics, or change the policy" },
	[REFUSAL_TOO_LARGE] = { "message-size", "let the client send less at a time, or raise message_size_limit" },
	[REFUSAL_SUBSCRIBE] = { "subscribe", "let the client subscribe to topics that it may read, or change the policy" },
	[REFUSAL_RECEIVE] = { "receive", "nothing, if the right was taken away on purpose; else change the policy" },
};
/* clang-format on */
_Static_assert(ARRAY_LEN(causes) == REFUSAL_CAUSES, "each cause has a row");

const char *
refusal_cause_name(enum refusal_cause c)
{
	return causes[c].name;
}

static void
set(struct refusal *r, enum refusal_cause cause, const char *text)
{
	r->cause = cause;
	r->name = causes[cause].name;
	r->remedy = causes[cause].remedy;
	if (text != r->text)
		(void)snprintf(r->text, sizeof(r->text), "%s", text);
}

static void
of_certificate(const struct pki_peer *peer, struct refusal *r)
{
	set(r, REFUSAL_CERTIFICATE,
	    peer != NULL && peer->text[0] != '\0' ? peer->text
						  : "the client's certificate was not accepted");
	if (peer == NULL)
		return;
	r->name = pki_cause_name(peer->cause);
	if (peer->remedy[0] != '\0')
		r->remedy = peer->remedy;
}

static void
of_plain_bytes(struct slice first, struct refusal *r)
{
	static const char *const methods[] = { "GET ", "POST", "HEAD", "PUT ", "OPTI", "CONN",
		"DELE", "PRI " };
	char shown[80];
	size_t i;

	for (i = 0; i < ARRAY_LEN(methods); i++) {
		if (slice_starts(first, slice_str(methods[i]))) {
			set(r, REFUSAL_HTTP_ON_TLS,
			    "an HTTP request without TLS came to a TLS listener");
			return;
		}
	}
	/* CONNECT, its length, and the length of the protocol name [MQTT-3.1.1]. */
	if (first.n > 0 && first.p[0] == MQTT_CONNECT << 4) {
		set(r, REFUSAL_MQTT_ON_TLS, "an MQTT CONNECT without TLS came to a TLS listener");
		return;
	}
	(void)snprintf(r->text, sizeof(r->text),
	    "bytes that are not TLS came to a TLS listener, beginning with \"%s\"",
	    text_show(first, shown, sizeof(shown)));
	set(r, REFUSAL_OTHER_ON_TLS, r->text);
}

/* RFC 8446, 6.2: what the peer's alert says about our certificate. */
static void
of_alert(int alert, const char *detail, struct refusal *r)
{
	enum refusal_cause cause = REFUSAL_PEER_ALERT;
	const char *what = "the client ended the handshake";

	switch (alert) {
	case 48:
		cause = REFUSAL_PEER_UNKNOWN_CA;
		what = "the client does not know or trust the CA of the broker's certificate";
		break;
	case 51:
		cause = REFUSAL_PEER_UNKNOWN_CA;
		what = "the client's CA has the name of the broker's, but another key";
		break;
	case 42:
	case 43:
	case 46:
	/* What OpenSSL sends when the application's own check, as mosquitto's of the host name,
	 * says no. */
	case 80:
		cause = REFUSAL_PEER_NAME;
		what = "the client does not accept the broker's certificate";
		break;
	case 45:
		cause = REFUSAL_PEER_EXPIRED;
		what = "the client says that the broker's certificate has expired";
		break;
	case 70:
		cause = REFUSAL_TLS_VERSION;
		what = "the client does not accept the TLS version";
		break;
	default:
		break;
	}
	(void)snprintf(
	    r->text, sizeof(r->text), "%s (it sent TLS alert %d: %s)", what, alert, detail);
	set(r, cause, r->text);
}

/* libssl's reasons, as ERR_reason_error_string() writes them. */
static void
of_tls(const struct net_failure *f, struct refusal *r)
{
	static const struct {
		const char *detail;
		enum refusal_cause cause;
		const char *text;
	} rows[] = {
		{ "unsupported protocol", REFUSAL_TLS_VERSION,
		    "the client offers no TLS version that is accepted here" },
		{ "version too low", REFUSAL_TLS_VERSION,
		    "the client offers no TLS version that is accepted here" },
		{ "unknown protocol", REFUSAL_TLS_VERSION,
		    "the client offers no TLS version that is accepted here" },
		{ "no shared cipher", REFUSAL_TLS_CIPHER,
		    "client and listener have no cipher suite in common" },
		{ "no suitable key share", REFUSAL_TLS_CIPHER,
		    "client and listener have no key exchange group in common" },
		{ "no suitable signature algorithm", REFUSAL_TLS_CIPHER,
		    "the client accepts no signature that the broker's key can make" },
		{ "bad signature", REFUSAL_TLS_KEY,
		    "the client cannot prove that the certificate is its own" },
		{ "wrong signature type", REFUSAL_TLS_KEY,
		    "the client cannot prove that the certificate is its own" },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		if (strstr(f->detail, rows[i].detail) != NULL) {
			(void)snprintf(
			    r->text, sizeof(r->text), "%s (%s)", rows[i].text, f->detail);
			set(r, rows[i].cause, r->text);
			return;
		}
	}
	(void)snprintf(r->text, sizeof(r->text), "the TLS handshake failed: %s", f->detail);
	set(r, REFUSAL_TLS_OTHER, r->text);
}

static void
of_psk(const struct net_failure *f, struct refusal *r)
{
	char show[160];

	(void)text_show(slice_str(f->psk_identity), show, sizeof(show));
	(void)snprintf(r->text, sizeof(r->text),
	    f->psk_known ? "the pre-shared key of identity '%s' is not the client's (%s)"
			 : "psk_file has no identity '%s' (%s)",
	    show, f->detail);
	set(r, f->psk_known ? REFUSAL_PSK_WRONG : REFUSAL_PSK_UNKNOWN, r->text);
}

static enum refusal_cause
of_limit(const char *detail)
{
	if (strcmp(detail, WHY_MEMORY) == 0)
		return REFUSAL_MEMORY;
	return strstr(detail, "_connect_rate") != NULL ? REFUSAL_CONNECT_RATE : REFUSAL_LIMIT;
}

void
refusal_of_failure(const struct net_failure *f, const struct pki_peer *peer, struct refusal *ret)
{
	switch (f->kind) {
	case NET_FAIL_CLOSED:
		(void)snprintf(ret->text, sizeof(ret->text),
		    "the client left during the TLS handshake (%s)", f->detail);
		set(ret, f->probe ? REFUSAL_NONE : REFUSAL_LEFT_HANDSHAKE,
		    f->probe ? "connected and left without a byte, as a probe does, or a client "
			       "that could not load its own certificate and key"
			     : ret->text);
		return;
	case NET_FAIL_TIMEOUT:
		set(ret, REFUSAL_HANDSHAKE_TIMEOUT, f->detail);
		return;
	case NET_FAIL_PLAIN_ON_TLS:
		of_plain_bytes(f->first, ret);
		return;
	case NET_FAIL_TLS_ON_PLAIN:
		set(ret, REFUSAL_TLS_ON_PLAIN, "a TLS client came to a listener without TLS");
		return;
	case NET_FAIL_PROXY_SENDER:
		set(ret, REFUSAL_PROXY_SENDER, "this listener takes connections from its proxies only, and this address is none of theirs");
		return;
	case NET_FAIL_PROXY_HEADER:
		(void)snprintf(ret->text, sizeof(ret->text), "the PROXY header is wrong: %s", f->detail);
		set(ret, REFUSAL_PROXY_HEADER, ret->text);
		return;
	case NET_FAIL_PROXY_CLIENT:
		set(ret, REFUSAL_PROXY_CLIENT, f->detail);
		return;
	case NET_FAIL_VERIFY:
		of_certificate(peer, ret);
		return;
	case NET_FAIL_NO_CERT:
		set(ret, REFUSAL_NO_CERTIFICATE,
		    "the client sent no certificate and require_certificate is true");
		return;
	case NET_FAIL_ALERT:
		of_alert(f->alert, f->detail, ret);
		return;
	case NET_FAIL_TLS:
		of_tls(f, ret);
		return;
	case NET_FAIL_PSK:
		of_psk(f, ret);
		return;
	case NET_FAIL_LIMIT:
		set(ret, of_limit(f->detail), f->detail[0] != '\0' ? f->detail : "there are too many connections");
		return;
	}
	set(ret, REFUSAL_TLS_OTHER, f->detail);
}

/* Words of login.c, and of the broker for what it names after the directive. */
static bool
login_cause(const char *text, enum refusal_cause *ret)
{
	static const struct {
		const char *begins, *has;
		enum refusal_cause cause;
	} rows[] = {
		{ WHY_WITHDRAWN, "", REFUSAL_WITHDRAWN },
		{ WHY_NOT_REGISTERED, "", REFUSAL_NOT_REGISTERED },
		{ WHY_DISABLED, "", REFUSAL_DISABLED },
		{ WHY_PENDING, "", REFUSAL_PENDING },
		{ WHY_NO_REGISTRY, "", REFUSAL_NO_REGISTRY },
		{ WHY_REGISTERED, "", REFUSAL_REGISTERED },
		{ WHY_LOGIN_UNKNOWN " '", "", REFUSAL_LOGIN_UNKNOWN },
		{ WHY_DYNSEC_UNKNOWN " '", "", REFUSAL_LOGIN_UNKNOWN },
		{ WHY_LOGIN_WRONG " '", "", REFUSAL_LOGIN_WRONG },
		{ WHY_NO_SCRAM " '", "", REFUSAL_LOGIN_NO_SCRAM },
		{ WHY_NO_METHOD, "", REFUSAL_AUTH_METHOD },
		{ WHY_OTHER_METHOD, "", REFUSAL_AUTH_METHOD },
		{ WHY_METHOD_BESIDE, "", REFUSAL_AUTH_METHOD },
		{ WHY_ONLY_SCRAM, "", REFUSAL_ONLY_SCRAM },
		{ WHY_LOGIN_RATE, "", REFUSAL_LOGIN_RATE },
		{ WHY_LOGIN_BUSY, "", REFUSAL_LOGIN_BUSY },
		{ WHY_OCSP_UNKNOWN, "", REFUSAL_OCSP_UNKNOWN },
		{ WHY_OCSP_UNAVAILABLE, "", REFUSAL_OCSP_UNAVAILABLE },
		{ "the broker has its global_max_clients", "", REFUSAL_CLIENTS },
		{ WHY_MEMORY, "", REFUSAL_MEMORY },
		{ "the identity has its max_connections_per_identity", "", REFUSAL_IDENTITY_CONNECTIONS },
		{ "held off, as", "", REFUSAL_FLAPPING },
		{ "there is no user name", "use_username_as_clientid", REFUSAL_NO_USERNAME },
		{ "the client id", "clientid_prefixes", REFUSAL_CLIENT_ID_PREFIX },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		if (slice_starts(slice_str(text), slice_str(rows[i].begins)) && strstr(text, rows[i].has) != NULL) {
			*ret = rows[i].cause;
			return true;
		}
	}
	return false;
}

static void
of_ocsp(const char *text, struct refusal *r)
{
	set(r, REFUSAL_CERTIFICATE, text);
	r->name = pki_cause_name(PKI_BAD_REVOKED);
	r->remedy = "issue a new certificate if this client should be let in; a hold is lifted at the CA, and its responder asked again after ocsp_max_age";
}

/* CONNECT was understood and refused. */
static void
of_connect(const struct broker_event *e, struct refusal *r)
{
	struct authz_facts facts = { 0 };
	enum refusal_cause cause;

	if (e->who != NULL)
		authz_principal_facts(e->who, &facts);
	if (slice_starts(slice_str(e->text), SL("will: ")) && e->reason == MQTT_RC_NOT_AUTHORIZED)
		/* BROKER_DENIED_WILL came before it and names the topic. */
		set(r, REFUSAL_NONE, e->text);
	else if (strcmp(e->text, WHY_ANONYMOUS) == 0)
		set(r, REFUSAL_ANONYMOUS, e->text);
	else if (strcmp(e->text, WHY_PASSWORD) == 0)
		set(r, REFUSAL_PASSWORD, e->text);
	else if (slice_starts(slice_str(e->text), SL(WHY_OCSP_REVOKED)))
		of_ocsp(e->text, r);
	else if (login_cause(e->text, &cause))
		set(r, cause, e->text);
	else if (e->reason == MQTT_RC_TOO_LARGE)
		set(r, REFUSAL_TOO_LARGE, e->text);
	else if (e->reason == MQTT_RC_VERSION)
		set(r, REFUSAL_VERSION, e->text);
	else if (e->reason == MQTT_RC_CLIENT_ID)
		set(r, REFUSAL_CLIENT_ID_INVALID, e->text);
	else if (e->reason == MQTT_RC_NOT_AUTHORIZED && facts.has_cert &&
		 facts.role == AUTHZ_ROLE_NONE)
		set(r, REFUSAL_ROLE, e->text);
	else if (e->reason == MQTT_RC_NOT_AUTHORIZED && facts.has_cert &&
		 facts.role != AUTHZ_ROLE_CLOUD && !slice_eq(facts.cn, e->client_id))
		set(r, REFUSAL_CLIENT_ID, e->text);
	else if (e->reason == MQTT_RC_NOT_AUTHORIZED)
		set(r, REFUSAL_POLICY, e->text);
	else
		set(r, REFUSAL_CONNECT_OTHER,
		    e->text[0] != '\0' ? e->text : mqtt_reason_text(e->reason));
}

/* net writes "TLS alert from peer: unknown CA (48)" when a connection ends so after its
 * handshake. */
static int
alert_number(const char *text)
{
	const char *open = strrchr(text, '(');
	uint64_t n = 0;

	if (open == NULL || !text_u64(slice_of(open + 1, strcspn(open + 1, ")")), 0, 255, &n))
		return -1;
	return (int)n;
}

/* The connection ended without a CONNECT that was understood. */
static void
of_drop(const struct broker_event *e, bool tls, struct refusal *r)
{
	if (slice_starts(slice_str(e->text), SL("WebSocket: "))) {
		set(r,
		    slice_starts(slice_str(e->text), SL("WebSocket: an Origin")) ? REFUSAL_ORIGIN
									      : REFUSAL_WEBSOCKET,
		    e->text);
	} else if (slice_starts(slice_str(e->text), SL("HTTP: "))) {
		set(r,
		    strstr(e->text, WHY_METRICS) != NULL ? REFUSAL_METRICS : REFUSAL_NONE, e->text);
	} else if (e->reason == MQTT_RC_SHUTTING_DOWN) {
		set(r, REFUSAL_NONE, e->text); /* nobody's fault */
	} else if (e->reason >= MQTT_RC_MALFORMED) {
		set(r, REFUSAL_PROTOCOL, e->text);
	} else if (strstr(e->text, "in time") != NULL) {
		set(r, REFUSAL_CONNECT_TIMEOUT, e->text);
	} else if (strstr(e->text, "alert from peer") != NULL) {
		of_alert(alert_number(e->text), e->text, r);
	} else if (tls) {
		(void)snprintf(r->text, sizeof(r->text),
		    "the client left after the TLS handshake without a CONNECT (%s)", e->text);
		set(r, REFUSAL_LEFT_AFTER_HANDSHAKE, r->text);
	} else {
		set(r, REFUSAL_NONE, e->text);
	}
}

void
refusal_of_event(const struct broker_event *e, bool tls, struct refusal *ret)
{
	switch (e->kind) {
	case BROKER_REFUSED:
		of_connect(e, ret);
		return;
	case BROKER_DROPPED:
		of_drop(e, tls, ret);
		return;
	case BROKER_DENIED_WILL:
		set(ret, REFUSAL_WILL, e->text);
		return;
	case BROKER_DENIED_PUBLISH:
		set(ret, e->reason == MQTT_RC_TOO_LARGE ? REFUSAL_TOO_LARGE : REFUSAL_PUBLISH,
		    e->text);
		return;
	case BROKER_DENIED_SUBSCRIBE:
		set(ret, REFUSAL_SUBSCRIBE, e->text);
		return;
	case BROKER_DENIED_RECEIVE:
		set(ret, REFUSAL_RECEIVE, e->text);
		return;
	case BROKER_CONNECTED:
	case BROKER_DISCONNECTED:
	case BROKER_SUBSCRIBED:
	case BROKER_UNSUBSCRIBED:
	case BROKER_FLAPPING:
	case BROKER_DROPPING:
	case BROKER_TRACE:
		break;
	}
	set(ret, REFUSAL_NONE, e->text);
}
