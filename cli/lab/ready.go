package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// errEnded says that an agent ended while we waited for it to be ready.
var errEnded = errors.New("its agent has ended")

// await asks until ask says yes. It gives up when the node's agent ends or ctx does, with the last reason.
func await(ctx context.Context, n Node, pause time.Duration, ask func(context.Context) (bool, error)) error {
	var last error
	for {
		ok, err := ask(ctx)
		if ok && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if !n.Process.alive() {
			return errEnded
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-time.After(pause):
		}
	}
}

// client makes a client of the API from a kubeconfig; host, if given, is asked instead of the one in it.
func restConfig(kubeconfig, host string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	if host != "" {
		cfg.Host = host
	}
	cfg.QPS, cfg.Burst, cfg.Timeout = 500, 500, askTimeout
	cfg.AcceptContentTypes, cfg.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
	return cfg, nil
}

// serverReady waits until the server says itself that it is a member and serves.
func serverReady(ctx context.Context, n Node, kubeconfig string) error {
	err := await(ctx, n, readyPoll, func(context.Context) (bool, error) {
		_, err := clientcmd.LoadFromFile(kubeconfig)
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", kubeconfig, err)
	}
	url := fmt.Sprintf("https://%s:%d", n.Address, apiPort)
	cfg, err := restConfig(kubeconfig, url)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return fmt.Errorf("making a client for %s: %w", url, err)
	}
	defer client.CloseIdleConnections()
	return await(ctx, n, readyPoll, func(ctx context.Context) (bool, error) { return ask(ctx, client, url+"/readyz") })
}

// ask wants a 200.
func ask(ctx context.Context, client *http.Client, url string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode == http.StatusOK {
		return true, nil
	}
	return false, fmt.Errorf("%s answers %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
}

// joinToken waits for the token that the first server writes when it serves.
func joinToken(ctx context.Context, n Node) (string, error) {
	var token string
	err := await(ctx, n, readyPoll, func(context.Context) (bool, error) {
		var err error
		token, err = readToken(n)
		return token != "", err
	})
	return token, err
}

// readToken is the first server's join token; empty if it is not complete yet.
func readToken(first Node) (string, error) {
	b, err := os.ReadFile(first.DataDir() + "/join-token")
	if err != nil || !strings.HasSuffix(string(b), "\n") {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// nodesReady waits until real nodes and at least sims simulated ones are Ready; each is told as it comes.
func nodesReady(ctx context.Context, kubeconfig string, want map[string]Node, sim Node, sims int, tell func(name string)) error {
	cfg, err := restConfig(kubeconfig, "")
	if err != nil {
		return err
	}
	cfg.Timeout = listTimeout
	api, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	w := &nodeWait{want: want, sim: sim, sims: sims, tell: tell, told: map[string]bool{}}
	for {
		asked := time.Now()
		list, err := api.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err == nil && w.see(list.Items) {
			return nil
		}
		if ended := w.ended(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("nodes not Ready: %s: %w", w.missing(), context.Cause(ctx)), err)
		case <-time.After(max(nodesPoll, 3*time.Since(asked))): // a list of very many nodes is work for the servers that are to make them ready
		}
	}
}

// nodeWait keeps who is Ready already.
type nodeWait struct {
	want map[string]Node
	sim  Node
	sims int // how many nodes besides those in want
	tell func(string)
	told map[string]bool
}

// see tells of nodes that have become Ready and says whether all are.
func (w *nodeWait) see(list []corev1.Node) bool {
	others := 0
	for _, n := range list {
		if !isReady(n) {
			continue
		}
		if _, ok := w.want[n.Name]; !ok {
			others++
		} else {
			w.once(n.Name)
		}
	}
	if w.sims > 0 && others >= w.sims {
		w.once(w.sim.Name)
	}
	return w.missing() == ""
}

func (w *nodeWait) once(name string) {
	if !w.told[name] {
		w.told[name] = true
		w.tell(name)
	}
}

func (w *nodeWait) missing() string {
	var out []string
	for name := range w.want {
		if !w.told[name] {
			out = append(out, name)
		}
	}
	if w.sims > 0 && !w.told[w.sim.Name] {
		out = append(out, w.sim.Name)
	}
	return strings.Join(out, " ")
}

// ended reports a node that cannot become Ready any more.
func (w *nodeWait) ended() error {
	for name, n := range w.want {
		if !w.told[name] && !n.Process.alive() {
			return failure{n, errEnded}
		}
	}
	if w.sims > 0 && !w.told[w.sim.Name] && !w.sim.Process.alive() {
		return failure{w.sim, errEnded}
	}
	return nil
}

func isReady(n corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
