/* Requests to the control process of this machine. */
#include "cli/local.h"

#include "base/file.h"
#include "base/text.h"
#include "cli/internal.h"
#include "server/server.h"

struct https *
local_open(const char *dir, struct err *err)
{
	char conf[PKI_PATH_MAX], path[PKI_PATH_MAX];
	struct https_config c = { .base = "http://localhost", .socket = path };

	if (!site_dir(dir, &dir, err))
		return NULL;
	if (!path_join(conf, sizeof conf, dir, "signet.conf")) {
		(void)err_set(err, ERR_USAGE, "%s: the path is too long", dir);
		return NULL;
	}
	return server_api_path(conf, path, sizeof path, err) ? https_open(&c, err) : NULL;
}

static enum err_code
code_of(long status)
{
	switch (status) {
	case 401:
	case 403:
		return ERR_DENIED;
	case 404:
		return ERR_MISSING;
	case 409:
		return ERR_EXISTS;
	case 429:
		return ERR_LIMIT;
	default:
		return status >= 500 ? ERR_SYSTEM : ERR_INPUT;
	}
}

bool
local_read(const struct https_answer *a, json_t **ret, struct err *err)
{
	json_t *o = a->n > 0 ? json_loadb(a->body, a->n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *detail = json_string_value(json_object_get(o, "detail")), *remedy = json_string_value(json_object_get(o, "remedy"));
	const char *field = json_string_value(json_object_get(json_array_get(json_object_get(o, "errors"), 0), "detail"));
	char said[300], more[300];
	bool ok = a->status >= 200 && a->status < 300;

	if (!ok && detail != NULL)
		(void)err_set(err, code_of(a->status), "%s%s%s", text_show(slice_str(field != NULL ? field : detail), said, sizeof said), remedy != NULL ? "; " : "",
		    text_show(slice_str(remedy != NULL ? remedy : ""), more, sizeof more));
	else if (!ok || (a->n > 0 && o == NULL))
		ok = err_set(err, code_of(a->status), "the answer (status %ld) is not Signet's", a->status);
	if (ok && ret != NULL)
		*ret = o;
	else
		json_decref(o);
	return ok;
}

static bool
read_all(bool answered, struct https_answer *a, json_t **ret, struct err *err)
{
	bool ok;

	if (!answered)
		return err_prefix(err, "control does not answer (does `signet serve` run?)");
	ok = local_read(a, ret, err);
	https_answer_done(a);
	return ok;
}

bool
local_ask(struct https *h, const char *path, const char *name, json_t *body, json_t **ret, struct err *err)
{
	struct https_answer a;
	bool answered = https_ask(h, path, name, body, &a, err);

	json_decref(body);
	return read_all(answered, &a, ret, err);
}

bool
local_post(struct https *h, const char *path, const char *name, json_t **ret, struct err *err)
{
	struct https_answer a;

	return read_all(https_post(h, path, name, &a, err), &a, ret, err);
}

bool
local_delete(struct https *h, const char *path, const char *name, struct err *err)
{
	struct https_answer a;

	return read_all(https_delete(h, path, name, &a, err), &a, NULL, err);
}
