/* Ids of a fleet's devices, and the devices. */
#include "api/enrol_fleet.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

enum { TRIES_MAX = 10000, WIDTH_MAX = 12, ID_CAP = 4 * REGISTRY_NAME_MAX + 1 };

/* ---- patterns ---- */

/* One part of a pattern: text, then a placeholder or the end. */
struct part {
	struct slice text;
	char what;       /* 'n', 'm' (the name), '\0': the end */
	unsigned width;
};

static bool
next_part(struct slice *rest, struct part *ret)
{
	const uint8_t *open = memchr(rest->p, '{', rest->n);
	struct slice in, digits;
	uint64_t width = 0;
	bool more, sep;

	*ret = (struct part){ .text = *rest };
	if (open == NULL)
		return memchr(rest->p, '}', rest->n) == NULL;
	ret->text.n = (size_t)(open - rest->p);
	*rest = slice_from(*rest, ret->text.n + 1);
	in = slice_cut(rest, '}', &more);
	if (!more || memchr(ret->text.p, '}', ret->text.n) != NULL)
		return false;
	ret->what = slice_eq(in, SL("name")) ? 'm' : 'n';
	if (ret->what == 'm')
		return true;
	digits = in;
	in = slice_cut(&digits, ':', &sep);
	if (!slice_eq(in, SL("n")) || (sep && !text_u64(digits, 1, WIDTH_MAX, &width)))
		return false;
	ret->width = (unsigned)width;
	return true;
}

bool
fleet_pattern_ok(struct slice pattern, const char **ret_why)
{
	struct part p = { .what = 'n' };
	unsigned n = 0, of_name = 0;

	*ret_why = "{n}, {n:DIGITS} and {name} are its placeholders";
	while (p.what != '\0') {
		if (!next_part(&pattern, &p))
			return false;
		if (p.text.n > 0 && !rule_device.ok(p.text)) {
			*ret_why = "it has characters that no id may have";
			return false;
		}
		n += p.what == 'n';
		of_name += p.what == 'm';
	}
	*ret_why = "it needs {n} or {name}, each at most once, so that no two devices get the same id";
	return n <= 1 && of_name <= 1 && n + of_name > 0;
}

/* False: it does not fit, or is no id. */
static bool
fill(struct slice pattern, struct slice name, uint64_t number, char out[static ID_CAP])
{
	struct part p = { .what = 'n' };
	size_t at = 0;

	while (p.what != '\0' && next_part(&pattern, &p)) {
		char digits[32];
		struct slice value = p.what == 'm' ? name : (struct slice){ 0 };

		if (p.what == 'n') {
			(void)snprintf(digits, sizeof(digits), "%0*llu", (int)p.width, (unsigned long long)number);
			value = slice_str(digits);
		}
		if (p.text.n + value.n >= ID_CAP - at)
			return false;
		memcpy(out + at, p.text.p, p.text.n);
		at += p.text.n;
		if (value.n > 0)
			memcpy(out + at, value.p, value.n);
		at += value.n;
	}
	out[at] = '\0';
	return rule_device.ok(slice_of(out, at));
}

static bool
has(struct slice pattern, char what)
{
	struct part p = { .what = 'n' };

	while (p.what != '\0' && next_part(&pattern, &p))
		if (p.what == what)
			return true;
	return false;
}

/* ---- names ---- */

static X509_REQ *
read_request(struct slice csr)
{
	const unsigned char *p = csr.p;
	X509_REQ *q = d2i_X509_REQ(NULL, &p, (long)csr.n);
	BIO *b;

	if (q != NULL || (b = BIO_new_mem_buf(csr.p, (int)csr.n)) == NULL)
		return q;
	q = PEM_read_bio_X509_REQ(b, NULL, NULL, NULL);
	(void)BIO_free(b);
	return q;
}

