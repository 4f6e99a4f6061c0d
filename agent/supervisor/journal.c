// The journal of ends: a line "PID STARTTIME CODE UNIXNANO" is written before a child is reaped, so
// an agent that was dead meanwhile can still learn how its containers ended.
#include "visor.h"
#include <sys/stat.h>

static int journal = -1;
static char journal_path[4096], older_path[4096];

int pv_journal_open(void) {
	int a = snprintf(journal_path, sizeof journal_path, "%s/exits", pv_dir);
	int b = snprintf(older_path, sizeof older_path, "%s/exits.1", pv_dir);
	if (a < 0 || b < 0 || (size_t)a >= sizeof journal_path || (size_t)b >= sizeof older_path)
		return -1;
	journal = open(journal_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	return journal < 0 ? -1 : 0;
}

// turn_over keeps the journal bounded: the last one to two PV_JOURNAL_MAX bytes are there.
static void turn_over(void) {
	struct stat st;
	if (fstat(journal, &st) || st.st_size < PV_JOURNAL_MAX || rename(journal_path, older_path))
		return;
	int fd = open(journal_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	close(journal);
	journal = fd;
}

// pv_start_time is field 22 of /proc/PID/stat, in clock ticks since boot: with the pid it names a
// process for ever. 0 when it cannot be read.
unsigned long long pv_start_time(int pid) {
	char path[40], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	char *p = strrchr(text, ')'); // the command's name may hold spaces and brackets
	for (int space = 0; p && space < 20; space++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

void pv_journal_exit(int pid, int code) {
	char line[128];
	turn_over();
	int n = snprintf(line, sizeof line, "%d %llu %d %lld\n", pid, pv_start_time(pid), code, (long long)pv_wall_ns());
	if (write(journal, line, (size_t)n) != n)
		pv_note("writing the journal of exits", errno);
}
