/* Configuration of SpringCore readers: registers as hex in SpringCoreConfig's JSON. */
#include "bundle/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "base/text.h"
#include "pki/pki.h"

/* 0288, TLS: trust by the chain, check the name, send SNI, TLS on; which CA; client authentication with certificate D; its key in
 * the secure element; its CA sent, too. */
enum { TLS_VERIFIED = 0x30 | 0x04 | 0x02 | 0x01, TLS_CLIENT = 0x80 | 0x0D, TLS_KEY = 0x40 | 0x0D, TLS_CHAIN = 0x80 | 0x0F };
enum { PORTS_BYTES = 12, PORTS_MQTT = 10 }; /* 0285 */

struct reg {
	const char *low; /* the low byte of its address */
	const char *what;
	const char *value; /* text; NULL: as it is */
	size_t max;
};

static bool
put_text(FILE *out, const struct reg *r, struct err *err)
{
	char shown[64];

	if (r->value == NULL)
		return true;
	if (r->value[0] == '\0' || strlen(r->value) > r->max)
		return err_set(err, ERR_USAGE, "the %s \"%s\" has %zu bytes, and a SpringCore reader takes 1 to %zu", r->what,
		    text_show(slice_str(r->value), shown, sizeof shown), strlen(r->value), r->max);
	for (const char *s = r->value; *s != '\0'; s++)
		if (*s <= ' ' || *s > '~')
			return err_set(err, ERR_USAGE, "the %s \"%s\" has a character that a SpringCore reader does not take: ASCII without spaces", r->what,
			    text_show(slice_str(r->value), shown, sizeof shown));
	(void)fprintf(out, ",\n    \"%s\": \"", r->low);
	for (const char *s = r->value; *s != '\0'; s++)
		(void)fprintf(out, "%02X", (unsigned char)*s);
	(void)fputs("\"", out);
	return true;
}

static void
put_ports(FILE *out, uint16_t port)
{
	if (port == 0 || port == 8883)
		return;
	(void)fputs(",\n    \"85\": \"", out);
	for (unsigned i = 0; i < PORTS_BYTES - 2; i++)
		(void)fputs("00", out);
	(void)fprintf(out, "%04X\"", port);
}

static bool
put_all(FILE *out, const struct bundle_springcore *s, const char *host, uint16_t port, struct slice der, struct err *err)
{
	const struct reg regs[] = {
		{ "86", "broker's name", host, SPRINGCORE_HOST_MAX },
		{ "8B", "login", s->login, SPRINGCORE_LOGIN_MAX },
		{ "8C", "password", s->password, SPRINGCORE_LOGIN_MAX },
		{ "8D", "client id", s->client_id, SPRINGCORE_ID_MAX },
		{ "8E", "topic prefix", s->prefix, SPRINGCORE_PREFIX_MAX },
		{ "8F", "device id", s->device_id, SPRINGCORE_ID_MAX },
	};

	if (s->ca_slot > SPRINGCORE_SLOT_MAX)
		return err_set(err, ERR_USAGE, "a SpringCore reader keeps a user's CA in place 0 to %d", SPRINGCORE_SLOT_MAX);
	/* Smart Reader by MQTT; JSON; subscribe and publish at QoS 1, a will, retained; time-outs as it leaves the factory. */
	(void)fputs("{\n  \"config\": {\n    \"C0\": \"64\",\n    \"A0\": \"02\",\n    \"89\": \"5314030A1E1E\"", out);
	(void)fprintf(out, ",\n    \"88\": \"%02X%02X%02X%02X%02X\"", TLS_VERIFIED, s->ca_slot, TLS_CLIENT, TLS_KEY, TLS_CHAIN);
	put_ports(out, port);
	for (size_t i = 0; i < ARRAY_LEN(regs); i++)
		if (!put_text(out, &regs[i], err))
			return false;
	(void)fprintf(out, "\n  },\n  \"certificates\": {\n    \"%02X\": \"", s->ca_slot);
	for (size_t i = 0; i < der.n; i++)
		(void)fprintf(out, "%02X", der.p[i]);
	(void)fputs("\"\n  }\n}\n", out);
	return true;
}

bool
bundle_springcore(const struct bundle_springcore *s, const char *host, uint16_t port, struct slice ca, char **ret, struct err *err)
{
	uint8_t *der;
	char *text = NULL;
	size_t n, size = 0;
	FILE *out;
	bool ok;

	if (!pki_first_der(ca, "the CA's certificate", &der, &n, err))
		return false;
	out = open_memstream(&text, &size);
	ok = out != NULL ? put_all(out, s, host, port, slice_of(der, n), err) : err_set(err, ERR_MEMORY, "out of memory");
	free(der);
	if (out != NULL && fclose(out) != 0 && ok)
		ok = err_set(err, ERR_MEMORY, "out of memory");
	if (ok)
		*ret = text;
	else
		free(text);
	return ok;
}
