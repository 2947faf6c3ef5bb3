/* HTTPS requests with libcurl: verified unless told otherwise, bounded in time and size, no redirections. */
#include "cli/https.h"

#include <curl/curl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/secret.h"
#include "base/slice.h"
#include "base/text.h"

struct https {
	CURL *curl;
	char base[512];
	char said[CURL_ERROR_SIZE];
	struct curl_slist *headers;
	bool plain;
};

static size_t
on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct https_answer *a = ctx;
	char *grown;

	n *= size;
	if (n > HTTPS_ANSWER_MAX - a->n)
		return 0; /* too much: curl ends the transfer */
	grown = malloc(a->n + n + 1); /* not realloc: what it leaves behind could be a secret */
	if (grown == NULL)
		return 0;
	if (a->n > 0)
		memcpy(grown, a->body, a->n);
	memcpy(grown + a->n, data, n);
	grown[a->n + n] = '\0';
	secret_free(a->body, a->n);
	a->body = grown;
	a->n += n;
	return n;
}

void
https_answer_done(struct https_answer *a)
{
	secret_free(a->body, a->n);
	*a = (struct https_answer){ 0 };
}

static void
wipe_free(void *p)
{
	secret_free(p, p != NULL ? malloc_usable_size(p) : 0);
}

void
https_wipe_json(void)
{
	json_set_alloc_funcs(malloc, wipe_free);
}

static bool
set_base(struct https *h, const char *base, struct err *err)
{
	const char *scheme = strstr(base, "://") != NULL ? "" : "https://";
	size_t n = strlen(base);

	while (n > 0 && base[n - 1] == '/')
		n--;
	if ((size_t)snprintf(h->base, sizeof h->base, "%s%.*s", scheme, (int)(n < sizeof h->base ? n : sizeof h->base), base) >= sizeof h->base)
		return err_set(err, ERR_USAGE, "the host is longer than %zu bytes", sizeof h->base - 1);
	h->plain = strncmp(h->base, "http://", 7) == 0;
	if (!h->plain && strncmp(h->base, "https://", 8) != 0)
		return err_set(err, ERR_USAGE, "the host's scheme is https:// or http://");
	return true;
}

static void
drop_headers(struct https *h)
{
	for (struct curl_slist *s = h->headers; s != NULL; s = s->next)
		secret_wipe(s->data, strlen(s->data));
	curl_slist_free_all(h->headers);
	h->headers = NULL;
}

static bool
add_header(struct https *h, const char *line)
{
	struct curl_slist *more = curl_slist_append(h->headers, line);

	if (more != NULL)
		h->headers = more;
	return more != NULL;
}

static bool
say_json(struct https *h)
{
	drop_headers(h);
	return add_header(h, "Content-Type: application/json") && add_header(h, "Accept: application/json");
}

struct https *
https_open(const struct https_config *c, struct err *err)
{
	struct https *h = calloc(1, sizeof *h);
	bool ok;

	if (h == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || (h->curl = curl_easy_init()) == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		free(h);
		return NULL;
	}
	ok = set_base(h, c->base, err);
	if (ok && (curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->said) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, (long)HTTPS_SECONDS) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L) != CURLE_OK || curl_easy_setopt(h->curl, CURLOPT_NOPROXY, "*") != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_USERAGENT, "signet/" SIGNET_VERSION) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK ||
	    (c->cafile != NULL && (curl_easy_setopt(h->curl, CURLOPT_CAINFO, c->cafile) != CURLE_OK || curl_easy_setopt(h->curl, CURLOPT_CAPATH, NULL) != CURLE_OK)) ||
	    (c->socket != NULL && curl_easy_setopt(h->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket) != CURLE_OK) ||
	    (c->unverified && (curl_easy_setopt(h->curl, CURLOPT_SSL_VERIFYPEER, 0L) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_SSL_VERIFYHOST, 0L) != CURLE_OK))))
		ok = err_set(err, ERR_SYSTEM, "libcurl cannot do what is needed of it");
	if (ok && !say_json(h))
		ok = err_set(err, ERR_MEMORY, "out of memory");
	if (ok)
		return h;
	https_close(h);
	return NULL;
}

void
https_close(struct https *h)
{
	if (h == NULL)
		return;
	curl_easy_cleanup(h->curl);
	drop_headers(h);
	free(h);
}

