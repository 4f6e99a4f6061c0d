// A container's first process changes over to the small program of internal/cinit, before this big one's runtime starts.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

// hop runs before libcontainer's own constructor, which has no priority and joins namespaces. The agent has put the program's
// file behind libcontainer's log level, "3@/proc/PID/fd/N", since it is all that libcontainer hands on unread. Cut off, the level is what
// libcontainer wants to read, also if the program cannot be started and this one goes on.
__attribute__((constructor(101))) static void hop(int argc, char **argv) {
	const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	char *level, *file;
	int fd;

	if (argc != 2 || strcmp(argv[1], "init") || !(level = getenv("_LIBCONTAINER_LOGLEVEL")) || !(file = strchr(level, '@')))
		return;
	*file++ = '\0';
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	// Should the agent have died in between, its number might be another's, with another file.
	if ((fcntl(fd, F_GET_SEALS) & seals) == seals) {
		setenv("GOMAXPROCS", "1", 1); // as libcontainer's init has it later; Go need not look for the processors that it may use
		syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
	}
	close(fd);
}
