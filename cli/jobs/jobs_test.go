package jobs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/jobspecs"
)

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := Command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(context.Background())
	return out.String(), err
}

func TestExampleIsValid(t *testing.T) {
	spec, err := jobspecs.Parse("example.hcl", example, jobspecs.Vars{})
	if err != nil || len(spec.Jobs) != 1 {
		t.Fatal(err)
	}
}

func TestInitThenValidate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.hcl")
	if out, err := execute(t, "init", file); err != nil {
		t.Fatal(out, err)
	}
	if _, err := execute(t, "init", file); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Error("init overwrites:", err)
	}
	out, err := execute(t, "validate", file, "-var", "who=me")
	if err != nil || !strings.Contains(out, "is valid: 1 jobs, 2 objects") {
		t.Error(out, err)
	}
	if _, err := execute(t, "validate", "--var=nobody=me", file); err == nil || !strings.Contains(err.Error(), `no variable "nobody"`) {
		t.Error(err)
	}
}

func TestValidateShowsAllFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.hcl")
	if err := os.WriteFile(file, []byte("job \"a\" {\n  grop \"b\" {}\n  typ = 1\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := execute(t, "validate", file)
	for _, want := range []string{`a.hcl:2:3`, `did you mean "group"`, `a.hcl:3:3`, `did you mean "type"`} {
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}

func TestRunWithoutJob(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.hcl")
	if err := os.WriteFile(file, []byte(`manifest "v1" "ConfigMap" "a" {}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, "run", "-detach", file); err == nil || !strings.Contains(err.Error(), "peapod apply") {
		t.Error(err)
	}
	// A plan needs no job, but a cluster.
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	_, err := execute(t, "plan", file)
	var exit *Exit
	if !errors.As(err, &exit) || exit.ExitCode() != 255 || strings.Contains(err.Error(), "job block") {
		t.Error(err)
	}
}

func deployment(desired, updated, total, available int32, observed int64) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 2},
		Spec:       appsv1.DeploymentSpec{Replicas: &desired},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: observed, UpdatedReplicas: updated, Replicas: total, ReadyReplicas: available, AvailableReplicas: available},
	}
}

func TestDeploymentProgress(t *testing.T) {
	for name, c := range map[string]struct {
		d    *appsv1.Deployment
		done bool
	}{
		"all there":            {deployment(3, 3, 3, 3, 2), true},
		"status of before":     {deployment(3, 3, 3, 3, 1), false},
		"old pods still there": {deployment(3, 3, 4, 4, 2), false},
		"not available":        {deployment(3, 3, 3, 2, 2), false},
		"not updated":          {deployment(3, 2, 3, 3, 2), false},
		"scaled to nothing":    {deployment(0, 0, 0, 0, 2), true},
	} {
		if p := deploymentProgress(c.d); p.done != c.done || p.failed != "" {
			t.Errorf("%s: %v", name, p)
		}
	}
	late := deployment(3, 1, 3, 2, 2)
	late.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "too late"}}
	if p := deploymentProgress(late); !p.done || p.failed != "too late" {
		t.Error(p)
	}
}

func TestJobProgress(t *testing.T) {
	j := &batchv1.Job{Status: batchv1.JobStatus{Active: 1}}
	if jobProgress(j).done {
		t.Error("an active job is not done")
	}
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Message: "no"}}
	if p := jobProgress(j); !p.done || p.failed != "no" {
		t.Error(p)
	}
}

func TestVerdict(t *testing.T) {
	going, healthy, failed := progress{name: "a"}, progress{name: "b", done: true}, progress{name: "c", done: true, failed: "x"}
	if _, done := verdict([]progress{healthy, going}); done {
		t.Error("over too early")
	}
	if f, done := verdict([]progress{going, failed}); !done || !reflect.DeepEqual(f, []string{"c"}) {
		t.Error("a failure ends the following", f)
	}
	if f, done := verdict([]progress{healthy}); !done || f != nil {
		t.Error(f)
	}
}

func TestDifferences(t *testing.T) {
	a := map[string]any{"spec": map[string]any{"n": int64(1), "gone": "x", "list": []any{"a"}}}
	b := map[string]any{"spec": map[string]any{"n": int64(2), "list": []any{"a", "b"}}}
	var got []string
	var text bytes.Buffer
	writeChanges(&text, differences("", a, b), false)
	for _, line := range strings.Split(strings.TrimSpace(text.String()), "\n") {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{`- spec.gone: "x"`, `+ spec.list[1]: "b"`, `~ spec.n: 1 => 2`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if d := differences("", a, a); d != nil {
		t.Error(d)
	}
}

func TestNewestWarnings(t *testing.T) {
	event := func(pod, reason string, minute int) corev1.Event {
		e := corev1.Event{Reason: reason, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: pod}}
		e.LastTimestamp = metav1.Unix(int64(minute)*60, 0)
		return e
	}
	got := newestWarnings([]corev1.Event{event("web-1", "Old", 1), event("web-2", "New", 2), event("website", "Other", 3), event("web-3", "New", 1)}, []string{"web"})
	want := []string{"Pod web-2: New: ", "Pod web-1: Old: "}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}
