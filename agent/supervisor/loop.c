// The supervisor's life: set up, one epoll loop, reaping.
//
//	peapod-supervisor DIR            start, go to the background, serve DIR/sock
//	peapod-supervisor DIR restore FD continue after an upgrade in place
#include "visor.h"
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

int pv_epoll = -1, pv_lock = -1;
char *pv_dir;
struct pv_source pv_listener = {.fd = -1};
struct pv_source *pv_conns;
struct rlimit pv_nofile;
static struct pv_source signals = {.fd = -1};
static int quitting;
int pv_conn_count;

int64_t pv_clock_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t pv_wall_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// pv_note writes a line to the supervisor's own log, which is its standard error.
void pv_note(const char *what, int err) {
	dprintf(2, "supervisor: %s: %s\n", what, strerror(err));
}

void pv_quit_soon(void) { quitting = 1; }

// pv_child_defaults undoes in a child what the supervisor changed for itself.
void pv_child_defaults(void) {
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_NOFILE, &pv_nofile);
}

int pv_watch(struct pv_source *s, enum pv_kind kind, int fd, uint32_t events) {
	struct epoll_event e = {.events = events, .data.ptr = s};
	s->kind = kind;
	s->fd = fd;
	return epoll_ctl(pv_epoll, EPOLL_CTL_ADD, fd, &e);
}

void pv_unwatch(struct pv_source *s) {
	epoll_ctl(pv_epoll, EPOLL_CTL_DEL, s->fd, NULL);
	close(s->fd);
	s->dead = 1;
}

// sweep frees what was closed during a batch of events.
static void sweep(struct pv_source **at) {
	while (*at) {
		struct pv_source *s = *at;
		if (!s->dead) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		free(s); // the source is the first member of what was allocated
	}
}

struct pv_conn *pv_add_conn(int fd, int launcher) {
	struct pv_conn *c = pv_conn_count < PV_CONNS_MAX ? calloc(1, sizeof *c) : NULL;
	if (!c || pv_watch(&c->source, PV_CONN, fd, EPOLLIN)) {
		free(c);
		close(fd);
		return NULL;
	}
	c->launcher = launcher;
	c->source.next = pv_conns;
	pv_conns = &c->source;
	pv_conn_count++;
	return c;
}

void pv_drop_conn(struct pv_conn *c) {
	if (c->source.dead)
		return;
	pv_exec_forget_conn(c);
	pv_agent_forget_conn(c);
	pv_unwatch(&c->source);
	pv_conn_count--;
}

static void accept_all(void) {
	int fd;
	while ((fd = accept4(pv_listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		pv_add_conn(fd, 0);
}

// pv_reap takes every ended child: the journal first, then the zombie.
void pv_reap(void) {
	siginfo_t si;
	for (;;) {
		si.si_pid = 0;
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) || !si.si_pid)
			return;
		int pid = si.si_pid, signalled = si.si_code != CLD_EXITED;
		int code = signalled ? 128 + si.si_status : si.si_status;
		if (!pv_exec_running(pid))
			pv_journal_exit(pid, code);
		waitid(P_PID, (id_t)pid, &si, WEXITED);
		if (!pv_exec_exited(pid, code) && pid == pv_agent.pid)
			pv_agent_exited(code, signalled);
	}
}

static void on_conn(struct pv_conn *c) {
	struct pv_message m;
	while (!c->source.dead && !quitting) {
		int r = pv_receive(c->source.fd, &m);
		if (r == 0)
			return;
		if (r < 0) {
			pv_drop_conn(c);
			return;
		}
		pv_handle(c, &m);
		pv_free_message(&m);
	}
}

static void on_event(struct pv_source *s) {
	struct signalfd_siginfo info[16];
	if (s->dead)
		return;
	switch (s->kind) {
	case PV_LISTENER:
		accept_all();
		break;
	case PV_SIGNALS:
		while (read(s->fd, info, sizeof info) > 0)
			;
		pv_reap();
		break;
	case PV_CONN:
		on_conn((struct pv_conn *)s);
		break;
	case PV_PUMP:
		pv_pump_run((struct pv_pump *)s);
		break;
	case PV_EXEC:
		pv_exec_read((struct pv_exec *)s);
		break;
	case PV_FENCE:
		pv_fence_tick();
		break;
	}
}

// --- setting up ---

// listen_at replaces a dead supervisor's socket. The lock says that it is dead.
static int listen_at(void) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int n = snprintf(a.sun_path, sizeof a.sun_path, "%s/sock", pv_dir);
	if (n < 0 || (size_t)n >= sizeof a.sun_path) {
		dprintf(2, "supervisor: the directory %s has too long a name for a socket (at most 100 bytes)\n", pv_dir);
		return -1;
	}
	unlink(a.sun_path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old = umask(0077);
	int bad = fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 1024);
	umask(old);
	if (bad) {
		pv_note("listening", errno);
		return -1;
	}
	pv_listener.fd = fd;
	return 0;
}

