/* What `signet pub`, `signet sub` and `signet rr` share around the client. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/client_run.h"
#include "cli/describe.h"
#include "cli/format.h"

enum { PAYLOAD_MAX = 268435455, STDIN_STEP = 65536, RECEIVE_MAX = 20 };

static __attribute__((format(printf, 2, 0))) void
say(const char *kind, const char *fmt, va_list ap)
{
	fflush(stdout); /* what was shown before comes before */
	fprintf(stderr, "%s: ", kind);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void
client_error(const struct client_run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!r->o.quiet)
		say("Error", fmt, ap);
	va_end(ap);
}

void
client_warning(const struct client_run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!r->o.quiet)
		say("Warning", fmt, ap);
	va_end(ap);
}

/* ---- before the connection ---- */

static bool
read_stdin(struct client_run *r, struct err *err)
{
	size_t cap = 0, n = 0;

	for (;;) {
		ssize_t got;

		if (cap - n < STDIN_STEP) {
			uint8_t *grown;

			cap = NUM_MAX(cap * 2, (size_t)STDIN_STEP * 2);
			grown = realloc(r->payload_owned, cap);
			if (grown == NULL)
				return err_set(err, ERR_MEMORY, "out of memory for standard input");
			r->payload_owned = grown;
		}
		got = read(STDIN_FILENO, r->payload_owned + n, cap - n);
		if (got == -1 && errno != EINTR)
			return err_sys(err, "standard input");
		if (got == 0)
			break;
		n += got > 0 ? (size_t)got : 0;
		if (n > PAYLOAD_MAX)
			return err_set(err, ERR_INPUT,
			    "standard input has more than the %d bytes that a message may have",
			    PAYLOAD_MAX);
	}
	r->payload = slice_of(r->payload_owned, n);
	return n > 0 ||
	       err_set(err, ERR_INPUT, "standard input is empty; -n sends an empty message");
}

static bool
load_payload(struct client_run *r, struct err *err)
{
	size_t n = 0;

	switch (r->o.from) {
	case PAYLOAD_MESSAGE:
		r->payload = slice_str(r->o.message);
		return true;
	case PAYLOAD_FILE:
		if (!file_read(r->o.file, PAYLOAD_MAX, &r->payload_owned, &n, err))
			return err_prefix(err, "-f");
		r->payload = slice_of(r->payload_owned, n);
		return n > 0 || err_set(err, ERR_INPUT,
				    "the file %s is empty; -n sends an empty message", r->o.file);
	case PAYLOAD_STDIN:
		return read_stdin(r, err);
	case PAYLOAD_NONE:
	case PAYLOAD_EMPTY:
	case PAYLOAD_LINES:
		break;
	}
	return true;
}

bool
client_run_init(struct client_run *r, enum client_cmd cmd, int argc, char **argv, int *ret_exit)
{
	struct err err = { 0 };

	*r = (struct client_run){ .due = UINT64_MAX };
	*ret_exit = EXIT_DONE;
	if (describe_asked(argc, argv)) {
		client_opts_describe(cmd);
		return false;
	}
	*ret_exit = EXIT_WRONG;
	if (!client_opts_parse(&r->o, cmd, argc, argv, &err)) {
		fprintf(stderr, "Error: %s\n", err.text);
		if (err.code == ERR_USAGE)
			fprintf(stderr, "'signet %s --help' shows how it is used.\n",
			    client_cmd_name(cmd));
		return false;
	}
	if (r->o.help || r->o.show_version) {
		if (r->o.help)
			client_opts_help(cmd);
		else
			printf("signet %s\n", SIGNET_VERSION);
		*ret_exit = fflush(stdout) == 0 ? EXIT_DONE : EXIT_WRONG;
		return false;
	}
	if (r->o.use_tls && (r->tls = wire_tls_new(&r->o.tls, &err)) == NULL) {
		fprintf(stderr, "Error: %s\n", err.text);
		return false;
	}
	if (r->o.scram && (r->scram = scram_client_new(slice_str(r->o.username),
			       slice_of(r->o.password, r->o.password_n), &err)) == NULL) {
		fprintf(stderr, "Error: %s\n", err.text);
		return false;
	}
	if (r->o.tls.insecure)
		fprintf(stderr, "Warning: --insecure: the broker's name is NOT checked; anybody "
				"with a certificate of the same CA can pose "
				"as the broker, read and change everything.\n");
	if (!load_payload(r, &err)) {
		client_error(r, "%s", err.text);
		return false;
	}
	return true;
}

