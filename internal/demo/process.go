package demo

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func userName(uid uint32) string {
	u, err := user.LookupId(fmt.Sprint(uid))
	if err != nil {
		return fmt.Sprint(uid)
	}
	return u.Username
}

func groupName(gid uint32) string {
	g, err := user.LookupGroupId(fmt.Sprint(gid))
	if err != nil {
		return fmt.Sprint(gid)
	}
	return g.Name
}

func ps(c *call) int {
	fmt.Fprintf(c.out, "%5s %-8s %-5s %8s %s\n", "PID", "USER", "STAT", "RSS", "COMMAND")
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return c.fail(err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		c.process(pid)
	}
	return 0
}

// process prints one; a process that ends meanwhile is left out.
func (c *call) process(pid int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	f := map[string]string{}
	for l := range strings.Lines(string(status)) {
		k, v, _ := strings.Cut(l, ":")
		f[k] = strings.TrimSpace(v)
	}
	cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return
	}
	text := strings.TrimRight(strings.ReplaceAll(string(cmd), "\x00", " "), " ")
	if text == "" {
		text = "[" + f["Name"] + "]"
	}
	uid, _ := strconv.ParseUint(strings.SplitN(f["Uid"]+"\t", "\t", 2)[0], 10, 32) // the kernel's own number
	fmt.Fprintf(c.out, "%5d %-8s %-5.1s %8s %s\n", pid, userName(uint32(uid)), f["State"], strings.TrimSuffix(f["VmRSS"], " kB"), text)
}

func kill(c *call) int {
	sig, args := syscall.SIGTERM, c.args
	if len(args) > 0 && args[0] == "-l" {
		for n := 1; n < 32; n++ {
			fmt.Fprintf(c.out, "%2d %s\n", n, strings.TrimPrefix(unix.SignalName(syscall.Signal(n)), "SIG"))
		}
		return 0
	}
	if len(args) > 1 && args[0] == "-s" {
		args = append([]string{"-" + args[1]}, args[2:]...)
	}
	if len(args) > 1 && strings.HasPrefix(args[0], "-") {
		var ok bool
		if sig, ok = signalNamed(args[0][1:]); !ok {
			return c.misuse("unknown signal %s", args[0][1:])
		}
		args = args[1:]
	}
	if len(args) == 0 {
		return c.misuse("want process IDs")
	}
	return c.each(args, func(s string) error {
		pid, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a process ID", s)
		}
		if err := syscall.Kill(pid, sig); err != nil {
			return fmt.Errorf("%d: %w", pid, err)
		}
		return nil
	})
}

func signalNamed(s string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return syscall.Signal(n), n >= 0 && n < 65
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG"))
	return sig, sig != 0
}

