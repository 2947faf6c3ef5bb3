/* The configuration: every directive, every mistake with its place, and the files that people
 * bring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/num.h"
#include "console/console.h"
#include "server/config.h"
#include "server/server.h"

/* A file system of name, text pairs; a name that ends in "/" is a directory whose text is its list
 * of names. */
struct fake {
	const char *files[16][2];
};

static const char *
find(const struct fake *f, const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(f->files) && f->files[i][0] != NULL; i++)
		if (strcmp(f->files[i][0], name) == 0)
			return f->files[i][1];
	return NULL;
}

static bool
fake_read(void *ctx, const char *path, uint8_t **ret, size_t *ret_n, struct err *err)
{
	const char *text = find(ctx, path);

	if (text == NULL)
		return err_set(err, ERR_MISSING, "cannot open %s: No such file or directory", path);
	*ret = (uint8_t *)strdup(text);
	*ret_n = strlen(text);
	return *ret != NULL;
}

static bool
fake_list(void *ctx, const char *dir, char ***ret, size_t *ret_n, struct err *err)
{
	char key[64], *list, *rest, *word;
	const char *text;

	(void)snprintf(key, sizeof(key), "%s/", dir);
	text = find(ctx, key);
	if (text == NULL)
		return err_set(err, ERR_MISSING,
		    "cannot open the directory %s: No such file or directory", dir);
	list = strdup(text);
	*ret = calloc(16, sizeof(char *));
	*ret_n = 0;
	assert_non_null(list);
	assert_non_null(*ret);
	for (word = strtok_r(list, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
		(*ret)[(*ret_n)++] = strdup(word);
	free(list);
	return true;
}

static struct config *
load(const struct fake *f, struct err *err)
{
	struct config_reader r = { (void *)(uintptr_t)f, fake_read, fake_list };
	struct config *c = config_read("m.conf", &r, err);

	if (c != NULL && !config_finish(c, 0, err)) {
		config_free(c);
		return NULL;
	}
	return c;
}

static struct config *
load_text(const char *text)
{
	struct fake f = { { { "m.conf", text } } };
	struct err err = { 0 };
	struct config *c = load(&f, &err);

	if (c == NULL)
		print_error("%s\n", err.text);
	assert_non_null(c);
	return c;
}

/* clang-format off */
#define DYNSEC "plugin /l/mosquitto_dynamic_security.so\nplugin_opt_config_file /x.json\n"
static const struct {
	const char *text, *error;
} mistakes[] = {
	{ "foo 1\n", "m.conf:1: unknown directive \"foo\"; `signet broker --help` lists them all" },
	{ "# c\n\n\t# c\r\n  fo\xc3\xb6 \"1\"\n", "m.conf:4: unknown directive \"fo\xc3\xb6\"; `signet broker --help` lists them all" },
	{ "password_file a\npassword_file b\n", "m.conf:2: password_file: is set already at m.conf:1; remove one of the two lines" },
	{ "listener 1\npsk_hint h\n", "m.conf:2: psk_hint: psk_file is missing; without it nobody has a key" },
	{ "psk_file k\nlistener 1\n", "m.conf:1: psk_file: no listener has a psk_hint, so nobody could use these keys" },
	{ "psk_file k\nlistener 1\npsk_hint h\ncafile c\n",
	    "m.conf:4: cafile: listener 1 has no certfile and keyfile, so it would not use TLS; add both or remove this line" },
	{ "psk_file k\nlistener 1\npsk_hint h\ncertfile c\nkeyfile k\ncafile c\nrequire_certificate true\n",
	    "m.conf:7: require_certificate: clients with a pre-shared key have no certificate; use a listener of its own for psk_hint" },
	{ "psk_file k\nlistener 1\npsk_hint h\ncertfile c\nkeyfile k\ncafile c\ntls_session_tickets true\n",
	    "m.conf:7: tls_session_tickets: not with psk_hint; a pre-shared key needs no ticket" },
	{ "listener 1\ncertfile c\nkeyfile k\ncapath d\ntls_session_tickets true\n",
	    "m.conf:5: tls_session_tickets: not with capath, as nobody can tell that a CA was taken out of a directory; use cafile" },
	{ "listener 1\ntls_session_tickets true\n",
	    "m.conf:2: tls_session_tickets: listener 1 has no certfile and keyfile, so it would not use TLS; add both or remove this line" },
	{ "tls_ticket_lifetime 604801\n", "m.conf:1: tls_ticket_lifetime: 604801 is not within 1 and 604800" },
	{ "auto_id_prefix 12345678901234567890123456789012345678901234567890123456789012345\n",
	    "m.conf:1: auto_id_prefix: longer than 64 bytes" },
	{ "clientid_prefixes 12345678901234567890123456789012345678901234567890123456789012345\n",
	    "m.conf:1: clientid_prefixes: longer than 64 bytes" },
	{ "listener 1883\nplugin /x.so\n", "m.conf:2: plugin: plugins of mosquitto cannot be loaded; the broker itself does what "
	"mosquitto_dynamic_security.so does, for all else see `policy`" },
	{ "auth_opt_backends x\n", "m.conf:1: auth_opt_backends: not an option of dynamic security, the only plugin that there is; remove the line" },
	{ "plugin /x_mosquitto_dynamic_security.so\n", "m.conf:1: plugin: " CONFIG_PLUGINS_REFUSED },
	{ "plugin_opt_config_file /x.json\n", "m.conf:1: plugin_opt_config_file: belongs to a plugin: a line `plugin …/mosquitto_dynamic_security.so` must stand above it" },
	{ "listener 1883\nplugin mosquitto_dynamic_security.so\n", "m.conf:2: plugin: plugin_opt_config_file FILE is missing; make the file with `mosquitto_ctrl dynsec init FILE ADMIN`" },
	{ DYNSEC DYNSEC, "m.conf:3: plugin: there is a plugin already; remove one of the two" },
	{ DYNSEC "auth_opt_config_file /y.json\n", "m.conf:3: auth_opt_config_file: is set already; remove one of the two lines" },
	{ DYNSEC "global_plugin mosquitto_dynamic_security.so\nplugin_opt_config_file /y.json\n", "m.conf:3: plugin: this would be a second one for a listener, and only one can decide; remove one of them" },
	{ DYNSEC "acl_file /a\n", "m.conf:3: acl_file: dynamic security decides here; make roles of its rules (mosquitto_ctrl dynsec addRoleACL) and remove this line" },
	{ DYNSEC "policy springcore\n", "m.conf:3: policy: dynamic security decides here; remove this line or the plugin" },
	{ DYNSEC "password_file /p\n", "m.conf:3: password_file: dynamic security has the passwords here; make its users clients there "
	  "(mosquitto_ctrl dynsec createClient) and remove this line" },
	{ "listener 1883\nplugin_use d\n", "m.conf:2: plugin_use: there is no plugin_load line of the name \"d\" above it" },
	{ "plugin_load d /l/mosquitto_dynamic_security.so\nplugin_opt_config_file /x\nlistener 1883\n", "m.conf:1: plugin: no listener uses it, so it would protect nothing; add `plugin_use` to the listeners, or remove it" },
	{ "connection b\n", "m.conf:1: connection b: an `address` line is missing" },
	{ "topic # out\n", "m.conf:1: topic: belongs to a bridge: a `connection NAME` line must stand above it" },
	{ "connection b\naddress h:70000\n", "m.conf:2: address: \"h:70000\" is not HOST or HOST:PORT" },
	{ "connection b\naddress h\ntopic a/# sideways\n", "m.conf:3: topic: the direction is none of out, in and both" },
	{ "connection b\naddress h\n", "m.conf:1: connection b: a `topic` line is missing" },
	{ "connection b\naddress h\ntopic a\nconnection b\n", "m.conf:4: connection: there is a bridge of this name already at m.conf:1" },
	{ "connection b\naddress h\ntopic a\nbridge_certfile c\n", "m.conf:4: bridge_certfile: needs bridge_cafile, bridge_capath or bridge_tls_use_os_certs" },
	{ "connection b\naddress h\ntopic a\nremote_password p\n", "m.conf:4: remote_password: needs remote_username" },
	{ "connection b\naddress h\ntopic a\nrestart_timeout 30 5\n", "m.conf:4: restart_timeout: SECONDS from 1 to 3600, or BASE CAP with CAP from BASE to 7200, and STABLE behind them" },
	{ "connection b\naddress h\ntopic a\nbridge_psk 1234\n", "m.conf:4: bridge_psk: needs bridge_identity" },
	{ "connection b\naddress h\ntopic a\nbridge_identity i\nbridge_ciphers X\n", "m.conf:4: bridge_identity: needs bridge_psk" },
	{ "connection b\naddress h\ntopic a\nbridge_identity i\nbridge_psk 12\nbridge_cafile c\n",
	    "m.conf:5: bridge_psk: certificates or a pre-shared key, not both" },
	{ "connection b\naddress h\ntopic a\nbridge_tcp_keepalive 1 2\n",
	    "m.conf:4: bridge_tcp_keepalive: three numbers are wanted: IDLE and INTERVAL in seconds, and COUNT up to 127" },
	{ "connection b\naddress h\ntopic a\nbridge_tcp_keepalive 1 2 3 4\n",
	    "m.conf:4: bridge_tcp_keepalive: there is more behind the three numbers" },
	{ "log_timestamp_format %%%\nlog_timestamp_format a\nlog_timestamp_format %c%c%c%c%c\n",
	    "m.conf:3: log_timestamp_format: writes nothing, or more than 63 bytes" },
	{ "protocol http\n", "m.conf:1: protocol: \"http\" is none of mqtt|websockets|metrics" },
	{ "protocol mqttsn\n", "m.conf:1: protocol: MQTT-SN is not supported; write mqtt or websockets" },
	{ "websockets_headers_size 65536\n", "m.conf:1: websockets_headers_size: 65536 is not within 0 and 65535" },
	{ "listener 1\nhttp_dir /srv\n",
	    "m.conf:2: http_dir: listener 1 does not speak WebSocket; add `protocol websockets` or remove this line" },
	{ "listener 1\nconsole maybe\n", "m.conf:2: console: \"maybe\" is neither true nor false" },
	{ "listener 1\nprotocol websockets\nconsole true\nuse_username_as_clientid true\n",
	    "m.conf:3: console: with use_username_as_clientid the page would take over the session of whoever signs in; give the console a "
	    "listener without it" },
	{ "listener 1\nprotocol mqtt\nwebsockets_origin http://a\n",
	    "m.conf:3: websockets_origin: listener 1 does not speak WebSocket; add `protocol websockets` or remove this line" },
	{ "listener 1\nprotocol websockets\nwebsockets_origin https://a/\n",
	    "m.conf:3: websockets_origin: \"https://a/\" is not what a browser sends: SCHEME://HOST or SCHEME://HOST:PORT, "
	    "one a line and without a slash at the end" },
	{ "listener 1\nenable_proxy_protocol 3\n", "m.conf:2: enable_proxy_protocol: 3 is not within 1 and 2" },
	{ "listener 1\nenable_proxy_protocol 0\n", "m.conf:2: enable_proxy_protocol: 0 is not within 1 and 2" },
	{ "listener 1\nproxy_protocol_from ::1\n", "m.conf:2: proxy_protocol_from: needs enable_proxy_protocol 1 or 2" },
	{ "listener 1\nenable_proxy_protocol 1\nproxy_protocol_from ::1 lb.example.com\n",
	    "m.conf:3: proxy_protocol_from: \"lb.example.com\" is none of ADDRESS, ADDRESS/BITS (with nothing set behind the bits) and unix" },
	{ "listener 1\nenable_proxy_protocol 1\nproxy_protocol_v2_require_tls true\n",
	    "m.conf:3: proxy_protocol_v2_require_tls: only version 2 says so; enable_proxy_protocol 2" },
	{ "listener 1\nenable_proxy_protocol 2\nrequire_certificate true\n",
	    "m.conf:3: require_certificate: TLS ends at the proxy here: name those whose word on certificates is taken, with "
	    "proxy_protocol_identity_from" },
	{ "listener 1\nenable_proxy_protocol 2\nuse_identity_as_username true\n",
	    "m.conf:3: use_identity_as_username: TLS ends at the proxy here: name those whose word on certificates is taken, with "
	    "proxy_protocol_identity_from" },
	{ "listener 1\nenable_proxy_protocol 1\nproxy_protocol_identity_from ::1\n",
	    "m.conf:3: proxy_protocol_identity_from: only version 2 says anything of certificates; enable_proxy_protocol 2" },
	{ "listener 1\nenable_proxy_protocol 2\nproxy_protocol_identity_from ::1\n",
	    "m.conf:3: proxy_protocol_identity_from: needs use_identity_as_username true; else nothing is made of it" },
	{ "listener 1\nenable_proxy_protocol 2\ncertfile c\nkeyfile k\nproxy_protocol_identity_from ::1\n",
	    "m.conf:5: proxy_protocol_identity_from: TLS ends at this listener, so the certificate is seen here; remove this line" },
	{ "listener 1\nenable_proxy_protocol 2\nuse_subject_as_username true\n",
	    "m.conf:3: use_subject_as_username: listener 1 has no certfile and keyfile, so it would not use TLS; "
	    "add both or remove this line" },
	{ "allow_anonymous\n", "m.conf:1: allow_anonymous: a value is missing: allow_anonymous true|false" },
	{ "allow_anonymous yes\n", "m.conf:1: allow_anonymous: \"yes\" is neither true nor false" },
	{ "port 0\n", "m.conf:1: port: 0 is not within 1 and 65535" },
	{ "port 65536\n", "m.conf:1: port: 65536 is not within 1 and 65535" },
	{ "port 18a\n", "m.conf:1: port: \"18a\" is not a whole number" },
	{ "port 99999999999999999999\n", "m.conf:1: port: \"99999999999999999999\" is not a whole number" },
	{ "max_connections -2\n", "m.conf:1: max_connections: -2 is not within -1 and 100000000" },
	{ "workers 257\n", "m.conf:1: workers: 257 is not within 0 and 256" },
	{ "listener x\n", "m.conf:1: listener: \"x\" is not a port number (1 to 65535; 0 for a unix socket)" },
	{ "listener 0\n", "m.conf:1: listener: port 0 is for unix sockets and needs a path: listener 0 /run/signet.sock" },
	{ "listener 1883 a b\n", "m.conf:1: listener: one address a listener, not \"a b\"" },
	{ "listener 1883\nlistener 1884\nlistener 1883\n", "m.conf:3: listener: 1883 is configured already at m.conf:1" },
	{ "port 1883\nlistener 1883\n", "m.conf:2: listener: 1883 is configured already at m.conf:1" },
	{ "listener 1883 ::1\nlistener 1883 ::1\n", "m.conf:2: listener: [::1]:1883 is configured already at m.conf:1" },
	{ "listener 0 /a b\nlistener 0 /a b\n", "m.conf:2: listener: /a b is configured already at m.conf:1" },
	{ "listener 8883\ncertfile a\n", "m.conf:2: certfile: keyfile is missing; TLS needs both" },
	{ "listener 8883\nkeyfile a\n", "m.conf:2: keyfile: certfile is missing; TLS needs both" },
	{ "listener 8883\ncafile a\n",
	    "m.conf:2: cafile: listener 8883 has no certfile and keyfile, so it would not use TLS; add both or remove this line" },
	{ "listener 8883\nrequire_certificate true\n",
	    "m.conf:2: require_certificate: listener 8883 has no certfile and keyfile, so it would not use TLS; "
	    "add both or remove this line" },
	{ "listener 8883\ncertfile a\nkeyfile b\nrequire_certificate true\n",
	    "m.conf:4: require_certificate: cafile is missing; without it no certificate can be checked" },
	{ "listener 8883\ncertfile a\nkeyfile b\nocsp_check hard\n", "m.conf:4: ocsp_check: cafile is missing; no certificate is looked at" },
	{ "listener 8883\ncertfile a\nkeyfile b\ncafile c\nocsp_check maybe\n", "m.conf:5: ocsp_check: \"maybe\" is none of off|soft|hard" },
	{ "listener 8883\ncertfile a\nkeyfile b\ncafile c\nocsp_responder http://a\n",
	    "m.conf:5: ocsp_responder: nobody is asked without ocsp_check soft or hard" },
	{ "listener 8883\ncertfile a\nkeyfile b\ncafile c\nocsp_check soft\nocsp_responder https://a/\n",
	    "m.conf:6: ocsp_responder: https://a/: only http: is spoken with a responder; its answers are signed" },
	{ "listener 9883\nprotocol metrics\ncertfile a\nkeyfile b\ncafile c\nocsp_check soft\n",
	    "m.conf:6: ocsp_check: who reads metrics is not asked about; remove it, and use crlfile there" },
	{ "listener 8883\ncertfile a\nkeyfile b\nocsp_stapling true\nocsp_stapling_file c\n",
	    "m.conf:5: ocsp_stapling_file: a responder is to be asked too; choose one of them" },
	{ "listener 8883\ncertfile a\nkeyfile b\nocsp_stapling_responder http://\n",
	    "m.conf:4: ocsp_stapling_responder: http://: its host or port cannot be read" },
	{ "listener 8883\ncertfile a\nkeyfile b\ncrlfile c\n", "m.conf:4: crlfile: cafile is missing; whose list is it?" },
	{ "listener 8883\ncertfile a\nkeyfile b\nrequire_registration true\n",
	    "m.conf:4: require_registration: cafile is missing; no certificate is looked at" },
	{ "listener 8883\ncertfile a\nkeyfile b\ncafile c\nrequire_registration true\n",
	    "m.conf:5: require_registration: no CA has the client role, so nobody would be looked up; add a role_ca line" },
	{ "role_ca client d\nlistener 8883\ncertfile a\nkeyfile b\ncafile c\nrequire_registration true\n",
	    "m.conf:6: require_registration: nobody can say which devices are registered; add `listener 0 PATH` with `protocol control`" },
	{ "listener 8883\ncertfile a\nkeyfile b\ncafile c\nquarantine unregistered\n",
	    "m.conf:5: quarantine: everybody is let in, registered or not; add require_registration true" },
	{ "listener 8883\ncertfile a\nkeyfile b\ncertfile c\n",
	    "m.conf:4: certfile: is set already at m.conf:2; remove one of the two lines" },
	{ "listener 8883\ntls_version tlsv1.1\n",
	    "m.conf:2: tls_version: TLS 1.1 is broken and never offered; write tlsv1.2 or tlsv1.3" },
	{ "listener 8883\ntls_version 1.3\n", "m.conf:2: tls_version: \"1.3\" is none of tlsv1.2|tlsv1.3" },
	{ "cafile x\nlistener 8883\n",
	    "m.conf:1: cafile: stands in front of all listeners and applies to none of them; move it below its `listener` line" },
	{ "per_listener_settings true\nacl_file x\nlistener 8883\n",
	    "m.conf:2: acl_file: stands in front of all listeners and applies to none of them; move it below its `listener` line" },
	{ "allow_anonymous true\nper_listener_settings true\n",
	    "m.conf:2: per_listener_settings: must stand before all security directives (allow_anonymous, acl_file, …)" },
	{ "policy springcore\nacl_file x\n",
	    "m.conf:2: acl_file: there is a policy too; only one of them can decide, remove the other" },
	{ "message_size_limit 268435456\n", "m.conf:1: message_size_limit: 268435456 is not within 0 and 268435455" },
	{ "accept_protocol_versions 4,6\n", "m.conf:1: accept_protocol_versions: \"6\" is none of 3, 4 and 5" },
	{ "accept_protocol_versions 45\n", "m.conf:1: accept_protocol_versions: \"45\" is none of 3, 4 and 5" },
	{ "accept_protocol_versions ,\n", "m.conf:1: accept_protocol_versions: no version is left; write some of 3, 4 and 5" },
	{ "accept_protocol_versions 4\nlistener 1\n",
	    "m.conf:1: accept_protocol_versions: stands in front of all listeners and applies to none of them; "
	    "move it below its `listener` line" },
	{ "listener 1\nresponse_information a/+/\n",
	    "m.conf:2: response_information: not the beginning of a topic; it is neither empty nor has it + or #" },
	{ "listener 1\nresponse_information a/%c/%i\n",
	    "m.conf:2: response_information: % stands only before c (client id) and u (user name)" },
	{ "listener 1\nresponse_information a/%\n",
	    "m.conf:2: response_information: % stands only before c (client id) and u (user name)" },
	{ "listener 1\nresponse_information 12345678901234567890123456789012345678901234567890123456789012345\n",
	    "m.conf:2: response_information: longer than 64 bytes" },
	{ "listener 1\nauth_method SCRAM-SHA-256\n",
	    "m.conf:2: auth_method: SCRAM-SHA-256 needs the users of a password_file, and this listener has none" },
	{ "listener 1\nauth_method PLAIN\n", "m.conf:2: auth_method: \"PLAIN\" is none of any|password|SCRAM-SHA-256" },
	{ "listener 1\nmount_point a/+/\n",
	    "m.conf:2: mount_point: not the beginning of a topic; it is neither empty nor has it + or #" },
	{ "listener 1\nmount_point $share/g/\n",
	    "m.conf:2: mount_point: topics that begin with $share cannot be published to" },
	{ "global_max_connections -2\n", "m.conf:1: global_max_connections: -2 is not within -1 and 100000000" },
	{ "max_inflight_bytes -1\n", "m.conf:1: max_inflight_bytes: -1 is not within 0 and 9223372036854775807" },
	{ "retain_expiry_interval -1\n", "m.conf:1: retain_expiry_interval: -1 is not within 0 and 35791394" },
	{ "max_packet_size 19\n", "m.conf:1: max_packet_size: 19 is not within 20 and 268435460" },
	{ "persistent_client_expiration 12\n",
	    "m.conf:1: persistent_client_expiration: \"12\" is not a number followed by s, h, d, w, m or y, as 14d" },
	{ "persistent_client_expiration 0d\n",
	    "m.conf:1: persistent_client_expiration: \"0d\" is not a number followed by s, h, d, w, m or y, as 14d" },
	{ "persistent_client_expiration 137y\n", "m.conf:1: persistent_client_expiration: \"137y\" is more than 136y" },
	{ "role_ca boss x.pem\n", "m.conf:1: role_ca: \"boss\" is no role (cloud, client, watch, control, factory)" },
	{ "role_ca client\n", "m.conf:1: role_ca: the CA's file is missing: role_ca ROLE FILE" },
	{ "log_dest file\n", "m.conf:1: log_dest: a path is missing: log_dest file PATH" },
	{ "log_dest file a\nlog_dest file b\n",
	    "m.conf:2: log_dest: there is a log file already, a; remove one of the two lines" },
	{ "log_dest dlt\n", "m.conf:1: log_dest: \"dlt\" is not supported; syslog and journald are" },
	{ "log_dest printer\n", "m.conf:1: log_dest: \"printer\" is none of stderr, stdout, syslog, journald, topic, none, file PATH" },
	{ "log_type loud\n",
	    "m.conf:1: log_type: \"loud\" is none of error, warning, notice, information, debug, subscribe, unsubscribe, all, none" },
	{ "user \xff\n", "m.conf:1: user: the value is not UTF-8 text" },
	{ "include_dir none\n",
	    "m.conf:1: include_dir: cannot open the directory none: No such file or directory" },
	{ "include_dir d\n", "m.conf:1: include_dir: cannot open d/gone.conf: No such file or directory" },
	{ "include_dir e\n", "e/bad.conf:2: unknown directive \"nope\"; `signet broker --help` lists them all" },
	{ "include_dir loop\n", "loop/a.conf:1: include_dir: nested more than 16 deep" },
};
/* clang-format on */

static void
each_mistake_is_named_with_its_place(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(mistakes); i++) {
		struct fake f = { { { "m.conf", mistakes[i].text }, { "d/", "gone.conf" },
		    { "e/", "bad.conf" }, { "e/bad.conf", "# one\nnope 1\n" },
		    { "loop/", "a.conf" }, { "loop/a.conf", "include_dir loop\n" } } };
		struct err err = { 0 };

		assert_null(load(&f, &err));
		assert_string_equal(err.text, mistakes[i].error);
	}
}

static void
bytes_that_are_no_text_are_refused(void **state)
{
	struct fake f = { { { "m.conf", NULL } } };
	struct err err = { 0 };
	char *line = malloc(CONFIG_LINE_MAX + 8);

	(void)state;
	assert_non_null(line);
	memset(line, 'a', CONFIG_LINE_MAX + 7);
	line[0] = '#';
	line[CONFIG_LINE_MAX + 7] = '\0';
	f.files[0][1] = line;
	assert_null(load(&f, &err));
	assert_string_equal(err.text, "m.conf:1: the line is longer than 4096 bytes");
	line[CONFIG_LINE_MAX] = '\0';
	config_free(load(&f, &err));
	free(line);

	f.files[0][0] = "other";
	assert_null(load(&f, &err));
	assert_string_equal(err.text, "cannot open m.conf: No such file or directory");
}

static void
check_globals(const struct config *c)
{
	assert_int_equal(c->tls_handshake_timeout, 3);
	assert_int_equal(c->websockets_headers_size, 600);
	assert_int_equal(c->max_handshakes, 9);
	assert_string_equal(c->user, "root");
	assert_int_equal(c->max_keepalive, 60);
	assert_int_equal(c->max_packet_size, 1000);
	assert_int_equal(c->message_size_limit, 900);
	assert_int_equal(c->max_inflight_messages, 1);
	assert_int_equal(c->max_queued_messages, 0);
	assert_int_equal(c->max_queued_bytes, 5);
	assert_true(c->upgrade_outgoing_qos);
	assert_int_equal(c->retain_expiry_interval, 5);
	assert_int_equal(c->max_inflight_bytes, 77);
	assert_int_equal(c->global_max_connections, 8);
	assert_true(c->queue_qos0_messages && !c->check_retain_source && c->publisher_stamp && !c->retain_available && c->persistence);
	assert_int_equal(c->persistent_client_expiration, 14 * 86400);
	assert_int_equal(c->workers, 4);
	assert_string_equal(c->persistence_location, "/p/");
	assert_string_equal(c->pid_file, "/pid");
	assert_string_equal(c->log_file, "/l");
	assert_int_equal(c->log_dest, CONFIG_LOG_STDOUT);
	assert_int_equal(c->log_level, LOG_LVL_NOTICE);
	assert_true(c->log_subscribe && !c->log_unsubscribe && !c->log_timestamp &&
		    !c->connection_messages);
}

/* Each directive once with a value that is not its default; all must end where they belong. */
static void
every_directive_is_read(void **state)
{
	struct config *c =
	    load_text("listener 8883 127.0.0.1\r\nbind_interface lo\r\nsocket_domain "
		      "ipv4\nmax_connections 7\n"
		      "accept_protocol_versions 5, 3\nmount_point t/\nprotocol websockets\nwebsockets_origin https://a\nwebsockets_origin "
		      "http://b:1\nhttp_dir /h\nwebsockets_headers_size 600\n"
		      "maximum_qos 1\ncertfile a b.pem  \nkeyfile k\n  cafile \t c\ncapath "
		      "p\ncrlfile r\nrequire_certificate true\n"
		      "use_identity_as_username 1\nuse_subject_as_username TRUE\ntls_version "
		      "tlsv1.3\nciphers X\nciphers_tls1.3 Y\n"
		      "allow_anonymous true\npolicy dojot\nallow_zero_length_clientid "
		      "false\ntakeover_same_identity false\n"
		      "refuse_publish_by_close true\ngrant_refused_subscriptions true\nrole_ca "
		      "client c.pem\nrole_ca watch w x.pem\n"
		      "tls_handshake_timeout 3\nmax_handshakes 9\nuser root\nmax_keepalive "
		      "60\nmax_packet_size 1000\n"
		      "message_size_limit 900\nmax_inflight_messages 1\nmax_queued_messages "
		      "0\nmax_queued_bytes 5\n"
		      "global_max_connections 8\nmax_inflight_bytes 77\nupgrade_outgoing_qos true\nretain_expiry_interval 5\nqueue_qos0_messages true\ncheck_retain_source false\npublisher_stamp true\nretain_available "
		      "false\npersistent_client_expiration 2w\nworkers 4\n"
		      "set_tcp_nodelay true\npersistence true\npersistence_location /p/\npid_file "
		      "/pid\nlog_dest file /l\n"
		      "log_dest stdout\nlog_type error\nlog_type notice\nlog_type "
		      "subscribe\nlog_timestamp false\n"
		      "connection_messages false");
	const struct config_listener *l = &c->listeners[0];
	const struct config_security *s = l->security;

	(void)state;
	assert_int_equal(c->n_listeners, 1);
	assert_int_equal(l->port, 8883);
	assert_string_equal(l->host, "127.0.0.1");
	assert_string_equal(l->name, "127.0.0.1:8883");
	assert_string_equal(l->bind_interface, "lo");
	assert_int_equal(l->socket_domain, 4);
	assert_int_equal(l->max_connections, 7);
	assert_int_equal(l->max_qos, 1);
	assert_int_equal(l->accept_versions, 1 << 3 | 1 << 5);
	assert_string_equal(l->mount_point, "t/");
	assert_int_equal(l->protocol, CONFIG_WEBSOCKETS);
	assert_int_equal(l->n_origins, 2);
	assert_string_equal(l->origins[0], "https://a");
	assert_string_equal(l->origins[1], "http://b:1");
	assert_string_equal(l->http_dir, "/h");
	assert_false(l->loopback);
	assert_string_equal(l->certfile, "a b.pem");
	assert_string_equal(l->keyfile, "k");
	assert_string_equal(l->cafile, "c");
	assert_string_equal(l->capath, "p");
	assert_string_equal(l->crlfile, "r");
	assert_true(
	    l->require_certificate && l->use_identity_as_username && l->use_subject_as_username);
	assert_int_equal(l->tls_version, 3);
	assert_string_equal(l->ciphers, "X");
	assert_string_equal(l->ciphersuites, "Y");
	assert_int_equal(s->allow_anonymous, 1);
	assert_string_equal(s->policy, "dojot");
	assert_false(s->allow_zero_length_clientid || s->takeover_same_identity);
	assert_true(s->refuse_publish_by_close && s->grant_refused_subscriptions);
	assert_int_equal(c->n_role_cas, 2);
	assert_int_equal(c->role_cas[1].role, AUTHZ_ROLE_WATCH);
	assert_string_equal(c->role_cas[1].file, "w x.pem");
	check_globals(c);
	config_free(c);
}

static void
defaults_are_the_documented_ones(void **state)
{
	struct config *c = load_text("");

	(void)state;
	assert_int_equal(c->n_listeners, 1);
	assert_true(c->listeners[0].local_only);
	assert_int_equal(c->listeners[0].port, 1883);
	assert_int_equal(c->listeners[0].security->allow_anonymous, 1);
	assert_true(c->listeners[0].security->allow_zero_length_clientid);
	assert_true(c->listeners[0].security->takeover_same_identity);
	assert_int_equal(c->listeners[0].max_connections, -1);
	assert_int_equal(c->global_max_connections, -1);
	assert_int_equal(c->listeners[0].max_qos, 2);
	assert_int_equal(c->listeners[0].accept_versions, 0);
	assert_int_equal(c->listeners[0].tls_version, 2);
	assert_int_equal(c->max_packet_size, 2000000);
	assert_int_equal(c->max_inflight_messages, 20);
	assert_int_equal(c->max_queued_messages, 1000);
	assert_int_equal(c->max_keepalive, 65535);
	assert_int_equal(c->log_level, LOG_LVL_INFO);
	assert_true(c->log_timestamp && c->connection_messages && c->retain_available);
	assert_int_equal(c->n_warnings, 0);
	config_free(c);
}

/* D10: a plain WebSocket listener is for this machine unless somebody wrote an address. */
static void
plain_websockets_without_an_address_are_local(void **state)
{
	static const struct {
		const char *text;
		bool loopback;
		unsigned warnings;
	} rows[] = {
		{ "listener 9001\nprotocol websockets\nwebsockets_origin http://a\n", true, 1 },
		{ "listener 9001\nprotocol websockets\n", true, 2 },
		{ "port 9001\nprotocol websockets\nwebsockets_origin http://a\n", true, 1 },
		{ "listener 9001 0.0.0.0\nprotocol websockets\nwebsockets_origin http://a\n", false,
		    1 },
		{ "listener 9001 127.0.0.1\nprotocol websockets\nwebsockets_origin http://a\n",
		    false, 0 },
		{ "listener 0 /s\nprotocol websockets\nwebsockets_origin http://a\n", false, 0 },
		{ "listener 9001\nbind_interface eth0\nprotocol websockets\nwebsockets_origin "
		  "http://a\n",
		    false, 1 },
		{ "listener 9001\nprotocol websockets\nwebsockets_origin http://a\ncertfile "
		  "c\nkeyfile k\n",
		    false, 0 },
		{ "listener 9001\nprotocol mqtt\n", false, 1 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		struct config *c = load_text(rows[i].text);

		assert_int_equal(c->listeners[0].loopback, rows[i].loopback);
		assert_int_equal(c->n_warnings, rows[i].warnings);
		/* Only no configuration at all lets everybody in. */
		assert_int_equal(c->common.allow_anonymous, 0);
		config_free(c);
	}
}

/* Without TLS it is for this machine, or said aloud; a build that has none says so. Its own page needs no websockets_origin. */
static void
a_console_is_asked_for_and_warned_of(void **state)
{
	static const struct {
		const char *text;
		bool is;
		unsigned warnings;
	} rows[] = {
		{ "listener 9001\nprotocol websockets\nconsole true\n", true, 1 },
		{ "listener 9001 127.0.0.1\nprotocol websockets\nconsole true\n", true, 0 },
		{ "listener 9001 0.0.0.0\nprotocol websockets\nconsole true\n", true, 2 },
		{ "listener 9001 0.0.0.0\nprotocol websockets\nconsole true\nwebsockets_origin http://a\n", true, 2 },
		{ "listener 0 /s\nprotocol websockets\nconsole true\n", true, 0 },
		{ "listener 9001\nprotocol websockets\nconsole true\ncertfile c\nkeyfile k\n", true, 0 },
		{ "listener 9001\nprotocol websockets\nconsole false\ncertfile c\nkeyfile k\n", false, 1 },
		{ "listener 9001\nprotocol websockets\ncertfile c\nkeyfile k\n", false, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fake f = { { { "m.conf", rows[i].text } } };
		struct err err = { 0 };
		struct config *c = load(&f, &err);

		if (rows[i].is && console_files_n == 0) {
			assert_null(c);
			assert_non_null(strstr(err.text, "console: this program was built without the web console"));
			continue;
		}
		assert_non_null(c);
		assert_int_equal(c->listeners[0].console, rows[i].is);
		assert_int_equal(c->n_warnings, rows[i].warnings);
		config_free(c);
	}
	/* Elsewhere it would do nothing. */
	for (size_t i = 0; console_files_n > 0 && i < 2; i++) {
		static const struct fake f[] = { { { { "m.conf", "listener 1\nconsole true\n" } } }, { { { "m.conf", "listener 1\nprotocol metrics\nconsole true\n" } } } };
		struct err err = { 0 };

		assert_null(load(&f[i], &err));
		assert_non_null(strstr(err.text, "console: listener 1 does not speak WebSocket"));
	}
}

static void
the_default_listener_leaves_its_settings_to_be_shown(void **state)
{
	struct config *c = load_text("port 1884\nbind_address 127.0.0.1\n");

	(void)state;
	assert_string_equal(c->bind_address, "127.0.0.1");
	assert_string_equal(c->listeners[0].host, "127.0.0.1");
	config_free(c);
}

static void
anonymous_clients_are_refused_once_a_listener_is_configured(void **state)
{
	static const struct {
		const char *text;
		int64_t first, second;
	} cases[] = {
		{ "listener 1883\n", 0, 0 },
		{ "port 1883\n", 0, 0 },
		{ "bind_address 127.0.0.1\n", 0, 0 },
		{ "listener 1883\nallow_anonymous true\nlistener 1884\n", 1, 1 },
		{ "per_listener_settings true\nlistener 1883\nallow_anonymous true\nlistener "
		  "1884\n",
		    1, 0 },
		/* Before any listener, with one set: the default listener's. */
		{ "per_listener_settings true\nport 1883\nallow_anonymous true\nlistener 1884\n", 1,
		    0 },
		{ "per_listener_settings true\n", 1, 1 },
		{ "allow_anonymous false\n", 0, 0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct config *c = load_text(cases[i].text);

		assert_int_equal(c->listeners[0].security->allow_anonymous, cases[i].first);
		assert_int_equal(
		    c->listeners[c->n_listeners - 1].security->allow_anonymous, cases[i].second);
		config_free(c);
	}
}

/* RS DesignSpark, MQTT part 6, on Debian's own file: both unchanged. */
static void
the_article_and_debian_load_unchanged(void **state)
{
	static const struct fake f = { {
	    { "m.conf", "# Place your local configuration in /etc/mosquitto/conf.d/\n#\n\npid_file "
			"/run/mosquitto/mosquitto.pid\n\n"
			"persistence true\npersistence_location /var/lib/mosquitto/\n\n"
			"log_dest file /var/log/mosquitto/mosquitto.log\n\ninclude_dir "
			"/etc/mosquitto/conf.d\n" },
	    { "/etc/mosquitto/conf.d/", "README access.conf x.conf.bak .conf" },
	    { "/etc/mosquitto/conf.d/access.conf",
		"per_listener_settings true\nlistener 1883\nallow_anonymous false\nlistener 8883\n"
		"certfile /etc/mosquitto/certs/broker.crt\nkeyfile "
		"/etc/mosquitto/certs/broker.key\n"
		"cafile /etc/mosquitto/ca_certificates/root_ca.crt\ntls_version "
		"tlsv1.3\nrequire_certificate true\n"
		"use_identity_as_username true\n" },
	} };
	struct err err = { 0 };
	struct config *c = load(&f, &err);

	(void)state;
	assert_string_equal(err.text, "");
	assert_non_null(c);
	assert_int_equal(c->n_listeners, 2);
	assert_int_equal(c->listeners[0].port, 1883);
	assert_null(c->listeners[0].certfile);
	assert_int_equal(c->listeners[0].security->allow_anonymous, 0);
	assert_int_equal(c->listeners[1].port, 8883);
	assert_null(c->listeners[1].host);
	assert_true(
	    c->listeners[1].require_certificate && c->listeners[1].use_identity_as_username);
	assert_int_equal(c->listeners[1].tls_version, 3);
	assert_int_equal(c->listeners[1].security->allow_anonymous, 0);
	assert_null(c->listeners[1].security->policy);
	assert_string_equal(c->log_file, "/var/log/mosquitto/mosquitto.log");
	assert_int_equal(c->n_warnings, 1);
	assert_string_equal(c->warnings[0],
	    "/etc/mosquitto/conf.d/access.conf:2: listener 1883 is not encrypted: everybody on "
	    "the way can read and change what is sent; give it certfile and keyfile");
	config_free(c);
}

/* mosquitto.conf(5), "Example Load Order"; what is not *.conf is not read; each file begins without
 * a listener. */
static void
included_files_come_in_order(void **state)
{
	static const struct fake f = { {
	    { "m.conf", "listener 9\ninclude_dir d\nmax_qos 1\n" },
	    { "d/", "b.conf A.conf 01.conf a.conf B.conf 00.conf x.conf.bak conf" },
	    { "d/00.conf", "listener 1\nmax_qos 1" },
	    { "d/01.conf", "listener 2\nmax_qos 1" },
	    { "d/A.conf", "listener 3\nmax_qos 1" },
	    { "d/a.conf", "listener 4\nmax_qos 1" },
	    { "d/B.conf", "listener 5\nmax_qos 1" },
	    { "d/b.conf", "listener 6\nmax_qos 1" },
	} };
	static const struct fake orphan = { { { "m.conf", "listener 9\ninclude_dir d\n" },
	    { "d/", "a.conf" }, { "d/a.conf", "max_qos 1" } } };
	static const uint16_t order[] = { 9, 1, 2, 3, 4, 5, 6 };
	struct err err = { 0 };
	struct config *c = load(&f, &err);
	size_t i;

	(void)state;
	assert_string_equal(err.text, "");
	assert_non_null(c);
	assert_int_equal(c->n_listeners, ARRAY_LEN(order));
	for (i = 0; i < ARRAY_LEN(order); i++)
		assert_int_equal(c->listeners[i].port, order[i]);
	config_free(c);
	assert_null(load(&orphan, &err));
	assert_string_equal(err.text,
	    "d/a.conf:1: max_qos: stands in front of all listeners and applies to none of them; "
	    "move it below its `listener` line");
}

static void
the_port_of_the_command_line_is_for_the_only_listener(void **state)
{
	static const struct {
		const char *text, *error;
		uint16_t port;
	} cases[] = {
		{ "", NULL, 99 },
		{ "listener 8883 ::1", NULL, 99 },
		{ "listener 1\nlistener 2",
		    "-p changes the port of the only listener, but there are 2; "
		    "change the configuration instead",
		    0 },
		{ "listener 0 /x", "-p makes no sense: the only listener is a unix socket", 0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct fake f = { { { "m.conf", cases[i].text } } };
		struct config_reader r = { &f, fake_read, fake_list };
		struct err err = { 0 };
		struct config *c = config_read("m.conf", &r, &err);

		assert_non_null(c);
		assert_int_equal(config_finish(c, 99, &err), cases[i].error == NULL);
		if (cases[i].error != NULL)
			assert_string_equal(err.text, cases[i].error);
		else
			assert_int_equal(c->listeners[0].port, cases[i].port);
		config_free(c);
	}
}

static void
a_number_twice_is_a_warning(void **state)
{
	struct config *c = load_text("max_keepalive 60\nmax_keepalive 70\n");

	(void)state;
	assert_int_equal(c->max_keepalive, 70);
	assert_int_equal(c->n_warnings, 1);
	assert_string_equal(
	    c->warnings[0], "m.conf:2: max_keepalive is set already at m.conf:1; this line counts");
	config_free(c);
}

/* The table itself: names once, sorted out from those that we do not do, help for each. */
static void
the_table_is_in_order(void **state)
{
	unsigned i, j;

	(void)state;
	for (i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		assert_true(strlen(o->help) > 10 && strlen(o->help) < 120);
		assert_null(option_unsupported(slice_str(o->name)));
		assert_true((o->type == OPTION_CALL) == (o->call != NULL));
		assert_true((o->type == OPTION_CHOICE) == (o->choices != NULL));
		assert_true(o->type != OPTION_INT || o->min < o->max);
		for (j = 0; j < i; j++)
			assert_string_not_equal(options[j].name, o->name);
	}
}

/* Whatever is cut off or turned round: an answer, no crash (the sanitizers look on). */
static void
every_truncation_has_an_answer(void **state)
{
	static const char whole[] =
	    "per_listener_settings true\nlistener 8883 127.0.0.1\ncertfile a\nkeyfile b\ncafile c\n"
	    "role_ca client x\ninclude_dir d\nlog_dest file /l\npersistent_client_expiration "
	    "2w\npolicy dojot\n";
	size_t n;

	(void)state;
	for (n = 0; n <= sizeof(whole) - 1; n++) {
		char *text = strndup(whole, n);
		struct fake f = { { { "m.conf", text }, { "d/", "a.conf" },
		    { "d/a.conf", "workers 2" } } };
		struct err err = { 0 };
		struct config *c;

		assert_non_null(text);
		c = load(&f, &err);
		assert_true((c == NULL) == (err.text[0] != '\0'));
		assert_true(c != NULL || strncmp(err.text, "m.conf:", 7) == 0);
		config_free(c);
		free(text);
	}
}

/* docs/configuration.md ends with the table as the table itself prints it. */
static const char *doc_path;
static char doc[64 * 1024];
static const char *doc_at;

static void
expect_line(void *ctx, const char *line)
{
	(void)ctx;
	if (doc_at == NULL || strncmp(doc_at, line, strlen(line)) != 0)
		fail_msg("docs/configuration.md lacks \"%s\"; `signet broker "
			 "--directives-markdown` prints the table",
		    line);
	doc_at += strlen(line) + 1;
}

static void
the_documentation_has_the_table(void **state)
{
	FILE *f;
	size_t n;

	(void)state;
	if (doc_path == NULL)
		skip();
	f = fopen(doc_path, "r");
	assert_non_null(f);
	n = fread(doc, 1, sizeof(doc) - 1, f);
	(void)fclose(f);
	doc[n] = '\0';
	doc_at = strstr(doc, "| Directive |");
	options_print(true, expect_line, NULL);
	assert_string_equal(doc_at, "");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_mistake_is_named_with_its_place),
		cmocka_unit_test(bytes_that_are_no_text_are_refused),
		cmocka_unit_test(every_directive_is_read),
		cmocka_unit_test(defaults_are_the_documented_ones),
		cmocka_unit_test(plain_websockets_without_an_address_are_local),
		cmocka_unit_test(a_console_is_asked_for_and_warned_of),
		cmocka_unit_test(the_default_listener_leaves_its_settings_to_be_shown),
		cmocka_unit_test(anonymous_clients_are_refused_once_a_listener_is_configured),
		cmocka_unit_test(the_article_and_debian_load_unchanged),
		cmocka_unit_test(included_files_come_in_order),
		cmocka_unit_test(the_port_of_the_command_line_is_for_the_only_listener),
		cmocka_unit_test(a_number_twice_is_a_warning),
		cmocka_unit_test(the_table_is_in_order),
		cmocka_unit_test(every_truncation_has_an_answer),
		cmocka_unit_test(the_documentation_has_the_table),
	};

	doc_path = argc > 1 ? argv[1] : NULL;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