/* The common name in a request; what may be an id is looked at later. */
static bool
request_name(struct slice csr, char out[static ID_CAP])
{
	X509_REQ *q = csr.n <= INT_MAX ? read_request(csr) : NULL;
	X509_NAME *name = q != NULL ? X509_REQ_get_subject_name(q) : NULL;
	int at = name != NULL ? X509_NAME_get_index_by_NID(name, NID_commonName, -1) : -1;
	unsigned char *text = NULL;
	int n = at >= 0 ? ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at))) : -1;
	bool ok = n > 0 && text_copy(out, ID_CAP, slice_of(text, (size_t)n));

	OPENSSL_free(text);
	X509_REQ_free(q);
	return ok;
}

static struct slice
member(const json_t *v, const char *name)
{
	const json_t *m = json_object_get(v, name);

	return json_is_string(m) ? slice_of(json_string_value(m), json_string_length(m)) : (struct slice){ 0 };
}

static bool
make_cn(const struct fleet_question *q, const char *id, char *out, size_t cap)
{
	int n = q->tenant.n > 0 ? snprintf(out, cap, "%.*s:%s", SL_ARG(q->tenant), id) : snprintf(out, cap, "%s", id);

	return n > 0 && (size_t)n < cap && registry_cn_ok(slice_str(out));
}

static bool
choose(const struct fleet_question *q, struct slice pattern, char id[static ID_CAP], char *cn, size_t cn_cap, struct err *err)
{
	char asked[ID_CAP] = "", shown[100];
	struct slice name = q->name;
	bool numbered = has(pattern, 'n');

	if (has(pattern, 'm') && name.n == 0) {
		if (!request_name(q->csr, asked))
			return err_set(err, ERR_INPUT, "the device says no name: neither beside its request nor as common name in it");
		name = slice_str(asked);
	}
	for (int64_t i = 1; i <= (numbered ? TRIES_MAX : 1); i++) {
		if (!fill(pattern, name, (uint64_t)(q->uses + i), id) || !make_cn(q, id, cn, cn_cap))
			return err_set(err, ERR_INPUT, "'%s' makes no id of at most %d characters without / + # :", text_show(name, shown, sizeof(shown)),
			    REGISTRY_NAME_MAX);
		if (q->free(q->ctx, cn))
			return true;
	}
	return err_set(err, ERR_EXISTS, "there is a device '%s' already, and a fleet's secret makes new ones only", text_show(slice_str(id), shown, sizeof(shown)));
}

bool
fleet_name(const struct fleet_question *q, char *ret_id, size_t id_cap, char *ret_cn, size_t cn_cap, struct err *err)
{
	json_t *note = json_loadb((const char *)q->note.p, q->note.n, 0, NULL);
	struct slice pattern = member(note, "pattern");
	char id[ID_CAP];
	bool ok;

	if (pattern.n == 0)
		ok = err_set(err, ERR_DENIED, "it is no device's secret, and no fleet's");
	else
		ok = choose(q, pattern, id, ret_cn, cn_cap, err) && (text_copy(ret_id, id_cap, slice_str(id)) || err_set(err, ERR_INPUT, "the id is too long"));
	json_decref(note);
	return ok;
}

bool
fleet_add(struct registry *r, const struct registry_secret *s, struct slice tenant, struct slice id, struct err *err)
{
	json_t *note = json_loadb((const char *)s->note.p, s->note.n, 0, NULL), *one, *list = json_object_get(note, "templates");
	struct registry_device_new n = { .device = { .tenant = tenant, .id = id, .label = member(note, "label") }, .ca = SL("client"),
		.profile = SL("client"), .by = s->by };
	size_t i;
	bool ok;

	json_array_foreach(list, i, one)
		if (n.device.n_templates < REGISTRY_TEMPLATES_MAX)
			n.device.templates[n.device.n_templates++] = json_integer_value(one);
	ok = registry_device_add(r, &n, err);
	json_decref(note);
	return ok;
}
