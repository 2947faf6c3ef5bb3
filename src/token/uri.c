/* PKCS#11 URIs (RFC 7512): which token, which key in it, and by whose module. */
#include "token/internal.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"

/* RFC 3986 2.1. False: malformed, or more than <cap>. */
static bool
decode(struct slice s, uint8_t *out, size_t cap, size_t *ret_n)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++, n++) {
		int high, low;

		if (n == cap)
			return false;
		out[n] = s.p[i];
		if (s.p[i] != '%')
			continue;
		if (s.n - i < 3 || (high = text_hex_digit(s.p[i + 1])) < 0 || (low = text_hex_digit(s.p[i + 2])) < 0)
			return false;
		out[n] = (uint8_t)(high << 4 | low);
		i += 2;
	}
	*ret_n = n;
	return true;
}

/* As text: no NUL, nothing empty. */
static bool
decode_text(struct slice s, char *out, size_t cap)
{
	size_t n;

	if (!decode(s, (uint8_t *)out, cap - 1, &n) || n == 0 || memchr(out, 0, n) != NULL)
		return false;
	out[n] = '\0';
	return true;
}

static bool
take(struct token_uri *u, struct slice name, struct slice value, bool query, struct err *err)
{
	char shown[64];
	bool ok;

	if (!query && slice_eq(name, SL("token")))
		ok = u->token[0] == '\0' && decode_text(value, u->token, sizeof(u->token));
	else if (!query && slice_eq(name, SL("serial")))
		ok = u->serial[0] == '\0' && decode_text(value, u->serial, sizeof(u->serial));
	else if (!query && slice_eq(name, SL("object")))
		ok = u->object[0] == '\0' && decode_text(value, u->object, sizeof(u->object));
	else if (!query && slice_eq(name, SL("id")))
		ok = u->id_n == 0 && decode(value, u->id, sizeof(u->id), &u->id_n) && u->id_n > 0;
	else if (!query && slice_eq(name, SL("type")))
		ok = slice_eq(value, SL("private"));
	else if (query && slice_eq(name, SL("module-path")))
		ok = u->module[0] == '\0' && decode_text(value, u->module, sizeof(u->module));
	else if (query && slice_eq(name, SL("pin-source")))
		ok = u->pin_file[0] == '\0' && value.n > 5 && slice_eq(slice_of(value.p, 5), SL("file:")) &&
		    decode_text(slice_from(value, 5), u->pin_file, sizeof(u->pin_file));
	else if (slice_eq(name, SL("pin-value")))
		return err_set(err, ERR_USAGE, "a PIN does not belong into a PKCS#11 URI: give a file with pin-source=file:…");
	else
		return err_set(err, ERR_USAGE, "\"%s\" in a PKCS#11 URI is not known here (token, serial, object, id; module-path, pin-source=file:…)",
		    text_show(name, shown, sizeof(shown)));
	return ok || err_set(err, ERR_USAGE, "the value of \"%s\" in the PKCS#11 URI is malformed, too long, or there twice", text_show(name, shown, sizeof(shown)));
}

static bool
take_all(struct token_uri *u, struct slice list, bool query, struct err *err)
{
	bool more = list.n > 0;

	while (more) {
		struct slice value = slice_cut(&list, query ? '&' : ';', &more), name;
		bool has;

		name = slice_cut(&value, '=', &has);
		if (!take(u, name, has ? value : SL(""), query, err))
			return false;
	}
	return true;
}

bool
token_uri_parse(struct slice uri, struct token_uri *ret, struct err *err)
{
	struct token_uri u = { .id_n = 0 };
	struct slice path;
	bool has;

	if (uri.n < 7 || uri.n >= TOKEN_URI_MAX || !slice_eq(slice_of(uri.p, 7), SL("pkcs11:")))
		return err_set(err, ERR_USAGE, "a PKCS#11 URI begins with \"pkcs11:\" (RFC 7512), for example pkcs11:token=signet?module-path=/usr/lib/softhsm/libsofthsm2.so");
	uri = slice_from(uri, 7);
	path = slice_cut(&uri, '?', &has);
	if (!take_all(&u, path, false, err) || (has && !take_all(&u, uri, true, err)))
		return false;
	if (u.module[0] != '/')
		return err_set(err, ERR_USAGE, "the PKCS#11 URI has no module-path=/… of the token's library");
	if (u.token[0] == '\0' && u.serial[0] == '\0')
		return err_set(err, ERR_USAGE, "the PKCS#11 URI does not say which token is meant (token=LABEL)");
	*ret = u;
	return true;
}

bool
token_uri_add_object(const char *uri, const char *name, char out[static TOKEN_URI_MAX])
{
	const char *query = strchr(uri, '?');
	size_t n = query != NULL ? (size_t)(query - uri) : strlen(uri);
	int len = snprintf(out, TOKEN_URI_MAX, "%.*s;object=%s%s", (int)NUM_MIN(n, (size_t)TOKEN_URI_MAX), uri, name, query != NULL ? query : "");

	return len > 0 && len < TOKEN_URI_MAX;
}
