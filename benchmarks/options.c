/* The command line of signet-bench. */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "bench.h"
#include "mqtt/mqtt.h"

static const char help[] =
    "Usage: signet-bench MODE [OPTION]...\n"
    "\n"
    "Load an MQTT broker, check what it delivers, and report what it cost.\n"
    "\n"
    "Modes:\n"
    "  connect   --conns slots: TCP, TLS, CONNECT, CONNACK, DISCONNECT, again and again\n"
    "  idle      --conns connections that do nothing: memory of the broker for each\n"
    "  revoke    the same, then --crl-new FILE is renamed to --crl FILE, which takes back the first\n"
    "            --revoked N certificates: time until their connections are closed, and no others;\n"
    "            with --wait that is done when a line comes on standard input; without --crl whoever\n"
    "            wrote the line does it, as soon as he reads \"begun\"\n"
    "  p2p       --conns pairs of a publisher and a subscriber\n"
    "  fanin     --pubs publishers, each message to one of --subs subscribers\n"
    "  fanout    --pubs publishers, each message to all of --subs subscribers\n"
    "\n"
    "The broker:\n"
    "  --host ADDRESS      IPv4 [127.0.0.1]     --port N     [8883 with TLS, else 1883]\n"
    "  --pid N             its process: processor time and memory are read there\n"
    "  --mqtt 4|5          protocol version [4]\n"
    "  --tls               TLS 1.3; implied by the options below\n"
    "  --tls12             TLS 1.2\n"
    "  --resume            come back by session tickets, if the broker gives any\n"
    "  --ca FILE           check the broker's chain (default: it costs time and is not checked)\n"
    "  --cert FILE --key FILE    client certificate of all connections\n"
    "  --cert-pattern P --certs N    connection i uses number i modulo N: %u in P is the number;\n"
    "                      P is a folder with cert.pem and key.pem, or P.crt and P.key exist\n"
    "  --id-from-cert      the client id is the certificate's common name\n"
    "  --id-prefix NAME    client ids are NAME-0, NAME-1, ... [bench]\n"
    "  --persistent        sessions that outlive their connections: messages have to be kept\n"
    "  --away              and the subscribers leave before anything is published\n"
    "  --topic NAME        first level of all topics [bench]\n"
    "\n"
    "The load:\n"
    "  --conns N [16]  --pubs N [fanin 100, fanout 1]  --subs N [fanin 1, fanout 100]\n"
    "  --qos 0|1|2 [0]     --payload BYTES [64, at least 24]\n"
    "  --window N          messages of a publisher that nobody has seen yet [32]\n"
    "  --refill N          send when N fit into the window [half of it; 1 with --batch]\n"
    "  --batch N           at most N in one write; 1: each message is a packet [all that fit]\n"
    "  --moderate US       sleep after a round that brought little, as network cards do\n"
    "  --rate R            open loop: R messages a second in all; latencies are reported\n"
    "  --warmup S [0.25]  --time S [1]  --drain S without progress [3]\n"
    "  --ramp N            connections being made at once [64]\n"
    "  --sources N         addresses 127.0.0.1... to connect from [1]\n"
    "\n"
    "  --json FILE         append one JSON object; - is standard output\n"
    "  --quiet             no text\n"
    "\n"
    "Exit codes: 0 all checks passed, 1 a check failed, 2 usage, or it could not run.\n"
    "\n"
    "Example:\n"
    "  signet-bench p2p --cert client.crt --key client.key --pid $(pidof signet) --qos 1\n";

enum kind { NUMBER, SECONDS, TEXT, FLAG, HELP };

struct entry {
	const char *name;
	enum kind kind;
	size_t at;
	uint64_t min, max;
};

#define AT(field) offsetof(struct options, field)

