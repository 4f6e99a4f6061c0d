// The node's supervisor: shared declarations. DESIGN.md beside this file tells the story.
//
// Everything here runs in a single-threaded process that never returns to Go. Names that other
// objects in the binary could see start with pv_.
#ifndef PEAPOD_VISOR_H
#define PEAPOD_VISOR_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

// Limits. A message past one of them is refused, never cut.
#define PV_PACKET_MAX (192 * 1024)        // one datagram; longer bodies come in a memfd
#define PV_BODY_MAX (8 * 1024 * 1024)     // a body in a memfd
#define PV_FIELDS_MAX 65536               // fields of one message
#define PV_FDS_MAX 8                      // descriptors of one message
#define PV_CONNS_MAX 4096                 // connections at once
#define PV_PUMPS_MAX 65536                // log streams at once
#define PV_LINE_MAX 16384                 // bytes of a log line before it is split (CRI tag P)
#define PV_CHUNK 65536                    // bytes taken from a stream at once
#define PV_OUTPUT_MAX (64 * 1024)        // bytes of a RUN's output that may be asked for
#define PV_JOURNAL_MAX (1024 * 1024)      // bytes of the journal before it turns over
#define PV_PARTIAL_MS 1000                // how long a line may wait for its newline
#define PV_TERM_MS 10000                  // how long an agent may take to end after SIGTERM
#define PV_BACKOFF_MIN_MS 50              // first pause before the agent is started again
#define PV_BACKOFF_MAX_MS 1000            // and the longest
#define PV_KILL_LOOK_MS 5                  // until the next look at processes that were killed
#define PV_KILL_LOOKS 8                   // of one such look
#define PV_CGROUP_DEPTH 16                // of cgroups below a pod's
#define PV_STEADY_MS 10000                // an agent that lived so long starts with the first pause

// A source is anything that epoll watches. It is the first member of what it belongs to. A closed
// source stays allocated until the current batch of events is done, because a later event of the
// batch may still point to it.
enum pv_kind { PV_LISTENER, PV_SIGNALS, PV_CONN, PV_PUMP, PV_EXEC, PV_FENCE };
struct pv_source {
	enum pv_kind kind;
	int fd;
	int dead;
	struct pv_source *next;
};

struct pv_conn {
	struct pv_source source;
	int launcher; // this connection waits for the agent's end
};

// A message is fields (length, bytes, NUL) and descriptors. After a bad field `failed` is set and
// every further read gives a harmless value, so a handler reads all and asks once.
struct pv_message {
	char *body;
	size_t size;
	char **field;
	size_t count, next;
	int failed;
	int fds[PV_FDS_MAX];
	int nfds;
};

struct pv_buffer {
	char *data;
	size_t size, room;
};

// loop.c
extern int pv_epoll;
extern char *pv_dir;
extern struct pv_source pv_listener;
extern int pv_lock;
extern struct pv_source *pv_conns;
extern int pv_conn_count;
extern struct rlimit pv_nofile; // the limit that children get back
int pv_loop(int argc, char **argv);
int pv_watch(struct pv_source *s, enum pv_kind kind, int fd, uint32_t events);
void pv_unwatch(struct pv_source *s);
struct pv_conn *pv_add_conn(int fd, int launcher);
void pv_drop_conn(struct pv_conn *c);
void pv_note(const char *what, int err);
int64_t pv_clock_ms(void);
int64_t pv_wall_ns(void);
void pv_quit_soon(void);
void pv_child_defaults(void);
void pv_reap(void);

// requests.c
void pv_handle(struct pv_conn *c, struct pv_message *m);

// message.c
int pv_parse(struct pv_message *m, char *body, size_t size);
void pv_free_message(struct pv_message *m);
const char *pv_get_string(struct pv_message *m);
long pv_get_long(struct pv_message *m, long min, long max);
char **pv_get_list(struct pv_message *m); // counted; NULL-terminated, to be freed; strings belong to m
char **pv_own_list(struct pv_message *m); // the same with strings of its own
int pv_take_fd(struct pv_message *m);     // -1 when there is none left
void pv_put(struct pv_buffer *b, const char *s);
void pv_put_long(struct pv_buffer *b, long long v);
int pv_receive(int fd, struct pv_message *m); // 1 message, 0 nothing now, -1 gone or broken
void pv_put_bytes(struct pv_buffer *b, const char *data, size_t size);
int pv_send(int fd, struct pv_buffer *b, const int *fds, int nfds);
void pv_reply_ok(struct pv_conn *c);
void pv_reply_error(struct pv_conn *c, int err, const char *what);

