/* The formats of -F. */
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "cli/format.h"

enum { WIDTH_MAX = 10000 };

/* What stands between % and the letter. */
struct spec {
	bool left, zero, limited;
	size_t width, max;
	char letter;
};

/* All that one message is shown with. */
struct shown {
	FILE *out;
	const struct format *f;
	const struct mqtt_publish *m;
	const struct timespec *at;
	struct tm local;
};

/* ---- properties, in the order in which they came ---- */

struct prop_view {
	uint32_t id, number;
	struct slice text, second; /* second: the value of a user property */
};

/* The next property of a PUBLISH that the decoder has checked; false at the end. */
static bool
next_prop(struct rd *r, struct prop_view *v)
{
	if (rd_left(r) == 0)
		return false;
	*v = (struct prop_view){ .id = rd_varint(r) };
	switch (v->id) {
	case MQTT_P_PAYLOAD_FORMAT:
		v->number = rd_u8(r);
		break;
	case MQTT_P_TOPIC_ALIAS:
		v->number = rd_u16(r);
		break;
	case MQTT_P_MESSAGE_EXPIRY:
		v->number = rd_u32(r);
		break;
	case MQTT_P_SUBSCRIPTION_ID:
		v->number = rd_varint(r);
		break;
	case MQTT_P_USER_PROPERTY:
		v->text = rd_str(r);
		v->second = rd_str(r);
		break;
	default:
		v->text = rd_str(r);
	}
	return rd_ok(r);
}

static bool
find_prop(const struct mqtt_publish *m, enum mqtt_prop id, struct prop_view *v)
{
	struct rd r = rd_of(m->props);

	while (next_prop(&r, v))
		if (v->id == (uint32_t)id)
			return true;
	*v = (struct prop_view){ 0 };
	return false;
}

/* ---- the pieces ---- */

static void
pad(FILE *f, char c, size_t have, size_t want)
{
	for (; have < want; have++)
		putc(c, f);
}

static void
put_text(FILE *f, const struct spec *s, struct slice t)
{
	if (s->limited && t.n > s->max)
		t.n = s->max;
	if (!s->left)
		pad(f, ' ', t.n, s->width);
	if (t.n > 0)
		fwrite(t.p, 1, t.n, f);
	if (s->left)
		pad(f, ' ', t.n, s->width);
}

static void
put_digits(FILE *f, const struct spec *s, struct slice digits)
{
	if (!s->left)
		pad(f, s->zero ? '0' : ' ', digits.n, s->width);
	fwrite(digits.p, 1, digits.n, f);
	if (s->left)
		pad(f, ' ', digits.n, s->width);
}

static void
put_number(FILE *f, const struct spec *s, size_t n)
{
	char digits[24];

	snprintf(digits, sizeof digits, "%zu", n);
	put_digits(f, s, slice_str(digits));
}

static void
put_prop_number(const struct shown *w, const struct spec *s, enum mqtt_prop id)
{
	struct prop_view v;

	if (find_prop(w->m, id, &v))
		put_number(w->out, s, v.number);
	else
		put_digits(w->out, s, SL(""));
}

static void
put_hex(FILE *f, const struct spec *s, struct slice p)
{
	const char *digits = s->letter == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";

	if (!s->left)
		pad(f, s->zero ? '0' : ' ', p.n * 2, s->width);
	for (size_t i = 0; i < p.n; i++) {
		putc(digits[p.p[i] >> 4], f);
		putc(digits[p.p[i] & 15], f);
	}
	if (s->left)
		pad(f, ' ', p.n * 2, s->width);
}

static void
put_prop_text(const struct shown *w, const struct spec *s, enum mqtt_prop id)
{
	struct prop_view v;

	(void)find_prop(w->m, id, &v); /* absent is empty */
	put_text(w->out, s, v.text);
}

static void
put_user(const struct shown *w)
{
	struct rd r = rd_of(w->m->props);
	struct prop_view v;
	bool more = false;

	while (next_prop(&r, &v)) {
		if (v.id != MQTT_P_USER_PROPERTY)
			continue;
		fprintf(w->out, "%s", more ? " " : "");
		if (v.text.n > 0)
			fwrite(v.text.p, 1, v.text.n, w->out);
		putc(':', w->out);
		if (v.second.n > 0)
			fwrite(v.second.p, 1, v.second.n, w->out);
		more = true;
	}
}

/* ---- JSON ---- */

static const char *
json_name(uint32_t id)
{
	switch (id) {
	case MQTT_P_PAYLOAD_FORMAT:
		return "payload-format-indicator";
	case MQTT_P_MESSAGE_EXPIRY:
		return "message-expiry-interval";
	case MQTT_P_CONTENT_TYPE:
		return "content-type";
	case MQTT_P_RESPONSE_TOPIC:
		return "response-topic";
	case MQTT_P_CORRELATION_DATA:
		return "correlation-data";
	case MQTT_P_SUBSCRIPTION_ID:
		return "subscription-identifier";
	case MQTT_P_TOPIC_ALIAS:
		return "topic-alias";
	default:
		return "property";
	}
}

