/* The command line of `signet pub`, `sub` and `rr`: flags, URLs, properties, formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/num.h"
#include "cli/client_opts.h"
#include "cli/format.h"

enum { WORDS_MAX = 80 };

/* A command line of words between blanks ('' is the empty word), as main() would get it. */
struct line {
	char text[512];
	char *argv[WORDS_MAX + 1];
	int argc;
};

static void
split(struct line *l, const char *text)
{
	char *p = l->text;

	assert_true(strlen(text) < sizeof l->text);
	memcpy(p, text, strlen(text) + 1);
	l->argc = 0;
	while (*p != '\0' && l->argc < WORDS_MAX) {
		l->argv[l->argc++] = p;
		p += strcspn(p, " ");
		if (*p == ' ')
			*p++ = '\0';
	}
	for (int i = 0; i < l->argc; i++)
		if (strcmp(l->argv[i], "''") == 0)
			l->argv[i][0] = '\0';
	l->argv[l->argc] = NULL;
}

static bool
parse(struct client_opts *o, struct line *l, enum client_cmd cmd, const char *text, struct err *err)
{
	*err = (struct err){ 0 };
	split(l, text);
	return client_opts_parse(o, cmd, l->argc, l->argv, err);
}

/* Command lines that are refused, and a word of the reason. */
static const struct {
	enum client_cmd cmd;
	const char *line, *reason;
} wrong[] = {
	/* clang-format off */
	{ CLIENT_PUB, "pub", "topic" },
	{ CLIENT_PUB, "pub -t a -m x -u u -P p --auth-method PLAIN", "SCRAM-SHA-256" },
	{ CLIENT_PUB, "pub -t a -m x -P p --auth-method SCRAM-SHA-256", "user name" },
	{ CLIENT_PUB, "pub -t a -m x -u u --auth-method SCRAM-SHA-256", "password" },
	{ CLIENT_PUB, "pub -t a -m x -u u -P p --auth-method SCRAM-SHA-256 -V 311", "MQTT 5" },
	{ CLIENT_PUB, "pub -t a", "message" },
	{ CLIENT_PUB, "pub -m x", "topic" },
	{ CLIENT_PUB, "pub -t a -m x -n", "only one kind" },
	{ CLIENT_PUB, "pub -t a/# -m x", "publish to" },
	{ CLIENT_PUB, "pub -t '' -m x", "publish to" },
	{ CLIENT_PUB, "pub -t \xff -m x", "UTF-8" },
	{ CLIENT_PUB, "pub -t a -m", "wants TEXT" },
	{ CLIENT_PUB, "pub -t a -m x -q 3", "from 0 to 2" },
	{ CLIENT_PUB, "pub -t a -m x -q one", "from 0 to 2" },
	{ CLIENT_PUB, "pub -t a -m x -p 0", "from 1 to 65535" },
	{ CLIENT_PUB, "pub -t a -m x -p 65536", "from 1 to 65535" },
	{ CLIENT_PUB, "pub -t a -m x -k 4", "from 5" },
	{ CLIENT_PUB, "pub -t a -m x -M 0", "from 1" },
	{ CLIENT_PUB, "pub -t a -m x --repeat 0", "from 1" },
	{ CLIENT_PUB, "pub -t a -m x --repeat-delay -1", "seconds" },
	{ CLIENT_PUB, "pub -t a -m x --repeat-delay nan", "seconds" },
	{ CLIENT_PUB, "pub -t a -m x -V 4", "versions" },
	{ CLIENT_PUB, "pub -t a -m x --bogus", "unknown flag '--bogus'" },
	{ CLIENT_PUB, "pub -t a -m x stray", "unknown flag 'stray'" },
	{ CLIENT_PUB, "pub -t a -m x -", "unknown flag '-'" },
	{ CLIENT_PUB, "pub -t a -m x -C 1", "unknown flag '-C'" },
	{ CLIENT_PUB, "pub -t a -m x -c", "client id" },
	{ CLIENT_PUB, "pub -t a -m x -V 5 -x -1", "client id" },
	{ CLIENT_PUB, "pub -t a -m x -x 4294967296", "seconds" },
	{ CLIENT_PUB, "pub -t a -m x -i a -I b", "together" },
	{ CLIENT_PUB, "pub -t a -m x -P pw", "user name" },
	{ CLIENT_PUB, "pub -t a -m x --pw-file /nonexistent -u u", "--pw-file" },
	{ CLIENT_PUB, "pub -t a -m x --will-payload x", "--will-topic" },
	{ CLIENT_PUB, "pub -t a -m x --will-qos 1", "--will-topic" },
	{ CLIENT_PUB, "pub -t a -m x --will-topic a/+", "--will-topic" },
	{ CLIENT_PUB, "pub -t a -m x -D will content-type x", "--will-topic" },
	{ CLIENT_PUB, "pub -t a -m x --cert c", "--key" },
	{ CLIENT_PUB, "pub -t a -m x --key c", "--cert" },
	{ CLIENT_PUB, "pub -t a -m x --cert /nonexistent --key k", "--cert /nonexistent" },
	{ CLIENT_PUB, "pub -t a -m x --psk 00", "--psk-identity" },
	{ CLIENT_PUB, "pub -t a -m x --psk 00 --psk-identity i --cafile c", "instead of" },
	{ CLIENT_PUB, "pub -t a -m x -S", "not supported" },
	{ CLIENT_PUB, "pub -t a -m x --proxy socks5h://h", "not supported" },
	{ CLIENT_PUB, "pub -t a -m x --tls-engine e", "not supported" },
	{ CLIENT_PUB, "pub -t a -m x --keyform engine", "not supported" },
	{ CLIENT_PUB, "pub -t a -m x -D publish content-type", "wants PACKET NAME VALUE" },
	{ CLIENT_PUB, "pub -t a -m x -D publish user-property n", "wants PACKET NAME VALUE" },
	{ CLIENT_PUB, "pub -t a -m x -D publish nosuch x", "no property 'nosuch'" },
	{ CLIENT_PUB, "pub -t a -m x -D puback reason-string x", "properties can be given for" },
	{ CLIENT_PUB, "pub -t a -m x -D publish receive-maximum 3", "not allowed" },
	{ CLIENT_PUB, "pub -t a -m x -D publish topic-alias 0", "from 1 to 65535" },
	{ CLIENT_PUB, "pub -t a -m x -D publish content-type a -D publish content-type b", "twice" },
	{ CLIENT_PUB, "pub -t a -m x -D publish content-type \xff", "UTF-8" },
	{ CLIENT_PUB, "pub -L http://h/t -m x", "mqtt://" },
	{ CLIENT_SUB, "sub", "no topic" },
	{ CLIENT_SUB, "sub -U a", "no topic" },
	{ CLIENT_SUB, "sub -t a#", "not a valid filter" },
	{ CLIENT_SUB, "sub -t a -U b#", "-U 'b#'" },
	{ CLIENT_SUB, "sub -t a -T +b", "-T '+b'" },
	{ CLIENT_SUB, "sub -t $share//a", "not a valid filter" },
	{ CLIENT_SUB, "sub -t a -C 0", "from 1" },
	{ CLIENT_SUB, "sub -t a -W 0", "from 1" },
	{ CLIENT_SUB, "sub -t a -R --retained-only", "nothing to show" },
	{ CLIENT_SUB, "sub -t a --random-filter 0", "percent" },
	{ CLIENT_SUB, "sub -t a -F %Z", "%Z" },
	{ CLIENT_SUB, "sub -t a -F %", "ends within" },
	{ CLIENT_SUB, "sub -t a -m x", "unknown flag '-m'" },
	{ CLIENT_RR, "rr -t a -m x", "response topic" },
	{ CLIENT_RR, "rr -e a -m x", "response topic" },
	{ CLIENT_RR, "rr -t a -e b", "response topic" },
	{ CLIENT_RR, "rr -t a -e b/# -m x", "-e" },
	{ CLIENT_RR, "rr -t a -e b -l", "unknown flag '-l'" },
	/* clang-format on */
};

