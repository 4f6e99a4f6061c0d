package demo

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain makes the test binary the multi-call program when it is started under a tool's name.
func TestMain(m *testing.M) {
	if code, handled := Main(filepath.Base(os.Args[0]), os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// bin makes a directory of links as the image has it and returns it.
func bin(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range Names() {
		if err := os.Symlink(exe, filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

type outcome struct {
	out, err string
	code     int
}

func runShell(t *testing.T, path, dir, stdin string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(filepath.Join(path, "sh"), args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, []string{"PATH=" + path, "HOME=/root", "TZ=UTC"}, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func TestTools(t *testing.T) {
	path := bin(t)
	for _, tt := range []struct {
		script, out, err string
		code             int
	}{
		{script: "echo hello > f; cat f f", out: "hello\nhello\n"},
		{script: "cat none", err: "cat: none: no such file or directory", code: 1},
		{script: "cat -Z", err: "unknown option -Z", code: 2},
		{script: "printf 'a\\nb\\n' | cat -n", out: "     1\ta\n     2\tb\n"},
		{script: "seq 5 | head -2", out: "1\n2\n"},
		{script: "seq 5 | tail -n 2", out: "4\n5\n"},
		{script: "seq 5 | tail -n +4", out: "4\n5\n"},
		{script: "yes | head -n 1", out: "y\n"},
		{script: "seq 3 | wc -l", out: "3\n"},
		{script: "printf 'one two' | wc", out: "0 2 7\n"},
		{script: "printf '10\\n9\\n' | sort; printf '10\\n9\\n' | sort -n", out: "10\n9\n9\n10\n"},
		{script: "printf 'a\\na\\nb\\n' | uniq -c", out: "      2 a\n      1 b\n"},
		{script: "echo a:b:c | cut -d: -f1,3", out: "a:c\n"},
		{script: "echo hello | tr a-z A-Z", out: "HELLO\n"},
		{script: "printf 'ab\\ncd\\n' | grep -n c", out: "2:cd\n"},
		{script: "echo ab | grep -q x", code: 1},
		{script: "echo ab | grep -E 'a|x'; echo 'a|x' | grep 'a|x'", out: "ab\na|x\n"},
		{script: "mkdir -p d/e; touch d/e/f; find d -type f", out: "d/e/f\n"},
		{script: "mkdir d; touch d/a d/b; ls d; rm -r d; ls d", out: "a\nb\n", err: "ls: d: no such file", code: 1},
		{script: "rm none", err: "no such file", code: 1},
		{script: "rm -f none", code: 0},
		{script: "mkdir d; rm d", err: "is a directory", code: 1},
		{script: "echo x > a; cp a b; mv b c; cat c; ls", out: "x\na\nc\n"},
		{script: "mkdir d; echo x > d/f; cp -r d e; cat e/f; cp d g", out: "x\n", err: "is a directory", code: 1},
		{script: "touch a; ln -s a l; readlink l; chmod 640 a; stat -c %a a; chmod u+x,o=r a; stat -c '%a %A' a", out: "a\n640\n744 -rwxr--r--\n"},
		{script: "basename /a/b.c .c; dirname /a/b", out: "b\n/a\n"},
		{script: "printf abc | sha256sum", out: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n"},
		{script: "mkdir d; echo x > d/f; tar cf - d | (mkdir t; tar xf - -C t); cat t/d/f; tar cf a.tar d; tar tf a.tar", out: "x\nd\nd/f\n"},
		{script: "dd if=/dev/zero bs=1k count=3 status=none | wc -c", out: "3072\n"},
		{script: "env -i A=b env", out: "A=b\n"},
		{script: "A=b printenv A; printenv NONE", out: "b\n", code: 1},
		{script: "seq 4 | xargs -n 2 echo +", out: "+ 1 2\n+ 3 4\n"},
		{script: "test -f none || echo no; [ 1 = 1 ] && echo yes", out: "no\nyes\n"},
		{script: "false", code: 1},
		{script: "true", code: 0},
		{script: "exit 7", code: 7},
		{script: "none", err: "none", code: 127},
		{script: "sleep 0.01 && echo done", out: "done\n"},
		{script: "id -u; whoami", out: "0\nroot\n"},
		{script: "date -u +%s | wc -l; uname", out: "1\nLinux\n"},
		{script: "for i in 1 2; do echo $i; done; x=$(echo sub); echo $x", out: "1\n2\nsub\n"},
		{script: "if", err: "sh:", code: 2},
		{script: "echo x | tee f; cat f", out: "x\nx\n"},
		{script: "kill -0 $$ && echo alive; kill nobody", out: "alive\n", err: "not a process ID", code: 1},
		{script: "trap 'echo bye; exit 3' TERM; kill $$; sleep 5", out: "bye\n", code: 3},
		{script: "printf '%s-%03d\\n' a 7", out: "a-007\n"},
		{script: "df / | wc -l; mount | grep -q proc && echo proc", out: "2\nproc\n"},
		{script: "ps | grep -q PID && echo ps", out: "ps\n"},
		{script: "wget -q -O - http://127.0.0.1:1/", err: "refused", code: 1},
		{script: "curl -s http://127.0.0.1:1/", code: 7},
		{script: "nc -z 127.0.0.1 1", err: "refused", code: 1},
	} {
		t.Run(tt.script, func(t *testing.T) {
			got := runShell(t, path, t.TempDir(), "", "-c", tt.script)
			if got.out != tt.out || got.code != tt.code || !strings.Contains(got.err, tt.err) || (tt.err == "" && got.err != "") {
				t.Errorf("got %q, stderr %q, code %d; want %q, %q, %d", got.out, got.err, got.code, tt.out, tt.err, tt.code)
			}
		})
	}
}

func TestShellReadsStandardInput(t *testing.T) {
	path := bin(t)
	got := runShell(t, path, t.TempDir(), "if true\nthen echo a\nfi\ncat\nrest is cat's\n")
	if got.out != "a\nrest is cat's\n" || got.code != 0 {
		t.Errorf("got %+v", got)
	}
	got = runShell(t, path, t.TempDir(), "cd /tmp\nfi\necho after\nexit 4\n", "-i")
	if got.out != "after\n" || got.code != 4 || !strings.Contains(got.err, "/tmp # ") {
		t.Errorf("interactive: %+v", got)
	}
}

func TestShellArguments(t *testing.T) {
	path, dir := bin(t), t.TempDir()
	if got := runShell(t, path, dir, "", "-c", `echo $0 $1 $#`, "name", "x", "y"); got.out != "name x 2\n" {
		t.Errorf("-c: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("echo $1\nexit 5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := runShell(t, path, dir, "", "s", "arg"); got.out != "arg\n" || got.code != 5 {
		t.Errorf("script: %+v", got)
	}
	if got := runShell(t, path, dir, "", "none"); got.code != 127 {
		t.Errorf("missing script: %+v", got)
	}
}

// server starts the web server on a free port and returns its address and process.
func server(t *testing.T, env ...string) (string, *exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin(t), "demo"), "-p", "0")
	cmd.Env = append([]string{"POD_NAME=p1", "NODE_NAME=n1"}, env...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	out := bufio.NewReader(pipe)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("the server said %q and ended: %v", line, err)
	}
	f := strings.Fields(line)
	return "http://127.0.0.1:" + f[len(f)-1], cmd, out
}

func get(t *testing.T, url, accept string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestServerAnswers(t *testing.T) {
	at, _, _ := server(t)
	for _, tt := range []struct {
		path, accept string
		code         int
		body         string
	}{
		{"/x?y=z", "", 200, "request     GET /x?y=z HTTP/1.1"},
		{"/", "", 200, "pod         p1"},
		{"/", "application/json", 200, `"node": "n1"`},
		{"/healthz", "", 200, "ok"},
		{"/readyz", "", 200, "ok"},
		{"/unready", "", 200, "ready: false"},
		{"/readyz", "", 503, "not ready"},
		{"/ready", "", 200, "ready: true"},
		{"/readyz", "", 200, "ok"},
		{"/fail?code=500", "", 200, "from now on 500"},
		{"/", "", 500, "told to fail"},
		{"/healthz", "", 500, "told to fail"},
		{"/fail?code=0", "", 200, "from now on 0"},
		{"/fail?code=7", "", 400, "want"},
		{"/fail?code=x", "", 400, "want a number"},
		{"/bytes?n=5", "", 200, "xxxxx"},
		{"/write?lines=3", "", 200, "wrote 3 lines"},
		{"/alloc?mb=2", "", 200, "holding 2 MiB"},
		{"/burn?ms=1", "", 200, "burned 1 ms"},
		{"/stall?ms=1", "", 200, "stalled 1 ms"},
		{"/alloc?mb=-1", "", 400, "want a number"},
	} {
		if code, body := get(t, at+tt.path, tt.accept); code != tt.code || !strings.Contains(body, tt.body) {
			t.Errorf("%s: %d %q, want %d %q", tt.path, code, body, tt.code, tt.body)
		}
	}
}

func TestServerFinishesRequestsAtTerm(t *testing.T) {
	at, cmd, out := server(t)
	got := make(chan int, 1)
	go func() {
		resp, err := http.Get(at + "/stall?ms=500")
		if err != nil {
			got <- 0
			return
		}
		resp.Body.Close()
		got <- resp.StatusCode
	}()
	for { // until the request is being served: the server says so
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "/stall") {
			break
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := <-got; code != 200 {
		t.Errorf("the request under way got %d", code)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after TERM: %v", err)
	}
}

func TestServerExitsAsTold(t *testing.T) {
	at, cmd, _ := server(t)
	get(t, at+"/exit?code=9", "")
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit code %d", code)
	}
}