static void
json_number(struct jout *j, struct slice key, size_t n)
{
	jout_key(j, key);
	fprintf(j->f, "%zu", n);
}

/* All user properties as one object; a name that comes twice is there twice (RFC 8259 4 allows
 * it). */
static void
json_user(struct jout *j, struct slice props)
{
	struct rd r = rd_of(props);
	struct prop_view v;

	jout_key(j, SL("user-properties"));
	jout_open(j);
	while (next_prop(&r, &v)) {
		if (v.id != MQTT_P_USER_PROPERTY)
			continue;
		jout_key(j, v.text);
		jout_string(j, v.second);
	}
	jout_close(j);
}

static void
json_props(struct jout *j, struct slice props)
{
	struct rd r = rd_of(props);
	struct prop_view v;
	bool user = false;

	jout_key(j, SL("properties"));
	jout_open(j);
	while (next_prop(&r, &v)) {
		if (v.id == MQTT_P_USER_PROPERTY) {
			if (!user)
				json_user(j, props);
			user = true;
		} else if (v.text.p != NULL) {
			jout_key(j, slice_str(json_name(v.id)));
			jout_string(j, v.text);
		} else {
			json_number(j, slice_str(json_name(v.id)), v.number);
		}
	}
	jout_close(j);
}

static void
put_json(const struct shown *w, bool quoted)
{
	struct jout j = { w->out, w->f->pretty, 0, true };
	char date[64], zone[16], text[128];

	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &w->local);
	strftime(zone, sizeof zone, "%z", &w->local);
	snprintf(text, sizeof text, "%s.%06ld%s", date, w->at->tv_nsec / 1000, zone);
	jout_open(&j);
	jout_key(&j, SL("tst"));
	jout_string(&j, slice_str(text));
	jout_key(&j, SL("topic"));
	jout_string(&j, w->m->topic);
	json_number(&j, SL("qos"), w->m->qos);
	json_number(&j, SL("retain"), w->m->retain);
	json_number(&j, SL("payloadlen"), w->m->payload.n);
	if (w->m->qos > 0)
		json_number(&j, SL("mid"), w->m->packet_id);
	if (w->m->props.n > 0)
		json_props(&j, w->m->props);
	jout_key(&j, SL("payload"));
	if (quoted)
		jout_string(&j, w->m->payload);
	else
		jout_copy(&j, w->m->payload);
	jout_close(&j);
}

/* ---- the walk over the format ---- */

static size_t
read_size(const char **p)
{
	size_t n = 0;

	for (; **p >= '0' && **p <= '9'; (*p)++)
		n = NUM_MIN(n * 10 + (size_t)(**p - '0'), (size_t)WIDTH_MAX + 1);
	return n;
}

/* Behind the %; moves <p> behind the letter. */
static bool
read_spec(const char **p, struct spec *s, struct err *err)
{
	*s = (struct spec){ 0 };
	for (; **p == '-' || **p == '0'; (*p)++) {
		s->left = s->left || **p == '-';
		s->zero = s->zero || **p == '0';
	}
	s->width = read_size(p);
	if (**p == '.') {
		(*p)++;
		s->limited = true;
		s->max = read_size(p);
	}
	if (s->width > WIDTH_MAX || s->max > WIDTH_MAX)
		return err_set(err, ERR_USAGE, "-F: a width is at most %d", WIDTH_MAX);
	s->letter = **p;
	if (s->letter == '\0')
		return err_set(err, ERR_USAGE, "-F: the format ends within a %% sequence");
	if (strchr("%ACDEFIJPRSUXjlmpqrtx", s->letter) == NULL)
		return err_set(
		    err, ERR_USAGE, "-F: there is no %%%c; --help has the list", s->letter);
	(*p)++;
	return true;
}

static void
put_time(const struct shown *w, const struct spec *s)
{
	char text[64];

	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S%z", &w->local);
	put_text(w->out, s, slice_str(text));
}

/* Numbers and properties. */
static void
put_value(const struct shown *w, const struct spec *s)
{
	switch (s->letter) {
	case 'A':
		put_prop_number(w, s, MQTT_P_TOPIC_ALIAS);
		break;
	case 'E':
		put_prop_number(w, s, MQTT_P_MESSAGE_EXPIRY);
		break;
	case 'F':
		put_prop_number(w, s, MQTT_P_PAYLOAD_FORMAT);
		break;
	case 'S':
		put_prop_number(w, s, MQTT_P_SUBSCRIPTION_ID);
		break;
	case 'C':
		put_prop_text(w, s, MQTT_P_CONTENT_TYPE);
		break;
	case 'R':
		put_prop_text(w, s, MQTT_P_RESPONSE_TOPIC);
		break;
	case 'D':
		put_prop_text(w, &(struct spec){ 0 }, MQTT_P_CORRELATION_DATA);
		break;
	case 'l':
		put_number(w->out, s, w->m->payload.n);
		break;
	case 'm':
		put_number(w->out, s, w->m->packet_id);
		break;
	case 'q':
		fprintf(w->out, "%u", w->m->qos);
		break;
	default: /* 'r' */
		fprintf(w->out, "%d", w->m->retain);
	}
}

