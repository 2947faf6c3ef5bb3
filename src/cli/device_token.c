/* signet device token, tokens, withdraw: what a new device is given, so that it gets its certificate by itself. */
#include "cli/internal.h"
#include "cli/local.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "enrol/enrol.h"

struct token {
	const char *dir, *device, *host, *svg, *pattern, *label;
	unsigned hours, max, template;
	bool json, only_uri;
};

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

/* A device that is not there yet is made. */
static bool
have_device(struct https *h, const struct token *t, struct err *err)
{
	json_t *there = NULL;
	bool ok = local_ask(h, "/api/v1/devices/%s", t->device, NULL, &there, err);

	json_decref(there);
	there = NULL;
	if (ok || err->code != ERR_MISSING)
		return ok;
	ok = local_ask(h, "/api/v1/devices", "", json_pack("{s:s, s:s}", "id", t->device, "label", t->label != NULL ? t->label : ""), &there, err);
	json_decref(there);
	if (ok)
		(void)fprintf(stderr, "Device %s is made.\n", t->device);
	return ok;
}

static json_t *
wish(const struct token *t)
{
	json_t *o = json_pack("{s:i}", "hours", (int)t->hours);

	if (t->host != NULL)
		(void)json_object_set_new(o, "host", json_string(t->host));
	if (t->pattern == NULL)
		return o;
	(void)json_object_set_new(o, "pattern", json_string(t->pattern));
	(void)json_object_set_new(o, "max_uses", json_integer((json_int_t)t->max));
	if (t->label != NULL)
		(void)json_object_set_new(o, "label", json_string(t->label));
	if (t->template != 0)
		(void)json_object_set_new(o, "templates", json_pack("[i]", (int)t->template));
	return o;
}

static bool
write_svg(const char *path, const char *uri, struct err *err)
{
	char *svg = qr_svg(uri, err);
	bool ok = svg != NULL && file_write(path, slice_str(svg), 0600, FILE_REPLACE, err);

	if (svg != NULL)
		secret_free(svg, strlen(svg));
	return ok;
}

static bool
show_code(const char *uri, struct err *err)
{
	char *code = qr_text(uri, isatty(STDOUT_FILENO) == 1, err);

	if (code == NULL)
		return false;
	(void)fputs(code, stdout);
	secret_free(code, strlen(code));
	return true;
}

static bool
show_token(const struct token *t, const json_t *made, struct err *err)
{
	const char *uri = text_of(made, "uri");

	if (t->svg != NULL && !write_svg(t->svg, uri, err))
		return false;
	if (t->json) {
		(void)json_dumpf(made, stdout, JSON_INDENT(1));
		(void)printf("\n");
		return true;
	}
	if (!t->only_uri && !show_code(uri, err))
		return false;
	(void)printf("%s\n", uri);
	if (!t->only_uri)
		(void)printf("\nGood until %s, %s. Shown this once. On the device: signet enrol, and this text or a file with it.\nTo take it back: signet device withdraw %lld\n",
		    text_of(made, "expires"), t->pattern != NULL ? "for so many devices" : "once", (long long)json_integer_value(json_object_get(made, "id")));
	return true;
}

static bool
make_token(const struct token *t, struct err *err)
{
	struct https *h = local_open(t->dir, err);
	json_t *made = NULL;
	bool ok = h != NULL;

	if (ok && t->pattern == NULL)
		ok = have_device(h, t, err) && local_ask(h, "/api/v1/devices/%s/enrolment", t->device, wish(t), &made, err);
	else if (ok)
		ok = local_ask(h, "/api/v1/enrolment", "", wish(t), &made, err);
	ok = ok && show_token(t, made, err);
	json_decref(made);
	https_close(h);
	return ok;
}

