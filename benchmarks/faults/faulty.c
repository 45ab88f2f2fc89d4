/* A C library that is loaded before all others (LD_PRELOAD) and disturbs one file operation of the process.

   faulty_arm(prefix, n, mode, number, hook): of the operations on files under ``prefix`` that may change something,
   the n-th is preceded by SIGKILL (KILL), half done before SIGKILL (TORN), fails with errno ``number`` (FAIL), fails
   as all later ones that take space do (FULL), or is preceded by a call of ``hook`` (HOOK). faulty_count() is the
   number of operations so far. faulty_clock(s): each look at the calendar clock sets it back by s seconds more. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KILL = 1, TORN, FAIL, FULL, HOOK };
static char prefix[PATH_MAX];
static long wanted, back;
static int mode, number;
static void (*hook)(void);
static atomic_long done;
static __thread int inside;

void faulty_arm(const char *where, long n, int how, int error, void (*call)(void)) {
    strncpy(prefix, where, sizeof prefix - 1);
    wanted = n, mode = how, number = error, hook = call, done = 0;
}
long faulty_count(void) { return done; }
void faulty_clock(long seconds) { back = seconds; }

static int under(const char *path) {
    size_t n = strlen(prefix);
    return !strncmp(path, prefix, n) && (path[n] == 0 || path[n] == '/');
}

static int ours(int directory, const char *path) {
    char place[PATH_MAX], name[64];
    if (!prefix[0] || inside) return 0;
    if (path && path[0] == '/') return under(path);
    if (directory == AT_FDCWD) {
        if (!getcwd(place, sizeof place)) return 0;
    } else {
        snprintf(name, sizeof name, "/proc/self/fd/%d", directory);
        ssize_t n = readlink(name, place, sizeof place - 1);
        if (n < 0) return 0;
        place[n] = 0;
    }
    return under(place);
}

/* Whether the operation fails now: -1, with errno; 1: it is to be torn; 0: it goes on. */
static int disturbed(int directory, const char *path, int takes_space) {
    if (!ours(directory, path)) return 0;
    long now = ++done;
    if (mode == FULL && now >= wanted && takes_space) { errno = number; return -1; }
    if (now != wanted) return 0;
    if (mode == TORN) return 1;
    if (mode == KILL) kill(getpid(), SIGKILL);
    if (mode == FAIL) { errno = number; return -1; }
    if (mode == HOOK) { inside = 1; hook(); inside = 0; }
    return 0;
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)
#define CHANGE(type, name, parameters, arguments, directory, path, space) \
    type name parameters { NEXT(name); int what = disturbed(directory, path, space); \
        if (what < 0) return -1; if (what) kill(getpid(), SIGKILL); return next arguments; }
CHANGE(int, rename, (const char *a, const char *b), (a, b), AT_FDCWD, b, 0)
CHANGE(int, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), e, b, 0)
CHANGE(int, renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f), e, b, 0)
CHANGE(int, unlink, (const char *a), (a), AT_FDCWD, a, 0)
CHANGE(int, unlinkat, (int d, const char *a, int f), (d, a, f), d, a, 0)
CHANGE(int, rmdir, (const char *a), (a), AT_FDCWD, a, 0)
CHANGE(int, mkdir, (const char *a, mode_t m), (a, m), AT_FDCWD, a, 1)
CHANGE(int, mkdirat, (int d, const char *a, mode_t m), (d, a, m), d, a, 1)
CHANGE(int, ftruncate, (int f, off_t n), (f, n), f, NULL, 1)
CHANGE(int, ftruncate64, (int f, off64_t n), (f, n), f, NULL, 1)
CHANGE(int, fsync, (int f), (f), f, NULL, 0)
CHANGE(int, fdatasync, (int f), (f), f, NULL, 0)

#define RESERVE(name, offset) int name(int f, offset a, offset n) { NEXT(name); int what = disturbed(f, NULL, 1); \
    if (what < 0) return errno; if (what) kill(getpid(), SIGKILL); return next(f, a, n); }
RESERVE(posix_fallocate, off_t)
RESERVE(posix_fallocate64, off64_t)

#define WRITE(name, parameters, half, arguments) ssize_t name parameters { NEXT(name); \
    int what = disturbed(f, NULL, 1); if (what < 0) return -1; \
    if (what) { next half; kill(getpid(), SIGKILL); } return next arguments; }
WRITE(write, (int f, const void *b, size_t n), (f, b, n / 2), (f, b, n))
WRITE(pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n / 2, o), (f, b, n, o))
WRITE(pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n / 2, o), (f, b, n, o))
WRITE(sendfile, (int f, int from, off_t *o, size_t n), (f, from, o, n / 2), (f, from, o, n))
WRITE(sendfile64, (int f, int from, off64_t *o, size_t n), (f, from, o, n / 2), (f, from, o, n))

size_t fwrite(const void *b, size_t size, size_t n, FILE *file) {
    NEXT(fwrite);
    int what = disturbed(fileno(file), NULL, 1);
    if (what < 0) return 0;
    if (what) { next(b, size, n / 2, file); fflush(file); kill(getpid(), SIGKILL); }
    return next(b, size, n, file);
}

#define CHANGING (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)
#define OPEN(name) int name(const char *path, int flags, ...) { NEXT(name); va_list rest; va_start(rest, flags); \
    mode_t m = va_arg(rest, int); va_end(rest); int what = flags & CHANGING ? disturbed(AT_FDCWD, path, 1) : 0; \
    if (what < 0) return -1; if (what) kill(getpid(), SIGKILL); return next(path, flags, m); }
OPEN(open)
OPEN(open64)
#define OPENAT(name) int name(int d, const char *path, int flags, ...) { NEXT(name); va_list rest; \
    va_start(rest, flags); mode_t m = va_arg(rest, int); va_end(rest); \
    int what = flags & CHANGING ? disturbed(d, path, 1) : 0; \
    if (what < 0) return -1; if (what) kill(getpid(), SIGKILL); return next(d, path, flags, m); }
OPENAT(openat)
OPENAT(openat64)

int clock_gettime(clockid_t clock, struct timespec *now) {
    static atomic_long looks;
    NEXT(clock_gettime);
    int code = next(clock, now);
    if (!code && back && clock == CLOCK_REALTIME) now->tv_sec -= back * ++looks;
    return code;
}
