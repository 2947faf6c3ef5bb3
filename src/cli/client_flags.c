/* Every flag of `signet pub`, `signet sub` and `signet rr`, and --help, which is made of them. */
#include <stdio.h>

#include "cli/client_flags.h"
#include "cli/describe.h"

enum { P = CLIENT_PUB, S = CLIENT_SUB, R = CLIENT_RR, ALL = P | S | R };

#define AT(field) offsetof(struct client_opts, field)
/* clang-format off */
#define HEADING(text) { 0, "", NULL, 0, FLAG_ON, 0, 0, 0, NULL, text }
#define ON(letter, name, cmds, field, help) \
	{ letter, name, NULL, cmds, FLAG_ON, AT(field), 0, 0, NULL, help }
#define TEXT(letter, name, arg, cmds, field, help) \
	{ letter, name, arg, cmds, FLAG_TEXT, AT(field), 0, 0, NULL, help }
#define LIST(letter, name, arg, cmds, field, help) \
	{ letter, name, arg, cmds, FLAG_LIST, AT(field), 0, 0, NULL, help }
#define NUMBER(letter, name, arg, cmds, field, min, max, help) \
	{ letter, name, arg, cmds, FLAG_NUMBER, AT(field), min, max, NULL, help }
#define OTHER(letter, name, arg, cmds, parse, help) \
	{ letter, name, arg, cmds, FLAG_OTHER, 0, 0, 0, parse, help }