static void
test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct client_opts o;
		struct line l;
		struct err err;

		if (parse(&o, &l, wrong[i].cmd, wrong[i].line, &err))
			fail_msg("accepted: %s", wrong[i].line);
		if (strstr(err.text, wrong[i].reason) == NULL)
			fail_msg("%s: %s", wrong[i].line, err.text);
		client_opts_done(&o);
	}
}

static void
test_defaults(void **state)
{
	struct client_opts o;
	struct line l;
	struct err err;

	(void)state;
	assert_true(parse(&o, &l, CLIENT_PUB, "pub -t a -m x", &err));
	assert_string_equal(o.host, "localhost");
	assert_int_equal(o.port, 1883);
	assert_int_equal(o.version, MQTT_V311);
	assert_int_equal(o.keep_alive, 60);
	assert_int_equal(o.max_inflight, 20);
	assert_int_equal(o.repeat, 1);
	assert_int_equal(o.qos, 0);
	assert_false(o.use_tls);
	assert_string_equal(o.id_made, "");
	client_opts_done(&o);

	assert_true(parse(&o, &l, CLIENT_RR, "rr -t a -e b -m x", &err));
	assert_int_equal(o.version, MQTT_V5);
	client_opts_done(&o);
}

static void
test_all_flags(void **state)
{
	struct client_opts o;
	struct line l;
	struct err err;

	(void)state;
	assert_true(parse(&o, &l, CLIENT_SUB,
	    "sub -h h -p 99 -t a -t b/# -U c -T d -T e -q 2 -C 7 -W 9 -v -N -E -R -d -c -i me"
	    " -k 10 -V 5 -x 30 --retain-as-published --remove-retained --random-filter 12.5"
	    " --quiet --nodelay -A 127.0.0.1 --will-topic w --will-payload bye --will-qos 1"
	    " --will-retain -F %t --pretty --unix /s",
	    &err));
	assert_int_equal(o.topics.n, 2);
	assert_string_equal(o.topics.v[1], "b/#");
	assert_int_equal(o.unsubscribe.n, 1);
	assert_int_equal(o.filter_out.n, 2);
	assert_string_equal(o.host, "h");
	assert_int_equal(o.port, 99);
	assert_true(o.verbose && o.no_eol && o.exit_after_sub && o.no_retained && o.debug &&
		    o.keep_session);
	assert_true(o.retain_as_published && o.remove_retained && o.quiet && o.nodelay && o.pretty);
	assert_int_equal(o.count, 7);
	assert_int_equal(o.timeout_s, 9);
	assert_int_equal(o.random_permille, 125);
	assert_int_equal(o.version, MQTT_V5);
	assert_int_equal(o.props[PROP_CONNECT].p.session_expiry, 30);
	assert_string_equal(o.will_payload, "bye");
	assert_string_equal(o.unix_path, "/s");
	client_opts_done(&o);
}

