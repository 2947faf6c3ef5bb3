/* Every refusal that a person may meet has its own name, its own words and a remedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/num.h"
#include "server/internal.h"

/* clang-format off */
static const struct {
	struct net_failure f;
	const char *name;
} failures[] = {
	{ { .kind = NET_FAIL_NO_CERT, .detail = "" }, "no-certificate" },
	{ { .kind = NET_FAIL_TLS, .detail = "unsupported protocol" }, "tls-version" },
	{ { .kind = NET_FAIL_TLS, .detail = "no shared cipher" }, "tls-cipher" },
	{ { .kind = NET_FAIL_TLS, .detail = "bad signature" }, "key-mismatch" },
	{ { .kind = NET_FAIL_TLS, .detail = "bad record mac" }, "tls-error" },
	{ { .kind = NET_FAIL_ALERT, .alert = 48, .detail = "unknown ca" }, "peer-unknown-ca" },
	{ { .kind = NET_FAIL_ALERT, .alert = 80, .detail = "internal error" }, "peer-rejects-certificate" },
	{ { .kind = NET_FAIL_ALERT, .alert = 45, .detail = "certificate expired" }, "peer-says-expired" },
	{ { .kind = NET_FAIL_ALERT, .alert = 40, .detail = "handshake failure" }, "peer-alert" },
	{ { .kind = NET_FAIL_CLOSED, .detail = "unexpected eof while reading" }, "left-during-handshake" },
	{ { .kind = NET_FAIL_TIMEOUT, .detail = "the TLS handshake was not done in time" }, "handshake-timeout" },
	{ { .kind = NET_FAIL_PLAIN_ON_TLS, .first = { (const uint8_t *)"\x10\x0e\0\x04MQTT", 8 }, .detail = "" },
	    "plain-mqtt-on-tls" },
	{ { .kind = NET_FAIL_PLAIN_ON_TLS, .first = { (const uint8_t *)"GET / HTTP/1.1", 14 }, .detail = "" }, "http-on-tls" },
	{ { .kind = NET_FAIL_PLAIN_ON_TLS, .first = { (const uint8_t *)"SSH-2.0\r\n", 9 }, .detail = "" }, "no-tls-on-tls" },
	{ { .kind = NET_FAIL_TLS_ON_PLAIN, .detail = "" }, "tls-on-plain" },
	{ { .kind = NET_FAIL_LIMIT, .detail = "" }, "limit" },
};
/* clang-format on */

