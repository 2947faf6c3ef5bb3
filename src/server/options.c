/* Every directive of the configuration, once: the parser, --help, --test-config and
 * docs/configuration.md read this table. */
#include "server/config.h"
#include "server/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

static const struct option_choice tls_versions[] = {
	{ "tlsv1.3", 3, NULL },
	{ "tlsv1.2", 2, NULL },
	{ "tlsv1.1", 0, "TLS 1.1 is broken and never offered; write tlsv1.2 or tlsv1.3" },
	{ "tlsv1", 0, "TLS 1.0 is broken and never offered; write tlsv1.2 or tlsv1.3" },
	{ NULL, 0, NULL },
};

static const struct option_choice key_forms[] = {
	{ "pem", 0, NULL },
	{ "engine", 0, "keys in engines are not supported; keyfile must be a PEM file" },
	{ NULL, 0, NULL },
};

static const struct option_choice wills[] = {
	{ "publish", 0, NULL },
	{ "discard", 1, NULL },
	{ NULL, 0, NULL },
};

static const struct option_choice sessions[] = {
	{ "keep", 0, NULL },
	{ "purge", 1, NULL },
	{ NULL, 0, NULL },
};

static const struct option_choice domains[] = {
	{ "ipv4", 4, NULL },
	{ "ipv6", 6, NULL },
	{ NULL, 0, NULL },
};

static const struct option_choice exceeded[] = {
	{ "wait", 0, NULL },
	{ "disconnect", 1, NULL },
	{ NULL, 0, NULL },
};

static const struct option_choice auth_methods[] = {
	{ "any", CONFIG_AUTH_ANY, NULL },
	{ "password", CONFIG_AUTH_PASSWORD, NULL },
	{ "SCRAM-SHA-256", CONFIG_AUTH_SCRAM, NULL },
	{ NULL, 0, NULL },
};

static const struct option_choice protocols[] = {
	{ "mqtt", CONFIG_MQTT, NULL },
	{ "websockets", CONFIG_WEBSOCKETS, NULL },
	{ "metrics", CONFIG_METRICS, NULL },
	{ "mqttsn", 0, "MQTT-SN is not supported; write mqtt or websockets" },
	{ "http_api", 0, "mosquitto's HTTP API is not there; `protocol metrics` answers what it knows to Prometheus" },
	{ NULL, 0, NULL },
};

static const struct option_choice start_types[] = {
	{ "automatic", CONFIG_START_AUTOMATIC, NULL },
	{ "lazy", CONFIG_START_LAZY, NULL },
	{ "once", CONFIG_START_ONCE, NULL },
	{ "manual", CONFIG_START_MANUAL, NULL },
	{ NULL, 0, NULL },
};

static const struct option_choice bridge_versions[] = {
	{ "mqttv31", 3, NULL },
	{ "mqttv311", 4, NULL },
	{ "mqttv50", 5, NULL },
	{ NULL, 0, NULL },
};

static const struct option_choice reload_types[] = {
	{ "lazy", 0, NULL },
	{ "immediate", 1, NULL },
	{ NULL, 0, NULL },
};

#define IN_CONFIG(field) .scope = OPTION_GLOBAL, .offset = offsetof(struct config, field)
#define IN_LISTENER(field)                                                                         \
	.scope = OPTION_LISTENER, .offset = offsetof(struct config_listener, field)
#define IN_SECURITY(field)                                                                         \
	.scope = OPTION_SECURITY, .offset = offsetof(struct config_security, field)
#define IN_BRIDGE(field) .scope = OPTION_BRIDGE, .offset = offsetof(struct config_bridge, field)
#define OF_BRIDGE(function) .scope = OPTION_BRIDGE, .type = OPTION_CALL, .call = (function)
#define BY(function) .scope = OPTION_GLOBAL, .type = OPTION_CALL, .call = (function)