/* Nothing that was meant for TLS goes out in plain. */
static void
test_any_tls_flag_means_tls(void **state)
{
	static const char *const flags[] = {
		"--cafile f",
		"--capath d",
		"--tls-use-os-certs",
		"--insecure",
		"--ciphers x",
		"--tls-version tlsv1.3",
		"--tls-alpn mqtt",
		"--psk 00 --psk-identity i",
		"-L mqtts://h/t",
	};
	struct client_opts o;
	struct line l;
	struct err err;
	char text[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		snprintf(text, sizeof text, "sub -t a %s", flags[i]);
		assert_true(parse(&o, &l, CLIENT_SUB, text, &err));
		assert_true(o.use_tls);
		assert_int_equal(o.port, 8883);
		client_opts_done(&o);
	}
	assert_true(parse(&o, &l, CLIENT_SUB, "sub -t a -p 8883", &err));
	assert_true(o.use_tls);
	client_opts_done(&o);
}

static void
test_client_ids(void **state)
{
	struct client_opts o;
	struct line l;
	struct err err;
	char want[64];

	(void)state;
	assert_true(parse(&o, &l, CLIENT_SUB, "sub -t a -I pre-", &err));
	snprintf(want, sizeof want, "pre-%d", (int)getpid());
	assert_string_equal(o.id_made, want);
	client_opts_done(&o);
	assert_true(parse(&o, &l, CLIENT_SUB, "sub -t a -V 31", &err));
	assert_int_equal(strlen(o.id_made), 23); /* 3.1: 1 to 23 characters */
	client_opts_done(&o);
	assert_true(parse(&o, &l, CLIENT_SUB, "sub -t a -c -i me -V mqttv5", &err));
	assert_int_equal(o.props[PROP_CONNECT].p.session_expiry, UINT32_MAX);
	client_opts_done(&o);
}