/* clang-format off */
static const struct {
	enum broker_event_kind kind;
	uint8_t reason;
	const char *text;
	bool tls, cert;
	enum authz_role role;
	const char *name;
} events[] = {
	{ BROKER_REFUSED, MQTT_RC_NOT_AUTHORIZED, WHY_ANONYMOUS, false, false, 0, "anonymous" },
	{ BROKER_REFUSED, MQTT_RC_NOT_AUTHORIZED, WHY_PASSWORD, false, false, 0, "password" },
	{ BROKER_REFUSED, MQTT_RC_NOT_AUTHORIZED, "the client id is not the CN", true, true, AUTHZ_ROLE_CLIENT, "client-id" },
	{ BROKER_REFUSED, MQTT_RC_NOT_AUTHORIZED, "no rule", true, true, AUTHZ_ROLE_NONE, "role" },
	{ BROKER_REFUSED, MQTT_RC_NOT_AUTHORIZED, "no rule for cloud", true, true, AUTHZ_ROLE_CLOUD, "policy" },
	{ BROKER_REFUSED, MQTT_RC_NOT_AUTHORIZED, WHY_OCSP_UNKNOWN, true, true, AUTHZ_ROLE_CLIENT, "ocsp-unknown" },
	{ BROKER_REFUSED, MQTT_RC_UNAVAILABLE, WHY_OCSP_UNAVAILABLE ": x", true, true, AUTHZ_ROLE_CLIENT, "ocsp-unavailable" },
	{ BROKER_REFUSED, MQTT_RC_CLIENT_ID, WHY_NO_CLIENT_ID, false, false, 0, "client-id-invalid" },
	{ BROKER_REFUSED, MQTT_RC_VERSION, "protocol version 7", false, false, 0, "mqtt-version" },
	{ BROKER_REFUSED, MQTT_RC_BUSY, "", false, false, 0, "connect" },
	{ BROKER_DROPPED, MQTT_RC_PROTOCOL, "the first packet is not CONNECT", false, false, 0, "protocol" },
	{ BROKER_DROPPED, MQTT_RC_UNSPECIFIED, "WebSocket: a frame without a mask", false, false, 0, "websocket" },
	{ BROKER_DROPPED, MQTT_RC_UNSPECIFIED, "WebSocket: an Origin that is not in websockets_origin", true, false, 0, "origin" },
	{ BROKER_DROPPED, MQTT_RC_UNSPECIFIED, "HTTP: " WHY_METRICS, true, true, AUTHZ_ROLE_CLIENT, "metrics" },
	{ BROKER_DROPPED, MQTT_RC_UNSPECIFIED, "no CONNECT in time", false, false, 0, "connect-timeout" },
	{ BROKER_DROPPED, MQTT_RC_UNSPECIFIED, "connection closed by the peer", true, false, 0, "left-after-handshake" },
	{ BROKER_DENIED_WILL, MQTT_RC_NOT_AUTHORIZED, "no rule grants the will", true, true, AUTHZ_ROLE_WATCH, "will" },
	{ BROKER_DENIED_PUBLISH, MQTT_RC_NOT_AUTHORIZED, "no rule grants publishing", true, true, AUTHZ_ROLE_CLIENT, "publish" },
	{ BROKER_DENIED_PUBLISH, MQTT_RC_TOO_LARGE, "payload above message_size_limit", true, true, AUTHZ_ROLE_CLIENT, "message-size" },
	{ BROKER_DENIED_SUBSCRIBE, MQTT_RC_NOT_AUTHORIZED, "no rule grants it", true, true, AUTHZ_ROLE_CLIENT, "subscribe" },
	{ BROKER_DENIED_RECEIVE, MQTT_RC_NOT_AUTHORIZED, "taken away", true, true, AUTHZ_ROLE_CLIENT, "receive" },
};
/* clang-format on */

static void
of_event(size_t i, struct refusal *r)
{
	struct authz_facts facts = {
		.has_cert = events[i].cert, .role = events[i].role, .cn = SL("dev1")
	};
	struct authz_principal *who = authz_principal_new(&facts);
	struct broker_event e = { .kind = events[i].kind,
		.reason = events[i].reason,
		.text = events[i].text,
		.who = who,
		.client_id = SL("other") };

	assert_non_null(who);
	refusal_of_event(&e, events[i].tls, r);
	authz_principal_unref(who);
}

static void
each_row_has_its_name_words_and_remedy(void **state)
{
	static struct refusal all[ARRAY_LEN(failures) + ARRAY_LEN(events) + PKI_CAUSES];
	size_t n = 0, i, j;

	(void)state;
	for (i = 0; i < ARRAY_LEN(failures); i++, n++) {
		refusal_of_failure(&failures[i].f, NULL, &all[n]);
		assert_string_equal(all[n].name, failures[i].name);
	}
	for (i = 0; i < ARRAY_LEN(events); i++, n++) {
		of_event(i, &all[n]);
		assert_string_equal(all[n].name, events[i].name);
	}
	for (i = PKI_OK + 1; i < PKI_CAUSES; i++, n++) {
		static struct pki_peer peers[PKI_CAUSES];
		struct net_failure f = { .kind = NET_FAIL_VERIFY, .detail = "" };

		peers[i].cause = (enum pki_cause)i;
		(void)snprintf(peers[i].text, sizeof(peers[i].text), "cause %zu", i);
		(void)snprintf(peers[i].remedy, sizeof(peers[i].remedy), "remedy %zu", i);
		refusal_of_failure(&f, &peers[i], &all[n]);
		assert_int_equal(all[n].cause, REFUSAL_CERTIFICATE);
		assert_string_equal(all[n].text, peers[i].text);
		assert_string_equal(all[n].remedy, peers[i].remedy);
	}
	for (i = 0; i < n; i++) {
		assert_true(strlen(all[i].text) > 3 && strlen(all[i].remedy) > 3);
		for (j = 0; j < i; j++) {
			assert_string_not_equal(all[i].name, all[j].name);
			assert_string_not_equal(all[i].text, all[j].text);
			assert_string_not_equal(all[i].remedy, all[j].remedy);
		}
	}
}

