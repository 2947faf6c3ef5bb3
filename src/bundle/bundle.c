/* The files of a bundle. */
#include "bundle/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "bundle/sink.h"
#include "pki/pki.h"

enum { PASSWORD_BYTES = 15 };

static struct bundle_file *
add(struct bundle_set *b, const char *name, const char *about, bool secret)
{
	struct bundle_file *f = &b->files[b->n++];

	f->name = name;
	f->about = about;
	f->secret = secret;
	return f;
}

static bool
copy(struct bundle_file *f, struct slice s, struct err *err)
{
	f->data = malloc(s.n + 1);
	if (f->data == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (s.n > 0)
		memcpy(f->data, s.p, s.n);
	f->data[s.n] = 0;
	f->n = s.n;
	return true;
}

static ssize_t
on_text(void *ctx, const char *p, size_t n)
{
	return sink_put(ctx, p, n) ? (ssize_t)n : 0;
}

/* What <write> writes; false when there is no memory. Not by open_memstream(): what it outgrows is freed with the key in it. */
static bool
compose(struct bundle_file *f, void (*write)(FILE *out, const void *ctx), const void *ctx, struct err *err)
{
	struct sink s = { 0 };
	FILE *out = fopencookie(&s, "w", (cookie_io_functions_t){ .write = on_text });
	bool ok = out != NULL && setvbuf(out, NULL, _IONBF, 0) == 0;

	if (ok) {
		write(out, ctx);
		ok = ferror(out) == 0 && sink_put(&s, "", 0);
	}
	if (out != NULL)
		ok = fclose(out) == 0 && ok;
	if (!ok) {
		secret_free(s.data, s.cap);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	s.data[s.n] = 0;
	f->data = s.data;
	f->n = s.n;
	return true;
}

/* ---- device.h ---- */

/* A string literal that means the same to every compiler, whatever is in it. */
static void
c_string(FILE *out, struct slice s, const char *end)
{
	(void)fputc('"', out);
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '?')
			(void)fputc(c, out);
		else
			(void)fprintf(out, "\\%03o", c);
	}
	(void)fprintf(out, "%s\"", end);
}

static void
c_pem(FILE *out, const char *name, struct slice pem)
{
	bool more = true;

	(void)fprintf(out, "\nstatic const char %s[] =\n", name);
	while (more) {
		struct slice line = slice_cut(&pem, '\n', &more);

		if (line.n == 0)
			continue;
		(void)fputc('\t', out);
		c_string(out, line, "\\n");
		(void)fputc('\n', out);
	}
	(void)fputs("\t;\n", out);
}

static void
write_header(FILE *out, const void *ctx)
{
	const struct bundle_order *o = ctx;

	(void)fprintf(out,
	    "/* For firmware with mbed TLS, wolfSSL or OpenSSL: all in PEM, the strings' terminating NUL counts where sizes are asked for.%s */\n"
	    "#ifndef SIGNET_DEVICE_H\n#define SIGNET_DEVICE_H\n\n#define SIGNET_HOST ",
	    o->key.n > 0 ? "\n * The private key is in it: it belongs into no repository." : "");
	c_string(out, slice_str(o->host), "");
	(void)fprintf(out, "\n#define SIGNET_PORT %u\n#define SIGNET_CLIENT_ID ", o->port != 0 ? o->port : 8883u);
	c_string(out, slice_str(o->client_id != NULL ? o->client_id : o->cn), "");
	(void)fputc('\n', out);
	c_pem(out, "signet_ca_pem", o->ca);
	c_pem(out, "signet_cert_pem", o->cert);
	if (o->key.n > 0)
		c_pem(out, "signet_key_pem", o->key);
	(void)fputs("\n#endif\n", out);
}

/* ---- commands.txt ---- */

/* Word by word as a shell takes it; NULL: out of memory. free(). */
static char *
shell_word(const char *before, const char *raw)
{
	size_t cap = 4 * (strlen(before) + strlen(raw)) + 3;
	char *whole = malloc(cap), *out = malloc(cap);

	if (whole != NULL && out != NULL) {
		(void)snprintf(whole, cap, "%s%s", before, raw);
		if (text_shell(whole, out, cap)) {
			free(whole);
			return out;
		}
	}
	free(whole);
	free(out);
	return NULL;
}

struct words {
	char *host, *id, *ca, *cert, *key, *topic;
};

static void
command(FILE *out, const struct bundle_usage *u, const struct words *w, bool sub)
{
	static const char *const programs[] = { "signet ", "mosquitto_" };

	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		(void)fprintf(out, "%s%s -h %s -p %u --cafile %s --cert %s --key %s -i %s -q 1 -t %s%s\n", programs[i], sub ? "sub" : "pub", w->host, u->port, w->ca, w->cert,
		    w->key, w->id, w->topic, sub ? " -v" : " -m '{\"test\":1}'");
}

/* False: out of memory. */
static bool
write_command(FILE *out, const struct bundle_usage *u, bool sub)
{
	char folder[4200];
	struct words w;
	bool ok;

	(void)snprintf(folder, sizeof folder, "%s%s", u->folder != NULL ? u->folder : "", u->folder != NULL ? "/" : "");
	w = (struct words){ shell_word("", u->host), shell_word("", u->client_id), shell_word(folder, "ca.pem"), shell_word(folder, "cert.pem"), shell_word(folder, "key.pem"),
		shell_word("", sub ? u->subscribe : u->publish) };
	ok = w.host != NULL && w.id != NULL && w.ca != NULL && w.cert != NULL && w.key != NULL && w.topic != NULL;
	if (ok)
		command(out, u, &w, sub);
	free(w.host);
	free(w.id);
	free(w.ca);
	free(w.cert);
	free(w.key);
	free(w.topic);
	return ok;
}

