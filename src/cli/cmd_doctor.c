/* signet doctor: walks the way of a client, step by step, up to the first fault, and says how to mend it. */
#include "cli/doctor.h"

#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include "base/num.h"
#include "base/text.h"

static const char *const step_names[STEPS] = {
	[STEP_FILES] = "files",
	[STEP_DNS] = "dns",
	[STEP_TCP] = "tcp",
	[STEP_TLS] = "tls",
	[STEP_CHAIN] = "chain",
	[STEP_NAME] = "name",
	[STEP_TIME] = "time",
	[STEP_USAGE] = "usage",
	[STEP_REVOCATION] = "revocation",
	[STEP_IDENTITY] = "identity",
	[STEP_CONNECT] = "connect",
	[STEP_TOPICS] = "topics",
	[STEP_ROUND_TRIP] = "round-trip",
};

static void
say_json(const struct doctor *d, enum step step, const char *level, const char *text, const char *remedy)
{
	(void)printf(d->said == 0 ? "\n" : ",\n");
	(void)printf("  {\"step\":\"%s\",\"result\":\"%s\",\"text\":", step_names[step], level);
	show_json_string(stdout, text);
	(void)printf(",\"remedy\":");
	show_json_string(stdout, remedy);
	(void)printf("}");
}

bool
doctor_say(struct doctor *d, enum step step, enum pki_level level, const char *remedy, const char *fmt, ...)
{
	static const char *const plain[] = { [PKI_FINE] = "ok", [PKI_NOTE] = "note", [PKI_FAULT] = "FAULT" };
	static const char *const names[] = { [PKI_FINE] = "ok", [PKI_NOTE] = "note", [PKI_FAULT] = "fault" };
	char raw[1024], text[1200], fix[700], *mid;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	/* An error's text has its remedy behind a semicolon. */
	mid = level != PKI_FINE && remedy[0] == '\0' ? strstr(raw, "; ") : NULL;
	if (mid != NULL) {
		*mid = '\0';
		remedy = mid + 2;
	}
	(void)text_line(slice_str(raw), text, sizeof text);
	(void)text_line(slice_str(remedy), fix, sizeof fix);
	if (d->json) {
		say_json(d, step, names[level], text, fix);
	} else {
		(void)printf("%-11s %-5s %s\n", step_names[step], plain[level], text);
		if (fix[0] != '\0')
			(void)printf("%-17s %s %s\n", "", "->", fix);
		(void)fflush(stdout); /* the next step may take its time */
	}
	d->said++;
	d->faults += level == PKI_FAULT;
	if (level == PKI_FAULT && d->exit == EXIT_OK)
		d->exit = EXIT_STEP + (int)step;
	return level != PKI_FAULT;
}

static enum step
step_of(enum pki_check check)
{
	switch (check) {
	case PKI_CHECK_CHAIN:
		return STEP_CHAIN;
	case PKI_CHECK_NAME:
		return STEP_NAME;
	case PKI_CHECK_TIME:
		return STEP_TIME;
	case PKI_CHECK_USAGE:
		return STEP_USAGE;
	case PKI_CHECK_REVOCATION:
		return STEP_REVOCATION;
	case PKI_CHECK_FILES:
	default:
		return STEP_FILES;
	}
}

void
doctor_found(void *doctor, const struct pki_finding *f)
{
	(void)doctor_say(doctor, step_of(f->check), f->level, f->remedy, "%s", f->text);
}

void
doctor_found_files(void *doctor, const struct pki_finding *f)
{
	(void)doctor_say(doctor, STEP_FILES, f->level, f->remedy, "%s", f->text);
}

/* "HOST", "HOST:PORT", "[::1]:8883" or an IPv6 address alone. */
static bool
split_target(struct doctor *d, struct err *err)
{
	const char *t = d->target, *colon = strrchr(t, ':'), *end = t + strlen(t);
	uint64_t port = 0;
	bool bracket = t[0] == '[', six = !bracket && colon != NULL && strchr(t, ':') != colon;

	if (bracket) {
		const char *close = strchr(t, ']');

		if (close == NULL || (close[1] != '\0' && close[1] != ':'))
			return err_set(err, ERR_USAGE, "an address in brackets is written [ADDRESS] or [ADDRESS]:PORT");
		t++;
		colon = close[1] == ':' ? close + 1 : NULL;
		end = close;
	} else if (colon != NULL && !six) {
		end = colon;
	}
	if (colon != NULL && !six) {
		if (!text_u64(slice_str(colon + 1), 1, 65535, &port))
			return err_set(err, ERR_USAGE, "behind the last ':' of HOST:PORT stands a port from 1 to 65535");
		d->port = (unsigned)port;
	}
	if (end == t || !text_copy(d->host, sizeof d->host, slice_of((const uint8_t *)t, (size_t)(end - t))))
		return err_set(err, ERR_USAGE, "the host name is empty or too long");
	return true;
}

