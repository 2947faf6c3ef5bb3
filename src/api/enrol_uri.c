/* The text of a token: with the fingerprint of the root in it, so that the first contact is no leap of faith. */
#include "api/enrol_uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "pki/pki.h"

static unsigned
https_port(const struct api *a)
{
	for (unsigned i = 0; i < a->config->n_listeners; i++)
		if (a->config->listeners[i].port != 0)
			return a->config->listeners[i].port;
	return 443;
}

/* A ':' behind the brackets of an IPv6 address, if it has any. */
static bool
has_port(struct slice host)
{
	const uint8_t *colon = memrchr(host.p, ':', host.n), *bracket = memrchr(host.p, ']', host.n);

	return colon != NULL && (bracket == NULL || colon > bracket);
}

static bool
is_host(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') && (s.p[i] == 0 || strchr("-.:_[]", s.p[i]) == NULL))
			return false;
	return s.n > 0;
}

bool
enrol_host(const struct call *c, struct slice asked, char *out, size_t cap)
{
	const char *configured = c->api->config->enrol_host;
	char own[256] = "";
	int n;

	if (asked.n == 0)
		asked = slice_str(configured);
	if (asked.n == 0 && c->chan != NULL && !chan_is_local(c->chan) && (!http_header(&c->head, "Host", &asked) || !is_host(asked)))
		asked = (struct slice){ 0 };
	if (asked.n == 0 && gethostname(own, sizeof(own) - 1) == 0)
		asked = slice_str(own);
	if (!is_host(asked))
		return false;
	n = has_port(asked) ? snprintf(out, cap, "%.*s", SL_ARG(asked)) : snprintf(out, cap, "%.*s:%u", SL_ARG(asked), https_port(c->api));
	return n > 0 && (size_t)n < cap;
}

/* pki/ca.pem begins with the root. */
char *
enrol_root(const struct api *a, struct err *err)
{
	static const char end[] = "-----END CERTIFICATE-----\n";
	char path[PKI_PATH_MAX], *text = NULL;
	const uint8_t *at;
	uint8_t *data;
	size_t n;

	if (!path_join(path, sizeof(path), a->config->dir, "pki/ca.pem")) {
		(void)err_set(err, ERR_LIMIT, "%s: the path is too long", a->config->dir);
		return NULL;
	}
	if (!file_read(path, PKI_FILE_MAX, &data, &n, err))
		return NULL;
	at = memmem(data, n, end, sizeof(end) - 1);
	if (at == NULL)
		(void)err_set(err, ERR_INPUT, "%s has no certificate in it", path);
	else if ((text = text_dup(slice_of(data, (size_t)(at - data) + sizeof(end) - 1))) == NULL)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	free(data);
	return text;
}

bool
enrol_uri(const struct api *a, const struct enrol_uri *u, char out[static ENROL_URI_CAP], struct err *err)
{
	char *root = enrol_root(a, err), hex[65], name[3 * 4 * REGISTRY_NAME_MAX + 1];
	uint8_t print[32];
	size_t at = 0;
	int n;

	if (root == NULL)
		return false;
	if (!pki_fingerprint(slice_str(root), print)) {
		free(root);
		return err_set(err, ERR_INPUT, "the root's certificate cannot be read");
	}
	free(root);
	name[0] = '\0';
	for (size_t i = 0; i < u->device.n && at + 4 < sizeof(name); i++) {
		uint8_t c = u->device.p[i], lower = (uint8_t)(c | 0x20);
		bool plain = (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || (c != 0 && strchr("-._~", c) != NULL);

		at += (size_t)snprintf(name + at, sizeof(name) - at, plain ? "%c" : "%%%02X", c);
	}
	n = snprintf(out, ENROL_URI_CAP, "signet://%s/%s?ca=%s#%.*s", u->host, name, text_hex(slice_of(print, sizeof(print)), hex, sizeof(hex)), SL_ARG(u->secret));
	return (n > 0 && n < ENROL_URI_CAP) || err_set(err, ERR_LIMIT, "the token is too long");
}