void
https_patience(struct https *h, unsigned seconds)
{
	(void)curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, (long)seconds);
}

bool
https_is_plain(const struct https *h)
{
	return h->plain;
}

bool
https_bearer(struct https *h, const char *token, struct err *err)
{
	size_t n = strlen(token);
	char *line;
	bool ok;

	if (n == 0 || strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=") != n)
		return err_set(err, ERR_INPUT, "the answer's token is none");
	if ((line = malloc(n + 32)) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	(void)snprintf(line, n + 32, "Authorization: Bearer %s", token);
	ok = say_json(h) && add_header(h, line);
	secret_free(line, n + 32);
	return ok || err_set(err, ERR_MEMORY, "out of memory");
}

static bool
set_url(struct https *h, const char *path, const char *name, struct err *err)
{
	char url[2048];
	char *escaped = curl_easy_escape(h->curl, name, 0);
	const char *mark = strstr(path, "%s");
	int n = escaped == NULL ? -1 : mark == NULL ?
	    snprintf(url, sizeof url, "%s%s", h->base, path) :
	    snprintf(url, sizeof url, "%s%.*s%s%s", h->base, (int)(mark - path), path, escaped, mark + 2);

	curl_free(escaped);
	if (n < 0 || (size_t)n >= sizeof url)
		return err_set(err, ERR_USAGE, "the address is too long");
	return curl_easy_setopt(h->curl, CURLOPT_URL, url) == CURLE_OK || err_set(err, ERR_MEMORY, "out of memory");
}

static bool
explain(const struct https *h, CURLcode code, const struct https_answer *a, struct err *err)
{
	char shown[CURL_ERROR_SIZE + 64], host[300];

	(void)text_show(slice_str(h->said[0] != '\0' ? h->said : curl_easy_strerror(code)), shown, sizeof shown);
	(void)text_show(slice_str(h->base), host, sizeof host);
	if (code == CURLE_WRITE_ERROR)
		return err_set(err, ERR_LIMIT, "%s answers with more than %d bytes (%zu so far)", host, HTTPS_ANSWER_MAX, a->n);
	if (code == CURLE_PEER_FAILED_VERIFICATION)
		return err_set(err, ERR_DENIED, "%s is not trusted: %s; --cafile FILE names the CA of its certificate", host, shown);
	return err_set(err, ERR_SYSTEM, "cannot ask %s: %s", host, shown);
}

static bool
ask_as(struct https *h, const char *method, const char *path, const char *name, struct https_answer *ret, struct err *err)
{
	bool ok = curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK ? https_ask(h, path, name, NULL, ret, err) : err_set(err, ERR_MEMORY, "out of memory");

	(void)curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, NULL);
	return ok;
}

bool
https_post(struct https *h, const char *path, const char *name, struct https_answer *ret, struct err *err)
{
	return ask_as(h, "POST", path, name, ret, err);
}

bool
https_delete(struct https *h, const char *path, const char *name, struct https_answer *ret, struct err *err)
{
	return ask_as(h, "DELETE", path, name, ret, err);
}

bool
https_ask(struct https *h, const char *path, const char *name, const json_t *body, struct https_answer *ret, struct err *err)
{
	struct https_answer a = { 0 };
	char *text = NULL;
	CURLcode code;
	bool ok = set_url(h, path, name, err);

	if (!ok)
		return false;
	if (body != NULL) {
		text = json_dumps(body, JSON_COMPACT);
		ok = text != NULL && curl_easy_setopt(h->curl, CURLOPT_POST, 1L) == CURLE_OK &&
		    curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, text) == CURLE_OK;
	} else {
		ok = curl_easy_setopt(h->curl, CURLOPT_HTTPGET, 1L) == CURLE_OK;
	}
	ok = ok && curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, h->headers) == CURLE_OK &&
	    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, &a) == CURLE_OK;
	if (ok) {
		h->said[0] = '\0';
		code = curl_easy_perform(h->curl);
		ok = code == CURLE_OK && curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &a.status) == CURLE_OK;
		ok = ok || explain(h, code, &a, err);
	} else {
		(void)err_set(err, ERR_MEMORY, "out of memory");
	}
	(void)curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, NULL);
	if (text != NULL)
		secret_free(text, strlen(text));
	if (!ok) {
		https_answer_done(&a);
		return false;
	}
	*ret = a;
	return true;
}
