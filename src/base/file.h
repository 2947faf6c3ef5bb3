/* Whole files, safely. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <sys/types.h>
#include "base/err.h"
#include "base/slice.h"

/* Read a whole regular file of at most <max> bytes; the result is NUL-terminated behind its last byte, owned by
 * the caller (free(), or secret_free() when it holds a key). */
bool file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_n, struct err *err);

enum file_flags {
	FILE_REPLACE = 1,    /* without it an existing file is an error (ERR_EXISTS) */
	FILE_KEEP_OWNER = 2, /* the owner and group of what is replaced stay, as far as we may give files away */
	FILE_UNSYNCED = 4,   /* a power cut may take it: for many files, whose writer calls file_sync_all() before he tells anybody */
};

/* Write atomically: a temporary file in the same directory with <mode>, fsync, rename or link, fsync of the
 * directory. On any failure nothing is left behind and what was there stays. */
bool file_write(const char *path, struct slice data, mode_t mode, int flags, struct err *err);

/* All that was written to the file system in which the directory <path> is: on the disk. */
bool file_sync_all(const char *path, struct err *err);

/* Make <path> and its missing parents with <mode>; one that exists already is fine. */
bool dir_make(const char *path, mode_t mode, struct err *err);

/* Remove <path> and all below it; links are not followed. False: something is left, and errno says why. */
bool dir_remove(const char *path);

/* "dir/name" into <out>; false when it does not fit. <name> absolute: it alone. */
bool path_join(char *out, size_t cap, const char *dir, const char *name);

#endif
