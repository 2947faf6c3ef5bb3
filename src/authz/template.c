/* Topic filters with variables. Matched as they stand, piece by piece: nothing is made for a
 * connection, and a value is only ever compared as literal text, so that no name of a client can
 * act as a wildcard (CVE-2017-7650). */
#include "authz/internal.h"

#include <stdlib.h>
#include "base/wr.h"
#include "topic/topic.h"

enum piece_kind {
	PIECE_TEXT, /* with the '/' in it */
	PIECE_VAR,
	PIECE_PLUS,
	PIECE_HASH, /* the "/#" behind something */
	PIECE_ALL,  /* "#" alone */
};

struct piece {
	uint8_t kind, var;
	uint16_t at, n; /* PIECE_TEXT: in the text */
};

struct authz_template {
	uint16_t n_pieces, source_at, source_n;
	uint8_t vars;
	const uint8_t *text; /* behind the pieces */
	struct piece pieces[];
};

/* While it is compiled. Every piece takes at least a byte of the source. */
struct draft {
	struct piece pieces[AUTHZ_LINE_MAX];
	unsigned n_pieces, vars;
	uint8_t text[AUTHZ_EXPANSION_MAX], source[AUTHZ_EXPANSION_MAX];
	struct wr t, s;
	size_t run; /* where the present text piece begins */
};

static void
end_run(struct draft *d)
{
	size_t n = wr_len(&d->t) - d->run;

	if (n > 0)
		d->pieces[d->n_pieces++] =
		    (struct piece){ PIECE_TEXT, 0, (uint16_t)d->run, (uint16_t)n };
	d->run = wr_len(&d->t);
}

static void
put_piece(struct draft *d, enum piece_kind kind, unsigned var)
{
	end_run(d);
	d->pieces[d->n_pieces++] = (struct piece){ (uint8_t)kind, (uint8_t)var, 0, 0 };
}

static void
put_text(struct draft *d, struct slice s)
{
	wr_bytes(&d->t, s);
	wr_bytes(&d->s, s);
}

static void
put_var(struct draft *d, enum authz_var var, uint8_t letter)
{
	put_piece(d, PIECE_VAR, var);
	d->vars |= 1u << var;
	wr_u8(&d->s, '%');
	wr_u8(&d->s, letter);
}

/* The letter behind a '%'. Returns the fault or NULL. */
static const char *
put_percent(struct draft *d, uint8_t letter, struct slice prefix)
{
	switch (letter) {
	case 'c':
		put_var(d, AUTHZ_VAR_CLIENT_ID, letter);
		return NULL;
	case 'u':
		put_var(d, AUTHZ_VAR_USER, letter);
		return NULL;
	case 't':
		put_var(d, AUTHZ_VAR_TENANT, letter);
		return NULL;
	case 'd':
		put_var(d, AUTHZ_VAR_DEVICE, letter);
		return NULL;
	case 'p':
		put_text(d, prefix);
		return prefix.p != NULL ? NULL : "%p needs a line `define prefix …` before it";
	case '%':
		wr_u8(&d->t, '%');
		wr_bytes(&d->s, SL("%%"));
		return NULL;
	default:
		return "expected one of %c %u %t %d %p %% behind the '%'";
	}
}

static void
put_plus(struct draft *d)
{
	put_piece(d, PIECE_PLUS, 0);
	wr_u8(&d->s, '+');
}

static void
put_hash(struct draft *d, bool alone)
{
	if (alone) {
		put_piece(d, PIECE_ALL, 0);
	} else {
		if (wr_ok(&d->t))
			d->t.p--; /* the '/' before it: "a/#" is "a" too (4.7.1.2) */
		put_piece(d, PIECE_HASH, 0);
	}
	wr_u8(&d->s, '#');
}

static bool
is_var(uint8_t c, uint8_t next, enum authz_syntax syntax)
{
	if (c != '%' || next == 0 || syntax == AUTHZ_SYNTAX_PLAIN)
		return false;
	return syntax == AUTHZ_SYNTAX_POLICY || next == 'c' || next == 'u';
}

static const char *
compile(struct draft *d, struct slice text, enum authz_syntax syntax, struct slice prefix)
{
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i], next = i + 1 < text.n ? text.p[i + 1] : 0;
		const char *fault = NULL;

		if (is_var(c, next, syntax))
			fault = put_percent(d, text.p[++i], prefix);
		else if (c == '%' && syntax == AUTHZ_SYNTAX_POLICY)
			fault = "expected one of %c %u %t %d %p %% at the end";
		else if (c == '+')
			put_plus(d);
		else if (c == '#')
			put_hash(d, text.n == 1);
		else
			put_text(d, slice_of(&c, 1));
		if (fault != NULL)
			return fault;
	}
	end_run(d);
	return wr_ok(&d->t) && wr_ok(&d->s) ? NULL : "the topic is longer than 1,024 bytes";
}

