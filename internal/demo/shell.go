package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// sh is one shell. The interpreter knows traps on EXIT and ERR only; those on signals are kept here.
type sh struct {
	runner *interp.Runner
	params []string

	mu     sync.Mutex
	cancel context.CancelFunc // of the command line that runs
	traps  map[string]string  // signal name to commands
}

// shell is the tool sh: -c COMMANDS, a script with arguments, or standard input.
func shell(c *call) int {
	args, commands, set := c.args, "", []string{}
	hasCommands, interactive := false, false
	for len(args) > 0 && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		for _, r := range a[1:] {
			switch r {
			case 'c':
				hasCommands = true
			case 'i':
				interactive = true
			case 's', 'l':
			case 'e', 'u', 'x', 'f', 'n', 'a':
				set = append(set, a[:1]+string(r))
			default:
				return c.misuse("unknown option %c%c", a[0], r)
			}
		}
	}
	if hasCommands {
		if len(args) == 0 {
			return c.misuse("-c needs a command")
		}
		commands, args = args[0], args[1:]
	}
	s := &sh{traps: map[string]string{}}
	switch {
	case hasCommands:
		name := c.name
		if len(args) > 0 {
			name, args = args[0], args[1:]
		}
		return s.start(c, set, args, func() int { return s.run(strings.NewReader(commands), name) })
	case len(args) > 0:
		f, err := os.Open(args[0])
		if err != nil {
			c.fail(err)
			return 127
		}
		defer f.Close()
		return s.start(c, set, args[1:], func() int { return s.run(f, args[0]) })
	}
	interactive = interactive || isTerminal(c.in)
	return s.start(c, set, nil, func() int { return s.loop(c.in, interactive) })
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// start makes the interpreter and sees to signals while body runs.
func (s *sh) start(c *call, set, params []string, body func() int) int {
	s.params = append(append(set, "--"), params...)
	r, err := s.newRunner()
	if err != nil {
		return c.fail(err)
	}
	s.runner = r
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	go s.onSignals(signals) // ends with the process
	return body()
}

func (s *sh) newRunner() (*interp.Runner, error) {
	return interp.New(
		interp.StdIO(os.Stdin, os.Stdout, os.Stderr),
		interp.Params(s.params...),
		interp.CallHandler(s.call),
	)
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGTERM: "TERM", syscall.SIGINT: "INT", syscall.SIGHUP: "HUP", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
}

// call sees every command first. The interpreter refuses to be a kill of its own: the tool is meant.
func (s *sh) call(ctx context.Context, args []string) ([]string, error) {
	if args[0] != "kill" {
		return s.trap(ctx, args)
	}
	h := interp.HandlerCtx(ctx)
	path, err := interp.LookPathDir(h.Dir, h.Env, "kill")
	if err != nil {
		return args, nil
	}
	return append([]string{path}, args[1:]...), nil
}

// trap keeps `trap COMMANDS TERM` for itself and leaves EXIT and ERR to the interpreter.
func (s *sh) trap(_ context.Context, args []string) ([]string, error) {
	if args[0] != "trap" || len(args) < 3 {
		return args, nil
	}
	left := args[:2:2]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range args[2:] {
		name = signalByNumber(strings.TrimPrefix(strings.ToUpper(name), "SIG"))
		if name == "EXIT" || name == "ERR" || name == "0" {
			left = append(left, strings.Replace(name, "0", "EXIT", 1))
		} else if args[1] == "-" {
			delete(s.traps, name)
		} else {
			s.traps[name] = args[1]
		}
	}
	if len(left) == 2 {
		return []string{"true"}, nil
	}
	return left, nil
}

func signalByNumber(s string) string {
	for sig, name := range signalNames {
		if s == fmt.Sprint(int(sig)) {
			return name
		}
	}
	return s
}