// journal.c
int pv_journal_open(void);
void pv_journal_exit(int pid, int code);
unsigned long long pv_start_time(int pid);

// agent.c
struct pv_agent {
	int pid;             // 0 when none runs
	char **argv, **env;  // what to run; NULL before the first LAUNCH
	char *cwd;
	int stdio[3];        // the launcher's; -1 once it has gone
	int ready_once;      // it was READY since its LAUNCH: a failure is a crash
	int ending;          // told to end: whatever its status, it is not started again
	int stop;            // the supervisor ends when the agent has
	int64_t started_ms, respawn_ms, kill_ms, backoff_ms;
	struct pv_message next; // a LAUNCH that waits for the old agent's end
	struct pv_conn *next_conn;
};
extern struct pv_agent pv_agent;
void pv_agent_launch(struct pv_conn *c, struct pv_message *m);
void pv_agent_signal(int sig);
void pv_agent_exited(int code, int signalled);
void pv_agent_stop(struct pv_conn *c);
void pv_agent_tick(int64_t now_ms);
void pv_agent_forget_conn(struct pv_conn *c);
int64_t pv_agent_deadline(void);

// pump.c
struct pv_pump {
	struct pv_source source;
	int out;       // the log file
	int tty;       // a terminal's master: read it, there is nothing to tee
	char stream;   // 'o' stdout, 'e' stderr
	char *id, *path;
	int64_t partial_ms; // since when an unfinished line waits; 0 when none does
	unsigned long long dropped;
};
extern struct pv_source *pv_pumps;
struct pv_pump *pv_pump_add(const char *id, char stream, int tty, const char *path, int fd);
void pv_pump_run(struct pv_pump *p);
void pv_pump_flush(struct pv_pump *p);
void pv_pump_close(struct pv_pump *p);
int pv_pump_reopen(struct pv_pump *p);
void pv_pump_tick(int64_t now_ms);
int64_t pv_pump_deadline(void);

// hold.c
struct pv_hold {
	struct pv_hold *next;
	char *id;
	int fds[PV_FDS_MAX], nfds;
};
extern struct pv_hold *pv_holds;
struct pv_hold *pv_hold_find(const char *id);
int pv_hold_add(const char *id, struct pv_message *m);
void pv_hold_drop(const char *id);

// exec.c
void pv_exec_start(struct pv_conn *c, struct pv_message *m, int with_output);

// commands.c
struct pv_exec {
	struct pv_source source; // our end of a RUN's output; fd -1 for an EXEC, and after the end of the output
	int pid;
	struct pv_conn *conn;    // NULL when the client has gone
	int run;                 // one answer, with the output
	int ended, code;         // the command has been reaped; what is left of it may still write
	int cancelled;           // the client does not wait for those
	int writer;              // the pipe's other end, so that only the command's end wakes us; -1 when closed
	char *output;            // NULL while there is none
	size_t size, max;
};
extern struct pv_source *pv_execs;
struct pv_exec *pv_exec_add(int pid, struct pv_conn *c);
int pv_exec_pipe(struct pv_exec *e, int reader, int writer, size_t max);
void pv_exec_drop(struct pv_exec *e);
void pv_exec_read(struct pv_exec *e);
int pv_exec_exited(int pid, int code); // 1 if pid was a command
int pv_exec_cancel(struct pv_conn *c); // 1 if the connection has a command
void pv_exec_forget_conn(struct pv_conn *c);
int pv_exec_running(int pid);

// fence.c
struct pv_guard {
	struct pv_guard *next;
	char *id, **dirs; // the pod, and its cgroups
	int fenced;       // its lease has ended: nothing of it may run
	int killing;      // something of it may still run
};
extern struct pv_guard *pv_guards;
extern int64_t pv_lease_ns;
struct pv_guard *pv_guard_add(const char *id, char **dirs);
void pv_guard(struct pv_conn *c, struct pv_message *m);
void pv_unguard(struct pv_conn *c, struct pv_message *m);
void pv_lease(struct pv_conn *c, struct pv_message *m);
void pv_open(struct pv_conn *c, struct pv_message *m);
void pv_fence_tick(void);

// upgrade.c
int pv_upgrade(const char *path);
int pv_restore(int fd);

#endif