static void
test_passwords(void **state)
{
	struct client_opts o;
	struct line l;
	struct err err;

	(void)state;
	assert_true(parse(&o, &l, CLIENT_SUB, "sub -t a -u me -P secret", &err));
	assert_string_equal(o.password, "secret");
	assert_string_equal(l.argv[l.argc - 1], ""); /* the list of processes shows argv */
	client_opts_done(&o);

	setenv("SIGNET_MQTT_PASSWORD", "from-env", 1);
	assert_true(parse(&o, &l, CLIENT_SUB, "sub -t a -u me", &err));
	assert_string_equal(o.password, "from-env");
	assert_null(getenv("SIGNET_MQTT_PASSWORD"));
	client_opts_done(&o);

	/* -P wins; without a user name the environment is no error. */
	setenv("SIGNET_MQTT_PASSWORD", "from-env", 1);
	assert_true(parse(&o, &l, CLIENT_SUB, "sub -t a -u me -P other", &err));
	assert_string_equal(o.password, "other");
	client_opts_done(&o);
	setenv("SIGNET_MQTT_PASSWORD", "from-env", 1);
	assert_true(parse(&o, &l, CLIENT_SUB, "sub -t a", &err));
	assert_null(o.password);
	client_opts_done(&o);
	unsetenv("SIGNET_MQTT_PASSWORD");
}

static void
test_properties(void **state)
{
	static const uint8_t user[] = "\x26\0\1a\0\1b\x26\0\1a\0\1c";
	struct client_opts o;
	struct line l;
	struct err err;
	const struct mqtt_props *p;

	(void)state;
	assert_true(parse(&o, &l, CLIENT_PUB,
	    "pub -t t -m x -V 311 -D publish Content-Type text"
	    " -D PUBLISH message-expiry-interval 77 -D publish payload-format-indicator 1"
	    " -D publish topic-alias 5 -D publish user-property a b -D publish user-property a c"
	    " -D connect receive-maximum 9 -D disconnect reason-string bye",
	    &err));
	assert_int_equal(o.version, MQTT_V5);
	p = &o.props[PROP_PUBLISH].p;
	assert_true(slice_eq(p->content_type, SL("text")));
	assert_int_equal(p->message_expiry, 77);
	assert_int_equal(p->payload_format, 1);
	assert_int_equal(p->topic_alias, 5);
	assert_true(slice_eq(p->user, slice_of(user, sizeof user - 1)));
	assert_int_equal(o.props[PROP_CONNECT].p.receive_maximum, 9);
	assert_true(mqtt_has(&o.props[PROP_DISCONNECT].p, MQTT_P_REASON_STRING));
	client_opts_done(&o);
}