// onSignals runs traps beside what the shell does, in an interpreter of their own: they see the
// environment and not the shell's variables. Without a trap, an interrupt ends the command line and
// the other signals end the shell.
func (s *sh) onSignals(signals <-chan os.Signal) {
	for sig := range signals {
		s.mu.Lock()
		commands, trapped := s.traps[signalNames[sig.(syscall.Signal)]]
		cancel := s.cancel
		s.mu.Unlock()
		switch {
		case trapped:
			s.runTrap(commands)
		case sig == syscall.SIGINT && cancel != nil:
			cancel()
		case sig == syscall.SIGINT && isTerminal(os.Stdin):
			fmt.Fprint(os.Stdout, "\n", prompt())
		default:
			os.Exit(128 + int(sig.(syscall.Signal)))
		}
	}
}

func (s *sh) runTrap(commands string) {
	prog, err := syntax.NewParser().Parse(strings.NewReader(commands), "trap")
	if err != nil {
		fmt.Fprintln(os.Stderr, "sh: trap:", err)
		return
	}
	r, err := s.newRunner()
	if err != nil {
		return
	}
	err = r.Run(context.Background(), prog)
	if r.Exited() {
		os.Exit(exitCode(err))
	}
}

// run executes a whole program.
func (s *sh) run(r io.Reader, name string) int {
	prog, err := syntax.NewParser().Parse(r, name)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sh:", err)
		return 2
	}
	err = s.runner.Run(context.Background(), prog)
	return exitCode(err)
}

func exitCode(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintln(os.Stderr, "sh:", err)
	return 1
}

func prompt() string {
	dir, err := os.Getwd()
	if err != nil {
		dir = "?"
	}
	if os.Getuid() == 0 {
		return dir + " # "
	}
	return dir + " $ "
}

// loop reads commands line by line, a byte at a time, so that a command it starts finds the rest of
// the input untouched.
func (s *sh) loop(in *os.File, interactive bool) int {
	code, text := 0, ""
	for {
		s.prompt(interactive, text)
		line, err := readLine(in)
		text += line
		stmts, perr := syntax.NewParser().Parse(strings.NewReader(text), "sh")
		if perr != nil && syntax.IsIncomplete(perr) && err == nil {
			continue
		}
		text = ""
		if perr != nil {
			fmt.Fprintln(os.Stderr, "sh:", perr)
			code = 2
			if !interactive {
				return code
			}
		} else if len(stmts.Stmts) > 0 {
			var exited bool
			if code, exited = s.line(stmts); exited {
				return code
			}
		}
		if err != nil {
			return code
		}
	}
}

func (s *sh) prompt(interactive bool, pending string) {
	switch {
	case !interactive:
	case pending != "":
		fmt.Fprint(os.Stderr, "> ")
	case s.runner.Dir != "":
		fmt.Fprint(os.Stderr, s.runner.Dir, strings.TrimLeft(prompt()[len(prompt())-3:], "/"))
	default:
		fmt.Fprint(os.Stderr, prompt())
	}
}

// line runs one command line; Ctrl-C ends it and not the shell.
func (s *sh) line(prog *syntax.File) (code int, exited bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.setCancel(cancel)
	defer s.setCancel(nil)
	for _, stmt := range prog.Stmts {
		err := s.runner.Run(ctx, stmt)
		if ctx.Err() != nil {
			return 130, false
		}
		code = exitCode(err)
		if s.runner.Exited() {
			return code, true
		}
	}
	return code, false
}

func (s *sh) setCancel(c context.CancelFunc) {
	s.mu.Lock()
	s.cancel = c
	s.mu.Unlock()
}

func readLine(in *os.File) (string, error) {
	var line []byte
	var b [1]byte
	for {
		n, err := in.Read(b[:])
		if n == 1 {
			line = append(line, b[0])
			if b[0] == '\n' {
				return string(line), nil
			}
		}
		if err != nil {
			return string(line), err
		}
	}
}

// builtin runs one of the shell's own commands (echo, printf, test) as a program.
func builtin(c *call) int {
	var b strings.Builder
	for _, a := range append([]string{c.name}, c.args...) {
		q, err := syntax.Quote(a, syntax.LangBash)
		if err != nil {
			return c.fail(err)
		}
		b.WriteString(q + " ")
	}
	s := &sh{traps: map[string]string{}, params: []string{"--"}}
	r, err := s.newRunner()
	if err != nil {
		return c.fail(err)
	}
	s.runner = r
	return s.run(strings.NewReader(b.String()), c.name)
}
