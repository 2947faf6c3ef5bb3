/* For the registry's tests: a registry in a temporary folder, with a clock of its own, and short ways to fill it. */
#ifndef REGISTRY_TESTKIT_H
#define REGISTRY_TESTKIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "registry/registry.h"

enum { KIT_NOW = 1700000000 };

struct kit {
	struct registry *r;
	struct err err;
	int64_t now;
	char dir[64], path[96];
};

/* As cmocka's setup and teardown: *state is the kit. The tenants "default" (the first) and "other", and the CAs "client" and
 * "watch", are there. */
int kit_setup(void **state);
int kit_teardown(void **state);
/* Close and open again. */
void kit_reopen(struct kit *k);
struct registry *kit_open(struct kit *k, const char *path, bool create);
int64_t kit_clock(void *kit);

/* Asserts that it worked, with the error's text. */
#define WORKS(k, call)                                                                                                          \
	do {                                                                                                                    \
		(k)->err = (struct err){ 0 };                                                                                   \
		if (!(call))                                                                                                    \
			fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, #call, (k)->err.text);                                    \
	} while (0)
/* That it did not, and why. */
#define FAILS(k, want, call)                                                                                                    \
	do {                                                                                                                    \
		(k)->err = (struct err){ 0 };                                                                                   \
		if (call)                                                                                                       \
			fail_msg("%s:%d: %s worked", __FILE__, __LINE__, #call);                                                \
		if ((k)->err.code != (want))                                                                                    \
			fail_msg("%s:%d: %s: code %d: %s", __FILE__, __LINE__, #call, (int)(k)->err.code, (k)->err.text);       \
	} while (0)

void kit_device(struct kit *k, const char *tenant, const char *id);
bool kit_set_state(struct kit *k, const char *tenant, const char *id, enum registry_device_state state); /* k->err */
/* A certificate of <ca> for <cn>: its serial is <n>, its fingerprint of it, its end <days> from now. */
struct registry_certificate kit_certificate(struct kit *k, const char *ca, const char *cn, unsigned n, int days);
void kit_certify(struct kit *k, const char *ca, const char *cn, unsigned n, int days);
/* A SHA-256 that is none: <n> in each byte. */
struct slice kit_hash(uint8_t n, uint8_t out[REGISTRY_HASH]);

/* What a list shows: the names, a comma behind each. */
struct kit_names {
	char text[32768];
	size_t n;
};
bool kit_add_name(struct kit_names *s, struct slice name);
/* Every page of devices that fit, of <limit> each; the pages are counted. */
unsigned kit_devices(struct kit *k, const struct registry_device_filter *f, unsigned limit, struct kit_names *ret);
unsigned kit_certificates(struct kit *k, const struct registry_certificate_filter *f, unsigned limit, struct kit_names *ret);
bool slice_is(struct slice s, const char *text);

#endif
