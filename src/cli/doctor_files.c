/* The offline half of `signet doctor`: a client's folder, or an installation with all of its folders. */
#include "cli/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "server/server.h"

/* One folder with cert.pem, key.pem and perhaps ca.pem. */
static bool
check_folder(struct doctor *d, const char *dir, bool server)
{
	char cert[PKI_PATH_MAX], key[PKI_PATH_MAX], ca[PKI_PATH_MAX];
	struct pki_bundle b = { .cert = cert, .key = key, .client_id = d->id, .server = server };

	if (!path_join(cert, sizeof cert, dir, "cert.pem") || !path_join(key, sizeof key, dir, "key.pem") ||
	    !path_join(ca, sizeof ca, dir, "ca.pem"))
		return doctor_say(d, STEP_FILES, PKI_FAULT, "", "%s: the path is too long", dir);
	if (access(key, F_OK) == -1 && errno == ENOENT)
		b.key = NULL; /* the device made its own and keeps it */
	if (access(ca, F_OK) == 0)
		b.ca = ca;
	return pki_check_bundle(&b, doctor_found, d);
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
no_dots(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Every folder below dir/<name>. One that is at fault does not hide the others: all are looked at. */
static bool
check_all(struct doctor *d, const char *name, bool server)
{
	char parent[PKI_PATH_MAX], path[PKI_PATH_MAX];
	struct dirent **list;
	int n;
	bool ok = true;

	if (!path_join(parent, sizeof parent, d->target, name))
		return true;
	n = scandir(parent, &list, no_dots, by_name);
	if (n == -1)
		return errno == ENOENT || doctor_say(d, STEP_FILES, PKI_FAULT, "check who may read it", "%s: %s", parent, strerror(errno));
	for (int i = 0; i < n; i++) {
		if (path_join(path, sizeof path, parent, list[i]->d_name))
			ok = check_folder(d, path, server) && ok;
		free(list[i]);
	}
	free(list);
	return ok;
}

static bool
check_installation(struct doctor *d)
{
	char path[PKI_PATH_MAX], conf[PKI_PATH_MAX];
	struct config *config;
	struct err err;
	bool ok;

	if (!path_join(conf, sizeof conf, d->target, "signet.conf") || !path_join(path, sizeof path, d->target, "pki/ca.pem"))
		return doctor_say(d, STEP_FILES, PKI_FAULT, "", "%s: the path is too long", d->target);
	ok = pki_check_cas(path, 0, doctor_found, d);
	if (path_join(path, sizeof path, d->target, "pki/broker"))
		ok = check_folder(d, path, true) && ok;
	ok = check_all(d, "clients", false) && ok;
	ok = check_all(d, "servers", true) && ok;
	config = config_load(&(struct server_options){ .config_file = conf }, &err);
	if (config == NULL)
		return doctor_say(d, STEP_FILES, PKI_FAULT, "\"signet broker --test-config\" loads all that it names", "%s", err.text);
	config_free(config);
	return doctor_say(d, STEP_FILES, PKI_FINE, "", "%s: every line is understood", conf) && ok;
}

bool
doctor_files(struct doctor *d)
{
	char conf[PKI_PATH_MAX], cert[PKI_PATH_MAX];

	if (path_join(conf, sizeof conf, d->target, "signet.conf") && access(conf, F_OK) == 0)
		return check_installation(d);
	if (path_join(cert, sizeof cert, d->target, "cert.pem") && access(cert, F_OK) == -1 && errno == ENOENT)
		return doctor_say(d, STEP_FILES, PKI_FAULT,
		    "name a client's folder (with cert.pem, key.pem, ca.pem) or an installation's (with signet.conf)",
		    "%s has neither signet.conf nor cert.pem", d->target);
	return check_folder(d, d->target, false);
}