/* One cause, whoever says it. */
static void
revoked_is_revoked(void **state)
{
	static const struct broker_event e = { .kind = BROKER_REFUSED, .reason = MQTT_RC_NOT_AUTHORIZED, .text = WHY_OCSP_REVOKED " 2026-01-01" };
	struct refusal r;

	(void)state;
	refusal_of_event(&e, true, &r);
	assert_int_equal(r.cause, REFUSAL_CERTIFICATE);
	assert_string_equal(r.name, pki_cause_name(PKI_BAD_REVOKED));
	assert_string_equal(r.text, e.text);
}

/* With TLS 1.3 the server is done before the client has looked: its alert comes to an open
 * connection. */
static void
late_alerts_are_understood(void **state)
{
	static const struct broker_event late = { .kind = BROKER_DROPPED,
		.reason = MQTT_RC_UNSPECIFIED,
		.text = "TLS alert from peer: unknown CA (48)" };
	static const struct broker_event odd = { .kind = BROKER_DROPPED,
		.reason = MQTT_RC_UNSPECIFIED,
		.text = "TLS alert from peer: what" };
	struct refusal r;

	(void)state;
	refusal_of_event(&late, true, &r);
	assert_int_equal(r.cause, REFUSAL_PEER_UNKNOWN_CA);
	refusal_of_event(&odd, true, &r);
	assert_int_equal(r.cause, REFUSAL_PEER_ALERT);
}

static void
probes_and_ends_are_no_refusals(void **state)
{
	static const struct net_failure probe = {
		.kind = NET_FAIL_CLOSED, .probe = true, .detail = ""
	};
	static const struct broker_event left = { .kind = BROKER_DROPPED,
		.reason = MQTT_RC_UNSPECIFIED,
		.text = "connection closed by the peer" };
	static const struct broker_event stopped = { .kind = BROKER_DROPPED,
		.reason = MQTT_RC_SHUTTING_DOWN,
		.text = "server shutting down" };
	struct refusal r;

	(void)state;
	refusal_of_failure(&probe, NULL, &r);
	assert_int_equal(r.cause, REFUSAL_NONE);
	refusal_of_event(&left, false, &r);
	assert_int_equal(r.cause, REFUSAL_NONE);
	refusal_of_event(&stopped, false, &r);
	assert_int_equal(r.cause, REFUSAL_NONE);
}

/* Twenty at once, then one each 200 ms, and the rest is counted. */
static void
refusals_are_rationed(void **state)
{
	struct listener l = { .log_lock = PTHREAD_MUTEX_INITIALIZER };
	uint32_t suppressed = 9;
	int i, logged = 0;

	(void)state;
	for (i = 0; i < 50; i++)
		logged += event_ration(&l, 1000, &suppressed);
	assert_int_equal(logged, 20);
	assert_int_equal(suppressed, 0);
	assert_false(event_ration(&l, 1199, &suppressed));
	assert_true(event_ration(&l, 1200, &suppressed));
	assert_int_equal(suppressed, 31);
	assert_false(event_ration(&l, 1201, &suppressed));
	assert_true(event_ration(&l, 1000000, &suppressed));
	assert_int_equal(suppressed, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_row_has_its_name_words_and_remedy),
		cmocka_unit_test(revoked_is_revoked),
		cmocka_unit_test(late_alerts_are_understood),
		cmocka_unit_test(probes_and_ends_are_no_refusals),
		cmocka_unit_test(refusals_are_rationed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
