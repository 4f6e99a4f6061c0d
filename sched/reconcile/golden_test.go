package reconcile

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
)

var update = flag.Bool("update", false, "rewrite the golden scripts in testdata")

// TestScripts plays the scripts in testdata: a line that starts with "> " is a command, what
// follows it is what the engine decided, one step between two lines of "--".
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Fatalf("the script now plays as follows (rewrite it with -update if that is right):\n%s", got)
			}
		})
	}
}

func playScript(t *testing.T, text string) string {
	w := newWorld(t, 1)
	var out strings.Builder
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "# ") {
			out.WriteString(line + "\n")
		}
		command, ok := strings.CutPrefix(line, "> ")
		if !ok {
			continue
		}
		w.trace = nil
		w.command(t, strings.Fields(command))
		out.WriteString(line + "\n")
		for _, l := range w.trace {
			out.WriteString(l + "\n")
		}
		out.WriteString("\n")
	}
	return out.String()
}

// command is one line of a script; settle and converge are the ones that let the engine decide.
func (w *world) command(t *testing.T, words []string) {
	arg := func(i int) string {
		if i >= len(words) {
			t.Fatalf("%v needs more words", words)
		}
		return words[i]
	}
	number := func(i int) int32 {
		n, err := strconv.Atoi(arg(i))
		if err != nil {
			t.Fatal(err)
		}
		return int32(n)
	}
	switch words[0] {
	case "nodes":
		for i := range number(1) {
			w.addNode("n"+strconv.Itoa(int(i+1)), "4", "110")
		}
	case "service":
		w.addService(arg(1), arg(1))
	case "deployment": // name, replicas, surge, unavailable
		d := testDeployment(arg(1), number(2))
		surge, unavailable := intstr.FromInt32(number(3)), intstr.FromInt32(number(4))
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}
		w.put(Deployments, d)
	case "statefulset": // name, replicas
		w.put(StatefulSets, testStatefulSet(arg(1), number(2)))
	case "daemonset": // name
		w.put(DaemonSets, testDaemonSet(arg(1)))
	case "change": // a kind, a name, a word and its argument
		w.changeSet(t, arg(1), arg(2), arg(3), arg(4))
	case "node": // a name, cpus
		w.addNode(arg(1), arg(2), "110")
	case "taint": // a node, an effect or none
		w.taint(arg(1), corev1.TaintEffect(arg(2)))
	case "job": // name, seconds after its end
		w.put(Jobs, testJob(arg(1), number(2)))
	case "end":
		w.end(corev1.PodPhase(arg(1)))
	case "wait":
		w.now = w.now.Add(time.Duration(number(1)) * time.Second)
	case "storage": // the nodes keep volumes, and there are the classes of storageWorld
		w.furnishStorage(int(number(1)))
	case "claim": // name, class
		w.put(Claims, testClaim(arg(1), arg(2), "1Gi"))
	case "user": // a pod and its claim
		w.addUser(arg(1), arg(2))
	case "drop": // a claim or a pod by name
		gr := map[string]schema.GroupResource{"claim": Claims, "pod": Pods}[arg(1)]
		w.deleteObject(&ops.Delete{Resource: gr, Namespace: "default", Name: arg(2), Expect: ops.Any})
	case "dirs":
		w.emptyDirs()
	case "scale":
		d, n := w.deployment(arg(1)), number(2)
		d.Spec.Replicas = &n
		w.put(Deployments, d)
	case "image":
		d := w.deployment(arg(1))
		d.Spec.Template.Spec = testPodSpec(arg(2))
		w.put(Deployments, d)
	case "down":
		w.dead[arg(1)] = true
		w.e.NodeDown(arg(1))
	case "up":
		delete(w.dead, arg(1))
		w.e.NodeUp(arg(1))
	case "settle":
		w.settle()
	case "work":
		w.work()
		w.now = w.now.Add(time.Second)
	case "converge":
		w.converge()
	default:
		t.Fatalf("no such command: %v", words)
	}
}
