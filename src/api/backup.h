/* A backup of the installation: backup.c has its order, backup_files.c copies what is in files. Private to api/. */
#ifndef API_BACKUP_H
#define API_BACKUP_H

#include <sys/stat.h>

#include "api/internal.h"

/* What root opened for whoever control becomes; NULL: nothing. */
struct kept;

/* The broker's copy of its store, a folder of files. <dir>, <registry>: of the installation, and its database; that is not the broker's. False and
 * ERR_INPUT: the broker never made <path>; else it cannot be opened, which is so where the broker runs as another user. */
struct store_copy {
	int parent, fd;
	char name[64];
};
bool store_copy_open(const char *dir, const char *registry, const char *path, struct store_copy *ret, struct err *err);
void store_copy_close(struct store_copy *c);
/* Each file, until false. False: <each> said so, or the folder cannot be read. */
bool store_copy_each(const struct store_copy *c, bool (*each)(void *ctx, int folder, const char *name), void *ctx);
/* With all that is in it; a warning says where it is if that fails. */
void store_copy_remove(const char *dir, const char *registry, const char *path);

/* Copying, as a job of the worker. */
struct files_job {
	struct job job;
	void (*done)(struct files_job *j); /* on the loop's thread; frees it */
	void *ctx;
	const char *dir, *registry; /* of the installation, and its database */
	const struct kept *kept;
	json_t *unkept;             /* [{"what", "why"}]: of the CAs, what root has not opened; NULL: nothing */
	struct stat backups;        /* the folder with all of them, which is in none */
	int audit_fd;               /* its own, or -1 */
	char to[PKI_PATH_MAX];
	char store[PKI_PATH_MAX];   /* the broker's copy of its store; "": there is none */
	json_t *files, *without;    /* [{"name", "bytes", "sha256", "mode"}], [{"what", "why"}] */
	bool has_store;             /* it is in <to>/store, too; else it stays where the broker has made it */
	int64_t bytes;
	struct err err;
	bool ok;
};
struct files_job *files_job_new(struct api *a, const char *to); /* NULL: out of memory */
void files_job_free(struct files_job *j);                       /* NULL is fine */

#endif