static const struct {
	const char *url, *host, *user, *password, *topic;
	uint32_t port;
	bool ok, tls;
} urls[] = {
	/* clang-format off */
	{ "mqtt://h/t", "h", NULL, NULL, "t", 0, true, false },
	{ "mqtts://h/t/u", "h", NULL, NULL, "t/u", 0, true, true },
	{ "mqtt://u@h:18/t", "h", "u", NULL, "t", 18, true, false },
	{ "mqtt://u:p@h/t", "h", "u", "p", "t", 0, true, false },
	{ "mqtt://u:p%40q:r@h/%t", "h", "u", "p@q:r", "%t", 0, true, false },
	{ "mqtt://u:p@q@h/t@x", "h", "u", "p@q", "t@x", 0, true, false },
	{ "mqtt://u:@h/t", "h", "u", "", "t", 0, true, false },
	{ "mqtt://[::1]:99/t", "::1", NULL, NULL, "t", 99, true, false },
	{ "mqtt://[::1]/t", "::1", NULL, NULL, "t", 0, true, false },
	{ "mqtt://h//t", "h", NULL, NULL, "/t", 0, true, false },
	{ .url = "http://h/t" }, { .url = "mqtt:/h/t" }, { .url = "" }, { .url = "mqtt://h" },
	{ .url = "mqtt://h/" }, { .url = "mqtt:///t" }, { .url = "mqtt://h:/t" },
	{ .url = "mqtt://h:0/t" }, { .url = "mqtt://h:65536/t" }, { .url = "mqtt://h:1x/t" },
	{ .url = "mqtt://[::1/t" }, { .url = "mqtt://[::1]x/t" }, { .url = "mqtt://u:%zz@h/t" },
	{ .url = "mqtt://u%00@h/t" }, { .url = "mqtt://u%@h/t" },
	/* clang-format on */
};

static void
same(const char *got, const char *want)
{
	assert_int_equal(got == NULL, want == NULL);
	if (want != NULL)
		assert_string_equal(got, want);
}

static void
test_urls(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct client_opts o = { 0 };
		struct err err;

		if (client_url_parse(&o, urls[i].url, &err) != urls[i].ok)
			fail_msg("%s: %s", urls[i].url, urls[i].ok ? err.text : "accepted");
		if (urls[i].ok) {
			same(o.host, urls[i].host);
			same(o.username, urls[i].user);
			same(o.password, urls[i].password);
			same(o.topics.v[0], urls[i].topic);
			assert_int_equal(o.port, urls[i].port);
			assert_int_equal(o.use_tls, urls[i].tls);
		}
		client_opts_done(&o);
	}
}

/* No beginning of a URL does harm, whatever it means. */
static void
test_url_truncations(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		for (size_t n = 0; n < strlen(urls[i].url); n++) {
			char *cut = strndup(urls[i].url, n);
			struct client_opts o = { 0 };

			if (client_url_parse(&o, cut, NULL))
				assert_true(o.topics.n == 1 && o.host[0] != '\0');
			client_opts_done(&o);
			free(cut);
		}
	}
}

/* ---- formats ---- */

static char *
shown(const struct format *f, const struct mqtt_publish *m, bool *ret_ok)
{
	struct timespec at = { 1600000000, 123456789 };
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	struct err err;

	assert_non_null(out);
	*ret_ok = format_print(out, f, m, &at, &err);
	fclose(out);
	return text;
}

/* clang-format off */
static const uint8_t props[] = "\x23\0\7"                       /* topic alias 7 */
			       "\3\0\6text/x"                       /* content type */
			       "\x26\0\1k\0\1v\x26\0\2k2\0\2v\"" /* user properties */
			       "\x0b\5"                             /* subscription identifier */
			       "\2\0\0\3\xe8"                       /* expiry 1000 */
			       "\1\1"                                /* payload format */
			       "\x08\0\1r\x09\0\2\xff\0";          /* response topic, correlation */
/* clang-format on */

