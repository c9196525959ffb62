/* The first process of a guest: runs /net with the kernel's command line after "--", says what memory it had, and turns the machine off.
 * Where the kernel's command line has limit=BYTES, /net may map no more (RLIMIT_AS).
 * ru_maxrss is the kernel's peak of resident pages (VmHWM), complete once the process has ended. */
#define BNNC_FREESTANDING 1
#include "bnnc_fmt.h"

enum { MOUNT = 40, REBOOT = 142, SETRLIMIT = 164, RLIMIT_AS = 9, CLONE = 220, EXECVE = 221, WAIT4 = 260, SIGCHLD = 17 };

static int first(int argc, char **argv, char **envp) {
    long usage[18] = {0}; /* two timevals, then maxrss in KiB */
    int status = -1;
    uint64_t limit[2] = {0, 0};
    (void)argc;
    bnnc_environ = envp;
    for (const char *p = bnnc_getenv("limit"); p && *p; p++) limit[0] = limit[1] = 10 * limit[0] + (uint64_t)(*p - '0');
    (void)bnnc_mkdir("/proc");
    (void)bnnc_call(MOUNT, (long)"proc", (long)"/proc", (long)"proc", 0, 0, 0);
    const long child = bnnc_call(CLONE, SIGCHLD, 0, 0, 0, 0, 0);
    if (child == 0) {
        argv[0] = (char *)(uintptr_t)"/net";
        if (limit[0]) (void)bnnc_call(SETRLIMIT, RLIMIT_AS, (long)limit, 0, 0, 0, 0);
        (void)bnnc_call(EXECVE, (long)argv[0], (long)argv, (long)envp, 0, 0, 0);
        bnnc_exit(127);
    }
    (void)bnnc_call(WAIT4, child, (long)&status, 0, (long)usage, 0, 0);
    bnnc_say(1, "\npeak %u KiB, status %d\n", (uint32_t)usage[4], status);
    (void)bnnc_call(REBOOT, (long)0xfee1dead, 672274793, 0x4321fedc /* power off */, 0, 0, 0);
    return 0;
}
BNNC_ENTRY(first)