static bool
check_words(struct doctor *d, bool is_dir, struct err *err)
{
	if (is_dir)
		return (d->cafile == NULL && d->cert == NULL && d->key == NULL && d->user == NULL) ||
		    err_set(err, ERR_USAGE, "%s is a folder, whose own files are looked at: leave out the flags for a broker", d->target);
	if ((d->cert == NULL) != (d->key == NULL))
		return err_set(err, ERR_USAGE, "--cert and --key go together");
	if (d->no_tls && (d->cafile != NULL || d->cert != NULL))
		return err_set(err, ERR_USAGE, "--no-tls does not go with --cafile and --cert");
	if (!split_target(d, err))
		return false;
	if (d->port == 0)
		d->port = d->no_tls ? 1883 : 8883;
	/* The well-known port of MQTT without TLS. */
	if (d->port == 1883 && d->cafile == NULL && d->cert == NULL)
		d->no_tls = true;
	return true;
}

static void
end_report(struct doctor *d)
{
	if (d->json)
		(void)printf("\n ],\n \"exit\":%d}\n", d->exit);
	else if (d->exit == EXIT_OK)
		(void)printf("\nNo fault found.\n");
	else if (d->faults == 1)
		(void)printf("\nStopped at the first fault: %s.\n", step_names[d->exit - EXIT_STEP]);
	else
		(void)printf("\n%u faults; the first: %s.\n", d->faults, step_names[d->exit - EXIT_STEP]);
}

#define EXAMPLES \
	"Examples:\n" \
	"  signet doctor broker.example --cafile ca.pem --cert cert.pem --key key.pem\n" \
	"  signet doctor test.example:1883 --user me --password-file pw -t sensors/me\n" \
	"  signet doctor run/clients/sensor01\n" \
	"  signet doctor run\n" \
	"\n" \
	"Exit codes: 0 no fault, 2 wrong usage, else 10 and the step with the first fault: 10 files,\n" \
	"11 dns, 12 tcp, 13 tls, 14 chain, 15 name, 16 time, 17 usage, 18 revocation, 19 identity,\n" \
	"20 connect, 21 topics, 22 round-trip.\n"

int
cmd_doctor(int argc, char *argv[])
{
	struct doctor d = { .timeout_s = 10 };
	struct stat st;
	struct err err;
	int words, code;
	bool is_dir;
	const struct arg table[] = {
		{ "cafile", "FILE", ARG_TEXT, &d.cafile, 0, 0, "the CA that the broker's certificate comes from; default: the operating system's", NULL, 0 },
		{ "cert", "FILE", ARG_TEXT, &d.cert, 0, 0, "the client's certificate, its intermediate behind it", NULL, 0 },
		{ "key", "FILE", ARG_TEXT, &d.key, 0, 0, "its private key", NULL, 0 },
		{ "crlfile", "FILE", ARG_TEXT, &d.crlfile, 0, 0, "a CRL: was the broker's certificate revoked?", NULL, 0 },
		{ "id", "ID", ARG_TEXT, &d.id, 0, 0, "client id; default: the certificate's common name", NULL, 'i' },
		{ "user", "NAME", ARG_TEXT, &d.user, 0, 0, "user name", NULL, 'u' },
		{ "password-file", "FILE", ARG_TEXT, &d.password_file, 0, 0, "its first line is the password", NULL, 0 },
		{ "topic", "TOPIC", ARG_TEXT, &d.topic, 0, 0, "subscribe and publish here; default: signet/doctor/ID, where a refusal is no fault", NULL, 't' },
		{ "port", "N", ARG_NUMBER, &d.port, 1, 65535, "default 8883, without TLS 1883", NULL, 'p' },
		{ "no-tls", NULL, ARG_FLAG, &d.no_tls, 0, 0, "the broker speaks MQTT without TLS there", NULL, 0 },
		{ "timeout", "SECONDS", ARG_NUMBER, &d.timeout_s, 1, 600, "for each step; default 10", NULL, 0 },
		{ "json", NULL, ARG_FLAG, &d.json, 0, 0, "an object with an array of steps", NULL, 0 },
	};
	const struct args args = { "signet doctor HOST[:PORT] [options] | signet doctor FOLDER",
		"Walks a client's whole way to a broker, be it Signet or another: its own files, DNS, TCP, TLS, the broker's chain,\n"
		"name, time, usage and revocation, whether the client's certificate is taken, CONNECT, topics and a round trip. It\n"
		"stops at the first fault and says how to mend it. With a folder it looks at the files there, offline: a client's\n"
		"(cert.pem, key.pem, ca.pem) or a whole installation's.",
		table, ARRAY_LEN(table), EXAMPLES, 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	d.target = argv[1];
	is_dir = stat(d.target, &st) == 0 && S_ISDIR(st.st_mode);
	if (!check_words(&d, is_dir, &err))
		return fail(&err);
	if (d.json) {
		(void)printf("{\"target\":");
		show_json_string(stdout, d.target);
		(void)printf(",\n \"steps\":[");
	}
	(void)(is_dir ? doctor_files(&d) : doctor_live(&d));
	end_report(&d);
	return d.exit;
}