func sleep(c *call) int {
	if len(c.args) == 0 {
		return c.misuse("want a time: 1.5, 2m, infinity")
	}
	var total time.Duration
	for _, a := range c.args {
		if a == "infinity" || a == "inf" {
			total = 1<<63 - 1
			break
		}
		unit, number := time.Second, a
		if u, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[a[max(0, len(a)-1)]]; ok {
			unit, number = u, a[:len(a)-1]
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || n < 0 {
			return c.misuse("invalid time %q", a)
		}
		total += time.Duration(n * float64(unit))
	}
	time.Sleep(total)
	return 0
}

func date(c *call) int {
	o, err := parse(c.args, "uI", map[string]string{"utc": "u"})
	if err != nil {
		return c.misuse("%v", err)
	}
	t := time.Now()
	if o.has("u") {
		t = t.UTC()
	}
	switch {
	case o.has("I"):
		fmt.Fprintln(c.out, t.Format(time.DateOnly))
	case len(o.rest) == 0:
		fmt.Fprintln(c.out, t.Format("Mon Jan _2 15:04:05 MST 2006"))
	case strings.HasPrefix(o.rest[0], "+"):
		fmt.Fprintln(c.out, strftime(t, o.rest[0][1:]))
	default:
		return c.misuse("want +FORMAT")
	}
	return 0
}

func strftime(t time.Time, format string) string {
	return strings.NewReplacer("%%", "%", "%Y", t.Format("2006"), "%m", t.Format("01"), "%d", t.Format("02"), "%H", t.Format("15"),
		"%M", t.Format("04"), "%S", t.Format("05"), "%s", fmt.Sprint(t.Unix()), "%N", fmt.Sprintf("%09d", t.Nanosecond()), "%F", t.Format(time.DateOnly),
		"%T", t.Format(time.TimeOnly), "%Z", t.Format("MST"), "%z", t.Format("-0700"), "%a", t.Format("Mon"), "%b", t.Format("Jan"),
		"%A", t.Format("Monday"), "%B", t.Format("January"), "%y", t.Format("06"), "%j", t.Format("002"), "%R", t.Format("15:04"), "%n", "\n").Replace(format)
}

func env(c *call) int {
	o, err := parse(c.args, "+iu:0", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	vars := os.Environ()
	if o.has("i") {
		vars = nil
	}
	if o.has("u") {
		vars = slices.DeleteFunc(vars, func(v string) bool { return strings.HasPrefix(v, o.value["u"]+"=") })
	}
	rest := o.rest
	for len(rest) > 0 && strings.Contains(rest[0], "=") {
		k, _, _ := strings.Cut(rest[0], "=")
		vars = slices.DeleteFunc(vars, func(v string) bool { return strings.HasPrefix(v, k+"=") })
		vars, rest = append(vars, rest[0]), rest[1:]
	}
	if len(rest) == 0 {
		for _, v := range vars {
			fmt.Fprintln(c.out, v)
		}
		return 0
	}
	path, err := exec.LookPath(rest[0])
	if err != nil {
		c.fail(fmt.Errorf("%s: not found", rest[0]))
		return 127
	}
	err = syscall.Exec(path, rest, vars)
	c.fail(fmt.Errorf("%s: %w", rest[0], err))
	return 126
}

func printenv(c *call) int {
	if len(c.args) == 0 {
		for _, v := range os.Environ() {
			fmt.Fprintln(c.out, v)
		}
		return 0
	}
	code := 0
	for _, k := range c.args {
		if v, ok := os.LookupEnv(k); ok {
			fmt.Fprintln(c.out, v)
		} else {
			code = 1
		}
	}
	return code
}

func id(c *call) int {
	o, err := parse(c.args, "ugnG", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	name := func(n uint32, f func(uint32) string) string {
		if o.has("n") {
			return f(n)
		}
		return fmt.Sprint(n)
	}
	groups, err := os.Getgroups()
	if err != nil {
		return c.fail(err)
	}
	groups = slices.DeleteFunc(groups, func(g int) bool { return g == int(gid) })
	long := fmt.Sprintf("%d(%s)", gid, groupName(gid))
	short := name(gid, groupName)
	for _, g := range groups {
		long += fmt.Sprintf(",%d(%s)", g, groupName(uint32(g)))
		short += " " + name(uint32(g), groupName)
	}
	switch {
	case o.has("u"):
		fmt.Fprintln(c.out, name(uid, userName))
	case o.has("g"):
		fmt.Fprintln(c.out, name(gid, groupName))
	case o.has("G"):
		fmt.Fprintln(c.out, short)
	default:
		fmt.Fprintf(c.out, "uid=%d(%s) gid=%d(%s) groups=%s\n", uid, userName(uid), gid, groupName(gid), long)
	}
	return 0
}

func whoami(c *call) int {
	fmt.Fprintln(c.out, userName(uint32(os.Geteuid())))
	return 0
}

func hostname(c *call) int {
	o, err := parse(c.args, "ifs", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	if o.has("i") {
		fmt.Fprintln(c.out, firstAddress())
		return 0
	}
	h, err := os.Hostname()
	if err != nil {
		return c.fail(err)
	}
	if o.has("s") {
		h, _, _ = strings.Cut(h, ".")
	}
	fmt.Fprintln(c.out, h)
	return 0
}

func uname(c *call) int {
	o, err := parse(c.args, "asnrvmo", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return c.fail(err)
	}
	var out []string
	for _, p := range []struct {
		flag  string
		value string
	}{{"s", unix.ByteSliceToString(u.Sysname[:])}, {"n", unix.ByteSliceToString(u.Nodename[:])}, {"r", unix.ByteSliceToString(u.Release[:])},
		{"v", unix.ByteSliceToString(u.Version[:])}, {"m", unix.ByteSliceToString(u.Machine[:])}, {"o", "GNU/Linux"}} {
		if o.has(p.flag) || o.has("a") || (p.flag == "s" && len(c.args) == 0) {
			out = append(out, p.value)
		}
	}
	fmt.Fprintln(c.out, strings.Join(out, " "))
	return 0
}

func yesCode(*call) int { return 0 }
func noCode(*call) int  { return 1 }

func nproc(c *call) int {
	fmt.Fprintln(c.out, runtime.NumCPU())
	return 0
}

func yes(c *call) int {
	text := "y"
	if len(c.args) > 0 {
		text = strings.Join(c.args, " ")
	}
	for {
		if _, err := c.out.WriteString(text + "\n"); err != nil {
			return 1
		}
	}
}

func seq(c *call) int {
	from, step, to := 1.0, 1.0, 0.0
	var n []float64
	for _, a := range c.args {
		f, err := strconv.ParseFloat(a, 64)
		if err != nil {
			return c.misuse("%q is not a number", a)
		}
		n = append(n, f)
	}
	switch len(n) {
	case 1:
		to = n[0]
	case 2:
		from, to = n[0], n[1]
	case 3:
		from, step, to = n[0], n[1], n[2]
	default:
		return c.misuse("want [FIRST [STEP]] LAST")
	}
	if step == 0 {
		return c.misuse("a step of 0 never ends")
	}
	for i := 0.0; ; i++ {
		v := from + i*step
		if (step > 0 && v > to) || (step < 0 && v < to) {
			return 0
		}
		if _, err := fmt.Fprintln(c.out, strconv.FormatFloat(v, 'f', -1, 64)); err != nil {
			return 1
		}
	}
}

func which(c *call) int {
	return c.each(c.args, func(n string) error {
		p, err := exec.LookPath(n)
		if err != nil {
			return fmt.Errorf("%s: not found", n)
		}
		fmt.Fprintln(c.out, p)
		return nil
	})
}

// run starts a program with the tool's streams and returns its exit code as a shell would.
func (c *call) run(args []string) int {
	c.out.Flush()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	case errors.As(err, &exit):
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
	}
	c.fail(err)
	return 127
}

func xargs(c *call) int {
	o, err := parse(c.args, "+0rn:I:t", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	most, err := o.number("n", 4096)
	if err != nil || most < 1 {
		return c.misuse("-n: want a positive number")
	}
	command := o.rest
	if len(command) == 0 {
		command = []string{"echo"}
	}
	words, err := xargsWords(c, o)
	if err != nil {
		return c.fail(err)
	}
	code := 0
	run := func(args []string) {
		if c.run(args) != 0 {
			code = 123
		}
	}
	if o.has("I") {
		for _, w := range words {
			args := make([]string, len(command))
			for i, a := range command {
				args[i] = strings.ReplaceAll(a, o.value["I"], w)
			}
			run(args)
		}
		return code
	}
	if len(words) == 0 && !o.has("r") {
		run(command)
	}
	for part := range slices.Chunk(words, most) {
		run(append(slices.Clone(command), part...))
	}
	return code
}

func xargsWords(c *call, o *options) ([]string, error) {
	var words []string
	s := bufio.NewScanner(c.in)
	s.Buffer(nil, 1<<20)
	switch {
	case o.has("0"):
		s.Split(splitNUL)
	case o.has("I"):
	default:
		s.Split(bufio.ScanWords)
	}
	for s.Scan() {
		if s.Text() != "" {
			words = append(words, s.Text())
		}
	}
	return words, s.Err()
}

func splitNUL(data []byte, atEOF bool) (int, []byte, error) {
	if i := slices.Index(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// filesBelow lists the regular files under each path; a path that cannot be read is kept, so that
// reading it says why.
func filesBelow(paths []string) []string {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	var out []string
	for _, p := range paths {
		_ = filepath.WalkDir(p, func(n string, e os.DirEntry, err error) error {
			if err != nil || e.Type().IsRegular() {
				out = append(out, n)
			}
			return nil
		})
	}
	return out
}
