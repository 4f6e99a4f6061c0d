package lab

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMain is also the agent of the tests' labs: this very binary, started as `peapod agent` would be.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		if err := standIn(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	os.Exit(m.Run())
}

// standIn behaves as an agent does towards the lab: a server writes kubeconfig and token and answers
// /readyz, and lists as Ready nodes those whose directory says so; a client detaches a process.
func standIn(args []string) error {
	f := flag.NewFlagSet("agent", flag.ContinueOnError)
	name, dir, bind := f.String("name", "", ""), f.String("data-dir", "", ""), f.String("bind", "", "")
	server, client := f.Bool("server", false, ""), f.Bool("client", false, "")
	join := f.String("join", "", "")
	for _, taken := range []string{"cgroup-root", "eviction-hard", "image-gc-high-threshold"} {
		f.String(taken, "", "")
	}
	sim := f.Int("sim", 0, "")
	fail := f.Bool("fail", false, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *fail {
		return fmt.Errorf("the stand-in was told to fail")
	}
	if *join != "" && os.Getenv("PEAPOD_TOKEN") != "secret" {
		return fmt.Errorf("the token is %q", os.Getenv("PEAPOD_TOKEN"))
	}
	if *client {
		if err := detach(*dir); err != nil {
			return err
		}
	}
	if *client || *sim > 0 {
		if err := os.WriteFile(filepath.Join(*dir, "ready"), []byte(*name), 0o600); err != nil {
			return err
		}
	}
	if *server {
		if err := serveAPI(*dir, *bind, *join == ""); err != nil {
			return err
		}
	}
	fmt.Println("started", *name)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
	return nil
}

// detach leaves a process in a session of its own, as the supervisor is.
func detach(dir string) error {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "detached"), fmt.Append(nil, cmd.Process.Pid), 0o600)
}

func serveAPI(dir, bind string, founder bool) error {
	l, err := net.Listen("tcp", bind+":6443")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/api/v1/nodes", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(standInNodes(filepath.Dir(filepath.Dir(dir))))
	})
	s := httptest.NewUnstartedServer(mux)
	s.Listener.Close()
	s.Listener = l
	s.StartTLS()
	if !founder {
		return nil
	}
	config := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"a","contexts":[{"name":"a","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":"https://%s:6443","insecure-skip-tls-verify":true}}],"users":[{"name":"u","user":{"token":"t"}}]}`, bind)
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte(config), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "join-token"), []byte("secret\n"), 0o600)
}

func standInNodes(lab string) *corev1.NodeList {
	list := &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}}
	files, _ := filepath.Glob(filepath.Join(lab, "*", "data", "ready"))
	for _, f := range files {
		name := strings.Split(f, "/")[len(strings.Split(lab, "/"))]
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if name == "sim" {
			n.Name = "sim-0"
		}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		list.Items = append(list.Items, n)
	}
	return list
}
