package cri

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/cni"
	"github.com/peapod-sh/peapod/agent/runtime"
)

// pluginConf has a link pair and no bridge, so that nothing of it is seen beside the pod.
const pluginConf = `{"cniVersion":"1.0.0","name":"criplugins","plugins":[
 {"type":"ptp","ipam":{"type":"host-local","dataDir":"DATA","ranges":[[{"subnet":"198.18.77.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

// testPlugins: the runtime asks this agent for a pod's network and the agent asks other plugins, also where both find their configuration in
// one directory. Whoever makes the pods run, the address is the same for all, and it is free when the pod has gone.
func testPlugins(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	data := filepath.Join(t.TempDir(), "addresses")
	if err := os.WriteFile(filepath.Join(e.told.conf, "50-others.conflist"), []byte(strings.ReplaceAll(pluginConf, "DATA", data)), 0o644); err != nil {
		t.Fatal(err)
	}
	pods := func(uid string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: uid, Namespace: "ns", UID: types.UID(uid)}}
	}
	network, err := cni.New(t.Context(), cni.Config{Conf: e.told.conf, Plugins: []string{"/usr/lib/cni", "/opt/cni/bin"}, StateDir: t.TempDir(), Pod: pods})
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Setup(t.Context(), netip.MustParsePrefix("198.18.77.0/24")); err != nil {
		t.Fatal(err)
	}
	before := n.network.Swap(&attachment{network.Attach})
	defer n.network.Store(before)
	defer func() {
		if err := network.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()

	n.start(t, e, n.spec("pod-plug", "plug", forever))
	var out bytes.Buffer
	if _, err := e.Exec(t.Context(), "plug", runtime.ExecSpec{Args: []string{"cat", "/proc/net/fib_trie"}, Stdout: &out, Buffered: true}); err != nil || !strings.Contains(out.String(), "198.18.77.") {
		t.Fatalf("the container has the addresses %s: %v", out.String(), err)
	}
	sandbox := list(t, e)[0]
	ips, err := network.Attach(t.Context(), "pod-plug", sandbox.NetNS) // as the agent does for a pod that it finds
	if err != nil || len(ips) != 1 || !strings.Contains(out.String(), ips[0].String()) {
		t.Errorf("the agent is told %v (%v), the container has %s", ips, err, out.String())
	}
	held := func() (names []string) {
		files, _ := filepath.Glob(filepath.Join(data, "criplugins", "198.*"))
		return files
	}
	if h := held(); len(h) != 1 {
		t.Errorf("host-local has given %v", h)
	}
	remove(t, e, "pod-plug")
	exit(t, e)
	if err := network.Detach(t.Context(), "pod-plug"); err != nil {
		t.Fatal(err)
	}
	if h := held(); len(h) != 0 {
		t.Errorf("host-local keeps %v of a pod that has gone", h)
	}
}