const struct flag client_flags[] = {
	HEADING("Where to"),
	TEXT('h', "host", "HOST", ALL, host, "the broker; localhost if not given"),
	NUMBER('p', "port", "PORT", ALL, port, 1, 65535, "1883 if not given, with TLS 8883"),
	TEXT(0, "unix", "PATH", ALL, unix_path, "connect to a unix socket instead"),
	OTHER('L', "url", "URL", ALL, flag_url,
	    "all in one: mqtt[s]://[user[:password]@]host[:port]/topic\n"
	    "(a % in user or password is written %25)"),
	TEXT('A', NULL, "ADDRESS", ALL, bind_addr, "connect from this address of this machine"),
	ON(0, "nodelay", ALL, nodelay, "send small packets at once (no Nagle algorithm)"),
	OTHER('S', NULL, NULL, ALL, flag_refuse_srv, NULL),
	OTHER(0, "proxy", "URL", ALL, flag_refuse_proxy, NULL),

	HEADING("What to send"),
	LIST('t', "topic", "TOPIC", P | R, topics, "the topic to publish to"),
	OTHER('m', "message", "TEXT", P | R, flag_message, "send this text"),
	OTHER('f', "file", "FILE", P | R, flag_file, "send the contents of a file"),
	OTHER('n', "null-message", NULL, P | R, flag_null, "send an empty message"),
	OTHER('s', "stdin-file", NULL, P | R, flag_stdin, "send standard input as one message"),
	OTHER('l', "stdin-line", NULL, P, flag_lines,
	    "send each line of standard input as a message"),
	NUMBER('q', "qos", "0|1|2", P | R, qos, 0, 2, "quality of service; 0 if not given"),
	ON('r', "retain", P | R, retain,
	    "ask the broker to keep the message for later subscribers"),
	NUMBER('M', "max-inflight", "N", P, max_inflight, 1, 65535,
	    "messages of QoS 1 and 2 under way at once; 20 if not given"),
	NUMBER(0, "repeat", "N", P, repeat, 1, UINT32_MAX,
	    "with -m, -f, -n and -s: publish N times"),
	OTHER(0, "repeat-delay", "SECONDS", P, flag_delay,
	    "wait between repetitions; may be a fraction"),
	TEXT('e', "response-topic", "TOPIC", R, response_topic, "where the answer is expected"),

	HEADING("What to receive"),
	LIST('t', "topic", "FILTER", S, topics,
	    "subscribe to this; may be repeated; + and # are wildcards"),
	NUMBER('q', "qos", "0|1|2", S, qos, 0, 2,
	    "highest quality of service to receive; 0 if not given"),
	LIST('T', "filter-out", "FILTER", S, filter_out,
	    "do not show messages whose topic matches; may be repeated"),
	LIST('U', "unsubscribe", "FILTER", S, unsubscribe,
	    "unsubscribe from this (after subscribing); may be repeated"),
	NUMBER('C', NULL, "N", S, count, 1, UINT32_MAX, "end after N messages"),
	ON('E', NULL, S, exit_after_sub,
	    "end as soon as the broker has answered the subscriptions"),
	NUMBER('W', NULL, "SECONDS", ALL, timeout_s, 1, 4000000,
	    "give up this long after connecting, with exit code 27"),
	ON('R', NULL, S | R, no_retained, "do not show retained (old) messages"),
	ON(0, "retained-only", S, retained_only,
	    "show retained messages only; end at the first that is not"),
	ON(0, "remove-retained", S, remove_retained,
	    "make the broker forget each retained message that is received"),
	ON(0, "retain-as-published", S, retain_as_published,
	    "MQTT 5: keep the retain flag as the publisher set it"),
	OTHER(0, "random-filter", "PERCENT", S, flag_random,
	    "show about this share of the messages (0.1 to 100)"),

	HEADING("How to show it"),
	ON('v', "verbose", S | R, verbose, "show the topic before the payload"),
	ON('N', NULL, S | R, no_eol, "no end of line after the payload"),
	TEXT('F', NULL, "FORMAT", S | R, format,
	    "%t topic  %p payload  %x %X payload in hexadecimal  %l its length\n"
	    "%q QoS  %r retained  %m packet id  %I time, ISO 8601  %U time, Unix\n"
	    "%j JSON  %J JSON with the payload as JSON  %% a percent sign\n"
	    "%A topic alias  %C content type  %D correlation data  %E message expiry\n"
	    "%F payload format  %P user properties  %R response topic\n"
	    "%S subscription identifier\n"
	    "@X as strftime() shows %X, @N nanoseconds, @@  \\n \\t \\r \\0 \\a \\e \\v \\\\\n"
	    "%[-0][WIDTH][.MAXIMUM]X sets the width"),
	ON(0, "pretty", S | R, pretty, "%j and %J over several lines"),

	HEADING("Who we are"),
	TEXT('i', "id", "ID", ALL, id,
	    "client id. Not given: the common name of --cert; else the broker chooses\n"
	    "(MQTT 3.1: a random one)"),
	TEXT('I', "id-prefix", "PREFIX", ALL, id_prefix, "client id of this and the process id"),
	TEXT('u', "username", "NAME", ALL, username, "user name"),
	OTHER('P', "pw", "PASSWORD", ALL, flag_password,
	    "password; others may see it in the list of processes for a moment:\n"
	    "better --pw-file or the environment variable SIGNET_MQTT_PASSWORD"),
	TEXT(0, "pw-file", "FILE", ALL, pw_file, "read the password from the first line of a file"),
	OTHER(0, "auth-method", "SCRAM-SHA-256", ALL, flag_auth_method,
	    "MQTT 5: prove the password instead of sending it, and have the broker prove that it\n"
	    "knows it"),

	HEADING("TLS (on with any of these, with mqtts:// and on port 8883; always verified)"),
	TEXT(0, "cafile", "FILE", ALL, tls.cafile, "trust the CA certificates in this file (PEM)"),
	TEXT(0, "capath", "DIR", ALL, tls.capath,
	    "trust the CA certificates in this directory ('openssl rehash')"),
	ON(0, "tls-use-os-certs", ALL, tls.os_certs,
	    "trust the CA certificates of the operating system; so it is\n"
	    "when neither --cafile nor --capath is given"),
	TEXT(0, "cert", "FILE", ALL, tls.cert,
	    "our certificate (PEM), its intermediates behind it"),
	TEXT(0, "key", "FILE", ALL, tls.key, "its private key (PEM)"),
	ON(0, "insecure", ALL, tls.insecure,
	    "do not compare the broker's certificate with the host name.\n"
	    "Anybody with a certificate of that CA can then pose as the broker"),
	TEXT(0, "tls-version", "tlsv1.2|tlsv1.3", ALL, tls.version,
	    "only this version of TLS; not given: both"),
	TEXT(0, "ciphers", "LIST", ALL, tls.ciphers,
	    "TLS 1.2 ciphers, or TLS_… suites of TLS 1.3, as OpenSSL names them"),
	TEXT(0, "tls-alpn", "NAME", ALL, tls.alpn, "application protocol to ask for"),
	TEXT(0, "psk", "HEX", ALL, tls.psk, "pre-shared key instead of certificates (TLS 1.2)"),
	TEXT(0, "psk-identity", "NAME", ALL, tls.psk_identity, "its name"),
	OTHER(0, "keyform", "pem", ALL, flag_keyform, NULL),
	OTHER(0, "tls-engine", "NAME", ALL, flag_refuse_engine, NULL),
	OTHER(0, "tls-engine-kpass-sha1", "SHA1", ALL, flag_refuse_engine, NULL),

	HEADING("MQTT"),
	OTHER('V', "protocol-version", "mqttv5|mqttv311|mqttv31", ALL, flag_version,
	    "or 5, 311, 31; 311 if not given (rr: 5)"),
	ON('c', "disable-clean-session", ALL, keep_session,
	    "keep the session over connections; needs a client id"),
	OTHER('x', "session-expiry-interval", "SECONDS", ALL, flag_expiry,
	    "MQTT 5: keep the session so long after the end; -1: for ever"),
	NUMBER('k', "keepalive", "SECONDS", ALL, keep_alive, 5, 65535,
	    "keep alive; 60 if not given"),
	OTHER('D', "property", "PACKET NAME VALUE", ALL, flag_property,
	    "MQTT 5 property of connect, publish, subscribe, unsubscribe, disconnect or will;\n"
	    "user-property takes a name and a value. For example\n"
	    "-D publish content-type text/plain  -D connect user-property NAME VALUE"),
	TEXT(0, "will-topic", "TOPIC", ALL, will_topic,
	    "what the broker publishes if this client is lost"),
	TEXT(0, "will-payload", "TEXT", ALL, will_payload, "its payload; empty if not given"),
	NUMBER(0, "will-qos", "0|1|2", ALL, will_qos, 0, 2, "its quality of service"),
	ON(0, "will-retain", ALL, will_retain, "have it retained"),

	HEADING("Else"),
	ON('d', "debug", ALL, debug, "show each packet on standard output"),
	ON(0, "quiet", ALL, quiet, "no error messages but those about the command line"),
	ON(0, "strict", P | S | R, strict,
	    "exit with the broker's reason code when it refuses a message or subscription;\n"
	    "else that is only a warning, as with mosquitto_pub"),
	ON(0, "version", ALL, show_version, "show the version"),
	ON(0, "help", ALL, help, "this text"),
	{ 0 },
};
/* clang-format on */