static int take_lock(void) {
	char path[4096];
	int n = snprintf(path, sizeof path, "%s/lock", pv_dir);
	if (n < 0 || (size_t)n >= sizeof path)
		return -1;
	pv_lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return pv_lock < 0 || flock(pv_lock, LOCK_EX | LOCK_NB) ? -1 : 0;
}

static int watch_signals(void) {
	sigset_t all;
	sigfillset(&all); // a terminal's or a shutdown's signals are for the agent's launcher, not for us
	sigprocmask(SIG_BLOCK, &all, NULL);
	sigemptyset(&all);
	sigaddset(&all, SIGCHLD);
	int fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 || pv_watch(&signals, PV_SIGNALS, fd, EPOLLIN) ? -1 : 0;
}

static void raise_nofile(void) {
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	if (!pv_nofile.rlim_max)
		pv_nofile = r;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

// go_background leaves the caller with exit status 0 when the socket is there, else 1: whoever
// starts a supervisor waits for that and nothing else.
static int go_background(void) {
	int ready[2];
	char byte = 0;
	if (pipe2(ready, O_CLOEXEC))
		return -1;
	pid_t pid = fork();
	if (pid < 0)
		return -1;
	if (pid > 0) {
		close(ready[1]);
		_exit(read(ready[0], &byte, 1) == 1 ? 0 : 1);
	}
	close(ready[0]);
	setsid();
	if (take_lock() || listen_at() || pv_journal_open())
		_exit(1);
	byte = 1;
	if (write(ready[1], &byte, 1) != 1)
		pv_note("telling the launcher", errno);
	close(ready[1]);
	return 0;
}

static int set_up(int argc, char **argv) {
	pv_dir = argv[1];
	if (argc == 2 && go_background())
		return -1;
	pv_epoll = epoll_create1(EPOLL_CLOEXEC);
	raise_nofile();
	if (pv_epoll < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) || watch_signals())
		return -1;
	if (argc == 4 && (strcmp(argv[2], "restore") || pv_journal_open() || pv_restore(atoi(argv[3]))))
		return -1;
	return pv_watch(&pv_listener, PV_LISTENER, pv_listener.fd, EPOLLIN);
}

// wait_ms is how long epoll may sleep.
static int wait_ms(void) {
	int64_t pump = pv_pump_deadline(), agent = pv_agent_deadline();
	int64_t first = pump < agent ? pump : agent, now = pv_clock_ms();
	if (first == INT64_MAX)
		return -1;
	if (first <= now)
		return 0;
	return first - now > 60000 ? 60000 : (int)(first - now);
}

static void leave(void) {
	char path[4096];
	for (struct pv_source *s = pv_pumps; s; s = s->next)
		if (!s->dead)
			pv_pump_run((struct pv_pump *)s);
	int n = snprintf(path, sizeof path, "%s/sock", pv_dir);
	if (n > 0 && (size_t)n < sizeof path)
		unlink(path);
}

int pv_loop(int argc, char **argv) {
	struct epoll_event events[64];
	if ((argc != 2 && argc != 4) || set_up(argc, argv)) {
		pv_note("starting", errno);
		return 1;
	}
	pv_reap();       // a child may have ended while nobody listened
	pv_fence_tick(); // and a lease
	while (!quitting) {
		int n = epoll_wait(pv_epoll, events, 64, wait_ms());
		for (int i = 0; i < n && !quitting; i++)
			on_event(events[i].data.ptr);
		pv_pump_tick(pv_clock_ms());
		pv_agent_tick(pv_clock_ms());
		sweep(&pv_conns);
		sweep(&pv_pumps);
		sweep(&pv_execs);
	}
	leave();
	return 0;
}
