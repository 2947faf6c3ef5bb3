/* Assertions: what only a bug can break. Never on input. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

/* Prints place and condition on standard error and aborts. */
_Noreturn void assert_failed(const char *file, int line, const char *what);

/* Stays on in release builds. */
#define ASSERT(cond) ((cond) ? (void)0 : assert_failed(__FILE__, __LINE__, #cond))

/* For the path of every message: only in debug builds. */
#ifdef SIGNET_DEBUG
#define ASSERT_HOT(cond) ASSERT(cond)
#else
#define ASSERT_HOT(cond) ((void)0)
#endif

#endif
