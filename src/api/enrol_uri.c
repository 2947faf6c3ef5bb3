/* Where a device goes with its secret, and the root by which it knows that it has come there. */
#include "api/enrol_uri.h"

#include <openssl/pem.h>
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
		if (a->config->listeners[i].port != 0 && !a->config->listeners[i].plain)
			return a->config->listeners[i].port;
	return 443;
}

/* A ':' behind the brackets of an IPv6 address, if it has any. */
static bool
has_port(struct slice host)
{
	const uint8_t *colon, *bracket;

	if (host.n == 0)
		return false;
	colon = memrchr(host.p, ':', host.n);
	bracket = memrchr(host.p, ']', host.n);
	return colon != NULL && (bracket == NULL || colon > bracket);
}

static bool
is_host(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t lower = (uint8_t)(s.p[i] | 0x20);

		if (!(lower >= 'a' && lower <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') && (s.p[i] == 0 || strchr("-.:_[]", s.p[i]) == NULL))
			return false;
	}
	return s.n > 0;
}

bool
enrol_host(const struct call *c, struct slice asked, char *out, size_t cap)
{
	char own[256] = "";
	int n;

	if (asked.n == 0)
		asked = slice_str(c->api->config->enrol_host);
	if (asked.n == 0 && c->chan != NULL && !chan_is_local(c->chan) && (!http_header(&c->head, "Host", &asked) || !is_host(asked)))
		asked = (struct slice){ 0 };
	if (asked.n == 0)
		asked = slice_str(c->api->config->own_host);
	if (asked.n == 0 && gethostname(own, sizeof(own) - 1) == 0)
		asked = slice_str(own);
	if (!is_host(asked))
		return false;
	n = has_port(asked) ? snprintf(out, cap, "%.*s", SL_ARG(asked)) : snprintf(out, cap, "%.*s:%u", SL_ARG(asked), https_port(c->api));
	return n > 0 && (size_t)n < cap;
}

/* The registry has it also where pki/ can be read by nobody but root any more. pki/ca.pem begins with it. */
static bool
root_text(const struct api *a, uint8_t **ret, size_t *ret_n, struct err *err)
{
	char path[PKI_PATH_MAX], *pem = NULL;
	struct registry_ca x;
	bool found = false;
	BIO *b;
	long n;

	if (registry_ca_get(a->registry, SL("root"), &x, NULL)) {
		b = x.parent.n == 0 && x.der.n > 0 ? BIO_new(BIO_s_mem()) : NULL;
		if (b != NULL && PEM_write_bio(b, "CERTIFICATE", "", x.der.p, (long)x.der.n) > 0 && (n = BIO_get_mem_data(b, &pem)) > 0) {
			*ret = (uint8_t *)text_dup(slice_of(pem, (size_t)n));
			*ret_n = (size_t)n;
			found = *ret != NULL;
		}
		(void)BIO_free(b);
		free(x.mem);
	}
	if (found)
		return true;
	if (!path_join(path, sizeof(path), a->config->dir, "pki/ca.pem"))
		return err_set(err, ERR_LIMIT, "%s: the path is too long", a->config->dir);
	return file_read(path, PKI_FILE_MAX, ret, ret_n, err);
}

char *
enrol_root(const struct api *a, char ret_sha256[static 65], struct err *err)
{
	static const char end[] = "-----END CERTIFICATE-----\n";
	char *text = NULL;
	uint8_t print[32], *data = NULL;
	const uint8_t *at;
	size_t n = 0;

	if (!root_text(a, &data, &n, err) || data == NULL)
		return NULL;
	at = memmem(data, n, end, sizeof(end) - 1);
	if (at == NULL || !pki_fingerprint(slice_of(data, n), print))
		(void)err_set(err, ERR_INPUT, "%s/pki/ca.pem has no certificate in it", a->config->dir);
	else if ((text = text_dup(slice_of(data, (size_t)(at - data) + sizeof(end) - 1))) == NULL)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	else
		(void)text_hex(slice_of(print, sizeof(print)), ret_sha256, 65);
	free(data);
	return text;
}

bool
enrol_uri(const struct call *c, struct slice device, struct slice secret, char out[static ENROL_TOKEN_CAP], struct err *err)
{
	struct enrol_token t;
	char *root;
	bool ok;

	if (!enrol_host(c, call_text(c, "host"), t.host, sizeof(t.host)))
		return err_set(err, ERR_INPUT, "it is not known under which name devices reach this: say \"host\", or set enrol_host in signet.conf");
	root = enrol_root(c->api, t.ca, err);
	if (root == NULL)
		return false;
	free(root);
	ok = text_copy(t.device, sizeof(t.device), device) && text_copy(t.secret, sizeof(t.secret), secret) && enrol_token_write(&t, out);
	return ok || err_set(err, ERR_LIMIT, "the token is too long");
}
