/* `signet pub`: publish one message, the same one several times, or each line of standard input. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/num.h"
#include "base/text.h"
#include "cli/client_internal.h"
#include "cli/client_run.h"
#include "cli/internal.h"

enum { BACKLOG_MAX = 262144, READ_STEP = 65536 };

struct pub {
	struct client_run run;
	struct mqtt_publish m;
	uint32_t sent;    /* repetitions */
	uint64_t next_at; /* when the next repetition may go */
	bool waits;       /* a repetition is under way; the delay counts from its end */
	struct mqttc_buf lines;
	size_t scanned; /* bytes behind lines.at that hold no line feed */
	bool no_more;   /* standard input has ended */
	bool broken;    /* a message cannot be sent: end */
};

static void
on_published(void *ctx, uint16_t id, uint8_t reason, struct slice text)
{
	struct pub *p = ctx;
	char shown[200];

	if (reason < 0x80)
		return;
	client_warning(&p->run, "Publish %u failed: %s%s%s.", id, mqtt_reason_text(reason),
	    text.n > 0 ? ": " : "", text.n > 0 ? text_show(text, shown, sizeof shown) : "");
	if (p->run.o.strict)
		p->run.exit_code = reason;
}

static bool
send_one(struct pub *p, struct slice payload)
{
	uint16_t id;

	p->m.payload = payload;
	if (mqttc_publish(p->run.c, &p->m, &id))
		return true;
	client_error(&p->run, "%s", p->run.c->err.text);
	p->run.exit_code = p->run.o.version == MQTT_V5 ? p->run.c->code : EXIT_WRONG;
	p->broken = true;
	return false;
}

/* ---- the same message <repeat> times ---- */

/* Send what may be sent now; returns when the next may go, UINT64_MAX if that is not a matter of
 * time. */
static uint64_t
repeat(struct pub *p)
{
	struct mqttc *c = p->run.c;
	uint64_t delay = p->run.o.repeat_delay_ms;

	while (p->sent < p->run.o.repeat && c->in_flight == 0 && mqttc_backlog(c) < BACKLOG_MAX) {
		uint64_t now = wire_now();

		if (p->waits) {
			p->waits = false;
			p->next_at = now + delay;
		}
		if (now < p->next_at)
			return p->next_at;
		if (!send_one(p, p->run.payload))
			break;
		p->sent++;
		p->waits = true;
	}
	return UINT64_MAX;
}

/* ---- lines ---- */

static void
read_lines(struct pub *p)
{
	ssize_t n;

	if (!mqttc_room(&p->lines, READ_STEP)) {
		client_error(&p->run, "out of memory for a line");
		p->run.exit_code = EXIT_WRONG;
		p->broken = true;
		return;
	}
	n = read(STDIN_FILENO, p->lines.p + p->lines.n, READ_STEP);
	if (n > 0)
		p->lines.n += (size_t)n;
	else if (n == 0 || errno != EINTR)
		p->no_more = true;
}

/* The next whole line, or at the end of input what is left; false if there is none. */
static bool
next_line(struct pub *p, struct slice *ret)
{
	const uint8_t *start = p->lines.p + p->lines.at;
	size_t n = p->lines.n - p->lines.at;
	const uint8_t *at =
	    n > p->scanned ? memchr(start + p->scanned, '\n', n - p->scanned) : NULL;

	if (at == NULL && (!p->no_more || n == 0)) {
		p->scanned = n;
		return false;
	}
	p->scanned = 0;
	*ret = slice_of(start, at != NULL ? (size_t)(at - start) : n);
	p->lines.at += at != NULL ? ret->n + 1 : n;
	return true;
}

/* Send the lines that are there; true when more input is wanted. */
static bool
send_lines(struct pub *p)
{
	struct mqttc *c = p->run.c;
	struct slice line;

	while (!p->broken) {
		if (mqttc_backlog(c) >= BACKLOG_MAX ||
		    (p->m.qos > 0 && !mqttc_may_publish(c, p->run.o.max_inflight)))
			return false;
		if (!next_line(p, &line))
			return !p->no_more;
		(void)send_one(p, line); /* sets <broken> */
	}
	return false;
}

/* ---- together ---- */

static bool
done(const struct pub *p)
{
	bool all = p->run.o.from == PAYLOAD_LINES ? p->no_more && p->lines.at == p->lines.n
						  : p->sent == p->run.o.repeat;

	return p->broken || (all && p->run.c->in_flight == 0);
}

static enum mqttc_result
publish_all(struct pub *p)
{
	enum mqttc_result r = client_run_open(&p->run);

	while (r == MQTTC_OK && !done(p)) {
		uint64_t next = UINT64_MAX;
		bool want = false, ready = false;

		if (p->run.c->up && p->run.o.from == PAYLOAD_LINES)
			want = send_lines(p);
		else if (p->run.c->up)
			next = repeat(p);
		if (done(p))
			break;
		r = client_run_turn(&p->run, next, want ? STDIN_FILENO : -1, &ready);
		if (r == MQTTC_OK && ready)
			read_lines(p);
	}
	/* A broker that hangs up behind its last acknowledgement takes nothing back. */
	if (r == MQTTC_LOST && done(p) && mqttc_backlog(p->run.c) == 0)
		r = MQTTC_OK;
	return r;
}

int
cmd_pub(int argc, char **argv)
{
	static const struct mqttc_events events = { .published = on_published };
	struct pub p = { 0 };
	struct err err;
	int code;

	if (!client_run_init(&p.run, CLIENT_PUB, argc, argv, &code) ||
	    !client_run_start(&p.run, &events, &p, &code))
		goto out;
	code = EXIT_WRONG;
	if (!client_run_message(&p.run, &p.m, &err))
		client_error(&p.run, "%s", err.text);
	else {
		enum mqttc_result r = publish_all(&p);

		code = client_run_end(&p.run, r, done(&p));
	}
out:
	free(p.lines.p);
	client_run_done(&p.run);
	return code;
}
