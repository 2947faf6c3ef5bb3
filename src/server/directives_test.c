/* Every directive of mosquitto.conf(5) in 2.0 (up to 2.0.22) and 2.1, and what becomes of it here: none is unknown, none is
 * passed over in silence. The rows are the manual's, not ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/num.h"
#include "server/config.h"
#include "server/server.h"

enum outcome {
	DONE,    /* read, and does what the manual says */
	KEPT,    /* read; true of this broker whatever the value is, as docs/configuration.md says */
	MOOT,    /* read; the start says that it has no effect */
	REFUSED, /* an error that names file, line, directive and reason */
};

#define DYNSEC_PATH "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
#define DYNSEC(word) word " " DYNSEC_PATH "\nplugin_opt_config_file f"

/* clang-format off */
static const struct {
	const char *line;
	enum outcome outcome;
} rows[] = {
	/* general */
	{ "acl_file a", DONE }, { "allow_anonymous true", DONE }, { "allow_duplicate_messages true", KEPT },
	{ "allow_zero_length_clientid true", DONE }, { "auth_plugin_deny_special_chars true", REFUSED }, { "auto_id_prefix p-", DONE },
	{ "autosave_interval 60", DONE }, { "autosave_on_changes true", DONE }, { "clientid_prefixes p", DONE },
	{ "connection_messages true", DONE }, { "enable_control_api true", REFUSED }, { "enable_control_api false", KEPT },
	{ "global_max_clients 5", DONE }, { "global_max_connections 5", DONE }, { "global_plugin /x.so", REFUSED }, { "include_dir d", DONE },
	{ "log_dest stdout", DONE }, { "log_dest stderr", DONE }, { "log_dest syslog", DONE }, { "log_dest file l", DONE },
	{ "log_dest none", DONE }, { "log_dest topic", DONE }, { "log_dest journald", DONE }, { "log_dest dlt", REFUSED }, { "log_dest android", REFUSED },
	{ "log_facility 5", DONE }, { "log_timestamp true", DONE }, { "log_timestamp_format %Y-%m-%dT%H:%M:%S", DONE },
	{ "log_type debug", DONE }, { "log_type error", DONE }, { "log_type warning", DONE }, { "log_type notice", DONE },
	{ "log_type information", DONE }, { "log_type subscribe", DONE }, { "log_type unsubscribe", DONE },
	{ "log_type websockets", KEPT }, { "log_type none", DONE }, { "log_type all", DONE },
	{ "max_inflight_bytes 100", DONE }, { "max_inflight_messages 20", DONE }, { "max_keepalive 60", DONE },
	{ "max_packet_size 2000", DONE }, { "max_queued_bytes 0", DONE }, { "max_queued_messages 10", DONE },
	{ "message_size_limit 100", DONE }, { "password_file f", DONE }, { "per_listener_settings false", DONE },
	{ "persistence false", DONE }, { "persistence_file mosquitto.db", DONE }, { "persistence_location /p/", DONE },
	{ "persistent_client_expiration 90s", DONE }, { "persistent_client_expiration 14d", DONE }, { "pid_file p", DONE },
	{ "plugin_opt_x y", REFUSED }, { "auth_opt_x y", REFUSED }, { "plugin /x.so", REFUSED }, { "auth_plugin /x.so", REFUSED },
	{ DYNSEC("plugin"), DONE }, { DYNSEC("auth_plugin"), DONE }, { DYNSEC("global_plugin"), DONE },
	{ "plugin_load d " DYNSEC_PATH "\nplugin_opt_config_file f\nlistener 1886\nplugin_use d", DONE },
	{ "plugin " DYNSEC_PATH "\nauth_opt_config_file f", DONE }, { DYNSEC("plugin") "\nplugin_opt_password_init_file p", DONE },
	{ "plugin_load n /x.so", REFUSED }, { "plugin_use n", REFUSED },
	{ "queue_qos0_messages true", DONE }, { "retain_available true", DONE }, { "check_retain_source false", DONE }, { "retain_expiry_interval 1", KEPT },
	{ "set_tcp_nodelay true", KEPT }, { "sys_interval 10", DONE }, { "upgrade_outgoing_qos true", DONE }, { "user mosquitto", DONE },
	{ "retry_interval 20", MOOT }, { "store_clean_interval 10", MOOT }, { "websockets_log_level 7", MOOT },
	/* listeners */
	{ "accept_protocol_versions 3, 4", DONE }, { "bind_address 127.0.0.1", DONE }, { "bind_interface lo", DONE },
	{ "http_dir d\nprotocol websockets", DONE }, { "listener 1884", DONE }, { "listener 0 /s", DONE },
	{ "listener_allow_anonymous true", DONE }, { "listener_auto_id_prefix p-", DONE }, { "max_connections 5", DONE },
	{ "max_qos 1", DONE }, { "maximum_qos 1", DONE }, { "mount_point t/", DONE }, { "max_topic_alias_broker 5", DONE }, { "max_topic_alias 5", DONE },
	{ "port 1883", DONE }, { "protocol mqtt", DONE }, { "protocol websockets", DONE }, { "protocol http_api", REFUSED },
	{ "socket_domain ipv4", DONE }, { "use_username_as_clientid true", DONE }, { "packet_buffer_size 4096", DONE },
	{ "websockets_headers_size 4096", DONE }, { "websockets_origin http://a\nprotocol websockets", DONE },
	{ "enable_proxy_protocol 1", DONE }, { "enable_proxy_protocol 2", DONE },
	{ "proxy_protocol_v2_require_tls true\nenable_proxy_protocol 2", DONE },
	/* certificates and keys */
	{ "cafile c\ncertfile c\nkeyfile k", DONE }, { "capath c\ncertfile c\nkeyfile k", DONE }, { "certfile c\nkeyfile k", DONE },
	{ "ciphers X\ncertfile c\nkeyfile k", DONE }, { "ciphers_tls1.3 X\ncertfile c\nkeyfile k", DONE },
	{ "crlfile c\ncafile c\ncertfile c\nkeyfile k", DONE }, { "dhparamfile d\ncertfile c\nkeyfile k", DONE },
	{ "disable_client_cert_date_checks true\ncafile c\ncertfile c\nkeyfile k", DONE }, { "keyfile k\ncertfile c", DONE },
	{ "require_certificate true\ncafile c\ncertfile c\nkeyfile k", DONE }, { "tls_engine e", REFUSED },
	{ "tls_engine_kpass_sha1 e", REFUSED }, { "tls_keyform pem", DONE }, { "tls_keyform engine", REFUSED },
	{ "tls_version tlsv1.2\ncertfile c\nkeyfile k", DONE }, { "tls_version tlsv1.3\ncertfile c\nkeyfile k", DONE },
	{ "tls_version tlsv1.1", REFUSED }, { "use_identity_as_username true\ncafile c\ncertfile c\nkeyfile k", DONE },
	{ "use_subject_as_username true\ncafile c\ncertfile c\nkeyfile k", DONE }, { "psk_hint h\npsk_file f", DONE },
	/* bridges */
	{ "address h:1 i:2", DONE }, { "addresses h", DONE }, { "bridge_attempt_unsubscribe true", DONE },
	{ "bridge_bind_address 127.0.0.1", DONE }, { "bridge_max_packet_size 100", DONE }, { "bridge_max_topic_alias 5", DONE },
	{ "bridge_outgoing_retain true", DONE }, { "bridge_protocol_version mqttv50", DONE }, { "bridge_protocol_version mqttv311", DONE },
	{ "bridge_protocol_version mqttv31", DONE }, { "bridge_receive_maximum 5", DONE }, { "bridge_reload_type lazy", DONE },
	{ "bridge_reload_type immediate", DONE }, { "bridge_session_expiry_interval 5", DONE }, { "bridge_tcp_keepalive 10 5 3", DONE },
	{ "bridge_tcp_user_timeout 1000", DONE }, { "cleansession true", DONE }, { "clientid c", DONE }, { "idle_timeout 5", DONE },
	{ "keepalive_interval 60", DONE }, { "local_cleansession true", DONE }, { "local_clientid c", DONE }, { "local_password p", KEPT },
	{ "local_username u", DONE }, { "notifications true", DONE }, { "notifications_local_only true", DONE },
	{ "notification_topic t", DONE }, { "remote_clientid c", DONE }, { "remote_username u\nremote_password p", DONE },
	{ "username u\npassword p", DONE }, { "restart_timeout 20", DONE }, { "restart_timeout 10 60", DONE },
	{ "restart_timeout 10 60 30", DONE }, { "round_robin true", DONE }, { "start_type automatic", DONE }, { "start_type lazy", DONE },
	{ "start_type once", DONE }, { "threshold 5", DONE }, { "topic # both 2 a/ b/", DONE }, { "try_private true", DONE },
	{ "bridge_alpn a\nbridge_cafile c", DONE }, { "bridge_cafile c", DONE }, { "bridge_capath c", DONE },
	{ "bridge_certfile c\nbridge_cafile c", DONE }, { "bridge_ciphers X\nbridge_cafile c", DONE },
	{ "bridge_ciphers_tls1.3 X\nbridge_cafile c", DONE }, { "bridge_identity i\nbridge_psk 12", DONE },
	{ "bridge_insecure true\nbridge_cafile c", DONE }, { "bridge_keyfile c\nbridge_cafile c", DONE },
	{ "bridge_psk 12\nbridge_identity i", DONE }, { "bridge_require_ocsp true", REFUSED }, { "bridge_require_ocsp false", KEPT },
	{ "bridge_tls_use_os_certs true", DONE }, { "bridge_tls_version tlsv1.3\nbridge_cafile c", DONE },
	/* of RSMB, which mosquitto knows by name only */
	{ "ffdc_output x", REFUSED }, { "max_log_entries 1", REFUSED }, { "trace_level x", REFUSED }, { "trace_output x", REFUSED },
};
/* clang-format on */

