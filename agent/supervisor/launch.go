package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Start makes sure that a supervisor lives in dir, which it creates. Several may call it at once.
func Start(dir string) error {
	if len(dir) > PathBytesMax {
		return fmt.Errorf("the directory %s is too long for a socket: use one of at most %d bytes", dir, PathBytesMax)
	}
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("the supervisor's directory %q is not absolute", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the supervisor's directory: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "supervisor.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the supervisor's log: %w", err)
	}
	defer log.Close()
	if alive(dir) {
		return nil
	}
	startErr := startDaemon(dir, log)
	// A start that lost the race for the lock is no failure: the winner answers.
	if startErr == nil || alive(dir) {
		return nil
	}
	return fmt.Errorf("starting the supervisor: %w; see %s", startErr, log.Name())
}

func alive(dir string) bool {
	c, err := Dial(dir)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// startDaemon runs this binary in the supervisor's role. That process goes to the background itself and its
// first half exits with 0 once the socket is there.
func startDaemon(dir string, log *os.File) error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{supervisorName, dir}
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run()
}

// Launch runs argv (argv[0] is the path of the program) as the agent of dir's supervisor, with the
// caller's standard streams and working directory, and returns the agent's exit code. SIGTERM, SIGINT
// and SIGHUP go to the agent. Killed, the caller leaves agent and pods running; the next Launch ends
// that agent and starts its own.
func Launch(dir string, argv, env []string) (int, error) {
	if len(argv) == 0 {
		return -1, errors.New("launching an agent without a program")
	}
	if err := Start(dir); err != nil {
		return -1, err
	}
	signals := make(chan os.Signal, 16) // more than arrive while one is forwarded
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	conn, err := requestLaunch(dir, argv, env)
	if err != nil {
		return -1, fmt.Errorf("launching the agent: %w", err)
	}
	defer conn.Close()
	done := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		forward(conn, signals, done)
	}()
	code, err := awaitAgent(conn)
	close(done)
	<-forwarded
	return code, err
}

func requestLaunch(dir string, argv, env []string) (*net.UnixConn, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	conn, err := dialSocket(dir)
	if err != nil {
		return nil, err
	}
	m := newMessage("LAUNCH").str(cwd).list(append([]string{argv[0]}, argv...)).list(env)
	if err := send(conn, m, 0, 1, 2); err != nil {
		conn.Close()
		return nil, err
	}
	// The answer may wait for an older agent's end, which the supervisor bounds.
	if err := conn.SetReadDeadline(time.Now().Add(3 * callTimeout)); err != nil {
		conn.Close()
		return nil, err
	}
	if _, _, err := receive(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, conn.SetReadDeadline(time.Time{})
}

func forward(conn *net.UnixConn, signals <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			// A failure here means that the supervisor has gone, which awaitAgent reports.
			_ = send(conn, newMessage("SIGNAL").num(int(s.(syscall.Signal))))
		case <-done:
			return
		}
	}
}

func awaitAgent(conn *net.UnixConn) (int, error) {
	fields, files, err := receive(conn)
	closeAll(files)
	if err != nil {
		return -1, fmt.Errorf("the supervisor has ended; the agent and its pods go on, start the agent again to look after them: %w", err)
	}
	if len(fields) != 2 || fields[0] != "AGENTEXIT" {
		return -1, errShape
	}
	return strconv.Atoi(fields[1])
}