static const struct {
	const char *format, *want;
} formats[] = {
	/* clang-format off */
	{ "%t|%p|%l|%q|%r|%m", "a/b|{\"x\":[1, \"y\"]}|14|1|1|258" },
	{ "%%@@\\\\", "%@\\" },
	{ "%x", "7b2278223a5b312c202279225d7d" },
	{ "%X", "7B2278223A5B312C202279225D7D" },
	{ "%030x|%-30X|", "007b2278223a5b312c202279225d7d|7B2278223A5B312C202279225D7D  |" },
	{ "%A|%C|%E|%F|%R|%S|%P", "7|text/x|1000|1|r|5|k:v k2:v\"" },
	{ "%5A|%-5A|%05A|%-05A|", "    7|7    |00007|7    |" },
	{ "%8C|%-8C|%.2C|%4.2C|%08C", "  text/x|text/x  |te|  te|  text/x" },
	{ "%5t|%-5t|%.1t|%3.1t", "  a/b|a/b  |a|  a" },
	{ "%5l|%05l|%05m|%-5m|", "   14|00014|00258|258  |" },
	{ "%16p|%-16p|%.2p", "  {\"x\":[1, \"y\"]}|{\"x\":[1, \"y\"]}  |{\"x\":[1, \"y\"]}" },
	{ "%I", "2020-09-13T12:26:40+0000" },
	{ "%.4I|%26I", "2020|  2020-09-13T12:26:40+0000" },
	{ "%U", "1600000000.123456789" },
	{ "@Y-@m-@d @H:@N", "2020-09-13 12:123456789" },
	{ "\\a\\e\\n\\r\\t\\v", "\a\033\n\r\t\v" },
	{ "%j",
	    "{\"tst\":\"2020-09-13T12:26:40.123456+0000\",\"topic\":\"a/b\",\"qos\":1,\"retain\":1,"
	    "\"payloadlen\":14,\"mid\":258,\"properties\":{\"topic-alias\":7,\"content-type\":\"text/x\","
	    "\"user-properties\":{\"k\":\"v\",\"k2\":\"v\\\"\"},\"subscription-identifier\":5,"
	    "\"message-expiry-interval\":1000,\"payload-format-indicator\":1,\"response-topic\":\"r\","
	    "\"correlation-data\":\"\\ufffd\\u0000\"},\"payload\":\"{\\\"x\\\":[1, \\\"y\\\"]}\"}" },
	/* clang-format on */
};

static const struct mqtt_publish message = {
	.topic = { (const uint8_t *)"a/b", 3 },
	.payload = { (const uint8_t *)"{\"x\":[1, \"y\"]}", 14 },
	.props = { props, sizeof props - 1 },
	.packet_id = 258,
	.qos = 1,
	.retain = true,
};

static void
test_formats(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		struct format f = { .text = formats[i].format, .no_eol = true };
		bool ok;
		char *text;

		assert_true(format_check(formats[i].format, NULL));
		text = shown(&f, &message, &ok);
		assert_true(ok);
		assert_string_equal(text, formats[i].want);
		free(text);
	}
}

/* Each beginning of a format is either refused or shown without harm. */
static void
test_format_truncations(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		for (size_t n = 0; n < strlen(formats[i].format); n++) {
			char *cut = strndup(formats[i].format, n);
			struct format f = { .text = cut };
			bool ok;

			if (format_check(cut, NULL)) {
				free(shown(&f, &message, &ok));
				assert_true(ok);
			}
			free(cut);
		}
	}
}