/* One % sequence. */
static void
put_spec(const struct shown *w, struct spec *s)
{
	switch (s->letter) {
	case '%':
		putc('%', w->out);
		break;
	case 'I':
		put_time(w, s);
		break;
	case 'U':
		fprintf(w->out, "%lld.%09ld", (long long)w->at->tv_sec, w->at->tv_nsec);
		break;
	case 'j':
	case 'J':
		put_json(w, s->letter == 'j');
		break;
	case 'P':
		put_user(w);
		break;
	case 'p':
		s->limited = false;
		put_text(w->out, s, w->m->payload);
		break;
	case 't':
		put_text(w->out, s, w->m->topic);
		break;
	case 'x':
	case 'X':
		put_hex(w->out, s, w->m->payload);
		break;
	default:
		put_value(w, s);
	}
}

/* One @ sequence: strftime(3), @@ and @N. */
static void
put_at(const struct shown *w, char c)
{
	char format[3] = { '%', c, '\0' }, text[128];
	size_t n;

	if (c == '@')
		putc('@', w->out);
	if (c == 'N')
		fprintf(w->out, "%09ld", w->at->tv_nsec);
	if (c == '@' || c == 'N')
		return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the user's own wish, one conversion long */
	n = strftime(text, sizeof text, format, &w->local);
#pragma GCC diagnostic pop
	fwrite(text, 1, n, w->out);
}

static const char escapes[] = "\\0aenrtv", escaped[] = "\\\0\a\033\n\r\t\v";

bool
format_check(const char *text, struct err *err)
{
	struct spec s;

	while (*text != '\0') {
		char c = *text++;

		if (c == '%') {
			if (!read_spec(&text, &s, err))
				return false;
			continue;
		}
		if (c != '@' && c != '\\')
			continue;
		if (*text == '\0')
			return err_set(
			    err, ERR_USAGE, "-F: the format ends within a %c sequence", c);
		if (c == '\\' && strchr(escapes, *text) == NULL)
			return err_set(
			    err, ERR_USAGE, "-F: there is no \\%c; --help has the list", *text);
		text++;
	}
	return true;
}

static void
put_format(const struct shown *w)
{
	const char *p = w->f->text;
	struct spec s;

	while (*p != '\0') {
		char c = *p++;

		if (c == '%' && read_spec(&p, &s, NULL))
			put_spec(w, &s);
		else if (c == '@' && *p != '\0')
			put_at(w, *p++);
		else if (c == '\\' && *p != '\0')
			putc(escaped[strchr(escapes, *p++) - escapes], w->out);
		else
			putc(c, w->out);
	}
}

/* Does the format show the payload as JSON? */
static bool
wants_json(const char *p)
{
	struct spec s;

	while (*p != '\0') {
		char c = *p++;

		if (c == '%' && read_spec(&p, &s, NULL) && s.letter == 'J')
			return true;
		if ((c == '@' || c == '\\') && *p != '\0')
			p++;
	}
	return false;
}

/* Without -F: a message without payload is "(null)" behind its topic and nothing at all without
 * (as mosquitto_sub). */
static void
put_plain(FILE *out, const struct format *f, const struct mqtt_publish *m)
{
	if (m->payload.n == 0 && (!f->verbose || f->no_eol))
		return;
	if (f->verbose) {
		fwrite(m->topic.p, 1, m->topic.n, out);
		fputs(m->payload.n > 0 ? " " : " (null)", out);
	}
	if (m->payload.n > 0)
		fwrite(m->payload.p, 1, m->payload.n, out);
	if (!f->no_eol)
		putc('\n', out);
}

bool
format_print(FILE *out, const struct format *f, const struct mqtt_publish *m,
    const struct timespec *at, struct err *err)
{
	struct shown w = { .out = out, .f = f, .m = m, .at = at };
	char topic[256];

	if (f->text == NULL) {
		put_plain(out, f, m);
		return true;
	}
	if (wants_json(f->text) && !json_ok(m->payload))
		return err_set(err, ERR_INPUT, "Message payload is not valid JSON on topic %s",
		    text_show(m->topic, topic, sizeof topic));
	if (localtime_r(&at->tv_sec, &w.local) == NULL)
		w.local = (struct tm){ .tm_mday = 1 };
	put_format(&w);
	if (!f->no_eol)
		putc('\n', out);
	return true;
}