int
device_token(int argc, char *argv[])
{
	struct token t = { .hours = 24 };
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &t.dir, 0, 0, "the installation (else . or ./run), whose control process runs" },
		{ "hours", "N", ARG_NUMBER, &t.hours, 1, 8760, "for which it is good (24)" },
		{ "host", "HOST[:PORT]", ARG_TEXT, &t.host, 0, 0, "where the device reaches control; else enrol_host of signet.conf, else what its certificate is for" },
		{ "label", "TEXT", ARG_TEXT, &t.label, 0, 0, "of a device that is made" },
		{ "fleet", "PATTERN", ARG_TEXT, &t.pattern, 0, 0, "for many new devices, with ids such as line7-{n:4} or press-{name}" },
		{ "max", "N", ARG_NUMBER, &t.max, 1, 1000000, "with --fleet: how many" },
		{ "template", "N", ARG_NUMBER, &t.template, 1, INT32_MAX, "with --fleet: the template that they are of" },
		{ "svg", "FILE", ARG_TEXT, &t.svg, 0, 0, "write the QR code there, too (mode 0600)" },
		{ "uri", NULL, ARG_FLAG, &t.only_uri, 0, 0, "print the token alone" },
		{ "json", NULL, ARG_FLAG, &t.json, 0, 0, "print an object" },
	};
	const struct args args = { "signet device token ID [options] | --fleet PATTERN --max N [options]",
		"Makes a one-time token for a device, as text and QR code: with it the device gets its certificate (signet enrol), once. A device that is not\n"
		"there is made. With --fleet: one for so many devices that are not there yet. Only its hash is kept: it is shown this once.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet device token sensor01 --svg sensor01.svg\n  signet device token --fleet line7-{n:4} --max 500 --hours 72\n", 0, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	t.device = words > 0 ? argv[1] : NULL;
	if ((t.device == NULL) == (t.pattern == NULL) || (t.pattern == NULL) != (t.max == 0)) {
		(void)err_set(&err, ERR_USAGE, "give the ID of a device, or --fleet PATTERN with --max N");
		return fail(&err);
	}
	https_wipe_json();
	return make_token(&t, &err) ? EXIT_OK : fail(&err);
}

static void
show_rows(const json_t *items)
{
	const json_t *one;
	size_t i;

	json_array_foreach(items, i, one) {
		const char *pattern = text_of(json_object_get(one, "fleet"), "pattern");

		(void)printf("%lld  %s%s  %s, used %lld of %lld, until %s, by %s\n", (long long)json_integer_value(json_object_get(one, "id")), pattern[0] != '\0' ? "fleet " : "",
		    pattern[0] != '\0' ? pattern : text_of(one, "device"),
		    json_is_true(json_object_get(one, "open")) ? "open" : json_is_true(json_object_get(one, "withdrawn")) ? "withdrawn" : "over",
		    (long long)json_integer_value(json_object_get(one, "uses")), (long long)json_integer_value(json_object_get(one, "max_uses")), text_of(one, "expires"),
		    text_of(one, "by"));
	}
}

/* Page by page. */
static bool
list(const char *dir, const char *device, bool json, struct err *err)
{
	struct https *h = local_open(dir, err);
	json_t *all = json_array(), *page = NULL;
	char path[1400] = "", cursor[1200] = "";
	bool ok = h != NULL, more = true;

	while (ok && more) {
		(void)snprintf(path, sizeof path, "%s?limit=500%s%s", device != NULL ? "/api/v1/devices/%s/enrolment" : "/api/v1/enrolment%s", cursor[0] != '\0' ? "&cursor=" : "", cursor);
		ok = local_ask(h, path, device != NULL ? device : "", NULL, &page, err);
		more = ok && text_of(page, "next")[0] != '\0' && text_copy(cursor, sizeof cursor, slice_str(text_of(page, "next")));
		if (ok)
			(void)json_array_extend(all, json_object_get(page, "items"));
		json_decref(page);
		page = NULL;
	}
	if (ok && json) {
		(void)json_dumpf(all, stdout, JSON_INDENT(1));
		(void)printf("\n");
	} else if (ok) {
		show_rows(all);
	}
	json_decref(all);
	https_close(h);
	return ok;
}

int
device_tokens(int argc, char *argv[])
{
	const char *dir = NULL;
	bool json = false;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &dir, 0, 0, "the installation (else . or ./run), whose control process runs" },
		{ "json", NULL, ARG_FLAG, &json, 0, 0, "an array of objects" },
	};
	const struct args args = { "signet device tokens [ID] [options]", "Lists the tokens that were made, of a device or all; never the secrets, which are not kept.", table,
		ARRAY_LEN(table), NULL, 0, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	return list(dir, words > 0 ? argv[1] : NULL, json, &err) ? EXIT_OK : fail(&err);
}

int
device_withdraw(int argc, char *argv[])
{
	const char *dir = NULL;
	int words, code;
	struct err err;
	struct https *h;
	bool ok;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &dir, 0, 0, "the installation (else . or ./run), whose control process runs" },
	};
	const struct args args = { "signet device withdraw NUMBER [options]", "Makes a token useless; its number is in `signet device tokens`.", table, ARRAY_LEN(table), NULL, 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	h = local_open(dir, &err);
	ok = h != NULL && local_delete(h, "/api/v1/enrolment/%s", argv[1], &err);
	https_close(h);
	if (ok)
		(void)printf("Token %s is no use any more.\n", argv[1]);
	return ok ? EXIT_OK : fail(&err);
}