static bool
read_text_of(void *ctx, const char *path, uint8_t **ret, size_t *ret_n, struct err *err)
{
	(void)path;
	(void)err;
	*ret = (uint8_t *)strdup(ctx);
	*ret_n = strlen(ctx);
	return *ret != NULL;
}

static bool
list_nothing(void *ctx, const char *dir, char ***ret, size_t *ret_n, struct err *err)
{
	(void)ctx;
	(void)dir;
	(void)err;
	*ret = NULL;
	*ret_n = 0;
	return true;
}

static struct slice
word_of(const char *line)
{
	return slice_of(line, strcspn(line, " "));
}

static bool
is_about(const char *text, struct slice word)
{
	return memmem(text, strlen(text), word.p, word.n) != NULL;
}

/* The line where it may stand: in front of everything, below a listener, in a bridge. */
static struct config *
load(const char *line, struct err *err)
{
	const struct option *o = option_find(word_of(line));
	char text[400];
	struct config_reader r = { text, read_text_of, list_nothing };
	struct config *c;
	bool listens = o != NULL && (o->scope == OPTION_LISTENER || strcmp(o->name, "psk_file") == 0);

	if (o != NULL && o->scope == OPTION_BRIDGE)
		(void)snprintf(text, sizeof(text), "listener 1885\nconnection b\n%s%s%s\n",
		    strncmp(o->name, "address", 7) == 0 ? "" : "address h\n",
		    strcmp(o->name, "topic") == 0 ? "" : "topic a\n", line);
	else
		(void)snprintf(text, sizeof(text), "%s%s\n", listens ? "listener 1885\n" : "", line);
	c = config_read("m.conf", &r, err);
	if (c == NULL || config_finish(c, 0, err))
		return c;
	config_free(c);
	return NULL;
}

static bool
is_warned_of(const struct config *c, struct slice word)
{
	for (unsigned i = 0; i < c->n_warnings; i++)
		if (is_about(c->warnings[i], word) && strstr(c->warnings[i], "without effect") != NULL)
			return true;
	return false;
}

static void
every_directive_has_its_outcome(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice word = word_of(rows[i].line);
		const struct option *o = option_find(word);
		struct err err = { 0 };
		struct config *c = load(rows[i].line, &err);

		if ((c == NULL) != (rows[i].outcome == REFUSED))
			fail_msg("%s: %s", rows[i].line, err.text);
		if (c == NULL) {
			/* FILE:LINE, the directive, and more than "unknown". */
			assert_non_null(strstr(err.text, "m.conf:"));
			assert_true(is_about(err.text, word));
			assert_null(strstr(err.text, "unknown directive"));
		} else {
			if (is_warned_of(c, word) != (rows[i].outcome == MOOT))
				fail_msg("%s", rows[i].line);
			/* What has no effect says so where people look it up. */
			assert_true(rows[i].outcome == DONE || o->type == OPTION_CALL || strstr(o->help, "Accepted") != NULL);
		}
		config_free(c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_directive_has_its_outcome),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