static struct authz_template *
seal(const struct draft *d)
{
	size_t pieces = d->n_pieces * sizeof d->pieces[0], text = wr_len(&d->t),
	       source = wr_len(&d->s);
	struct authz_template *t = malloc(sizeof *t + pieces + text + source);
	uint8_t *bytes;

	if (t == NULL)
		return NULL;
	bytes = (uint8_t *)t->pieces + pieces;
	*t = (struct authz_template){ .n_pieces = (uint16_t)d->n_pieces,
		.source_at = (uint16_t)text,
		.source_n = (uint16_t)source,
		.vars = (uint8_t)d->vars,
		.text = bytes };
	memcpy(t->pieces, d->pieces, pieces);
	memcpy(bytes, d->text, text);
	memcpy(bytes + text, d->source, source);
	return t;
}

struct authz_template *
authz_template_new(
    struct slice text, enum authz_syntax syntax, struct slice prefix, const char **ret_fault)
{
	struct draft *d;
	struct authz_template *t = NULL;

	if (text.n > AUTHZ_LINE_MAX || !topic_filter_ok(text)) {
		*ret_fault = "expected a topic filter: '+' and '#' only as whole levels, '#' only "
			     "as the last";
		return NULL;
	}
	*ret_fault = NULL;
	d = malloc(sizeof *d);
	if (d == NULL)
		return NULL;
	d->n_pieces = d->vars = 0;
	d->run = 0;
	d->t = wr_of(d->text, sizeof d->text);
	d->s = wr_of(d->source, sizeof d->source);
	*ret_fault = compile(d, text, syntax, prefix);
	if (*ret_fault == NULL)
		t = seal(d);
	free(d);
	return t;
}

void
authz_template_free(struct authz_template *t)
{
	free(t);
}

unsigned
authz_template_vars(const struct authz_template *t)
{
	return t->vars;
}

struct slice
authz_template_source(const struct authz_template *t)
{
	return slice_of(t->text + t->source_at, t->source_n);
}

/* A topic that begins with '$' is the broker's: no name of a client may lead there. */
static enum authz_match
value_of(const struct authz_values *v, unsigned var, bool first, struct slice *ret)
{
	struct slice s = v->v[var];

	if (s.n == 0)
		return AUTHZ_NO;
	if ((v->unfit & 1u << var) != 0 || (first && s.p[0] == '$'))
		return AUTHZ_UNFIT;
	*ret = s;
	return AUTHZ_YES;
}

/* Take <s> off the front of <rest>. */
static bool
eat(struct slice *rest, struct slice s)
{
	if (!slice_starts(*rest, s))
		return false;
	*rest = slice_from(*rest, s.n);
	return true;
}

static void
eat_level(struct slice *rest)
{
	const uint8_t *end = rest->n > 0 ? memchr(rest->p, '/', rest->n) : NULL;

	*rest = slice_from(*rest, end != NULL ? (size_t)(end - rest->p) : rest->n);
}

enum authz_match
authz_template_matches(
    const struct authz_template *t, const struct authz_values *v, struct slice name)
{
	struct slice rest = name, value;

	for (unsigned i = 0; i < t->n_pieces; i++) {
		const struct piece *p = &t->pieces[i];
		enum authz_match m;

		switch ((enum piece_kind)p->kind) {
		case PIECE_TEXT:
			if (!eat(&rest, slice_of(t->text + p->at, p->n)))
				return AUTHZ_NO;
			break;
		case PIECE_VAR:
			if ((m = value_of(v, p->var, i == 0, &value)) != AUTHZ_YES)
				return m;
			if (!eat(&rest, value))
				return AUTHZ_NO;
			break;
		case PIECE_PLUS:
			if (i == 0 && rest.n > 0 && rest.p[0] == '$')
				return AUTHZ_NO; /* [MQTT-4.7.2-1] */
			eat_level(&rest);
			break;
		case PIECE_HASH:
			return rest.n == 0 || rest.p[0] == '/' ? AUTHZ_YES : AUTHZ_NO;
		case PIECE_ALL:
			return rest.n > 0 && rest.p[0] == '$' ? AUTHZ_NO
							      : AUTHZ_YES; /* [MQTT-4.7.2-1] */
		}
	}
	return rest.n == 0 ? AUTHZ_YES : AUTHZ_NO;
}

enum authz_match
authz_template_expand(
    const struct authz_template *t, const struct authz_values *v, uint8_t *out, struct slice *ret)
{
	struct wr w = wr_of(out, AUTHZ_EXPANSION_MAX);
	struct slice value;

	for (unsigned i = 0; i < t->n_pieces; i++) {
		const struct piece *p = &t->pieces[i];
		enum authz_match m;

		switch ((enum piece_kind)p->kind) {
		case PIECE_TEXT:
			wr_bytes(&w, slice_of(t->text + p->at, p->n));
			break;
		case PIECE_VAR:
			if ((m = value_of(v, p->var, i == 0, &value)) != AUTHZ_YES)
				return m;
			wr_bytes(&w, value);
			break;
		case PIECE_PLUS:
			wr_u8(&w, '+');
			break;
		case PIECE_HASH:
			wr_bytes(&w, SL("/#"));
			break;
		case PIECE_ALL:
			wr_u8(&w, '#');
			break;
		}
	}
	if (!wr_ok(&w))
		return AUTHZ_UNFIT;
	*ret = wr_slice(&w);
	return AUTHZ_YES;
}