const char *
client_cmd_name(enum client_cmd cmd)
{
	return cmd == CLIENT_PUB ? "pub" : cmd == CLIENT_SUB ? "sub" : "rr";
}

static const char *
introduction(enum client_cmd cmd)
{
	switch (cmd) {
	case CLIENT_PUB:
		return "Publish one or more messages.\n\n"
		       "  signet pub -h HOST -t TOPIC -m TEXT [FLAGS]\n"
		       "  signet pub -L URL -f FILE [FLAGS]\n"
		       "  some command | signet pub -t TOPIC -l [FLAGS]\n";
	case CLIENT_SUB:
		return "Subscribe and show the messages that come, until interrupted.\n\n"
		       "  signet sub -h HOST -t FILTER [-t FILTER …] [FLAGS]\n"
		       "  signet sub -L URL -v [FLAGS]\n";
	case CLIENT_RR:
		break;
	}
	return "Publish a request and show the answer.\n\n"
	       "  signet rr -h HOST -t TOPIC -e RESPONSE-TOPIC -m TEXT [FLAGS]\n";
}

static void
show_flag(const struct flag *f)
{
	char left[64], letter[3] = { '-', f->letter, '\0' };
	const char *p = f->help;

	snprintf(left, sizeof left, "%s%s%s%s%s%s", f->letter != 0 ? letter : "",
	    f->letter != 0 && f->name != NULL ? ", " : "", f->name != NULL ? "--" : "",
	    f->name != NULL ? f->name : "", f->arg != NULL ? " " : "",
	    f->arg != NULL ? f->arg : "");
	printf("  %-30s", left);
	if (strlen(left) > 29)
		printf("\n  %-30s", "");
	for (; *p != '\0'; p++) {
		putchar(*p);
		if (*p == '\n')
			printf("  %-30s", "");
	}
	putchar('\n');
}

void
client_opts_describe(enum client_cmd cmd)
{
	describe("about", introduction(cmd));
	for (const struct flag *f = client_flags; f->name != NULL || f->letter != 0; f++) {
		if (f->cmds == 0)
			describe("heading", f->help);
		else if ((f->cmds & (unsigned)cmd) != 0 && f->help != NULL)
			describe_option(
			    &(struct described){ f->letter, f->name, f->arg, NULL, f->help });
	}
}

void
client_opts_help(enum client_cmd cmd)
{
	const struct flag *heading = NULL;

	printf("%s", introduction(cmd));
	for (const struct flag *f = client_flags; f->name != NULL || f->letter != 0; f++) {
		if (f->cmds == 0) {
			heading = f;
			continue;
		}
		if ((f->cmds & (unsigned)cmd) == 0 || f->help == NULL)
			continue;
		if (heading != NULL)
			printf("\n%s:\n", heading->help);
		heading = NULL;
		show_flag(f);
	}
	printf("\nExit codes: 0 done; 1 wrong use, no connection; 7 connection lost; 8 TLS; 27 "
	       "timeout (-W);\n"
	       "when the broker refuses the connection its own code (MQTT 3: 1 to 5; MQTT 5: 128 "
	       "and above);\n"
	       "pub and rr: 128 + signal number when interrupted before they are done.\n");
}
