package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// ledger is a control plane that notes what is written, and may refuse.
type ledger struct {
	mu      sync.Mutex
	refuse  bool
	deleted []string
	events  []string
}

func (l *ledger) Get(context.Context, string, string, string) ([]byte, bool, error) {
	return nil, false, nil
}

func (l *ledger) Write(_ context.Context, list []ops.Op) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse {
		return errors.New("no server answers")
	}
	for _, op := range list {
		switch op := op.(type) {
		case *ops.Delete:
			l.deleted = append(l.deleted, op.Name)
		case *ops.Put:
			l.events = append(l.events, op.Object.(*corev1.Event).Reason)
		}
	}
	return nil
}

func (l *ledger) counts() (deleted, events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.deleted), len(l.events)
}

// endedVolume is a volume of node n whose directory is to be removed.
func endedVolume(a *Agent, name string) *corev1.PersistentVolume {
	now := metav1.Now()
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), DeletionTimestamp: &now,
		Finalizers: []string{api.LocalPathFinalizer}, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": api.LocalPathProvisioner}}}
	v.Spec.PersistentVolumeReclaimPolicy, v.Status.Phase = corev1.PersistentVolumeReclaimDelete, corev1.VolumeReleased
	v.Spec.Local = &corev1.LocalVolumeSource{Path: filepath.Join(a.localVolumes(), name)}
	v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}}}}}}
	return v
}

// Invariant 71: what is not to be removed stays, the object goes after its directory, and both go at last.
func TestVolumesEnd(t *testing.T) {
	l := &ledger{refuse: true}
	a := New(Config{NodeName: "n", DataDir: t.TempDir(), ControlPlane: l})
	made := func(name string) string {
		dir := filepath.Join(a.localVolumes(), name, "sub")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(dir)
	}
	dirs := map[string]string{}
	for _, name := range []string{"ends", "bound", "kept", "held", "elsewhere", "astray", "spared"} {
		dirs[name] = made(name)
	}
	for name, change := range map[string]func(*corev1.PersistentVolume){
		"ends":  func(*corev1.PersistentVolume) {},
		"bound": func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeBound },
		"kept": func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		},
		"held":   func(v *corev1.PersistentVolume) { v.Finalizers = append(v.Finalizers, "example.com/x") },
		"astray": func(v *corev1.PersistentVolume) { v.Spec.Local.Path = dirs["bound"] },
		"elsewhere": func(v *corev1.PersistentVolume) {
			v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "other"
		},
	} {
		v := endedVolume(a, name)
		change(v)
		a.PutVolume(v)
	}
	a.PutVolume(endedVolume(a, "spared"))
	spared := endedVolume(a, "spared")
	spared.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	a.PutVolume(spared)

	now := time.Now()
	next := a.ends.work(t.Context(), now)
	if n, _ := l.counts(); n != 0 || next.IsZero() {
		t.Fatalf("%d objects went although no server answered; next try at %v", n, next)
	}
	if _, err := os.Stat(dirs["ends"]); !os.IsNotExist(err) {
		t.Errorf("the directory is there: %v", err)
	}
	l.refuse = false
	if n := a.ends.work(t.Context(), now); n.IsZero() {
		t.Error("it is not tried again")
	} else if deleted, _ := l.counts(); deleted != 0 {
		t.Error("it is tried again at once")
	}
	a.ends.work(t.Context(), next)
	if len(l.deleted) != 1 || l.deleted[0] != "ends" || len(l.events) != 1 || l.events[0] != "VolumeFailedDelete" {
		t.Errorf("deleted %q, events %q", l.deleted, l.events)
	}
	for name, dir := range dirs {
		if _, err := os.Stat(dir); name != "ends" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