/* clang-format off */
const struct option options[] = {
	/* listeners */
	{ "listener", "PORT [ADDRESS]", "Listen on PORT of ADDRESS (default: all); \"listener 0 PATH\": on a unix socket",
	  BY(read_listener), .flags = OPTION_REPEATS | OPTION_NEXT_START },
	{ "port", "PORT", "Port of the default listener; prefer `listener`",
	  IN_CONFIG(port), .type = OPTION_INT, .min = 1, .max = 65535, .def_text = "1883", .flags = OPTION_OLD | OPTION_NEXT_START },
	{ "bind_address", "ADDRESS", "Address of the default listener; prefer `listener`",
	  IN_CONFIG(bind_address), .type = OPTION_TEXT, .flags = OPTION_OLD | OPTION_NEXT_START },
	{ "bind_interface", "DEVICE", "Only connections that come in through this network interface",
	  IN_LISTENER(bind_interface), .type = OPTION_TEXT, .flags = OPTION_NEXT_START },
	{ "socket_domain", "ipv4|ipv6", "Only this family of addresses (default: both)",
	  IN_LISTENER(socket_domain), .type = OPTION_CHOICE, .choices = domains, .def_text = "both", .flags = OPTION_NEXT_START },
	{ "max_connections", "N", "Connections of this listener at one time; -1: no limit",
	  IN_LISTENER(max_connections), .type = OPTION_INT, .min = -1, .max = 100000000, .def = -1, .flags = OPTION_NEXT_START },
	{ "global_max_connections", "N", "Connections of all listeners together at one time; -1 or 0: no limit",
	  IN_CONFIG(global_max_connections), .type = OPTION_INT, .min = -1, .max = 100000000, .def = -1, .flags = OPTION_NEXT_START },
	{ "global_max_clients", "N", "Sessions at one time, of clients that are connected or away; -1 or 0: no limit",
	  IN_CONFIG(global_max_clients), .type = OPTION_INT, .min = -1, .max = 100000000, .def = -1, .flags = OPTION_NEXT_START },
	{ "max_qos", "0|1|2", "The highest QoS that clients may use; the same for all listeners",
	  IN_LISTENER(max_qos), .type = OPTION_INT, .min = 0, .max = 2, .def = 2, .flags = OPTION_NEXT_START },
	{ "maximum_qos", "0|1|2", "Another name of max_qos",
	  IN_LISTENER(max_qos), .type = OPTION_INT, .min = 0, .max = 2, .def = 2, .flags = OPTION_OLD | OPTION_NEXT_START },
	{ "accept_protocol_versions", "3,4,5", "MQTT versions that clients may speak here: 3 is 3.1, 4 is 3.1.1, 5 is 5.0",
	  .scope = OPTION_LISTENER, .type = OPTION_CALL, .call = read_versions, .def_text = "all" },
	{ "max_topic_alias", "N", "Topic aliases that an MQTT 5 client may use here; 0: none",
	  IN_LISTENER(max_topic_alias), .type = OPTION_INT, .min = 0, .max = 65535, .def = 10 },
	{ "max_topic_alias_broker", "N", "Topic aliases that the broker uses towards an MQTT 5 client which allows them; 0: none",
	  IN_LISTENER(max_topic_alias_broker), .type = OPTION_INT, .min = 0, .max = 65535, .def = 10 },
	{ "protocol", "mqtt|websockets|metrics", "What clients speak here; metrics, and websockets without TLS: only on this machine unless an address is given",
	  IN_LISTENER(protocol), .type = OPTION_CHOICE, .choices = protocols, .flags = OPTION_NEXT_START },
	{ "websockets_origin", "ORIGIN", "A web site whose pages may connect, as https://example.com; several lines add up",
	  .scope = OPTION_LISTENER, .type = OPTION_CALL, .call = read_websockets_origin, .def_text = "all",
	  .flags = OPTION_REPEATS | OPTION_NEXT_START },
	{ "http_dir", "DIRECTORY", "Serve the files in it to browsers that come to this WebSocket listener",
	  IN_LISTENER(http_dir), .type = OPTION_PATH, .flags = OPTION_NEXT_START },
	{ "websockets_headers_size", "BYTES", "The largest WebSocket request with all its headers; 0: 4096",
	  IN_CONFIG(websockets_headers_size), .type = OPTION_INT, .min = 0, .max = 65535, .def = 4096, .flags = OPTION_NEXT_START },
	{ "response_information", "PREFIX", "What clients are told, if they ask, to begin their response topics with (MQTT 5); %c is the client id, %u the user name",
	  IN_LISTENER(response_information), .type = OPTION_TEXT },
	{ "mount_point", "PREFIX", "Stands in front of every topic of this listener's clients, unseen by them: with `t/` their `a` is `t/a`",
	  IN_LISTENER(mount_point), .type = OPTION_TEXT, .flags = OPTION_NEXT_START },
	{ "packet_buffer_size", "BYTES", "Another name of websockets_headers_size; MQTT needs no such buffer",
	  IN_CONFIG(websockets_headers_size), .type = OPTION_INT, .min = 0, .max = 65535, .def = 4096, .flags = OPTION_OLD | OPTION_NEXT_START },
	{ "enable_proxy_protocol", "1|2", "A load balancer stands in front of this listener and says in a PROXY header whom it speaks for",
	  IN_LISTENER(proxy_version), .type = OPTION_INT, .min = 1, .max = 2, .def_text = "off", .flags = OPTION_NEXT_START },
	{ "proxy_protocol_from", "ADDRESS[/BITS] …", "Who may send it; others are refused. `unix`: whoever reaches the unix socket",
	  .scope = OPTION_LISTENER, .type = OPTION_CALL, .call = read_proxy_from, .def_text = "127.0.0.0/8 ::1 unix",
	  .flags = OPTION_REPEATS | OPTION_NEXT_START },
	{ "proxy_protocol_v2_require_tls", "true|false", "Refuse clients of whom the header does not say that they spoke TLS with the proxy",
	  IN_LISTENER(proxy_require_tls), .type = OPTION_BOOL, .flags = OPTION_NEXT_START },
	{ "proxy_protocol_identity_from", "ADDRESS[/BITS] …", "Whose word is taken for the common name in a client's certificate, which is the user name then",
	  .scope = OPTION_LISTENER, .type = OPTION_CALL, .call = read_proxy_identity_from, .def_text = "nobody",
	  .flags = OPTION_REPEATS | OPTION_NEXT_START },
	{ "per_listener_settings", "true|false", "The security directives belong to the listener above them, not to all",
	  .scope = OPTION_GLOBAL, .type = OPTION_CALL, .call = read_per_listener, .flags = OPTION_NEXT_START },

	/* TLS */
	{ "certfile", "FILE", "The broker's certificate, with its intermediates behind it (PEM)",
	  IN_LISTENER(certfile), .type = OPTION_PATH },
	{ "keyfile", "FILE", "The private key of certfile (PEM)",
	  IN_LISTENER(keyfile), .type = OPTION_PATH },
	{ "tls_keyform", "pem", "What keyfile is; another form than PEM is refused",
	  IN_LISTENER(key_form), .type = OPTION_CHOICE, .choices = key_forms },
	{ "cafile", "FILE", "The CAs that client certificates must come from (PEM)",
	  IN_LISTENER(cafile), .type = OPTION_PATH, .flags = OPTION_IS_TLS },
	{ "capath", "DIRECTORY", "The same as a directory prepared with `openssl rehash`",
	  IN_LISTENER(capath), .type = OPTION_PATH, .flags = OPTION_IS_TLS },
	{ "crlfile", "FILE|DIRECTORY", "Revocation lists of these CAs (PEM or DER), taken over as soon as they change; with a FILE a CA without one is refused",
	  IN_LISTENER(crlfile), .type = OPTION_PATH, .flags = OPTION_IS_TLS },
	{ "crl_grace", "TIME", "For so long after its end a revocation list is still good, with an alarm; then everybody of its CA is refused",
	  IN_LISTENER(crl_grace), .type = OPTION_DURATION, .min = 1, .max = 4294967294, .def_text = "none", .flags = OPTION_IS_TLS },
	{ "require_certificate", "true|false", "Refuse clients without a certificate; false: one that is sent is still checked and used",
	  IN_LISTENER(require_certificate), .type = OPTION_BOOL, .flags = OPTION_IS_TLS },
	{ "use_identity_as_username", "true|false", "The certificate's CN, or the identity of the pre-shared key, is the user name; CONNECT's is ignored",
	  IN_LISTENER(use_identity_as_username), .type = OPTION_BOOL, .flags = OPTION_IS_TLS },
	{ "use_subject_as_username", "true|false", "The certificate's whole subject is the user name",
	  IN_LISTENER(use_subject_as_username), .type = OPTION_BOOL, .flags = OPTION_IS_TLS },
	{ "psk_hint", "TEXT", "Let clients in over TLS by a pre-shared key of psk_file; TEXT is sent to TLS 1.2 clients as a hint",
	  IN_LISTENER(psk_hint), .type = OPTION_TEXT },
	{ "tls_version", "tlsv1.2|tlsv1.3", "The oldest TLS version that is accepted",
	  IN_LISTENER(tls_version), .type = OPTION_CHOICE, .choices = tls_versions, .def = 2, .flags = OPTION_IS_TLS },
	{ "ciphers", "LIST", "Cipher list of TLS 1.2 in OpenSSL's words",
	  IN_LISTENER(ciphers), .type = OPTION_TEXT, .flags = OPTION_IS_TLS },
	{ "ciphers_tls1.3", "LIST", "Cipher suites of TLS 1.3 in OpenSSL's words",
	  IN_LISTENER(ciphersuites), .type = OPTION_TEXT, .flags = OPTION_IS_TLS },
	{ "role_ca", "ROLE FILE", "Certificates issued by the CA in FILE have ROLE: cloud, client, watch or control",
	  BY(read_role_ca), .flags = OPTION_REPEATS },
	{ "withdrawn_will", "publish|discard", "The will of a client that is cut off, as its certificate was revoked or its account removed",
	  IN_CONFIG(withdrawn_will), .type = OPTION_CHOICE, .choices = wills },
	{ "withdrawn_session", "keep|purge", "Its session and what is queued for it",
	  IN_CONFIG(withdrawn_session), .type = OPTION_CHOICE, .choices = sessions },
	{ "tls_handshake_timeout", "SECONDS", "A TLS handshake must be done in this time",
	  IN_CONFIG(tls_handshake_timeout), .type = OPTION_INT, .min = 1, .max = 300, .def = 10, .flags = OPTION_NEXT_START },
	{ "max_handshakes", "N", "Handshakes under way at one time in each worker; further clients wait",
	  IN_CONFIG(max_handshakes), .type = OPTION_INT, .min = 1, .max = 1000000, .def = 1000, .flags = OPTION_NEXT_START },

	/* security */
	{ "allow_anonymous", "true|false", "Let clients in that have neither certificate nor user name",
	  IN_SECURITY(allow_anonymous), .type = OPTION_BOOL, .flags = OPTION_TRISTATE, .def = -1,
	  .def_text = "false; true when no listener is configured" },
	{ "listener_allow_anonymous", "true|false", "The same for the listener above it only; wins over allow_anonymous",
	  IN_LISTENER(allow_anonymous), .type = OPTION_BOOL, .flags = OPTION_TRISTATE, .def = -1, .def_text = "as allow_anonymous" },
	{ "password_file", "FILE", "Users and the hashes of their passwords, as `signet passwd` and mosquitto_passwd write them",
	  IN_SECURITY(password_file), .type = OPTION_PATH },
	{ "auth_method", "any|password|SCRAM-SHA-256", "How users of password_file say who they are: in CONNECT, by enhanced authentication (MQTT 5), or either way",
	  IN_LISTENER(auth_method), .type = OPTION_CHOICE, .choices = auth_methods, .def_text = "any" },
	{ "psk_file", "FILE", "Identities and their pre-shared keys in hexadecimal, IDENTITY:KEY; for listeners with psk_hint",
	  IN_SECURITY(psk_file), .type = OPTION_PATH },
	{ "policy", "NAME|FILE", "Who may do what: springcore, dojot, or a policy file (docs/policies.md)",
	  IN_SECURITY(policy), .type = OPTION_PATH, .def_text = "springcore when there is a role_ca, else everything is allowed" },
	{ "acl_file", "FILE", "Who may do what, in mosquitto's ACL format",
	  IN_SECURITY(acl_file), .type = OPTION_PATH },
	{ "allow_zero_length_clientid", "true|false", "Make up a client id for clients that send none",
	  IN_SECURITY(allow_zero_length_clientid), .type = OPTION_BOOL, .def = 1 },
	{ "auto_id_prefix", "TEXT", "What client ids that are made up begin with",
	  IN_SECURITY(auto_id_prefix), .type = OPTION_TEXT, .def_text = "auto-" },
	{ "listener_auto_id_prefix", "TEXT", "The same for the listener above it only; wins over auto_id_prefix",
	  IN_LISTENER(auto_id_prefix), .type = OPTION_TEXT, .def_text = "as auto_id_prefix" },
	{ "clientid_prefixes", "TEXT", "Only clients whose id begins so may connect",
	  IN_CONFIG(clientid_prefixes), .type = OPTION_TEXT },
	{ "use_username_as_clientid", "true|false", "The user name takes the place of the client id; without one nobody may connect",
	  IN_LISTENER(use_username_as_clientid), .type = OPTION_BOOL },
	{ "takeover_same_identity", "true|false", "A client id in use is only taken over by the same identity",
	  IN_SECURITY(takeover_same_identity), .type = OPTION_BOOL, .def = 1 },
	{ "refuse_publish_by_close", "true|false", "Close an MQTT 3 connection at a refused PUBLISH; false: acknowledge and drop it",
	  IN_SECURITY(refuse_publish_by_close), .type = OPTION_BOOL },
	{ "grant_refused_subscriptions", "true|false", "Answer MQTT 3 clients as mosquitto does: a refused filter looks granted",
	  IN_SECURITY(grant_refused_subscriptions), .type = OPTION_BOOL },
	{ "user", "NAME", "Started as root: run as this user once files are read and ports open; root: stay root",
	  IN_CONFIG(user), .type = OPTION_TEXT, .def_text = "signet, else mosquitto, else nobody", .flags = OPTION_NEXT_START },

	/* limits */
	{ "client_rate_in_messages", "N", "Messages a second published by each client of this listener; 0: no limit",
	  IN_LISTENER(client_rates[BROKER_MESSAGES_IN]), .type = OPTION_INT, .min = 0, .max = 10000000000 },
	{ "client_rate_in_bytes", "BYTES", "Bytes of PUBLISH packets a second published by each client of this listener; 0: no limit",
	  IN_LISTENER(client_rates[BROKER_BYTES_IN]), .type = OPTION_INT, .min = 0, .max = 10000000000 },
	{ "client_rate_out_messages", "N", "Messages a second delivered to each client of this listener; 0: no limit",
	  IN_LISTENER(client_rates[BROKER_MESSAGES_OUT]), .type = OPTION_INT, .min = 0, .max = 10000000000 },
	{ "client_rate_out_bytes", "BYTES", "Bytes of PUBLISH packets a second delivered to each client of this listener; 0: no limit",
	  IN_LISTENER(client_rates[BROKER_BYTES_OUT]), .type = OPTION_INT, .min = 0, .max = 10000000000 },
	{ "listener_rate_in_messages", "N", "Messages a second published by all clients of this listener together; 0: no limit",
	  IN_LISTENER(rates[BROKER_MESSAGES_IN]), .type = OPTION_INT, .min = 0, .max = 10000000000 },
	{ "listener_rate_in_bytes", "BYTES", "Bytes of PUBLISH packets a second published by all clients of this listener together; 0: no limit",
	  IN_LISTENER(rates[BROKER_BYTES_IN]), .type = OPTION_INT, .min = 0, .max = 10000000000 },
	{ "listener_rate_out_messages", "N", "Messages a second delivered to all clients of this listener together; 0: no limit",
	  IN_LISTENER(rates[BROKER_MESSAGES_OUT]), .type = OPTION_INT, .min = 0, .max = 10000000000 },
	{ "listener_rate_out_bytes", "BYTES", "Bytes of PUBLISH packets a second delivered to all clients of this listener together; 0: no limit",
	  IN_LISTENER(rates[BROKER_BYTES_OUT]), .type = OPTION_INT, .min = 0, .max = 10000000000 },
	{ "memory_limit", "BYTES", "Memory that the broker may use; near it load is shed, QoS 0 first; 0: no limit",
	  IN_CONFIG(memory_limit), .type = OPTION_INT, .min = 0, .max = INT64_MAX / 1000 },
	{ "drop_log_interval", "SECONDS", "A client that loses messages has one line in the log in this time, with how many and why",
	  IN_CONFIG(drop_log_interval), .type = OPTION_INT, .min = 1, .max = 86400, .def = 60, .flags = OPTION_NEXT_START },
	{ "listener_connect_rate", "N", "Connections a second that this listener accepts; the others wait; 0: no limit",
	  IN_LISTENER(connect_rate), .type = OPTION_INT, .min = 0, .max = 1000000, .flags = OPTION_NEXT_START },
	{ "address_connect_rate", "N", "Connections a second from one address to this listener, and ten times as many at once; 0: no limit",
	  IN_LISTENER(address_connect_rate), .type = OPTION_INT, .min = 0, .max = 1000000, .flags = OPTION_NEXT_START },
	{ "network_connect_rate", "N", "The same from one network: the first 24 bits of an IPv4 address, 64 of an IPv6 address",
	  IN_LISTENER(network_connect_rate), .type = OPTION_INT, .min = 0, .max = 1000000, .flags = OPTION_NEXT_START },
	{ "max_connections_per_identity", "N", "Connections of one certificate's identity or user name at one time, on all listeners; 0: no limit",
	  IN_LISTENER(max_per_identity), .type = OPTION_INT, .min = 0, .max = 100000000 },
	{ "flapping_connects", "N", "A client that connects more often than this in a minute is held off for a growing time; 0: never",
	  IN_CONFIG(flapping_connects), .type = OPTION_INT, .min = 0, .max = 60000, .flags = OPTION_NEXT_START },
	{ "flapping_hold", "SECONDS", "The longest time for which a client that flaps is held off; it begins with 1 s",
	  IN_CONFIG(flapping_hold), .type = OPTION_INT, .min = 1, .max = 86400, .def = 300, .flags = OPTION_NEXT_START },
	{ "rate_exceeded", "wait|disconnect", "A client that publishes more than client_rate_in_… is not read from for a while, or is disconnected",
	  IN_LISTENER(rate_exceeded), .type = OPTION_CHOICE, .choices = exceeded, .def = 0 },
	{ "max_keepalive", "SECONDS", "The longest keep alive; 0: no limit",
	  IN_CONFIG(max_keepalive), .type = OPTION_INT, .min = 0, .max = 65535, .def = 65535, .flags = OPTION_NEXT_START },
	{ "max_packet_size", "BYTES", "The largest MQTT packet",
	  IN_CONFIG(max_packet_size), .type = OPTION_INT, .min = 20, .max = 268435460, .def = 2000000, .flags = OPTION_NEXT_START },
	{ "message_size_limit", "BYTES", "The largest payload of a message or a will; 0: no limit beside max_packet_size",
	  IN_CONFIG(message_size_limit), .type = OPTION_INT, .min = 0, .max = 268435455, .flags = OPTION_NEXT_START },
	{ "max_inflight_messages", "N", "QoS 1 and 2 messages on their way to one client, and from an MQTT 5 client; 0: 65535",
	  IN_CONFIG(max_inflight_messages), .type = OPTION_INT, .min = 0, .max = 65535, .def = 20, .flags = OPTION_NEXT_START },
	{ "max_inflight_bytes", "BYTES", "Payloads on their way to one client at which it gets no more until it answers; 0: no limit",
	  IN_CONFIG(max_inflight_bytes), .type = OPTION_INT, .min = 0, .max = INT64_MAX, .flags = OPTION_NEXT_START },
	{ "max_queued_messages", "N", "Messages waiting for one client; 0: no limit",
	  IN_CONFIG(max_queued_messages), .type = OPTION_INT, .min = 0, .max = 4294967295, .def = 1000, .flags = OPTION_NEXT_START },
	{ "max_queued_bytes", "BYTES", "Bytes waiting for one client; 0: no limit",
	  IN_CONFIG(max_queued_bytes), .type = OPTION_INT, .min = 0, .max = INT64_MAX, .flags = OPTION_NEXT_START },
	{ "queue_qos0_messages", "true|false", "Keep QoS 0 messages for clients that are away",
	  IN_CONFIG(queue_qos0_messages), .type = OPTION_BOOL, .flags = OPTION_NEXT_START },
	{ "upgrade_outgoing_qos", "true|false", "Deliver with the QoS of the subscription even what was published with a lower one",
	  IN_CONFIG(upgrade_outgoing_qos), .type = OPTION_BOOL, .flags = OPTION_NEXT_START },
	{ "check_retain_source", "true|false", "Retained messages go to new subscribers only while their publisher may still publish them",
	  IN_CONFIG(check_retain_source), .type = OPTION_BOOL, .def = 1, .flags = OPTION_NEXT_START },
	{ "retain_available", "true|false", "Support retained messages",
	  IN_CONFIG(retain_available), .type = OPTION_BOOL, .def = 1, .flags = OPTION_NEXT_START },
	{ "retain_expiry_interval", "MINUTES", "Accepted; retained messages that have expired are always removed",
	  IN_CONFIG(retain_expiry_interval), .type = OPTION_INT, .min = 0, .max = 35791394 },
	{ "sys_interval", "SECONDS", "How often the $SYS topics are brought up to date; 0: there are none",
	  IN_CONFIG(sys_interval), .type = OPTION_INT, .min = 0, .max = 65535, .def = 10, .flags = OPTION_NEXT_START },
	{ "persistent_client_expiration", "TIME", "Forget sessions this long after their client left: 90s, 12h, 14d, 2w, 2m, 1y",
	  IN_CONFIG(persistent_client_expiration), .type = OPTION_DURATION, .min = 1, .max = 4294967294, .def_text = "never",
	  .flags = OPTION_NEXT_START },
	{ "workers", "N", "Threads; 0: one a core",
	  IN_CONFIG(workers), .type = OPTION_INT, .min = 0, .max = CONFIG_WORKERS_MAX, .flags = OPTION_NEXT_START },
	{ "set_tcp_nodelay", "true|false", "Accepted; it is always on",
	  IN_CONFIG(set_tcp_nodelay), .type = OPTION_BOOL, .def = 1 },
	{ "allow_duplicate_messages", "true|false", "Accepted; overlapping subscriptions always bring one copy",
	  IN_CONFIG(ignored_bool), .type = OPTION_BOOL, .flags = OPTION_OLD },
	{ "retry_interval", "SECONDS", "Accepted without effect, as in mosquitto 2: messages are sent again when a client comes back",
	  IN_CONFIG(ignored_number), .type = OPTION_INT, .min = 0, .max = INT64_MAX, .flags = OPTION_OLD | OPTION_MOOT },
	{ "store_clean_interval", "SECONDS", "Accepted without effect, as in mosquitto 2: nothing has to be cleaned",
	  IN_CONFIG(ignored_number), .type = OPTION_INT, .min = 0, .max = INT64_MAX, .flags = OPTION_OLD | OPTION_MOOT },
	{ "websockets_log_level", "N", "Accepted without effect: it is about libwebsockets, which is not used here",
	  IN_CONFIG(ignored_number), .type = OPTION_INT, .min = 0, .max = INT64_MAX, .flags = OPTION_OLD | OPTION_MOOT },
	{ "persistence", "true|false", "Accepted with a warning: sessions and retained messages are kept in memory only",
	  IN_CONFIG(persistence), .type = OPTION_BOOL, .flags = OPTION_NEXT_START },
	{ "persistence_location", "DIRECTORY", "Accepted, see persistence",
	  IN_CONFIG(persistence_location), .type = OPTION_PATH, .flags = OPTION_NEXT_START },
	{ "persistence_file", "NAME", "Accepted, see persistence",
	  IN_CONFIG(persistence_file), .type = OPTION_TEXT, .flags = OPTION_NEXT_START },
	{ "autosave_interval", "SECONDS", "Accepted, see persistence",
	  IN_CONFIG(autosave_interval), .type = OPTION_INT, .min = 0, .max = INT32_MAX, .def = 1800, .flags = OPTION_NEXT_START },
	{ "autosave_on_changes", "true|false", "Accepted, see persistence",
	  IN_CONFIG(autosave_on_changes), .type = OPTION_BOOL, .flags = OPTION_NEXT_START },

	/* bridges */
	{ "connection", "NAME", "Begin a bridge to another broker; what follows belongs to it",
	  BY(read_connection), .flags = OPTION_REPEATS },
	{ "address", "HOST[:PORT] …", "The remote broker, and others to be tried in its place; port 1883 when there is none",
	  OF_BRIDGE(read_address), .flags = OPTION_REPEATS },
	{ "addresses", "HOST[:PORT] …", "Another name of address",
	  OF_BRIDGE(read_address), .flags = OPTION_OLD | OPTION_REPEATS },
	{ "topic", "PATTERN [out|in|both] [QOS] [LOCAL-PREFIX] [REMOTE-PREFIX]", "What is shared, in which direction, and under which name; \"\" is an empty word",
	  OF_BRIDGE(read_topic), .flags = OPTION_REPEATS },
	{ "remote_clientid", "ID", "Client id at the remote broker",
	  IN_BRIDGE(remote_clientid), .type = OPTION_TEXT, .def_text = "HOSTNAME.NAME" },
	{ "clientid", "ID", "Another name of remote_clientid",
	  IN_BRIDGE(remote_clientid), .type = OPTION_TEXT, .flags = OPTION_OLD },
	{ "remote_username", "NAME", "User name at the remote broker",
	  IN_BRIDGE(remote_username), .type = OPTION_TEXT },
	{ "username", "NAME", "Another name of remote_username",
	  IN_BRIDGE(remote_username), .type = OPTION_TEXT, .flags = OPTION_OLD },
	{ "remote_password", "TEXT", "Password at the remote broker",
	  IN_BRIDGE(remote_password), .type = OPTION_TEXT },
	{ "password", "TEXT", "Another name of remote_password",
	  IN_BRIDGE(remote_password), .type = OPTION_TEXT, .flags = OPTION_OLD },
	{ "local_clientid", "ID", "Client id of the bridge's session here",
	  IN_BRIDGE(local_clientid), .type = OPTION_TEXT, .def_text = "local.REMOTE-CLIENTID" },
	{ "local_username", "NAME", "User name under which the bridge appears here; policies do not bind it",
	  IN_BRIDGE(local_username), .type = OPTION_TEXT },
	{ "local_password", "TEXT", "Accepted; a bridge of this broker needs none",
	  IN_BRIDGE(local_password), .type = OPTION_TEXT },
	{ "cleansession", "true|false", "The remote broker forgets the bridge when it leaves",
	  IN_BRIDGE(cleansession), .type = OPTION_BOOL },
	{ "local_cleansession", "true|false", "Nothing is kept here while the remote broker is away",
	  IN_BRIDGE(local_cleansession), .type = OPTION_BOOL, .flags = OPTION_TRISTATE, .def = -1, .def_text = "as cleansession" },
	{ "start_type", "automatic|lazy|once|manual", "When to connect: always, when messages wait, only at the start, never",
	  IN_BRIDGE(start_type), .type = OPTION_CHOICE, .choices = start_types },
	{ "idle_timeout", "SECONDS", "A lazy bridge leaves when nothing went through it in this time",
	  IN_BRIDGE(idle_timeout), .type = OPTION_INT, .min = 1, .max = 86400, .def = 60 },
	{ "threshold", "N", "Messages that wait before a lazy bridge connects",
	  IN_BRIDGE(threshold), .type = OPTION_INT, .min = 1, .max = 1000000, .def = 10 },
	{ "restart_timeout", "SECONDS | BASE CAP [STABLE]", "Wait before connecting again: always the same, or growing from BASE to CAP until a connection has lasted STABLE",
	  OF_BRIDGE(read_restart), .def_text = "5 30" },
	{ "round_robin", "true|false", "All addresses are equal; false: the first one is returned to as soon as it answers",
	  IN_BRIDGE(round_robin), .type = OPTION_BOOL },
	{ "try_private", "true|false", "Tell an MQTT 3 broker that this is a bridge, so that nothing comes back",
	  IN_BRIDGE(try_private), .type = OPTION_BOOL, .def = 1 },
	{ "notifications", "true|false", "Publish 1 or 0 on both brokers when the bridge comes or goes",
	  IN_BRIDGE(notifications), .type = OPTION_BOOL, .def = 1 },
	{ "notifications_local_only", "true|false", "… only here",
	  IN_BRIDGE(notifications_local_only), .type = OPTION_BOOL },
	{ "notification_topic", "TOPIC", "… under this topic",
	  IN_BRIDGE(notification_topic), .type = OPTION_TEXT, .def_text = "$SYS/broker/connection/REMOTE-CLIENTID/state" },
	{ "keepalive_interval", "SECONDS", "Keep alive of the connection",
	  IN_BRIDGE(keepalive_interval), .type = OPTION_INT, .min = 5, .max = 65535, .def = 60 },
	{ "bridge_protocol_version", "mqttv31|mqttv311|mqttv50", "What is spoken with the remote broker",
	  IN_BRIDGE(protocol_version), .type = OPTION_CHOICE, .choices = bridge_versions, .def = 4 },
	{ "bridge_attempt_unsubscribe", "true|false", "Unsubscribe at the remote broker what only goes out, in case it once came in",
	  IN_BRIDGE(attempt_unsubscribe), .type = OPTION_BOOL, .def = 1 },
	{ "bridge_outgoing_retain", "true|false", "Messages that are retained here are retained there",
	  IN_BRIDGE(outgoing_retain), .type = OPTION_BOOL, .def = 1 },
	{ "bridge_max_packet_size", "BYTES", "Larger packets are not sent to the remote broker; 0: no limit but its own",
	  IN_BRIDGE(max_packet_size), .type = OPTION_INT, .min = 0, .max = 268435460 },
	{ "bridge_max_topic_alias", "N", "Topic aliases that an MQTT 5 remote may use; 0: none",
	  IN_BRIDGE(max_topic_alias), .type = OPTION_INT, .min = 0, .max = 65535, .def = 10 },
	{ "bridge_receive_maximum", "N", "QoS 1 and 2 messages that an MQTT 5 remote may have under way to us",
	  IN_BRIDGE(receive_maximum), .type = OPTION_INT, .min = 1, .max = 65535, .def = 20 },
	{ "bridge_session_expiry_interval", "SECONDS", "How long an MQTT 5 remote keeps the session; 0: it is told nothing and forgets at once",
	  IN_BRIDGE(session_expiry), .type = OPTION_INT, .min = 0, .max = 4294967295 },
	{ "bridge_bind_address", "ADDRESS", "Connect from this local address",
	  IN_BRIDGE(bind_address), .type = OPTION_TEXT },
	{ "bridge_reload_type", "lazy|immediate", "After SIGHUP: use what has changed at the next connection, or connect again at once",
	  IN_BRIDGE(reload_type), .type = OPTION_CHOICE, .choices = reload_types },
	{ "bridge_cafile", "FILE", "TLS: the CAs that the remote broker's certificate must come from (PEM)",
	  IN_BRIDGE(cafile), .type = OPTION_PATH },
	{ "bridge_capath", "DIRECTORY", "The same as a directory prepared with `openssl rehash`",
	  IN_BRIDGE(capath), .type = OPTION_PATH },
	{ "bridge_certfile", "FILE", "The bridge's own certificate (PEM)",
	  IN_BRIDGE(certfile), .type = OPTION_PATH },
	{ "bridge_keyfile", "FILE", "The private key of bridge_certfile (PEM)",
	  IN_BRIDGE(keyfile), .type = OPTION_PATH },
	{ "bridge_tls_use_os_certs", "true|false", "The remote broker's certificate may come from any CA that this machine trusts",
	  IN_BRIDGE(use_os_certs), .type = OPTION_BOOL },
	{ "bridge_ciphers", "LIST", "Cipher list of TLS 1.2 in OpenSSL's words",
	  IN_BRIDGE(ciphers), .type = OPTION_TEXT },
	{ "bridge_ciphers_tls1.3", "LIST", "Cipher suites of TLS 1.3 in OpenSSL's words",
	  IN_BRIDGE(ciphersuites), .type = OPTION_TEXT },
	{ "bridge_identity", "NAME", "TLS with a pre-shared key instead of certificates: the identity",
	  IN_BRIDGE(identity), .type = OPTION_TEXT },
	{ "bridge_psk", "HEX", "… and its key in hexadecimal",
	  IN_BRIDGE(psk), .type = OPTION_TEXT },
	{ "bridge_require_ocsp", "false", "true is refused: stapled answers of an OCSP responder are not checked",
	  OF_BRIDGE(read_require_ocsp), .def_text = "false" },
	{ "bridge_tcp_keepalive", "IDLE INTERVAL COUNT", "TCP keep alive: seconds until the first probe, between probes, and how many may stay unanswered",
	  OF_BRIDGE(read_tcp_keepalive), .def_text = "the system's" },
	{ "bridge_tcp_user_timeout", "MILLISECONDS", "How long sent data may stay unacknowledged",
	  IN_BRIDGE(tcp_user_timeout), .type = OPTION_INT, .min = 0, .max = INT32_MAX, .def = 30000 },
	{ "bridge_insecure", "true|false", "Do not compare the name in the remote's certificate with its address; the CA is checked in any case",
	  IN_BRIDGE(insecure), .type = OPTION_BOOL },
	{ "bridge_alpn", "NAME", "Protocol to ask for in the TLS handshake",
	  IN_BRIDGE(alpn), .type = OPTION_TEXT },
	{ "bridge_tls_version", "tlsv1.2|tlsv1.3", "The oldest TLS version that is spoken",
	  IN_BRIDGE(tls_version), .type = OPTION_CHOICE, .choices = tls_versions, .def = 2 },

	/* the process and its log */
	{ "include_dir", "DIRECTORY", "Read every *.conf in DIRECTORY here, in alphabetical order",
	  BY(read_include_dir), .flags = OPTION_REPEATS },
	{ "pid_file", "FILE", "Write the process id here",
	  IN_CONFIG(pid_file), .type = OPTION_PATH, .flags = OPTION_NEXT_START },
	{ "log_dest", "stderr|stdout|syslog|journald|topic|none|file FILE", "Where log lines go; several lines add up; topic: $SYS/broker/log/E, W, N, I, M/subscribe, M/unsubscribe",
	  BY(read_log_dest), .def_text = "stderr", .flags = OPTION_REPEATS | OPTION_NEXT_START },
	{ "log_type", "TYPE", "error, warning, notice, information, debug (each with those before it), subscribe, unsubscribe, all, none",
	  BY(read_log_type), .def_text = "information", .flags = OPTION_REPEATS | OPTION_NEXT_START },
	{ "log_timestamp", "true|false", "Begin each line with the time",
	  IN_CONFIG(log_timestamp), .type = OPTION_BOOL, .def = 1, .flags = OPTION_NEXT_START },
	{ "log_timestamp_format", "FORMAT", "How the time is written, in the words of strftime(3); %s is mosquitto's default",
	  .scope = OPTION_GLOBAL, .type = OPTION_CALL, .call = read_timestamp_format, .def_text = "%Y-%m-%dT%H:%M:%S", .flags = OPTION_NEXT_START },
	{ "log_facility", "0-7", "Facility of syslog lines: local0 to local7",
	  IN_CONFIG(log_facility), .type = OPTION_INT, .min = 0, .max = 7, .def = -1, .def_text = "daemon", .flags = OPTION_NEXT_START },
	{ "connection_messages", "true|false", "Log when clients come and go; refusals are logged in any case",
	  IN_CONFIG(connection_messages), .type = OPTION_BOOL, .def = 1, .flags = OPTION_NEXT_START },
};
/* clang-format on */