static void
fill_will(struct mqtt_connect *m, const struct client_opts *o)
{
	if (o->will_topic == NULL)
		return;
	m->will = (struct mqtt_will){
		.present = true,
		.retain = o->will_retain,
		.qos = (uint8_t)o->will_qos,
		.topic = slice_str(o->will_topic),
		.payload = slice_str(o->will_payload),
		.props = o->props[PROP_WILL].p,
	};
}

bool
client_run_start(struct client_run *r, const struct mqttc_events *events, void *ctx, int *ret_exit)
{
	const struct client_opts *o = &r->o;
	struct mqttc_config cfg = {
		.target = { o->host, o->unix_path, o->bind_addr, (uint16_t)o->port, o->nodelay, r->tls },
		.connect = {
			.version = (uint8_t)o->version,
			.clean_start = !o->keep_session,
			.keep_alive = (uint16_t)o->keep_alive,
			.client_id = slice_str(o->id != NULL ? o->id : o->id_made),
			.has_username = o->username != NULL,
			.username = slice_str(o->username),
			/* Who proves it does not send it. */
			.has_password = o->password != NULL && !o->scram,
			.password = o->scram ? SL("") : slice_of(o->password, o->password_n),
			.props = o->props[PROP_CONNECT].p,
		},
		.disconnect = &o->props[PROP_DISCONNECT].p,
		.scram = r->scram,
		.stop_fd = -1,
		.debug = o->debug,
		.events = *events,
		.ctx = ctx,
	};

	fill_will(&cfg.connect, o);
	if (!mqtt_has(&cfg.connect.props, MQTT_P_RECEIVE_MAXIMUM)) {
		cfg.connect.props.receive_maximum = RECEIVE_MAX;
		mqtt_set(&cfg.connect.props, MQTT_P_RECEIVE_MAXIMUM);
	}
	(void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error like others */
	r->c = mqttc_new(&cfg);
	if (r->c != NULL)
		return true;
	client_error(r, "out of memory");
	*ret_exit = EXIT_WRONG;
	return false;
}

static int
open_stop_fd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

enum mqttc_result
client_run_open(struct client_run *r)
{
	enum mqttc_result m;

	if (r->o.timeout_s > 0)
		r->due = wire_now() + (uint64_t)r->o.timeout_s * 1000;
	m = mqttc_open(r->c, r->due);
	if (m == MQTTC_OK)
		r->c->cfg.stop_fd =
		    open_stop_fd(); /* without one a signal ends the program at once */
	return m;
}

/* ---- during it ---- */

enum mqttc_result
client_run_turn(struct client_run *r, uint64_t deadline, int extra_fd, bool *ret_extra)
{
	enum mqttc_result m = mqttc_turn(r->c, NUM_MIN(deadline, r->due), extra_fd, ret_extra);

	if (!r->was_up && r->c->up) {
		r->was_up = true;
		if (r->o.timeout_s > 0)
			r->due = wire_now() + (uint64_t)r->o.timeout_s * 1000;
	}
	return m == MQTTC_TIMEOUT && wire_now() < r->due ? MQTTC_OK : m;
}

bool
client_run_message(struct client_run *r, struct mqtt_publish *ret, struct err *err)
{
	struct mqtt_props p = r->o.props[PROP_PUBLISH].p;
	size_t room = 128 + p.content_type.n + p.response_topic.n + p.correlation_data.n + p.user.n;
	struct wr w;

	*ret = (struct mqtt_publish){
		.topic = slice_str(r->o.topics.v[r->o.topics.n - 1]),
		.payload = r->payload,
		.qos = (uint8_t)r->o.qos,
		.retain = r->o.retain,
		.topic_alias = p.topic_alias,
		.has_expiry = mqtt_has(&p, MQTT_P_MESSAGE_EXPIRY),
		.message_expiry = p.message_expiry,
	};
	if (r->o.cmd == CLIENT_RR && !mqtt_has(&p, MQTT_P_RESPONSE_TOPIC)) {
		p.response_topic = slice_str(r->o.response_topic);
		mqtt_set(&p, MQTT_P_RESPONSE_TOPIC);
		room += p.response_topic.n;
	}
	p.present &= ~((uint64_t)1 << MQTT_P_TOPIC_ALIAS | (uint64_t)1 << MQTT_P_MESSAGE_EXPIRY);
	r->forward_owned = malloc(room);
	if (r->forward_owned == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	w = wr_of(r->forward_owned, room);
	if (!mqtt_put_props(&w, &p))
		return err_set(err, ERR_USAGE, "-D: the properties of publish are too long");
	ret->forward = wr_slice(&w);
	ret->forward_n = (uint32_t)ret->forward.n;
	return true;
}

bool
client_run_show(struct client_run *r, const struct mqtt_publish *m)
{
	struct format f = { r->o.format, r->o.verbose, r->o.pretty, r->o.no_eol };
	struct timespec now;
	struct err err;

	clock_gettime(CLOCK_REALTIME, &now);
	if (!format_print(stdout, &f, m, &now, &err))
		client_error(r, "%s", err.text);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	if (errno != EPIPE) {
		client_error(r, "standard output: %s", strerror(errno));
		r->exit_code = EXIT_ERRNO;
		return false;
	}
	/* Nobody reads any more, as in `signet sub … | head`: that is how it was meant to end,
	 * no error. */
	__fpurge(stdout);
	clearerr(stdout);
	return false;
}

size_t
client_run_granted(struct client_run *r, const struct text_list *filters, struct slice codes)
{
	size_t granted = 0;
	char shown[256];

	for (size_t i = 0; i < codes.n && i < filters->n; i++) {
		if (codes.p[i] < 0x80) {
			granted++;
			continue;
		}
		client_warning(r, "Subscription to '%s' was refused: %s.",
		    text_show(slice_str(filters->v[i]), shown, sizeof shown),
		    r->o.version == MQTT_V5 ? mqtt_reason_text(codes.p[i])
					    : "the broker does not say why");
		if (r->o.strict)
			r->exit_code = codes.p[i];
	}
	if (granted == 0)
		client_error(r, "All subscription requests were denied");
	return granted;
}

/* ---- after it ---- */

static int
signal_exit(const struct client_run *r)
{
	struct signalfd_siginfo info;

	if (read(r->c->cfg.stop_fd, &info, sizeof info) != sizeof info)
		return 128 + SIGTERM;
	return 128 + (int)info.ssi_signo;
}

static int
failure(struct client_run *r, enum mqttc_result result)
{
	client_error(r, "%s", r->c->err.text);
	switch (result) {
	case MQTTC_REFUSED:
	case MQTTC_DISMISSED:
		/* 0x00: a normal end to the broker, but not to us */
		return r->c->code > 0 ? r->c->code : EXIT_LOST;
	case MQTTC_LOST:
		return EXIT_LOST;
	case MQTTC_PROTOCOL:
		return EXIT_PROTOCOL;
	case MQTTC_TLS:
		return EXIT_TLS;
	case MQTTC_OK:
	case MQTTC_TIMEOUT:
	case MQTTC_STOPPED:
	case MQTTC_FAILED:
		break;
	}
	return EXIT_WRONG;
}

int
client_run_end(struct client_run *r, enum mqttc_result result, bool finished)
{
	int code = r->exit_code;

	if (result == MQTTC_TIMEOUT) {
		if (!r->o.quiet)
			fprintf(stderr, "Timed out\n");
		code = EXIT_TIMEOUT;
	} else if (result == MQTTC_STOPPED) {
		code = finished ? code : signal_exit(r);
	} else if (result != MQTTC_OK) {
		code = failure(r, result);
	}
	mqttc_close(r->c, result == MQTTC_PROTOCOL ? MQTT_RC_PROTOCOL : MQTT_RC_OK);
	return code;
}

void
client_run_done(struct client_run *r)
{
	if (r->c != NULL && r->c->cfg.stop_fd != -1)
		close(r->c->cfg.stop_fd);
	mqttc_free(r->c);
	wire_tls_free(r->tls);
	scram_client_free(r->scram);
	free(r->payload_owned);
	free(r->forward_owned);
	client_opts_done(&r->o);
}