static void
test_plain(void **state)
{
	struct mqtt_publish none = { .topic = SL("a/b") };
	static const struct {
		struct format f;
		bool empty;
		const char *want;
	} cases[] = {
		{ { .no_eol = false }, false, "{\"x\":[1, \"y\"]}\n" },
		{ { .no_eol = true }, false, "{\"x\":[1, \"y\"]}" },
		{ { .verbose = true }, false, "a/b {\"x\":[1, \"y\"]}\n" },
		{ { .verbose = true }, true, "a/b (null)\n" },
		{ { .verbose = true, .no_eol = true }, true, "" },
		{ { .no_eol = false }, true, "" },
		{ { .text = "[%p%C%A]" }, true, "[]\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool ok;
		char *text = shown(&cases[i].f, cases[i].empty ? &none : &message, &ok);

		assert_true(ok);
		assert_string_equal(text, cases[i].want);
		free(text);
	}
}

static const struct {
	const char *in, *compact, *pretty; /* compact NULL: not JSON */
} texts[] = {
	/* clang-format off */
	{ "{\"a\" : 1}", "{\"a\":1}", "{\n\t\"a\":\t1\n}" },
	{ " [1, 2,\t{\"b\":null}] ", "[1,2,{\"b\":null}]", "[1, 2, {\n\t\"b\":\tnull\n}]" },
	{ "{}", "{}", "{\n}" },
	{ "[]", "[]", "[]" },
	{ "\"\\u00e9\\/\\n\"", "\"\\u00e9\\/\\n\"", "\"\\u00e9\\/\\n\"" },
	{ "-0.50e+10", "-0.50e+10", "-0.50e+10" },
	{ "12345678901234567890", "12345678901234567890", "12345678901234567890" },
	{ "true", "true", "true" },
	{ "{\"a\":{\"b\":[]},\"a\":false}", "{\"a\":{\"b\":[]},\"a\":false}",
	    "{\n\t\"a\":\t{\n\t\t\"b\":\t[]\n\t},\n\t\"a\":\tfalse\n}" },
	{ "", NULL, NULL }, { " ", NULL, NULL }, { "{\"a\":1} x", NULL, NULL }, { "01", NULL, NULL },
	{ "1.", NULL, NULL }, { "-", NULL, NULL }, { "+1", NULL, NULL }, { "1e", NULL, NULL },
	{ "{\"a\"}", NULL, NULL }, { "{a:1}", NULL, NULL }, { "{\"a\":1,}", NULL, NULL },
	{ "[1,]", NULL, NULL }, { "[1", NULL, NULL }, { "\"\\x\"", NULL, NULL },
	{ "\"\\u12g4\"", NULL, NULL }, { "\"\x01\"", NULL, NULL }, { "\"\xff\"", NULL, NULL },
	{ "tru", NULL, NULL }, { "nulll", NULL, NULL }, { "'a'", NULL, NULL }, { "NaN", NULL, NULL },
	/* clang-format on */
};

static void
check_json(const char *in, const char *want, bool pretty)
{
	char *text = NULL;
	size_t n = 0;
	struct jout j = { open_memstream(&text, &n), pretty, 0, true };

	assert_non_null(j.f);
	jout_copy(&j, slice_str(in));
	fclose(j.f);
	assert_string_equal(text, want);
	free(text);
}

static void
test_json(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (json_ok(slice_str(texts[i].in)) != (texts[i].compact != NULL))
			fail_msg("%s", texts[i].in);
		if (texts[i].compact == NULL)
			continue;
		check_json(texts[i].in, texts[i].compact, false);
		check_json(texts[i].in, texts[i].pretty, true);
		for (size_t n = 0; n < strlen(texts[i].in); n++) {
			uint8_t *cut = malloc(n + 1);

			assert_non_null(cut);
			memcpy(cut, texts[i].in, n);
			/* A number may be whole before its end, white space may follow; a
			 * bracket never. */
			if (json_ok(slice_of(cut, n)) && strchr("{\"[", texts[i].in[0]) != NULL)
				fail_msg("%.*s", (int)n, texts[i].in);
			free(cut);
		}
	}
}

static void
test_json_depth(void **state)
{
	char deep[1001];

	(void)state;
	memset(deep, '[', 500);
	memset(deep + 500, ']', 500);
	assert_false(json_ok(slice_of(deep, 1000)));
	assert_true(json_ok(slice_of(deep + 400, 200)));
}

static void
test_not_json(void **state)
{
	struct mqtt_publish m = message;
	struct format f = { .text = "%J" };
	bool ok;
	char *text;

	(void)state;
	m.payload = SL("{\"x\":");
	text = shown(&f, &m, &ok);
	assert_false(ok);
	assert_string_equal(text, "");
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_all_flags),
		cmocka_unit_test(test_any_tls_flag_means_tls),
		cmocka_unit_test(test_client_ids),
		cmocka_unit_test(test_passwords),
		cmocka_unit_test(test_properties),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_url_truncations),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_format_truncations),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_depth),
		cmocka_unit_test(test_not_json),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
