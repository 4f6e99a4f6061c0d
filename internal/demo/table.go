package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// table is filled by init, because the shell's tools look other tools up.
var table map[string]func(*call) int

func init() {
	table = map[string]func(*call) int{
		"demo": serve, "sh": shell, "ash": shell,
		"cat": cat, "tee": tee, "head": head, "tail": tail, "wc": wc, "sort": sortLines, "uniq": uniq, "cut": cut, "tr": tr,
		"grep": grep, "find": find, "xargs": xargs, "sha256sum": sha256sum, "md5sum": md5sum,
		"ls": ls, "stat": stat, "touch": touch, "mkdir": mkdir, "rmdir": rmdir, "rm": rm, "cp": cp, "mv": mv, "ln": ln,
		"chmod": chmod, "chown": chown, "readlink": readlink, "basename": basename, "dirname": dirname, "pwd": pwd,
		"ps": ps, "kill": kill, "sleep": sleep, "date": date, "env": env, "printenv": printenv, "id": id, "whoami": whoami,
		"hostname": hostname, "uname": uname, "true": yesCode, "false": noCode, "yes": yes, "seq": seq, "nproc": nproc,
		"echo": builtin, "printf": builtin, "test": builtin, "[": builtin, "which": which,
		"wget": wget, "curl": curl, "nslookup": nslookup, "nc": nc,
		"tar": tarTool, "dd": dd, "df": df, "mount": mount, "umount": umount, "sync": syncTool,
	}
}

// Names lists the names under which the program is one of the tools, sorted.
func Names() []string {
	out := make([]string, 0, len(table))
	for n := range table {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Main runs the tool called name, the last part of argv[0], and tells whether there is one. args are
// without the name. The caller exits with the code.
func Main(name string, args []string) (code int, handled bool) {
	run, ok := table[name]
	if !ok {
		return 0, false
	}
	if os.Getpid() == 1 {
		endOnTerm(name)
	}
	c := &call{name: name, args: args, in: os.Stdin, out: bufio.NewWriterSize(os.Stdout, 32<<10)}
	code = run(c)
	if err := c.out.Flush(); err != nil && code == 0 {
		code = c.fail(err)
	}
	return code, true
}

// endOnTerm gives a tool that is a container's first process what the kernel withholds from it: the
// default effect of a signal. The server and the shell have effects of their own.
func endOnTerm(name string) {
	if name == "demo" || name == "sh" || name == "ash" {
		return
	}
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT)
	go func() { // ends with the process
		s := <-ch
		os.Exit(128 + int(s.(syscall.Signal)))
	}()
}

// call is one run of a tool.
type call struct {
	name string
	args []string
	in   *os.File
	out  *bufio.Writer // flushed when the tool returns
}

// fail says why on standard error and returns 1.
func (c *call) fail(err error) int {
	c.out.Flush()
	fmt.Fprintf(os.Stderr, "%s: %v\n", c.name, plain(err))
	return 1
}

// misuse refuses arguments; 2 is the shells' custom for that.
func (c *call) misuse(format string, a ...any) int {
	c.out.Flush()
	fmt.Fprintf(os.Stderr, "%s: %s\n", c.name, fmt.Sprintf(format, a...))
	return 2
}

// plain writes an error as the tools do: the file, then what is wrong with it.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Path + ": " + p.Err.Error()
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.New + ": " + l.Err.Error()
	}
	return err.Error()
}

// each does one thing to every argument and goes on after a failure, as cat and rm do.
func (c *call) each(names []string, do func(string) error) int {
	code := 0
	for _, n := range names {
		if err := do(n); err != nil {
			code = c.fail(err)
		}
	}
	return code
}

// inputs calls do with each named file, or with standard input if there is none; "-" is standard input.
func (c *call) inputs(names []string, do func(name string, r io.Reader) error) int {
	if len(names) == 0 {
		names = []string{"-"}
	}
	return c.each(names, func(n string) error {
		if n == "-" {
			return do("-", c.in)
		}
		f, err := os.Open(n)
		if err != nil {
			return err
		}
		defer f.Close()
		return do(n, f)
	})
}