const unsigned options_n = ARRAY_LEN(options);
_Static_assert(ARRAY_LEN(options) <= CONFIG_OPTIONS_MAX, "the places of options need more room");

const struct option *
option_find(struct slice name)
{
	unsigned i;

	for (i = 0; i < options_n; i++)
		if (slice_eq(name, slice_str(options[i].name)))
			return &options[i];
	return NULL;
}

struct config_place
option_at(const struct config_place *at, const char *name)
{
	const struct option *o = option_find(slice_str(name));

	return o != NULL ? at[o - options] : (struct config_place){ 0 };
}

void
options_default(enum option_scope scope, void *base)
{
	unsigned i;

	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		char *field = (char *)base + o->offset;

		if (o->scope != scope)
			continue;
		if (o->type == OPTION_BOOL && (o->flags & OPTION_TRISTATE) == 0)
			*(bool *)(void *)field = o->def != 0;
		else if (o->type == OPTION_BOOL || o->type == OPTION_INT ||
			 o->type == OPTION_DURATION || o->type == OPTION_CHOICE)
			*(int64_t *)(void *)field = o->def;
	}
}

void
options_free(enum option_scope scope, void *base)
{
	unsigned i;

	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		char **field = (char **)(void *)((char *)base + o->offset);

		if (o->scope != scope || (o->type != OPTION_TEXT && o->type != OPTION_PATH))
			continue;
		free(*field);
		*field = NULL;
	}
}