static const struct entry entries[] = {
	{ "host", TEXT, AT(host), 0, 0 },
	{ "port", NUMBER, AT(port), 1, 65535 },
	{ "pid", NUMBER, AT(pid), 1, INT32_MAX },
	{ "mqtt", NUMBER, AT(mqtt), 4, 5 },
	{ "tls", FLAG, AT(tls), 0, 0 },
	{ "tls12", FLAG, AT(tls12), 0, 0 },
	{ "resume", FLAG, AT(resume), 0, 0 },
	{ "ca", TEXT, AT(ca), 0, 0 },
	{ "cert", TEXT, AT(cert), 0, 0 },
	{ "key", TEXT, AT(key), 0, 0 },
	{ "cert-pattern", TEXT, AT(cert_pattern), 0, 0 },
	{ "certs", NUMBER, AT(certs), 1, 100000 },
	{ "crl", TEXT, AT(crl), 0, 0 },
	{ "crl-new", TEXT, AT(crl_new), 0, 0 },
	{ "revoked", NUMBER, AT(revoked), 1, 100000 },
	{ "wait", FLAG, AT(wait), 0, 0 },
	{ "away", FLAG, AT(away), 0, 0 },
	{ "id-from-cert", FLAG, AT(id_from_cert), 0, 0 },
	{ "persistent", FLAG, AT(persistent), 0, 0 },
	{ "id-prefix", TEXT, AT(id_prefix), 0, 0 },
	{ "topic", TEXT, AT(topic), 0, 0 },
	{ "conns", NUMBER, AT(conns), 1, 1000000 },
	{ "pubs", NUMBER, AT(pubs), 1, 100000 },
	{ "subs", NUMBER, AT(subs), 1, 100000 },
	{ "qos", NUMBER, AT(qos), 0, 2 },
	{ "payload", NUMBER, AT(payload), PAYLOAD_HEAD, PAYLOAD_MAX },
	/* Packet identifiers must not come round while they are in use. */
	{ "window", NUMBER, AT(window), 1, 30000 },
	{ "refill", NUMBER, AT(refill), 1, 30000 },
	{ "batch", NUMBER, AT(batch), 1, 30000 },
	{ "moderate", NUMBER, AT(moderate), 0, 100000 },
	{ "rate", SECONDS, AT(rate), 0, 10000000 },
	{ "warmup", SECONDS, AT(warmup), 0, 3600 },
	{ "time", SECONDS, AT(time), 0, 86400 },
	{ "drain", SECONDS, AT(drain), 0, 3600 },
	{ "ramp", NUMBER, AT(ramp), 1, 100000 },
	{ "sources", NUMBER, AT(sources), 1, 250 },
	{ "json", TEXT, AT(json), 0, 0 },
	{ "quiet", FLAG, AT(quiet), 0, 0 },
	{ "help", HELP, 0, 0, 0 },
};

static const char *const mode_names[] = { "connect", "idle", "revoke", "p2p", "fanin", "fanout" };

static bool
complain(const char *what, const char *value, const char *remedy)
{
	(void)fprintf(
	    stderr, "signet-bench: %s \"%s\": %s; see signet-bench --help\n", what, value, remedy);
	return false;
}

static bool
take(struct options *o, const struct entry *e, const char *value)
{
	void *field = (char *)o + e->at;
	char *end = NULL;
	uint64_t n = 0;
	double d;

	switch (e->kind) {
	case TEXT:
		*(const char **)field = value;
		return true;
	case FLAG:
		*(bool *)field = true;
		return true;
	case NUMBER:
		if (!text_u64(slice_str(value), e->min, e->max, &n))
			return complain(
			    e->name, value, "not a number in the range that makes sense");
		*(unsigned *)field = (unsigned)n;
		return true;
	case SECONDS:
		d = strtod(value, &end);
		if (end == value || *end != '\0' || !(d >= (double)e->min && d <= (double)e->max))
			return complain(
			    e->name, value, "not a number in the range that makes sense");
		*(double *)field = d;
		return true;
	case HELP:
		break;
	}
	return false;
}

