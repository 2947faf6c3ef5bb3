/* The walk of `signet doctor` from the name of a broker to its certificate. */
#include "cli/doctor.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include "base/text.h"

static uint64_t
deadline_of(const struct doctor *d)
{
	return wire_now() + (uint64_t)d->timeout_s * 1000;
}

static void
add_address(const struct addrinfo *a, char *out, size_t cap)
{
	char text[64] = "?";
	size_t n = strlen(out);

	(void)getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
	(void)snprintf(out + n, cap - n, "%s%s", n > 0 ? ", " : "", text);
}

static bool
step_dns(struct doctor *d)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list = NULL;
	int rc = getaddrinfo(d->host, NULL, &hints, &list);
	char all[300] = "";

	if (rc != 0)
		return doctor_say(d, STEP_DNS, PKI_FAULT,
		    rc == EAI_NONAME ? "check the name; \"getent hosts NAME\" asks the same resolver" :
				       "the resolver of this machine does not answer: check /etc/resolv.conf and the network",
		    "cannot find the host '%s': %s", d->host, gai_strerror(rc));
	for (const struct addrinfo *a = list; a != NULL && strlen(all) + 70 < sizeof all; a = a->ai_next)
		add_address(a, all, sizeof all);
	freeaddrinfo(list);
	return doctor_say(d, STEP_DNS, PKI_FINE, "", "'%s' is %s", d->host, all);
}

static bool
step_tcp(struct doctor *d)
{
	struct wire_target t = { .host = d->host, .port = (uint16_t)d->port };
	uint64_t begin = wire_now();
	struct wire w;
	struct err err;
	enum wire_result r = wire_open(&w, &t, -1, deadline_of(d), &err);

	if (r != WIRE_OK)
		return doctor_say(d, STEP_TCP, PKI_FAULT,
		    r == WIRE_TIMEOUT ? "nothing answers: is the address right, and does a firewall let the port through?" :
					"does the broker run, does it listen on this address and port, does a firewall let it through?",
		    "%s", err.text);
	wire_close(&w, 0);
	return doctor_say(d, STEP_TCP, PKI_FINE, "", "port %u answers after %llu ms", d->port,
	    (unsigned long long)(wire_now() - begin));
}

/* The client's own files. */
static bool
step_files(struct doctor *d)
{
	struct pki_bundle b = { .cert = d->cert, .key = d->key, .client_id = d->id };
	struct err err;

	if (d->cafile != NULL && !pki_check_cas(d->cafile, 0, doctor_found_files, d))
		return false;
	if (d->cert == NULL)
		return true;
	if (!pki_check_bundle(&b, doctor_found_files, d))
		return false;
	/* Where the common name is no identity there is none to connect with. */
	if (d->id == NULL && wire_cert_name(d->cert, d->made_id, sizeof d->made_id, &err))
		d->id = d->made_id;
	return true;
}

static struct wire_tls *
load_tls(struct doctor *d, bool judge_later)
{
	struct wire_tls_opts o = { .cafile = d->cafile, .cert = d->cert, .key = d->key, .judge_later = judge_later };
	struct err err;
	struct wire_tls *t = wire_tls_new(&o, &err);

	if (t == NULL)
		(void)doctor_say(d, STEP_FILES, PKI_FAULT, "", "%s", err.text);
	return t;
}

static bool
judge(struct doctor *d, const struct wire *w)
{
	struct pki_server s = { .host = d->host, .ca_file = d->cafile, .crl_file = d->crlfile };
	struct wire_facts f;
	bool ok;

	if (!wire_facts(w, &f))
		return doctor_say(d, STEP_TLS, PKI_FAULT, "", "out of memory");
	s.chain = f.chain;
	s.n = f.n;
	s.asked = true;
	s.staple = f.staple;
	(void)doctor_say(d, STEP_TLS, PKI_FINE, "", "%s, %s; the broker %s a client certificate%s", f.version, f.cipher,
	    w->cert_wanted ? "asks for" : "does not ask for",
	    w->cert_wanted && d->cert == NULL ? " and gets none (--cert, --key)" : "");
	ok = pki_check_server(&s, doctor_found, d);
	free(f.chain_bytes);
	return ok;
}

/* A handshake that lets any broker through and sends nothing, so that each fault of its certificate has a step of its own. */
static bool
step_tls(struct doctor *d)
{
	struct wire_tls *tls = load_tls(d, true);
	struct wire_target t = { .host = d->host, .port = (uint16_t)d->port, .tls = tls };
	struct wire w;
	struct err err;
	bool ok;

	if (tls == NULL)
		return false;
	if (wire_open(&w, &t, -1, deadline_of(d), &err) == WIRE_OK) {
		ok = judge(d, &w);
		wire_close(&w, 0);
	} else {
		ok = doctor_say(d, STEP_TLS, PKI_FAULT, "", "%s", err.text);
	}
	wire_tls_free(tls);
	return ok;
}

bool
doctor_live(struct doctor *d)
{
	struct wire_target t = { .host = d->host, .port = (uint16_t)d->port, .nodelay = true };
	bool ok;

	if (!step_files(d) || !step_dns(d) || !step_tcp(d))
		return false;
	if (d->no_tls) {
		(void)doctor_say(d, STEP_TLS, PKI_NOTE, "use the broker's TLS port wherever others share the network",
		    "without TLS everybody on the way can read and change what is sent");
		return doctor_mqtt(d, &t);
	}
	if (!step_tls(d) || (t.tls = load_tls(d, false)) == NULL)
		return false;
	ok = doctor_mqtt(d, &t);
	wire_tls_free(t.tls);
	return ok;
}