const char *
option_show(const struct option *o, const void *base, char *out, size_t cap)
{
	const void *field = (const char *)base + o->offset;
	const struct option_choice *ch;
	int64_t v;

	switch (o->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
		(void)snprintf(
		    out, cap, "%s", *(char *const *)field != NULL ? *(char *const *)field : "");
		return out;
	case OPTION_BOOL:
		v = (o->flags & OPTION_TRISTATE) != 0 ? *(const int64_t *)field
						      : *(const bool *)field;
		(void)snprintf(out, cap, "%s", v < 0 ? "" : v > 0 ? "true" : "false");
		return out;
	case OPTION_CHOICE:
		for (ch = o->choices; ch->name != NULL; ch++)
			if (ch->value == *(const int64_t *)field) {
				(void)snprintf(out, cap, "%s", ch->name);
				return out;
			}
		break;
	case OPTION_INT:
	case OPTION_DURATION:
		(void)snprintf(out, cap, "%" PRId64, *(const int64_t *)field);
		return out;
	case OPTION_CALL:
		break;
	}
	(void)snprintf(out, cap, "%s", "");
	return out;
}

/* The default in words. */
static const char *
default_text(const struct option *o, char *out, size_t cap)
{
	const struct option_choice *ch;

	if (o->def_text != NULL)
		return o->def_text;
	if (o->type == OPTION_BOOL)
		return o->def > 0 ? "true" : "false";
	if (o->type == OPTION_CHOICE)
		for (ch = o->choices; ch->name != NULL; ch++)
			if (ch->value == o->def)
				return ch->name;
	if (o->type != OPTION_INT)
		return "";
	(void)snprintf(out, cap, "%" PRId64, o->def);
	return out;
}