/* What depends on other options. */
static bool
finish(struct options *o)
{
	struct in_addr a;

	o->tls = o->tls || o->tls12 || o->ca != NULL || o->cert != NULL || o->cert_pattern != NULL;
	o->port = o->port > 0 ? o->port : o->tls ? 8883 : 1883;
	if (inet_pton(AF_INET, o->host, &a) != 1)
		return complain("--host", o->host, "not an IPv4 address");
	if ((o->cert == NULL) != (o->key == NULL))
		return complain(
		    "--cert/--key", o->cert != NULL ? o->cert : o->key, "the two belong together");
	if (o->cert_pattern != NULL && (o->cert != NULL || o->certs == 0))
		return complain("--cert-pattern", o->cert_pattern,
		    "needs --certs, and --cert does not go with it");
	if (o->id_from_cert && o->cert_pattern == NULL && o->conns > 1)
		return complain("--id-from-cert", "",
		    "one certificate gives one client id; use --cert-pattern");
	if (strlen(o->topic) > 64 || strlen(o->id_prefix) > 64)
		return complain("--topic/--id-prefix", o->topic, "at most 64 bytes");
	if (o->refill == 0)
		o->refill = o->batch > 0 ? 1 : (o->window + 1) / 2;
	o->refill = NUM_MIN(o->refill, o->window);
	if (o->mode == MODE_IDLE && o->pid == 0)
		return complain("--pid", "", "idle measures the memory of a process: give it");
	if (o->mode == MODE_REVOKE && (o->cert_pattern == NULL || o->revoked == 0 || (o->crl == NULL) != (o->crl_new == NULL) || (o->crl == NULL && !o->wait)))
		return complain("revoke", "", "needs --cert-pattern, --certs, --revoked, and --crl with --crl-new, or --wait");
	o->persistent = o->persistent || o->away;
	if (o->away && (o->mode < MODE_P2P || o->qos == 0))
		return complain("--away", "", "goes with p2p, fanin and fanout at QoS 1 and 2: it is acknowledgements that are measured");
	if (o->pid > 0 && proc_cpu((pid_t)o->pid) == 0)
		return complain("--pid", "", "there is no such process");
	return true;
}

static bool
read_mode(struct options *o, const char *name)
{
	for (unsigned i = 0; name != NULL && i < ARRAY_LEN(mode_names); i++) {
		if (strcmp(name, mode_names[i]) != 0)
			continue;
		o->mode = (enum mode)i;
		o->mode_name = mode_names[i];
		o->pubs = o->mode == MODE_FANIN ? 100 : 1;
		o->subs = o->mode == MODE_FANOUT ? 100 : 1;
		return true;
	}
	return complain(
	    "mode", name != NULL ? name : "", "not one of connect, idle, revoke, p2p, fanin, fanout");
}

bool
options_read(struct options *o, int argc, char **argv, int *ret_exit)
{
	struct option known[ARRAY_LEN(entries) + 1] = { { 0 } };
	int i, c;

	*o = (struct options){ .host = "127.0.0.1",
		.id_prefix = "bench",
		.topic = "bench",
		.mqtt = MQTT_V311,
		.conns = 16,
		.payload = 64,
		.window = 32,
		.ramp = 64,
		.sources = 1,
		.warmup = 0.25,
		.time = 1,
		.drain = 3 };
	for (size_t k = 0; k < ARRAY_LEN(entries); k++)
		known[k] = (struct option){ entries[k].name,
			entries[k].kind < FLAG ? required_argument : no_argument, NULL, 0 };
	*ret_exit = EXIT_USAGE;
	if (argc > 1 && argv[1][0] != '-' && !read_mode(o, argv[1]))
		return false;
	while ((c = getopt_long(argc, argv, "h", known, &i)) != -1) {
		if (c == 'h' || (c == 0 && entries[i].kind == HELP)) {
			*ret_exit = 0;
			(void)fputs(help, stdout); /* nothing to be done about it */
			return false;
		}
		if (c != 0 || !take(o, &entries[i], optarg))
			return false;
	}
	if (optind != argc - 1 || o->mode_name == NULL || strcmp(argv[optind], o->mode_name) != 0)
		return complain("mode", optind < argc ? argv[optind] : "", "one mode comes first");
	return finish(o);
}