bool
bundle_commands(const struct bundle_usage *u, char **ret)
{
	bool sub = u->subscribe != NULL && u->subscribe[0] != '\0', pub = u->publish != NULL && u->publish[0] != '\0', ok;
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	ok = out != NULL && (!sub || write_command(out, u, true)) && (!pub || write_command(out, u, false));
	if (out != NULL)
		ok = fclose(out) == 0 && ok;
	if (ok)
		*ret = text;
	else
		free(text);
	return ok;
}

/* ---- README.txt ---- */

struct readme {
	const struct bundle_order *o;
	const struct bundle_set *b;
};

static void
write_readme(FILE *out, const void *ctx)
{
	const struct readme *r = ctx;
	char cn[300], id[300], host[300];

	(void)fprintf(out, "What the device \"%s\" needs to speak with the broker %s, port %u (MQTT over TLS).\nIts client id is \"%s\".\n\n",
	    text_show(slice_str(r->o->cn), cn, sizeof cn), text_show(slice_str(r->o->host), host, sizeof host), r->o->port != 0 ? r->o->port : 8883u,
	    text_show(slice_str(r->o->client_id != NULL ? r->o->client_id : r->o->cn), id, sizeof id));
	for (size_t i = 0; i + 1 < r->b->n; i++)
		(void)fprintf(out, "  %-16s %s\n", r->b->files[i].name, r->b->files[i].about);
	(void)fputs(r->o->key.n > 0 ?
	    "\nWhoever has key.pem, device.p12 or device.h is this device: send them by no mail, keep them in no repository, and delete what is not\n"
	    "needed any more. If they have come into other hands, revoke the certificate; the broker closes its connections at once.\n" :
	    "\nThe private key stays where it was made; nothing here is secret.\n", out);
}

/* ---- all ---- */

static bool
add_pkcs12(struct bundle_set *b, const struct bundle_order *o, struct err *err)
{
	char random[2 * PASSWORD_BYTES + 1], line[256];
	uint8_t bytes[PASSWORD_BYTES];
	struct bundle_file *f = add(b, "device.p12", "key and certificates in one file (PKCS#12), for Windows, Java and Android", true), *p;
	const char *password = o->password;
	bool ok;

	if (password == NULL) {
		random_bytes(bytes, sizeof bytes);
		password = text_hex(slice_of(bytes, sizeof bytes), random, sizeof random);
	}
	p = add(b, "p12-password.txt", "the password of device.p12", true);
	(void)snprintf(line, sizeof line, "%s\n", password);
	ok = strlen(password) < sizeof line - 1 || err_set(err, ERR_USAGE, "the password is longer than %zu bytes", sizeof line - 2);
	ok = ok && copy(p, slice_str(line), err) &&
	    pki_pkcs12(&(struct pki_pkcs12){ o->key, o->cert, o->ca, o->cn, password }, &f->data, &f->n, err);
	secret_wipe(line, sizeof line);
	secret_wipe(random, sizeof random);
	return ok;
}

static bool
add_reader(struct bundle_set *b, const struct bundle_order *o, struct err *err)
{
	struct bundle_file *f = add(b, "springcore.json", "configuration of a SpringCore reader, for SpringCoreConfig", o->springcore->password != NULL);
	char *json;

	if (!bundle_springcore(o->springcore, o->host, o->port, o->ca, &json, err))
		return false;
	f->data = (uint8_t *)json;
	f->n = strlen(json);
	return true;
}

/* README.txt comes last: it lists the others. */
static bool
fill(struct bundle_set *b, const struct bundle_order *o, struct err *err)
{
	if (o->key.n > 0 && (!copy(add(b, "key.pem", "the private key", true), o->key, err) || !add_pkcs12(b, o, err)))
		return false;
	if (!copy(add(b, "cert.pem", "the certificate, and that of the CA that issued it", false), o->cert, err) ||
	    !copy(add(b, "ca.pem", "the CA by which the broker is known", false), o->ca, err) ||
	    !compose(add(b, "device.h", "the same as a header for firmware in C", o->key.n > 0), write_header, o, err))
		return false;
	if (o->springcore != NULL && !add_reader(b, o, err))
		return false;
	if (o->commands != NULL && o->commands[0] != '\0' && !copy(add(b, "commands.txt", "commands to try it, one at a time", false), slice_str(o->commands), err))
		return false;
	return compose(add(b, "README.txt", "this text", false), write_readme, &(struct readme){ o, b }, err);
}

static bool
begin(const struct bundle_order *o, struct bundle_set *ret, struct err *err)
{
	char why[160];

	*ret = (struct bundle_set){ .now = o->now };
	if (!pki_cn_ok(slice_str(o->cn), why, sizeof why))
		return err_set(err, ERR_USAGE, "the common name %s", why);
	/* No separators are in it; a leading dot would hide it, or lead out. */
	(void)snprintf(ret->folder, sizeof ret->folder, "%s%s", o->cn[0] == '.' ? "_" : "", o->cn);
	return true;
}

bool
bundle_make(const struct bundle_order *o, struct bundle_set *ret, struct err *err)
{
	if (begin(o, ret, err) && fill(ret, o, err))
		return true;
	bundle_done(ret);
	return false;
}

bool
bundle_reader(const struct bundle_order *o, struct bundle_set *ret, struct err *err)
{
	if (begin(o, ret, err) && add_reader(ret, o, err))
		return true;
	bundle_done(ret);
	return false;
}

void
bundle_done(struct bundle_set *b)
{
	for (size_t i = 0; i < b->n; i++)
		secret_free(b->files[i].data, b->files[i].n);
	*b = (struct bundle_set){ 0 };
}