static const char *const scopes[] = { "global", "listener", "security", "bridge" };

void
options_each(void (*each)(void *ctx, const struct server_directive *d), void *ctx)
{
	char number[32];
	unsigned i;

	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		struct server_directive d = { o->name, o->value, scopes[o->scope],
			default_text(o, number, sizeof(number)), o->help,
			(o->flags & OPTION_NEXT_START) != 0, (o->flags & OPTION_OLD) != 0 };

		each(ctx, &d);
	}
}

void
options_print(bool markdown, void (*line)(void *ctx, const char *text), void *ctx)
{
	char text[512], number[32];
	const char *def;
	unsigned i;

	if (markdown) {
		line(ctx, "| Directive | Scope | Default | Meaning |");
		line(ctx, "|---|---|---|---|");
	}
	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		def = default_text(o, number, sizeof(number));
		if (!markdown) {
			(void)snprintf(text, sizeof(text), "  %s %s%s%s%s", o->name, o->value,
			    def[0] != '\0' ? "  [" : "", def, def[0] != '\0' ? "]" : "");
			line(ctx, text);
			(void)snprintf(text, sizeof(text), "      %s", o->help);
		} else {
			char value[96];
			size_t at = 0;
			const char *c;

			/* A bar ends a cell of the table. */
			for (c = o->value; *c != '\0' && at < sizeof(value) - 2; c++) {
				if (*c == '|')
					value[at++] = '\\';
				value[at++] = *c;
			}
			value[at] = '\0';
			(void)snprintf(text, sizeof(text), "| `%s` %s | %s%s | %s | %s |", o->name,
			    value, scopes[o->scope],
			    (o->flags & OPTION_NEXT_START) != 0 ? ", at start" : "", def, o->help);
		}
		line(ctx, text);
	}
}
