/* What a device or its engineer is given: certificates, key, and the same in the forms that firmware, tools and readers take.
 * No files and no network: the caller brings PEM and takes bytes. Any thread. */
#ifndef BUNDLE_H
#define BUNDLE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/slice.h"

enum {
	BUNDLE_FILES_MAX = 12,
	/* What a SpringCore device has room for. */
	SPRINGCORE_HOST_MAX = 48, SPRINGCORE_ID_MAX = 24, SPRINGCORE_PREFIX_MAX = 32, SPRINGCORE_LOGIN_MAX = 16, SPRINGCORE_SLOT_MAX = 6,
};

/* The configuration of a SpringCore reader: JSON for SpringCoreConfig. It shows the certificate that it was made with (store 0D,
 * key in its secure element, CA 0F) and checks the broker's chain, name and SNI with <ca>, which goes to a user's place. */
struct bundle_springcore {
	const char *client_id; /* NULL: its serial number, which is also its certificate's CN */
	const char *device_id; /* the same */
	const char *prefix;    /* of its topics; NULL: as it is ("springcard/springcore") */
	const char *login, *password; /* NULL: none */
	unsigned ca_slot;      /* 0 to SPRINGCORE_SLOT_MAX */
};
/* *ret: JSON; free(). ERR_USAGE names what does not fit into the reader, and how much would. <ca>: PEM or DER, its first
 * certificate counts. <port> 0 or 8883: the reader's own default for TLS. */
bool bundle_springcore(const struct bundle_springcore *s, const char *host, uint16_t port, struct slice ca, char **ret, struct err *err);

struct bundle_order {
	const char *cn;              /* passes pki_cn_ok() */
	struct slice key, cert, ca;  /* PEM: the key, or nothing when the device keeps its own; leaf and intermediates; the root */
	const char *client_id;       /* NULL: the CN */
	const char *host;            /* the broker */
	uint16_t port;               /* 0: 8883 */
	const char *commands;        /* commands.txt: ready to be pasted; NULL: none */
	const char *password;        /* of device.p12; NULL: a random one */
	const struct bundle_springcore *springcore; /* NULL: without springcore.json */
	int64_t now;                 /* of the files, seconds since 1970 */
};
/* What a client can do, as commands. */
struct bundle_usage {
	const char *host, *folder;       /* of its files; NULL: where the commands are pasted */
	unsigned port;
	const char *client_id, *publish, *subscribe; /* allowed ones; of the last two NULL or "": none */
};
/* Lines for a shell, of `signet` and of mosquitto's tools, each good by itself; what they publish is a JSON object. *ret: free(); "" when there is
 * nothing that it can do. False: out of memory. */
bool bundle_commands(const struct bundle_usage *u, char **ret);

struct bundle_file {
	const char *name;            /* static */
	const char *about;           /* static: a line for the README */
	uint8_t *data;
	size_t n;
	bool secret;                 /* mode 0600 */
};
struct bundle_set {
	struct bundle_file files[BUNDLE_FILES_MAX];
	size_t n;
	int64_t now;
	char folder[280];            /* the CN, fit for a file's name: the archive's one folder */
};
/* ERR_INPUT when key and certificate do not belong together. *ret is empty then; bundle_done() wipes. */
bool bundle_make(const struct bundle_order *o, struct bundle_set *ret, struct err *err);
/* The reader's configuration alone, which needs neither key nor certificate: it has its maker's. */
bool bundle_reader(const struct bundle_order *o, struct bundle_set *ret, struct err *err);
void bundle_done(struct bundle_set *b);

/* Write the files into <dir>, which must not be there: all or nothing. */
bool bundle_put(const struct bundle_set *b, const char *dir, struct err *err);
enum bundle_archive { BUNDLE_ZIP, BUNDLE_TAR_GZ };
/* One archive with one folder. *ret: the caller wipes and frees (secret_free()). */
bool bundle_pack(const struct bundle_set *b, enum bundle_archive kind, uint8_t **ret, size_t *ret_n, struct err *err);

#endif
